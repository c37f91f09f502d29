//! Login on another device, with the issuer's own flow, which differs from RFC 8628.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Authorization, FINAL, Issuer, LIMIT, response};
use crate::credentials::seconds_of;
use crate::net::http::{self, Response};
use crate::text::{is_plain, text_of};

/// A slower poll is repeated, which does no harm.
const POLL_LIMIT: Duration = Duration::from_secs(10);
/// The longest pause that a server can request, as a user is waiting.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Words in error codes that end the login, besides the codes that end a refresh.
const FINAL_WORDS: [&str; 4] = ["denied", "declined", "rejected", "expired"];

/// A login that the user completes on another device.
#[derive(Serialize, Deserialize)]
pub struct DeviceCode {
    /// The issuer's ID for it. It is secret, because with the user code it is enough to get the tokens.
    #[serde(rename = "device_auth_id")]
    id: String,
    /// The code that the user types.
    pub user_code: String,
    /// Seconds to wait between two polls: the issuer's value, within reason, or the default (RFC 8628 section 3.2).
    pub interval: u64,
}

/// The outcome of a poll for a device login.
pub enum Polled {
    Approved(Authorization),
    /// Final: the issuer's reason.
    Refused(String),
    /// The user has not finished, or the request failed: ask again.
    Pending(NotYet),
}

/// When to ask again, and why there is no answer yet.
#[derive(Default)]
pub struct NotYet {
    /// Poll less often from now on.
    pub slower: bool,
    /// How long the server asks to wait, a minute at most.
    pub retry_after: Option<Duration>,
    /// Why there was no answer, if known.
    pub problem: Option<String>,
}

impl Issuer {
    /// Starts a login on another device. `None` if device login is disabled.
    pub fn begin_device_login(&self) -> Result<Option<DeviceCode>> {
        let body = json!({"client_id": self.client_id}).to_string();
        let path = "api/accounts/deviceauth/usercode";
        let response = self.http.post(path, http::JSON, &body, LIMIT)?;
        match (response.status, device_code(&response)) {
            (200, Some(code)) => Ok(Some(code)),
            (404, _) => Ok(None),
            _ => Err(response::unexpected(&response)),
        }
    }

    /// Asks whether the user has entered the code.
    pub fn poll_device_login(&self, code: &DeviceCode) -> Polled {
        let body = json!({"device_auth_id": code.id, "user_code": code.user_code}).to_string();
        let path = "api/accounts/deviceauth/token";
        match self.http.post(path, http::JSON, &body, POLL_LIMIT) {
            Ok(response) => judge_poll(&response, &self.url.join("deviceauth/callback")),
            Err(error) => Polled::Pending(NotYet {
                problem: Some(error.reason),
                ..NotYet::default()
            }),
        }
    }
}

/// Reads the response that starts a device login. Servers spell the name of the code in two ways.
fn device_code(response: &Response) -> Option<DeviceCode> {
    let body = response::value(&response.body);
    let interval = seconds_of(&body["interval"]).filter(|seconds| *seconds > 0);
    Some(DeviceCode {
        id: text_of(&body["device_auth_id"])?,
        user_code: text_of(&body["user_code"]).or_else(|| text_of(&body["usercode"]))?,
        interval: interval.unwrap_or(5).min(60),
    })
}

fn judge_poll(response: &Response, redirect_uri: &str) -> Polled {
    let body = response::value(&response.body);
    let approved = [&body["authorization_code"], &body["code_verifier"]].map(text_of);
    if let (200, [Some(code), Some(verifier)]) = (response.status, approved) {
        return Polled::Approved(Authorization {
            code,
            redirect_uri: redirect_uri.to_owned(),
            verifier,
        });
    }
    let [code, message] = response::error_of(&response.body);
    let code = code.unwrap_or_default();
    let reason = response::describe("the issuer", response);
    let refused = (400..500).contains(&response.status) && response.status != 429;
    if refused && ends_device_login(&code) {
        let is_bare = code == "access_denied" && message.is_none();
        let bare = is_bare.then(|| response::ACCESS_DENIED.to_owned());
        return Polled::Refused(bare.unwrap_or(reason));
    }
    // This issuer answers 403 or 404 for "not yet"; the first code is the one of RFC 8628 section 3.5.
    let known = matches!(code.as_str(), "authorization_pending" | "slow_down");
    let awaited = matches!(response.status, 403 | 404) || refused && known;
    let retry_after = response.retry_after;
    Polled::Pending(NotYet {
        slower: code == "slow_down" || response.status == 429 && retry_after.is_none(),
        retry_after: retry_after.map(|time| time.min(LONGEST_RETRY_AFTER)),
        problem: (!awaited).then_some(reason),
    })
}

/// Whether an error code says that this device login cannot succeed any more. The issuer's codes are not documented, so
/// any of these words counts. Prose, which a web filter may send, is not an error code.
fn ends_device_login(code: &str) -> bool {
    let lower = code.to_ascii_lowercase();
    let is_final = |word: &&str| lower.contains(word);
    is_plain(code) && (FINAL_WORDS.iter().any(is_final) || FINAL.iter().any(is_final))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The outcome in one word.
    fn polled(response: &Response) -> &'static str {
        match judge_poll(response, "redirect") {
            Polled::Approved(_) => "approved",
            Polled::Refused(_) => "refused",
            Polled::Pending(NotYet { slower: true, .. }) => "slower",
            Polled::Pending(NotYet { problem: None, .. }) => "not yet",
            Polled::Pending(_) => "problem",
        }
    }

    #[test]
    fn an_interval_is_a_number_of_seconds_in_any_spelling() {
        let interval = |value: &Value| {
            let body = json!({"device_auth_id": "d", "user_code": "A", "interval": value});
            device_code(&Response::of(200, &body.to_string()))
                .unwrap()
                .interval
        };
        for (value, seconds) in [
            (json!("5"), 5),
            (json!(5), 5),
            (json!(" 7 "), 7),
            (json!(2.5), 2),
            (json!(1), 1),
            (json!(1_000_000), 60),
        ] {
            assert_eq!(interval(&value), seconds, "{value}");
        }
        for value in [
            json!(0),
            json!("0"),
            json!("0.2"),
            json!(-1),
            json!(""),
            json!("soon"),
            json!("NaN"),
            json!("inf"),
            json!(1e300),
            json!(null),
            json!(true),
            json!([5]),
        ] {
            assert_eq!(interval(&value), 5, "{value}");
        }
    }

    #[test]
    fn a_poll_is_final_only_if_the_issuer_says_so() {
        let approved = r#"{"authorization_code":"c","code_challenge":"x","code_verifier":"v"}"#;
        assert_eq!(polled(&Response::of(200, approved)), "approved");
        for (status, body) in [
            (400, r#"{"error":"access_denied"}"#),
            (403, r#"{"error":{"code":"access_denied","message":"No."}}"#),
            (
                403,
                r#"{"error":{"code":"deviceauth_authorization_declined"}}"#,
            ),
            (404, r#"{"error":{"code":"deviceauth_expired"}}"#),
            (
                400,
                r#"{"error":"expired_token","error_description":"Too late."}"#,
            ),
            (410, r#"{"code":"DEVICE_CODE_EXPIRED"}"#),
            (401, r#"{"error":"invalid_client"}"#),
        ] {
            assert_eq!(
                polled(&Response::of(status, body)),
                "refused",
                "{status} {body}"
            );
        }
        for (status, body) in [
            (403, ""),
            (404, "<html>"),
            (
                403,
                r#"{"error":{"code":"deviceauth_authorization_unknown","message":"It is not known yet."}}"#,
            ),
            (403, r#"{"error":"Access denied by the filter."}"#),
            (400, r#"{"error":"authorization_pending"}"#),
        ] {
            assert_eq!(
                polled(&Response::of(status, body)),
                "not yet",
                "{status} {body}"
            );
        }
        for (status, body) in [
            (400, "slow_down"),
            (403, "slow_down"),
            (429, "slow_down"),
            (429, "busy"),
        ] {
            let body = json!({"error": body}).to_string();
            assert_eq!(
                polled(&Response::of(status, &body)),
                "slower",
                "{status} {body}"
            );
        }
        for (status, body) in [
            (200, ""),
            (200, "{"),
            (200, "<html>"),
            (200, r#"{"authorization_code":"c"}"#),
            (200, r#"{"authorization_code":"c","code_verifier":""}"#),
            (302, ""),
            (400, r#"{"error":"invalid_request"}"#),
            (408, ""),
            (500, r#"{"error":"access_denied"}"#),
            (502, "<html>"),
        ] {
            assert_eq!(
                polled(&Response::of(status, body)),
                "problem",
                "{status} {body}"
            );
        }
    }

    #[test]
    fn too_many_requests_with_a_time_to_wait_need_no_longer_interval() {
        let busy = Response {
            retry_after: Some(Duration::from_secs(7)),
            ..Response::of(429, "")
        };
        let Polled::Pending(pending) = judge_poll(&busy, "") else {
            panic!("it is not pending");
        };
        assert!(!pending.slower);
        assert_eq!(pending.retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn no_server_silences_polls_for_longer_than_a_minute() {
        let busy = Response {
            retry_after: Some(Duration::from_hours(1)),
            ..Response::of(503, "")
        };
        let Polled::Pending(pending) = judge_poll(&busy, "") else {
            panic!("it is not pending");
        };
        assert_eq!(pending.retry_after, Some(Duration::from_mins(1)));
    }

    #[test]
    fn a_user_code_is_read_in_both_spellings() {
        for name in ["user_code", "usercode"] {
            let body = json!({"device_auth_id": "d", name: "ABCD"}).to_string();
            let code = device_code(&Response::of(200, &body)).unwrap();
            assert_eq!((code.user_code.as_str(), code.interval), ("ABCD", 5));
        }
        for body in [
            "",
            "[]",
            r#"{"user_code":"A"}"#,
            r#"{"device_auth_id":"d","user_code":7}"#,
        ] {
            assert!(device_code(&Response::of(200, body)).is_none(), "{body}");
        }
    }
}
