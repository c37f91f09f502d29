//! What each endpoint checks, and what it answers when nothing goes wrong. Whatever a client must never do is recorded as
//! a violation; requests that a correct client may send are only refused.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::State;
use super::gateway;
use super::tokens::{Account, Order, Presented, challenge, now, unique};
use super::wire::{Answer, Request};

const SCOPE: &str = "openid profile email offline_access";

/// The purpose of a request. The token endpoint has three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `GET /oauth/authorize`
    Authorize,
    /// `POST /oauth/token` with a code
    Exchange,
    /// `POST /oauth/token` with a refresh token
    Refresh,
    /// `POST /oauth/token` with a workload's identity token
    Assertion,
    /// `POST /oauth/revoke`
    Revoke,
    /// `GET /api/accounts/v1/user-auth-credential/whoami`
    Whoami,
    /// `POST /api/accounts/deviceauth/usercode`
    UserCode,
    /// `POST /api/accounts/deviceauth/token`
    DeviceToken,
    /// `GET /backend-api/wham/usage`
    Usage,
    /// `GET /backend-api/wham/accounts/check`
    AccountsCheck,
    /// `GET /backend-api/codex/models`
    Models,
    /// `POST /backend-api/codex/responses`
    Responses,
    /// `POST /v1/messages`, of a gateway that speaks Anthropic's API
    Messages,
    /// Anything else, such as the key set (`GET /.well-known/jwks.json`).
    Other,
}

impl Endpoint {
    pub(super) fn of(request: &Request) -> Self {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/oauth/authorize") => Self::Authorize,
            ("POST", "/oauth/token") if request.text().contains("grant_type=refresh_token") => {
                Self::Refresh
            }
            ("POST", "/oauth/token") if request.text().contains("jwt-bearer") => Self::Assertion,
            ("POST", "/oauth/token") => Self::Exchange,
            ("POST", "/oauth/revoke") => Self::Revoke,
            ("GET", "/api/accounts/v1/user-auth-credential/whoami") => Self::Whoami,
            ("POST", "/api/accounts/deviceauth/usercode") => Self::UserCode,
            ("POST", "/api/accounts/deviceauth/token") => Self::DeviceToken,
            ("GET", "/backend-api/wham/usage") => Self::Usage,
            ("GET", "/backend-api/wham/accounts/check") => Self::AccountsCheck,
            ("GET", "/backend-api/codex/models") => Self::Models,
            ("POST", "/backend-api/codex/responses") => Self::Responses,
            ("POST", "/v1/messages") => Self::Messages,
            _ => Self::Other,
        }
    }
}

/// What the authorize page does.
#[derive(Clone)]
pub enum Consent {
    /// Redirects with a code immediately.
    Grant,
    /// Redirects with an error.
    Refuse {
        error: String,
        description: Option<String>,
    },
    /// Shows a page with a link to the redirect URI, and then redirects there: for a real browser.
    Page,
}

/// An authorization code.
pub(super) struct Code {
    account: Account,
    redirect_uri: String,
    challenge: String,
    spent: bool,
}

/// A device login in progress.
pub(super) struct Device {
    pub id: String,
    user_code: String,
    verdict: Verdict,
}

#[derive(Clone)]
pub(super) enum Verdict {
    Pending,
    /// With the code and its verifier.
    Approved {
        code: String,
        verifier: String,
    },
    /// The error code and the issuer's message.
    Refused(&'static str, &'static str),
}

impl Verdict {
    pub fn approved() -> Self {
        Self::Approved {
            code: format!("ac_{}", unique()),
            verifier: unique(),
        }
    }
}

/// Why a request is rejected.
pub(super) enum Rejection {
    /// What the client did to violate the protocol.
    Violation(String),
    /// A status, an error code, and a message.
    Refused(u16, &'static str, &'static str),
}

use Rejection::{Refused, Violation};

pub(super) type Served = Result<Answer, Rejection>;

/// Serves a request as the real issuer would.
pub(super) fn answer(state: &mut State, endpoint: Endpoint, request: &Request) -> Answer {
    let served = match endpoint {
        Endpoint::Authorize => authorize(state, request),
        Endpoint::Exchange => exchange(state, request),
        Endpoint::Refresh => refresh(state, request),
        Endpoint::Assertion => exchange_assertion(state, request),
        Endpoint::Revoke => revoke(state, request),
        Endpoint::Whoami => whoami(state, request),
        Endpoint::UserCode => user_code(state, request),
        Endpoint::DeviceToken => device_token(state, request),
        Endpoint::Usage => usage(state, request),
        Endpoint::AccountsCheck => accounts_check(state, request),
        Endpoint::Models => models(state, request),
        Endpoint::Responses => gateway::responses(state, request),
        Endpoint::Messages => gateway::messages(state, request),
        Endpoint::Other => other(request),
    };
    match served {
        Ok(answer) => answer,
        Err(Refused(status, code, message)) => error(status, code, message),
        Err(Violation(what)) => {
            let complaint = format!("{} {}: {what}", request.method, request.path);
            state.violations.push(complaint);
            error(400, "invalid_request", &what)
        }
    }
}

/// An error in the issuer's usual form.
pub(super) fn error(status: u16, code: &str, message: &str) -> Answer {
    let body = json!({ "error": { "code": code, "message": message } });
    Answer::json(status, &body)
}

fn authorize(state: &mut State, request: &Request) -> Served {
    let needed = [
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "code_challenge",
        "code_challenge_method",
        "state",
        "originator",
        "id_token_add_organizations",
        "codex_cli_simplified_flow",
    ];
    let given = parameters(&request.query, &needed, &["allowed_workspace_id", "prompt"])?;
    let fixed = [
        ("response_type", "code"),
        ("client_id", &state.manners.client_id),
        ("scope", SCOPE),
        ("code_challenge_method", "S256"),
        ("originator", "codex-auth"),
        ("id_token_add_organizations", "true"),
        ("codex_cli_simplified_flow", "true"),
    ];
    for (name, value) in fixed {
        ensure(given[name] == value, &format!("{name} is not {value}"))?;
    }
    ensure(
        is_registered(&given["redirect_uri"]),
        "redirect_uri is not registered",
    )?;
    ensure(
        is_32_bytes(&given["code_challenge"]),
        "code_challenge is not a SHA-256 in base64url",
    )?;
    ensure(
        is_32_bytes(&given["state"]),
        "state is not 32 bytes in base64url",
    )?;
    Ok(consent(state, &given))
}

fn consent(state: &mut State, given: &HashMap<String, String>) -> Answer {
    let consent = state.manners.consent.clone();
    let mut result = match &consent {
        Consent::Refuse { error, description } => {
            let description = description.clone().map(|text| ("error_description", text));
            [("error", error.clone())]
                .into_iter()
                .chain(description)
                .collect()
        }
        Consent::Grant | Consent::Page => vec![("code", new_code(state, given))],
    };
    result.push(("state", given["state"].clone()));
    result.extend(state.manners.iss.clone().map(|iss| ("iss", iss)));
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(result)
        .finish();
    let to = format!("{}?{query}", given["redirect_uri"]);
    match consent {
        Consent::Page => page(&to),
        Consent::Grant | Consent::Refuse { .. } => Answer::redirect(&to),
    }
}

fn page(to: &str) -> Answer {
    let to = to.replace('&', "&amp;");
    Answer::html(
        200,
        &format!(
            "<!doctype html><title>Sign in</title><meta http-equiv=refresh content=\"0;url={to}\">\
             <a id=continue href=\"{to}\">Continue</a>"
        ),
    )
}

fn new_code(state: &mut State, given: &HashMap<String, String>) -> String {
    let mut account = state.manners.account.clone();
    let allowed = given.get("allowed_workspace_id");
    if let Some(allowed) = allowed.filter(|_| state.manners.honours_workspace) {
        let chosen = account.id.clone().unwrap_or_default();
        let mut ids = allowed.split(',');
        if !ids.clone().any(|id| id == chosen) {
            account.id = ids.next().map(str::to_owned);
        }
    }
    let code = format!("ac_{}", unique());
    let remembered = Code {
        account,
        redirect_uri: given["redirect_uri"].clone(),
        challenge: given["code_challenge"].clone(),
        spent: false,
    };
    state.codes.insert(code.clone(), remembered);
    code
}

fn exchange(state: &mut State, request: &Request) -> Served {
    let needed = [
        "grant_type",
        "client_id",
        "code",
        "redirect_uri",
        "code_verifier",
    ];
    let given = form(request, &needed)?;
    ensure(
        given["grant_type"] == "authorization_code",
        "grant_type is unknown",
    )?;
    ensure(
        given["client_id"] == state.manners.client_id,
        "client_id is unknown",
    )?;
    let Some(code) = state.codes.get_mut(&given["code"]) else {
        return Err(Refused(400, "invalid_grant", "The code is unknown."));
    };
    ensure(!code.spent, "the code was used before")?;
    ensure(
        code.redirect_uri == given["redirect_uri"],
        "redirect_uri differs from the authorization request",
    )?;
    let verifier = &given["code_verifier"];
    ensure(
        (43..=128).contains(&verifier.len()),
        "code_verifier does not have 43 to 128 characters",
    )?;
    ensure(
        challenge(verifier) == code.challenge,
        "code_verifier does not match code_challenge",
    )?;
    code.spent = true;
    let family = state.books.open_family(code.account.clone());
    Ok(tokens(state, family))
}

fn refresh(state: &mut State, request: &Request) -> Served {
    let given = form(request, &["grant_type", "client_id", "refresh_token"])?;
    ensure(
        given["client_id"] == state.manners.client_id,
        "client_id is unknown",
    )?;
    let token = &given["refresh_token"];
    let status = state.manners.final_error_status;
    let family = match state.books.look_up(token) {
        Presented::Good { family } => family,
        Presented::Reused { family } => {
            state.reuses += 1;
            if state.manners.reuse_revokes_family {
                state.books.revoke_family(family);
            }
            return Err(Refused(
                status,
                "refresh_token_reused",
                "It was used before.",
            ));
        }
        Presented::Revoked => {
            return Err(Refused(
                status,
                "refresh_token_invalidated",
                "The login has ended.",
            ));
        }
        Presented::Unknown => {
            return Err(Refused(
                status,
                "invalid_refresh_token",
                "It is of no login.",
            ));
        }
    };
    if let Some(account) = state.manners.account_at_refresh.clone() {
        state.books.set_account(family, account);
    }
    if !state.withholds("refresh_token") {
        state.books.spend(token);
    }
    Ok(tokens(state, family))
}

/// Exchanges the identity token of a workload (RFC 7523 section 2.1). Each is accepted once.
fn exchange_assertion(state: &mut State, request: &Request) -> Served {
    let needed = ["grant_type", "assertion", "federation_rule_id"];
    let form = form_with(request, &needed, &["workload_identity_context"])?;
    ensure(
        form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "grant_type is unknown",
    )?;
    let assertion = form["assertion"].as_str();
    ensure(assertion.len() <= 16 * 1024, "the assertion is too long")?;
    ensure(
        assertion.trim() == assertion && !assertion.is_empty(),
        "the assertion is empty or not trimmed",
    )?;
    if let Some(context) = form.get("workload_identity_context") {
        let context: Result<serde_json::Map<String, Value>, _> = serde_json::from_str(context);
        ensure(
            context.is_ok(),
            "workload_identity_context is not a JSON object",
        )?;
    }
    if form["federation_rule_id"] != state.manners.federation_rule {
        return Err(Refused(403, "access_denied", "No such federation rule."));
    }
    let clock = state.clock();
    match state.identity_tokens.get_mut(assertion) {
        None => {
            return Err(Refused(
                400,
                "invalid_grant",
                "The identity token does not match the rule.",
            ));
        }
        Some(known) if known.expires_at <= clock => {
            return Err(Refused(
                400,
                "invalid_grant",
                "The identity token has expired.",
            ));
        }
        Some(known) if known.used && state.manners.assertions_work_once => {
            state.reuses += 1;
            return Err(Refused(
                400,
                "invalid_grant",
                "The identity token was used before.",
            ));
        }
        Some(known) => known.used = true,
    }
    let account = state.manners.account.clone();
    let family = state.books.open_family(account.clone());
    let issued = state.issue(family, 0);
    let mut body = json!({
        "access_token": issued["access_token"],
        "token_type": "Bearer",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "expires_in": state.manners.access_life,
        "scope": SCOPE,
        "user_id": account.user_id,
        "chatgpt_account_id": account.id,
        "chatgpt_account_user_id": format!("{}__{}", account.user_id, account.id.clone().unwrap_or_default()),
        "chatgpt_plan_type": account.plan,
    });
    state.adapt(&mut body);
    Ok(Answer::json(200, &body))
}

/// The response of the token endpoint: a new set, without the members planned to be missing.
fn tokens(state: &mut State, family: usize) -> Answer {
    let mut body = state.issue(family, 0);
    state.adapt(&mut body);
    Answer::json(200, &body)
}

impl State {
    /// Removes the members of a token response that are planned to be missing, or makes them null.
    fn adapt(&self, body: &mut Value) {
        if let Some(members) = body.as_object_mut() {
            members.retain(|name, _| !self.manners.omit.contains(&name.as_str()));
            for name in &self.manners.null {
                members.insert((*name).to_owned(), Value::Null);
            }
        }
    }

    fn withholds(&self, member: &str) -> bool {
        let mut missing = self.manners.omit.iter().chain(&self.manners.null);
        missing.any(|name| *name == member)
    }

    /// Seconds since 1970, by the issuer's clock.
    pub(super) fn clock(&self) -> u64 {
        now().saturating_add_signed(self.manners.clock_ahead)
    }

    /// Creates a new set of tokens for a login, dated `age` seconds ago.
    pub(super) fn issue(&mut self, family: usize, age: u64) -> Value {
        let manners = &self.manners;
        let right = (json!(self.url), json!([manners.client_id]));
        let order = Order {
            issuer: &self.url,
            client_id: &manners.client_id,
            id_issuer: manners.id_issuer.clone().unwrap_or(right.0),
            id_audience: manners.id_audience.clone().unwrap_or(right.1),
            issued: self.clock().saturating_sub(age),
            lifetimes: (self.manners.access_life, self.manners.id_life),
            opaque: self.manners.opaque_access_token,
        };
        let issued = self.books.issue(family, &order);
        json!({
            "access_token": issued.access,
            "refresh_token": issued.refresh,
            "id_token": issued.id,
            "token_type": "Bearer",
            "scope": SCOPE,
            "expires_in": self.manners.access_life,
        })
    }

    /// Decides the newest waiting device login. Panics if there is none.
    pub(super) fn decide(&mut self, verdict: Verdict) {
        let account = self.manners.account.clone();
        let mut devices = self.devices.iter_mut().rev();
        let waiting = devices.find(|device| matches!(device.verdict, Verdict::Pending));
        waiting.expect("no device login is waiting").verdict = verdict.clone();
        if let Verdict::Approved { code, verifier } = verdict {
            let remembered = Code {
                account,
                redirect_uri: format!("{}/deviceauth/callback", self.url),
                challenge: challenge(&verifier),
                spent: false,
            };
            self.codes.insert(code, remembered);
        }
    }
}

fn revoke(state: &mut State, request: &Request) -> Served {
    let needed = ["token", "token_type_hint", "client_id"];
    let is_form = has_type(request, "application/x-www-form-urlencoded");
    if state.manners.revokes_forms_only && !is_form {
        return Err(Refused(415, "invalid_request", "Send a form."));
    }
    let given = if is_form {
        form(request, &needed)?
    } else {
        object(request, &needed)?
    };
    ensure(
        given["client_id"] == state.manners.client_id,
        "client_id is unknown",
    )?;
    let token = &given["token"];
    match given["token_type_hint"].as_str() {
        "refresh_token" => {
            if let Some(family) = state.books.family_of(token) {
                state.books.revoke_family(family);
            }
        }
        "access_token" => state.books.reject_access_token(token),
        _ => return Err(Violation("token_type_hint is unknown".to_owned())),
    }
    state.revoked.push(token.clone());
    // An unknown token counts as revoked (RFC 7009 section 2.2).
    Ok(Answer::json(200, &json!({})))
}

/// The user of a personal access token.
fn whoami(state: &mut State, request: &Request) -> Served {
    ensure(request.query.is_empty(), "there is a query")?;
    let token = bearer(request).ok_or_else(|| Violation("no access token".to_owned()))?;
    let Some(account) = state.books.holder(token, state.clock()) else {
        return Err(Refused(
            401,
            "invalid_token",
            "The access token is not accepted.",
        ));
    };
    let body = json!({
        "email": account.email,
        "chatgpt_user_id": account.user_id,
        "chatgpt_account_id": account.id,
        "chatgpt_plan_type": account.plan,
        "chatgpt_account_is_fedramp": account.is_fedramp(),
    });
    Ok(Answer::json(200, &body))
}

fn user_code(state: &mut State, request: &Request) -> Served {
    let given = object(request, &["client_id"])?;
    ensure(
        given["client_id"] == state.manners.client_id,
        "client_id is unknown",
    )?;
    if !state.manners.device_login {
        return Err(Refused(404, "not_found", "Not found."));
    }
    let number = state.devices.len() + 1;
    let device = Device {
        id: format!("deviceauth_{}", unique()),
        user_code: format!("CODE-{number:05}"),
        verdict: Verdict::Pending,
    };
    let mut body = json!({ "device_auth_id": device.id });
    body[state.manners.user_code_member] = json!(device.user_code);
    if let Some(interval) = &state.manners.interval {
        body["interval"] = interval.clone();
    }
    state.devices.push(device);
    Ok(Answer::json(200, &body))
}

fn device_token(state: &mut State, request: &Request) -> Served {
    let given = object(request, &["device_auth_id", "user_code"])?;
    let mut devices = state.devices.iter();
    let device = devices.find(|device| device.id == given["device_auth_id"]);
    let Some(device) = device.filter(|device| device.user_code == given["user_code"]) else {
        return Err(Violation("unknown device login".to_owned()));
    };
    match &device.verdict {
        Verdict::Pending => Err(Refused(
            state.manners.pending_status,
            "authorization_pending",
            "Not yet.",
        )),
        Verdict::Refused(code, message) => Err(Refused(400, code, message)),
        Verdict::Approved { code, verifier } => {
            let body = json!({
                "authorization_code": code,
                "code_challenge": challenge(verifier),
                "code_verifier": verifier,
            });
            Ok(Answer::json(200, &body))
        }
    }
}

fn usage(state: &mut State, request: &Request) -> Served {
    ensure(bearer(request).is_some(), "no access token")?;
    check_routing(state, request)?;
    let account = caller(state, request)?;
    Ok(Answer::json(200, &json!({ "plan_type": account.plan })))
}

/// The origin for an account's requests. Only clients that prove they own the account get an answer.
fn accounts_check(state: &mut State, request: &Request) -> Served {
    ensure(request.query.is_empty(), "there is a query")?;
    if state.manners.routing.is_null() {
        return Err(Refused(404, "not_found", "Not found."));
    }
    let account = bearer(request).and_then(|token| state.books.holder(token, state.clock()));
    let claimed = request.header("chatgpt-account-id");
    let Some(account) = account.filter(|account| claimed == account.id.as_deref()) else {
        return Err(Refused(401, "token_expired", "Not this account's token."));
    };
    let manners = &state.manners;
    let id = if manners.account_is_missing {
        "another-account"
    } else {
        claimed.unwrap_or_default()
    };
    let mut entry = json!({
        "id": id, "plan_type": account.plan, "structure": "workspace", "name": null,
        "is_deactivated": false, "can_access_with_session": true,
    });
    let told = manners.routing.as_object().into_iter().flatten();
    for (name, value) in told {
        entry[name] = value.clone();
    }
    let accounts = if manners.accounts_as_map {
        json!({ id: { "account": entry } })
    } else {
        json!([entry])
    };
    let body = json!({ "accounts": accounts, "account_ordering": [id], "default_account_id": id });
    Ok(Answer::json(200, &body))
}

/// Refuses requests to another origin than the workspace's, or without its override.
pub(super) fn check_routing(state: &State, request: &Request) -> Result<(), Rejection> {
    let told = |name: &str| state.manners.routing[name].as_str();
    let told = |name: &str| told(name).filter(|value| *value != "NO_CONSTRAINT");
    let origin = told("workspace_backend_origin").map(|origin| origin.trim_end_matches('/'));
    let host = origin.and_then(|origin| origin.split("://").nth(1));
    let is_routed = host.is_none_or(|host| request.header("host") == Some(host))
        && request.header("x-openai-account-routing-override") == told("account_routing_override");
    if is_routed {
        return Ok(());
    }
    let message = "Workspace is not authorized in this region.";
    Err(Refused(401, "unauthorized", message))
}

fn models(state: &mut State, request: &Request) -> Served {
    check_routing(state, request)?;
    caller(state, request)?;
    Ok(Answer::json(200, &json!({ "models": [] })))
}

pub(super) fn bearer(request: &Request) -> Option<&str> {
    request.header("authorization")?.strip_prefix("Bearer ")
}

/// The account of the request's access token, if the token is valid.
pub(super) fn caller<'a>(state: &'a State, request: &Request) -> Result<&'a Account, Rejection> {
    let account = bearer(request).and_then(|token| state.books.holder(token, state.clock()));
    let Some(account) = account else {
        return Err(Refused(
            401,
            "token_expired",
            "The access token is not accepted.",
        ));
    };
    ensure(
        request.header("chatgpt-account-id") == account.id.as_deref(),
        "ChatGPT-Account-Id differs from the token's account",
    )?;
    let is_fedramp = account.is_fedramp().then_some("true");
    ensure(
        request.header("x-openai-fedramp") == is_fedramp,
        "X-OpenAI-Fedramp does not match the account",
    )?;
    // It is not known whether a routed workspace still requires this header.
    let is_routed = ["workspace_backend_origin", "account_routing_override"]
        .iter()
        .any(|name| state.manners.routing[*name].is_string());
    if !is_routed && request.header("x-openai-internal-codex-residency") != account.residency() {
        return Err(Refused(
            401,
            "unauthorized",
            "The workspace is not available in this region.",
        ));
    }
    Ok(account)
}

fn other(request: &Request) -> Served {
    // Browsers request the icon by themselves, and users open the device page.
    match request.path.as_str() {
        "/favicon.ico" => Err(Refused(404, "not_found", "Not found.")),
        "/.well-known/jwks.json" => Ok(Answer::json(200, &json!({ "keys": [] }))),
        "/codex/device" => Ok(Answer::html(200, "<title>Enter the code</title>")),
        _ => Err(Violation("no such endpoint".to_owned())),
    }
}

pub(super) fn ensure(holds: bool, complaint: &str) -> Result<(), Rejection> {
    if holds {
        return Ok(());
    }
    Err(Violation(complaint.to_owned()))
}

/// The parameters of a form body, whose content type must say so.
fn form(request: &Request, needed: &[&str]) -> Result<HashMap<String, String>, Rejection> {
    form_with(request, needed, &[])
}

fn form_with(
    request: &Request,
    needed: &[&str],
    optional: &[&str],
) -> Result<HashMap<String, String>, Rejection> {
    ensure(
        has_type(request, "application/x-www-form-urlencoded"),
        "the content type is not a form",
    )?;
    parameters(&request.text(), needed, optional)
}

/// The decoded parameters by name. Requires each in `needed` exactly once, and allows no duplicates or unknown ones.
fn parameters(
    encoded: &str,
    needed: &[&str],
    optional: &[&str],
) -> Result<HashMap<String, String>, Rejection> {
    let mut given = HashMap::new();
    for (name, value) in form_urlencoded::parse(encoded.as_bytes()).into_owned() {
        let known = needed.contains(&name.as_str()) || optional.contains(&name.as_str());
        ensure(known, &format!("{name} is no parameter"))?;
        let twice = given.insert(name.clone(), value).is_some();
        ensure(!twice, &format!("{name} was sent twice"))?;
    }
    for name in needed {
        ensure(given.contains_key(*name), &format!("{name} is missing"))?;
    }
    Ok(given)
}

/// The members of a JSON body, whose content type must say so: exactly those in `needed`, all strings.
fn object(request: &Request, needed: &[&str]) -> Result<HashMap<String, String>, Rejection> {
    ensure(
        has_type(request, "application/json"),
        "the content type is not JSON",
    )?;
    let given: HashMap<String, String> = serde_json::from_slice(&request.body)
        .map_err(|_| Violation("the body is not a JSON object of strings".to_owned()))?;
    let exactly =
        given.len() == needed.len() && needed.iter().all(|name| given.contains_key(*name));
    ensure(
        exactly,
        &format!("the members are not {}", needed.join(", ")),
    )?;
    Ok(given)
}

/// Whether this is a redirect URI of the public client, on any port, as tests cannot use the registered ports.
fn is_registered(redirect_uri: &str) -> bool {
    let port = redirect_uri
        .strip_prefix("http://localhost:")
        .or_else(|| redirect_uri.strip_prefix("http://127.0.0.1:"))
        .and_then(|rest| rest.strip_suffix("/auth/callback"));
    port.and_then(|port| port.parse::<u16>().ok())
        .is_some_and(|port| port > 0)
}

/// Whether this is 32 bytes in base64url without padding.
fn is_32_bytes(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == 43 && text.bytes().all(allowed)
}

/// Whether the content type is this one, with or without parameters.
fn has_type(request: &Request, kind: &str) -> bool {
    let stated = request.header("content-type").unwrap_or_default();
    stated.split(';').next().map(str::trim) == Some(kind)
}
