//! Findings about the store folder, the files in it, and what its file system can do.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::finding::{Finding, Level};
use crate::credentials::Credentials;
use crate::settings;
use crate::store;
use crate::store::Store;
use crate::store::permissions::{check_ours, mode, names};
use crate::text::shell_path;

/// How long another doctor may be at work on the same folder.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where there are no modes, the folder of the person keeps others out.
const PRIVATE: u32 = 0;

pub fn findings() -> Vec<Finding> {
    let folder = match settings::home() {
        Ok(folder) => folder,
        Err(error) => {
            return vec![Finding::problem(
                "store",
                format!("{error:#}"),
                "correct the variable",
            )];
        }
    };
    let finding = of_folder(&folder);
    let is_writable = finding.level != Level::Problem;
    let mut findings = vec![finding];
    findings.extend(of_files());
    if is_writable {
        let was_there = folder.exists();
        findings.extend(try_out());
        if !was_there {
            // The next login creates it again.
            store::remove_empty_folder();
        }
    }
    findings
}

fn of_folder(folder: &Path) -> Finding {
    let shown = folder.display();
    match fs::metadata(folder) {
        Ok(metadata) => of_folder_there(folder, &metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let found = format!("{shown} does not exist yet: the first login creates it");
            Finding::ok("store", found)
        }
        Err(error) => {
            let found = format!("{shown} cannot be read: {error}");
            Finding::problem(
                "store",
                found,
                "check the permissions of the folders above it",
            )
        }
    }
}

fn of_folder_there(folder: &Path, metadata: &Metadata) -> Finding {
    let shown = folder.display();
    if !metadata.is_dir() {
        let advice = "move it away, or set CODEX_AUTH_HOME to a folder";
        return Finding::problem("store", format!("{shown} is not a folder"), advice);
    }
    if let Err(error) = check_ours(metadata) {
        let advice = "set CODEX_AUTH_HOME to a folder of your own";
        return Finding::problem(
            "store",
            format!("{shown} cannot be trusted: {error}"),
            advice,
        );
    }
    let mode = mode(metadata).unwrap_or(PRIVATE);
    let advice = format!("run chmod 700 {}", shell_path(folder));
    if mode & 0o022 != 0 {
        let found = format!("others can write to {shown} (mode {mode:o})");
        return Finding::problem("store", found, advice);
    }
    if mode & 0o055 != 0 {
        let found = format!("others can look into {shown} (mode {mode:o})");
        return Finding::warning("store", found, advice);
    }
    Finding::ok("store", format!("{shown} is private"))
}

fn of_files() -> Vec<Finding> {
    // A folder that cannot be listed has its own finding.
    let profiles = store::profiles().unwrap_or_default();
    let stores = profiles
        .into_iter()
        .filter_map(|profile| Store::new(profile).ok());
    let all = |store: Store| {
        [
            Some(of_file(&store.path())),
            of_lock(&store),
            of_leftover(&store),
        ]
    };
    stores.flat_map(all).flatten().collect()
}

/// What is not as sealed as the login beside it.
fn of_leftover(store: &Store) -> Option<Finding> {
    let found = format!(
        "{} was left by a command that was killed, and may have the tokens unencrypted",
        store.unsealed_leftover()?.display()
    );
    let advice = format!("run {} seal", settings::call_for(store.profile()));
    Some(Finding::warning("file", found, advice))
}

/// What keeps the lock from being taken.
fn of_lock(store: &Store) -> Option<Finding> {
    if let Some(holder) = store.locked_by() {
        let found = format!("{}: {holder} holds the lock", store.profile());
        let advice = "wait until it has finished, or kill it if it hangs";
        return Some(Finding::warning("lock", found, advice));
    }
    let path = store.lock_path().ok()?;
    obstacle(&path, &fs::metadata(&path).ok()?)
}

fn of_file(path: &Path) -> Finding {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(metadata) => {
            obstacle(path, &metadata).unwrap_or_else(|| of_replaceable_file(path, &metadata))
        }
        Err(_) if path.is_symlink() => {
            let found = format!("{shown} is a link that leads nowhere");
            Finding::problem("file", found, "remove the link")
        }
        Err(error) => {
            let found = format!("{shown} cannot be read: {error}");
            Finding::problem("file", found, "check its permissions")
        }
    }
}

/// What keeps a file from being written to, or replaced.
fn obstacle(path: &Path, metadata: &Metadata) -> Option<Finding> {
    let shown = path.display();
    if !metadata.is_file() {
        let found = format!("{shown} is not a regular file");
        return Some(Finding::problem("file", found, "move it away"));
    }
    if let Err(error) = check_ours(metadata) {
        let found = format!("{shown} cannot be used: {error}");
        let advice = format!("run sudo chown \"$(id -un)\" {}", shell_path(path));
        return Some(Finding::problem("file", found, advice));
    }
    metadata.permissions().readonly().then(|| {
        let found = format!("{shown} is read-only");
        Finding::problem("file", found, format!("run chmod 600 {}", shell_path(path)))
    })
}

fn of_replaceable_file(path: &Path, metadata: &Metadata) -> Finding {
    let shown = path.display();
    if is_mount(path) {
        let found = format!(
            "{shown} is a mount of its own: it cannot be replaced, so no refresh can be stored"
        );
        return Finding::problem("file", found, "mount the folder instead of the file");
    }
    if names(metadata).is_some_and(|names| names > 1) {
        let found = format!(
            "{shown} has another name (a hard link), which a refresh leaves with a used refresh token"
        );
        return Finding::warning("file", found, "remove the other name");
    }
    let mode = mode(metadata).unwrap_or(PRIVATE);
    if mode & 0o077 != 0 {
        let found = format!("others can read {shown} (mode {mode:o})");
        let advice = format!(
            "run chmod 600 {}, and sign in again if somebody may have copied it",
            shell_path(path)
        );
        return Finding::warning("file", found, advice);
    }
    Finding::ok("file", format!("{shown} is private"))
}

/// Whether a file is a mount point, as in a container into which single files are mounted. Only Linux tells.
fn is_mount(path: &Path) -> bool {
    let Ok(real) = fs::canonicalize(path) else {
        return false;
    };
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut lines = table.split(|byte| *byte == b'\n');
    lines.any(|line| line.split(|byte| *byte == b' ').nth(4) == Some(&escaped(&real)))
}

/// A path as the kernel writes it into that table (proc(5)): blanks, line ends and backslashes as octal numbers.
fn escaped(path: &Path) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        byte => vec![*byte],
    };
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .flat_map(escape)
        .collect()
}

/// Goes through the steps of a refresh on the disk, with a file of no profile.
fn try_out() -> Vec<Finding> {
    let trial = match Store::for_trial() {
        Ok(trial) => trial,
        Err(error) => return vec![cannot("lock", &error)],
    };
    let lock = match trial.lock(PATIENCE) {
        Ok(lock) => lock,
        Err(error) => return vec![cannot("lock", &error)],
    };
    let locks = of_locks(trial.locked_by().is_some());
    let save_twice = || -> Result<()> {
        let nothing = Credentials::parse(b"{}".to_vec())?;
        lock.save(&nothing)?;
        lock.save(&nothing)?;
        lock.remove()
    };
    let replaced = match save_twice() {
        Ok(()) => Finding::ok("replace", "credentials can be replaced in one step"),
        Err(error) => cannot("replace", &error),
    };
    drop(lock);
    trial.end_trial();
    vec![locks, replaced]
}

/// The cause alone: the file of the trial is nobody's.
fn cannot(check: &'static str, error: &anyhow::Error) -> Finding {
    let cause = error.root_cause();
    let kind = cause.downcast_ref().map(std::io::Error::kind);
    let found = cause.to_string();
    let found = match settings::home() {
        Ok(folder) if !found.contains(&*folder.to_string_lossy()) => {
            format!("{}: {found}", folder.display())
        }
        _ => found,
    };
    if let Some((found, advice)) = found.split_once(": set ") {
        return Finding::problem(check, found, format!("set {advice}"));
    }
    let advice = match kind {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => "free some disk space",
        _ => "set CODEX_AUTH_HOME to a writable folder on a local disk",
    };
    Finding::problem(check, found, advice)
}

fn of_locks(are_held: bool) -> Finding {
    if are_held {
        return Finding::ok("lock", "the file system has locks");
    }
    Finding::warning(
        "lock",
        "the file system has no locks: two programs could spend the same refresh token",
        "set CODEX_AUTH_HOME to a folder on a local disk",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_as_the_kernel_writes_them() {
        assert_eq!(
            escaped(Path::new("/a b\\c\t\n")),
            b"/a\\040b\\134c\\011\\012"
        );
    }

    /// No file system without locks can be had without a mount.
    #[test]
    fn a_file_system_without_locks_is_a_warning() {
        assert_eq!(of_locks(true).level, Level::Ok);
        assert_eq!(of_locks(false).level, Level::Warning);
    }
}
