//! The profile `codex`: Codex's own login, which is only read. Only Codex refreshes it.

use std::time::SystemTime;

use anyhow::{Error, Result};

use crate::credentials::{Credentials, Freshness, TokenRequest};
use crate::error::login_required;
use crate::issuer::backend::Verdict;
use crate::refresh::{ValidToken, verify};
use crate::store::codex_file;

/// Codex's credentials, which have an access token.
pub fn load() -> Result<Credentials> {
    let Some(credentials) = codex_file::load()? else {
        let is_encrypted = codex_file::place().is_ok_and(|place| place.is_encrypted());
        return Err(login_required(if is_encrypted {
            "Codex keeps its login in an encrypted file, which codex-auth cannot read: set cli_auth_credentials_store = \"file\" in Codex's config.toml and run codex login"
        } else {
            "Codex is not signed in: run codex login"
        }));
    };
    if credentials.access_token().is_err() {
        return Err(not_usable(&credentials, "Codex's file has no access token"));
    }
    Ok(credentials)
}

/// Codex's token, after asking the backend whether it accepts it.
pub fn verified(token: ValidToken, request: &TokenRequest) -> Result<ValidToken> {
    match verify::verdict(&token.credentials, verify::check_limit(request)) {
        Verdict::Accepted => Ok(token),
        Verdict::Unknown(reason) => Ok(token.warn(verify::unknown(&reason))),
        Verdict::Rejected => Err(rejected(&token.credentials)),
    }
}

/// Fails if Codex has to refresh its token before it satisfies the request.
pub fn check(credentials: &Credentials, request: &TokenRequest, now: SystemTime) -> Result<()> {
    if credentials.freshness(request, now) != Freshness::Stale {
        return Ok(());
    }
    let reason = match credentials.is_valid(now) {
        _ if request.force_refresh => "codex-auth cannot refresh Codex's token",
        true => "Codex's token expires too soon",
        false => "Codex's token has expired",
    };
    Err(not_usable(credentials, reason))
}

pub fn rejected(credentials: &Credentials) -> Error {
    not_usable(credentials, "the backend rejects Codex's token")
}

/// A failure that only Codex can resolve.
fn not_usable(credentials: &Credentials, reason: &str) -> Error {
    let advice = if credentials.is_access_token_only() {
        "create a new one, and run codex login --with-access-token"
    } else {
        "run codex to refresh it"
    };
    login_required(format!("{reason}: {advice}"))
}
