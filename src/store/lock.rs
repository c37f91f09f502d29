//! The lock on a profile's file: the right to replace it.
//!
//! It lies beside the real file: links are resolved first, so that two names for one file share one lock. The record itself is
//! locked, too: removing the lock file must not let a second process refresh what the first one is refreshing. A file
//! system without locks is refused: two processes would spend the same refresh token there.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::disk::{check_regular, describe, remove_if_there, sync_folder};
use super::permissions::{
    LOCKS_ARE_ADVISORY, check_folder, check_ours, create_private_folder, has_no_locks, is_at,
    nonblocking, open_private,
};
use super::record::{lock_path, recover, staged_path};
use super::{GITIGNORE, Store};
use crate::error::Failure;
use crate::time::within;

/// The right to replace the credentials, until it is dropped.
pub struct Lock<'a> {
    pub(super) store: &'a Store,
    /// The file that it protects.
    pub(super) target: PathBuf,
    /// Locked as long as it is open.
    file: File,
    /// The record, locked as well, if it exists.
    pub(super) record: Option<File>,
}

impl Store {
    /// Waits for the lock, at most for `patience`; then the failure is temporary.
    pub fn lock(&self, patience: Duration) -> Result<Lock<'_>> {
        let begun = Instant::now();
        let lock = || loop {
            self.prepare_folder()?;
            let left = || patience.saturating_sub(begun.elapsed());
            let target = self.target()?;
            let lock = Lock {
                store: self,
                file: acquire(&lock_path(&target), left())?,
                record: lock_record(&target, left())?,
                target,
            };
            // One of them may have been removed or replaced meanwhile: then its lock is worthless.
            let is_record = |record| is_at(record, &lock.target);
            if is_at(&lock.file, &lock_path(&lock.target))
                && lock.record.as_ref().is_none_or(is_record)
            {
                if !recover(&lock.target)? {
                    return Ok(lock);
                }
            } else if begun.elapsed() > patience {
                let words = "its files are replaced again and again: try again later";
                bail!(Failure::Temporary(words.to_owned()));
            }
        };
        lock().with_context(|| self.could_not("lock"))
    }

    fn prepare_folder(&self) -> Result<()> {
        let folder = &self.folder;
        if !folder.is_dir() {
            create_private_folder(folder)
                .with_context(|| format!("could not create {}", folder.display()))?;
            // People keep their configuration folder in a repository: the credentials do not belong there. Without the
            // file they merely have to see to it themselves.
            let _ = open_private(&folder.join(GITIGNORE), true)
                .and_then(|mut file| file.write_all(b"*\n"));
        }
        check_folder(folder)?;
        check_ours(&fs::metadata(folder)?)
    }

    /// Fails as `lock` does where nobody could lock the file.
    pub fn check_lockable(&self) -> Result<()> {
        let target = self.target().map(drop);
        target.with_context(|| self.could_not("lock"))
    }

    /// The process that holds the lock, as far as the system tells; none if nobody does, or if there is no lock yet.
    pub fn locked_by(&self) -> Option<String> {
        let path = lock_path(&self.target().ok()?);
        let file = nonblocking().read(true).open(path).ok()?;
        if !file.metadata().is_ok_and(|found| found.is_file()) {
            return None;
        }
        // A shared lock blocks others for a moment only.
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(holder(&file)),
            _ => None,
        }
    }
}

impl Lock<'_> {
    /// Removes the credentials, what a refresh may have left beside them, and a device login that waits. Of a link only the
    /// link is removed: what it leads to may be another profile's.
    pub fn remove(&self) -> Result<()> {
        let path = self.store.path();
        let mut paths = vec![path.clone(), self.store.file("device")];
        if !path.is_symlink() {
            paths.push(staged_path(&self.target));
        }
        for path in paths {
            remove_if_there(&path)
                .with_context(|| format!("could not remove {}", path.display()))?;
        }
        sync_folder(&self.store.folder);
        Ok(())
    }

    /// Whether nobody else can be at it: if the lock file is gone, others lock a new one, but then they wait for the record.
    pub(super) fn is_held(&self) -> bool {
        let is_record = |record| is_at(record, &self.target);
        is_at(&self.file, &lock_path(&self.target)) || self.record.as_ref().is_some_and(is_record)
    }

    /// Takes it again because its file was removed.
    pub(super) fn regain(&mut self) -> Result<()> {
        self.file = acquire(&lock_path(&self.target), Duration::ZERO)?;
        Ok(())
    }
}

fn acquire(path: &Path, patience: Duration) -> Result<File> {
    check_regular(path)?;
    let file = open_private(path, false).map_err(|error| describe(&error, path))?;
    lock(file, patience)
}

/// Where it cannot be opened, the replacement will say so.
fn lock_record(target: &Path, patience: Duration) -> Result<Option<File>> {
    let opened = nonblocking().read(true).write(true).open(target).ok();
    let opened = opened.filter(|file| file.metadata().is_ok_and(|found| found.is_file()));
    let opened = opened.filter(|_| LOCKS_ARE_ADVISORY);
    opened.map(|file| lock(file, patience)).transpose()
}

/// A lock cannot be awaited with a time limit. One that is taken too late is given back.
fn lock(file: File, patience: Duration) -> Result<File> {
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) if has_no_locks(&error) => {
            bail!(
                "the file system does not support locks: set CODEX_AUTH_HOME to a folder on a local disk"
            )
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let holder = holder(&file);
    let wait = move || loop {
        match file.lock() {
            // A signal ends the wait, and std does not start it again.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => break result.map(|()| file),
        }
    };
    let in_use = |_| Failure::Temporary(format!("{holder} is using it: try again later"));
    Ok(within(patience, wait).map_err(in_use)??)
}

/// The process that holds a lock, where the system tells: Linux does so in /proc/locks (proc(5)).
#[cfg(target_os = "linux")]
fn holder(file: &File) -> String {
    use std::os::unix::fs::MetadataExt;
    let pid = || {
        let inode = file.metadata().ok()?.ino();
        let locks = fs::read_to_string("/proc/locks").ok()?;
        locks.lines().find_map(|line| pid_in(line, inode))
    };
    let Some(pid) = pid() else {
        return "another process".to_owned();
    };
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match command.trim() {
        "" => format!("process {pid}"),
        name => format!("process {pid} ({})", crate::text::printable(name)),
    }
}

#[cfg(not(target_os = "linux"))]
fn holder(_: &File) -> String {
    "another process".to_owned()
}

/// The process in a line such as `1: FLOCK  ADVISORY  WRITE 4711 fe:01:123456 0 EOF`, if it is about this inode.
#[cfg(target_os = "linux")]
fn pid_in(line: &str, inode: u64) -> Option<u32> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let at = fields.iter().position(|field| *field == "WRITE")?;
    let is_it = fields[1] == "FLOCK" && fields.get(at + 2)?.ends_with(&format!(":{inode}"));
    is_it.then(|| fields[at + 1].parse().ok())?
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_among_the_locks_of_the_system() {
        let line = "3: FLOCK  ADVISORY  WRITE 4711 fe:01:123456 0 EOF";
        assert_eq!(pid_in(line, 123_456), Some(4711));
        assert_eq!(pid_in(line, 23456), None);
        let waiting = "3: -> FLOCK  ADVISORY  WRITE 4712 fe:01:123456 0 EOF";
        assert_eq!(pid_in(waiting, 123_456), None);
        assert_eq!(
            pid_in("3: POSIX  ADVISORY  WRITE 4711 fe:01:123456 0 EOF", 123_456),
            None
        );
        assert_eq!(pid_in("", 1), None);
    }
}
