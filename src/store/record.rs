//! The record and the staged file at their paths: whether the record may be replaced, and what was left half done.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Store;
use super::disk::{LARGEST, check_regular, describe, read, remove_if_there, replace};
use super::permissions::{check_ours, check_trusted, check_writable};
use crate::credentials::Credentials;
use crate::error;
use crate::text::shell_path;

/// A record, and its credentials, unless it is damaged: then anyone may replace it. Sealed credentials stay closed.
pub struct Record {
    pub text: Vec<u8>,
    pub credentials: Option<Credentials>,
}

impl Record {
    /// The record at this path, if it exists. Fails if it cannot be read, or a newer version wrote it.
    pub fn at(path: &Path) -> Result<Option<Self>> {
        let Some(text) = read(path, check_trusted)? else {
            return Ok(None);
        };
        let credentials = match Credentials::parse(text.clone()) {
            Err(error) if error::exit_code(&error) == error::LOGIN_REQUIRED => None,
            parsed => Some(parsed?),
        };
        Ok(Some(Self { text, credentials }))
    }
}

/// The extension of a record's lock.
pub const LOCK: &str = "lock";

/// The staged file of a record.
pub fn staged_path(target: &Path) -> PathBuf {
    let mut path = target.to_owned();
    path.as_mut_os_string().push(".new");
    path
}

impl Store {
    /// Fails if the file could not be replaced, as far as known without trying.
    pub fn check_replaceable(&self) -> Result<()> {
        let check = || {
            let target = self.target()?;
            check_regular(&target.with_extension(LOCK))?;
            check_regular(&staged_path(&target))?;
            staged(&staged_path(&target))?;
            check_writable(&target).map_err(|error| describe(&error, &target))?;
            replaceable(&target).map(drop)
        };
        check().with_context(|| self.could_not("replace"))
    }
}

/// The record at this path, if it exists. Fails if this user or this version must not replace it.
pub fn replaceable(target: &Path) -> Result<Option<Record>> {
    let word = shell_path(target);
    ensure!(!target.is_symlink(), "it is a dangling link: run rm {word}");
    let found = Record::at(target)?;
    if found.is_some() {
        let metadata = fs::metadata(target)?;
        check_ours(&metadata)?;
        let is_read_only = metadata.permissions().readonly();
        let fix = if cfg!(windows) {
            "attrib -r"
        } else {
            "chmod 600"
        };
        ensure!(!is_read_only, "the file is read-only: run {fix} {word}");
        ensure!(
            metadata.len() <= LARGEST,
            "it is larger than {LARGEST} bytes, so it is not a credentials file"
        );
    }
    Ok(found)
}

/// The credentials in a staged file that was left behind, if they are complete and useful. Fails if a newer version wrote
/// it.
fn staged(path: &Path) -> Result<Option<Credentials>> {
    // Anything but a file is not ours.
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Ok(None);
    }
    let found = Record::at(path).with_context(|| format!("could not read {}", path.display()))?;
    let found = found.and_then(|found| found.credentials);
    // Without a refresh token, a record from the issuer would lose the login.
    let is_of_use = |it: &Credentials| {
        it.is_closed() || it.tokens.refresh_token.is_some() || it.source().is_stored()
    };
    Ok(found.filter(is_of_use))
}

/// Completes the replacement by a staged file that was completely written before its writer was killed. Must be called
/// under the lock. Returns whether it did.
pub fn recover(target: &Path) -> Result<bool> {
    let path = &staged_path(target);
    let is_for_this = match staged(path)? {
        None => false,
        // It only replaces the record that it was made for, and none if that has been removed.
        Some(staged) => match Record::at(target)?.map(|present| present.credentials) {
            Some(None) => true,
            present => staged.replaces == present.flatten().and_then(|it| it.last_refresh),
        },
    };
    if is_for_this {
        replace(path, target)?;
    } else {
        remove_if_there(path).map_err(|error| describe(&error, path))?;
    }
    Ok(is_for_this)
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
    fn a_complete_file_replaces_the_record_it_was_made_for() {
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
            // The record was removed, or did not exist yet.
            (None, &record(5, Some(4)), false),
            (None, &record(5, None), true),
        ] {
            let _ = fs::remove_file(&target);
            if let Some(present) = present {
                fs::write(&target, present).unwrap();
            }
            fs::write(staged_path(&target), left).unwrap();
            assert_eq!(recover(&target).unwrap(), is_put, "{present:?} {left}");
            let expected = if is_put { Some(left) } else { present };
            assert_eq!(fs::read_to_string(&target).ok().as_deref(), expected);
            assert!(!staged_path(&target).exists());
        }
    }

    #[test]
    fn a_record_without_a_time_of_receipt_is_identified_by_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("default.json");
        let [ours, theirs] = ["ours", "theirs"]
            .map(|token| format!(r#"{{"tokens":{{"refresh_token":"{token}"}}}}"#));
        let mut left = Credentials::parse(record(5, None).into_bytes()).unwrap();
        left.replaces = Credentials::parse(ours.clone().into_bytes())
            .unwrap()
            .last_refresh;
        for (present, is_put) in [(ours, true), (theirs, false)] {
            fs::write(&target, present).unwrap();
            fs::write(staged_path(&target), left.to_json().unwrap()).unwrap();
            assert_eq!(recover(&target).unwrap(), is_put);
        }
    }

    #[test]
    fn a_record_of_a_newer_version_is_not_replaced_by_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("default.json");
        fs::write(&target, r#"{"version":9}"#).unwrap();
        fs::write(staged_path(&target), record(5, Some(4))).unwrap();
        assert!(recover(&target).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), r#"{"version":9}"#);
        assert!(staged_path(&target).exists());
    }

    #[test]
    fn a_staged_file_that_is_a_folder_or_newer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("default.json");
        fs::write(&target, record(1, None)).unwrap();
        let named = staged_path(&target).display().to_string();
        let message = |result: Result<()>| format!("{:#}", result.unwrap_err());
        fs::write(staged_path(&target), r#"{"version":9}"#).unwrap();
        assert!(message(recover(&target).map(drop)).contains(&named));
        fs::remove_file(staged_path(&target)).unwrap();
        fs::create_dir(staged_path(&target)).unwrap();
        assert!(message(recover(&target).map(drop)).contains("is not a regular file: run rm -r"));
    }
}
