//! Whether the backend accepts a token, and what becomes of one that it rejects.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::credentials::Credentials;
use crate::issuer;
use crate::issuer::Verdict;
use crate::profile::codex;
use crate::refresh::{TokenRequest, ValidToken, is_new, not_signed_in, renew};
use crate::settings;
use crate::store::Store;

/// How long the backend is not asked again about a token that it rejected and that could not be replaced.
const REJECTION_HOLDS: Duration = Duration::from_secs(60);

/// What is usable, after the backend was asked whether it accepts the token.
///
/// A token that it rejects is renewed: once for all callers that found the same one, because the worker looks whether
/// that was done already. One that was received just now is not: another would fare no better.
pub fn verified(store: &Store, usable: ValidToken, request: &TokenRequest) -> Result<ValidToken> {
    let now = SystemTime::now();
    match verdict(&usable.credentials, now) {
        Verdict::Accepted => Ok(usable),
        Verdict::Unknown(reason) => Ok(usable.unknown(&reason)),
        Verdict::Rejected if is_new(&usable.credentials, now) => {
            let words = "the backend rejects the token, although it was received just now";
            Ok(usable.but(words.to_owned()))
        }
        Verdict::Rejected => replace(store, &usable.credentials, request, now),
    }
}

/// What the backend says of the token; if it was rejected a moment ago, that still holds.
fn verdict(credentials: &Credentials, now: SystemTime) -> Verdict {
    if is_known_as_rejected(credentials, now) {
        return Verdict::Rejected;
    }
    settings::backend()
        .and_then(|backend| {
            issuer::check(
                &backend,
                credentials.access_token()?,
                credentials.account_id().as_deref(),
            )
        })
        .unwrap_or_else(|error| Verdict::Unknown(format!("{error:#}")))
}

fn is_known_as_rejected(credentials: &Credentials, now: SystemTime) -> bool {
    let age = credentials
        .rejected_at()
        .and_then(|at| now.duration_since(at).ok());
    age.is_some_and(|age| age < REJECTION_HOLDS)
}

/// Has a rejected token renewed. If that fails there is none to print, however long the rejected one still lives.
fn replace(
    store: &Store,
    rejected: &Credentials,
    request: &TokenRequest,
    now: SystemTime,
) -> Result<ValidToken> {
    let request = TokenRequest {
        another: true,
        ..*request
    };
    renew(store, rejected, &request, now)
        .inspect_err(|_| note_rejection(store, rejected, now))
        .context("the backend rejects the token")
}

/// Writes down that the backend rejected the token: a caller that comes again and again must not ask it each time.
/// Where that cannot be done at once, the next caller asks.
fn note_rejection(store: &Store, rejected: &Credentials, now: SystemTime) {
    if is_known_as_rejected(rejected, now) {
        return;
    }
    let _ = store.lock(Duration::ZERO).and_then(|lock| {
        let mut stored = store.load()?.with_context(|| not_signed_in(store))?;
        if stored.last_refresh() != rejected.last_refresh() {
            return Ok(());
        }
        stored.reject(now);
        lock.save(&stored)
    });
}

/// Codex's login, after the backend was asked whether it accepts the token.
pub fn verified_of_codex(usable: ValidToken) -> Result<ValidToken> {
    match verdict(&usable.credentials, SystemTime::now()) {
        Verdict::Accepted => Ok(usable),
        Verdict::Unknown(reason) => Ok(usable.unknown(&reason)),
        Verdict::Rejected => Err(codex::refused("the backend rejects Codex's token").into()),
    }
}
