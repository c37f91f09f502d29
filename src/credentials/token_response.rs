//! What the token endpoint answers (RFC 6749 section 5.1).

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::command_output::Told;
use super::jwt::{claims, seconds_of};
use super::{account_in, is_token};
use crate::time::seconds_since_epoch;

/// The life of a token that does not tell its own, as RFC 6749 section 5.1 leaves it to us.
pub(super) const ASSUMED_LIFE: Duration = Duration::from_secs(60 * 60);

/// A token response. At a refresh each token may be missing: the old one stays.
pub struct TokenResponse {
    pub access_token: Option<String>,
    pub refresh_token: Option<String>,
    pub id_token: Option<String>,
    expires_in: Option<Duration>,
    /// When it was sent, in seconds since 1970 by the issuer's own clock, if it told.
    sent_at: Option<u64>,
    /// What a command said of the access token, if it came from one.
    pub(super) told: Option<Told>,
}

impl TokenResponse {
    /// An access token alone, with what was said of it.
    pub(super) fn of_command(access_token: String, told: Told) -> Self {
        Self {
            access_token: Some(access_token),
            refresh_token: None,
            id_token: None,
            expires_in: None,
            sent_at: None,
            told: Some(told),
        }
    }

    /// Reads a token response, and when it was sent. A member of another type counts as missing.
    pub fn parse(body: &[u8], sent_at: Option<u64>) -> Result<Self> {
        let answer: Map<String, Value> = serde_json::from_slice(body)
            .ok()
            .context("it is no JSON object")?;
        let token = |name| {
            let token = answer.get(name).and_then(Value::as_str);
            token.filter(|token| is_token(token)).map(str::to_owned)
        };
        let seconds = answer.get("expires_in").and_then(seconds_of);
        Ok(Self {
            access_token: token("access_token"),
            refresh_token: token("refresh_token"),
            id_token: token("id_token"),
            expires_in: seconds
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            sent_at,
            told: None,
        })
    }

    /// The life that the access token has left at its receipt: by its own claims, else as the response says, else an hour.
    /// What came from a command was judged when it was read.
    pub(super) fn life(&self, now: SystemTime) -> Duration {
        let told = self.told.as_ref().map(|told| told.life);
        told.or_else(|| self.claimed_life(now))
            .or(self.expires_in)
            .unwrap_or(ASSUMED_LIFE)
    }

    /// Our clock may be wrong. So the end of a token is compared with the issuer's clock: the time when the response was
    /// sent or, if that is not told or earlier, when the token was made.
    fn claimed_life(&self, now: SystemTime) -> Option<Duration> {
        let claims = claims(self.access_token.as_deref()?)?;
        let (end, made_at) = (seconds_of(&claims["exp"])?, seconds_of(&claims["iat"]));
        if made_at.is_some_and(|made_at| made_at >= end) {
            return None;
        }
        let issuers_now = self.sent_at.max(made_at);
        let left = end.saturating_sub(issuers_now.unwrap_or(seconds_since_epoch(now)));
        Some(Duration::from_secs(left))
    }

    /// Whether it prolongs a token that we have already: one with claims expires when they say.
    pub(super) fn prolongs(&self) -> bool {
        let claims = self.access_token.as_deref().and_then(claims);
        let tells_end = claims.is_some_and(|claims| seconds_of(&claims["exp"]).is_some());
        self.told.is_some() || !tells_end && self.expires_in.is_some()
    }

    /// The ID of the ChatGPT account that these tokens are for.
    pub fn account_id(&self) -> Option<String> {
        let told = self.told.as_ref().and_then(|told| told.account_id.clone());
        let mut tokens = [&self.id_token, &self.access_token].into_iter().flatten();
        told.or_else(|| tokens.find_map(|token| account_in(&claims(token)?)))
    }

    /// Refuses an ID token that is not for this client, not from this issuer, or had expired at `now` (OpenID Connect
    /// Core 3.1.3.7). The signature may go unchecked there: the token came from the issuer itself, over TLS.
    pub fn check_id_token(&self, issuer: &str, client_id: &str, now: SystemTime) -> Result<()> {
        let Some(id_token) = &self.id_token else {
            return Ok(());
        };
        let claims = claims(id_token).context("its ID token cannot be read")?;
        if claims["iss"].as_str().map(|iss| iss.trim_end_matches('/')) != Some(issuer) {
            bail!("its ID token is from another issuer");
        }
        let audience = &claims["aud"];
        if audience.as_str() != Some(client_id)
            && !audience
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one == client_id))
        {
            bail!("its ID token is for another client");
        }
        if seconds_of(&claims["exp"]).is_none_or(|end| end <= seconds_since_epoch(now)) {
            bail!("its ID token has already expired");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::jwt::tests::token;
    use crate::time::time_at;
    use serde_json::json;

    const ISSUER: &str = "https://issuer.example";
    const NOW: u64 = 2_000_000_000;

    fn response(answer: &Value) -> TokenResponse {
        TokenResponse::parse(answer.to_string().as_bytes(), None).unwrap()
    }

    #[test]
    fn the_life_of_a_token_is_its_claims_else_the_responses_word_else_an_hour() {
        let life = |claims: &Value, expires_in: &Value, sent_at| {
            let answer = json!({"access_token": token(claims), "expires_in": expires_in});
            let response = TokenResponse::parse(answer.to_string().as_bytes(), sent_at).unwrap();
            response.life(time_at(NOW)).as_secs()
        };
        for (claims, expires_in, sent_at, expected) in [
            (json!({"iat": 100, "exp": 700}), json!(9), None, 600),
            (json!({"iat": 100.5, "exp": 700.5}), json!(9), None, 600),
            // It was made earlier than it was sent.
            (json!({"iat": 100, "exp": 700}), json!(9), Some(400), 300),
            (json!({"iat": 100, "exp": 700}), json!(9), Some(700), 0),
            (json!({"iat": 100, "exp": 700}), json!(9), Some(u64::MAX), 0),
            // The clock of who sent it is behind that of who made it.
            (json!({"iat": 100, "exp": 700}), json!(9), Some(50), 600),
            (json!({"exp": 700}), json!(9), Some(100), 600),
            (json!({"exp": NOW + 70}), json!(9), None, 70),
            (json!({"iat": 700, "exp": 100}), json!("9"), None, 9),
            (json!({"iat": 7, "exp": 7}), json!(0), None, 3600),
            (json!({}), json!(-5), None, 3600),
            (json!({}), json!(null), None, 3600),
            (json!({}), json!("soon"), None, 3600),
            (json!({"iat": 0, "exp": u64::MAX}), json!(9), None, u64::MAX),
        ] {
            let found = life(&claims, &expires_in, sent_at);
            assert_eq!(found, expected, "{claims} {expires_in} {sent_at:?}");
        }
    }

    #[test]
    fn what_could_not_stand_on_one_line_is_no_token() {
        for bad in ["", "a b", "a\nb", "a\r", "ü", "a\0b", "\x1b[31m"] {
            let read = response(&json!({"access_token": bad, "refresh_token": bad}));
            assert!(
                read.access_token.is_none() && read.refresh_token.is_none(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn an_id_token_is_for_this_client_from_this_issuer_and_has_not_expired() {
        let check = |claims: &Value| {
            let read = response(&json!({"id_token": token(claims)}));
            let checked = read.check_id_token(ISSUER, "client", time_at(NOW));
            checked.map_err(|error| error.to_string())
        };
        let good = json!({"iss": ISSUER, "aud": ["other", "client"], "exp": NOW + 1});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        assert_eq!(check(&good), Ok(()));
        assert_eq!(check(&with("aud", json!("client"))), Ok(()));
        assert_eq!(
            check(&with("iss", json!("https://issuer.example/"))),
            Ok(())
        );
        for (name, value, words) in [
            ("iss", json!("https://evil.example"), "from another issuer"),
            ("iss", Value::Null, "from another issuer"),
            ("aud", json!(["other"]), "for another client"),
            ("aud", json!("client2"), "for another client"),
            ("aud", Value::Null, "for another client"),
        ] {
            let error = Err(format!("its ID token is {words}"));
            assert_eq!(check(&with(name, value.clone())), error, "{name} {value}");
        }
        for end in [json!(NOW), Value::Null] {
            let error = Err("its ID token has already expired".to_owned());
            assert_eq!(check(&with("exp", end)), error);
        }
        let broken = response(&json!({"id_token": "a.b.c"}));
        assert!(
            broken
                .check_id_token(ISSUER, "client", time_at(NOW))
                .is_err()
        );
    }
}
