//! Findings about the store: its folder, the files in it, and what its file system can do.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Finding, Level};
use crate::credentials::Credentials;
use crate::profile::stores;
use crate::sandbox::mount_options;
use crate::settings::{self, call_for};
use crate::store::{self, Store, permissions::mode};
use crate::text::shell_path;

/// How long another `doctor` may take in the same folder.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn findings() -> Vec<Finding> {
    let folder = match settings::home() {
        Ok(folder) => folder,
        Err(error) => return vec![Finding::of("store", Err(error))],
    };
    let was_there = folder.exists();
    let stored = try_out(&folder).map(|()| format!("logins can be stored in {}", folder.display()));
    let exposed = others_can_read("store", &folder).filter(|_| stored.is_ok());
    let mut findings = vec![exposed.unwrap_or_else(|| Finding::of("store", stored))];
    if !was_there {
        // The next login creates it again.
        store::remove_empty_folder();
    }
    findings.extend(stores().flat_map(|store| of_files(&store)));
    findings
}

/// Goes through the steps of a refresh on the disk, with a file of no profile.
fn try_out(folder: &Path) -> Result<()> {
    if folder.exists() && !folder.is_dir() {
        let shown = folder.display();
        bail!(
            "{shown} is not a folder: move it out of the way, or set CODEX_AUTH_HOME to a folder"
        );
    }
    let trial = Store::for_trial()?;
    let lock = trial.lock(PATIENCE)?;
    if trial.locked_by().is_none() {
        bail!(
            "the file system does not support locks, so that two programs could spend the same refresh token: set CODEX_AUTH_HOME to a folder on a local disk"
        );
    }
    let mut nothing = Credentials::parse(b"{}".to_vec())?;
    let replaced = lock
        .save(&mut nothing)
        .and_then(|()| lock.save(&mut nothing));
    let removed = lock.remove();
    drop(lock);
    trial.end_trial();
    replaced.and(removed)
}

/// Findings about the files of a profile. What keeps them from being replaced is an obstacle of the login.
fn of_files(store: &Store) -> Vec<Finding> {
    let path = store.path();
    let shown = path.display();
    let mut findings = Vec::new();
    if let Some(left) = store.unsealed_leftover() {
        let (left, call) = (left.display(), call_for(store.profile()));
        let found = format!(
            "{left} was left behind by a killed command, and may contain unencrypted tokens: run {call} seal"
        );
        findings.push(Finding::new(Level::Warning, "file", found));
    }
    if mount_options(&path).is_some() {
        let found = format!(
            "{shown} is a mount point, so no refresh can be stored: mount its folder instead"
        );
        findings.push(Finding::new(Level::Problem, "file", found));
    }
    findings.extend(others_can_read("file", &path));
    if findings.is_empty() {
        findings.push(Finding::of("file", Ok(format!("{shown} is private"))));
    }
    findings
}

/// A file or folder that others can read. Windows has no modes: there the user's own folder keeps others out.
fn others_can_read(check: &'static str, path: &Path) -> Option<Finding> {
    let metadata = fs::metadata(path).ok()?;
    let mode = mode(&metadata).filter(|mode| mode & 0o077 != 0)?;
    let private = if metadata.is_dir() { 700 } else { 600 };
    let (shown, word) = (path.display(), shell_path(path));
    let found = format!(
        "other users can read {shown} (mode {mode:o}): run chmod {private} {word}, and sign in again if someone may have copied a login"
    );
    Some(Finding::new(Level::Warning, check, found))
}
