//! What stands in the way of a refresh, and how it is said: nobody is signed in, nobody can refresh the login, an earlier
//! attempt failed.

use std::time::SystemTime;

use anyhow::{Context, Error, Result, anyhow};

use super::provider::check_refreshable;
use super::workload::is_sent;
use crate::credentials::{Credentials, Source, TokenRequest};
use crate::error::{self, Failure};
use crate::settings::{self, login_command};
use crate::store::{self, Store, codex_file};
use crate::time::span;

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

/// Fails if a refresh of these credentials can do nothing now: nobody can refresh them, the issuer refused it for good, or an
/// attempt failed so lately that the next one has to wait.
pub(super) fn check(credentials: &Credentials, profile: &str, now: SystemTime) -> Result<()> {
    check_refreshable(credentials, profile)?;
    let source = credentials.source();
    let is_workload = matches!(source, Source::Workload { .. });
    match &credentials.revoked {
        // The next identity token may be accepted.
        Some(_) if is_workload && !is_sent(credentials) => return Ok(()),
        Some(revoked) => return Err(refused(source, profile, &revoked.reason())),
        None => {}
    }
    match credentials
        .backoff
        .as_ref()
        .filter(|backoff| backoff.holds(now))
    {
        Some(backoff) if backoff.login_required => Err(refused(source, profile, &backoff.reason())),
        Some(backoff) => Err(failed(source, &backoff.reason()).into()),
        None => Ok(()),
    }
}

/// What keeps credentials from being refreshed when that is due, as far as can be known without a try. A backoff ends by itself.
pub fn lasting_obstacle(
    store: &Store,
    credentials: &Credentials,
    now: SystemTime,
) -> Option<Error> {
    if credentials.is_access_token_only() && credentials.is_valid(now) {
        return None;
    }
    match check(credentials, store.profile(), now) {
        Err(error) if error::exit_code(&error) != error::TEMPORARY => Some(error),
        _ => store.check_replaceable().err(),
    }
}

/// Fails if another machine forces a refresh too soon after one forced the last.
pub(super) fn check_not_forced(
    credentials: &Credentials,
    request: &TokenRequest,
    now: SystemTime,
) -> Result<()> {
    let backoff = credentials.forced_backoff.as_ref();
    let backoff = backoff.filter(|_| request.is_forwarded && request.force_refresh);
    let left = backoff.and_then(|backoff| backoff.until.duration_since(now).ok());
    let Some(left) = left else { return Ok(()) };
    let wait = span(left.as_secs() + 1);
    let words =
        format!("another machine forced a refresh just now: the next one can be forced in {wait}");
    Err(Failure::Temporary(words).into())
}

/// Who refuses to give another token, why, and where a person has to sign in.
pub fn refused(source: &Source, profile: &str, reason: &str) -> Error {
    let words = match source {
        // No sign-in helps: the platform writes another identity token, or an administrator changes the rule.
        Source::Workload { file, .. } => {
            return anyhow!("could not use the identity token in {file}: {reason}");
        }
        Source::Command(_) | Source::Socket(_) => {
            let source = source.in_brief();
            format!("could not get a token from {source}: sign in there: {reason}")
        }
        Source::Issuer | Source::AccessToken => {
            let login = login_command(profile);
            format!("the issuer refused to refresh the token: {reason}: run {login}")
        }
    };
    Failure::LoginRequired(words).into()
}

/// Why there is no other token now.
pub(super) fn failed(source: &Source, reason: &str) -> Failure {
    Failure::Temporary(match source {
        Source::Workload { .. } => format!("could not exchange the identity token: {reason}"),
        Source::Command(_) | Source::Socket(_) => {
            format!("could not get a token from {}: {reason}", source.in_brief())
        }
        Source::Issuer | Source::AccessToken => format!("could not refresh the token: {reason}"),
    })
}

pub fn not_signed_in(store: &Store) -> Failure {
    let codex = if codex_file::is_there() {
        ", or use --profile codex for Codex's own login"
    } else {
        ""
    };
    let mut login = login_command(store.profile());
    if settings::has_workload() {
        login += " --workload-identity";
    }
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
