//! Where credentials are kept: load, lock, save, remove. Only this folder writes to the disk.
//!
//! `<profile>.json` is the record of a profile's credentials and is only ever replaced as a whole, so that reading needs
//! no lock. To replace it, a process first holds the lock beside it (`lock`), which is a separate file because a lock
//! stays with the file that was replaced, and writes a staged file (`staged_file`). `record` judges what is on the disk
//! and completes what a killed process began. `<profile>.device` is a pending device login (`pending`). The secrets in a
//! file may be sealed with a key in the keyring (`sealing`). Differences between systems are in `permissions`.

#![allow(
    clippy::disallowed_methods,
    reason = "this folder is where the disk is written to"
)]

pub mod codex_file;
mod disk;
mod lock;
mod pending;
#[cfg_attr(unix, path = "permissions/unix.rs")]
#[cfg_attr(windows, path = "permissions/windows.rs")]
pub mod permissions;
mod record;
pub mod sealing;
mod staged_file;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::credentials::Credentials;
use crate::error::usage;
use crate::sandbox;
use crate::settings;
use crate::text::shell_path;
use disk::sync_name;
use permissions::{check_folder, check_trusted, check_writable};

pub use disk::read;
pub use lock::Lock;
pub use staged_file::StagedFile;

/// Keeps the folder out of a repository around it.
const GITIGNORE: &str = ".gitignore";

/// The files of one profile.
pub struct Store {
    folder: PathBuf,
    pub profile: String,
    /// The file of the credentials.
    pub path: PathBuf,
}

impl Store {
    /// The store of any profile but Codex's, which is only read.
    pub fn new(profile: String) -> Result<Self> {
        if settings::is_codexs(&profile) {
            bail!(usage(format!(
                "could not use the profile {profile}: it is Codex's own login, which codex-auth only reads: choose another --profile"
            )));
        }
        let folder = settings::home()?;
        Ok(Self {
            path: folder.join(format!("{profile}.json")),
            folder,
            profile,
        })
    }

    /// Removes the remains of a trial (`doctor`). Other processes' locks are never removed: a process waiting for one would end up
    /// with a lock that excludes nobody.
    pub fn end_trial(self) {
        // Leftovers serve the next trial.
        let _ = fs::remove_file(self.file("lock"));
    }

    /// The context of a failure to do something with that file.
    pub fn could_not(&self, act: &str) -> String {
        format!("could not {act} {}", self.path.display())
    }

    /// A file beside it.
    fn file(&self, extension: &str) -> PathBuf {
        self.path.with_extension(extension)
    }

    /// Whether this profile has no file at all, not even a lock.
    pub fn is_unused(&self) -> bool {
        let files = ["json", "json.new", "lock", "device"].map(|name| self.file(name));
        files.iter().all(|path| fs::symlink_metadata(path).is_err())
    }

    /// The stored credentials, if any. Sealed ones are opened.
    pub fn load(&self) -> Result<Option<Credentials>> {
        let found = self.load_closed()?.map(|found| self.open(found));
        found.transpose().with_context(|| self.could_not("read"))
    }

    /// The same without the keyring: sealed ones stay closed.
    pub fn load_closed(&self) -> Result<Option<Credentials>> {
        let path = &self.path;
        let load = || {
            check_folder(&self.folder)?;
            let bytes = read(path, check_trusted)?;
            let is_dangling = bytes.is_none() && path.is_symlink();
            ensure!(!is_dangling, "it is a dangling link: remove it");
            bytes.map(Credentials::parse).transpose()
        };
        load().with_context(|| self.could_not("read"))
    }

    /// Why nothing can be stored, if a sandbox forbids it.
    pub fn forbidden_here(&self) -> Option<String> {
        let target = self.target().ok()?;
        sandbox::cannot_write(&check_writable(&target).err()?, target.parent()?)
    }

    /// Removes the file if it is a link, and returns its target, which stays: it may belong to another profile or to
    /// Codex.
    pub fn remove_link(&self) -> Result<Option<PathBuf>> {
        let path = &self.path;
        let Ok(target) = fs::read_link(path) else {
            return Ok(None);
        };
        let target = fs::canonicalize(path).unwrap_or(target);
        fs::remove_file(path).with_context(|| self.could_not("remove"))?;
        sync_name(path);
        Ok(Some(target))
    }

    /// The file to replace: a link stays, and leads to the new file.
    pub fn target(&self) -> Result<PathBuf> {
        if self.path.is_symlink() {
            return follow(&self.path);
        }
        Ok(self.path.clone())
    }
}

/// The target of a link. A broken link is its own target.
fn follow(link: &Path) -> Result<PathBuf> {
    let target = match fs::canonicalize(link) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(link.into()),
        target => target?,
    };
    if codex_file::real_path().as_ref() == Some(&target) {
        bail!(
            "it is a link to Codex's own login, which codex-auth only reads: run rm {}, and use --profile codex",
            shell_path(link)
        );
    }
    check_folder(target.parent().unwrap_or(&target))?;
    Ok(target)
}

/// Removes the folder of the store if it contains nothing else.
pub fn remove_empty_folder() {
    let Ok(folder) = settings::home() else { return };
    let mut entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    if entries.all(|entry| entry.file_name() == GITIGNORE) {
        // Files added meanwhile stay.
        let _ = fs::remove_file(folder.join(GITIGNORE));
        let _ = fs::remove_dir(folder);
    }
}

/// The names of all stored profiles, in order.
pub fn profiles() -> Result<Vec<String>> {
    let folder = settings::home()?;
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("could not list {}", folder.display()))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let profiles = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned));
    let mut profiles: Vec<String> = profiles
        .filter(|name| settings::is_profile_name(name) && !settings::is_codexs(name))
        .collect();
    profiles.sort();
    Ok(profiles)
}
