//! Starting programs that outlive this process, becoming another program, and what other processes may see of this one.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::settings;

#[cfg_attr(unix, path = "process/unix.rs")]
#[cfg_attr(windows, path = "process/windows.rs")]
mod system;

pub use system::*;

/// Why a program could not be started, in a shell's words.
pub fn describe_start(error: &io::Error, program: &OsStr) -> String {
    let may_run = || settings::find_program(program).is_some();
    match error.kind() {
        ErrorKind::NotFound if !settings::has_path(program) => "command not found".to_owned(),
        ErrorKind::NotFound if !Path::new(program).exists() => "no such file".to_owned(),
        ErrorKind::NotFound if may_run() => "its interpreter was not found".to_owned(),
        ErrorKind::NotFound | ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
