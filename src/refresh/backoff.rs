//! How long the next refresh waits after one that failed, or that can be requested again and again.

use std::time::{Duration, SystemTime};

use rand::RngExt;

use crate::credentials::Backoff;
use crate::issuer::{FailureKind, RefreshFailure};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// The backoff after a refresh that can be requested again and again. An earlier one that ended long ago does not count.
pub fn after_request(earlier: Option<&Backoff>, words: &str) -> Backoff {
    let now = SystemTime::now();
    let earlier = earlier.filter(|earlier| now < earlier.until + HOUR);
    Backoff::after(earlier, words, [MINUTE, HOUR], now)
}

/// The backoff after a failure, which grows up to a minute.
pub fn after_failure(earlier: Option<&Backoff>, failure: &RefreshFailure) -> Backoff {
    let (kind, now) = (failure.kind, SystemTime::now());
    let is_slow = kind == FailureKind::LoginRequired || kind == FailureKind::Unreached;
    let shortest = if is_slow { MINUTE } else { SECOND };
    let mut backoff = Backoff::after(earlier, &failure.reason, [shortest, MINUTE], now);
    backoff.login_required = kind == FailureKind::LoginRequired;
    // The same refresh token is tried again: if its response was lost, it may still be good.
    backoff.unanswered |= kind == FailureKind::Unanswered;
    backoff.unreached = kind == FailureKind::Unreached;
    // Up to a quarter more, so that many machines do not return at the same moment.
    let pause = backoff.until.duration_since(now).unwrap_or_default();
    let pause = pause.mul_f64(rand::rng().random_range(1.0..1.25));
    // A longer pause must be a mistake, which must not end a login.
    let asked = failure.retry_after.unwrap_or_default().min(HOUR);
    backoff.until = now + pause.max(asked);
    backoff
}
