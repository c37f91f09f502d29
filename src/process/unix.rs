//! Processes on Unix.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, killpg};

use crate::settings;

/// Starts a program that is not ours. Its standard streams are those that the command names.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    command.process_group(0).spawn()
}

/// Leaves everything of the caller behind but the standard streams.
///
/// A session of its own, and with it a process group: neither a signal to the caller's group nor the hang-up that a stopped
/// process gets when its parent ends reaches it. None of the caller's files: whoever waits for the end of such a pipe, or for
/// a lock on such a file, would wait for us. And not its folder, which could not be unmounted.
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
    let mut folders = ["/dev/fd", "/proc/self/fd"].into_iter();
    let Some(entries) = folders.find_map(|path| std::fs::read_dir(path).ok()) else {
        return (0..MOST).collect();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
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

/// Kills a process group that `spawn` started.
pub fn kill_group(child: &Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // It may have ended by itself.
        let _ = killpg(nix::unistd::Pid::from_raw(group), Signal::SIGKILL);
    }
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
    allow_core_dumps();
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
pub fn stdout() -> impl Write {
    Stdout
}

struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps this process's memory out of core files, and out of the reach of other processes of the same user. Where the
/// system refuses, there is nothing better to do.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Undoes that for a command that takes this process's place: Linux does it by itself (prctl(2), `PR_SET_DUMPABLE`).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn allow_core_dumps() {}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod core_limit {
    use std::sync::OnceLock;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// The limit for core files, as we found it.
    static FOUND: OnceLock<Rlimit> = OnceLock::new();

    pub fn forbid_core_dumps() {
        let found = FOUND.get_or_init(|| getrlimit(Resource::Core));
        let none = Rlimit {
            current: Some(0),
            maximum: found.maximum,
        };
        let _ = setrlimit(Resource::Core, none);
    }

    pub fn allow_core_dumps() {
        if let Some(found) = FOUND.get() {
            let _ = setrlimit(Resource::Core, *found);
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use core_limit::allow_core_dumps;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub use core_limit::forbid_core_dumps;
