//! The file beside the credentials that replaces them: room for it is made before the issuer is asked, and what was
//! written completely is never thrown away.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::permissions::{LOCKS_ARE_ADVISORY, check_ours, is_at, is_in_use, open_private};
use super::{LARGEST, Lock, describe, lock, parent, read, remove_if_there, sync_folder};
use crate::credentials::Credentials;
use crate::error::{self, Failure};
use crate::text::shell_path;

/// Room for credentials whose size is not known yet, in bytes.
const ROOM: u64 = 16 * 1024;

/// A file beside the credentials with its bytes already on the disk. What is saved into it replaces them, if they are still
/// those that were there when it was made.
pub struct StagedFile<'a> {
    lock: &'a Lock<'a>,
    /// The lock, taken again because its file had been removed.
    regained: Option<File>,
    /// The record that it is to replace, as it was read; and its file, which is locked.
    present: Option<Vec<u8>>,
    record: Option<File>,
    file: File,
    path: PathBuf,
    /// What is to be written: the same at each try, so that no try loses what is complete.
    content: Vec<u8>,
    /// Whether the credentials in the file are complete: then it is worth keeping, even if it could not replace them.
    is_complete: bool,
}

impl<'a> StagedFile<'a> {
    /// Tries the replacement out with the present content, unless that must not be written once more: `sealed_only`.
    pub(super) fn create(lock: &'a Lock<'a>, sealed_only: bool) -> Result<Self> {
        let create = || {
            let present = check_replaceable(&lock.target)?;
            let size = present.as_ref().map_or(0, |present| present.len() as u64);
            let mut record = lock.record.as_ref().map(File::try_clone).transpose()?;
            let is_sealed = |text: &Vec<u8>| {
                Credentials::parse(text.clone()).is_ok_and(|present| present.is_sealed())
            };
            if let Some(content) = present
                .clone()
                .filter(|text| !sealed_only || is_sealed(text))
            {
                let mut trial = Self::filled(lock, present.clone(), record, size)?;
                trial.content = content;
                if !trial.replace()? {
                    return Err(changed());
                }
                // What is open cannot be replaced on Windows.
                let kept = LOCKS_ARE_ADVISORY.then(|| trial.file.try_clone());
                record = kept.transpose()?;
            }
            let staged = Self::filled(lock, present, record, 2 * size + ROOM)?;
            // Its name must survive a power cut, too.
            sync_folder(parent(&lock.target));
            Ok(staged)
        };
        create().with_context(|| lock.store.could_not("replace"))
    }

    fn filled(
        lock: &'a Lock<'a>,
        present: Option<Vec<u8>>,
        record: Option<File>,
        size: u64,
    ) -> Result<Self> {
        let path = path(&lock.target);
        remove_if_there(&path)?;
        let mut file = create_locked(&path).map_err(|error| describe(&error, &path))?;
        // Zeros, on the disk: some file systems give a block only when it is written.
        io::copy(&mut io::repeat(0).take(size), &mut file)
            .and_then(|_| file.sync_all())
            .inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(Self {
            lock,
            regained: None,
            present,
            record,
            file,
            path,
            content: Vec::new(),
            is_complete: false,
        })
    }

    /// Replaces the credentials with these. False: others are there by now, or none, and that stays so. If it fails, it can
    /// be tried again, and what was written completely replaces them at the next lock.
    pub fn save(&mut self, credentials: &mut Credentials) -> Result<bool> {
        let mut save = || {
            if self.content.is_empty() {
                let present = self.present.clone().map(Credentials::parse);
                let present = present.and_then(Result::ok);
                credentials.replaces = present.and_then(|present| present.last_refresh);
                self.content = credentials.to_json()?;
            }
            self.replace()
        };
        save().with_context(|| format!("could not save {}", self.lock.target.display()))
    }

    /// The same for credentials that are given up if they cannot be stored: then nothing of them stays.
    pub fn save_or_discard(mut self, credentials: &mut Credentials) -> Result<()> {
        let saved = self.save(credentials);
        self.is_complete = matches!(saved, Ok(true));
        if saved? {
            return Ok(());
        }
        Err(changed()).with_context(|| format!("could not save {}", self.lock.target.display()))
    }

    /// Whether the credentials are safe in the staged file, so that the next holder of the lock completes it.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// False: it is not to be replaced any more.
    fn replace(&mut self) -> Result<bool> {
        if !self.is_locked() {
            if !self.is_current()? {
                return Ok(false);
            }
            let path = lock::path(&self.lock.target);
            self.regained = Some(lock::acquire(&path, Duration::ZERO)?);
        }
        self.write()?;
        if !self.is_current()? {
            self.is_complete = false;
            return Ok(false);
        }
        rename(&self.path, &self.lock.target)?;
        Ok(true)
    }

    /// Whether nobody else can be at it: if the lock file is gone, others lock a new one, but then they wait for the record.
    fn is_locked(&self) -> bool {
        let lock = self.regained.as_ref().unwrap_or(&self.lock.file);
        let is_locked_record = |record| is_at(record, &self.lock.target);
        is_at(lock, &lock::path(&self.lock.target))
            || LOCKS_ARE_ADVISORY && self.record.as_ref().is_some_and(is_locked_record)
    }

    /// Whether what is to be replaced is still there. A damaged file is nobody's; one that a newer version wrote is.
    fn is_current(&self) -> Result<bool> {
        let found = read(&self.lock.target)?;
        let (Some(found), Some(present)) = (&found, &self.present) else {
            return Ok(found == self.present);
        };
        if found == present {
            return Ok(true);
        }
        let present = Credentials::parse(present.clone());
        Ok(match Credentials::parse(found.clone()) {
            Ok(found) => present.is_ok_and(|present| present.are_same(&found)),
            Err(error) => error::exit_code(&error) != 1,
        })
    }

    fn write(&mut self) -> Result<()> {
        if !is_at(&self.file, &self.path) {
            // Somebody has removed it while the answer was awaited, or put another in its place.
            self.is_complete = false;
            remove_if_there(&self.path)?;
            self.file = create_locked(&self.path)?;
        }
        self.file.rewind()?;
        // First the length: nothing but the bytes themselves is missing then, and with the last of them they are complete.
        self.file.set_len(self.content.len() as u64)?;
        self.file.write_all(&self.content)?;
        self.is_complete = true;
        Ok(self.file.sync_all()?)
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

/// It becomes the record: so it is locked from the start, as that is.
fn create_locked(path: &Path) -> io::Result<File> {
    let file = open_private(path, true)?;
    if LOCKS_ARE_ADVISORY {
        // Nobody else has it.
        file.try_lock()?;
    }
    Ok(file)
}

fn changed() -> anyhow::Error {
    let words = "another process has changed or removed it meanwhile: try again";
    Failure::Temporary(words.to_owned()).into()
}

/// Lets a file that was written completely, but had not replaced its record when its writer was killed, replace it now. To be
/// called under the lock. Says whether it did.
pub(super) fn recover(target: &Path) -> Result<bool> {
    let path = &path(target);
    // Without a refresh token a record of the issuer's would lose the login.
    let is_of_use = |staged: &Credentials| {
        staged.is_closed() || staged.tokens.refresh_token.is_some() || staged.source().is_stored()
    };
    let Some(staged) = check_staged(path)?.filter(is_of_use) else {
        return Ok(remove_if_there(path).map(|()| false)?);
    };
    // It is put over no other record than the one that it was made for, and not where that has been removed.
    let is_for_this = match read(target)?.map(Credentials::parse) {
        Some(Ok(present)) => staged.replaces.is_some() && staged.replaces == present.last_refresh,
        Some(Err(error)) if error::exit_code(&error) != error::LOGIN_REQUIRED => return Err(error),
        Some(Err(_)) => true,
        None => staged.replaces.is_none(),
    };
    if is_for_this {
        return rename(path, target).map(|()| true);
    }
    Ok(remove_if_there(path).map(|()| false)?)
}

/// The credentials in a staged file that was left behind, if they are complete. Fails where no refresh can go on: it is a
/// folder, or a newer version wrote it.
fn check_staged(path: &Path) -> Result<Option<Credentials>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => lock::check_regular(path)?,
        // Anything but a file is not ours.
        Ok(found) if !found.is_file() => return Ok(None),
        _ => {}
    }
    let found = read(path).and_then(|bytes| bytes.map(Credentials::parse).transpose());
    match found {
        // A damaged one was not written completely.
        Err(error) if error::exit_code(&error) == error::LOGIN_REQUIRED => Ok(None),
        found => found.with_context(|| format!("could not read {}", path.display())),
    }
}

/// The path of the staged file of a file.
pub(super) fn path(target: &Path) -> PathBuf {
    let mut path = target.to_owned();
    path.as_mut_os_string().push(".new");
    path
}

/// What is at that path now, if it may be replaced by this user and this version.
pub(super) fn check_replaceable(target: &Path) -> Result<Option<Vec<u8>>> {
    if target.is_symlink() {
        let word = shell_path(target);
        bail!("it is a dangling link: run rm {word}");
    }
    check_staged(&path(target))?;
    let Some(present) = read(target)? else {
        return Ok(None);
    };
    let metadata = fs::metadata(target)?;
    check_ours(&metadata)?;
    if metadata.permissions().readonly() {
        let word = shell_path(target);
        bail!("the file is read-only: run chmod 600 {word}");
    }
    if metadata.len() > LARGEST {
        bail!("it is larger than {LARGEST} bytes, so it is not a credentials file");
    }
    match Credentials::parse(present.clone()) {
        // A damaged file may be replaced.
        Err(error) if error::exit_code(&error) == 1 => Err(error),
        _ => Ok(Some(present)),
    }
}

/// Retries for a second if another program, such as a virus scanner, briefly has one of the files open.
fn rename(new: &Path, target: &Path) -> Result<()> {
    let mut renamed = fs::rename(new, target);
    for _ in 0..20 {
        if !renamed.as_ref().is_err_and(is_in_use) {
            break;
        }
        thread::sleep(Duration::from_millis(50));
        renamed = fs::rename(new, target);
    }
    renamed.map_err(|error| describe(&error, target))?;
    sync_folder(parent(target));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(day: u32, replaces: Option<u32>) -> String {
        let replaces = replaces.map(|day| format!("2026-01-0{day}T00:00:00Z"));
        let tokens = serde_json::json!({"refresh_token": "r"});
        serde_json::json!({"tokens": tokens, "last_refresh": format!("2026-01-0{day}T00:00:00Z"), "replaces": replaces})
            .to_string()
    }

    #[test]
    fn what_was_written_whole_replaces_the_record_that_it_was_made_for() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("default.json");
        let present = record(4, Some(3));
        for (present, left, is_put) in [
            (Some(&*present), &record(5, Some(4))[..50], false),
            (Some(&present), &record(5, Some(4)), true),
            // An older one, from a backup; one for another record; one of an unknown version; a copy of the record.
            (Some(&present), &record(3, Some(2)), false),
            (Some(&present), &record(5, Some(3)), false),
            (Some(&present), &record(5, None), false),
            (Some(&present), &present, false),
            (Some("damaged"), &record(5, None), true),
            // The record was removed, or there was none yet.
            (None, &record(5, Some(4)), false),
            (None, &record(5, None), true),
        ] {
            let _ = fs::remove_file(&target);
            if let Some(present) = present {
                fs::write(&target, present).unwrap();
            }
            fs::write(path(&target), left).unwrap();
            assert_eq!(recover(&target).unwrap(), is_put, "{present:?} {left}");
            let expected = if is_put { Some(left) } else { present };
            assert_eq!(fs::read_to_string(&target).ok().as_deref(), expected);
            assert!(!path(&target).exists());
        }
    }

    #[test]
    fn a_record_of_a_newer_version_is_not_replaced_by_what_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("default.json");
        fs::write(&target, r#"{"version":9}"#).unwrap();
        fs::write(path(&target), record(5, Some(4))).unwrap();
        assert!(recover(&target).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), r#"{"version":9}"#);
        assert!(path(&target).exists());
    }

    #[test]
    fn a_staged_file_that_is_a_folder_or_newer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("default.json");
        fs::write(&target, record(1, None)).unwrap();
        let named = path(&target).display().to_string();
        let message = |result: Result<()>| format!("{:#}", result.unwrap_err());
        fs::write(path(&target), r#"{"version":9}"#).unwrap();
        assert!(message(check_replaceable(&target).map(drop)).contains(&named));
        assert!(message(recover(&target).map(drop)).contains(&named));
        fs::remove_file(path(&target)).unwrap();
        fs::create_dir(path(&target)).unwrap();
        assert!(message(check_replaceable(&target).map(drop)).contains(&named));
        assert!(message(recover(&target).map(drop)).contains("is not a regular file: run rm -r"));
    }
}
