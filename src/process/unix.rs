//! Processes on Unix.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, killpg};

use crate::settings;

/// Starts a program that is not ours. Its standard streams are those that the command names.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    command.process_group(0).spawn()
}

/// Detaches from the caller, except for the standard streams.
///
/// A session of its own, and with it a process group: neither a signal to the caller's group nor the hang-up that a stopped
/// process gets when its parent ends reaches it. It inherits none of the caller's files: a
/// process that waits for the end of such a pipe, or for a lock on such a file, would wait for us. Nor does it keep the
/// caller's folder, which could not be unmounted.
pub fn leave_caller() {
    // It fails where we lead a group already, and then need none.
    let _ = rustix::process::setsid();
    // It has the same rights here as there, and nothing depends on it.
    let _ = std::env::set_current_dir("/");
    for inherited in open_files().into_iter().filter(|number| *number > 2) {
        // The one with which the folder was read is closed already.
        let _ = nix::unistd::close(inherited);
    }
}

/// The numbers of our open files; where the system does not tell, of all that could be open.
fn open_files() -> Vec<i32> {
    /// Numbers beyond it are rare, and each costs a system call.
    const MOST: i32 = 4096;
    let Ok(entries) = std::fs::read_dir("/dev/fd") else {
        return (0..MOST).collect();
    };
    let number = |name: std::ffi::OsString| name.to_str()?.parse().ok();
    let entries = entries.filter_map(Result::ok);
    entries
        .filter_map(|entry| number(entry.file_name()))
        .collect()
}

/// Blocks every signal that can be blocked, in this thread and those that it starts: a service manager sends one to all that
/// a service has left behind, and the system to everybody when it goes down.
pub fn block_signals() {
    // It fails only if it is called wrongly.
    let _ = SigSet::all().thread_block();
}

/// Undoes that in this thread, for a program that is not ours and would inherit it.
pub fn unblock_signals() {
    let _ = SigSet::all().thread_unblock();
}

/// Kills a program that `spawn` started, and what it has started itself and left in its process group.
pub fn kill_group(child: &mut Child) {
    // They may have ended by themselves.
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(nix::unistd::Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Whether the system ends everything that we leave behind when our caller ends: in a PID namespace, such as that of a
/// container, the end of its first process is the end of all, and that may be the caller or we ourselves (`pid_namespaces(7)`).
/// Where it cannot be told it may be so.
#[cfg(target_os = "linux")]
pub fn may_end_with_caller() -> bool {
    /// The name of the first namespace (`PROC_PID_INIT_INO` of the kernel).
    const FIRST: &str = "pid:[4026531836]";
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    std::process::id() == 1 || namespace.map_or(true, |name| name.as_os_str() != FIRST)
}

#[cfg(not(target_os = "linux"))]
pub fn may_end_with_caller() -> bool {
    false
}

/// Becomes a command: it has this process's ID, its terminal, its signal mask and what it does with each signal, but for SIGPIPE,
/// which ends it: Rust ignores that before `main`, and what it was before cannot be told. It comes back only if that fails.
pub fn become_command(mut command: Command) -> io::Result<ExitCode> {
    let error = command.exec();
    if error.raw_os_error() != Some(Errno::ENOEXEC as i32) {
        return Err(error);
    }
    // A script without `#!`: a shell reads it, as execvp(3) has it in most C libraries, and every shell.
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

/// Our stdout. Unlike that of the standard library, it fails where it cannot be written to (EBADF).
pub fn stdout() -> io::Result<impl Write> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Keeps this process's memory out of core files, and out of the reach of other processes of the same user. Where the
/// system refuses, there is nothing better to do.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The same by the limit for core files, which commands that `exec` runs inherit: they can raise it again.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    let _ = setrlimit(Resource::Core, limit);
}
