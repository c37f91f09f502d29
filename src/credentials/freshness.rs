//! How long an access token can still be used: decided here for every command, and for Codex's credentials, too.

use std::time::{Duration, SystemTime};

use super::{Credentials, TokenRequest, TokenResponse};
use crate::time::seconds_since_epoch;

/// The lifetime that a token must have left by default, in seconds.
const MIN_TTL: u64 = 5 * 60;
/// The minimum time before expiry at which a token is refreshed ahead of time, in seconds.
const SHORTEST_WINDOW: u64 = 10 * 60;
/// A token received less than this many seconds ago cannot be improved on.
const JUST_RECEIVED: u64 = 60;

/// How well a stored token satisfies a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    Fresh,
    /// It can be used, and should be refreshed ahead of time.
    Due,
    /// It must be refreshed before use.
    Stale,
}

impl Credentials {
    /// How well the access token satisfies a request. Its lifetime is counted from its receipt, on this machine's clock.
    pub fn freshness(&self, request: &TokenRequest, now: SystemTime) -> Freshness {
        let (left, window) = (self.seconds_left(now), self.window());
        let usual = Duration::from_secs(MIN_TTL.min(window / 2));
        let needed = request.min_ttl.unwrap_or(usual).as_secs().max(1);
        let is_stale = request.force_refresh || left < needed || self.is_from_future(now);
        let due = self.refresh_window.unwrap_or(window).min(window);
        match left {
            _ if is_stale => Freshness::Stale,
            // The caller gets a warning, or another token, if its identity token has been replaced.
            _ if left <= due || self.revoked.is_some() => Freshness::Due,
            _ => Freshness::Fresh,
        }
    }

    /// The seconds until the access token expires. Without a known expiry it has none left, except for a token that is
    /// never refreshed, which is valid until the backend rejects it. If the clock was set back, the token's own claim is
    /// believed.
    pub fn seconds_left(&self, now: SystemTime) -> u64 {
        let unknown = self.is_access_token_only().then_some(u64::MAX);
        let claimed = self.is_from_future(now).then(|| self.claimed_expiry());
        let end = claimed.flatten().or_else(|| self.expiry());
        let end = end.or(unknown).unwrap_or(0);
        end.saturating_sub(seconds_since_epoch(now))
    }

    /// Whether more than the full lifetime seems to be left, because the clock was set back after the token was received.
    fn is_from_future(&self, now: SystemTime) -> bool {
        let end = self.expires_at.zip(self.expires_in);
        let now = seconds_since_epoch(now).saturating_add(JUST_RECEIVED);
        end.is_some_and(|(end, life)| end > life.saturating_add(now))
    }

    /// Whether it can be used now: it exists and has not expired.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.seconds_left(now) > 0 && !self.is_closed()
    }

    /// Whether the token was received just now, so that another one would not be valid for longer. One from a command may
    /// be old when it is received, and is never new.
    pub fn is_new(&self, now: SystemTime) -> bool {
        !self.source().is_external() && self.is_valid(now) && self.is_just_received(now)
    }

    fn is_just_received(&self, now: SystemTime) -> bool {
        let limit = JUST_RECEIVED.min(self.expires_in.unwrap_or(u64::MAX) / 2);
        let received = self.received_at();
        let age = received.and_then(|received| now.duration_since(received).ok());
        age.is_some_and(|age| age.as_secs() < limit)
    }

    /// Whether the token is valid for as long as requested. For a token refreshed just now for this request, the seconds
    /// since then do not count.
    pub fn satisfies(&self, request: &TokenRequest, now: SystemTime) -> bool {
        let (left, needed) = (self.seconds_left(now), request.min_ttl.unwrap_or_default());
        let is_just_received = self.is_just_received(now) && !self.lives_too_short(request);
        let grace = if is_just_received { JUST_RECEIVED } else { 0 };
        left > 0 && left.saturating_add(grace) >= needed.as_secs()
    }

    /// Whether a refresh could not bring a better token for this request now: it is new, or not even a full lifetime is
    /// long enough.
    pub fn is_as_good_as_any(&self, request: &TokenRequest, now: SystemTime) -> bool {
        let is_usual = self.freshness(&TokenRequest::default(), now) == Freshness::Fresh;
        !request.force_refresh && (self.is_new(now) || self.lives_too_short(request) && is_usual)
    }

    /// Whether a token that another process has just fetched will do, even for a request that forces a refresh.
    pub fn is_good_enough(&self, request: &TokenRequest, now: SystemTime) -> bool {
        let mut request = request.clone();
        request.force_refresh = false;
        self.satisfies(&request, now) || self.is_as_good_as_any(&request, now)
    }

    /// Whether the full lifetime of such a token is shorter than requested. Unknown, and so false, for a token from a
    /// command.
    pub fn lives_too_short(&self, request: &TokenRequest) -> bool {
        let life = self.expires_in.filter(|_| !self.source().is_external());
        request.min_ttl.unwrap_or_default().as_secs() > life.unwrap_or(u64::MAX)
    }

    /// Whether a response says that its token is valid for longer than the stored one, by a minute at least.
    pub fn is_prolonged_by(&self, response: &TokenResponse, now: SystemTime) -> bool {
        response.expires_in.unwrap_or(0) > self.seconds_left(now).saturating_add(JUST_RECEIVED)
    }

    /// Chooses when the token will be refreshed ahead of time, within the first half of the usual window, so that many
    /// machines with the same token do not refresh at once. `share` is a random number from 0 to 1.
    pub fn choose_refresh_window(&mut self, share: f64) {
        let longest = Duration::from_secs(self.window());
        let chosen = longest.mul_f64(1.0 - share.clamp(0.0, 1.0) / 2.0);
        self.refresh_window = Some(chosen.as_secs());
    }

    /// The window for a refresh ahead of time: the last tenth of the token's lifetime, at least ten minutes, at most half
    /// of the lifetime; in seconds. Zero if nobody refreshes the token, as there is no better one to wait for.
    fn window(&self) -> u64 {
        if self.is_access_token_only() {
            return 0;
        }
        let usual = SHORTEST_WINDOW.max(self.expires_in.unwrap_or(0) / 10);
        usual.min(self.expires_in.unwrap_or(u64::MAX) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::time_at;
    use serde_json::json;

    const NOW: u64 = 2_000_000_000;
    const DAY: u64 = 86400;

    fn credentials(left: u64, life: u64) -> Credentials {
        let document =
            json!({"tokens": {"access_token": "a"}, "expires_at": NOW + left, "expires_in": life});
        Credentials::parse(document.to_string().into_bytes()).unwrap()
    }

    fn freshness_of(left: u64, life: u64, min_ttl: Option<u64>) -> Freshness {
        let request = TokenRequest {
            min_ttl: min_ttl.map(Duration::from_secs),
            ..TokenRequest::default()
        };
        credentials(left, life).freshness(&request, time_at(NOW))
    }

    #[test]
    fn a_token_is_due_in_the_last_tenth_of_its_life() {
        for (life, window) in [
            (10 * DAY, DAY),
            (3600, 600),
            (1200, 600),
            (600, 300),
            (60, 30),
            (2, 1),
        ] {
            let of = |left| freshness_of(left, life, None);
            assert_eq!(of(window + 1), Freshness::Fresh, "a life of {life}");
            assert_eq!(of(window), Freshness::Due, "a life of {life}");
        }
    }

    #[test]
    fn a_token_is_stale_with_less_than_five_minutes_or_half_of_that_time() {
        for (life, needed) in [(10 * DAY, 300), (3600, 300), (600, 150), (60, 15)] {
            let of = |left| freshness_of(left, life, None);
            assert_eq!(of(needed), Freshness::Due, "a life of {life}");
            assert_eq!(of(needed - 1), Freshness::Stale, "a life of {life}");
        }
        for life in [0, 1, 10 * DAY] {
            let freshness = freshness_of(0, life, None);
            assert_eq!(freshness, Freshness::Stale, "a life of {life}");
        }
    }

    #[test]
    fn a_life_that_is_asked_for_counts_to_the_second() {
        let of = |left, ttl| freshness_of(left, 10 * DAY, Some(ttl));
        assert_eq!(of(7200, 7200), Freshness::Due);
        assert_eq!(of(7199, 7200), Freshness::Stale);
        assert_eq!(of(1, 0), Freshness::Due);
        assert_eq!(of(0, 0), Freshness::Stale);
    }

    #[test]
    fn more_left_than_a_full_lifetime_means_that_the_clock_was_set_back() {
        let of = |left, life| freshness_of(left, life, None);
        assert_eq!(of(3600 + JUST_RECEIVED, 3600), Freshness::Fresh);
        assert_eq!(of(3600 + JUST_RECEIVED + 1, 3600), Freshness::Stale);
        assert_eq!(of(u64::MAX - NOW, u64::MAX), Freshness::Fresh);
    }

    #[test]
    fn a_moment_that_was_chosen_lies_in_the_first_half_of_the_usual_time() {
        for (share, window) in [(0.0, 600), (0.5, 450), (1.0, 300), (7.0, 300)] {
            let of = |left| {
                let mut credentials = credentials(left, 3600);
                credentials.choose_refresh_window(share);
                credentials.freshness(&TokenRequest::default(), time_at(NOW))
            };
            assert_eq!(of(window + 1), Freshness::Fresh, "{share}");
            assert_eq!(of(window), Freshness::Due, "{share}");
        }
    }

    #[test]
    fn a_token_that_does_not_tell_when_it_expires_is_never_fresh() {
        let bytes = br#"{"tokens":{"access_token":"opaque"}}"#;
        let credentials = Credentials::parse(bytes.to_vec()).unwrap();
        let freshness = credentials.freshness(&TokenRequest::default(), time_at(NOW));
        assert_eq!(freshness, Freshness::Stale);
        assert!(!credentials.is_valid(time_at(NOW)));
    }
}
