//! The file beside the credentials that takes their place: room for it is made before the issuer is asked, and what was
//! written whole is never thrown away.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::permissions::{check_ours, is_at, is_in_use, open_private};
use super::{LARGEST, Lock, describe, lock, parent, read, remove_if_there, sync_folder};
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::text::shell_path;

/// Room for credentials whose size is not known yet, in bytes.
const ROOM: u64 = 16 * 1024;

/// A file beside the credentials with its bytes already on the disk. What is saved into it takes their place, if they are still
/// those that stood there when it was made.
pub struct StagedFile<'a> {
    lock: &'a Lock<'a>,
    /// The lock, where somebody has removed its file, and it was taken again.
    regained: Option<File>,
    /// What it is to replace.
    present: Option<Vec<u8>>,
    file: File,
    path: PathBuf,
    /// What is to be written: the same at each try, so that nothing whole is ever lost in one.
    content: Vec<u8>,
    /// Whether whole credentials stand in the file: then it is worth keeping, even if it could not take its place.
    whole: bool,
}

impl<'a> StagedFile<'a> {
    /// Tries the replacement out with the present content, if that may be written once more.
    pub(super) fn create(lock: &'a Lock<'a>, rehearse: impl Fn(&[u8]) -> bool) -> Result<Self> {
        let present = check_replaceable(&lock.target)?;
        let size = present.as_ref().map_or(0, |present| present.len() as u64);
        if let Some(content) = present.as_ref().filter(|present| rehearse(present)) {
            let mut rehearsal = Self::filled(lock, present.clone(), size)?;
            rehearsal.content.clone_from(content);
            rehearsal.replace()?.ok_or_else(changed)?;
        }
        let staged = Self::filled(lock, present, 2 * size + ROOM)?;
        // Its name must survive a power cut, too.
        sync_folder(parent(&lock.target));
        Ok(staged)
    }

    fn filled(lock: &'a Lock<'a>, present: Option<Vec<u8>>, size: u64) -> Result<Self> {
        let path = path(&lock.target);
        remove_if_there(&path)?;
        let mut file = open_private(&path, true).map_err(|error| describe(&error, &path))?;
        // Zeros, on the disk: some file systems give a block only when it is written.
        io::copy(&mut io::repeat(0).take(size), &mut file)
            .and_then(|_| file.sync_all())
            .inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(Self {
            lock,
            regained: None,
            present,
            file,
            path,
            content: Vec::new(),
            whole: false,
        })
    }

    /// Puts the credentials in their place. False: others stand there by now, or none, and that stays so. If it fails, it can
    /// be tried again, and what is whole takes its place at the next lock.
    pub fn save(&mut self, credentials: &Credentials) -> Result<bool> {
        let mut save = || {
            if self.content.is_empty() {
                self.content = credentials.to_json()?;
            }
            self.replace().map(|replaced| replaced.is_some())
        };
        save().with_context(|| format!("could not save {}", self.lock.target.display()))
    }

    /// The same for credentials that are given up if they cannot take their place: then nothing of them stays.
    pub fn save_or_discard(mut self, credentials: &Credentials) -> Result<()> {
        let saved = self.save(credentials);
        self.whole = matches!(saved, Ok(true));
        if saved? {
            return Ok(());
        }
        Err(changed()).with_context(|| format!("could not save {}", self.lock.target.display()))
    }

    /// None: it is not to be replaced any more.
    fn replace(&mut self) -> Result<Option<()>> {
        let lock = lock::path(&self.lock.target);
        if !is_at(self.regained.as_ref().unwrap_or(&self.lock.file), &lock) {
            // Somebody has removed it: others lock a new one, and even the staged file may be theirs.
            if !self.is_current()? {
                return Ok(None);
            }
            self.regained = Some(lock::acquire(&lock, Duration::ZERO)?);
        }
        self.write()?;
        if !self.is_current()? {
            self.whole = false;
            return Ok(None);
        }
        replace(&self.path, &self.lock.target).map(Some)
    }

    /// Whether what is to be replaced is still there. What is damaged is nobody's; what a newer version wrote is.
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
            Err(error) => crate::error::exit_code(&error) != 1,
        })
    }

    fn write(&mut self) -> Result<()> {
        self.find_again()?;
        self.file.rewind()?;
        // First the length: nothing but the bytes themselves is missing then, and with the last of them they are whole.
        self.file.set_len(self.content.len() as u64)?;
        self.file.write_all(&self.content)?;
        self.whole = true;
        Ok(self.file.sync_all()?)
    }

    /// Opens the file anew if somebody has removed it, or put another in its place, while the answer was awaited.
    fn find_again(&mut self) -> Result<()> {
        if !is_at(&self.file, &self.path) {
            self.whole = false;
            remove_if_there(&self.path)?;
            self.file = open_private(&self.path, true)?;
        }
        Ok(())
    }
}

impl Drop for StagedFile<'_> {
    fn drop(&mut self) {
        if !self.whole && is_at(&self.file, &self.path) {
            // What stays behind is zeros, and the next one to take the lock removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn changed() -> Failure {
    let words = "somebody else has changed or removed it meanwhile: try again";
    Failure::Temporary(words.to_owned())
}

/// Lets a file that was written whole, but had not taken its place when its writer was killed, take it now. To be called under
/// the lock.
pub(super) fn recover(target: &Path) -> Result<()> {
    let path = &path(target);
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        // It is none of ours.
        return Ok(remove_if_there(path)?);
    }
    let Some(bytes) = read(path).with_context(|| format!("could not read {}", path.display()))?
    else {
        return Ok(());
    };
    // A damaged one was not written whole. One that a newer version wrote is left to that.
    let staged = match Credentials::parse(bytes) {
        Err(error) if crate::error::exit_code(&error) == 1 => {
            return Err(error).with_context(|| format!("could not read {}", path.display()));
        }
        parsed => parsed.ok(),
    };
    let present = read(target)?.and_then(|bytes| Credentials::parse(bytes).ok());
    // Nothing older is ever left: whoever takes the lock finds it, and ends it here. The clock may have been set back.
    let is_another = |staged: &Credentials| {
        present.is_none_or(|present| staged.last_refresh != present.last_refresh)
    };
    let is_of_use = |staged: &Credentials| staged.is_closed() || staged.refresh_token().is_some();
    if staged.is_some_and(|staged| is_of_use(&staged) && is_another(&staged)) {
        return replace(path, target);
    }
    Ok(remove_if_there(path)?)
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
        bail!(
            "it is a link that leads nowhere: run rm {}",
            shell_path(target)
        );
    }
    let Some(present) = read(target)? else {
        return Ok(None);
    };
    let metadata = fs::metadata(target)?;
    check_ours(&metadata)?;
    if metadata.permissions().readonly() {
        bail!(
            "the file is read-only: run chmod 600 {}",
            shell_path(target)
        );
    }
    if metadata.len() > LARGEST {
        bail!("it has more than {LARGEST} bytes, so these are no credentials");
    }
    match Credentials::parse(present.clone()) {
        // Whatever is damaged may be replaced.
        Err(error) if crate::error::exit_code(&error) == 1 => Err(error),
        _ => Ok(Some(present)),
    }
}

fn replace(new: &Path, target: &Path) -> Result<()> {
    rename(new, target).map_err(|error| describe(&error, target))?;
    sync_folder(parent(target));
    Ok(())
}

/// Tries again for a second where somebody else, such as a virus scanner, has one of the files open for a moment.
fn rename(new: &Path, target: &Path) -> io::Result<()> {
    for _ in 0..20 {
        match fs::rename(new, target) {
            Err(error) if is_in_use(&error) => thread::sleep(Duration::from_millis(50)),
            result => return result,
        }
    }
    fs::rename(new, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(last_refresh: &str) -> String {
        format!(r#"{{"tokens":{{"refresh_token":"r"}},"last_refresh":"{last_refresh}"}}"#)
    }

    #[test]
    fn what_was_written_whole_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("default.json");
        fs::write(&target, record("2026-01-01T00:00:00Z")).unwrap();
        for (left, expected) in [
            (&record("2026-01-02T00:00:00Z")[..50], "2026-01-01"),
            (&record("2026-01-02T00:00:00Z"), "2026-01-02"),
        ] {
            fs::write(path(&target), left).unwrap();
            recover(&target).unwrap();
            let found = fs::read_to_string(&target).unwrap();
            assert!(found.contains(expected), "{left}: {found}");
            assert!(!path(&target).exists());
        }
    }
}
