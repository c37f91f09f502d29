//! When credentials are refreshed, by whom, and who waits.
//!
//! A refresh token works only once. So the decision, the request and the save happen under one lock, in one process: the
//! `worker`. It is this same binary, started by a caller that needs a refresh, and it outlives that caller. Only the
//! worker decides: `attempt` is what it does under the lock, and `provider` is what it asks: the issuer, or a `command`.
//! `saving` puts the answer on the disk, and `backoff` says how long others wait after a failure. The caller checks the
//! outcome. `verify` asks the backend before a token is handed out, `routing` after new ones are stored.

mod attempt;
mod backoff;
mod command;
mod deadline;
mod obstacle;
mod provider;
mod report;
mod routing;
mod saving;
mod stored;
pub mod verify;
mod worker;

use std::time::{Duration, SystemTime};

use anyhow::{Context, Error, Result, anyhow, bail};

use crate::credentials::{Credentials, Freshness, Source, TokenRequest};
use crate::error::{self, temporary};
use crate::sandbox;
use crate::store::Store;
use crate::time;

use attempt::{Reason, Task};
use obstacle::check_can_refresh;
pub use obstacle::{forbidden_here, obstacle_to_refresh};
pub use provider::{check_refreshable, stored_issuer};
use report::Report;
pub use routing::learn_routing;
pub use stored::{load, not_signed_in};
use worker::Job;
pub use worker::{WORKER, work};

/// How long a user waits for the first token of a command: longer than it can take.
const FIRST_TIMEOUT: Duration = Duration::from_secs(command::LIMIT.as_secs() + 5);

/// Credentials with a usable access token, and a warning, if there is one.
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
    /// Adds a warning, joined with an existing one, as callers get only one line.
    pub fn warn(mut self, warning: String) -> Self {
        self.warning = Some(match self.warning {
            Some(earlier) => format!("{earlier}; {warning}"),
            None => warning,
        });
        self
    }
}

/// Returns credentials with a token that satisfies the request, refreshed if necessary.
pub fn valid_token(store: &Store, request: &TokenRequest) -> Result<ValidToken> {
    let now = SystemTime::now();
    let found = load(store)?;
    let reason = match found.freshness(request, now) {
        Freshness::Fresh => return Ok(found.into()),
        Freshness::Due if is_pointless(store, &found, now) => return Ok(found.into()),
        Freshness::Due => Reason::Due,
        Freshness::Stale if found.is_as_good_as_any(request, now) => {
            return ensure_life(found.into(), request);
        }
        Freshness::Stale => Reason::Needed,
    };
    match refresh(store, &found, request, reason) {
        Err(error) if reason == Reason::Due || !request.is_strict() => still_valid(found, error),
        refreshed => refreshed,
    }
}

/// Whether a refresh ahead of time can be left to later callers: another process is refreshing, the last refresh has just
/// failed, new tokens could not be stored, the token was just received, or the identity token has been used. A sign-in that
/// is required is reported now.
fn is_pointless(store: &Store, found: &Credentials, now: SystemTime) -> bool {
    let backoff = found.backoff.as_ref().filter(|backoff| backoff.holds(now));
    let waits = backoff.is_some_and(|backoff| !backoff.login_required);
    let is_used = found.revoked.is_none() && provider::is_sent(found);
    let cannot_be_stored =
        || store.check_replaceable().is_err() && store.forbidden_here().is_none();
    waits || is_used || found.is_new(now) || store.is_locked() || cannot_be_stored()
}

/// Makes a worker refresh the credentials, waits for it, and checks the outcome.
fn refresh(
    store: &Store,
    found: &Credentials,
    request: &TokenRequest,
    reason: Reason,
) -> Result<ValidToken> {
    // The worker checks the same: it is not started if it cannot do anything.
    store.target().with_context(|| store.could_not("lock"))?;
    check_can_refresh(found, &store.profile, request, SystemTime::now())?;
    let advised = |failure| sandbox::with_advice(failure, &store.profile, request.is_strict());
    if let Some(failure) = store.forbidden_here() {
        bail!(temporary(advised(failure)));
    }
    let task = Task::new(store, found, request, reason);
    let patience = task.patience;
    // The refresh token must not be lost when the system kills the worker along with us. A command is simply run again.
    let is_precious = !found.source().is_external();
    let token: ValidToken = match worker::run(&Job::Refresh(task), patience, is_precious)? {
        Report::Failed(code, message) => return Err(error::from_code(code, advised(message))),
        Report::Unsaved(newest, warning) => {
            let newest = Credentials::parse(newest.into_bytes())?;
            ValidToken::from(store.open(newest)?).warn(warning)
        }
        Report::Late if reason != Reason::Due || !found.is_valid(SystemTime::now()) => {
            bail!(temporary(format!(
                "could not refresh the token within {}: the refresh continues, try again later",
                time::length(patience)
            )))
        }
        Report::Done | Report::Late => load(store)?.into(),
    };
    let newest = &token.credentials;
    if newest.last_refresh == found.last_refresh && reason != Reason::Due {
        bail!(temporary(
            "could not refresh the token: the worker was killed"
        ));
    }
    if request.force_refresh && newest.access_token()? == found.access_token()? {
        bail!("could not get another token: the issuer sent the same one again");
    }
    ensure_life(token, request)
}

/// Credentials with a command's first token, not stored yet. The command is run as it will be later: by a worker, which
/// has no terminal.
pub fn first_credentials(source: Source) -> Result<Credentials> {
    match worker::run(&Job::Try(source), FIRST_TIMEOUT, false)? {
        Report::Unsaved(credentials, _) => {
            Credentials::parse(credentials.into_bytes()).context("could not read its token")
        }
        Report::Failed(code, message) => Err(error::from_code(code, message)),
        Report::Done | Report::Late => bail!("the worker was killed"),
    }
}

/// The earlier token, if it is still valid although a refresh failed. In a sandbox, where nobody can help that, there is
/// no warning until the last hour.
fn still_valid(found: Credentials, error: Error) -> Result<ValidToken> {
    let now = SystemTime::now();
    if !found.is_valid(now) {
        return Err(error);
    }
    let (left, warning) = (found.seconds_left(now), format!("{error:#}"));
    if warning.contains(sandbox::SANDBOX) && left >= 60 * 60 {
        return Ok(found.into());
    }
    let left = time::span(left);
    Ok(ValidToken::from(found).warn(format!("{warning}; the current token expires in {left}")))
}

/// A token refreshed just now is good, however soon it expires, unless a longer lifetime was requested.
fn ensure_life(token: ValidToken, request: &TokenRequest) -> Result<ValidToken> {
    let now = SystemTime::now();
    if !token.credentials.satisfies(request, now) {
        bail!(too_short(&token.credentials, request, now));
    }
    Ok(token)
}

fn too_short(credentials: &Credentials, request: &TokenRequest, now: SystemTime) -> Error {
    let left = credentials.seconds_left(now);
    if left == 0 {
        return temporary("could not get a valid token: the newest one has expired");
    }
    let words = format!(
        "could not get a token that is valid for {}: the newest one expires in {}",
        time::length(request.min_ttl.unwrap_or_default()),
        time::span(left)
    );
    if !credentials.lives_too_short(request) {
        return temporary(words + ": try again later");
    }
    let longest = match credentials.source() {
        Source::Workload { .. } => " (workload identity tokens are valid for an hour at most)",
        _ => "",
    };
    anyhow!("{words}{longest}: use a smaller --min-ttl")
}
