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
    let is_usable = finding.level != Level::Problem;
    let mut findings = vec![finding];
    findings.extend(of_files());
    if is_usable {
        let was_there = folder.exists();
        findings.extend(try_out());
        if !was_there {
            // The next login creates it again; if somebody has put a login there meanwhile, it stays.
            let _ = fs::remove_dir(&folder);
        }
    }
    findings
}

fn of_folder(folder: &Path) -> Finding {
    let shown = folder.display();
    match fs::metadata(folder) {
        Ok(metadata) => of_folder_there(folder, &metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let words = format!("{shown} is not there yet: the first login creates it");
            Finding::ok("store", words)
        }
        Err(error) => {
            let words = format!("{shown} cannot be looked at: {error}");
            Finding::problem("store", words, "check the modes of the folders above it")
        }
    }
}

fn of_folder_there(folder: &Path, metadata: &Metadata) -> Finding {
    let shown = folder.display();
    if !metadata.is_dir() {
        let advice = "move it away, or set CODEX_AUTH_HOME to a folder";
        return Finding::problem("store", format!("{shown} is no folder"), advice);
    }
    if let Err(error) = check_ours(metadata) {
        let advice = "run chown, or set CODEX_AUTH_HOME to a folder of your own";
        return Finding::problem(
            "store",
            format!("{shown} cannot be trusted: {error}"),
            advice,
        );
    }
    let mode = mode(metadata).unwrap_or(PRIVATE);
    let advice = format!("run chmod 700 '{shown}'");
    if mode & 0o022 != 0 {
        let words = format!("others can write to {shown} (mode {mode:o})");
        return Finding::problem("store", words, advice);
    }
    if mode & 0o055 != 0 {
        let words = format!("others can look into {shown} (mode {mode:o})");
        return Finding::warning("store", words, advice);
    }
    Finding::ok("store", format!("{shown} is yours alone"))
}

fn of_files() -> Vec<Finding> {
    // A folder that cannot be listed has its own finding.
    let profiles = store::profiles().unwrap_or_default();
    let stores = profiles
        .into_iter()
        .filter_map(|profile| Store::new(profile).ok());
    let both = |store: Store| {
        [
            Some(of_file(&store.path())),
            of_lock_file(&store.lock_path()),
        ]
    };
    stores.flat_map(both).flatten().collect()
}

/// What keeps a lock from being taken, if it is there. It holds nothing.
fn of_lock_file(path: &Path) -> Option<Finding> {
    obstacle(path, &fs::metadata(path).ok()?)
}

fn of_file(path: &Path) -> Finding {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(metadata) => {
            obstacle(path, &metadata).unwrap_or_else(|| of_renewable_file(path, &metadata))
        }
        Err(_) if path.is_symlink() => {
            let words = format!("{shown} is a link that leads nowhere");
            Finding::problem("file", words, "remove the link")
        }
        Err(error) => {
            let words = format!("{shown} cannot be looked at: {error}");
            Finding::problem("file", words, "check its modes")
        }
    }
}

/// What keeps a file from being written to, or replaced.
fn obstacle(path: &Path, metadata: &Metadata) -> Option<Finding> {
    let shown = path.display();
    if !metadata.is_file() {
        let words = format!("{shown} is no regular file");
        return Some(Finding::problem("file", words, "move it away"));
    }
    if let Err(error) = check_ours(metadata) {
        let words = format!("{shown} cannot be used: {error}");
        return Some(Finding::problem("file", words, "run chown"));
    }
    metadata.permissions().readonly().then(|| {
        let words = format!("{shown} is read-only");
        Finding::problem("file", words, format!("run chmod 600 '{shown}'"))
    })
}

fn of_renewable_file(path: &Path, metadata: &Metadata) -> Finding {
    let shown = path.display();
    if names(metadata).is_some_and(|names| names > 1) {
        let words = format!(
            "{shown} has another name (a hard link), which a renewal leaves with a used-up login"
        );
        return Finding::warning("file", words, "remove the other name");
    }
    let mode = mode(metadata).unwrap_or(PRIVATE);
    if mode & 0o077 != 0 {
        let words = format!("others can read {shown} (mode {mode:o})");
        let advice =
            format!("run chmod 600 '{shown}', and sign in anew if somebody may have copied it");
        return Finding::warning("file", words, advice);
    }
    Finding::ok("file", format!("{shown} is yours alone"))
}

/// Goes through a renewal's steps on the disk with a file that is nobody's login.
fn try_out() -> Vec<Finding> {
    let trial = match Store::for_trial() {
        Ok(trial) => trial,
        Err(error) => return vec![cannot("lock", &error)],
    };
    let lock = match trial.lock(PATIENCE) {
        Ok(lock) => lock,
        Err(error) => return vec![cannot("lock", &error)],
    };
    let locks = of_locks(lock.is_held() && !trial.can_lock());
    let save_twice = || -> Result<()> {
        let nothing = Credentials::parse(b"{}")?;
        lock.save(&nothing)?;
        lock.save(&nothing)?;
        lock.remove()
    };
    let replaced = match save_twice() {
        Ok(()) => Finding::ok("replace", "a login can be replaced at once and as a whole"),
        Err(error) => cannot("replace", &error),
    };
    drop(lock);
    trial.end_trial();
    vec![locks, replaced]
}

fn cannot(check: &'static str, error: &anyhow::Error) -> Finding {
    let advice =
        "make room, or set CODEX_AUTH_HOME to a folder on a local disk that can be written to";
    Finding::problem(check, format!("{error:#}"), advice)
}

fn of_locks(hold: bool) -> Finding {
    if hold {
        return Finding::ok("lock", "the file system locks");
    }
    Finding::warning(
        "lock",
        "the file system does not lock, so that two programs can spend the same refresh token",
        "set CODEX_AUTH_HOME to a folder on a local disk",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No file system without locks can be had without a mount.
    #[test]
    fn a_file_system_without_locks_is_a_warning() {
        assert_eq!(of_locks(true).level, Level::Ok);
        assert_eq!(of_locks(false).level, Level::Warning);
    }
}
