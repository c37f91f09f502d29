//! What a command prints, or a socket sends, for `login --from`: the object of `token --format json`.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::jwt::{claims, seconds_of};
use super::token_response::{ASSUMED_LIFE, TokenResponse};
use super::{Account, is_token};
use crate::text::text_of;
use crate::time::seconds_since_epoch;

/// What is said of an access token beside it.
pub struct Told {
    pub account_id: Option<String>,
    pub account: Account,
    /// The life that the token has left.
    pub life: Duration,
}

impl TokenResponse {
    /// Reads the output of a command. A member of another type counts as missing; one that is not known is ignored. The error
    /// never quotes it.
    pub fn from_command(output: &[u8], now: SystemTime) -> Result<Self> {
        if output.iter().all(u8::is_ascii_whitespace) {
            bail!("it printed nothing");
        }
        let object: Value = serde_json::from_slice(output)
            .ok()
            .filter(Value::is_object)
            .context("it printed no JSON object, as codex-auth token --format json does")?;
        if object["refresh_token"].is_string() || object["tokens"].is_object() {
            bail!("it printed a refresh token, which belongs to one machine alone");
        }
        let token = ["token", "access_token"].map(|name| text_of(&object[name]));
        let token = token.into_iter().flatten().find(|token| is_token(token));
        let access_token = token.context("it printed no access token")?;
        let life = life(&object, &access_token, now);
        if life.is_zero() {
            bail!("it printed a token that has expired");
        }
        let told = Told {
            account_id: text_of(&object["account_id"]).filter(|id| is_token(id)),
            account: Account {
                email: text_of(&object["email"]),
                plan: text_of(&object["plan"]),
                residency: text_of(&object["residency"]),
                is_fedramp: object["fedramp"] == true,
            },
            life,
        };
        Ok(Self::of_command(access_token, told))
    }
}

/// The life that is left. What was printed may have been kept for a while, so that `expires_in` is too long; and our clock may
/// be wrong, so that the end is reached earlier or later: the shortest of all counts.
fn life(object: &Value, access_token: &str, now: SystemTime) -> Duration {
    let claimed = claims(access_token).and_then(|claims| seconds_of(&claims["exp"]));
    let ends = [claimed, seconds_of(&object["expires_at_epoch"])];
    let lives = ends.map(|end| Some(end?.saturating_sub(seconds_since_epoch(now))));
    let told = seconds_of(&object["expires_in"]);
    let shortest = lives.into_iter().chain([told]).flatten().min();
    shortest.map_or(ASSUMED_LIFE, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::jwt::tests::token;
    use crate::time::time_at;
    use serde_json::json;

    const NOW: u64 = 2_000_000_000;

    fn read(output: &Value) -> Result<TokenResponse, String> {
        let read = TokenResponse::from_command(output.to_string().as_bytes(), time_at(NOW));
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
        ] {
            let life = read(&output).unwrap().life(time_at(NOW));
            assert_eq!(life, Duration::from_secs(left), "{output}");
        }
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
            let read = TokenResponse::from_command(output, time_at(NOW));
            assert!(read.err().unwrap().to_string().contains(words));
        }
    }
}
