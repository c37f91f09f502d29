//! What is asked of the issuer, and of the backend that takes its tokens: one function for each request.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use form_urlencoded::Serializer;
use serde_json::{Value, json};

use crate::credentials::TokenResponse;
use crate::error::Failure;
use crate::net::http::{Answer, Client, explain};
use crate::text::redact;
use crate::text::text_of;
use crate::time::time_at;

/// API scopes are refused as invalid; `offline_access` is what brings a refresh token.
const SCOPE: &str = "openid profile email offline_access";
/// How this program calls itself to the issuer.
const ORIGINATOR: &str = "codex-auth";
/// A person waits for these.
const LIMIT: Duration = Duration::from_secs(30);
/// Nobody has to wait for a renewal as long as this, and its answer is worth waiting for.
const REFRESH_LIMIT: Duration = Duration::from_secs(60);
/// A poll that is late is made again: the person's answer waits at the issuer.
const POLL_LIMIT: Duration = Duration::from_secs(10);
/// A check of a token stands in the caller's way.
const CHECK_LIMIT: Duration = Duration::from_millis(1500);

/// With 400 or 401 these end a login: the same refresh token will not be taken again.
const FINAL: [&str; 10] = [
    "refresh_token_expired",
    "refresh_token_reused",
    "refresh_token_invalidated",
    "invalid_grant",
    "invalid_refresh_token",
    "token_expired",
    "app_session_terminated",
    "invalid_client",
    "unauthorized_client",
    "access_denied",
];

/// An issuer, and the client that we are to it.
pub struct Issuer {
    url: String,
    client_id: String,
    http: Client,
}

/// A code that the person's consent brought, and what goes with it at its exchange (RFC 7636 section 4.5).
pub struct Authorization {
    pub code: String,
    pub redirect_uri: String,
    pub verifier: String,
}

/// A login that the person completes on another device.
pub struct DeviceCode {
    /// What the issuer calls it. Together with the user code it brings the login: it is a secret.
    pub id: String,
    /// What the person types.
    pub user_code: String,
    /// Seconds to wait between two polls, if the issuer says so sensibly.
    pub interval: Option<u64>,
}

/// How a poll for a device login ended.
pub enum Polled {
    Approved(Authorization),
    /// Final: the issuer's reason.
    Refused(String),
    /// The person is not done, or the answer could not be had: ask again.
    Pending(Pending),
}

/// What is to be heeded when asking again.
#[derive(Default)]
pub struct Pending {
    /// Polls are to be farther apart from now on.
    pub slower: bool,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Why there is no answer, if there is none.
    pub trouble: Option<String>,
}

/// How a renewal ended.
pub enum Refreshed {
    Granted(TokenResponse),
    /// Final: the issuer's reason.
    Refused(String),
    /// Temporary, or unknown: the reason, and how long the server asks to be left alone.
    Failed {
        reason: String,
        retry_after: Option<Duration>,
    },
}

/// What the backend says of an access token.
pub enum Verdict {
    Accepted,
    Rejected,
    /// It could not be found out, and why.
    Unknown(String),
}

impl Issuer {
    pub fn new(url: String, client_id: String) -> Result<Self> {
        let http = Client::new(&url)?;
        Ok(Self {
            url,
            client_id,
            http,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The address that the person's browser is sent to (RFC 6749 section 4.1.1, RFC 7636 section 4.3).
    pub fn authorize_url(
        &self,
        redirect_uri: &str,
        challenge: &str,
        state: &str,
        workspaces: &[String],
    ) -> String {
        let mut query = Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", SCOPE)
            .append_pair("code_challenge", challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", state)
            .append_pair("id_token_add_organizations", "true")
            .append_pair("codex_cli_simplified_flow", "true")
            .append_pair("originator", ORIGINATOR);
        if !workspaces.is_empty() {
            query.append_pair("allowed_workspace_id", &workspaces.join(","));
        }
        format!("{}/oauth/authorize?{}", self.url, query.finish())
    }

    /// The page on which the person enters the user code.
    pub fn device_page(&self) -> String {
        self.endpoint("codex/device")
    }

    /// Begins a login on another device: a flow of the issuer's own, not that of RFC 8628. None: it is switched off.
    pub fn begin_device_login(&self) -> Result<Option<DeviceCode>> {
        let url = self.endpoint("api/accounts/deviceauth/usercode");
        let body = json!({"client_id": self.client_id});
        let answer = self.http.post_json(&url, &body.to_string(), LIMIT)?;
        match answer.status {
            200 => Ok(Some(
                device_code(&answer.body).ok_or_else(|| unexpected(&answer))?,
            )),
            404 => Ok(None),
            _ => Err(unexpected(&answer)),
        }
    }

    /// Asks whether the person has entered the user code.
    pub fn poll_device_login(&self, id: &str, user_code: &str) -> Polled {
        let url = self.endpoint("api/accounts/deviceauth/token");
        let body = json!({"device_auth_id": id, "user_code": user_code});
        match self.http.post_json(&url, &body.to_string(), POLL_LIMIT) {
            Ok(answer) => judge_poll(&answer, &self.endpoint("deviceauth/callback")),
            Err(error) => Polled::Pending(Pending {
                trouble: Some(format!("{error:#}")),
                ..Pending::default()
            }),
        }
    }

    /// Exchanges an authorization code for tokens (RFC 6749 section 4.1.3). What it says of itself in its ID token is
    /// checked; tokens that are refused for that are revoked, as nobody else will ever end them.
    pub fn exchange(&self, authorization: &Authorization) -> Result<TokenResponse> {
        let form = self.form(
            "authorization_code",
            &[
                ("code", &authorization.code),
                ("redirect_uri", &authorization.redirect_uri),
                ("code_verifier", &authorization.verifier),
            ],
        );
        let answer = self
            .http
            .post_form(&self.endpoint("oauth/token"), &form, LIMIT)?;
        if answer.status != 200 {
            return Err(unexpected(&answer));
        }
        let token_response = TokenResponse::parse(&answer.body).map_err(|_| unexpected(&answer))?;
        // The issuer's own clock judges its token: ours may be wrong.
        let now = answer.date.map_or_else(SystemTime::now, time_at);
        token_response
            .check_id_token(&self.url, &self.client_id, now)
            .inspect_err(|_| self.disown(&token_response))
            .context("could not trust the issuer's answer")?;
        Ok(token_response)
    }

    /// Revokes tokens that nobody will use. If that fails they end by themselves, some day.
    pub fn disown(&self, token_response: &TokenResponse) {
        if let Some(refresh_token) = &token_response.refresh_token {
            let _ = self.revoke(refresh_token);
        }
    }

    /// Renews a login (RFC 6749 section 6). `Failed` may mean that the refresh token was spent, and its answer lost.
    pub fn refresh(&self, refresh_token: &str) -> Refreshed {
        let form = self.form("refresh_token", &[("refresh_token", refresh_token)]);
        match self
            .http
            .post_form(&self.endpoint("oauth/token"), &form, REFRESH_LIMIT)
        {
            Ok(answer) => judge_refresh(&answer),
            Err(error) => Refreshed::Failed {
                reason: format!("{error:#}"),
                retry_after: None,
            },
        }
    }

    /// Ends a login at the issuer (RFC 7009).
    pub fn revoke(&self, refresh_token: &str) -> Result<()> {
        let body = json!({"token": refresh_token, "token_type_hint": "refresh_token", "client_id": self.client_id});
        let answer =
            self.http
                .post_json(&self.endpoint("oauth/revoke"), &body.to_string(), LIMIT)?;
        if answer.status != 200 {
            return Err(unexpected(&answer));
        }
        Ok(())
    }

    fn endpoint(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    fn form(&self, grant_type: &str, more: &[(&str, &str)]) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", grant_type)
            .append_pair("client_id", &self.client_id);
        form.extend_pairs(more).finish()
    }
}

/// Asks the backend whether it accepts an access token.
pub fn check(backend: &str, access_token: &str, account_id: Option<&str>) -> Result<Verdict> {
    let authorization = format!("Bearer {access_token}");
    let mut headers = vec![("Authorization", authorization.as_str())];
    headers.extend(account_id.map(|id| ("ChatGPT-Account-Id", id)));
    let client = Client::new(backend)?;
    Ok(
        match client.get(&format!("{backend}/wham/usage"), &headers, CHECK_LIMIT) {
            Ok(answer) if answer.status == 200 => Verdict::Accepted,
            Ok(answer) if answer.status == 401 => Verdict::Rejected,
            Ok(answer) => Verdict::Unknown(said("the backend", &answer)),
            Err(error) => Verdict::Unknown(format!("{error:#}")),
        },
    )
}

fn judge_refresh(answer: &Answer) -> Refreshed {
    if answer.status == 200
        && let Ok(token_response) = TokenResponse::parse(&answer.body)
        && (token_response.access_token.is_some()
            || token_response.refresh_token.is_some()
            || token_response.id_token.is_some())
    {
        return Refreshed::Granted(token_response);
    }
    let code = error_words(&answer.body).0;
    if matches!(answer.status, 400 | 401) && code.is_some_and(|code| FINAL.contains(&code.as_str()))
    {
        return Refreshed::Refused(said("the issuer", answer));
    }
    Refreshed::Failed {
        reason: said("the issuer", answer),
        retry_after: answer.retry_after,
    }
}

/// Reads the answer that begins a device login. Servers spell the code's name in two ways.
fn device_code(body: &[u8]) -> Option<DeviceCode> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    Some(DeviceCode {
        id: text_of(&answer["device_auth_id"])?,
        user_code: text_of(&answer["user_code"]).or_else(|| text_of(&answer["usercode"]))?,
        interval: interval(&answer["interval"]),
    })
}

/// Seconds, as a number or as a string that holds one; a fraction counts as whole. Anything else is no interval.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is positive, and a number beyond u64 becomes the largest"
)]
fn interval(value: &Value) -> Option<u64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    number
        .filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0)
        .map(|seconds| seconds.ceil() as u64)
}

fn judge_poll(answer: &Answer, redirect_uri: &str) -> Polled {
    if answer.status == 200
        && let Some(authorization) = device_authorization(&answer.body, redirect_uri)
    {
        return Polled::Approved(authorization);
    }
    let code = error_words(&answer.body).0.unwrap_or_default();
    let refused = (400..500).contains(&answer.status) && answer.status != 429;
    if refused && ends_device_login(&code) {
        return Polled::Refused(said("the issuer", answer));
    }
    // 403 and 404 are what this issuer says for "not yet"; the first code is what RFC 8628 section 3.5 says for it.
    let known = matches!(code.as_str(), "authorization_pending" | "slow_down");
    let awaited = matches!(answer.status, 403 | 404) || refused && known;
    Polled::Pending(Pending {
        slower: code == "slow_down" || answer.status == 429 && answer.retry_after.is_none(),
        retry_after: answer.retry_after,
        trouble: (!awaited).then(|| said("the issuer", answer)),
    })
}

fn device_authorization(body: &[u8], redirect_uri: &str) -> Option<Authorization> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    Some(Authorization {
        code: text_of(&answer["authorization_code"])?,
        redirect_uri: redirect_uri.to_owned(),
        verifier: text_of(&answer["code_verifier"])?,
    })
}

/// Whether an error code says that this device login will never come about. How the issuer spells that is not
/// documented, so the words count; prose, which a filter on the way may send, is no code.
fn ends_device_login(code: &str) -> bool {
    let is_code = code
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let says = |word: &&str| code.to_ascii_lowercase().contains(word);
    is_code
        && (["denied", "declined", "rejected", "expired"]
            .iter()
            .any(says)
            || matches!(
                code,
                "invalid_client" | "unauthorized_client" | "invalid_grant"
            ))
}

/// An answer that ends what was begun. If the server is merely in trouble, the failure is temporary.
fn unexpected(answer: &Answer) -> anyhow::Error {
    match answer.status {
        408 | 429 | 500.. => Failure::Temporary(said("the issuer", answer)).into(),
        _ => anyhow::Error::msg(said("the issuer", answer)),
    }
}

/// An answer in words: the server's own first, if it has any.
fn said(who: &str, answer: &Answer) -> String {
    match error_words(&answer.body) {
        (Some(code), Some(message)) => format!(
            "{} ({}, status {})",
            redact(&message),
            redact(&code),
            answer.status
        ),
        (Some(words), None) | (None, Some(words)) => {
            format!("{} (status {})", redact(&words), answer.status)
        }
        (None, None) => format!("{who} {}", explain(answer)),
    }
}

/// The error code and the message of an answer, in any of the shapes that the issuer uses.
pub fn error_words(body: &[u8]) -> (Option<String>, Option<String>) {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &answer["error"];
    let code = [&error["code"], error, &answer["code"], &error["type"]]
        .into_iter()
        .find_map(text_of);
    let message = [
        &error["message"],
        &answer["error_description"],
        &answer["detail"],
        &answer["message"],
    ]
    .into_iter()
    .find_map(text_of);
    (code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            retry_after: None,
            date: None,
            body: body.into(),
        }
    }

    /// The outcome in one word.
    fn polled(answer: &Answer) -> &'static str {
        match judge_poll(answer, "redirect") {
            Polled::Approved(_) => "approved",
            Polled::Refused(_) => "refused",
            Polled::Pending(Pending { slower: true, .. }) => "slower",
            Polled::Pending(Pending { trouble: None, .. }) => "not yet",
            Polled::Pending(_) => "trouble",
        }
    }

    #[test]
    fn an_interval_is_a_number_of_seconds_in_any_spelling() {
        for (value, seconds) in [
            (json!("5"), 5),
            (json!(5), 5),
            (json!(" 7 "), 7),
            (json!(2.5), 3),
            (json!("0.2"), 1),
            (json!(1e300), u64::MAX),
        ] {
            assert_eq!(interval(&value), Some(seconds), "{value}");
        }
        for value in [
            json!(0),
            json!("0"),
            json!(-1),
            json!(""),
            json!("soon"),
            json!("NaN"),
            json!("inf"),
            json!(null),
            json!(true),
            json!([5]),
        ] {
            assert_eq!(interval(&value), None, "{value}");
        }
    }

    #[test]
    fn a_poll_is_final_only_if_the_issuer_says_so() {
        let approved = r#"{"authorization_code":"c","code_challenge":"x","code_verifier":"v"}"#;
        assert_eq!(polled(&answer(200, approved)), "approved");
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
            assert_eq!(polled(&answer(status, body)), "refused", "{status} {body}");
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
            assert_eq!(polled(&answer(status, body)), "not yet", "{status} {body}");
        }
        for (status, body) in [
            (400, "slow_down"),
            (403, "slow_down"),
            (429, "slow_down"),
            (429, "busy"),
        ] {
            let body = json!({"error": body}).to_string();
            assert_eq!(polled(&answer(status, &body)), "slower", "{status} {body}");
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
            assert_eq!(polled(&answer(status, body)), "trouble", "{status} {body}");
        }
    }

    #[test]
    fn too_many_requests_with_a_time_to_wait_need_no_longer_interval() {
        let busy = Answer {
            retry_after: Some(Duration::from_secs(7)),
            ..answer(429, "")
        };
        let Polled::Pending(pending) = judge_poll(&busy, "") else {
            panic!("it is not pending");
        };
        assert!(!pending.slower);
        assert_eq!(pending.retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_user_code_is_read_in_both_spellings() {
        for name in ["user_code", "usercode"] {
            let body = json!({"device_auth_id": "d", name: "ABCD"}).to_string();
            let code = device_code(body.as_bytes()).unwrap();
            assert_eq!((code.user_code.as_str(), code.interval), ("ABCD", None));
        }
        for body in [
            "",
            "[]",
            r#"{"user_code":"A"}"#,
            r#"{"device_auth_id":"d","user_code":7}"#,
        ] {
            assert!(device_code(body.as_bytes()).is_none(), "{body}");
        }
    }
}
