//! New tokens: the response of the token endpoint (RFC 6749 section 5.1), or what a command or a socket of `login --from`
//! sends, which is the output of `token --format json`.

use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::account::{claims, seconds_of};
use super::{Account, Routing, Tokens, token_of};
use crate::text::text_of;
use crate::time::{seconds_since_epoch, time_of};
use crate::url::Url;

/// The assumed lifetime of a token if unknown, in seconds (RFC 6749 section 5.1 leaves it to the client).
const ASSUMED_LIFE: u64 = 60 * 60;
/// The maximum lifetime, in seconds: ten years. A value above it is in milliseconds, or meaningless.
const LONGEST_LIFE: u64 = 10 * 365 * 24 * 60 * 60;

#[derive(Default)]
pub struct TokenResponse {
    /// In a refresh each may be missing, and the old one is kept.
    pub tokens: Tokens,
    /// What the response says about the account beyond the tokens.
    pub account: Option<Account>,
    /// Where requests with the tokens go, if another machine knows.
    pub routing: Option<Routing>,
    /// How long the access token is valid from its receipt, in seconds. `None` if it is valid until it is rejected.
    pub expires_in: Option<u64>,
    /// Whether that also applies if we already have this token: one with claims expires when they say.
    pub prolongs: bool,
}

impl TokenResponse {
    /// Reads a token response received at `now`, and sent at `sent_at` by the issuer's own clock (seconds since 1970), if
    /// known. A member of an unexpected type counts as missing.
    pub fn parse(answer: &Value, sent_at: Option<u64>, now: SystemTime) -> Self {
        let mut tokens = Tokens::of(answer);
        tokens.account_id = Account::claimed(&tokens).id;
        let claims = claims(tokens.access_token.as_deref().unwrap_or_default());
        let stated = seconds_of(&answer["expires_in"]);
        let stated = stated.filter(|seconds| (1..=LONGEST_LIFE).contains(seconds));
        let life = claimed_life(&claims, sent_at, now).or(stated);
        Self {
            tokens,
            expires_in: life.or(Some(ASSUMED_LIFE)),
            prolongs: stated.is_some() && seconds_of(&claims["exp"]).is_none(),
            ..Self::default()
        }
    }

    /// Reads the output of a command. Members of an unexpected type count as missing, and unknown ones are ignored. The
    /// error never quotes it.
    pub fn from_command(output: &[u8], backend: &Url, now: SystemTime) -> Result<Self> {
        ensure!(!output.trim_ascii().is_empty(), "it printed nothing");
        let object: Value = serde_json::from_slice(output).unwrap_or_default();
        if !object.is_object() {
            bail!("it printed no JSON object like that of codex-auth token --format json");
        }
        let mut tokens = Tokens::of(&object);
        if tokens.refresh_token.is_some() || object["tokens"].is_object() {
            bail!("it printed a refresh token, which must stay on one machine");
        }
        let token = token_of(&object["token"]).or(tokens.access_token);
        let claims = claims(token.as_deref().context("it printed no access token")?);
        tokens.access_token = token;
        // The token's own claim takes precedence.
        tokens.account_id = Account::claimed(&tokens).id.or(tokens.account_id);
        Ok(Self {
            tokens,
            expires_in: Some(shortest_life(&object, &claims, now)?),
            prolongs: true,
            account: Some(Account {
                email: text_of(&object["email"]),
                plan: text_of(&object["plan"]),
                residency: text_of(&object["residency"]),
                is_fedramp: object["fedramp"] == true,
                ..Account::default()
            }),
            routing: Routing::from_command(&object, backend),
        })
    }

    /// Refuses the response to an authorization code if it lacks a token that a login needs, or if its ID token is not
    /// for this client, not from this issuer, or had expired at `now` (OpenID Connect Core 3.1.3.7).
    pub fn check_login(&self, issuer: &str, client_id: &str, now: SystemTime) -> Result<()> {
        let tokens = &self.tokens;
        ensure!(tokens.access_token.is_some(), "it has no access token");
        ensure!(tokens.refresh_token.is_some(), "it has no refresh token");
        let Some(id_token) = &tokens.id_token else {
            return Ok(());
        };
        let claims = claims(id_token);
        let from = claims["iss"].as_str().map(|it| it.trim_end_matches('/'));
        ensure!(from == Some(issuer), "its ID token is from another issuer");
        let audience = &claims["aud"];
        let is_listed = |all: &Vec<Value>| all.iter().any(|one| one == client_id);
        let is_for_us = audience == client_id || audience.as_array().is_some_and(is_listed);
        ensure!(is_for_us, "its ID token is for another client");
        let end = seconds_of(&claims["exp"]).unwrap_or(0);
        let is_valid = end > seconds_since_epoch(now);
        ensure!(is_valid, "its ID token has already expired");
        Ok(())
    }
}

/// How many seconds a token is valid, according to its claims. Our clock may be wrong, so its expiry is compared with the
/// issuer's: the time when the response was sent or, if that is unknown or earlier, when the token was issued.
fn claimed_life(claims: &Value, sent_at: Option<u64>, now: SystemTime) -> Option<u64> {
    let end = seconds_of(&claims["exp"])?;
    // A token issued after its expiry says nothing about the issuer's clock.
    let made_at = seconds_of(&claims["iat"]).filter(|made_at| *made_at < end);
    let issuers_now = sent_at.max(made_at);
    let left = end.saturating_sub(issuers_now.unwrap_or(seconds_since_epoch(now)));
    Some(left).filter(|left| *left <= LONGEST_LIFE)
}

/// The seconds left of the lifetime of a command's token. Old output makes its `expires_in` too long, and our clock may
/// be wrong, so that the expiry seems earlier or later. So the shortest of all counts.
fn shortest_life(object: &Value, claims: &Value, now: SystemTime) -> Result<u64> {
    let ends = [&claims["exp"], &object["expires_at_epoch"]].map(seconds_of);
    let ends = ends.into_iter().chain([expires_at(&object["expires_at"])?]);
    let left = |end: u64| end.saturating_sub(seconds_since_epoch(now));
    let lives = ends.flatten().map(left);
    let lives: Vec<u64> = lives.chain(seconds_of(&object["expires_in"])).collect();
    if lives.iter().any(|life| *life > LONGEST_LIFE) {
        bail!("it printed a token that is valid for more than ten years: times are in seconds");
    }
    match lives.into_iter().min() {
        Some(0) => bail!("it printed a token that has expired"),
        shortest => Ok(shortest.unwrap_or(ASSUMED_LIFE)),
    }
}

/// Seconds since 1970: as a number, or in RFC 3339 as we print it, with either form of the offset of UTC.
fn expires_at(value: &Value) -> Result<Option<u64>> {
    let text = value.as_str().unwrap_or_default().replace("+00:00", "Z");
    let end = time_of(&text).map(seconds_since_epoch);
    let end = end.or_else(|| seconds_of(value));
    if end.is_none() && !value.is_null() {
        bail!("its expires_at is not an RFC 3339 time in UTC");
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::account::tests::token;
    use crate::time::time_at;
    use serde_json::json;

    const ISSUER: &str = "https://issuer.example";
    const NOW: u64 = 2_000_000_000;

    fn response(answer: &Value) -> TokenResponse {
        TokenResponse::parse(answer, None, time_at(NOW))
    }

    #[test]
    fn the_life_of_a_token_is_its_claims_else_the_responses_word_else_an_hour() {
        let life = |claims: &Value, expires_in: &Value, sent_at| {
            let answer = json!({"access_token": token(claims), "expires_in": expires_in});
            let response = TokenResponse::parse(&answer, sent_at, time_at(NOW));
            response.expires_in.unwrap()
        };
        for (claims, expires_in, sent_at, expected) in [
            (json!({"iat": 100, "exp": 700}), json!(9), None, 600),
            (json!({"iat": 100.5, "exp": 700.5}), json!(9), None, 600),
            // It was issued before it was sent.
            (json!({"iat": 100, "exp": 700}), json!(9), Some(400), 300),
            (json!({"iat": 100, "exp": 700}), json!(9), Some(700), 0),
            (json!({"iat": 100, "exp": 700}), json!(9), Some(u64::MAX), 0),
            // The sender's clock is behind the issuer's.
            (json!({"iat": 100, "exp": 700}), json!(9), Some(50), 600),
            (json!({"exp": 700}), json!(9), Some(100), 600),
            (json!({"exp": NOW + 70}), json!(9), None, 70),
            // Impossible lifetimes: issued after its expiry, which is past or not; thousands of years.
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
    fn text_that_does_not_fit_on_one_line_is_not_a_token() {
        for bad in ["", "a b", "a\nb", "a\r", "ü", "a\0b", "\x1b[31m"] {
            let read = response(&json!({"access_token": bad, "refresh_token": bad})).tokens;
            assert!(
                read.access_token.is_none() && read.refresh_token.is_none(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_login_has_both_tokens_and_its_id_token_is_for_us() {
        let check = |claims: &Value| {
            let answer =
                json!({"access_token": "a", "refresh_token": "r", "id_token": token(claims)});
            let checked = response(&answer).check_login(ISSUER, "client", time_at(NOW));
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
        let check = |answer: &Value| response(answer).check_login(ISSUER, "client", time_at(NOW));
        for (answer, is_login) in [
            (json!({"access_token": "a", "refresh_token": "r"}), true),
            (
                json!({"access_token": "a", "refresh_token": "r", "id_token": "a.b.c"}),
                false,
            ),
            (json!({"access_token": "a"}), false),
            (json!({"refresh_token": "r"}), false),
        ] {
            assert_eq!(check(&answer).is_ok(), is_login, "{answer}");
        }
    }

    fn backend() -> Url {
        Url::parse("https://chatgpt.com/backend-api").unwrap()
    }

    fn read(output: &Value) -> Result<TokenResponse, String> {
        let output = output.to_string();
        let read = TokenResponse::from_command(output.as_bytes(), &backend(), time_at(NOW));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_expires_at_the_earliest_of_all_its_times() {
        let jwt = |left: u64| token(&json!({"exp": NOW + left, "iat": NOW - 100}));
        for (output, left) in [
            (json!({"token": "opaque"}), 3600),
            (json!({"token": "opaque", "expires_in": 70}), 70),
            (json!({"token": "opaque", "expires_at_epoch": NOW + 60}), 60),
            (json!({"token": jwt(50)}), 50),
            (
                json!({"token": jwt(50), "expires_in": 40, "expires_at_epoch": NOW + 60}),
                40,
            ),
            // It was printed long ago.
            (
                json!({"token": jwt(50), "expires_in": 4000, "expires_at_epoch": NOW + 50}),
                50,
            ),
            (json!({"access_token": jwt(50), "expires_in": null}), 50),
            (
                json!({"token": "opaque", "expires_at": "2033-05-18T03:34:20Z"}),
                60,
            ),
            (
                json!({"token": "opaque", "expires_at": "2033-05-18T03:34:20+00:00"}),
                60,
            ),
            (json!({"token": "opaque", "expires_at": NOW + 60}), 60),
            (json!({"token": "opaque", "expires_at": null}), 3600),
        ] {
            let life = read(&output).unwrap().expires_in;
            assert_eq!(life, Some(left), "{output}");
        }
    }

    #[test]
    fn the_account_is_as_claimed_else_as_stated() {
        let claims = json!({"https://api.openai.com/auth": {"chatgpt_account_id": "claimed"}});
        let account = |token: &str| {
            let output = json!({"token": token, "account_id": "stated"});
            read(&output).unwrap().tokens.account_id
        };
        assert_eq!(account(&token(&claims)).as_deref(), Some("claimed"));
        assert_eq!(account("opaque").as_deref(), Some("stated"));
    }

    #[test]
    fn an_invalid_token_is_refused_in_a_few_words() {
        for (output, words) in [
            (json!([]), "no JSON object"),
            (json!({"expires_in": 7}), "no access token"),
            (json!({"token": "two words"}), "no access token"),
            (json!({"token": "a", "expires_in": 0}), "has expired"),
            (
                json!({"token": "a", "expires_at_epoch": NOW}),
                "has expired",
            ),
            (
                json!({"token": "a", "expires_at": "2020-01-01T00:00:00Z"}),
                "has expired",
            ),
            (
                json!({"token": "a", "expires_at": "tomorrow"}),
                "expires_at is not an RFC 3339 time",
            ),
            (
                json!({"token": "a", "expires_at": "2033-05-18T03:34:20+02:00"}),
                "expires_at is not an RFC 3339 time",
            ),
            (
                json!({"token": "a", "expires_at": true}),
                "expires_at is not an RFC 3339 time",
            ),
            (
                json!({"token": "a", "expires_at_epoch": (NOW + 60) * 1000}),
                "more than ten years",
            ),
            (
                json!({"token": "a", "expires_in": 3_600_000_000_u64}),
                "more than ten years",
            ),
            (
                json!({"token": token(&json!({"exp": 100, "iat": 700}))}),
                "has expired",
            ),
            (
                json!({"token": "a", "refresh_token": "r"}),
                "a refresh token",
            ),
            (json!({"tokens": {"access_token": "a"}}), "a refresh token"),
        ] {
            let error = read(&output).err().unwrap();
            assert!(error.contains(words), "{output}: {error}");
        }
        for (output, words) in [
            (&b" \n"[..], "nothing"),
            (b"eyJ.bare.token", "no JSON object"),
        ] {
            let read = TokenResponse::from_command(output, &backend(), time_at(NOW));
            assert!(read.err().unwrap().to_string().contains(words));
        }
    }
}
