//! Requests to the issuer, and to the backend that accepts its tokens: one function for each.

pub mod backend;
pub mod device;
pub mod response;

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use form_urlencoded::Serializer;
use serde_json::json;

use crate::credentials::{Account, TokenResponse, Tokens};
use crate::net::http::{self, Client, NoResponse, Outcome, Response};
use crate::time::time_at;
use crate::url::Url;

/// API scopes are rejected as invalid. `offline_access` requests a refresh token.
const SCOPE: &str = "openid profile email offline_access";
/// Exchanges an identity token for an access token (RFC 7523 section 2.1).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKEN: &str = "oauth/token";
const REVOKE: &str = "oauth/revoke";
const WHOAMI: &str = "api/accounts/v1/user-auth-credential/whoami";

/// For requests that a user waits for.
const LIMIT: Duration = Duration::from_secs(30);
/// Longer than callers wait: the worker can still store a late response.
const REFRESH_LIMIT: Duration = Duration::from_mins(1);
/// Nobody should have to wait longer. The limit covers both attempts together.
const REVOKE_LIMIT: Duration = Duration::from_secs(5);

/// With 400 or 401 these error codes are final: the same refresh token will never be accepted again.
const FINAL: [&str; 13] = [
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
    "account_deactivated",
    "account_suspended",
    "account_deleted",
];

/// These ask for a sign-in (OpenID Connect Core 3.1.2.6), but may be temporary.
const PERSON_REQUIRED: [&str; 2] = ["interaction_required", "login_required"];

/// An issuer, and the client that we are registered as.
pub struct Issuer {
    pub url: Url,
    pub client_id: String,
    http: Client,
}

/// An authorization code, and what is sent along when it is exchanged (RFC 7636 section 4.5).
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
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// Final: this refresh token, or this identity token, will never work again.
    Revoked,
    /// An error that asks for a login, or a 401 with an unknown error. It may be temporary.
    LoginRequired,
    /// It may succeed later, or the reason is unknown.
    Temporary,
    /// The same, but the response was lost, so the refresh token may have been used up.
    Unanswered,
    /// There was no connection, or the command did not start, so nothing was sent.
    Unreached,
    /// A command returned the stored token again.
    Unchanged,
}

impl RefreshFailure {
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            retry_after: None,
        }
    }

    pub fn temporary(reason: impl Into<String>) -> Self {
        Self::new(FailureKind::Temporary, reason)
    }

    fn of(response: &Response, kind: FailureKind) -> Self {
        Self {
            kind,
            reason: response::describe("the issuer", response),
            retry_after: response.retry_after,
        }
    }
}

impl From<NoResponse> for RefreshFailure {
    fn from(NoResponse { reason, reached }: NoResponse) -> Self {
        let kind = if reached {
            FailureKind::Unanswered
        } else {
            FailureKind::Unreached
        };
        Self::new(kind, reason)
    }
}

impl Issuer {
    pub fn new(url: Url, client_id: String) -> Result<Self> {
        Ok(Self {
            http: Client::new(&url)?,
            url,
            client_id,
        })
    }

    /// The URL to send the user's browser to (RFC 6749 section 4.1.1, RFC 7636 section 4.3).
    pub fn authorize_url(
        &self,
        redirect_uri: &str,
        challenge: &str,
        state: &str,
        workspaces: &[String],
        switch_account: bool,
    ) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", redirect_uri),
            ("scope", SCOPE),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
            ("state", state),
            ("id_token_add_organizations", "true"),
            ("codex_cli_simplified_flow", "true"),
            // How this program identifies itself to the issuer.
            ("originator", "codex-auth"),
        ]);
        if switch_account {
            // OpenID Connect Core 1.0, 3.1.2.1: ask for a sign-in, even if the browser is already signed in.
            query.append_pair("prompt", "login");
        }
        if !workspaces.is_empty() {
            query.append_pair("allowed_workspace_id", &workspaces.join(","));
        }
        format!("{}?{}", self.url.join("oauth/authorize"), query.finish())
    }

    /// Exchanges an authorization code for the tokens of a login (RFC 6749 section 4.1.3). If one is missing, or the ID
    /// token is not for us, they are revoked, because nobody else would do it. If that fails, they stay valid until they
    /// expire.
    pub fn exchange(&self, authorization: &Authorization) -> Result<TokenResponse> {
        let members = [
            ("grant_type", "authorization_code"),
            ("client_id", &self.client_id),
            ("code", &authorization.code),
            ("redirect_uri", &authorization.redirect_uri),
            ("code_verifier", &authorization.verifier),
        ];
        let response = self.post_form(TOKEN, &members, LIMIT)?;
        let tokens = response::tokens(&response).ok_or_else(|| response::unexpected(&response))?;
        // The token is checked against the issuer's own clock, as ours may be wrong.
        let now = response.date.map_or_else(SystemTime::now, time_at);
        tokens
            .check_login(&self.url.text, &self.client_id, now)
            .inspect_err(|_| drop(self.revoke(&tokens.tokens)))
            .context("could not trust the issuer's response")?;
        Ok(tokens)
    }

    /// Gets new tokens for a refresh token (RFC 6749 section 6).
    pub fn refresh(&self, refresh_token: &str) -> RefreshOutcome {
        let members = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("refresh_token", refresh_token),
        ];
        let response = self.post_form(TOKEN, &members, REFRESH_LIMIT)?;
        response::tokens(&response)
            .ok_or_else(|| RefreshFailure::of(&response, kind_of_failure(&response)))
    }

    /// Exchanges an identity token (the assertion), which may be accepted only once, for nothing but an access token.
    /// `context` is a JSON object for the audit log.
    pub fn exchange_assertion(
        &self,
        rule: &str,
        assertion: &str,
        context: Option<&str>,
    ) -> RefreshOutcome {
        let mut members = vec![
            ("grant_type", JWT_BEARER),
            ("assertion", assertion),
            ("federation_rule_id", rule),
        ];
        members.extend(context.map(|context| ("workload_identity_context", context)));
        let response = self.post_form(TOKEN, &members, REFRESH_LIMIT)?;
        let kind = match response.status {
            200..=299 => {
                let (answer, now) = (response::value(&response.body), SystemTime::now());
                let read = TokenResponse::parse_exchanged(&answer, response.date, now);
                let unusable = |flaw| format!("the issuer's response cannot be used: {flaw}");
                return read.map_err(|flaw| RefreshFailure::temporary(unusable(flaw)));
            }
            // Final for this assertion; the next one may be accepted.
            400 | 401 | 403 if response::has_error(&response) => FailureKind::Revoked,
            _ => FailureKind::Temporary,
        };
        Err(RefreshFailure::of(&response, kind))
    }

    /// Looks up the owner of an access token from an admin console.
    pub fn whoami(&self, access_token: &str) -> Result<TokenResponse> {
        let bearer = [("Authorization", format!("Bearer {access_token}"))];
        owned_token(access_token, &self.http.get(WHOAMI, &bearer, LIMIT)?)
    }

    /// Revokes the refresh token, and with it the login; without one, the access token (RFC 7009). Takes 5 s at most. The
    /// official client sends JSON instead of the RFC's form, so the form is only sent if the issuer rejects JSON.
    pub fn revoke(&self, tokens: &Tokens) -> Result<()> {
        let begun = Instant::now();
        let (token, hint) = match (&tokens.refresh_token, &tokens.access_token) {
            (Some(token), _) => (token, "refresh_token"),
            (None, Some(token)) => (token, "access_token"),
            (None, None) => return Ok(()),
        };
        let members = [
            ("token", token.as_str()),
            ("token_type_hint", hint),
            ("client_id", &self.client_id),
        ];
        let json = json!(HashMap::from(members)).to_string();
        let mut response = self.http.post(REVOKE, http::JSON, &json, REVOKE_LIMIT)?;
        if matches!(response.status, 400 | 415) {
            let left = REVOKE_LIMIT.saturating_sub(begun.elapsed());
            response = self.post_form(REVOKE, &members, left)?;
        }
        match response.status {
            200..=299 => Ok(()),
            _ => Err(response::unexpected(&response)),
        }
    }

    fn post_form(&self, path: &str, members: &[(&str, &str)], limit: Duration) -> Outcome {
        let mut form = Serializer::new(String::new());
        let form = form.extend_pairs(members).finish();
        self.http.post(path, http::FORM, &form, limit)
    }
}

/// Why a response to a refresh has no tokens.
fn kind_of_failure(response: &Response) -> FailureKind {
    let [code, _] = response::error_of(&response.body);
    let code = code.unwrap_or_default();
    match response.status {
        400 | 401 if FINAL.contains(&code.as_str()) => FailureKind::Revoked,
        400 | 401 if PERSON_REQUIRED.contains(&code.as_str()) => FailureKind::LoginRequired,
        // Without an error code it may be a proxy's page.
        401 if response::has_error(response) => FailureKind::LoginRequired,
        200..=299 => FailureKind::Unanswered,
        _ => FailureKind::Temporary,
    }
}

fn owned_token(access_token: &str, response: &Response) -> Result<TokenResponse> {
    let owner = response::value(&response.body);
    match response.status {
        200 if owner.is_object() => {}
        401 => {
            let words = response::describe("the issuer", response);
            bail!("the issuer rejected the access token: {words}")
        }
        _ => return Err(response::unexpected(response)),
    }
    let account = Account::of(&[&owner]);
    let mut found = TokenResponse::default();
    found.tokens.access_token = Some(access_token.to_owned());
    found.tokens.account_id.clone_from(&account.id);
    found.account = Some(account);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{TEMPORARY, exit_code};

    fn judged(status: u16, body: &str) -> Result<TokenResponse> {
        owned_token("at-1", &Response::of(status, body))
    }

    #[test]
    fn an_owner_may_have_any_of_its_members() {
        let body = r#"{"email":"a@b.example","chatgpt_user_id":"user-1","chatgpt_account_id":"account-1",
                       "chatgpt_plan_type":"business","chatgpt_account_is_fedramp":true,"new":[]}"#;
        for (body, wanted) in [
            (
                body,
                [Some("account-1"), Some("a@b.example"), Some("business")],
            ),
            (r#"{"email":null,"chatgpt_plan_type":7}"#, [None; 3]),
        ] {
            let owner = judged(200, body).unwrap();
            let account = owner.account.unwrap();
            let found = [&owner.tokens.account_id, &account.email, &account.plan];
            assert_eq!(found.map(|text| text.as_deref()), wanted);
            assert_eq!(account.is_fedramp, wanted[0].is_some());
            assert_eq!(owner.tokens.access_token.as_deref(), Some("at-1"));
        }
    }

    #[test]
    fn only_a_401_rejects_the_token() {
        let body = r#"{"error":{"code":"invalid_token","message":"It was revoked."}}"#;
        assert_eq!(
            judged(401, body).err().unwrap().to_string(),
            "the issuer rejected the access token: It was revoked. (invalid_token, status 401)"
        );
        for (status, body, is_temporary) in [
            (200, "[]", false),
            (200, "<html>", false),
            (403, "", false),
            (404, "", false),
            (429, "", true),
            (503, "", true),
        ] {
            let error = judged(status, body).err().unwrap();
            let found = exit_code(&error);
            assert_eq!(found == TEMPORARY, is_temporary, "{status} {body}");
        }
    }
}
