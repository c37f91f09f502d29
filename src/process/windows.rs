//! Processes on Windows.

use std::io::{self, Write};
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether programs that we start end with our job, because `spawn` could not start them outside it.
static IN_JOB: AtomicBool = AtomicBool::new(false);

/// Starts a command without our console and, if allowed, outside our job, which would kill it when it ends. Its standard
/// streams are those that the command names.
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
            IN_JOB.store(true, Ordering::Relaxed);
            command.creation_flags(ALONE).spawn()
        }
        started => started,
    }
}

/// Keeps our standard streams private. A process inherits every inheritable handle, named or not, and ours are
/// inheritable, as we inherited them: a reader of our stdout would wait until the last such process exits.
fn keep_streams() {
    use filedescriptor::{FileDescriptor, StdioDescriptor};
    // Each is replaced with a copy that is not inheritable, and the original is closed. A missing stream cannot be
    // copied, and so cannot be inherited.
    let _ = FileDescriptor::redirect_stdio(&io::stdin(), StdioDescriptor::Stdin);
    let _ = FileDescriptor::redirect_stdio(&io::stdout(), StdioDescriptor::Stdout);
    let _ = FileDescriptor::redirect_stdio(&io::stderr(), StdioDescriptor::Stderr);
}

pub fn may_end_with_caller() -> bool {
    IN_JOB.load(Ordering::Relaxed)
}

/// Leaves the caller's folder, which could not be removed otherwise.
pub fn leave_caller() {
    let _ = std::env::set_current_dir(std::path::MAIN_SEPARATOR_STR);
}

pub fn block_signals() {}

pub fn unblock_signals() {}

pub fn kill_group(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

pub fn forbid_core_dumps() {}

pub fn stdout() -> io::Result<impl Write> {
    Ok(io::stdout())
}

/// Waits for the command, and exits with its exit code, which has 32 bits on Windows.
pub fn become_command(mut command: Command) -> io::Result<ExitCode> {
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(1))
}
