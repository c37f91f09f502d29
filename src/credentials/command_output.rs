//! What a command prints, or a socket sends, for `login --from`: the object of `token --format json`.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::account::account_id_in;
use super::jwt::{claims, seconds_of};
use super::token_response::{ASSUMED_LIFE, LONGEST_LIFE};
use super::{Account, Routing, TokenResponse, is_token};
use crate::text::text_of;
use crate::time::{seconds_since_epoch, time_of};
use crate::url::Url;

impl TokenResponse {
    /// Reads the output of a command. A member of another type counts as missing, and an unknown one is ignored. The error
    /// never quotes it.
    pub fn from_command(output: &[u8], backend: &Url, now: SystemTime) -> Result<Self> {
        if output.iter().all(u8::is_ascii_whitespace) {
            bail!("it printed nothing");
        }
        let object: Value = serde_json::from_slice(output)
            .ok()
            .filter(Value::is_object)
            .context("it printed no JSON object like that of codex-auth token --format json")?;
        if object["refresh_token"].is_string() || object["tokens"].is_object() {
            bail!("it printed a refresh token, which must stay on one machine");
        }
        let token = ["token", "access_token"].map(|name| text_of(&object[name]));
        let token = token.into_iter().flatten().find(|token| is_token(token));
        let access_token = token.context("it printed no access token")?;
        let claims = claims(&access_token).unwrap_or_default();
        let stated_id = text_of(&object["account_id"]).filter(|id| is_token(id));
        Ok(Self {
            // Whose the token is it says itself, if it does.
            account_id: account_id_in(&claims).or(stated_id),
            account: Some(Account {
                email: text_of(&object["email"]),
                plan: text_of(&object["plan"]),
                residency: text_of(&object["residency"]),
                is_fedramp: object["fedramp"] == true,
            }),
            routing: Routing::from_command(&object, backend).map(Box::new),
            life: Some(life(&object, &claims, now)?),
            prolongs: true,
            access_token: Some(access_token),
            ..Self::default()
        })
    }
}

/// The life that is left. The output may be an old one, so that its `expires_in` is too long; and our clock may be wrong, so
/// that the end is reached earlier or later: the shortest of all counts.
fn life(object: &Value, claims: &Value, now: SystemTime) -> Result<Duration> {
    let epoch = seconds_of(&object["expires_at_epoch"]);
    let ends = [seconds_of(&claims["exp"]), epoch, expires_at(object)?];
    let lives = ends.map(|end| Some(end?.saturating_sub(seconds_since_epoch(now))));
    let stated = seconds_of(&object["expires_in"]);
    let lives: Vec<u64> = lives.into_iter().chain([stated]).flatten().collect();
    if lives.iter().any(|life| *life > LONGEST_LIFE) {
        bail!("it printed a token that is valid for more than ten years: times are in seconds");
    }
    match lives.into_iter().min() {
        Some(0) => bail!("it printed a token that has expired"),
        shortest => Ok(shortest.map_or(ASSUMED_LIFE, Duration::from_secs)),
    }
}

/// `expires_at`, in seconds since 1970: RFC 3339 as we print it, with the offset of UTC in either form; or a number.
fn expires_at(object: &Value) -> Result<Option<u64>> {
    let value = &object["expires_at"];
    if value.is_null() {
        return Ok(None);
    }
    let time = value.as_str().map(|text| text.replace("+00:00", "Z"));
    let time = time
        .and_then(|text| time_of(&text))
        .map(seconds_since_epoch);
    let end = time.or_else(|| seconds_of(value));
    end.map(Some)
        .context("its expires_at is not an RFC 3339 time in UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::jwt::tests::token;
    use crate::time::time_at;
    use serde_json::json;

    const NOW: u64 = 2_000_000_000;

    fn backend() -> Url {
        Url::parse("https://chatgpt.com/backend-api").unwrap()
    }

    fn read(output: &Value) -> Result<TokenResponse, String> {
        let output = output.to_string();
        let read = TokenResponse::from_command(output.as_bytes(), &backend(), time_at(NOW));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_expires_at_the_earliest_of_what_is_said_of_it() {
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
            let life = read(&output).unwrap().life;
            assert_eq!(life, Some(Duration::from_secs(left)), "{output}");
        }
    }

    #[test]
    fn the_account_is_as_claimed_else_as_stated() {
        let claims = json!({"https://api.openai.com/auth": {"chatgpt_account_id": "claimed"}});
        let account = |token: &str| {
            let output = json!({"token": token, "account_id": "stated"});
            read(&output).unwrap().account_id
        };
        assert_eq!(account(&token(&claims)).as_deref(), Some("claimed"));
        assert_eq!(account("opaque").as_deref(), Some("stated"));
    }

    #[test]
    fn what_is_no_token_is_refused_in_a_few_words() {
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
