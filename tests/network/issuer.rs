//! Requests to the issuer over real sockets, and how malformed responses are handled.

use std::time::Duration;

use codex_auth::credentials::{Credentials, Tokens};
use codex_auth::issuer::backend::{self, Verdict};
use codex_auth::issuer::{FailureKind, Issuer};
use codex_auth::url::Url;
use serde_json::json;
use support::fake_issuer::{Answer, CLIENT_ID, Endpoint, FakeIssuer, Flaw, Request, Trouble};

use crate::servers::closed_port;

const LIMIT: Duration = Duration::from_secs(30);

fn issuer(url: &str) -> Issuer {
    Issuer::new(Url::parse(url).unwrap(), CLIENT_ID.to_owned()).unwrap()
}

/// A refresh token that works.
fn refresh_token(fake: &FakeIssuer) -> String {
    fake.issue_tokens(0)["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The outcome of a refresh, as text.
fn refresh(url: &str, refresh_token: &str) -> String {
    match issuer(url).refresh(refresh_token) {
        Ok(tokens) => format!("tokens {}", tokens.tokens.refresh_token.unwrap()),
        Err(failure) => {
            let (reason, retry_after) = (failure.reason, failure.retry_after);
            match failure.kind {
                FailureKind::Revoked => format!("revoked: {reason}"),
                FailureKind::LoginRequired => format!("unauthorized: {reason}, {retry_after:?}"),
                kind => {
                    let reached = kind != FailureKind::Unreached;
                    format!("failed: {reason}, {retry_after:?}, {reached}")
                }
            }
        }
    }
}

/// The outcome of a refresh whose response is planned.
fn refresh_with(trouble: Trouble) -> String {
    let fake = FakeIssuer::start();
    fake.plan(Endpoint::Refresh, trouble);
    refresh(fake.url(), &refresh_token(&fake))
}

fn error(status: u16, code: &str) -> Trouble {
    let body = json!({"error": {"code": code, "message": "Words."}});
    Trouble::Answer(Answer::json(status, &body))
}

#[test]
fn complete_tokens_are_accepted_from_a_flawed_response() {
    for flaw in Flaw::EACH {
        let fake = FakeIssuer::start();
        fake.plan(Endpoint::Refresh, Trouble::Flaw(flaw));
        let outcome = refresh(fake.url(), &refresh_token(&fake));
        let newest = fake.refresh_tokens().pop().unwrap();
        assert_eq!(outcome, format!("tokens {newest}"), "{flaw:?}");
    }
}

/// Only Linux delivers data received before a reset.
#[cfg(target_os = "linux")]
#[test]
fn complete_tokens_are_accepted_if_the_connection_is_then_reset() {
    let body = r#"{"access_token":"at","refresh_token":"rt_2"}"#;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    let port = crate::servers::resetting(format!("{head}{body}"));
    let url = format!("http://127.0.0.1:{port}");
    assert_eq!(refresh(&url, "rt_1"), "tokens rt_2");
    let port = crate::servers::resetting(format!("{head}{}", &body[..30]));
    let url = format!("http://127.0.0.1:{port}");
    let outcome = refresh(&url, "rt_1");
    let expected = "failed: unexpected response from the issuer (status 200; connection ";
    assert!(
        outcome.starts_with(expected) && outcome.ends_with("true"),
        "{outcome}"
    );
}

#[test]
fn a_response_that_was_cut_off_in_its_tokens_may_have_spent_the_refresh_token() {
    assert_eq!(
        refresh_with(Trouble::Truncate),
        "failed: unexpected response from the issuer (status 200; connection closed before the response was complete), \
         None, true"
    );
    assert_eq!(
        refresh_with(Trouble::DropAfter),
        "failed: 127.0.0.1: connection closed before the response was complete, None, true"
    );
}

#[test]
fn an_issuer_that_was_not_reached_cannot_have_seen_the_refresh_token() {
    let url = format!("http://127.0.0.1:{}", closed_port());
    assert_eq!(
        refresh(&url, "rt_1"),
        "failed: 127.0.0.1: connection refused, None, false"
    );
}

#[test]
fn only_an_error_about_the_refresh_token_is_final() {
    for code in ["account_deactivated", "access_denied"] {
        for status in [400, 401] {
            assert_eq!(
                refresh_with(error(status, code)),
                format!("revoked: Words. ({code}, status {status})")
            );
        }
    }
    assert_eq!(
        refresh_with(error(403, "invalid_grant")),
        "failed: Words. (invalid_grant, status 403), None, true"
    );
}

#[test]
fn an_unknown_401_asks_for_a_login() {
    assert_eq!(
        refresh_with(error(401, "something_new")),
        "unauthorized: Words. (something_new, status 401), None"
    );
    let busy = Answer::json(401, &json!({"detail": "Words."})).with("Retry-After", "7");
    assert_eq!(
        refresh_with(Trouble::Answer(busy)),
        "unauthorized: Words. (status 401), Some(7s)"
    );
    // A page may come from a proxy.
    for (page, reason) in [
        (
            Answer::html(401, "<html>access_denied"),
            "the issuer answered with a web page (captive portal or filter? try it with a browser) (status 401)",
        ),
        (
            Answer::html(401, "invalid_grant"),
            "unexpected response from the issuer (status 401)",
        ),
        (
            Answer::json(401, &json!({})),
            "unexpected response from the issuer (status 401)",
        ),
    ] {
        assert_eq!(
            refresh_with(Trouble::Answer(page)),
            format!("failed: {reason}, None, true")
        );
    }
    assert_eq!(
        refresh_with(error(400, "something_new")),
        "failed: Words. (something_new, status 400), None, true"
    );
}

#[test]
fn either_token_is_revoked_in_either_form() {
    for forms_only in [false, true] {
        let fake = FakeIssuer::start();
        fake.set(|its| its.revokes_forms_only = forms_only);
        let granted = fake.issue_tokens(0);
        let token = |name: &str| granted[name].as_str().unwrap().to_owned();
        let (access, refresh) = (token("access_token"), token("refresh_token"));
        let issuer = issuer(fake.url());
        let mut tokens = Tokens {
            access_token: Some(access.clone()),
            ..Tokens::default()
        };
        issuer.revoke(&tokens).unwrap();
        assert!(fake.would_refresh(&refresh));
        tokens.refresh_token = Some(refresh.clone());
        issuer.revoke(&tokens).unwrap();
        assert!(!fake.would_refresh(&refresh));
        assert_eq!(fake.revoked(), [access, refresh]);
        let requests = fake.requests_to(Endpoint::Revoke);
        assert_eq!(requests.len(), if forms_only { 4 } else { 2 });
    }
}

#[test]
fn a_revocation_that_fails_otherwise_is_not_tried_as_a_form() {
    let fake = FakeIssuer::start();
    fake.plan(Endpoint::Revoke, Trouble::status(503));
    let tokens = Tokens {
        refresh_token: Some("rt_1".to_owned()),
        ..Tokens::default()
    };
    let error = issuer(fake.url()).revoke(&tokens);
    assert_eq!(
        error.unwrap_err().to_string(),
        "server error at the issuer, or at a proxy in front of it (status 503)"
    );
    assert_eq!(fake.count(Endpoint::Revoke), 1);
}

#[test]
fn the_owner_of_an_access_token_is_known() {
    let fake = FakeIssuer::start();
    fake.set(|its| {
        let claims = json!({ "chatgpt_account_is_fedramp": true });
        its.account.claims = claims.as_object().unwrap().clone();
    });
    let token = fake.issue_personal_token();
    let owner = issuer(fake.url()).whoami(&token).unwrap();
    assert_eq!(owner.tokens.account_id.as_deref(), Some("account-1"));
    let account = owner.account.unwrap();
    assert_eq!(account.email.as_deref(), Some("someone@mail.example"));
    assert_eq!(account.plan.as_deref(), Some("plus"));
    assert!(account.is_fedramp);
    fake.reject_access_tokens();
    let error = issuer(fake.url()).whoami(&token).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the issuer rejected the access token: The access token is not accepted. (invalid_token, status 401)"
    );
}

/// Credentials of an account of the fake issuer.
fn credentials(fake: &FakeIssuer) -> Credentials {
    let stored = json!({ "tokens": fake.issue_tokens(0), "last_refresh": "2026-01-01T00:00:00Z" });
    Credentials::parse(stored.to_string().into_bytes()).unwrap()
}

fn backend(fake: &FakeIssuer) -> Url {
    Url::parse(&format!("{}/backend-api", fake.url())).unwrap()
}

#[test]
fn the_backend_provides_the_routing_of_a_workspace() {
    let fake = FakeIssuer::start();
    let origin = fake.url().replace("127.0.0.1", "localhost");
    fake.set(|its| {
        its.routing = json!({"plan_type": "business", "name": "Lab", "workspace_backend_origin": origin, "account_routing_override": "us_cr"});
    });
    let backend = backend(&fake);
    for as_map in [false, true] {
        fake.set(|its| its.accounts_as_map = as_map);
        let mut credentials = credentials(&fake);
        let routing = backend::routing(&backend, &credentials).unwrap();
        assert_eq!(routing.problem(), None);
        credentials.set_routing(routing);
        assert_eq!(credentials.workspace().as_deref(), Some("Lab"));
        assert_eq!(credentials.plan().as_deref(), Some("business"));
        assert_eq!(credentials.account().plan.as_deref(), Some("plus"));
        assert_eq!(
            credentials.base_url(&backend).text,
            format!("{origin}/backend-api")
        );
        // Later requests go to the workspace's origin.
        let verdict = backend::check(&backend, &credentials, LIMIT);
        assert_eq!(verdict, Verdict::Accepted);
        let asked = fake.requests_to(Endpoint::Usage).pop().unwrap();
        assert_eq!(asked.header("host"), origin.strip_prefix("http://"));
        let sent = asked.header("x-openai-account-routing-override");
        assert_eq!(sent, Some("us_cr"));
    }
    fake.set(|its| its.account_is_missing = true);
    let routing = backend::routing(&backend, &credentials(&fake)).unwrap();
    let words = "this account does not belong to the login";
    assert_eq!(routing.problem().as_deref(), Some(words));
}

#[test]
fn an_untrusted_origin_is_ignored_and_not_shown() {
    let fake = FakeIssuer::start();
    fake.set(|its| its.routing = json!({"workspace_backend_origin": "https://evil.example"}));
    let mut credentials = credentials(&fake);
    let routing = backend::routing(&backend(&fake), &credentials).unwrap();
    let warning = routing.problem().unwrap();
    assert!(warning.starts_with("ignored") && !warning.contains("evil"));
    credentials.set_routing(routing);
    assert_eq!(credentials.base_url(&backend(&fake)), backend(&fake));
}

#[test]
fn a_backend_without_an_answer_is_an_error_with_a_reason() {
    let fake = FakeIssuer::start();
    fake.set(|its| its.routing = json!({}));
    let routing = |fake: &FakeIssuer| {
        let found = backend::routing(&backend(fake), &credentials(fake));
        found.err().unwrap().to_string()
    };
    for (trouble, reason) in [
        (error(401, "token_expired"), "the backend rejects the token"),
        (
            Trouble::Answer(Answer::html(401, "<html>Sign in")),
            "the backend answered with a web page (captive portal or filter? try it with a browser) (status 401)",
        ),
        (
            Trouble::Answer(Answer::html(200, "<html>Welcome")),
            "unexpected response from the backend",
        ),
        (Trouble::body("[]"), "unexpected response from the backend"),
        (
            Trouble::status(500),
            "server error at the backend, or at a proxy in front of it (status 500)",
        ),
        (
            Trouble::redirect("https://evil.example/"),
            "the backend redirected the request (captive portal? sign in to the network with a browser) (status 302)",
        ),
    ] {
        fake.plan(Endpoint::AccountsCheck, trouble);
        assert_eq!(routing(&fake), reason);
    }
    let gate = fake.hold(Endpoint::AccountsCheck);
    assert_eq!(routing(&fake), "127.0.0.1: request timed out after 4 s");
    gate.open();
    // It tells other accounts nothing, either.
    let stranger = json!({"tokens": {"access_token": "other", "account_id": "account-1"}});
    let stranger = Credentials::parse(stranger.to_string().into_bytes()).unwrap();
    let error = backend::routing(&backend(&fake), &stranger).err().unwrap();
    assert_eq!(error.to_string(), "the backend rejects the token");
    let nobody = Credentials::parse(br#"{"tokens": {"access_token": "other"}}"#.to_vec()).unwrap();
    let asked = fake.count(Endpoint::AccountsCheck);
    assert!(backend::routing(&backend(&fake), &nobody).is_err());
    assert_eq!(fake.count(Endpoint::AccountsCheck), asked);
}

/// The worst that a server can do with a secret in a request is to repeat it.
#[test]
fn a_repeated_secret_is_not_shown() {
    let repeat =
        |request: &Request| Trouble::Answer(Answer::json(400, &json!({"error": request.text()})));
    let fake = FakeIssuer::start();
    fake.plan(Endpoint::Refresh, Trouble::Of(repeat));
    let token = refresh_token(&fake);
    let outcome = refresh(fake.url(), &token);
    assert!(
        outcome.starts_with("failed: ") && !outcome.contains(&token),
        "{outcome}"
    );
}
