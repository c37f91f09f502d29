//! What can be said of stored credentials before a refresh: whether there are any, and whether an earlier failure stands in the
//! way.

use std::time::SystemTime;

use anyhow::{Context, Error, Result};

use crate::credentials::{Credentials, Source};
use crate::error::{self, Failure};
use crate::settings::login_command;
use crate::store::{self, Store, codex_file};

/// The stored credentials, which have an access token. The failure says what to run, where signing in helps.
pub fn load(store: &Store) -> Result<Credentials> {
    let advise = |error: Error| match error::exit_code(&error) {
        error::LOGIN_REQUIRED => {
            let login = login_command(store.profile());
            Failure::LoginRequired(format!("{error:#}: run {login}")).into()
        }
        _ => error,
    };
    let found = store.load().map_err(advise)?;
    let found = found.with_context(|| not_signed_in(store))?;
    found
        .access_token()
        .with_context(|| format!("could not read {}", store.path().display()))
        .map_err(advise)?;
    Ok(found)
}

/// Fails if the issuer has revoked these credentials, or if an attempt failed so lately that the next one has to wait.
pub(super) fn check_earlier_failures(
    store: &Store,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<()> {
    if let Some(revoked) = credentials.revoked() {
        return Err(login_required(store, credentials, &revoked.reason()));
    }
    match credentials.backoff().filter(|backoff| backoff.holds(now)) {
        Some(backoff) if backoff.login_required => {
            Err(login_required(store, credentials, &backoff.reason()))
        }
        Some(backoff) => Err(not_refreshed(credentials, &backoff.reason())),
        None => Ok(()),
    }
}

pub(super) fn login_required(store: &Store, credentials: &Credentials, reason: &str) -> Error {
    Failure::LoginRequired(refusal(credentials, store.profile(), reason)).into()
}

/// Who refuses to refresh the token, why, and where a person has to sign in.
pub fn refusal(credentials: &Credentials, profile: &str, reason: &str) -> String {
    let Some(source) = credentials.source() else {
        let login = login_command(profile);
        return format!("the issuer refused to refresh the token: {reason}: run {login}");
    };
    refusal_of(source, reason)
}

/// The same of a command.
pub(super) fn refusal_of(source: &Source, reason: &str) -> String {
    let source = source.in_brief();
    format!("could not get a token from {source}: sign in there: {reason}")
}

pub(super) fn not_refreshed(credentials: &Credentials, reason: &str) -> Error {
    let words = match credentials.source() {
        Some(source) => not_obtained(source, reason),
        None => format!("could not refresh the token: {reason}"),
    };
    Failure::Temporary(words).into()
}

pub(super) fn not_obtained(source: &Source, reason: &str) -> String {
    format!("could not get a token from {}: {reason}", source.in_brief())
}

pub fn not_signed_in(store: &Store) -> Failure {
    let codex = if codex_file::is_there() {
        ", or use --profile codex for Codex's own login"
    } else {
        ""
    };
    let login = login_command(store.profile());
    let others = other_profiles(store.profile());
    Failure::LoginRequired(format!("not signed in{others}: run {login}{codex}"))
}

/// The profiles that there are, for somebody who named another one.
fn other_profiles(profile: &str) -> String {
    // A store that cannot be listed has none to offer.
    let others = store::profiles().unwrap_or_default();
    if others.is_empty() || profile == "default" {
        return String::new();
    }
    format!(" to the profile {profile} (stored: {})", others.join(", "))
}
