//! The credentials that a command is about: those of a profile, or Codex's own.
//!
//! `valid_token` gives a token to print or pass on, by way of `refresh` or of `codex`. `report` says how a profile stands,
//! for `status` and `doctor`. `copies` finds profiles that share a login. `sealing` says whether one is stored sealed.

pub mod codex;
pub mod copies;
pub mod report;
pub mod revoke;
pub mod sealing;

use std::time::Duration;

use anyhow::Result;

use crate::credentials::{Credentials, TokenRequest};
use crate::error;
use crate::refresh::{self, ValidToken, verify};
use crate::settings::{self, CODEX_PROFILE};
use crate::store::{Lock, Store, codex_file};
use crate::terminal::say;

/// How long a person waits for a refresh that is under way: longer than its request can take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a person waits without being told for what.
const SILENCE: Duration = Duration::from_secs(1);

pub fn store(profile: Option<String>) -> Result<Store> {
    Store::new(settings::profile(profile)?)
}

/// A token of this profile that satisfies the request: every command that prints a token or passes it on gets it here.
pub fn valid_token(profile: &str, request: &TokenRequest) -> Result<ValidToken> {
    match profile {
        CODEX_PROFILE => codex::valid_token(request),
        _ => refresh::valid_token(&Store::new(profile.to_owned())?, request),
    }
}

/// The same token, after the backend was asked whether it accepts it; or another one.
pub fn verified(profile: &str, token: ValidToken, request: &TokenRequest) -> Result<ValidToken> {
    match profile {
        CODEX_PROFILE => codex::verified(token, request),
        _ => verify::verified(&Store::new(profile.to_owned())?, token, request),
    }
}

/// Another token in the place of one of which somebody reports that the backend rejects it.
pub fn replaced(profile: &str, token: &ValidToken, request: &TokenRequest) -> Result<ValidToken> {
    match profile {
        CODEX_PROFILE => Err(codex::rejected(&token.credentials).into()),
        _ => verify::replaced(&Store::new(profile.to_owned())?, token, request),
    }
}

/// The credentials of this profile as they are stored.
pub fn stored(profile: &str) -> Result<Credentials> {
    if profile == CODEX_PROFILE {
        return Ok(codex_file::load()?.ok_or_else(codex::not_signed_in)?);
    }
    refresh::load(&Store::new(profile.to_owned())?)
}

/// Takes the lock for a person, who is told if that takes time.
pub fn lock(store: &Store) -> Result<Lock<'_>> {
    match store.lock(SILENCE) {
        Err(error) if error::exit_code(&error) == error::TEMPORARY => {
            say("Waiting for another process that is refreshing this token.");
            store.lock(PATIENCE)
        }
        locked => locked,
    }
}
