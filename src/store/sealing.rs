//! The keys of sealed files. Each is kept in the keyring, and read from there once per process: before taking the lock,
//! and so before a refresh token is spent.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use super::Store;
use super::disk::read;
use super::permissions::check_trusted;
use super::record::staged_path;
use crate::credentials::{Credentials, Key, Seal};
use crate::error::login_required;
use crate::keyring;

/// The service name of our keys in the keyring.
pub const SERVICE: &str = "codex-auth";

/// The keys that this process has read or created.
static KEYS: Mutex<Vec<Key>> = Mutex::new(Vec::new());

/// A new key, removed again on drop.
pub struct NewKey(pub Key);

impl NewKey {
    /// Stores a new key for a profile in the keyring, and checks that it is there. Never prompts.
    pub fn create(profile: &str) -> Result<Self> {
        let new = Self(Key::generate()?);
        let (id, bytes) = (new.0.id.as_str(), new.0.bytes.as_slice());
        let name = format!("codex-auth (profile {profile})");
        keyring::write(SERVICE, id, &name, bytes)?;
        let found = keyring::read(SERVICE, id)?;
        let is_kept = found.as_deref() == Some(bytes);
        ensure!(is_kept, "the keyring did not keep the key");
        Ok(new)
    }
}

impl Drop for NewKey {
    fn drop(&mut self) {
        // A leftover key opens nothing.
        let _ = remove_key(&self.0.id);
    }
}

/// Removes a key that is no longer used for sealing.
pub fn remove_key(id: &str) -> Result<()> {
    Ok(keyring::remove(SERVICE, id)?)
}

/// The key of this name, known to this process or the keyring; `None` if neither has it.
fn find_key(id: &str) -> Result<Option<Key>> {
    let mut known = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(key) = known.iter().find(|key| key.id == id) {
        return Ok(Some(key.clone()));
    }
    let found = keyring::read(SERVICE, id)?;
    let key = found.and_then(|bytes| Key::new(id, &bytes));
    known.extend(key.clone());
    Ok(key)
}

/// Whether the text of these credentials has a sealed member, even if truncated.
pub(super) fn has_seal(text: &[u8]) -> bool {
    let member = b"\"sealed\"";
    text.windows(member.len()).any(|found| found == member)
}

impl Store {
    /// Whether the stored login is sealed. For a damaged file, its text decides.
    pub fn is_sealed(&self) -> bool {
        match self.load_closed() {
            Ok(stored) => stored.is_some_and(|stored| stored.is_sealed()),
            Err(_) => read(&self.path, check_trusted)
                .is_ok_and(|text| text.is_some_and(|text| has_seal(&text))),
        }
    }

    /// An unsealed file beside a sealed one, left by a killed command. The next process to take the lock completes or
    /// removes it.
    pub fn unsealed_leftover(&self) -> Option<PathBuf> {
        if !self.is_sealed() || self.is_locked() {
            return None;
        }
        let is_unsealed = |path: &PathBuf| {
            let text = read(path, check_trusted).ok().flatten().unwrap_or_default();
            // Zeros reserve space for credentials that were never written.
            text.iter().any(|byte| *byte != 0) && !has_seal(&text)
        };
        Some(staged_path(&self.target().ok()?)).filter(is_unsealed)
    }

    /// Opens credentials of this profile, if they are sealed.
    pub fn open(&self, credentials: Credentials) -> Result<Credentials> {
        let Some(id) = credentials.key_id().filter(|_| credentials.is_closed()) else {
            return Ok(credentials);
        };
        let key = find_key(id).context("it is sealed")?;
        let key = key.ok_or_else(|| {
            login_required("it is sealed, and its key is no longer in the keyring")
        })?;
        credentials.open(self.seal(key)?)
    }

    /// The seal of this profile's file, by its real name, as two names may mean one file. Some file systems ignore case.
    pub fn seal(&self, key: Key) -> Result<Seal> {
        let target = self.target()?;
        let name = target.file_stem().unwrap_or_default();
        let name = name.to_string_lossy().to_ascii_lowercase();
        Ok(Seal { key, name })
    }
}
