//! What the token endpoint answers (RFC 6749 section 5.1), and what else brings tokens.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::account::account_id_in;
use super::jwt::{claims, seconds_of};
use super::{Account, Routing, is_token};
use crate::time::seconds_since_epoch;

/// The assumed life of a token if the response does not say (RFC 6749 section 5.1 leaves it to the client).
pub(super) const ASSUMED_LIFE: Duration = Duration::from_secs(60 * 60);
/// No token is valid for longer, in seconds: what says so counts in milliseconds, or not at all. Ten years.
pub(super) const LONGEST_LIFE: u64 = 10 * 365 * 24 * 60 * 60;

/// New tokens. At a refresh each may be missing: the old one stays.
#[derive(Default)]
pub struct TokenResponse {
    pub access_token: Option<String>,
    pub refresh_token: Option<String>,
    pub id_token: Option<String>,
    /// The ID of the ChatGPT account that they are for.
    pub account_id: Option<String>,
    /// What is said of the account beside the tokens.
    pub account: Option<Account>,
    /// Where requests with the tokens go, if that is known elsewhere.
    pub routing: Option<Box<Routing>>,
    /// How long the access token is valid from its receipt. None for one that is valid until it is rejected.
    pub life: Option<Duration>,
    /// Whether `life` also counts for a token that we have already: one with claims expires when they say.
    pub prolongs: bool,
}

impl TokenResponse {
    /// Reads a token response that was received at `now`, and sent at `sent_at` by the issuer's own clock (seconds since
    /// 1970), if it told. A member of another type counts as missing.
    pub fn parse(body: &[u8], sent_at: Option<u64>, now: SystemTime) -> Result<Self> {
        let answer: Map<String, Value> = serde_json::from_slice(body)
            .ok()
            .context("it is not a JSON object")?;
        let token = |name| {
            let token = answer.get(name).and_then(Value::as_str);
            token.filter(|token| is_token(token)).map(str::to_owned)
        };
        let (access_token, id_token) = (token("access_token"), token("id_token"));
        let access_claims = access_token.as_deref().and_then(claims).unwrap_or_default();
        let id_claims = id_token.as_deref().and_then(claims).unwrap_or_default();
        let expires_in = answer.get("expires_in").and_then(seconds_of);
        let expires_in = expires_in.filter(|seconds| (1..=LONGEST_LIFE).contains(seconds));
        let life = claimed_life(&access_claims, sent_at, now);
        let life = life.or(expires_in).map(Duration::from_secs);
        Ok(Self {
            account_id: account_id_in(&id_claims).or_else(|| account_id_in(&access_claims)),
            access_token,
            refresh_token: token("refresh_token"),
            id_token,
            life: Some(life.unwrap_or(ASSUMED_LIFE)),
            prolongs: expires_in.is_some() && seconds_of(&access_claims["exp"]).is_none(),
            ..Self::default()
        })
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

/// The seconds that a token is valid, by its claims. Our clock may be wrong: so its end is compared with the issuer's clock,
/// which is the time when the response was sent or, if that is not told or earlier, when the token was made.
fn claimed_life(claims: &Value, sent_at: Option<u64>, now: SystemTime) -> Option<u64> {
    let end = seconds_of(&claims["exp"])?;
    // One that was made after its end does not say when.
    let made_at = seconds_of(&claims["iat"]).filter(|made_at| *made_at < end);
    let issuers_now = sent_at.max(made_at);
    let left = end.saturating_sub(issuers_now.unwrap_or(seconds_since_epoch(now)));
    Some(left).filter(|left| *left <= LONGEST_LIFE)
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
        TokenResponse::parse(answer.to_string().as_bytes(), None, time_at(NOW)).unwrap()
    }

    #[test]
    fn the_life_of_a_token_is_its_claims_else_the_responses_word_else_an_hour() {
        let life = |claims: &Value, expires_in: &Value, sent_at| {
            let answer = json!({"access_token": token(claims), "expires_in": expires_in});
            let body = answer.to_string();
            let response = TokenResponse::parse(body.as_bytes(), sent_at, time_at(NOW)).unwrap();
            response.life.unwrap().as_secs()
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
            // Impossible lives: it was made after its end, which is past or not; thousands of years.
            (json!({"iat": 700, "exp": 100}), json!("9"), None, 0),
            (
                json!({"iat": NOW + 700, "exp": NOW + 70}),
                json!(9),
                None,
                70,
            ),
            (json!({"exp": NOW * 1000}), json!("9"), None, 9),
            (json!({}), json!(NOW * 1000), None, 3600),
            (json!({}), json!(-5), None, 3600),
            (json!({}), json!(null), None, 3600),
            (json!({}), json!("soon"), None, 3600),
            (json!({"iat": 0, "exp": u64::MAX}), json!(9), None, 9),
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
