//! Who may touch our files: all that differs between systems about that. On Windows the folder lies in the person's own
//! profile, whose access list keeps others out; there is nothing to add.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

/// Options that never wait for the other end of a FIFO or a device, and follow a link.
pub fn unwaiting() -> OpenOptions {
    let options = OpenOptions::new();
    #[cfg(unix)]
    let options = {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = options;
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
        options
    };
    options
}

/// Opens or creates a file that only its owner can read, under any umask and from its first instant. A link in its
/// place is not followed, and with `new` nothing at all may stand there.
pub fn open_private(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).create_new(new);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        options.mode(0o600).custom_flags(
            (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW)
                .bits()
                .cast_signed(),
        );
        let file = options.open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.permissions().mode() & 0o777 != 0o600 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}

/// Whether this file, and no other one and no link, is what stands at that path. Windows does not let anybody replace
/// what is open.
pub fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let open = file.metadata().map(identity);
        fs::symlink_metadata(path).is_ok_and(|found| open.is_ok_and(|open| open == identity(found)))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Refuses a file of another user: what stands there is none of our doing. Root may read the files of all.
pub fn check_trusted(metadata: &Metadata) -> Result<()> {
    #[cfg(unix)]
    if !rustix::process::geteuid().is_root() {
        check_ours(metadata)?;
    }
    #[cfg(not(unix))]
    let _ = metadata;
    Ok(())
}

/// Refuses a file that would change its owner if we replaced it.
pub fn check_ours(metadata: &Metadata) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != user {
            anyhow::bail!("it belongs to user {owner}, and this is user {user}");
        }
    }
    #[cfg(not(unix))]
    let _ = metadata;
    Ok(())
}

/// Who may do what with a file, as chmod writes it. None where there is no such thing.
pub fn mode(metadata: &Metadata) -> Option<u32> {
    #[cfg(unix)]
    let mode = Some(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777);
    #[cfg(not(unix))]
    let (mode, _) = (None, metadata);
    mode
}

/// How many names a file has. None where that cannot be told.
pub fn names(metadata: &Metadata) -> Option<u64> {
    #[cfg(unix)]
    let names = Some(std::os::unix::fs::MetadataExt::nlink(metadata));
    #[cfg(not(unix))]
    let (names, _) = (None, metadata);
    names
}

/// Refuses a folder that somebody else can put files into. One that is not there yet is fine.
pub fn check_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = match fs::metadata(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            metadata => {
                metadata.with_context(|| format!("could not look at {}", folder.display()))?
            }
        };
        if metadata.permissions().mode() & 0o022 != 0 {
            anyhow::bail!(
                "others can write to its folder: {}",
                advice_for(folder, &metadata)
            );
        }
        check_trusted(&metadata)
            .with_context(|| format!("could not trust the folder {}", folder.display()))?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// What to do about a folder that others can write to. One that is meant for all, or somebody else's, stays as it is.
#[cfg(unix)]
pub fn advice_for(folder: &Path, metadata: &Metadata) -> String {
    use std::os::unix::fs::PermissionsExt;
    let is_shared = metadata.permissions().mode() & 0o1000 != 0;
    if is_shared || check_ours(metadata).is_err() {
        return "set CODEX_AUTH_HOME to a folder of your own".to_owned();
    }
    format!("run chmod 700 {}", crate::text::shell_path(folder))
}

#[cfg(not(unix))]
pub fn advice_for(_: &Path, _: &Metadata) -> String {
    "set CODEX_AUTH_HOME to a folder of your own".to_owned()
}

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
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        result => result
            .map(|()| true)
            .with_context(|| format!("could not create {}", folder.display())),
    }
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        fs::DirBuilder::new().mode(0o700).create(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
    }
    #[cfg(not(unix))]
    fs::create_dir(folder)
}

/// Whether Windows refused because somebody has the file open. What has no permission looks the same to it
/// (`ERROR_ACCESS_DENIED`, `ERROR_SHARING_VIOLATION`).
pub fn is_in_use(error: &io::Error) -> bool {
    cfg!(windows) && matches!(error.raw_os_error(), Some(5 | 32))
}

/// Fails where this user may not put files into a folder, or nobody may (a read-only file system).
pub fn check_writable(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::fs::{Access, access};
        access(folder, Access::WRITE_OK | Access::EXEC_OK)?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Whether a file system said that it has no locks at all.
pub fn has_no_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    if let Some(errno) = rustix::io::Errno::from_io_error(error)
        && matches!(errno, rustix::io::Errno::NOLCK | rustix::io::Errno::NOSYS)
    {
        return true;
    }
    error.kind() == io::ErrorKind::Unsupported
}
