//! One refresh, made by a worker: prepares everything that can hang, asks the source of the tokens under the lock, and
//! records the outcome, whatever it is.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Error, Result};
use serde::{Deserialize, Serialize};

use super::backoff;
use super::command::LIMIT;
use super::deadline::Deadline;
use super::obstacle::{check_can_refresh, not_refreshed};
use super::provider::Provider;
use super::report::{Report, send};
use super::routing::learn_routing;
use super::saving::{has_relatives, save};
use super::stored::load;
use crate::credentials::{Credentials, Revoked, Source, TokenRequest, TokenResponse, fingerprint};
use crate::error;
use crate::issuer::{FailureKind, RefreshFailure};
use crate::settings;
use crate::store::{Lock, StagedFile, Store};

/// How long to wait for a refresh.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The same if the current token is still valid. Codex gives up after 5 s.
const SHORT_TIMEOUT: Duration = Duration::from_secs(3);
const SECOND: Duration = Duration::from_secs(1);
/// How long a refresh ahead of time waits for the lock: as long as others may take to check whether it is held.
const DUE_PATIENCE: Duration = Duration::from_millis(100);

/// Why another token is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// It is due, but not needed yet: if another process is refreshing, there is nothing to do.
    Due,
    /// The stored one does not satisfy the request.
    Needed,
    /// The backend rejects the stored one.
    Rejected,
}

/// A refresh for a worker to make.
#[derive(Serialize, Deserialize)]
pub struct Task {
    pub profile: String,
    /// The refresh time of the caller's credentials: if it differs from the stored one, another process has refreshed
    /// them.
    last_refresh: Option<String>,
    reason: Reason,
    request: TokenRequest,
    /// How long the caller waits.
    pub patience: Duration,
}

impl Task {
    /// Programs that call us give up after some seconds, so a caller that can use the current, valid token gets it before
    /// that.
    pub fn new(store: &Store, found: &Credentials, request: &TokenRequest, reason: Reason) -> Self {
        let is_due = reason == Reason::Due;
        let is_served = is_due || found.is_valid(SystemTime::now()) && !request.is_strict();
        let usual = if is_served { SHORT_TIMEOUT } else { TIMEOUT };
        let most = if is_due { SHORT_TIMEOUT } else { Duration::MAX };
        let rejected = found.access_token().ok();
        let rejected = rejected.filter(|_| reason == Reason::Rejected);
        // A rejected token is only replaced if it is still in use.
        let asked = TokenRequest {
            force_refresh: request.force_refresh && rejected.is_none(),
            rejected: rejected.map(fingerprint),
            ..request.clone()
        };
        Self {
            profile: store.profile.clone(),
            last_refresh: found.last_refresh.clone(),
            reason,
            request: Some(asked).filter(|_| !is_due).unwrap_or_default(),
            patience: request.timeout.unwrap_or(usual).min(most),
        }
    }

    /// Waits for the lock. `None` if another process refreshes a token that is not needed yet.
    fn lock<'a>(&self, store: &'a Store) -> Result<Option<Lock<'a>>> {
        let is_due = self.reason == Reason::Due;
        // A little less than the caller waits, so that it still learns that the lock is held.
        let rest = self.patience.saturating_sub(SECOND.min(self.patience / 4));
        match store.lock(if is_due { DUE_PATIENCE } else { rest }) {
            Err(error) if is_due && error::exit_code(&error) == error::TEMPORARY => Ok(None),
            lock => lock.map(Some),
        }
    }
}

/// Refreshes the stored credentials, unless another process has done so meanwhile. Afterwards the store has the newest
/// ones.
pub fn run(task: &Task, deadline: &Deadline) -> Result<()> {
    let (profile, patience) = (task.profile.as_str(), task.patience);
    let store = Store::new(profile.to_owned())?;
    // What can hang (the keyring, certificates, a proxy's name) normally comes before the lock.
    let found = load(&store)?;
    let prepared = Provider::new(&found, profile);
    let Some(lock) = task.lock(&store)? else {
        return Ok(());
    };
    let mut credentials = load(&store)?;
    let now = SystemTime::now();
    let is_another = credentials.last_refresh != task.last_refresh;
    if is_another && credentials.is_good_enough(&task.request, now) {
        // Another process has refreshed them.
        return Ok(());
    }
    check_can_refresh(&credentials, profile, &task.request, now)?;
    let is_same =
        credentials.last_refresh == found.last_refresh && credentials.assertion == found.assertion;
    let prepared = Some(prepared).filter(|_| is_same);
    let provider = prepared.unwrap_or_else(|| Provider::new(&credentials, profile))?;
    let staged = lock.stage(credentials.is_sealed())?;
    deadline.lift();
    let begun = Instant::now();
    let outcome = provider.ask(&credentials, &task.request, patience);
    let slow = begun.elapsed() > SECOND;
    let outcome = outcome.and_then(|new| update(&mut credentials, new, task, &provider));
    let response = match outcome {
        Ok(response) => response,
        Err(failure) => return record_failure(failure, credentials, task, &provider, staged, slow),
    };
    if save(&store, staged, &mut credentials) {
        // Nobody who waits for the token or the lock should have to wait for the backend.
        send(&Report::Done);
        learn_routing(&store, &mut credentials);
    } else if !has_relatives(&store, &credentials) {
        provider.revoke_unused(&response);
    }
    Ok(())
}

/// Credentials with the first token from a command or for a workload, not stored yet.
pub fn try_source(source: Source) -> Result<Credentials> {
    let mut credentials = Credentials::new(source);
    if !credentials.source().is_external() {
        credentials.issuer = Some(settings::issuer()?.text);
    }
    let provider = Provider::new(&credentials, "")?;
    let response = provider
        .ask(&credentials, &TokenRequest::default(), LIMIT)
        .map_err(|failure| error_of(&failure, &credentials, ""))?;
    credentials.update(&response, SystemTime::now())?;
    credentials.assertion = provider.assertion();
    Ok(credentials)
}

fn error_of(failure: &RefreshFailure, credentials: &Credentials, profile: &str) -> Error {
    let is_refused = matches!(
        failure.kind,
        FailureKind::Revoked | FailureKind::LoginRequired
    );
    not_refreshed(credentials, profile, is_refused, &failure.reason)
}

/// Takes over the result of the refresh. Tokens of another account are revoked, and no others will come.
fn update(
    credentials: &mut Credentials,
    response: TokenResponse,
    task: &Task,
    provider: &Provider,
) -> Result<TokenResponse, RefreshFailure> {
    let failed = credentials.backoff.clone();
    let rejected = credentials.rejection_backoff.clone();
    let updated = credentials.update(&response, SystemTime::now());
    updated.map_err(|error| {
        provider.revoke_unused(&response);
        RefreshFailure::new(FailureKind::Revoked, error.to_string())
    })?;
    credentials.assertion = provider.assertion();
    if task.request.rejected.is_some() {
        let words = "the backend rejects the token";
        credentials.rejection_backoff = Some(backoff::after_request(rejected.as_ref(), words));
    } else if task.request.is_forwarded && task.request.force_refresh {
        let words = "another machine forced a refresh";
        let earlier = credentials.forced_backoff.as_ref();
        credentials.forced_backoff = Some(backoff::after_request(earlier, words));
    }
    if !credentials.is_valid(SystemTime::now()) {
        let failure = RefreshFailure::temporary("the issuer sent an expired token");
        credentials.backoff = Some(backoff::after_failure(failed.as_ref(), &failure));
    }
    Ok(response)
}

/// Records why no tokens came, and fails, unless the stored credentials have changed or been removed meanwhile: then
/// those count.
fn record_failure(
    mut failure: RefreshFailure,
    mut credentials: Credentials,
    task: &Task,
    provider: &Provider,
    mut staged: StagedFile,
    slow: bool,
) -> Result<()> {
    let earlier = credentials.backoff.take();
    let is_unanswered = earlier.as_ref().is_some_and(|it| it.unanswered);
    if failure.kind == FailureKind::Revoked && is_unanswered {
        let sent = provider.assertion().map_or("refresh", |_| "identity");
        failure.reason = format!(
            "{}; an earlier refresh got no answer, and may have used up the {sent} token",
            failure.reason
        );
    }
    let error = error_of(&failure, &credentials, &task.profile);
    match failure.kind {
        // A failure before the connection says nothing about the issuer. Only refreshes ahead of time wait after it, and only
        // if it took time that their callers do not have.
        FailureKind::Unreached if task.reason != Reason::Due || !slow => {
            return Err(error);
        }
        FailureKind::Revoked => {
            credentials.assertion = provider.assertion();
            credentials.revoked = Some(Revoked {
                reason: failure.reason,
                at: SystemTime::now(),
            });
        }
        _ => credentials.backoff = Some(backoff::after_failure(earlier.as_ref(), &failure)),
    }
    // If it cannot be saved, the next caller merely asks again.
    let is_superseded = matches!(staged.save(&mut credentials), Ok(false));
    // If the same token came again, there may be nothing newer.
    let is_harmless = task.reason == Reason::Due && failure.kind == FailureKind::Unchanged;
    if is_superseded || is_harmless {
        return Ok(());
    }
    Err(error)
}
