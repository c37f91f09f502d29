//! Whether the credentials of a profile are sealed, and with which key: what the commands of a person do about it.

use anyhow::{Context, Result};

use crate::credentials::{Credentials, Key, Seal};
use crate::error::{self, Failure};
use crate::settings;
use crate::store::sealing::{self, NewKey, find_key, remove_key};
use crate::store::{self, Lock, StagedFile, Store};
use crate::terminal::{say, warn};

/// How new credentials of a profile are to be stored.
pub struct Sealing<'a> {
    store: &'a Store,
    /// What the person asked for, if anything: else they are stored as those before them.
    asked: Option<bool>,
}

/// The seal for credentials that are about to be stored. A key that was made for it is removed again if they are not.
pub struct NewSeal<'a> {
    store: &'a Store,
    seal: Option<Seal>,
    new_key: Option<NewKey>,
    /// The key of the credentials that were there before, if they opened with it.
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
            None => Ok(self.store.is_sealed() || settings::wants_keyring()?),
        }
    }

    /// Finds out whether the keyring takes a key, before somebody goes to any trouble. It may ask the person to unlock it.
    pub fn prepare(&self) -> Result<()> {
        if !self.is_wanted()? {
            return Ok(());
        }
        unlock(key_id(self.store).as_deref())?;
        if self.own_key()?.is_none() {
            drop(NewKey::create(self.store.profile())?);
        }
        Ok(())
    }

    pub fn stage<'l>(&self, lock: &'l Lock<'l>) -> Result<StagedFile<'l>> {
        if self.is_wanted()? {
            lock.stage_sealed()
        } else {
            lock.stage()
        }
    }

    /// To be called under the lock, and before anything is spent: what has a key keeps it, else there is a new one in the
    /// keyring afterwards.
    pub fn begin(&self) -> Result<NewSeal<'a>> {
        let is_wanted = self.is_wanted()?;
        let own_key = match self.own_key() {
            // It need not be known to be left where it is.
            Err(_) if !is_wanted => None,
            own_key => own_key?,
        };
        let mut begun = NewSeal {
            store: self.store,
            seal: None,
            new_key: None,
            earlier: own_key.as_ref().map(|key| key.id().to_owned()),
        };
        if !is_wanted {
            return Ok(begun);
        }
        if own_key.is_none() {
            begun.new_key = Some(NewKey::create(self.store.profile())?);
        }
        let new = begun.new_key.as_ref().map(NewKey::key);
        let key = own_key.as_ref().or(new).context("there is no key")?;
        begun.seal = Some(self.store.seal(key.clone())?);
        Ok(begun)
    }

    /// The key that the stored credentials open with. One that they name without that is another file's: they are a copy.
    fn own_key(&self) -> Result<Option<Key>> {
        let stored = match self.store.load() {
            Err(error) if error::exit_code(&error) == error::TEMPORARY => return Err(error),
            loaded => loaded.ok().flatten(),
        };
        let id = stored.as_ref().and_then(Credentials::key_id);
        Ok(id.map_or(Ok(None), find_key)?)
    }
}

impl NewSeal<'_> {
    pub fn put_on(&self, credentials: &mut Credentials) {
        credentials.set_seal(self.seal.clone());
    }

    /// To be called when they are stored: the key that was in use before goes. Beside what is sealed no device login waits.
    pub fn end(self) {
        if self.seal.is_some() {
            self.store.forget_pending();
        }
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

/// The keys that all stored credentials name.
pub fn key_ids() -> Vec<String> {
    let profiles = store::profiles().unwrap_or_default();
    let stores = profiles
        .into_iter()
        .filter_map(|profile| Store::new(profile).ok());
    stores.filter_map(|store| key_id(&store)).collect()
}

/// Removes a key, if there is one, that nothing is sealed with any more. One that another file names stays: that may be the
/// file which it opens, or a copy which is put in its place again.
pub fn forget_key(id: Option<&str>) {
    let is_unnamed = |id: &&str| !key_ids().iter().any(|named| named == id);
    let removed = id.filter(is_unnamed).map_or(Ok(()), remove_key);
    if let Err(error) = removed.context("could not remove the key, which opens nothing any more") {
        warn(&format!("{error:#}"));
    }
}
