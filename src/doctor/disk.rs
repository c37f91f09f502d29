//! Findings about the store: its folder, the files in it, and what its file system can do.

use std::fs::{self, Metadata};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Finding, Level};
use crate::credentials::Credentials;
use crate::settings;
use crate::store::permissions::{advice_for, mode, names};
use crate::store::{self, Store};
use crate::text::shell_path;

/// How long another doctor may be at work on the same folder.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn findings() -> Vec<Finding> {
    let folder = match settings::home() {
        Ok(folder) => folder,
        Err(error) => return vec![Finding::failure("store", &error)],
    };
    let was_there = folder.exists();
    let mut findings = vec![of_folder(&folder)];
    let is_writable = findings[0].level != Level::Problem;
    let profiles = store::profiles().unwrap_or_default().into_iter();
    let stores = profiles.filter_map(|profile| Store::new(profile).ok());
    findings.extend(stores.flat_map(|store| of_files(&store)));
    if is_writable {
        findings.extend(try_out());
        if !was_there {
            // The next login creates it again.
            store::remove_empty_folder();
        }
    }
    findings
}

/// What `try_out` does not find.
fn of_folder(folder: &Path) -> Finding {
    let shown = folder.display();
    let Ok(metadata) = fs::metadata(folder) else {
        let found = format!("{shown} does not exist yet: the first login creates it");
        return Finding::ok("store", found);
    };
    if !metadata.is_dir() {
        let advice = "move it away, or set CODEX_AUTH_HOME to a folder";
        return Finding::problem("store", format!("{shown} is not a folder"), advice);
    }
    // Where there are no modes, the person's own folder keeps others out.
    match mode(&metadata).filter(|mode| mode & 0o077 != 0) {
        Some(mode) => {
            let found = format!("others can look into {shown} (mode {mode:o})");
            Finding::warning("store", found, advice_for(folder, &metadata))
        }
        None => Finding::ok("store", format!("{shown} is private")),
    }
}

/// Findings about the files of a profile: what keeps the login from being replaced, and who else has it.
fn of_files(store: &Store) -> Vec<Finding> {
    let path = store.path();
    let mut findings = Vec::new();
    if let Some(holder) = store.locked_by() {
        let found = format!("{}: {holder} holds the lock", store.profile());
        let advice = "wait until it has finished, or kill it if it hangs";
        findings.push(Finding::warning("lock", found, advice));
    } else if let Some(lock) = store.lock_path().ok().filter(|lock| is_irregular(lock)) {
        let found = format!("{} is not a regular file", lock.display());
        findings.push(Finding::problem("file", found, "move it away"));
    } else if let Err(error) = store.check_replaceable() {
        findings.push(Finding::failure("file", &error));
    }
    if let Some(left) = store.unsealed_leftover() {
        let left = left.display();
        let found = format!(
            "{left} was left by a command that was killed, and may have the tokens unencrypted"
        );
        let advice = format!("run {} seal", settings::call_for(store.profile()));
        findings.push(Finding::warning("file", found, advice));
    }
    let metadata = fs::metadata(&path).ok();
    findings.extend(metadata.and_then(|metadata| of_copies(&path, &metadata)));
    if findings.is_empty() {
        let found = format!("{} is private", path.display());
        findings.push(Finding::ok("file", found));
    }
    findings
}

fn is_irregular(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.is_file())
}

/// A file that a refresh would leave elsewhere with a refresh token that is used up, or that others can copy.
fn of_copies(path: &Path, metadata: &Metadata) -> Option<Finding> {
    let shown = path.display();
    if is_mount(path) {
        let found = format!("{shown} is a mount of its own, so no refresh can be stored");
        return Some(Finding::problem("file", found, "mount its folder instead"));
    }
    if names(metadata).is_some_and(|names| names > 1) && metadata.is_file() {
        let found = format!(
            "{shown} has another name (a hard link), which keeps the used refresh token after a refresh"
        );
        return Some(Finding::warning("file", found, "remove the other name"));
    }
    let mode = mode(metadata).filter(|mode| mode & 0o077 != 0 && metadata.is_file())?;
    let path = shell_path(path);
    let found = format!("others can read {shown} (mode {mode:o})");
    let advice = format!("run chmod 600 {path}, and sign in again if somebody may have copied it");
    Some(Finding::warning("file", found, advice))
}

/// Whether a file is a mount point, as in a container into which single files are mounted. Only Linux tells.
fn is_mount(path: &Path) -> bool {
    let Ok(real) = fs::canonicalize(path) else {
        return false;
    };
    // The kernel writes blanks, line ends and backslashes as octal numbers there (proc(5)).
    let escape = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        byte => vec![*byte],
    };
    let real = real.as_os_str().as_encoded_bytes();
    let real: Vec<u8> = real.iter().flat_map(escape).collect();
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut lines = table.split(|byte| *byte == b'\n');
    lines.any(|line| line.split(|byte| *byte == b' ').nth(4) == Some(&real))
}

/// Goes through the steps of a refresh on the disk, with a file of no profile.
fn try_out() -> Vec<Finding> {
    let trial = match Store::for_trial() {
        Ok(trial) => trial,
        Err(error) => return vec![Finding::failure("lock", &error)],
    };
    let lock = match trial.lock(PATIENCE) {
        Ok(lock) => lock,
        Err(error) => return vec![Finding::failure("lock", &error)],
    };
    let locks = if trial.locked_by().is_some() {
        Finding::ok("lock", "the file system has locks")
    } else {
        let found = "the file system has no locks: two programs could spend the same refresh token";
        let advice = "set CODEX_AUTH_HOME to a folder on a local disk";
        Finding::warning("lock", found, advice)
    };
    let replace_twice = || -> Result<()> {
        let mut nothing = Credentials::parse(b"{}".to_vec())?;
        lock.save(&mut nothing)?;
        lock.save(&mut nothing)?;
        lock.remove()
    };
    let replaced = match replace_twice() {
        Ok(()) => Finding::ok("replace", "a login can be replaced in one step"),
        Err(error) => Finding::failure("replace", &error),
    };
    drop(lock);
    trial.end_trial();
    vec![locks, replaced]
}
