//! Owners, modes, and files that are opened without being followed or waited for.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, OFlags, access};
use rustix::io::Errno;
use rustix::process::geteuid;

/// A lock keeps nobody from reading the file.
pub const LOCKS_ARE_ADVISORY: bool = true;

/// Options that never wait for the other end of a FIFO or a device, and follow a link.
pub fn nonblocking() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    options
}

/// Opens or creates a file that only its owner can read, under any umask and from its first instant. A link at that path is
/// not followed, and with `new` nothing at all may be there.
pub fn open_private(path: &Path, new: bool) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).create_new(new);
    options.mode(0o600).custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Whether this file, and no other one and no link, is what is at that path.
pub fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let open = file.metadata().map(identity);
    fs::symlink_metadata(path).is_ok_and(|found| open.is_ok_and(|open| open == identity(found)))
}

/// Whose a file is, and who we are. None where that cannot be told.
pub fn owner_and_user(metadata: &Metadata) -> Option<(u32, u32)> {
    Some((metadata.uid(), geteuid().as_raw()))
}

/// Who may do what with a file, as chmod writes it. None where there is no such thing.
pub fn mode(metadata: &Metadata) -> Option<u32> {
    Some(metadata.mode() & 0o1777)
}

pub(super) fn create_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// Fails where this user may not put files into a folder, or nobody may (a read-only file system).
pub fn check_writable(folder: &Path) -> io::Result<()> {
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Whether a file system said that it has no locks at all.
pub fn has_no_locks(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOLCK | Errno::NOSYS)) || error.kind() == ErrorKind::Unsupported
}
