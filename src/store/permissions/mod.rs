//! Who may touch our files. What differs between systems is in `unix` and `windows`.

#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::text::shell_path;

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
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        result => result
            .map(|()| true)
            .with_context(|| format!("could not create {}", folder.display())),
    }
}

/// Refuses a file of another user, who may have put it there. Root may read the files of all.
pub fn check_trusted(metadata: &Metadata) -> Result<()> {
    match owner_and_user(metadata) {
        Some((_, 0)) => Ok(()),
        _ => check_ours(metadata),
    }
}

/// Refuses a file that would change its owner if we replaced it.
pub fn check_ours(metadata: &Metadata) -> Result<()> {
    match owner_and_user(metadata) {
        Some((owner, user)) if owner != user => {
            bail!("it belongs to user {owner}, but this is user {user}")
        }
        _ => Ok(()),
    }
}

/// Refuses a folder that other users can put files into. A missing one is fine.
pub fn check_folder(folder: &Path) -> Result<()> {
    let metadata = match fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.with_context(|| format!("could not look at {}", folder.display()))?,
    };
    if let Some(mode) = mode(&metadata).filter(|mode| mode & 0o022 != 0) {
        // A shared folder, or one that belongs to another user, is left as it is.
        let is_own = mode & 0o1000 == 0 && check_ours(&metadata).is_ok();
        let word = shell_path(folder);
        let own = is_own.then(|| format!("run chmod 700 {word}"));
        let advice = own.unwrap_or("set CODEX_AUTH_HOME to a folder of your own".to_owned());
        bail!("other users can write to its folder: {advice}");
    }
    check_trusted(&metadata)
        .with_context(|| format!("could not trust the folder {}", folder.display()))
}

/// Whether Windows refused because another process has the file open. A missing permission looks the same to it
/// (`ERROR_ACCESS_DENIED`, `ERROR_SHARING_VIOLATION`).
pub fn is_in_use(error: &io::Error) -> bool {
    cfg!(windows) && matches!(error.raw_os_error(), Some(5 | 32))
}
