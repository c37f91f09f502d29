//! One refresh, under the lock: load again, make room, ask who gives the tokens, save. Whatever the answer is, it is written
//! down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Error, Result};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::preconditions::{check_earlier_failures, load, login_required, not_refreshed};
use super::provider::Provider;
use crate::credentials::{Backoff, Credentials, RejectionBackoff, TokenRequest, TokenResponse};
use crate::error;
use crate::issuer::RefreshOutcome;
use crate::settings::{ForwardedRequest, login_command};
use crate::store::{Lock, StagedFile, Store};

const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// A server's `Retry-After` is honoured up to this: a mistake there must not end a login.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// The longest pause between refreshes that do not make the backend accept the token.
const LONGEST_REJECTION_BACKOFF: Duration = Duration::from_secs(60 * 60);

/// What a worker is to do: a refresh.
#[derive(Serialize, Deserialize)]
pub struct Task {
    profile: String,
    /// What its caller knows of the credentials: if they are others by now, somebody else has refreshed them.
    last_refresh: String,
    /// How long to wait for the lock: no longer than the caller.
    patience: Duration,
    min_ttl: Option<Duration>,
    /// Whether the caller wants another token than the stored one.
    force_refresh: bool,
    /// Whether the backend rejected the token.
    rejected: bool,
    /// Whether nobody needs it yet.
    is_ahead: bool,
}

impl Task {
    pub fn new(
        store: &Store,
        found: &Credentials,
        request: &TokenRequest,
        patience: Duration,
    ) -> Self {
        Self {
            profile: store.profile().to_owned(),
            last_refresh: found.last_refresh().unwrap_or_default().to_owned(),
            patience,
            min_ttl: request.min_ttl,
            force_refresh: request.force_refresh,
            rejected: false,
            is_ahead: false,
        }
    }

    /// The same ahead of time: where somebody else is at it, there is nothing to do.
    pub fn ahead(store: &Store, found: &Credentials, patience: Duration) -> Self {
        Self {
            is_ahead: true,
            ..Self::new(store, found, &TokenRequest::default(), patience)
        }
    }

    pub fn profile(&self) -> &str {
        &self.profile
    }

    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// The same because the backend rejected the token.
    pub fn after_rejection(mut self) -> Self {
        self.rejected = true;
        self
    }

    /// What a command is asked for: a token that was rejected is replaced only where it is still in use.
    fn forwarded(&self, credentials: &Credentials) -> ForwardedRequest {
        let fingerprint = || credentials.fingerprint().ok();
        let rejected = self.rejected.then(fingerprint).flatten();
        ForwardedRequest {
            min_ttl: self.min_ttl,
            force_refresh: self.force_refresh && rejected.is_none(),
            rejected,
        }
    }

    /// Whether somebody else has done it meanwhile, and well enough.
    fn is_done(&self, stored: &Credentials, now: SystemTime) -> bool {
        let request = TokenRequest {
            min_ttl: self.min_ttl,
            ..TokenRequest::default()
        };
        let needed = self.min_ttl.unwrap_or_default().as_secs();
        stored.last_refresh().unwrap_or_default() != self.last_refresh
            && (stored.seconds_left(now) >= needed || stored.is_as_good_as_any(&request, now))
    }
}

/// Why the stored credentials are as they were.
pub enum Trouble<'a> {
    Failed(Error),
    /// The issuer sent new tokens, and the disk did not take them.
    Unsaved(Lock<'a>, Box<Credentials>, Error),
}

impl<E: Into<Error>> From<E> for Trouble<'_> {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Refreshes the credentials, unless somebody else has done it meanwhile.
pub fn refresh_under_lock<'a>(
    store: &'a Store,
    task: &Task,
    limit: Limit,
) -> Result<(), Trouble<'a>> {
    // What can hang (the keyring, certificates, a proxy's name) does so before the lock.
    let found = load(store)?;
    let prepared = Provider::of(&found, &task.profile);
    let lock = match store.lock(task.patience) {
        Err(error) if task.is_ahead && error::exit_code(&error) == error::TEMPORARY => {
            return Ok(());
        }
        lock => lock?,
    };
    let mut credentials = load(store)?;
    let now = SystemTime::now();
    if task.is_done(&credentials, now) {
        return Ok(());
    }
    check_earlier_failures(store, &credentials, now)?;
    let is_same = credentials.last_refresh() == found.last_refresh();
    let provider = if is_same {
        prepared?
    } else {
        Provider::of(&credentials, &task.profile)?
    };
    let staged = lock.stage()?;
    limit.end();
    let forwarded = task.forwarded(&credentials);
    match provider.refresh(&credentials, &forwarded, task.patience) {
        RefreshOutcome::Tokens(response) => {
            if let Some(lack) = provider.lack(&credentials, &response, &forwarded) {
                return Ok(note_lack(staged, credentials, lack, task)?);
            }
            update(&mut credentials, &provider, &response, task);
            save(store, lock, staged, credentials)
        }
        RefreshOutcome::Revoked(reason) => Ok(note_revoked(store, staged, credentials, &reason)?),
        RefreshOutcome::Unauthorized {
            reason,
            retry_after,
        } => {
            let mut backoff = next_backoff(
                &credentials,
                &reason,
                retry_after.max(Some(LONGEST_BACKOFF)),
            );
            backoff.login_required = true;
            note(staged, &mut credentials, backoff);
            Err(login_required(store, &credentials, &reason).into())
        }
        RefreshOutcome::Failed {
            reason,
            retry_after,
            reached,
        } => {
            // What never reached the issuer says nothing about it: others need not wait.
            if reached {
                let backoff = next_backoff(&credentials, &reason, retry_after);
                note(staged, &mut credentials, backoff);
            }
            Err(not_refreshed(&credentials, &reason).into())
        }
    }
}

/// Takes the new tokens into the credentials. Those of another account are revoked: nobody else will ever do it.
fn update(
    credentials: &mut Credentials,
    provider: &Provider,
    response: &TokenResponse,
    task: &Task,
) {
    let now = SystemTime::now();
    let (backoff, rejection_backoff) = (
        next_backoff(
            credentials,
            "the issuer sent a token that has expired",
            None,
        ),
        next_rejection_backoff(credentials.rejection_backoff(), now),
    );
    if let Err(error) = credentials.update(response, now) {
        provider.revoke_unused(response);
        return credentials.set_revoked(&error.to_string(), now);
    }
    if credentials.source().is_some() {
        credentials.choose_refresh_window(rand::rng().random());
    }
    if task.rejected {
        credentials.set_rejection_backoff(Some(rejection_backoff));
    }
    if !credentials.is_valid(now) {
        credentials.set_backoff(backoff);
    }
}

fn save<'a>(
    store: &Store,
    lock: Lock<'a>,
    staged: StagedFile,
    credentials: Credentials,
) -> Result<(), Trouble<'a>> {
    if let Err(error) = staged.save(&credentials) {
        let login = login_command(store.profile());
        let words = format!(
            "the token was refreshed, but could not be stored yet: make room before it expires, or run {login}"
        );
        return Err(Trouble::Unsaved(
            lock,
            Box::new(credentials),
            error.context(words),
        ));
    }
    match credentials.revoked() {
        Some(revoked) => Err(login_required(store, &credentials, &revoked.reason()).into()),
        None => Ok(()),
    }
}

/// Notes that the issuer will refresh these credentials no more, but only after another look at the disk: somebody may have
/// put others there in spite of the lock.
fn note_revoked(
    store: &Store,
    staged: StagedFile,
    mut credentials: Credentials,
    reason: &str,
) -> Result<()> {
    let is_other = |stored: &Credentials| stored.last_refresh() != credentials.last_refresh();
    if store.load_closed()?.as_ref().is_some_and(is_other) {
        return Ok(());
    }
    credentials.set_revoked(reason, SystemTime::now());
    // Without the note the next caller merely asks again.
    let _ = staged.save(&credentials);
    Err(login_required(store, &credentials, reason))
}

/// Notes that a command gave nothing better. Ahead of time that is no failure: there may be nothing better yet.
fn note_lack(
    staged: StagedFile,
    mut credentials: Credentials,
    lack: &str,
    task: &Task,
) -> Result<()> {
    let backoff = next_backoff(&credentials, lack, None);
    note(staged, &mut credentials, backoff);
    if task.is_ahead {
        return Ok(());
    }
    Err(not_refreshed(&credentials, lack))
}

/// Notes a failure. The same refresh token is tried again after the pause: if its answer was lost, it may still be good.
fn note(staged: StagedFile, credentials: &mut Credentials, backoff: Backoff) {
    credentials.set_backoff(backoff);
    // Without the note the next caller merely asks earlier.
    let _ = staged.save(credentials);
}

fn next_backoff(credentials: &Credentials, reason: &str, retry_after: Option<Duration>) -> Backoff {
    let earlier = credentials.backoff().map_or(0, |backoff| backoff.attempts);
    let attempts = earlier.saturating_add(1);
    let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
    Backoff::new(
        reason,
        attempts,
        SystemTime::now(),
        asked.max(pause(attempts)),
    )
}

/// 1 s, 2 s, 4 s … 60 s, and up to a quarter more, so that many machines do not come back at the same moment.
fn pause(attempts: u32) -> Duration {
    let pause = Duration::from_secs(1 << attempts.saturating_sub(1).min(6)).min(LONGEST_BACKOFF);
    pause.mul_f64(rand::rng().random_range(1.0..1.25))
}

/// Until the next refresh because of a rejection, unless this one helps: 1 minute, 2, 4 … an hour.
fn next_rejection_backoff(earlier: Option<&RejectionBackoff>, now: SystemTime) -> RejectionBackoff {
    let attempts = earlier
        .map_or(0, |backoff| backoff.attempts)
        .saturating_add(1);
    let pause = Duration::from_secs(60 << (attempts - 1).min(6)).min(LONGEST_REJECTION_BACKOFF);
    RejectionBackoff {
        attempts,
        until: now + pause,
    }
}

/// Ends this process if it does not come to its request in time: it would keep everybody from the credentials.
pub struct Limit(Arc<AtomicBool>);

impl Limit {
    pub fn start(limit: Duration, give_up: fn()) -> Self {
        let has_ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&has_ended);
        // Without a thread for it there is no limit, as there was none before.
        let _ = thread::Builder::new().spawn(move || {
            thread::sleep(limit);
            if !seen.swap(true, Ordering::SeqCst) {
                give_up();
            }
        });
        Self(has_ended)
    }

    /// From here on nothing gives up.
    pub fn end(self) {
        if self.0.swap(true, Ordering::SeqCst) {
            // It is ending this very moment.
            loop {
                thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_to_its_request_is_given_up_and_what_does_is_not() {
        use std::sync::atomic::AtomicUsize;
        static GIVEN_UP: AtomicUsize = AtomicUsize::new(0);
        fn give_up() {
            GIVEN_UP.fetch_add(1, Ordering::SeqCst);
        }
        Limit::start(Duration::from_secs(3600), give_up).end();
        let late = Limit::start(Duration::ZERO, give_up);
        while GIVEN_UP.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        assert!(late.0.load(Ordering::SeqCst));
    }

    #[test]
    fn pauses_double_and_stop_at_a_minute() {
        for (attempts, seconds) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (6, 32),
            (7, 60),
            (8, 60),
            (u32::MAX, 60),
        ] {
            let least = Duration::from_secs(seconds);
            for _ in 0..100 {
                let found = pause(attempts);
                assert!(
                    (least..least.mul_f64(1.25)).contains(&found),
                    "after {attempts} attempts"
                );
            }
        }
    }

    #[test]
    fn refreshes_that_do_not_help_are_farther_and_farther_apart() {
        let now = SystemTime::now();
        let mut backoff = None;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let next = next_rejection_backoff(backoff.as_ref(), now);
            assert_eq!(next.until, now + Duration::from_secs(60 * minutes));
            backoff = Some(next);
        }
    }
}
