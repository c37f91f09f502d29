//! One refresh, by a worker: prepare what can hang, ask under the lock whoever gives the tokens, record the answer, whatever
//! it is.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Error, Result};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::obstacle::{check, failed, load, refused};
use super::provider::Provider;
use super::worker::{Limit, Report, report};
use crate::credentials::{
    Backoff, Credentials, ForwardedRequest, Revoked, TokenRequest, TokenResponse,
};
use crate::error;
use crate::issuer::RefreshOutcome;
use crate::settings::login_command;
use crate::store::{StagedFile, Store};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// A server's `Retry-After` is honoured up to this: a mistake there must not end a login.
const LONGEST_RETRY_AFTER: Duration = HOUR;
/// How long a refresh ahead of time waits for the lock: as long as others may look whether somebody holds it.
const GLANCE: Duration = Duration::from_millis(100);
/// How long, and how often, credentials are tried to be saved that the disk did not take.
const SAVING: Duration = Duration::from_secs(10 * 60);
const SAVING_PAUSE: Duration = SECOND;

/// Why there is to be another token.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Its time has come, and nobody needs it yet: where somebody else is at it, there is nothing to do.
    Due,
    /// The one that is there does not do.
    Needed,
    /// The backend rejects the one that is there.
    Rejected,
}

/// What a worker is to do: a refresh.
#[derive(Serialize, Deserialize)]
pub struct Task {
    pub profile: String,
    /// What its caller knows of the credentials: if they are others by now, somebody else has refreshed them.
    last_refresh: Option<String>,
    reason: Reason,
    request: TokenRequest,
    /// How long to wait for the lock: no longer than the caller.
    pub patience: Duration,
}

impl Task {
    pub fn new(
        store: &Store,
        found: &Credentials,
        request: &TokenRequest,
        reason: Reason,
        patience: Duration,
    ) -> Self {
        let (request, patience) = match reason {
            Reason::Due => (TokenRequest::default(), GLANCE),
            _ => (*request, patience),
        };
        Self {
            profile: store.profile().to_owned(),
            last_refresh: found.last_refresh.clone(),
            reason,
            request,
            patience,
        }
    }

    /// What a command is asked for: a token that was rejected is replaced only where it is still in use.
    fn forwarded(&self, credentials: &Credentials) -> ForwardedRequest {
        let is_rejected = self.reason == Reason::Rejected;
        let rejected = credentials.fingerprint().ok().filter(|_| is_rejected);
        ForwardedRequest {
            min_ttl: self.request.min_ttl,
            force_refresh: self.request.force_refresh && rejected.is_none(),
            rejected,
        }
    }

    /// Whether somebody else has done it meanwhile, and well enough.
    fn is_done(&self, stored: &Credentials, now: SystemTime) -> bool {
        let needed = self.request.min_ttl.unwrap_or_default().as_secs();
        let request = TokenRequest {
            force_refresh: false,
            ..self.request
        };
        stored.last_refresh != self.last_refresh
            && (stored.seconds_left(now) >= needed || stored.is_as_good_as_any(&request, now))
    }
}

/// Refreshes the stored credentials, unless somebody else has done it meanwhile. Afterwards the store has the newest.
pub fn refresh(task: &Task, limit: Limit) -> Result<()> {
    let (profile, patience) = (task.profile.as_str(), task.patience);
    let store = Store::new(profile.to_owned())?;
    // What can hang (the keyring, certificates, a proxy's name) does so before the lock.
    store.check_lockable()?;
    let found = load(&store)?;
    check(&found, profile, SystemTime::now())?;
    let prepared = Provider::new(&found, profile);
    let lock = match store.lock(patience) {
        Err(error) if task.reason == Reason::Due && is_temporary(&error) => return Ok(()),
        lock => lock?,
    };
    let credentials = load(&store)?;
    let now = SystemTime::now();
    if task.is_done(&credentials, now) {
        return Ok(());
    }
    check(&credentials, profile, now)?;
    let provider = if credentials.last_refresh == found.last_refresh {
        prepared?
    } else {
        Provider::new(&credentials, profile)?
    };
    let staged = lock.stage()?;
    limit.end();
    let outcome = provider.ask(&credentials, &task.forwarded(&credentials), patience);
    record(&store, task, &provider, credentials, staged, outcome)
}

fn is_temporary(error: &Error) -> bool {
    error::exit_code(error) == error::TEMPORARY
}

/// Writes down what came of it, unless somebody has put other credentials there, or removed them: what is stored now counts.
fn record(
    store: &Store,
    task: &Task,
    provider: &Provider,
    mut credentials: Credentials,
    mut staged: StagedFile,
    outcome: RefreshOutcome,
) -> Result<()> {
    let (profile, now) = (store.profile(), SystemTime::now());
    let source = credentials.source().clone();
    let refused = |reason: &str| refused(&source, profile, reason);
    let failed = |reason: &str| failed(&source, reason);
    let failure = match outcome {
        RefreshOutcome::Tokens(response) => {
            match update(&mut credentials, &response, task.reason, now) {
                Ok(()) => {
                    let is_saved = save(&mut staged, &credentials, profile);
                    if !is_saved && !has_relative(store, &credentials) {
                        provider.revoke_unused(&response);
                    }
                    return Ok(());
                }
                Err(error) => {
                    // Nobody else will ever do it.
                    provider.revoke_unused(&response);
                    set_revoked(&mut credentials, &error.to_string(), now);
                    refused(&error.to_string())
                }
            }
        }
        RefreshOutcome::Revoked(reason) => {
            set_revoked(&mut credentials, &reason, now);
            refused(&reason)
        }
        RefreshOutcome::Unauthorized {
            reason,
            retry_after,
        } => {
            let mut backoff = next_backoff(&credentials, &reason, retry_after.max(Some(MINUTE)));
            backoff.login_required = true;
            credentials.backoff = Some(backoff);
            refused(&reason)
        }
        RefreshOutcome::Unchanged(reason) => {
            credentials.backoff = Some(next_backoff(&credentials, reason, None));
            if task.reason == Reason::Due {
                // There may be nothing newer yet.
                return staged.save(&credentials).map(drop).or(Ok(()));
            }
            failed(reason)
        }
        // What never reached the issuer says nothing about it: others need not wait.
        RefreshOutcome::Failed {
            reason,
            reached: false,
            ..
        } => return Err(failed(&reason).into()),
        RefreshOutcome::Failed {
            reason,
            retry_after,
            ..
        } => {
            // The same refresh token is tried again: if its answer was lost, it may still be good.
            credentials.backoff = Some(next_backoff(&credentials, &reason, retry_after));
            failed(&reason)
        }
    };
    // If the note cannot be saved, the next caller merely asks again.
    match staged.save(&credentials) {
        Ok(false) => Ok(()),
        _ => Err(failure.into()),
    }
}

/// Takes the new tokens into the credentials.
fn update(
    credentials: &mut Credentials,
    response: &TokenResponse,
    reason: Reason,
    now: SystemTime,
) -> Result<()> {
    let expired = "the issuer sent a token that has expired";
    let expired = next_backoff(credentials, expired, None);
    let rejection = credentials.rejection_backoff.as_ref();
    let rejection = grown(rejection, "the backend rejects the token", [MINUTE, HOUR]);
    credentials.update(response, now)?;
    if credentials.source().is_external() {
        credentials.choose_refresh_window(rand::rng().random());
    }
    if reason == Reason::Rejected {
        credentials.rejection_backoff = Some(rejection);
    }
    if !credentials.is_valid(now) {
        credentials.backoff = Some(expired);
    }
    Ok(())
}

/// Saves new credentials, for minutes if need be, while nobody else can change anything. The caller gets them at once. False:
/// others are there by now, which stay.
fn save(staged: &mut StagedFile, credentials: &Credentials, profile: &str) -> bool {
    let error = match staged.save(credentials) {
        Ok(is_saved) => return is_saved,
        Err(error) => error,
    };
    let login = login_command(profile);
    let words = format!(
        "the token was refreshed, but could not be stored yet: make room before it expires, or run {login}"
    );
    report(&Report::unsaved(credentials, &error.context(words)));
    let begun = Instant::now();
    loop {
        match staged.save(credentials) {
            Ok(is_saved) => return is_saved,
            Err(_) if begun.elapsed() < SAVING => thread::sleep(SAVING_PAUSE),
            // If they are whole, they take their place at the next lock.
            Err(_) => return true,
        }
    }
}

/// Whether what is stored may come of the same login: revoking one of its tokens would end it, too.
fn has_relative(store: &Store, credentials: &Credentials) -> bool {
    let ours = credentials.account_id();
    match store.load_closed() {
        Ok(Some(stored)) => stored.account_id().is_none_or(|id| Some(id) == ours),
        Ok(None) => false,
        Err(_) => true,
    }
}

fn set_revoked(credentials: &mut Credentials, reason: &str, now: SystemTime) {
    credentials.revoked = Some(Revoked::new(reason, now));
    credentials.backoff = None;
}

fn next_backoff(credentials: &Credentials, reason: &str, retry_after: Option<Duration>) -> Backoff {
    let mut backoff = grown(credentials.backoff.as_ref(), reason, [SECOND, MINUTE]);
    let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
    backoff.until = backoff.until.max(backoff.at + asked);
    backoff
}

/// The backoff after one more failure in a row: twice as long as the last one, up to the longest, and up to a quarter more, so
/// that many machines do not come back at the same moment.
fn grown(earlier: Option<&Backoff>, reason: &str, [shortest, longest]: [Duration; 2]) -> Backoff {
    let earlier = earlier.map_or(0, |backoff| backoff.attempts);
    let pause = shortest * (1 << earlier.min(6));
    let pause = pause
        .min(longest)
        .mul_f64(rand::rng().random_range(1.0..1.25));
    Backoff::new(reason, earlier.saturating_add(1), SystemTime::now(), pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        for (shortest, longest) in [(SECOND, MINUTE), (MINUTE, HOUR)] {
            let mut backoff = None;
            for factor in [1, 2, 4, 8, 16, 32, 60, 60] {
                let next = grown(backoff.as_ref(), "", [shortest, longest]);
                let pause = next.until.duration_since(next.at).unwrap();
                let least = shortest * factor;
                assert!((least..=least.mul_f64(1.25)).contains(&pause), "{pause:?}");
                backoff = Some(next);
            }
            let last = Backoff::new("", u32::MAX, SystemTime::now(), MINUTE);
            assert_eq!(
                grown(Some(&last), "", [shortest, longest]).attempts,
                u32::MAX
            );
        }
    }
}
