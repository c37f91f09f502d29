//! The requests to the issuer over real sockets, and what is made of responses that are not as they should be.

use codex_auth::issuer::whoami::{TokenOwner, Whoami};
use codex_auth::issuer::{Issuer, RefreshOutcome, TokenKind};
use codex_auth::url::Url;
use serde_json::json;
use support::fake_issuer::{Answer, CLIENT_ID, Endpoint, FakeIssuer, Flaw, Request, Trouble};

use crate::servers::closed_port;

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

/// A description of the outcome of a refresh.
fn refresh(url: &str, refresh_token: &str) -> String {
    match issuer(url).refresh(refresh_token) {
        RefreshOutcome::Tokens(tokens) => format!("tokens {}", tokens.refresh_token.unwrap()),
        RefreshOutcome::Unchanged(reason) => format!("unchanged: {reason}"),
        RefreshOutcome::Revoked(reason) => format!("revoked: {reason}"),
        RefreshOutcome::Unauthorized {
            reason,
            retry_after,
        } => format!("unauthorized: {reason}, {retry_after:?}"),
        RefreshOutcome::Failed {
            reason,
            retry_after,
            reached,
        } => format!("failed: {reason}, {retry_after:?}, {reached}"),
    }
}

/// The outcome of a refresh that is answered in a certain way.
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
fn whole_tokens_are_taken_whatever_is_wrong_with_the_response() {
    for flaw in Flaw::EACH {
        let fake = FakeIssuer::start();
        fake.plan(Endpoint::Refresh, Trouble::Flaw(flaw));
        let outcome = refresh(fake.url(), &refresh_token(&fake));
        let newest = fake.refresh_tokens().pop().unwrap();
        assert_eq!(outcome, format!("tokens {newest}"), "{flaw:?}");
    }
}

/// Linux alone hands out what came before a reset.
#[cfg(target_os = "linux")]
#[test]
fn whole_tokens_are_taken_although_the_connection_was_reset_after_them() {
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
fn only_what_the_issuer_says_of_the_refresh_token_is_final() {
    for status in [400, 401] {
        assert_eq!(
            refresh_with(error(status, "account_deactivated")),
            format!("revoked: Words. (account_deactivated, status {status})")
        );
    }
    assert_eq!(
        refresh_with(error(403, "invalid_grant")),
        "failed: Words. (invalid_grant, status 403), None, true"
    );
}

#[test]
fn a_401_that_nobody_has_described_asks_for_a_login() {
    for code in ["access_denied", "something_new"] {
        assert_eq!(
            refresh_with(error(401, code)),
            format!("unauthorized: Words. ({code}, status 401), None")
        );
    }
    let busy = Answer::json(401, &json!({"detail": "Words."})).with("Retry-After", "7");
    assert_eq!(
        refresh_with(Trouble::Answer(busy)),
        "unauthorized: Words. (status 401), Some(7s)"
    );
    // A page may be that of a proxy.
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
        refresh_with(error(400, "access_denied")),
        "failed: Words. (access_denied, status 400), None, true"
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
        issuer.revoke(&access, TokenKind::Access).unwrap();
        assert!(fake.would_refresh(&refresh));
        issuer.revoke(&refresh, TokenKind::Refresh).unwrap();
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
    let error = issuer(fake.url()).revoke("rt_1", TokenKind::Refresh);
    assert_eq!(
        error.unwrap_err().to_string(),
        "server error at the issuer, or at a proxy before it (status 503)"
    );
    assert_eq!(fake.count(Endpoint::Revoke), 1);
}

#[test]
fn the_owner_of_an_access_token_is_told() {
    let fake = FakeIssuer::start();
    fake.set(|its| {
        let claims = json!({ "chatgpt_account_is_fedramp": true });
        its.account.claims = claims.as_object().unwrap().clone();
    });
    let token = fake.issue_personal_token();
    let Whoami::Owner(owner) = issuer(fake.url()).whoami(&token).unwrap() else {
        panic!("the token is rejected");
    };
    let wanted = TokenOwner {
        email: Some("someone@mail.example".to_owned()),
        account_id: Some("account-1".to_owned()),
        plan: Some("plus".to_owned()),
        is_fedramp: true,
    };
    assert_eq!(owner, wanted);
    fake.reject_access_tokens();
    let outcome = issuer(fake.url()).whoami(&token).unwrap();
    assert!(matches!(
        outcome,
        Whoami::Rejected(reason) if reason == "The access token is not accepted. (invalid_token, status 401)"
    ));
}

/// The worst that a server can do with a secret in a request is to repeat it.
#[test]
fn a_secret_that_comes_back_is_not_shown() {
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
