//! Whether the backend accepts a token, and what happens to a rejected one.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use super::attempt::Reason;
use super::{ValidToken, check_refreshable, refresh, stored};
use crate::credentials::{Credentials, TokenRequest};
use crate::error::temporary;
use crate::issuer::backend::{self, Verdict};
use crate::settings;
use crate::store::Store;
use crate::time::{time_of, timestamp};

/// How long to trust a rejection before asking the backend about the same token again.
const REJECTION_HOLDS: Duration = Duration::from_mins(1);

/// How long the backend may take while the caller waits: a twentieth of the usual `--timeout`, or of a longer one.
const CHECK_LIMIT: Duration = Duration::from_millis(1500);
/// The same if another machine reports a rejection: no user is waiting there.
const REPORT_LIMIT: Duration = Duration::from_secs(10);

/// The token, after asking the backend whether it accepts it.
///
/// A rejected token is refreshed, once for all callers that found the same one, because the worker checks whether that
/// was done already. A token received just now is not refreshed at first, and neither is one soon after a refresh that
/// did not help: a backend that rejects everything must not cost a refresh on every call. A rejected token is never
/// handed out.
pub fn verified(store: &Store, token: ValidToken, request: &TokenRequest) -> Result<ValidToken> {
    let credentials = &token.credentials;
    let rejected_at = credentials.rejected_at.as_deref().and_then(time_of);
    let age = rejected_at.and_then(|at| SystemTime::now().duration_since(at).ok());
    let is_known = age.is_some_and(|age| age < REJECTION_HOLDS);
    let verdict = if is_known {
        Verdict::Rejected
    } else {
        verdict(credentials, check_limit(request))
    };
    match verdict {
        Verdict::Accepted => {
            // The token refreshed because of a rejection works, so the next rejection is a new one.
            if credentials.rejection_backoff.is_some() {
                stored::update(store, credentials, Duration::ZERO, |stored| {
                    stored.rejection_backoff = None;
                });
            }
            Ok(token)
        }
        Verdict::Unknown(reason) => Ok(token.warn(unknown(&reason))),
        Verdict::Rejected => {
            let replaced = replace(store, credentials, request, is_known);
            if replaced.is_err() && !is_known {
                let now = timestamp(SystemTime::now());
                stored::update(store, credentials, Duration::ZERO, |stored| {
                    stored.rejected_at = Some(now);
                });
            }
            replaced.context("the backend rejects the token")
        }
    }
}

/// Has a rejected token refreshed, unless that would not help. If it fails, there is no token to hand out, however long
/// the rejected one is valid.
fn replace(
    store: &Store,
    rejected: &Credentials,
    request: &TokenRequest,
    is_known: bool,
) -> Result<ValidToken> {
    let now = SystemTime::now();
    check_refreshable(rejected, &store.profile)?;
    let backoff = rejected.rejection_backoff.as_ref();
    if let Some(wait) = backoff.and_then(|backoff| backoff.wait(now)) {
        bail!(temporary(format!(
            "a refresh did not help, and the next one is in {wait}"
        )));
    }
    if rejected.is_new(now) && !is_known {
        bail!(temporary("it was received just now: try again"));
    }
    let request = TokenRequest {
        force_refresh: true,
        is_forwarded: false,
        ..request.clone()
    };
    refresh(store, rejected, &request, Reason::Rejected)
}

pub fn check_limit(request: &TokenRequest) -> Duration {
    let usual = if request.is_forwarded {
        REPORT_LIMIT
    } else {
        CHECK_LIMIT
    };
    usual.max(request.timeout.unwrap_or_default() / 20)
}

/// What the backend says about the token.
pub fn verdict(credentials: &Credentials, limit: Duration) -> Verdict {
    match settings::backend() {
        Ok(backend) => backend::check(&backend, credentials, limit),
        Err(error) => Verdict::Unknown(format!("{error:#}")),
    }
}

/// The warning if the backend did not say.
pub fn unknown(reason: &str) -> String {
    format!("could not check the token with the backend: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_timeout_gives_the_backend_longer() {
        for (timeout, wanted) in [
            (None, 1500),
            (Some(1), 1500),
            (Some(30), 1500),
            (Some(60), 3000),
        ] {
            let request = TokenRequest {
                timeout: timeout.map(Duration::from_secs),
                ..TokenRequest::default()
            };
            assert_eq!(check_limit(&request), Duration::from_millis(wanted));
        }
    }
}
