//! The file beside the credentials that replaces them. Its space is reserved before the issuer is asked, and completely
//! written credentials are never thrown away.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};

use super::disk::{describe, remove_if_there, replace, sync_name};
use super::lock::{Lock, acquire};
use super::permissions::{LOCKS_ARE_ADVISORY, is_at, open_private};
use super::record::{Record, replaceable, staged_path};
use crate::credentials::Credentials;
use crate::error::temporary;

/// The space reserved for credentials whose size is not known yet, in bytes.
const ROOM: u64 = 16 * 1024;

/// A file beside the credentials, with space already reserved on the disk. What is saved to it replaces them, unless they
/// have changed since it was made. The lock is held until it is dropped.
pub struct StagedFile<'a> {
    lock: Lock<'a>,
    /// The credentials that it replaces, if there are any and they are not damaged.
    present: Option<Credentials>,
    file: File,
    path: PathBuf,
    /// The content to write: the same on each attempt, so that no attempt destroys a complete file.
    content: Vec<u8>,
    /// Whether the credentials in the file are complete, so that the next holder of the lock completes the replacement.
    pub is_complete: bool,
}

impl<'a> Lock<'a> {
    /// Reserves space for new credentials. After that, little can prevent saving them (a broken disk, a full one whose
    /// file system does not write in place, someone who puts something else there meanwhile). Also tests whether the file
    /// can be replaced, with its current content, unless the credentials `will_be_sealed` and the current ones are not:
    /// readable secrets are then not written again.
    pub fn stage(self, will_be_sealed: bool) -> Result<StagedFile<'a>> {
        let store = self.store;
        let stage = || -> Result<_> {
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
                staged.rehearse(text, room)?;
            }
            // Its name must survive a power cut, too.
            sync_name(&staged.path);
            Ok(staged)
        };
        stage().with_context(|| store.could_not("replace"))
    }
}

impl StagedFile<'_> {
    /// Replaces the credentials with these. Returns false if others are stored by now, or none: that stays so. After an
    /// error it can be tried again, and a complete file replaces them at the next lock.
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

    /// Like `save`, for callers that still have the credentials: on failure, the file keeps nothing of them.
    pub fn save_or_discard(mut self, credentials: &mut Credentials) -> Result<()> {
        let saved = self.save(credentials);
        self.is_complete = false;
        saved?.then_some(()).ok_or_else(changed)
    }

    /// Replaces the file with its own content, which shows that it can be replaced, and reserves the space again.
    fn rehearse(&mut self, content: Vec<u8>, room: u64) -> Result<()> {
        self.content = content;
        let tried = self.replace();
        self.is_complete = false;
        ensure!(tried?, changed());
        self.content.clear();
        let record = mem::replace(&mut self.file, create(&self.path, room)?);
        self.lock.record = LOCKS_ARE_ADVISORY.then_some(record);
        Ok(())
    }

    /// Returns false if the credentials must not be replaced any more.
    fn replace(&mut self) -> Result<bool> {
        // If the lock file is gone, others lock a new one, but then they wait for the record.
        let is_record = |record| is_at(record, &self.lock.target);
        let is_locked_record = self.lock.record.as_ref().is_some_and(is_record);
        if !is_locked_record && !is_at(&self.lock.file, &self.lock.path) {
            if !self.is_current()? {
                return Ok(false);
            }
            self.lock.file = acquire(&self.lock.path, Duration::ZERO)?;
        }
        if !is_at(&self.file, &self.path) {
            // It was removed while we waited for the response, or replaced with another one.
            self.is_complete = false;
            self.file = create(&self.path, 0)?;
        }
        self.file.rewind()?;
        // The length comes first: then only the bytes themselves are missing, and the last one completes the file.
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

    /// Whether the credentials to replace are still there. Anyone may replace a damaged file.
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
            // The leftover consists of zeros, and the next process to take the lock removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a file with this much space. It becomes the record, so like a record it is locked from the start.
fn create(path: &Path, room: u64) -> Result<File> {
    let create = || {
        remove_if_there(path)?;
        let mut file = open_private(path, true)?;
        if LOCKS_ARE_ADVISORY {
            // Nobody else has it.
            file.try_lock()?;
        }
        // Zeros, on the disk, as some file systems only allocate a block when it is written.
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
