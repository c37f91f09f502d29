//! The lock on a profile's file: the right to replace it.
//!
//! It is beside the real file, after resolving links, so that two names for one file share one lock. The record itself is
//! locked, too, so that removing the lock file does not let a second process refresh at the same time. A file system
//! without locks is refused, because two processes could spend the same refresh token there.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::disk::{describe, remove_if_there, sync_name};
use super::permissions::{
    LOCKS_ARE_ADVISORY, check_folder, check_ours, create_private_folder, has_no_locks, is_at,
    nonblocking, open_private,
};
use super::record::{LOCK, recover, staged_path};
use super::{GITIGNORE, Store};
use crate::error::temporary;
use crate::time::within;

/// The right to replace the credentials, until it is dropped.
pub struct Lock<'a> {
    pub(super) store: &'a Store,
    /// The file that it protects.
    pub(super) target: PathBuf,
    /// The lock file, which is locked as long as it is open.
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// The record, locked as well, if it exists.
    pub(super) record: Option<File>,
}

impl Store {
    /// Waits for the lock, at most for `patience`; then the failure is temporary.
    pub fn lock(&self, patience: Duration) -> Result<Lock<'_>> {
        let begun = Instant::now();
        let lock = || loop {
            if !self.folder.is_dir() {
                self.create_folder()?;
            }
            check_folder(&self.folder)?;
            check_ours(&fs::metadata(&self.folder)?)?;
            let left = || patience.saturating_sub(begun.elapsed());
            let target = self.target()?;
            let path = target.with_extension(LOCK);
            let lock = Lock {
                store: self,
                file: acquire(&path, left())?,
                record: lock_record(&target, left())?,
                target,
                path,
            };
            // If one of them was removed or replaced meanwhile, its lock is worthless.
            let is_record = |record| is_at(record, &lock.target);
            let is_current =
                is_at(&lock.file, &lock.path) && lock.record.as_ref().is_none_or(is_record);
            if is_current && !recover(&lock.target)? {
                return Ok(lock);
            }
            if !is_current && begun.elapsed() > patience {
                bail!(temporary(
                    "its files are replaced again and again: try again later"
                ));
            }
        };
        lock().with_context(|| self.could_not("lock"))
    }

    fn create_folder(&self) -> Result<()> {
        let folder = &self.folder;
        create_private_folder(folder)
            .with_context(|| format!("could not create {}", folder.display()))?;
        // Some people keep their configuration folder in a repository, where credentials do not belong. If the file
        // cannot be written, they have to take care of that themselves.
        let _ =
            open_private(&folder.join(GITIGNORE), true).and_then(|mut file| file.write_all(b"*\n"));
        Ok(())
    }

    /// Whether another process holds the lock, as far as the system tells.
    pub fn is_locked(&self) -> bool {
        let path = self.target().map(|target| target.with_extension(LOCK));
        let file = path.map(|path| nonblocking().read(true).open(path));
        let Ok(Ok(file)) = file else { return false };
        // A shared lock blocks others for a moment only.
        file.metadata().is_ok_and(|found| found.is_file())
            && matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

impl Lock<'_> {
    /// Removes the credentials, anything that a refresh may have left beside them, and a pending device login. If it is a
    /// link, only the link is removed: its target may belong to another profile.
    pub fn remove(&self) -> Result<()> {
        let path = &self.store.path;
        let mut paths = vec![path.clone(), self.store.file("device")];
        if !path.is_symlink() {
            paths.push(staged_path(&self.target));
        }
        for left in paths {
            remove_if_there(&left)
                .map_err(|error| describe(&error, &left))
                .with_context(|| format!("could not remove {}", left.display()))?;
        }
        sync_name(path);
        Ok(())
    }
}

/// Opens and locks a lock file.
pub fn acquire(path: &Path, patience: Duration) -> Result<File> {
    let file = open_private(path, false).map_err(|error| describe(&error, path))?;
    lock(file, patience)
}

/// If it cannot be opened, the replacement will report that.
fn lock_record(target: &Path, patience: Duration) -> Result<Option<File>> {
    let opened = nonblocking().read(true).write(true).open(target).ok();
    let opened = opened.filter(|file| file.metadata().is_ok_and(|found| found.is_file()));
    let opened = opened.filter(|_| LOCKS_ARE_ADVISORY);
    opened.map(|file| lock(file, patience)).transpose()
}

fn lock(file: File, patience: Duration) -> Result<File> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => await_lock(file, patience),
        Err(TryLockError::Error(error)) if has_no_locks(&error) => bail!(
            "the file system does not support locks: set CODEX_AUTH_HOME to a folder on a local disk"
        ),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The system has no time limit for this. A lock that is taken too late is released again.
fn await_lock(file: File, patience: Duration) -> Result<File> {
    let wait = move || loop {
        match file.lock() {
            // A signal ends the wait, and std does not resume it.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => break result.map(|()| file),
        }
    };
    let words = "another process is using it: try again later";
    let in_use = |_| temporary(words);
    Ok(within(patience, wait).map_err(in_use)??)
}
