//! What is asked of the issuer, and of the backend that takes its tokens: one function for each request.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use form_urlencoded::Serializer;
use serde_json::{Value, json};

use crate::credentials::{Grant, time_at};
use crate::error::{Failure, tame};
use crate::http::{Answer, Client, explain};

/// API scopes are refused as invalid; `offline_access` is what brings a refresh token.
const SCOPE: &str = "openid profile email offline_access";
/// How this program calls itself to the issuer.
const ORIGINATOR: &str = "codex-auth";
/// A person waits for these.
const LIMIT: Duration = Duration::from_secs(30);
/// Nobody has to wait for a renewal as long as this, and its answer is worth waiting for.
const REFRESH_LIMIT: Duration = Duration::from_secs(60);
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

/// How a renewal ended.
pub enum Refreshed {
    Granted(Grant),
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

    /// Exchanges an authorization code for tokens (RFC 6749 section 4.1.3). What it says of itself in its ID token is checked.
    pub fn exchange(&self, authorization: &Authorization) -> Result<Grant> {
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
        let grant = Grant::parse(&answer.body).map_err(|_| unexpected(&answer))?;
        // The issuer's own clock judges its token: ours may be wrong.
        let now = answer.date.map_or_else(SystemTime::now, time_at);
        grant
            .check_id_token(&self.url, &self.client_id, now)
            .context("could not trust the issuer's answer")?;
        Ok(grant)
    }

    /// Renews a login (RFC 6749 section 6). An error means that nothing was sent.
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
        && let Ok(grant) = Grant::parse(&answer.body)
        && (grant.access_token.is_some()
            || grant.refresh_token.is_some()
            || grant.id_token.is_some())
    {
        return Refreshed::Granted(grant);
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
            tame(&message),
            tame(&code),
            answer.status
        ),
        (Some(words), None) | (None, Some(words)) => {
            format!("{} (status {})", tame(&words), answer.status)
        }
        (None, None) => format!("{who} {}", explain(answer)),
    }
}

/// The error code and the message of an answer, in any of the shapes that the issuer uses.
pub fn error_words(body: &[u8]) -> (Option<String>, Option<String>) {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let error = &answer["error"];
    let code = [&error["code"], error, &answer["code"], &error["type"]]
        .into_iter()
        .find_map(text);
    let message = [
        &error["message"],
        &answer["error_description"],
        &answer["detail"],
        &answer["message"],
    ]
    .into_iter()
    .find_map(text);
    (code, message)
}
