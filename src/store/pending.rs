//! A device login that waits for the person: kept so that a login that was interrupted goes on with the same code. Who polls
//! for it holds `<profile>.device-lock`.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};

use super::permissions::{check_folder, open_private};
use super::{Store, read, remove_if_there};

/// How long a refresh or another login may hold the lock.
const PATIENCE: Duration = Duration::from_secs(90);

impl Store {
    /// The device login that waits for the person, as it was kept, or none. One that cannot be read is as good as none: a
    /// new code costs little.
    pub fn pending(&self) -> Option<Vec<u8>> {
        check_folder(&self.folder).ok()?;
        read(&self.file("device")).ok()?
    }

    /// Keeps a device login that waits for the person. False: another one is there already, and stays.
    pub fn keep_pending(&self, session: &[u8]) -> Result<bool> {
        let path = self.file("device");
        let keep = || -> Result<bool> {
            let _lock = self.lock(PATIENCE)?;
            if self.pending().is_some() {
                return Ok(false);
            }
            let new = self.file("device.new");
            remove_if_there(&new)?;
            open_private(&new, true)?.write_all(session)?;
            fs::rename(&new, &path)?;
            Ok(true)
        };
        keep().with_context(|| format!("could not write {}", path.display()))
    }

    /// Holds off other processes that poll for the device login which waits. It does not wait for them.
    pub fn lock_pending(&self) -> Result<File, TryLockError> {
        let file = open_private(&self.file("device-lock"), false).map_err(TryLockError::Error)?;
        file.try_lock()?;
        Ok(file)
    }

    /// Whether this device login waits for the person.
    pub fn is_pending(&self, session: &[u8]) -> bool {
        self.pending().as_deref() == Some(session)
    }

    /// Removes whatever device login waits: it is not for a login that is sealed. Who polls for it finds it gone.
    pub fn forget_pending(&self) {
        // What cannot be removed ends by itself within minutes.
        let _ = fs::remove_file(self.file("device"));
    }

    /// Removes the device login that waited, if it is this one. What cannot be removed ends by itself within minutes.
    pub fn remove_pending(&self, session: &[u8]) {
        if self.is_pending(session) {
            let _ = fs::remove_file(self.file("device"));
        }
    }
}
