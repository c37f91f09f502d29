//! What can be said of stored credentials before a refresh: whether there are any, whether an earlier failure stands in the
//! way, and whom to ask.

use std::time::SystemTime;

use anyhow::{Context, Error, Result};

use crate::credentials::Credentials;
use crate::error::{self, Failure};
use crate::issuer::Issuer;
use crate::net::url::Url;
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
        return Err(login_required(store, &revoked.reason()));
    }
    match credentials.backoff().filter(|backoff| backoff.holds(now)) {
        Some(backoff) if backoff.login_required => Err(login_required(store, &backoff.reason())),
        Some(backoff) => Err(not_refreshed(&backoff.reason())),
        None => Ok(()),
    }
}

pub(super) fn login_required(store: &Store, reason: &str) -> Error {
    let login = login_command(store.profile());
    let words = format!("the issuer refused to refresh the token: {reason}: run {login}");
    Failure::LoginRequired(words).into()
}

pub(super) fn not_refreshed(reason: &str) -> Error {
    Failure::Temporary(format!("could not refresh the token: {reason}")).into()
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

/// The issuer that gave these credentials, and the refresh token, which nobody else ever gets.
pub(super) fn issuer_of(credentials: &Credentials, profile: &str) -> Result<(Issuer, String)> {
    let (url, client_id, refresh_token) = refreshable(credentials, profile)?;
    let issuer = Issuer::new(url, client_id.to_owned())?;
    Ok((issuer, refresh_token.to_owned()))
}

/// What a refresh needs: the URL of the issuer, the ID of the client, and the refresh token. It looks at nothing but the
/// credentials, so that its failure is theirs.
pub fn refreshable<'a>(
    credentials: &'a Credentials,
    profile: &str,
) -> Result<(Url, &'a str, &'a str)> {
    if credentials.is_access_token_only() {
        let login = login_command(profile);
        let words = format!(
            "an access token of an admin console is never refreshed: make a new one, and run {login} --with-access-token"
        );
        return Err(Failure::LoginRequired(words).into());
    }
    let parts = credentials
        .issuer()
        .zip(credentials.client_id())
        .zip(credentials.refresh_token());
    let Some(((issuer, client_id), refresh_token)) = parts else {
        let login = login_command(profile);
        let words =
            format!("the stored credentials have no issuer or no refresh token: run {login}");
        return Err(Failure::LoginRequired(words).into());
    };
    let issuer =
        Url::parse(issuer).context("could not trust the issuer of the stored credentials")?;
    Ok((issuer, client_id, refresh_token))
}
