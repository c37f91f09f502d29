//! The login that a command is about: that of a profile, or Codex's own.

pub mod codex;
pub mod copies;
pub mod report;

use std::time::Duration;

use anyhow::Result;

use crate::credentials::Credentials;
use crate::error;
use crate::refresh;
use crate::refresh::{TokenRequest, ValidToken};
use crate::settings;
use crate::settings::CODEX_PROFILE;
use crate::store::codex_file;
use crate::store::{Lock, Store};
use crate::terminal::say;

/// How long a person waits for a renewal that is under way: longer than its request can take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a person waits without being told for what.
const SILENCE: Duration = Duration::from_secs(1);

pub fn store(profile: Option<String>) -> Result<Store> {
    Store::new(settings::profile(profile)?)
}

/// A login of this profile with a token that fulfils the wish: the one way to a token for all who print or pass it on.
pub fn usable(profile: &str, request: &TokenRequest) -> Result<ValidToken> {
    match profile {
        CODEX_PROFILE => codex::usable(request),
        _ => refresh::usable(&Store::new(profile.to_owned())?, request),
    }
}

/// The login of this profile as it is stored.
pub fn stored(profile: &str) -> Result<Credentials> {
    if profile == CODEX_PROFILE {
        return Ok(codex_file::load()?.ok_or_else(codex::not_signed_in)?);
    }
    let store = Store::new(profile.to_owned())?;
    Ok(store
        .load()?
        .ok_or_else(|| refresh::not_signed_in(&store))?)
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
