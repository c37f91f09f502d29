//! A device login that waits for the user, kept so that it can be resumed with the same code after an interruption. The
//! process that polls for it holds `<profile>.device-lock`.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};

use anyhow::{Context, Result};

use super::Store;
use super::disk::{read, remove_if_there};
use super::permissions::{check_folder, check_trusted, open_private};

impl Store {
    /// The stored pending device login, if any. An unreadable one counts as none, as a new code costs little.
    pub fn pending(&self) -> Option<Vec<u8>> {
        check_folder(&self.folder).ok()?;
        read(&self.file("device"), check_trusted).ok()?
    }

    /// Stores a pending device login, replacing any earlier one.
    pub fn keep_pending(&self, session: &[u8]) -> Result<()> {
        let path = self.file("device");
        let keep = || -> Result<()> {
            let new = self.file("device.new");
            remove_if_there(&new)?;
            open_private(&new, true)?.write_all(session)?;
            Ok(fs::rename(&new, &path)?)
        };
        keep().with_context(|| format!("could not write {}", path.display()))
    }

    /// The right to store a device login here and to poll for it, until the file is closed. `None` if another process has
    /// it.
    pub fn lock_pending(&self) -> Result<Option<File>> {
        let path = self.file("device-lock");
        let lock = || -> io::Result<Option<File>> {
            let file = open_private(&path, false)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => Ok(None),
                locked => Ok(locked.map(|()| Some(file))?),
            }
        };
        lock().with_context(|| format!("could not lock {}", path.display()))
    }

    /// Removes the pending device login, if any. The process that polls for it finds it gone.
    pub fn forget_pending(&self) {
        // If it cannot be removed, it expires within minutes.
        let _ = fs::remove_file(self.file("device"));
    }
}
