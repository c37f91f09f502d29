//! The file beside the credentials that replaces them: room for it is made before the issuer is asked, and what was
//! written completely is never thrown away.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::mem;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};

use super::Lock;
use super::disk::{describe, remove_if_there, replace, sync_name};
use super::permissions::{LOCKS_ARE_ADVISORY, is_at, open_private};
use super::record::{Record, replaceable, staged_path};
use crate::credentials::Credentials;
use crate::error::temporary;

/// Room for credentials whose size is not known yet, in bytes.
const ROOM: u64 = 16 * 1024;

/// A file beside the credentials with its bytes already on the disk. What is saved into it replaces them, if they are still
/// those that were there when it was made. The lock is held until it is dropped.
pub struct StagedFile<'a> {
    lock: Lock<'a>,
    /// What it is to replace, if there is anything that is not damaged.
    present: Option<Credentials>,
    file: File,
    path: PathBuf,
    /// What is to be written: the same at each try, so that no try loses what is complete.
    content: Vec<u8>,
    /// Whether the credentials in the file are complete: then it is worth keeping, even if it could not replace them.
    is_complete: bool,
}

impl<'a> Lock<'a> {
    /// Makes room for the credentials that are about to come: afterwards little can keep them from being saved (a broken
    /// disk, a full one whose file system writes nothing in place, somebody who puts something in the way meanwhile). That
    /// the file can be replaced at all is tried out with its present content, unless the credentials `will_be_sealed` and
    /// that is not: nothing that can be read is written once more then.
    pub fn stage(self, will_be_sealed: bool) -> Result<StagedFile<'a>> {
        let store = self.store;
        let stage = || {
            let found = replaceable(&self.target)?;
            let (text, present) = found.map(|it| (it.text, it.credentials)).unzip();
            let room = 2 * text.as_ref().map_or(0, Vec::len) as u64 + ROOM;
            let path = staged_path(&self.target);
            let mut staged = StagedFile {
                lock: self,
                present: present.flatten(),
                file: create(&path, room)?,
                path,
                content: Vec::new(),
                is_complete: false,
            };
            let is_sealed = staged.present.as_ref().is_some_and(Credentials::is_sealed);
            if let Some(text) = text.filter(|_| is_sealed || !will_be_sealed) {
                staged.content = text;
                let tried = staged.replace();
                staged.is_complete = false;
                ensure!(tried?, changed());
                staged.content.clear();
                let record = mem::replace(&mut staged.file, create(&staged.path, room)?);
                staged.lock.record = LOCKS_ARE_ADVISORY.then_some(record);
            }
            // Its name must survive a power cut, too.
            sync_name(&staged.path);
            Ok(staged)
        };
        stage().with_context(|| store.could_not("replace"))
    }
}

impl StagedFile<'_> {
    /// Replaces the credentials with these. False: others are there by now, or none, and that stays so. If it fails, it can
    /// be tried again, and what was written completely replaces them at the next lock.
    pub fn save(&mut self, credentials: &mut Credentials) -> Result<bool> {
        let mut save = || {
            if self.content.is_empty() {
                let replaced = self.present.as_ref();
                credentials.replaces = replaced.and_then(|it| it.last_refresh.clone());
                self.content = credentials.to_json()?;
            }
            self.replace()
        };
        save().with_context(|| format!("could not save {}", self.lock.target.display()))
    }

    /// The same where no answer is awaited: if it fails, nothing of the credentials stays.
    pub fn save_or_discard(mut self, credentials: &mut Credentials) -> Result<()> {
        let saved = self.save(credentials);
        self.is_complete = false;
        saved?.then_some(()).ok_or_else(changed)
    }

    /// Whether the credentials are safe in the staged file, so that the next holder of the lock completes it.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// False: it is not to be replaced any more.
    fn replace(&mut self) -> Result<bool> {
        // If the lock file is gone, others lock a new one, but then they wait for the record.
        let is_record = |record| is_at(record, &self.lock.target);
        let is_locked_record = self.lock.record.as_ref().is_some_and(is_record);
        if !is_locked_record && !is_at(&self.lock.file, &self.lock.path) {
            if !self.is_current()? {
                return Ok(false);
            }
            self.lock.regain()?;
        }
        if !is_at(&self.file, &self.path) {
            // Somebody has removed it while the answer was awaited, or put another in its place.
            self.is_complete = false;
            self.file = create(&self.path, 0)?;
        }
        self.file.rewind()?;
        // First the length: nothing but the bytes themselves is missing then, and with the last of them they are complete.
        self.file.set_len(self.content.len() as u64)?;
        self.file.write_all(&self.content)?;
        self.is_complete = true;
        self.file.sync_all()?;
        if !self.is_current()? {
            self.is_complete = false;
            return Ok(false);
        }
        replace(&self.path, &self.lock.target)?;
        Ok(true)
    }

    /// Whether what is to be replaced is still there. A damaged file may be replaced by anybody.
    fn is_current(&self) -> Result<bool> {
        let found = Record::at(&self.lock.target)?.map(|found| found.credentials);
        Ok(match (&self.present, found) {
            (_, Some(None)) | (None, None) => true,
            (Some(present), Some(Some(found))) => present.are_same(&found),
            _ => false,
        })
    }
}

impl Drop for StagedFile<'_> {
    fn drop(&mut self) {
        if !self.is_complete && is_at(&self.file, &self.path) {
            // What stays behind is zeros, and the next one to take the lock removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A new file with room for so many bytes. It becomes the record: so it is locked from the start, as that is.
fn create(path: &Path, room: u64) -> Result<File> {
    let create = || {
        remove_if_there(path)?;
        let mut file = open_private(path, true)?;
        if LOCKS_ARE_ADVISORY {
            // Nobody else has it.
            file.try_lock()?;
        }
        // Zeros, on the disk: some file systems give a block only when it is written.
        io::copy(&mut io::repeat(0).take(room), &mut file)
            .and_then(|_| file.sync_all())
            .inspect_err(|_| drop(fs::remove_file(path)))?;
        Ok(file)
    };
    create().map_err(|error: io::Error| describe(&error, path))
}

fn changed() -> Error {
    temporary("another process has changed or removed the stored login meanwhile: try again")
}
