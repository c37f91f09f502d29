//! Where logins are kept: load, lock, save, remove. Nothing but this, and `permissions.rs` for it, writes to the disk.
//!
//! `<profile>.json` holds a login and is only ever replaced as a whole, so that reading needs no lock. Whoever replaces
//! it holds `<profile>.lock`, which is a file of its own because a lock stays with the file that was replaced.
//! `<profile>.device` is a device login that waits for the person.

pub mod codex_file;
pub mod permissions;

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::credentials::Credentials;
use crate::error::Failure;
use crate::settings;
use crate::store::permissions::{
    check_folder, check_ours, check_trusted, create_folder, has_no_locks, is_at, is_in_use,
    open_private, unwaiting,
};

/// The most that a stored file may hold, in bytes: a hundred times what a login needs.
const LARGEST: u64 = 1024 * 1024;
/// Room for a login whose size is not known yet, in bytes.
const ROOM: u64 = 16 * 1024;

/// One profile's place on the disk.
pub struct Store {
    folder: PathBuf,
    profile: String,
}

/// The right to replace the login, until it is dropped.
pub struct Lock<'a> {
    store: &'a Store,
    /// None where the file system has no locks: then we go on without, as Cargo does.
    file: Option<File>,
}

/// A file beside the login with its bytes already on the disk. What is saved into it takes the login's place.
pub struct StagedFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
    /// Whether a whole login stands in the file: then it is worth keeping, even if it could not take its place.
    whole: bool,
}

impl Store {
    /// The place of any profile but Codex's, which is only read.
    pub fn new(profile: String) -> Result<Self> {
        if settings::is_codexs(&profile) {
            bail!(
                "could not use the profile {profile}: it is Codex's own login, which is only read here: choose another --profile"
            );
        }
        Ok(Self {
            folder: settings::home()?,
            profile,
        })
    }

    /// A place that is nobody's, as no profile can be called so: to try out what the disk can do.
    pub fn for_trial() -> Result<Self> {
        Ok(Self {
            folder: settings::home()?,
            profile: ".doctor".to_owned(),
        })
    }

    /// Removes what a trial leaves. Nobody else's lock is ever removed: who waited for it would lock out nobody.
    pub fn end_trial(self) {
        // What stays behind serves the next trial.
        let _ = fs::remove_file(self.lock_path());
    }

    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The file of the login.
    pub fn path(&self) -> PathBuf {
        self.file("json")
    }

    /// The file that is locked.
    pub fn lock_path(&self) -> PathBuf {
        self.file("lock")
    }

    fn file(&self, extension: &str) -> PathBuf {
        let mut path = self.folder.join(&self.profile);
        path.as_mut_os_string().push(".");
        path.as_mut_os_string().push(extension);
        path
    }

    /// The stored login, or none.
    pub fn load(&self) -> Result<Option<Credentials>> {
        let bytes = self.bytes()?;
        let credentials = bytes.map(|bytes| Credentials::parse(&bytes)).transpose();
        credentials.with_context(|| self.unreadable())
    }

    /// The document as it is stored, or none.
    pub fn bytes(&self) -> Result<Option<Vec<u8>>> {
        check_folder(&self.folder)
            .and_then(|()| read(&self.path()))
            .with_context(|| self.unreadable())
    }

    fn unreadable(&self) -> String {
        format!("could not read {}", self.path().display())
    }

    /// The device login that waits for the person, as it was kept, or none. One that cannot be read is as good as none:
    /// a new code costs little.
    pub fn pending(&self) -> Option<Vec<u8>> {
        check_folder(&self.folder).ok()?;
        read(&self.file("device")).ok()?
    }

    /// Keeps a device login that waits for the person. False: another one is there already, and stays.
    pub fn keep_pending(&self, session: &[u8]) -> Result<bool> {
        let path = self.file("device");
        let new = self.file(&format!("device.{}.new", std::process::id()));
        let keep = || -> Result<bool> {
            remove_if_there(&new)?;
            open_private(&new, true)?.write_all(session)?;
            // Of several, one link is made, and whoever reads finds it whole. Not all file systems have links.
            let is_kept = match fs::hard_link(&new, &path) {
                Ok(()) => true,
                Err(_) if self.pending().is_some() => false,
                Err(_) => fs::rename(&new, &path).map(|()| true)?,
            };
            remove_if_there(&new)?;
            Ok(is_kept)
        };
        keep().with_context(|| format!("could not write {}", path.display()))
    }

    /// Whether this device login waits for the person.
    pub fn is_pending(&self, session: &[u8]) -> bool {
        self.pending().as_deref() == Some(session)
    }

    /// Removes the device login that waited, if it is this one. What cannot be removed ends by itself within minutes.
    pub fn remove_pending(&self, session: &[u8]) {
        if self.is_pending(session) {
            let _ = fs::remove_file(self.file("device"));
        }
    }

    /// Waits for the lock, at most for `patience`; then the failure is temporary.
    pub fn lock(&self, patience: Duration) -> Result<Lock<'_>> {
        let lock = || -> Result<Lock<'_>> {
            let lock = self.acquire(self.open_lock()?, patience)?;
            lock.recover()?;
            Ok(lock)
        };
        lock().with_context(|| format!("could not lock {}", self.path().display()))
    }

    /// Whether nobody holds the lock now, and we could.
    pub fn can_lock(&self) -> bool {
        self.open_lock()
            .is_ok_and(|file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    fn open_lock(&self) -> Result<File> {
        create_folder(&self.folder)?;
        check_folder(&self.folder)?;
        check_ours(&fs::metadata(&self.folder)?)?;
        let file = open_private(&self.lock_path(), false)?;
        if !file.metadata()?.is_file() {
            bail!("{} is no regular file", self.lock_path().display());
        }
        Ok(file)
    }

    fn acquire(&self, file: File, patience: Duration) -> Result<Lock<'_>> {
        let file = match file.try_lock() {
            Ok(()) => Some(file),
            Err(TryLockError::Error(error)) if has_no_locks(&error) => None,
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) => Some(wait_for_lock(file, patience)?),
        };
        Ok(Lock { store: self, file })
    }
}

/// The names of all stored logins, in order.
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

/// A lock cannot be awaited with a time limit. So a thread waits; if it comes too late, it gives the lock back.
fn wait_for_lock(file: File, patience: Duration) -> Result<File> {
    let (sender, receiver) = mpsc::channel();
    let waiting = thread::Builder::new().spawn(move || {
        let locked = loop {
            match file.lock() {
                // A signal ends the wait, and std does not start it again.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result.map(|()| file),
            }
        };
        // Nobody listens any more: the file is dropped, and the lock with it.
        let _ = sender.send(locked);
    });
    waiting.map_err(|error| Failure::Temporary(error.to_string()))?;
    match receiver.recv_timeout(patience) {
        Ok(locked) => Ok(locked?),
        Err(_) => Err(Failure::Temporary(format!(
            "another process has held it for {}: try again later",
            humantime::format_duration(Duration::from_secs(patience.as_secs()))
        ))
        .into()),
    }
}

impl Lock<'_> {
    /// Whether the file system has locks.
    pub fn is_held(&self) -> bool {
        self.file.is_some()
    }

    /// Makes room for the login that is about to come: afterwards little can keep it from being saved (a broken disk, a
    /// full one whose file system writes nothing in place, somebody who puts something in the way meanwhile). That the
    /// file can be replaced at all is tried out with its present content.
    pub fn reserve(&self) -> Result<StagedFile> {
        let reserve = || {
            let target = self.target()?;
            let present = check_replaceable(&target)?;
            if let Some(present) = &present {
                let mut rehearsal = self.create(&target, present.len() as u64)?;
                rehearsal.write(present)?;
                rehearsal.replace()?;
            }
            self.create(
                &target,
                present.map_or(0, |present| 2 * present.len() as u64) + ROOM,
            )
        };
        reserve()
            .with_context(|| format!("could not make room for {}", self.store.path().display()))
    }

    /// Replaces the login where no answer is awaited, so that nothing is lost if it fails.
    pub fn save(&self, credentials: &Credentials) -> Result<()> {
        self.reserve()?.save(credentials)
    }

    /// Removes the login, what a renewal may have left beside it, and a device login that waits.
    pub fn remove(&self) -> Result<()> {
        // A link that leads nowhere is removed as it is.
        let pending = self.store.file("device");
        let target = self.target().unwrap_or_else(|_| self.store.path());
        let left = left_beside(&target);
        for path in left.into_iter().chain([target, self.store.path(), pending]) {
            remove_if_there(&path)
                .with_context(|| format!("could not remove {}", path.display()))?;
        }
        sync_folder(&self.store.folder);
        Ok(())
    }

    /// A file that was written whole, but had not taken its place when its writer was ended, takes it now.
    fn recover(&self) -> Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let Ok(target) = self.target() else {
            // Where a link leads nowhere, nothing was left beside its end. Whoever has to save finds that out.
            return Ok(());
        };
        let path = self.beside(&target);
        let left = match read(&path) {
            Ok(None) => return Ok(()),
            left => left
                .ok()
                .flatten()
                .and_then(|bytes| Credentials::parse(&bytes).ok()),
        };
        let present = read(&target)?.and_then(|bytes| Credentials::parse(&bytes).ok());
        // Nothing older is ever left: whoever takes the lock finds it, and ends it here. The clock may have been set back.
        let is_another = |left: &Credentials| {
            present.is_none_or(|present| left.last_refresh() != present.last_refresh())
        };
        if left.is_some_and(|left| left.refresh_token().is_some() && is_another(&left)) {
            return replace(&path, &target);
        }
        Ok(remove_if_there(&path)?)
    }

    /// The file that is to be replaced: a link keeps pointing to it.
    fn target(&self) -> Result<PathBuf> {
        let path = self.store.path();
        if !path.is_symlink() {
            return Ok(path);
        }
        let target = fs::canonicalize(&path).context("it is a link that leads nowhere")?;
        check_folder(parent(&target))?;
        Ok(target)
    }

    /// The name of the new file. Under the lock there is only one; without locks each process has its own.
    fn beside(&self, target: &Path) -> PathBuf {
        let mut name = OsString::from(target.file_name().unwrap_or_default());
        match self.file {
            Some(_) => name.push(".new"),
            None => name.push(format!(".{}.new", std::process::id())),
        }
        target.with_file_name(name)
    }

    fn create(&self, target: &Path, staged: u64) -> Result<StagedFile> {
        let path = self.beside(target);
        remove_if_there(&path)?;
        let file = open_private(&path, true)?;
        let mut room_made = StagedFile {
            file,
            path,
            target: target.to_owned(),
            whole: false,
        };
        room_made.fill(staged)?;
        Ok(room_made)
    }
}

impl StagedFile {
    /// Puts the login in its place. If that fails, the login that was there is still there, and this one, if it is
    /// whole, takes its place at the next lock.
    pub fn save(mut self, credentials: &Credentials) -> Result<()> {
        self.put(credentials)
    }

    /// The same for a login that is given up if it cannot take its place: then nothing of it stays.
    pub fn save_or_discard(mut self, credentials: &Credentials) -> Result<()> {
        let saved = self.put(credentials);
        self.whole = saved.is_ok();
        saved
    }

    fn put(&mut self, credentials: &Credentials) -> Result<()> {
        let saved = credentials
            .to_json()
            .and_then(|bytes| self.write(&bytes))
            .and_then(|()| self.replace());
        saved.with_context(|| format!("could not save {}", self.target.display()))
    }

    /// Opens the file anew if somebody has removed it, or put another in its place, while the answer was awaited.
    fn find_again(&mut self) -> Result<()> {
        if !is_at(&self.file, &self.path) {
            remove_if_there(&self.path)?;
            self.file = open_private(&self.path, true)?;
        }
        Ok(())
    }

    /// Zeros, on the disk: some file systems give a block only when it is written.
    fn fill(&mut self, bytes: u64) -> Result<()> {
        io::copy(&mut io::repeat(0).take(bytes), &mut self.file)?;
        Ok(self.file.sync_all()?)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.find_again()?;
        self.file.rewind()?;
        // First the length: nothing but the bytes themselves is missing then, and with the last of them the login is whole.
        self.file.set_len(bytes.len() as u64)?;
        self.file.write_all(bytes)?;
        self.whole = true;
        Ok(self.file.sync_all()?)
    }

    fn replace(&self) -> Result<()> {
        replace(&self.path, &self.target)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.whole {
            // What stays behind is zeros, and the next one to take the lock removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// All of a regular file of ours, or nothing if there is none. It never waits, whatever stands at that path.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut file = match unwaiting().read(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        bail!("it is no regular file");
    }
    check_trusted(&metadata)?;
    if metadata.len() > LARGEST {
        bail!("it is larger than {LARGEST} bytes, so it is no login");
    }
    let mut bytes = vec![0; usize::try_from(metadata.len())?];
    file.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// What is at that path now, if it may be replaced by this user.
fn check_replaceable(target: &Path) -> Result<Option<Vec<u8>>> {
    let Some(present) = read(target)? else {
        return Ok(None);
    };
    let metadata = fs::metadata(target)?;
    check_ours(&metadata)?;
    if metadata.permissions().readonly() {
        bail!("the file is read-only");
    }
    Ok(Some(present))
}

/// What renewals that were ended have left beside a file, under any name that `Lock::beside` gives.
fn left_beside(target: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent(target)).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let of = target.file_name().unwrap_or_default().to_string_lossy();
    names
        .filter(|name| is_new(name, &of))
        .map(|name| target.with_file_name(name))
        .collect()
}

fn is_new(name: &str, of: &str) -> bool {
    let middle = name
        .strip_prefix(of)
        .and_then(|rest| rest.strip_suffix(".new"));
    let is_pid = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    middle.is_some_and(|middle| middle.is_empty() || middle.strip_prefix('.').is_some_and(is_pid))
}

fn replace(new: &Path, target: &Path) -> Result<()> {
    rename(new, target)?;
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

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Makes a rename last through a power cut. Some file systems cannot do it, and the rename has been done already: so
/// its failure is none of ours.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
