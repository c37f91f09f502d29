//! What is asked of the issuer, and of the backend that takes its tokens: one function for each request.

pub mod backend;
pub mod device;
pub mod response;
mod whoami;
mod workload_identity;

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use form_urlencoded::Serializer;
use serde_json::json;

use crate::credentials::TokenResponse;
use crate::net::http::{self, Client, NoResponse, Response};
use crate::time::time_at;
use crate::url::Url;

/// API scopes are refused as invalid; `offline_access` is what brings a refresh token.
const SCOPE: &str = "openid profile email offline_access";
const TOKEN: &str = "oauth/token";
const REVOKE: &str = "oauth/revoke";
/// How this program calls itself to the issuer.
const ORIGINATOR: &str = "codex-auth";
/// A person waits for it.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(30);
/// Callers wait less long than the worker, for which the response is worth waiting.
const REFRESH_LIMIT: Duration = Duration::from_secs(60);
/// A person waits for it, who has what they came for already. It is for both tries together.
const REVOKE_LIMIT: Duration = Duration::from_secs(5);

/// With 400 or 401 these error codes are final: the same refresh token will never be accepted again.
const FINAL: [&str; 12] = [
    "refresh_token_expired",
    "refresh_token_reused",
    "refresh_token_invalidated",
    "invalid_grant",
    "invalid_refresh_token",
    "token_expired",
    "app_session_terminated",
    "invalid_client",
    "unauthorized_client",
    "account_deactivated",
    "account_suspended",
    "account_deleted",
];

/// These ask for a person (OpenID Connect Core 3.1.2.6), but may pass.
const PERSON_REQUIRED: [&str; 2] = ["interaction_required", "login_required"];

/// An issuer, and the client that we are to it.
pub struct Issuer {
    url: Url,
    client_id: String,
    http: Client,
}

/// A code that the person's consent brought, and what goes with it at its exchange (RFC 7636 section 4.5).
pub struct Authorization {
    pub code: String,
    pub redirect_uri: String,
    pub verifier: String,
}

/// The outcome of a refresh: the token response, or why there is none.
pub type RefreshOutcome = Result<TokenResponse, RefreshFailure>;

/// Why a refresh brought no tokens.
pub struct RefreshFailure {
    pub kind: FailureKind,
    pub reason: String,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// False where the answer was lost on the way: the refresh token may have been used up.
    pub answered: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// Final: this refresh token, or this identity token, will never work again.
    Revoked,
    /// An error that asks for a login, or a 401 with one that nobody has described. It may pass.
    LoginRequired,
    /// It may pass, or is unknown.
    Temporary,
    /// No connection was made: the issuer, or the command, cannot have noticed.
    Unreached,
    /// A command gave the stored token again.
    Unchanged,
}

impl RefreshFailure {
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            retry_after: None,
            answered: true,
        }
    }

    pub fn temporary(reason: impl Into<String>) -> Self {
        Self::new(FailureKind::Temporary, reason)
    }
}

impl From<NoResponse> for RefreshFailure {
    fn from(NoResponse { reason, reached }: NoResponse) -> Self {
        let kind = if reached {
            FailureKind::Temporary
        } else {
            FailureKind::Unreached
        };
        Self {
            answered: !reached,
            ..Self::new(kind, reason)
        }
    }
}

impl Issuer {
    pub fn new(url: Url, client_id: String) -> Result<Self> {
        let http = Client::new(&url)?;
        Ok(Self {
            url,
            client_id,
            http,
        })
    }

    pub fn url(&self) -> &str {
        self.url.as_str()
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
        switch_account: bool,
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
        if switch_account {
            // OpenID Connect Core 1.0, 3.1.2.1: ask for a sign-in, even where the browser is signed in.
            query.append_pair("prompt", "login");
        }
        if !workspaces.is_empty() {
            query.append_pair("allowed_workspace_id", &workspaces.join(","));
        }
        format!("{}?{}", self.url.join("oauth/authorize"), query.finish())
    }

    /// Exchanges an authorization code for tokens (RFC 6749 section 4.1.3). What they say of themselves in the ID token
    /// is checked; tokens that fail the check are revoked, as nobody else would do it.
    pub fn exchange(&self, authorization: &Authorization) -> Result<TokenResponse> {
        let form = self.form(
            "authorization_code",
            &[
                ("code", &authorization.code),
                ("redirect_uri", &authorization.redirect_uri),
                ("code_verifier", &authorization.verifier),
            ],
        );
        let response = self.http.post(TOKEN, http::FORM, &form, EXCHANGE_LIMIT)?;
        let tokens = response::tokens(&response).ok_or_else(|| response::unexpected(&response))?;
        // The issuer's own clock judges its token: ours may be wrong.
        let now = response.date.map_or_else(SystemTime::now, time_at);
        tokens
            .check_id_token(self.url(), &self.client_id, now)
            .inspect_err(|_| self.revoke_unused(&tokens))
            .context("could not trust the issuer's response")?;
        Ok(tokens)
    }

    /// Revokes tokens that nobody will use. If that fails, they stay valid until they expire.
    pub fn revoke_unused(&self, tokens: &TokenResponse) {
        let _ = self.revoke(
            tokens.refresh_token.as_deref(),
            tokens.access_token.as_deref(),
        );
    }

    /// Gets new tokens for a refresh token (RFC 6749 section 6).
    pub fn refresh(&self, refresh_token: &str) -> RefreshOutcome {
        let form = self.form("refresh_token", &[("refresh_token", refresh_token)]);
        judge_refresh(&self.http.post(TOKEN, http::FORM, &form, REFRESH_LIMIT)?)
    }

    /// Revokes the refresh token, and with it the login; the access token only where there is no other (RFC 7009). It takes 5 s
    /// at most. The official client sends JSON and not the form of the RFC: an issuer that does not accept the first gets the
    /// second.
    pub fn revoke(&self, refresh_token: Option<&str>, access_token: Option<&str>) -> Result<()> {
        let begun = Instant::now();
        let (token, hint) = match (refresh_token, access_token) {
            (Some(token), _) => (token, "refresh_token"),
            (None, Some(token)) => (token, "access_token"),
            (None, None) => return Ok(()),
        };
        let members = [
            ("token", token),
            ("token_type_hint", hint),
            ("client_id", &self.client_id),
        ];
        let json = json!(HashMap::from(members)).to_string();
        let mut response = self.http.post(REVOKE, http::JSON, &json, REVOKE_LIMIT)?;
        if matches!(response.status, 400 | 415) {
            let mut form = Serializer::new(String::new());
            let form = form.extend_pairs(members).finish();
            let left = REVOKE_LIMIT.saturating_sub(begun.elapsed());
            response = self.http.post(REVOKE, http::FORM, &form, left)?;
        }
        match response.status {
            200..=299 => Ok(()),
            _ => Err(response::unexpected(&response)),
        }
    }

    fn form(&self, grant_type: &str, more: &[(&str, &str)]) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", grant_type)
            .append_pair("client_id", &self.client_id);
        form.extend_pairs(more).finish()
    }
}

fn judge_refresh(response: &Response) -> RefreshOutcome {
    if let Some(tokens) = response::tokens(response) {
        return Ok(tokens);
    }
    let (code, _) = response::error_of(&response.body);
    let is_any = |codes: &[&str]| code.as_deref().is_some_and(|code| codes.contains(&code));
    let (is_final, asks_for_person) = (is_any(&FINAL), is_any(&PERSON_REQUIRED));
    Err(RefreshFailure {
        kind: match response.status {
            400 | 401 if is_final => FailureKind::Revoked,
            400 | 401 if asks_for_person => FailureKind::LoginRequired,
            // Without an error of the issuer's it may be the page of a proxy.
            401 if response::has_error(response) => FailureKind::LoginRequired,
            _ => FailureKind::Temporary,
        },
        reason: response::describe("the issuer", response),
        retry_after: response.retry_after,
        answered: !(200..=299).contains(&response.status),
    })
}
