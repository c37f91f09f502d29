//! Whether the credentials of a profile are sealed, and with which key: what the commands of a person do about it.

use anyhow::{Context, Result};

use crate::credentials::{Credentials, Seal};
use crate::error::Failure;
use crate::settings;
use crate::store::sealing::{self, NewKey, find_key, remove_key};
use crate::store::{Lock, StagedFile, Store};
use crate::terminal::{say, warn};

/// How new credentials of a profile are to be stored.
pub struct Sealing<'a> {
    store: &'a Store,
    /// What the person asked for, if anything: else they are stored as those before them.
    asked: Option<bool>,
}

/// The seal for credentials that are about to be stored. A key that was made for it is removed again if they are not.
pub struct NewSeal {
    seal: Option<Seal>,
    new_key: Option<NewKey>,
    /// The key of the credentials that were there before.
    earlier: Option<String>,
}

impl<'a> Sealing<'a> {
    pub fn new(store: &'a Store, asked: Option<bool>) -> Self {
        Self { store, asked }
    }

    /// Whether they will be sealed.
    pub fn is_wanted(&self) -> Result<bool> {
        match self.asked {
            Some(asked) => Ok(asked),
            None => Ok(key_id(self.store).is_some() || settings::wants_keyring()?),
        }
    }

    /// Finds out whether the keyring takes a key, before somebody goes to any trouble. It may ask the person to unlock it.
    pub fn prepare(&self) -> Result<()> {
        if !self.is_wanted()? {
            return Ok(());
        }
        let id = key_id(self.store);
        unlock(id.as_deref())?;
        let known = id.map_or(Ok(None), |id| find_key(&id))?;
        if known.is_none() {
            drop(NewKey::create(self.store.profile())?);
        }
        Ok(())
    }

    pub fn stage(&self, lock: &Lock) -> Result<StagedFile> {
        if self.is_wanted()? {
            lock.stage_sealed()
        } else {
            lock.stage()
        }
    }

    /// To be called under the lock, and before anything is spent: what has a key keeps it, else there is a new one in the
    /// keyring afterwards.
    pub fn begin(&self) -> Result<NewSeal> {
        let earlier = key_id(self.store);
        let mut begun = NewSeal {
            seal: None,
            new_key: None,
            earlier: earlier.clone(),
        };
        if !self.is_wanted()? {
            return Ok(begun);
        }
        let known = earlier.map_or(Ok(None), |id| find_key(&id))?;
        if known.is_none() {
            begun.new_key = Some(NewKey::create(self.store.profile())?);
        }
        let new = begun.new_key.as_ref().map(NewKey::key);
        let key = known.as_ref().or(new).context("there is no key")?;
        begun.seal = Some(self.store.seal(key.clone())?);
        Ok(begun)
    }
}

impl NewSeal {
    pub fn put_on(&self, credentials: &mut Credentials) {
        credentials.set_seal(self.seal.clone());
    }

    /// To be called when they are stored: the key that was in use before goes.
    pub fn end(self) {
        let used = self.seal.as_ref().map(|seal| seal.key.id().to_owned());
        if let Some(new_key) = self.new_key {
            new_key.keep();
        }
        if self.earlier != used {
            forget_key(self.earlier.as_deref());
        }
    }
}

/// Has a person unlock the keyring, if that is locked.
pub fn unlock(id: Option<&str>) -> Result<(), Failure> {
    if sealing::is_locked(id)? {
        say("The keyring is locked: unlock it to go on.");
        sealing::unlock(id)?;
    }
    Ok(())
}

/// The key of the stored credentials, if they are sealed. What cannot be read has none that would be of use.
pub fn key_id(store: &Store) -> Option<String> {
    let stored = store.load_closed().ok().flatten()?;
    stored.key_id().map(str::to_owned)
}

/// Removes a key that nothing is sealed with any more, if there is one.
pub fn forget_key(id: Option<&str>) {
    let removed = id.map_or(Ok(()), remove_key);
    if let Err(error) = removed.context("could not remove the key, which opens nothing any more") {
        warn(&format!("{error:#}"));
    }
}
