//! Who may touch our files. What differs between systems is in `unix` and `windows`.

#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result};

#[cfg(unix)]
pub use unix::*;
#[cfg(not(unix))]
pub use windows::*;

/// Creates a folder, and those above it, for its owner alone, under any umask. Says whether it was not there before.
pub fn create_folder(folder: &Path) -> Result<bool> {
    if folder.is_dir() {
        return Ok(false);
    }
    if let Some(above) = folder.parent() {
        create_folder(above)?;
    }
    match create_private_folder(folder) {
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        result => result
            .map(|()| true)
            .with_context(|| format!("could not create {}", folder.display())),
    }
}

/// Whether Windows refused because somebody has the file open. A missing permission looks the same to it
/// (`ERROR_ACCESS_DENIED`, `ERROR_SHARING_VIOLATION`).
pub fn is_in_use(error: &io::Error) -> bool {
    cfg!(windows) && matches!(error.raw_os_error(), Some(5 | 32))
}
