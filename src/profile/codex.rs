//! The profile `codex`: Codex's own login, as far as its token serves. Nobody but Codex renews it.

use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::credentials::Credentials;
use crate::error::Failure;
use crate::refresh::{Freshness, TokenRequest, ValidToken, freshness, is_alive};
use crate::store::codex_file;

/// Codex's login, if its token fulfils the wish. Nobody but Codex renews it.
pub fn usable(request: &TokenRequest) -> Result<ValidToken> {
    let credentials = codex_file::load()?.ok_or_else(not_signed_in)?;
    credentials
        .access_token()
        .context("could not use Codex's own login")?;
    check(&credentials, request, SystemTime::now())?;
    Ok(ValidToken {
        credentials,
        warning: None,
    })
}

/// Fails if Codex has to renew its token before it fulfils the wish.
pub fn check(
    credentials: &Credentials,
    request: &TokenRequest,
    now: SystemTime,
) -> Result<(), Failure> {
    if freshness(credentials, request, now) != Freshness::Stale {
        return Ok(());
    }
    let words = match is_alive(credentials, now) {
        _ if request.another => "Codex's token cannot be renewed from here",
        true => "Codex's token ends too soon",
        false => "Codex's token has ended",
    };
    Err(refused(words))
}

/// The failure that only Codex, or a login of our own, can mend.
pub fn refused(words: &str) -> Failure {
    Failure::LoginRequired(format!(
        "{words}: run codex, which alone renews it, or sign in here with codex-auth login"
    ))
}

pub fn not_signed_in() -> Failure {
    let words = "Codex is not signed in: run codex login, or sign in here with codex-auth login";
    Failure::LoginRequired(words.to_owned())
}
