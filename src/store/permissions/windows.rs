//! On Windows, the folder is in the user's own profile, whose access list keeps others out, so there is nothing to check.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

pub use std::fs::create_dir_all as create_private_folder;

/// A lock prevents others from reading the file.
pub const LOCKS_ARE_ADVISORY: bool = false;

pub fn nonblocking() -> OpenOptions {
    OpenOptions::new()
}

/// Opens or creates a file. With `new`, nothing may exist at that path.
pub fn open_private(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).create_new(new);
    options.open(path)
}

/// Whether this file is the one at that path: an open file cannot be replaced.
pub fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

pub fn check_trusted(_: &Metadata) -> Result<()> {
    Ok(())
}

pub fn check_ours(_: &Metadata) -> Result<()> {
    Ok(())
}

pub fn check_folder(_: &Path) -> Result<()> {
    Ok(())
}

pub fn remedy(_: &Path) -> String {
    "set CODEX_AUTH_HOME to a folder of your own".to_owned()
}

pub fn mode(_: &Metadata) -> Option<u32> {
    None
}

pub fn check_writable(_: &Path) -> io::Result<()> {
    Ok(())
}

pub fn has_no_locks(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

/// Retries for a second if another program, such as a virus scanner, briefly has one of the files open. A missing
/// permission looks the same (`ERROR_ACCESS_DENIED`, `ERROR_SHARING_VIOLATION`).
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 0..20 {
        match fs::rename(from, to) {
            Err(error) if matches!(error.raw_os_error(), Some(5 | 32)) => {
                thread::sleep(Duration::from_millis(50));
            }
            renamed => return renamed,
        }
    }
    fs::rename(from, to)
}
