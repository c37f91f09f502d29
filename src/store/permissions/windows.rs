//! On Windows the folder lies in the person's own profile, whose access list keeps others out: there is nothing to add.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

/// A lock keeps others from reading the file.
pub const LOCKS_ARE_ADVISORY: bool = false;

pub fn nonblocking() -> OpenOptions {
    OpenOptions::new()
}

/// Opens or creates a file. With `new` nothing may be at that path.
pub fn open_private(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).create_new(new);
    options.open(path)
}

/// Whether this file is what is at that path: nobody can replace what is open.
pub fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

pub fn owner_and_user(_: &Metadata) -> Option<(u32, u32)> {
    None
}

pub fn mode(_: &Metadata) -> Option<u32> {
    None
}

pub(super) fn create_private_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)
}

pub fn check_writable(_: &Path) -> io::Result<()> {
    Ok(())
}

pub fn has_no_locks(error: &io::Error) -> bool {
    error.kind() == ErrorKind::Unsupported
}
