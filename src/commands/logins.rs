//! The login that a command is about: that of a profile, or Codex's own.

use std::time::Duration;

use anyhow::Result;

use crate::credentials::Login;
use crate::renewal::{self, Usable, Wish};
use crate::settings::{self, CODEX_PROFILE};
use crate::store::{Lock, Store};
use crate::terminal::say;
use crate::{codex_file, codex_login, error};

/// How long a person waits for a renewal that is under way: longer than its request can take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a person waits without being told for what.
const SILENCE: Duration = Duration::from_secs(1);

pub fn store(profile: Option<String>) -> Result<Store> {
    Store::new(settings::profile(profile)?)
}

/// A login of this profile with a token that fulfils the wish: the one way to a token for all who print or pass it on.
pub fn usable(profile: &str, wish: &Wish) -> Result<Usable> {
    match profile {
        CODEX_PROFILE => codex_login::usable(wish),
        _ => renewal::usable(&Store::new(profile.to_owned())?, wish),
    }
}

/// The login of this profile as it is stored.
pub fn stored(profile: &str) -> Result<Login> {
    if profile == CODEX_PROFILE {
        return Ok(codex_file::load()?.ok_or_else(codex_login::not_signed_in)?);
    }
    let store = Store::new(profile.to_owned())?;
    Ok(store
        .load()?
        .ok_or_else(|| renewal::not_signed_in(&store))?)
}

/// Takes the lock for a person, who is told if that takes time.
pub fn lock(store: &Store) -> Result<Lock<'_>> {
    match store.lock(SILENCE) {
        Err(error) if error::exit_code(&error) == error::TEMPORARY => {
            say("Waiting for another process that is renewing this login.");
            store.lock(PATIENCE)
        }
        locked => locked,
    }
}
