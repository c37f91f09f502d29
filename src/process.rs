//! Programs that outlive us and hear nothing of us: no Ctrl-C, no end of our terminal, none of our open files.

use std::io;
use std::process::{Child, Command};

/// Starts a program that is not ours. Its standard streams are those that the command names.
#[cfg(unix)]
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    command.process_group(0).spawn()
}

/// Starts this program again. It has to call `leave_caller`.
#[cfg(unix)]
pub fn spawn_ourselves(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

/// What a process of ours does first that outlives its caller.
///
/// It gets a session of its own, and with it a process group: neither a signal to the caller's group nor the hang-up that
/// a stopped process gets when its parent ends reaches it. And it closes what the caller had open besides the standard
/// streams: whoever waits for the end of such a pipe, or for a lock on such a file, would wait for us.
#[cfg(unix)]
pub fn leave_caller() {
    // It fails where we lead a group already, and then need none.
    let _ = rustix::process::setsid();
    let Ok(entries) = std::fs::read_dir("/dev/fd") else {
        return;
    };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    for inherited in numbers.filter(|number: &i32| *number > 2) {
        // The one with which the folder was read is closed already.
        let _ = nix::unistd::close(inherited);
    }
}

/// From now on a signal that asks this process to end waits until it has ended by itself: the system's service manager
/// sends one to all that a service has left behind, and the system to everybody when it goes down.
#[cfg(unix)]
pub fn end_in_our_own_time() {
    use nix::sys::signal::{SigSet, Signal};
    let requests = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT];
    // It fails only if it is called wrongly.
    let _ = requests.into_iter().collect::<SigSet>().thread_block();
}

/// Leaves every signal to the other threads of this process.
#[cfg(unix)]
pub fn hear_no_signals() {
    let _ = nix::sys::signal::SigSet::all().thread_block();
}

#[cfg(not(unix))]
pub fn leave_caller() {}

#[cfg(not(unix))]
pub fn hear_no_signals() {}

#[cfg(not(unix))]
pub fn end_in_our_own_time() {}

/// On Windows every program is started in the same way.
#[cfg(windows)]
pub fn spawn_ourselves(command: &mut Command) -> io::Result<Child> {
    spawn(command)
}

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
