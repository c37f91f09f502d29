//! Who may access our files, and how to open files without following links or blocking.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Access, OFlags, access};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::text::shell_path;

pub use std::fs::rename;

/// A lock does not prevent others from reading the file.
pub const LOCKS_ARE_ADVISORY: bool = true;

/// Options that never wait for the other end of a FIFO or a device, but follow links.
pub fn nonblocking() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    options
}

/// Opens or creates a file that only its owner can read, under any umask and from the start. Does not follow a link at
/// that path, and opens nothing but a file; with `new`, nothing may exist there.
pub fn open_private(path: &Path, new: bool) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).create_new(new);
    options.mode(0o600).custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    if metadata.mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Whether this very file, not a link or another file, is at that path.
pub fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let open = file.metadata().map(identity);
    fs::symlink_metadata(path).is_ok_and(|found| open.is_ok_and(|open| open == identity(found)))
}

/// Creates a folder, and those above it, for its owner alone.
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// Refuses another user's file, which may have been planted. Root may read everyone's files.
pub fn check_trusted(metadata: &Metadata) -> Result<()> {
    if geteuid().is_root() {
        Ok(())
    } else {
        check_ours(metadata)
    }
}

/// Refuses a file that would change its owner if we replaced it.
pub fn check_ours(metadata: &Metadata) -> Result<()> {
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    ensure!(
        owner == user,
        "it belongs to user {owner}, but this is user {user}"
    );
    Ok(())
}

/// Refuses a folder that other users can add files to. A missing one is fine.
pub fn check_folder(folder: &Path) -> Result<()> {
    let metadata = match fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.with_context(|| format!("could not look at {}", folder.display()))?,
    };
    if metadata.mode() & 0o022 != 0 {
        bail!("other users can write to its folder: {}", remedy(folder));
    }
    check_trusted(&metadata)
        .with_context(|| format!("could not trust the folder {}", folder.display()))
}

/// What to do about the permissions of a folder. A shared one, or another user's, is left as it is.
pub fn remedy(folder: &Path) -> String {
    match fs::metadata(folder) {
        Ok(found) if found.mode() & 0o1000 == 0 && check_ours(&found).is_ok() => {
            format!("run chmod 700 {}", shell_path(folder))
        }
        _ => "set CODEX_AUTH_HOME to a folder of your own".to_owned(),
    }
}

/// The permissions of a file, as for chmod. `None` on systems without them.
pub fn mode(metadata: &Metadata) -> Option<u32> {
    Some(metadata.mode() & 0o1777)
}

/// Fails if this user may not create or replace a file, or nobody may (a read-only file system).
pub fn check_writable(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Whether a file system reported that it has no locks at all.
pub fn has_no_locks(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOLCK | Errno::NOSYS)) || error.kind() == ErrorKind::Unsupported
}
