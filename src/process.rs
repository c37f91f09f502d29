//! Processes: those that outlive us and hear nothing of us, the one that takes our place, and what others may see of ours.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Child;

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

pub use system::{
    become_command, block_signals, forbid_core_dumps, leave_caller, may_end_with_caller, spawn,
    stdout, unblock_signals,
};

/// Kills a program that `spawn` started, and what it has started itself and left in its process group.
pub fn kill_group(child: &mut Child) {
    system::kill_group(child);
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
