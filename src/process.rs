//! Processes: those that outlive us and hear nothing of us, the one that takes our place, and what others may see of ours.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};

#[cfg(unix)]
use nix::errno::Errno;

/// Starts a program that is not ours. Its standard streams are those that the command names.
#[cfg(unix)]
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    command.process_group(0).spawn()
}

/// Leaves everything of the caller behind but the standard streams.
///
/// A session of its own, and with it a process group: neither a signal to the caller's group nor the hang-up that a stopped
/// process gets when its parent ends reaches it. None of the caller's files: whoever waits for the end of such a pipe, or for
/// a lock on such a file, would wait for us. And not its folder, which could not be unmounted.
#[cfg(unix)]
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
#[cfg(unix)]
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
#[cfg(unix)]
pub fn block_signals() {
    // It fails only if it is called wrongly.
    let _ = nix::sys::signal::SigSet::all().thread_block();
}

/// Undoes that in this thread, for a program that is not ours: it would inherit it.
#[cfg(unix)]
pub fn unblock_signals() {
    let _ = nix::sys::signal::SigSet::all().thread_unblock();
}

/// Kills a program that `spawn` started, and what it has started itself and left in its process group.
pub fn kill_group(child: &mut Child) {
    #[cfg(unix)]
    if let Ok(group) = i32::try_from(child.id()) {
        let group = nix::unistd::Pid::from_raw(group);
        // It may have ended by itself.
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Why a program could not be started, as a shell would say it.
pub fn describe_start(error: &io::Error, program: &OsStr) -> String {
    let path = Path::new(program);
    match error.kind() {
        ErrorKind::NotFound if path.components().count() == 1 => "command not found".to_owned(),
        ErrorKind::NotFound if path.exists() => "its interpreter was not found".to_owned(),
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
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

#[cfg(all(unix, not(target_os = "linux")))]
pub fn may_end_with_caller() -> bool {
    false
}

/// Where `spawn` cannot leave the job that we are in, its end ends what we start.
#[cfg(windows)]
pub fn may_end_with_caller() -> bool {
    IN_JOB.load(std::sync::atomic::Ordering::Relaxed)
}

#[cfg(windows)]
static IN_JOB: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

#[cfg(not(unix))]
pub fn leave_caller() {
    let _ = std::env::set_current_dir(std::path::MAIN_SEPARATOR_STR);
}

#[cfg(not(unix))]
pub fn block_signals() {}

#[cfg(not(unix))]
pub fn unblock_signals() {}

/// Starts a command without our console and, where that is allowed, outside the job whose end would end it. Its standard
/// streams are those that the command names.
#[cfg(windows)]
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    use std::os::windows::process::CommandExt;
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    const CREATE_BREAKAWAY_FROM_JOB: u32 = 0x0100_0000;
    const ALONE: u32 = DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP;
    keep_streams();
    command.creation_flags(ALONE | CREATE_BREAKAWAY_FROM_JOB);
    match command.spawn() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            IN_JOB.store(true, std::sync::atomic::Ordering::Relaxed);
            command.creation_flags(ALONE).spawn()
        }
        started => started,
    }
}

/// Keeps our standard streams to ourselves. A process inherits every handle that can be inherited, named or not, and ours
/// can, as we inherited them: whoever reads our stdout would wait for its end until the last such process has ended.
#[cfg(windows)]
fn keep_streams() {
    use filedescriptor::{FileDescriptor, StdioDescriptor};
    // A copy takes the place of each, which is not inherited, and the original is closed. A stream that we do not have
    // cannot be copied, and is nobody's then.
    let _ = FileDescriptor::redirect_stdio(&io::stdin(), StdioDescriptor::Stdin);
    let _ = FileDescriptor::redirect_stdio(&io::stdout(), StdioDescriptor::Stdout);
    let _ = FileDescriptor::redirect_stdio(&io::stderr(), StdioDescriptor::Stderr);
}

/// Becomes a command: it has this process's ID, its terminal, its signal mask and what it does with each signal, but for SIGPIPE,
/// which ends it: Rust ignores that before `main`, and what it was before cannot be told. It comes back only if that fails.
#[cfg(unix)]
pub fn become_command(mut command: Command) -> io::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    allow_core_dumps();
    let error = command.exec();
    if error.raw_os_error() != Some(Errno::ENOEXEC as i32) {
        return Err(error);
    }
    // A script without `#!`: a shell reads it, as execvp(3) has it in most C libraries, and every shell.
    let Some(script) = find(command.get_program()) else {
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

/// Where a program is that a shell would find under this name.
#[cfg(unix)]
fn find(program: &OsStr) -> Option<PathBuf> {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return Some(path.to_owned());
    }
    let folders = crate::settings::program_folders().into_iter();
    let mut found = folders.map(|folder| folder.join(path));
    found.find(|path| path.is_file())
}

/// Waits for the command, and ends with its exit code, which has 32 bits on Windows.
#[cfg(not(unix))]
pub fn become_command(mut command: Command) -> io::Result<ExitCode> {
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(1))
}

/// The limit for core files, as we found it.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
static CORE_LIMIT: std::sync::OnceLock<rustix::process::Rlimit> = std::sync::OnceLock::new();

/// Keeps this process's memory out of core files, and out of the reach of other processes of the same user. Where the
/// system refuses, there is nothing better to do.
pub fn forbid_core_dumps() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    #[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let found = CORE_LIMIT.get_or_init(|| getrlimit(Resource::Core));
        let none = Rlimit {
            current: Some(0),
            maximum: found.maximum,
        };
        let _ = setrlimit(Resource::Core, none);
    }
}

/// Undoes that for a command that takes this process's place. Linux does it by itself (prctl(2), `PR_SET_DUMPABLE`).
#[cfg(unix)]
fn allow_core_dumps() {
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    if let Some(found) = CORE_LIMIT.get() {
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, *found);
    }
}
