//! Processes on Unix.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, killpg};

use crate::settings;

/// Starts another program, with the standard streams that the command names.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    command.process_group(0).spawn()
}

/// Detaches from the caller, except for the standard streams.
///
/// A separate session, and with it a process group, protects this process from signals to the caller's group, and from
/// the hang-up that a stopped process gets when its parent exits. It keeps none of the caller's files open: a process
/// that waits for the end of such a pipe, or for a lock on such a file, would wait for us. Nor does it keep the caller's
/// working folder, which could not be unmounted.
pub fn leave_caller() {
    // It fails if we lead a group already, and then is not needed.
    let _ = rustix::process::setsid();
    // Permissions are the same there as here, and nothing depends on the working folder.
    let _ = std::env::set_current_dir("/");
    for inherited in open_files().into_iter().filter(|number| *number > 2) {
        // The handle used for reading the folder is closed already.
        let _ = nix::unistd::close(inherited);
    }
}

/// Our open file descriptors, or if the system does not list them, all possible ones.
fn open_files() -> Vec<i32> {
    /// Higher numbers are rare, and each costs a system call.
    const MOST: i32 = 4096;
    let Ok(entries) = std::fs::read_dir("/dev/fd") else {
        return (0..MOST).collect();
    };
    let number = |name: std::ffi::OsString| name.to_str()?.parse().ok();
    let numbers = entries.filter_map(|entry| number(entry.ok()?.file_name()));
    numbers.collect()
}

/// Blocks every signal that can be blocked, in this thread and those that it starts: a service manager signals everything
/// that a service has left behind, and the system signals everything when it shuts down.
pub fn block_signals() {
    // It only fails if it is called incorrectly.
    let _ = SigSet::all().thread_block();
}

/// Unblocks them in this thread, for another program, which would inherit it.
pub fn unblock_signals() {
    let _ = SigSet::all().thread_unblock();
}

/// Kills a program that `spawn` started, and everything that it has started and left in its process group.
pub fn kill_group(child: &mut Child) {
    // They may have exited already.
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(nix::unistd::Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Whether the system kills everything that we leave behind when our caller exits: the first process of a PID namespace
/// takes all others with it, and that may be the caller or this process itself (`pid_namespaces(7)`). A container that
/// shares the namespace of its host is recognized by its variables. True if unknown.
pub fn may_end_with_caller() -> bool {
    /// The name of the initial namespace (the kernel's `PROC_PID_INIT_INO`).
    const FIRST: &str = "pid:[4026531836]";
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    let is_first = namespace.is_ok_and(|name| name.as_os_str() == FIRST);
    let is_another = std::process::id() == 1 || !is_first;
    cfg!(target_os = "linux") && (is_another || settings::any_is_set(&settings::CONTAINER))
}

/// Replaces this process with a command, which keeps its ID, its terminal, its signal mask and its signal dispositions.
/// The exception is SIGPIPE, which is reset to the default: Rust ignores it before `main`, and the original disposition
/// is unknown. Only returns on failure.
pub fn become_command(mut command: Command) -> io::Result<ExitCode> {
    let error = command.exec();
    if error.raw_os_error() != Some(Errno::ENOEXEC as i32) {
        return Err(error);
    }
    // A script without `#!` is run by a shell, as by execvp(3) in most C libraries, and by every shell.
    let Some(script) = settings::find_program(command.get_program()) else {
        return Err(error);
    };
    let mut shell = Command::new("/bin/sh");
    shell.arg(script).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Err(shell.exec())
}

/// Our stdout. Unlike the standard library's, it reports an error if stdout is not open for writing (EBADF); a closed one
/// is /dev/null by now.
pub fn stdout() -> io::Result<impl Write> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Keeps this process's memory out of core files, and out of the reach of other processes of the same user. If the system
/// refuses, nothing else would help.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Sets the core file limit to zero; commands run by `exec` inherit it, but can raise it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    let _ = setrlimit(Resource::Core, limit);
}
