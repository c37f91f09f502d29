//! Replacing the stored login with a new one. Everything that needs is prepared before a code is spent: a staged file
//! and, if the login is to be sealed, a key in the keyring.

use std::mem;

use anyhow::{Context, Result};

use super::{lock, stores};
use crate::credentials::{Credentials, Seal};
use crate::error::{self, temporary};
use crate::store::sealing::{NewKey, SERVICE, remove_key};
use crate::store::{Lock, StagedFile, Store};
use crate::terminal::warn;
use crate::{keyring, settings};

const NOT_SEALED: &str = "could not seal the login";

/// The current login, or why it cannot be read.
pub type Earlier = Result<Option<Credentials>>;

pub struct Replacement<'a> {
    store: &'a Store,
    staged: StagedFile<'a>,
    seal: Option<Seal>,
    /// A new key for the seal, removed again if nothing has been sealed with it.
    new_key: Option<NewKey>,
    earlier: Earlier,
}

impl<'a> Replacement<'a> {
    /// `sealed` says how to store the new login; if `None`, like the earlier one.
    pub fn prepare(store: &'a Store, lock: Lock<'a>, sealed: Option<bool>) -> Result<Self> {
        let is_sealed = will_be_sealed(store, sealed)?;
        let earlier = store.load();
        let staged = lock.stage(is_sealed)?;
        let key = is_sealed.then(|| find_or_make_seal(store, &earlier).context(NOT_SEALED));
        let (seal, new_key) = key.transpose()?.unzip();
        Ok(Self {
            store,
            staged,
            seal,
            new_key: new_key.flatten(),
            earlier,
        })
    }

    /// Checks, before the user signs in, that a login could be stored. May prompt for the keyring. Returns the current
    /// login, if it can be read.
    pub fn check_possible(store: &Store, sealed: Option<bool>) -> Result<Option<Credentials>> {
        if will_be_sealed(store, sealed)? {
            unlock(key_id(store).as_deref()).context(NOT_SEALED)?;
        }
        let lock = lock(store)?;
        let tried = Replacement::prepare(store, lock, sealed)?;
        Ok(tried.earlier.ok().flatten())
    }

    pub fn earlier(&self) -> Option<&Credentials> {
        self.earlier.as_ref().ok()?.as_ref()
    }

    /// Stores the new login and returns the earlier one, whose key is removed. A device login is not kept beside a sealed
    /// login.
    pub fn save(self, credentials: &mut Credentials) -> Result<Earlier> {
        let before = self.earlier().and_then(Credentials::key_id);
        let before = before.map(str::to_owned);
        // The key is kept even if this fails: the file may be complete, and replace the stored one at the next lock.
        mem::forget(self.new_key);
        credentials.set_seal(self.seal);
        self.staged.save_or_discard(credentials)?;
        if credentials.is_sealed() {
            self.store.forget_pending();
        }
        if before.as_deref() != credentials.key_id() {
            forget_key(before.as_deref());
        }
        Ok(self.earlier)
    }
}

/// The seal that opens the stored login, or else one with a new key. A key that a login names but does not open with
/// belongs to another file: the login is a copy.
fn find_or_make_seal(store: &Store, earlier: &Earlier) -> Result<(Seal, Option<NewKey>)> {
    match earlier {
        Err(error) if error::exit_code(error) == error::TEMPORARY => {
            Err(temporary(format!("{error:#}")))
        }
        Ok(Some(Credentials {
            seal: Some(seal), ..
        })) => Ok((seal.clone(), None)),
        Ok(_) | Err(_) => {
            let made = NewKey::create(&store.profile)?;
            Ok((store.seal(made.0.clone())?, Some(made)))
        }
    }
}

pub fn will_be_sealed(store: &Store, asked: Option<bool>) -> Result<bool> {
    Ok(match asked {
        Some(asked) => asked,
        None => store.is_sealed() || settings::wants_seal()?,
    })
}

/// Prompts the user to unlock the keyring, if it is locked. Without an existing key, any name will do.
pub fn unlock(id: Option<&str>) -> Result<()> {
    Ok(keyring::unlock(SERVICE, id.unwrap_or("any"))?)
}

/// The key of the stored login, if it is sealed and its file can be read.
pub fn key_id(store: &Store) -> Option<String> {
    let stored = store.load_closed().ok().flatten()?;
    stored.key_id().map(str::to_owned)
}

/// Removes a key that is no longer used for sealing. A key that another file names is kept: that file may be sealed with
/// it, or be a backup that is restored later.
pub fn forget_key(id: Option<&str>) {
    if let Some(id) = id
        && !stores().any(|store| key_id(&store).as_deref() == Some(id))
        && let Err(error) = remove_key(id)
    {
        let failed = "could not remove the old key from the keyring";
        warn(&format!("{failed}: {error}"));
    }
}
