//! Operations on single files: reading, replacing and removing them, and the reasons why they fail.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use anyhow::{Error, Result, anyhow, bail, ensure};

use super::permissions::{check_writable, nonblocking, remedy, rename};
use crate::error::temporary;
use crate::sandbox;
use crate::text::shell_path;

/// The maximum size of a file that can be refreshed, in bytes: a hundred times what credentials need.
pub const LARGEST: u64 = 1024 * 1024;
/// The maximum size to read, in bytes: whatever a refresh adds to the largest file can still be read.
const LARGEST_READ: u64 = 4 * LARGEST;

/// Reads a regular file that passes a check (`check_trusted` for our own), or returns `None` if it does not exist. Never
/// blocks, whatever is at that path.
pub fn read(path: &Path, check: fn(&Metadata) -> Result<()>) -> Result<Option<Vec<u8>>> {
    let mut file = match nonblocking().read(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let metadata = file.metadata()?;
    ensure!(metadata.is_file(), "it is not a regular file");
    check(&metadata)?;
    let size = metadata.len();
    ensure!(
        size <= LARGEST_READ,
        "it is larger than {LARGEST_READ} bytes"
    );
    let mut bytes = vec![0; usize::try_from(size)?];
    file.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// Replaces a file with a new one.
pub fn replace(new: &Path, target: &Path) -> Result<()> {
    rename(new, target).map_err(|error| describe(&error, target))?;
    sync_name(target);
    Ok(())
}

pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Makes a new, changed or removed file name survive a power cut. Some file systems cannot do that, and the change itself
/// is already made, so failures are ignored.
pub fn sync_name(path: &Path) {
    if let Some(Ok(folder)) = path.parent().map(File::open) {
        let _ = folder.sync_all();
    }
}

/// Fails if the path of one of our files holds anything else: a link would lead elsewhere.
pub fn check_regular(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            let (shown, word) = (path.display(), shell_path(path));
            bail!("{shown} is not a regular file: run rm -r {word}")
        }
        _ => Ok(()),
    }
}

/// Why a file cannot be opened, replaced or removed, with what to do about the usual causes.
pub fn describe(error: &io::Error, path: &Path) -> Error {
    let (shown, folder) = (path.display(), path.parent().unwrap_or(path));
    if let Some(words) = sandbox::cannot_write(error, folder) {
        return temporary(words);
    }
    if let Err(described) = check_regular(path) {
        return described;
    }
    match error.kind() {
        ErrorKind::ResourceBusy => {
            anyhow!("{shown} is a mount point, which cannot be replaced: mount its folder instead")
        }
        ErrorKind::ReadOnlyFilesystem => anyhow!(
            "{} is on a read-only file system: set CODEX_AUTH_HOME to a writable folder",
            folder.display()
        ),
        ErrorKind::PermissionDenied if check_writable(path).is_err() => {
            let (folder, remedy) = (folder.display(), remedy(folder));
            anyhow!("this user cannot write to {folder}: {remedy}")
        }
        ErrorKind::PermissionDenied => {
            anyhow!("{shown}: {error}: codex-auth doctor says what to do")
        }
        _ => anyhow!("{error}"),
    }
}
