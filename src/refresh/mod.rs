//! When credentials are refreshed, by whom, and who waits.
//!
//! A refresh token works once. So the decision, the request and the save stand under one lock and are done by one process:
//! the `worker`. It is this same binary, started by whoever needs a refresh, and it outlives its caller. What it does under the
//! lock is an `attempt`; `provider` is whom it asks: the issuer, or a `command`. `verify` asks the backend before a token is handed out.

mod attempt;
mod command;
mod preconditions;
mod provider;
pub mod verify;
mod worker;

use std::time::{Duration, SystemTime};

use anyhow::{Error, Result, bail};

use crate::credentials::{Credentials, Freshness, Source, TokenRequest};
use crate::error::{self, Failure};
use crate::store::Store;
use crate::time;

use attempt::Task;
use preconditions::check_earlier_failures;
pub use preconditions::{load, not_signed_in, refusal};
pub use provider::check_refreshable;
use worker::{Ended, Job, Running};
pub use worker::{WORKER, work};

/// How long to wait for a refresh.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The same while there is a valid token. Codex gives up after 5 s.
const SHORT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a person waits for the first token of a command: longer than it can take.
const FIRST_TIMEOUT: Duration = Duration::from_secs(command::LIMIT.as_secs() + 5);
/// How long a refresh ahead of time waits for the lock: as long as others may look whether somebody holds it.
const GLANCE: Duration = Duration::from_millis(100);

/// Credentials whose access token can be used, and a warning, if there is one.
pub struct ValidToken {
    pub credentials: Credentials,
    pub warning: Option<String>,
}

impl From<Credentials> for ValidToken {
    fn from(credentials: Credentials) -> Self {
        Self {
            credentials,
            warning: None,
        }
    }
}

impl ValidToken {
    /// The same with a warning, which joins the one that may be there: callers get one line.
    pub fn warn(mut self, warning: String) -> Self {
        self.warning = Some(match self.warning {
            Some(earlier) => format!("{earlier}; {warning}"),
            None => warning,
        });
        self
    }
}

/// Credentials with a token that satisfies the request; refreshed, if need be.
pub fn valid_token(store: &Store, request: &TokenRequest) -> Result<ValidToken> {
    let now = SystemTime::now();
    let found = load(store)?;
    match found.freshness(request, now) {
        Freshness::Fresh => Ok(found.into()),
        Freshness::Due => refresh_ahead(store, found, request),
        Freshness::Stale if found.is_as_good_as_any(request, now) => satisfying(found, request),
        Freshness::Stale => match refresh(store, &found, request) {
            Err(error) if !request.is_strict() => still_valid(found, error),
            refreshed => refreshed,
        },
    }
}

/// Has a token that is due refreshed, unless somebody is at it, or it could not be stored, or an attempt failed just now. Who
/// starts a refresh waits for it for a moment, as the system may end what we leave behind. Whichever token is valid then is
/// used.
fn refresh_ahead(store: &Store, found: Credentials, request: &TokenRequest) -> Result<ValidToken> {
    let is_refreshable = check_refreshable(&found, store.profile());
    match is_refreshable.and_then(|()| check_earlier_failures(store, &found, SystemTime::now())) {
        Err(error) if error::exit_code(&error) == error::TEMPORARY => return Ok(found.into()),
        // Somebody should know in time.
        Err(error) => return still_valid(found, error),
        Ok(()) => {}
    }
    if store.locked_by().is_some() || store.check_replaceable().is_err() {
        return Ok(found.into());
    }
    let worker = match worker::start(&Job::Refresh(Task::ahead(store, &found, GLANCE))) {
        Ok(worker) => worker,
        Err(error) => return still_valid(found, error),
    };
    let limit = request.timeout.unwrap_or(SHORT_TIMEOUT);
    match wait(worker, &found, limit.min(SHORT_TIMEOUT)) {
        Ok(Ended::Failed(error)) => still_valid(found, error),
        Ok(Ended::Unsaved(newer, warning)) => {
            Ok(ValidToken::from(store.open(*newer)?).warn(warning))
        }
        Ok(Ended::Done | Ended::Killed) => better(load(store)?, found, request),
        // The refresh goes on.
        Err(_) if found.is_valid(SystemTime::now()) => Ok(found.into()),
        Err(error) => Err(error),
    }
}

/// Credentials with the first token of a command, not stored yet. It is run as later: by a worker, which has no terminal.
pub fn first_credentials(source: Source) -> Result<Credentials> {
    match worker::start(&Job::Try(source))?.wait(FIRST_TIMEOUT)? {
        Ended::Unsaved(credentials, _) => Ok(*credentials),
        Ended::Failed(error) => Err(error),
        Ended::Done | Ended::Killed => bail!("the worker was killed"),
    }
}

/// The newer token if it satisfies the request, else the one that was there before, if that still does.
fn better(newer: Credentials, found: Credentials, request: &TokenRequest) -> Result<ValidToken> {
    satisfying(newer, request).or_else(|_| satisfying(found, request))
}

/// The token that was there before, if it is valid now, although a refresh failed.
fn still_valid(found: Credentials, error: Error) -> Result<ValidToken> {
    let now = SystemTime::now();
    if !found.is_valid(now) {
        return Err(error);
    }
    let left = time::span(found.seconds_left(now));
    Ok(ValidToken::from(found).warn(format!("{error:#}; the current token expires in {left}")))
}

/// Has the credentials refreshed, and waits for it.
fn refresh(store: &Store, found: &Credentials, request: &TokenRequest) -> Result<ValidToken> {
    let patience = patience(found, request);
    refresh_as(
        store,
        found,
        request,
        Task::new(store, found, request, patience),
    )
}

fn refresh_as(
    store: &Store,
    found: &Credentials,
    request: &TokenRequest,
    task: Task,
) -> Result<ValidToken> {
    // Before a worker is started that could do nothing.
    store.check_lockable()?;
    check_refreshable(found, store.profile())?;
    check_earlier_failures(store, found, SystemTime::now())?;
    let worker = worker::start(&Job::Refresh(task))?;
    let ended = wait(worker, found, patience(found, request))?;
    outcome(store, found, request, ended)
}

/// Waits for a worker. A command is merely run again if it is killed.
fn wait(worker: Running, found: &Credentials, patience: Duration) -> Result<Ended> {
    match found.source() {
        Some(_) => worker.wait(patience),
        None => worker.wait_until_safe(patience),
    }
}

/// How long to wait for a refresh. Programs that call us give up after some seconds: one that could have had a token that is
/// still valid gets it before that.
fn patience(found: &Credentials, request: &TokenRequest) -> Duration {
    let usual = if found.is_valid(SystemTime::now()) && !request.is_strict() {
        SHORT_TIMEOUT
    } else {
        TIMEOUT
    };
    request.timeout.unwrap_or(usual)
}

/// What came of a refresh: what its worker reports, else what is on the disk.
fn outcome(
    store: &Store,
    found: &Credentials,
    request: &TokenRequest,
    ended: Ended,
) -> Result<ValidToken> {
    match ended {
        Ended::Unsaved(credentials, warning) => {
            Ok(satisfying(store.open(*credentials)?, request)?.warn(warning))
        }
        Ended::Failed(error) => Err(error),
        Ended::Done | Ended::Killed => stored_outcome(store, found, request),
    }
}

/// What a worker that has ended left on the disk: other credentials, or a note of its failure.
fn stored_outcome(
    store: &Store,
    found: &Credentials,
    request: &TokenRequest,
) -> Result<ValidToken> {
    let stored = load(store)?;
    if stored.last_refresh() == found.last_refresh() {
        check_earlier_failures(store, &stored, SystemTime::now())?;
        let words = "could not refresh the token: the worker was killed";
        return Err(Failure::Temporary(words.to_owned()).into());
    }
    if request.force_refresh && stored.access_token()? == found.access_token()? {
        bail!("could not get another token: the issuer sent the same one again");
    }
    satisfying(stored, request)
}

/// What was refreshed just now is good, however soon it expires, unless a longer life was asked for.
fn satisfying(credentials: Credentials, request: &TokenRequest) -> Result<ValidToken> {
    let now = SystemTime::now();
    let left = credentials.seconds_left(now);
    if left == 0 {
        let words = "could not get a valid token: the newest one has expired";
        return Err(Failure::Temporary(words.to_owned()).into());
    }
    let needed = request.min_ttl.unwrap_or_default();
    if left >= needed.as_secs() {
        return Ok(credentials.into());
    }
    let words = format!(
        "could not get a token that is valid for {}: the newest one expires in {}",
        time::length(needed),
        time::span(left)
    );
    if credentials.lives_too_short(request) {
        bail!("{words}: use a smaller --min-ttl");
    }
    if credentials.source().is_some() {
        return Err(Failure::Temporary(words + ": try again later").into());
    }
    let wait = time::span(credentials.time_until_old(now).as_secs() + 1);
    Err(Failure::Temporary(format!("{words}: try again in {wait}")).into())
}
