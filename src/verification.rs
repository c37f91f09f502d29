//! Whether the backend accepts a token, and what becomes of one that it rejects.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::codex_login;
use crate::credentials::Login;
use crate::issuer::{self, Verdict};
use crate::renewal::{Usable, Wish, is_new, not_signed_in, renew};
use crate::settings;
use crate::store::Store;

/// How long the backend is not asked again about a token that it rejected and that could not be replaced.
const REJECTION_HOLDS: Duration = Duration::from_secs(60);

/// What is usable, after the backend was asked whether it accepts the token.
///
/// A token that it rejects is renewed: once for all callers that found the same one, because the worker looks whether
/// that was done already. One that was received just now is not: another would fare no better.
pub fn verified(store: &Store, usable: Usable, wish: &Wish) -> Result<Usable> {
    let now = SystemTime::now();
    match verdict(&usable.login, now) {
        Verdict::Accepted => Ok(usable),
        Verdict::Unknown(reason) => Ok(usable.unknown(&reason)),
        Verdict::Rejected if is_new(&usable.login, now) => {
            let words = "the backend rejects the token, although it was received just now";
            Ok(usable.but(words.to_owned()))
        }
        Verdict::Rejected => replace(store, &usable.login, wish, now),
    }
}

/// What the backend says of the token; if it was rejected a moment ago, that still holds.
fn verdict(login: &Login, now: SystemTime) -> Verdict {
    if is_known_as_rejected(login, now) {
        return Verdict::Rejected;
    }
    settings::backend()
        .and_then(|backend| {
            issuer::check(
                &backend,
                login.access_token()?,
                login.account_id().as_deref(),
            )
        })
        .unwrap_or_else(|error| Verdict::Unknown(format!("{error:#}")))
}

fn is_known_as_rejected(login: &Login, now: SystemTime) -> bool {
    let age = login
        .rejected_at()
        .and_then(|at| now.duration_since(at).ok());
    age.is_some_and(|age| age < REJECTION_HOLDS)
}

/// Has a rejected token renewed. If that fails there is none to print, however long the rejected one still lives.
fn replace(store: &Store, rejected: &Login, wish: &Wish, now: SystemTime) -> Result<Usable> {
    let wish = Wish {
        another: true,
        ..*wish
    };
    renew(store, rejected, &wish, now)
        .inspect_err(|_| note_rejection(store, rejected, now))
        .context("the backend rejects the token")
}

/// Writes down that the backend rejected the token: a caller that comes again and again must not ask it each time.
/// Where that cannot be done at once, the next caller asks.
fn note_rejection(store: &Store, rejected: &Login, now: SystemTime) {
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
pub fn verified_of_codex(usable: Usable) -> Result<Usable> {
    match verdict(&usable.login, SystemTime::now()) {
        Verdict::Accepted => Ok(usable),
        Verdict::Unknown(reason) => Ok(usable.unknown(&reason)),
        Verdict::Rejected => Err(codex_login::refused("the backend rejects Codex's token").into()),
    }
}
