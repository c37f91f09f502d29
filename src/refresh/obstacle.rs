//! What prevents a refresh, and the error that says so: the login cannot be refreshed, an earlier attempt failed, or a
//! sandbox forbids it.

use std::time::SystemTime;

use anyhow::{Error, Result, anyhow};

use super::provider::{check_refreshable, identity_token, is_sent};
use crate::credentials::{Credentials, Source, TokenRequest};
use crate::error::{self, login_required, temporary};
use crate::sandbox;
use crate::settings::login_command;
use crate::store::Store;

/// Fails if a refresh of these credentials cannot succeed now: nobody can refresh them, the issuer refused for good, an
/// attempt failed so recently that the next one has to wait, or another machine forces one too soon.
pub(super) fn check_can_refresh(
    credentials: &Credentials,
    profile: &str,
    request: &TokenRequest,
    now: SystemTime,
) -> Result<()> {
    check_refreshable(credentials, profile)?;
    let is_workload = matches!(credentials.source(), Source::Workload { .. });
    let backoff = credentials.backoff.as_ref();
    let backoff = backoff.filter(|it| it.holds(now) && !it.unreached);
    let failed = match (&credentials.revoked, backoff) {
        // The next identity token may be accepted.
        (Some(_), _) if is_workload && !is_sent(credentials) => None,
        (Some(revoked), _) => Some((true, revoked.reason.as_str())),
        (None, backoff) => backoff.map(|it| (it.login_required, it.reason.as_str())),
    };
    if let Some((is_refused, reason)) = failed {
        return Err(not_refreshed(credentials, profile, is_refused, reason));
    }
    let is_forced = request.is_forwarded && request.force_refresh;
    let backoff = credentials.forced_backoff.as_ref().filter(|_| is_forced);
    let Some(wait) = backoff.and_then(|backoff| backoff.wait(now)) else {
        return Ok(());
    };
    let words = "another machine forced a refresh just now: the next one can be forced in";
    Err(temporary(format!("{words} {wait}")))
}

/// Why there is no other token. If it is refused, someone has to act; otherwise the same call may succeed later.
pub(super) fn not_refreshed(
    credentials: &Credentials,
    profile: &str,
    is_refused: bool,
    reason: &str,
) -> Error {
    let source = credentials.source();
    let act = match source {
        // Signing in does not help: the platform writes another identity token, or an administrator changes the rule.
        Source::Workload { file, .. } if is_refused => {
            return anyhow!("could not use the identity token in {file}: {reason}");
        }
        Source::Workload { .. } => "exchange the identity token",
        Source::Command(_) | Source::Socket(_) => {
            &format!("get a token from {}", source.describe())
        }
        Source::Issuer | Source::AccessToken if is_refused => {
            let login = login_command(profile);
            let words = format!("the issuer refused to refresh the token: {reason}: run {login}");
            return login_required(words);
        }
        Source::Issuer | Source::AccessToken => "refresh the token",
    };
    if is_refused {
        login_required(format!("could not {act}: sign in there: {reason}"))
    } else {
        temporary(format!("could not {act}: {reason}"))
    }
}

/// What prevents credentials from being refreshed when due, as far as known without trying. A backoff ends by itself.
pub fn obstacle_to_refresh(
    store: &Store,
    credentials: &Credentials,
    now: SystemTime,
) -> Option<Error> {
    if credentials.is_access_token_only() && credentials.is_valid(now) {
        return None;
    }
    let failed =
        check_can_refresh(credentials, &store.profile, &TokenRequest::default(), now).err();
    let lasting = failed.filter(|error| error::exit_code(error) != error::TEMPORARY);
    lasting.or_else(|| match forbidden_here(store, credentials) {
        Some(_) if credentials.is_valid(now) => None,
        Some(failure) => Some(failure),
        None => match (store.check_replaceable(), credentials.source()) {
            (Ok(()), Source::Workload { file, .. }) => identity_token(file).err(),
            (replaceable, _) => replaceable.err(),
        },
    })
}

/// Why a sandbox prevents us from refreshing these credentials, as far as known without trying. A command may need no
/// network.
pub fn forbidden_here(store: &Store, credentials: &Credentials) -> Option<Error> {
    let needs_network = !matches!(credentials.source(), Source::Command(_));
    let network = || sandbox::lacks_network().filter(|_| needs_network);
    let failure = store.forbidden_here().or_else(network)?;
    let advised = sandbox::with_advice(failure, &store.profile, false);
    Some(temporary(advised))
}
