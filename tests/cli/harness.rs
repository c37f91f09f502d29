//! Tests of the harness: a fake issuer that accepts a broken client, or an expectation that matches everything, would
//! make all other tests worthless.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde_json::{Value, json};

use support::browser::{self, Answer};
use support::expect;
use support::fake_issuer::{
    Account, CLIENT_ID, Consent, Endpoint, FakeIssuer, Trouble, challenge, unique,
};
use support::sandbox::Sandbox;

const FORM: &str = "application/x-www-form-urlencoded";
const REDIRECT: &str = "http://localhost:1455/auth/callback";

fn encode(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// Correct authorize parameters with some changes; an empty value removes one.
fn authorize(issuer: &FakeIssuer, verifier: &str, changes: &[(&str, &str)]) -> Answer {
    let (challenge, state) = (challenge(verifier), "s".repeat(43));
    let mut pairs = vec![
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", REDIRECT),
        ("scope", "openid profile email offline_access"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("state", state.as_str()),
        ("id_token_add_organizations", "true"),
        ("codex_cli_simplified_flow", "true"),
        ("originator", "codex-auth"),
    ];
    for change in changes {
        pairs.retain(|(name, _)| *name != change.0);
        pairs.extend((!change.1.is_empty()).then_some(*change));
    }
    browser::get(&format!(
        "{}/oauth/authorize?{}",
        issuer.url(),
        encode(&pairs)
    ))
}

/// A parameter of the URL that a response redirects to.
fn redirected(answer: &Answer, name: &str) -> Option<String> {
    let (_, query) = answer.header("location")?.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
    pairs.find(|(known, _)| known == name).map(|(_, v)| v)
}

fn exchange(issuer: &FakeIssuer, code: &str, verifier: &str, redirect: &str) -> Answer {
    let body = encode(&[
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT_ID),
        ("code", code),
        ("redirect_uri", redirect),
        ("code_verifier", verifier),
    ]);
    browser::post(&format!("{}/oauth/token", issuer.url()), FORM, &body)
}

fn refresh_form(token: &str) -> String {
    encode(&[
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT_ID),
        ("refresh_token", token),
    ])
}

fn try_refresh(issuer: &FakeIssuer, token: &str) -> std::io::Result<Answer> {
    let url = format!("{}/oauth/token", issuer.url());
    browser::try_send(
        "POST",
        &url,
        &[("Content-Type", FORM)],
        &refresh_form(token),
    )
}

fn refresh(issuer: &FakeIssuer, token: &str) -> Answer {
    try_refresh(issuer, token).unwrap()
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn refresh_token(answer: &Answer) -> String {
    json_of(answer)["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[track_caller]
fn assert_error(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status);
    assert_eq!(json_of(answer)["error"]["code"], code);
}

fn new_refresh_token(issuer: &FakeIssuer) -> String {
    issuer.issue_tokens(0)["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn post_json(issuer: &FakeIssuer, path: &str, body: &Value) -> Answer {
    let url = format!("{}{path}", issuer.url());
    browser::post(&url, "application/json", &body.to_string())
}

fn claims(token: &Value) -> Value {
    use base64::Engine;
    let parts: Vec<&str> = token.as_str().unwrap().split('.').collect();
    assert_eq!(parts.len(), 3);
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    serde_json::from_slice(&engine.decode(parts[1]).unwrap()).unwrap()
}

#[test]
fn a_code_is_exchanged_for_tokens_with_claims() {
    let issuer = FakeIssuer::start();
    let verifier = unique();
    let redirect = authorize(&issuer, &verifier, &[]);
    assert_eq!(redirect.status, 302);
    assert_eq!(redirected(&redirect, "state"), Some("s".repeat(43)));
    let code = redirected(&redirect, "code").unwrap();
    let answer = exchange(&issuer, &code, &verifier, REDIRECT);
    assert_eq!(answer.status, 200);
    let tokens = json_of(&answer);
    let access = claims(&tokens["access_token"]);
    let life = access["exp"].as_u64().unwrap() - access["iat"].as_u64().unwrap();
    assert_eq!(life, 864_000);
    let auth = &access["https://api.openai.com/auth"];
    assert_eq!(auth["chatgpt_account_id"], "account-1");
    let id = claims(&tokens["id_token"]);
    assert_eq!(id["aud"], json!([CLIENT_ID]));
    assert_eq!(id["iss"], issuer.url());
    assert_eq!(id["email"], "someone@mail.example");
}

#[test]
fn a_broken_authorize_request_is_a_violation() {
    let issuer = FakeIssuer::start();
    let broken = [
        ("response_type", "token"),
        ("client_id", "app_other"),
        ("redirect_uri", "http://localhost:1455/other"),
        ("redirect_uri", "http://mail.example:1455/auth/callback"),
        ("scope", "openid"),
        ("code_challenge", "short"),
        ("code_challenge_method", "plain"),
        ("state", ""),
        ("originator", "codex_cli_rs"),
        ("id_token_add_organizations", ""),
        ("codex_cli_simplified_flow", "false"),
        ("nonce", "unknown"),
    ];
    for change in broken {
        let answer = authorize(&issuer, &unique(), &[change]);
        assert_error(&answer, 400, "invalid_request");
        assert_eq!(issuer.take_violations().len(), 1, "{change:?}");
    }
}

#[test]
fn a_code_works_once_with_its_own_verifier_and_redirect() {
    let issuer = FakeIssuer::start();
    let verifier = unique();
    let code = redirected(&authorize(&issuer, &verifier, &[]), "code").unwrap();
    let other = "http://127.0.0.1:1455/auth/callback";
    for (verifier, redirect) in [(&unique(), REDIRECT), (&verifier, other)] {
        let answer = exchange(&issuer, &code, verifier, redirect);
        assert_error(&answer, 400, "invalid_request");
    }
    let answer = exchange(&issuer, &code, &verifier, REDIRECT);
    assert_eq!(answer.status, 200);
    let again = exchange(&issuer, &code, &verifier, REDIRECT);
    assert_error(&again, 400, "invalid_request");
    assert_eq!(issuer.take_violations().len(), 3);
    let unknown = exchange(&issuer, "ac_unknown", &verifier, REDIRECT);
    assert_error(&unknown, 400, "invalid_grant");
}

#[test]
fn the_consent_can_be_refused_or_shown_as_a_page() {
    let issuer = FakeIssuer::start();
    issuer.set(|its| {
        its.consent = Consent::Refuse {
            error: "access_denied".to_owned(),
            description: Some("No & never".to_owned()),
        };
        its.iss = Some("https://issuer.example".to_owned());
    });
    let refused = authorize(&issuer, &unique(), &[]);
    let parameter = |name| redirected(&refused, name);
    assert_eq!(parameter("error").unwrap(), "access_denied");
    assert_eq!(parameter("error_description").unwrap(), "No & never");
    assert_eq!(parameter("iss").unwrap(), "https://issuer.example");
    assert_eq!(parameter("code"), None);
    issuer.set(|its| its.consent = Consent::Page);
    let page = authorize(&issuer, &unique(), &[]);
    assert_eq!(page.status, 200);
    assert!(page.text().contains("/auth/callback?code=ac_"));
}

#[test]
fn a_login_is_limited_to_the_allowed_workspaces() {
    let issuer = FakeIssuer::start();
    let account = |allowed: &str| {
        let verifier = unique();
        let changes = [("allowed_workspace_id", allowed)];
        let code = redirected(&authorize(&issuer, &verifier, &changes), "code").unwrap();
        let tokens = json_of(&exchange(&issuer, &code, &verifier, REDIRECT));
        claims(&tokens["access_token"])["https://api.openai.com/auth"]["chatgpt_account_id"].clone()
    };
    assert_eq!(account("team-1,team-2"), "team-1");
    assert_eq!(account("team-1,account-1"), "account-1");
    issuer.set(|its| its.honours_workspace = false);
    assert_eq!(account("team-1"), "account-1");
}

#[test]
fn a_refresh_token_works_once() {
    let issuer = FakeIssuer::start();
    let first = new_refresh_token(&issuer);
    let second = refresh_token(&refresh(&issuer, &first));
    assert_ne!(first, second);
    assert_error(&refresh(&issuer, &first), 401, "refresh_token_reused");
    assert_eq!(issuer.reuses(), 1);
    assert!(issuer.would_refresh(&second));
    assert_eq!(refresh(&issuer, &second).status, 200);
    assert_eq!(issuer.count(Endpoint::Refresh), 3);
    let unknown = refresh(&issuer, "rt_unknown");
    assert_error(&unknown, 401, "invalid_refresh_token");
}

#[test]
fn a_reuse_can_end_the_whole_login() {
    let issuer = FakeIssuer::start();
    issuer.set(|its| its.reuse_revokes_family = true);
    let first = new_refresh_token(&issuer);
    let other_login = new_refresh_token(&issuer);
    let second = refresh_token(&refresh(&issuer, &first));
    assert_error(&refresh(&issuer, &first), 401, "refresh_token_reused");
    assert_error(&refresh(&issuer, &second), 401, "refresh_token_invalidated");
    assert!(!issuer.would_refresh(&second));
    assert!(issuer.would_refresh(&other_login));
}

#[test]
fn a_broken_token_request_is_a_violation() {
    let issuer = FakeIssuer::start();
    let url = format!("{}/oauth/token", issuer.url());
    let form = refresh_form(&new_refresh_token(&issuer));
    let bodies = [
        ("application/json", form.clone()),
        (FORM, format!("{form}&scope=openid")),
        (FORM, format!("{form}&client_id={CLIENT_ID}")),
        (FORM, form.replace(CLIENT_ID, "app_other")),
        (FORM, "grant_type=refresh_token".to_owned()),
        (FORM, "grant_type=password".to_owned()),
    ];
    for (kind, body) in bodies {
        let answer = browser::post(&url, kind, &body);
        assert_error(&answer, 400, "invalid_request");
        assert_eq!(issuer.take_violations().len(), 1, "{body}");
    }
}

#[test]
fn members_of_an_answer_can_be_missing_or_null() {
    let issuer = FakeIssuer::start();
    issuer.set(|its| {
        its.omit = vec!["refresh_token", "expires_in"];
        its.null = vec!["id_token"];
        its.opaque_access_token = true;
    });
    let token = new_refresh_token(&issuer);
    let answer = json_of(&refresh(&issuer, &token));
    let access = answer["access_token"].as_str().unwrap();
    assert!(access.starts_with("opaque-"));
    assert!(answer.get("refresh_token").is_none() && answer.get("expires_in").is_none());
    assert!(answer.get("id_token").unwrap().is_null());
    assert!(issuer.would_refresh(&token), "it was not replaced");
}

#[test]
fn a_login_can_change_hands_at_a_refresh() {
    let issuer = FakeIssuer::start();
    let token = new_refresh_token(&issuer);
    let other = Account::new("account-2", "other@mail.example");
    issuer.set(|its| its.account_at_refresh = Some(other));
    let answer = json_of(&refresh(&issuer, &token));
    assert_eq!(claims(&answer["id_token"])["email"], "other@mail.example");
}

#[test]
fn the_issuers_clock_can_differ() {
    let issuer = FakeIssuer::start();
    issuer.set(|its| its.clock_ahead = -864_000);
    let answer = refresh(&issuer, &new_refresh_token(&issuer));
    let date = httpdate::parse_http_date(answer.header("date").unwrap()).unwrap();
    let behind = std::time::SystemTime::now().duration_since(date).unwrap();
    assert!(behind >= Duration::from_hours(240));
    let access = claims(&json_of(&answer)["access_token"]);
    assert!(access["exp"].as_u64().unwrap() <= support::fake_issuer::now());
}

#[test]
fn an_incomplete_request_does_not_count() {
    let issuer = FakeIssuer::start();
    let head = "POST /oauth/token HTTP/1.1\r\nContent-Length: 9\r\n";
    let without_end = "GET /codex/device HTTP/1.1\r\nHost: x\r\n";
    for start in [without_end, head, &format!("{head}\r\ngrant")] {
        let mut stream = browser::connect(issuer.url());
        std::io::Write::write_all(&mut stream, start.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
        assert_eq!(answer, b"");
    }
    assert_eq!(issuer.requests().len(), 0);
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let issuer = FakeIssuer::start();
    let request = "GET /codex/device HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /codex/device HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let both = browser::raw(issuer.url(), format!("{request}{last}").as_bytes());
    let both = String::from_utf8(both).unwrap();
    assert_eq!(both.matches("HTTP/1.1 200").count(), 2);
}

#[test]
fn a_revoked_login_is_not_refreshed() {
    let issuer = FakeIssuer::start();
    let token = new_refresh_token(&issuer);
    let body =
        json!({ "token": token, "token_type_hint": "refresh_token", "client_id": CLIENT_ID });
    assert_eq!(post_json(&issuer, "/oauth/revoke", &body).status, 200);
    assert_eq!(issuer.revoked(), std::slice::from_ref(&token));
    assert_error(&refresh(&issuer, &token), 401, "refresh_token_invalidated");
    let incomplete = json!({ "token": token });
    assert_eq!(post_json(&issuer, "/oauth/revoke", &incomplete).status, 400);
    assert_eq!(issuer.take_violations().len(), 1);
}

#[test]
fn an_issuer_that_revokes_forms_only_refuses_json() {
    let issuer = FakeIssuer::start();
    issuer.set(|its| its.revokes_forms_only = true);
    let token = issuer.issue_tokens(0)["access_token"].clone();
    let pairs = [
        ("token", token.as_str().unwrap()),
        ("token_type_hint", "access_token"),
        ("client_id", CLIENT_ID),
    ];
    let body =
        json!({ "token": pairs[0].1, "token_type_hint": pairs[1].1, "client_id": CLIENT_ID });
    assert_eq!(post_json(&issuer, "/oauth/revoke", &body).status, 415);
    assert!(issuer.revoked().is_empty());
    let url = format!("{}/oauth/revoke", issuer.url());
    let headers = [("Content-Type", FORM)];
    let answer = browser::send("POST", &url, &headers, &encode(&pairs));
    assert_eq!(answer.status, 200);
    assert_eq!(issuer.revoked(), [pairs[0].1]);
    let wrong = encode(&[pairs[0], ("token_type_hint", "any"), pairs[2]]);
    let answer = browser::send("POST", &url, &headers, &wrong);
    assert_eq!((answer.status, issuer.take_violations().len()), (400, 1));
}

#[test]
fn an_access_token_can_be_checked_for_its_owner() {
    let issuer = FakeIssuer::start();
    let url = format!(
        "{}/api/accounts/v1/user-auth-credential/whoami",
        issuer.url()
    );
    let ask = |token: &str| {
        let bearer = format!("Bearer {token}");
        browser::send("GET", &url, &[("Authorization", &*bearer)], "")
    };
    let token = issuer.issue_personal_token();
    assert!(token.starts_with("at-"));
    let owner = json!({
        "email": "someone@mail.example", "chatgpt_user_id": "user-of-someone@mail.example",
        "chatgpt_account_id": "account-1", "chatgpt_plan_type": "plus", "chatgpt_account_is_fedramp": false,
    });
    assert_eq!(json_of(&ask(&token)), owner);
    issuer.reject_access_tokens();
    assert_error(&ask(&token), 401, "invalid_token");
    assert_eq!(browser::get(&url).status, 400);
    assert_eq!(issuer.take_violations().len(), 1);
}

#[test]
fn the_backend_insists_on_the_headers_of_the_account() {
    let issuer = FakeIssuer::start();
    issuer.set(|its| {
        let claims = json!({ "chatgpt_data_residency": "eu", "chatgpt_account_is_fedramp": true });
        its.account.claims = claims.as_object().unwrap().clone();
    });
    let url = format!("{}/backend-api/wham/usage", issuer.url());
    let bearer = format!("Bearer {}", issuer.issue_personal_token());
    let ask = |more: &[(&str, &str)]| {
        let headers = [
            ("Authorization", &*bearer),
            ("ChatGPT-Account-Id", "account-1"),
        ];
        browser::send("GET", &url, &[&headers, more].concat(), "")
    };
    let residency = ("x-openai-internal-codex-residency", "eu");
    let fedramp = ("X-OpenAI-Fedramp", "true");
    assert_eq!(ask(&[residency, fedramp]).status, 200);
    assert_error(&ask(&[fedramp]), 401, "unauthorized");
    assert_eq!(ask(&[residency]).status, 400);
    assert_eq!(issuer.take_violations().len(), 1);
}

/// Starts a device login, and returns the body of its polls.
fn begin_device_login(issuer: &FakeIssuer) -> Value {
    let path = "/api/accounts/deviceauth/usercode";
    let begun = json_of(&post_json(issuer, path, &json!({ "client_id": CLIENT_ID })));
    assert_eq!(begun["interval"], "1");
    json!({ "device_auth_id": begun["device_auth_id"], "user_code": begun["user_code"] })
}

fn poll(issuer: &FakeIssuer, body: &Value) -> Answer {
    post_json(issuer, "/api/accounts/deviceauth/token", body)
}

#[test]
fn a_device_login_waits_for_the_user() {
    let issuer = FakeIssuer::start();
    let device = begin_device_login(&issuer);
    assert_eq!(poll(&issuer, &device).status, 403);
    issuer.set(|its| its.pending_status = 404);
    assert_eq!(poll(&issuer, &device).status, 404);
    issuer.approve();
    let approved = json_of(&poll(&issuer, &device));
    assert_eq!(approved, json_of(&poll(&issuer, &device)));
    let code = approved["authorization_code"].as_str().unwrap();
    let verifier = approved["code_verifier"].as_str().unwrap();
    let redirect = format!("{}/deviceauth/callback", issuer.url());
    let answer = exchange(&issuer, code, verifier, &redirect);
    assert_eq!(answer.status, 200);
}

#[test]
fn a_device_login_is_denied_expired_or_switched_off() {
    let issuer = FakeIssuer::start();
    let device = begin_device_login(&issuer);
    issuer.deny();
    assert_error(&poll(&issuer, &device), 400, "access_denied");
    let device = begin_device_login(&issuer);
    issuer.expire();
    assert_error(&poll(&issuer, &device), 400, "expired_token");
    issuer.set(|its| its.device_login = false);
    let body = json!({ "client_id": CLIENT_ID });
    let answer = post_json(&issuer, "/api/accounts/deviceauth/usercode", &body);
    assert_eq!(answer.status, 404);
}

#[test]
fn the_backend_accepts_valid_tokens_of_the_right_account() {
    let issuer = FakeIssuer::start();
    let url = format!("{}/backend-api/wham/usage", issuer.url());
    let ask = |tokens: &Value, account: &str| {
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let headers = [("Authorization", &*bearer), ("ChatGPT-Account-Id", account)];
        browser::send("GET", &url, &headers, "").status
    };
    let valid = issuer.issue_tokens(0);
    assert_eq!(ask(&valid, "account-1"), 200);
    assert_eq!(ask(&valid, "account-2"), 400);
    assert_eq!(issuer.take_violations().len(), 1);
    assert_eq!(ask(&issuer.issue_tokens(864_001), "account-1"), 401);
    issuer.reject_access_tokens();
    assert_eq!(ask(&valid, "account-1"), 401);
}

#[test]
fn planned_answers_are_used_up_in_order() {
    let issuer = FakeIssuer::start();
    let token = new_refresh_token(&issuer);
    issuer.plan(Endpoint::Refresh, Trouble::retry_after(429, "7"));
    issuer.plan(Endpoint::Refresh, Trouble::body("<html>"));
    issuer.plan(Endpoint::Refresh, Trouble::redirect("/elsewhere"));
    issuer.plan(Endpoint::Refresh, Trouble::megabytes(2));
    let first = refresh(&issuer, &token);
    assert_eq!(
        (first.status, first.header("retry-after")),
        (429, Some("7"))
    );
    assert_eq!(refresh(&issuer, &token).text(), "<html>");
    assert_eq!(refresh(&issuer, &token).status, 302);
    assert_eq!(refresh(&issuer, &token).body.len(), 2 * 1024 * 1024);
    issuer.plan_always(Endpoint::Refresh, Trouble::status(500));
    assert_eq!(refresh(&issuer, &token).status, 500);
    assert_eq!(refresh(&issuer, &token).status, 500);
    issuer.end_plans(Endpoint::Refresh);
    assert_eq!(refresh(&issuer, &token).status, 200);
}

#[test]
fn a_lost_answer_has_spent_the_token_and_a_lost_request_has_not() {
    let issuer = FakeIssuer::start();
    let lost_answers = [
        Trouble::DropAfter,
        Trouble::Truncate,
        Trouble::Delay(Duration::from_millis(1)).and(Trouble::DropAfter),
    ];
    for trouble in lost_answers {
        let token = new_refresh_token(&issuer);
        issuer.plan(Endpoint::Refresh, trouble);
        assert!(try_refresh(&issuer, &token).is_err());
        assert!(!issuer.would_refresh(&token));
    }
    let token = new_refresh_token(&issuer);
    issuer.plan(Endpoint::Refresh, Trouble::DropBefore);
    issuer.plan(Endpoint::Refresh, Trouble::Bytes(b"what?\r\n\r\n".to_vec()));
    assert!(try_refresh(&issuer, &token).is_err());
    assert!(try_refresh(&issuer, &token).is_err());
    assert!(issuer.would_refresh(&token));
    issuer.await_answers(Endpoint::Refresh, 5);
}

#[test]
fn a_dropped_answer_ends_a_connection_that_was_to_be_kept() {
    let issuer = FakeIssuer::start();
    let request = b"GET /codex/device HTTP/1.1\r\nHost: x\r\n\r\n";
    for trouble in [Trouble::DropBefore, Trouble::DropAfter] {
        issuer.plan(Endpoint::Other, trouble);
        assert_eq!(browser::raw(issuer.url(), request), b"");
    }
}

#[test]
fn a_held_answer_blocks_no_other_and_comes_when_the_gate_opens() {
    let issuer = FakeIssuer::start();
    let (one, other) = (new_refresh_token(&issuer), new_refresh_token(&issuer));
    let gate = issuer.hold(Endpoint::Refresh);
    std::thread::scope(|scope| {
        let held = scope.spawn(|| refresh(&issuer, &one));
        issuer.await_requests(Endpoint::Refresh, 1);
        assert_eq!(refresh(&issuer, &other).status, 200);
        assert!(!held.is_finished());
        gate.open();
        assert_eq!(held.join().unwrap().status, 200);
    });
}

#[test]
fn a_dripped_answer_arrives_completely() {
    let issuer = FakeIssuer::start();
    let token = new_refresh_token(&issuer);
    let drip = Trouble::Drip(Duration::from_micros(10));
    issuer.plan(Endpoint::Refresh, drip);
    assert!(issuer.would_refresh(&refresh_token(&refresh(&issuer, &token))));
}

#[test]
fn an_issuer_stops_although_an_answer_is_held_and_a_connection_silent() {
    let issuer = FakeIssuer::start();
    let silent = browser::connect(issuer.url());
    let gate = issuer.gate();
    issuer.plan(Endpoint::Other, Trouble::Hold(gate));
    let url = format!("{}/favicon.ico", issuer.url());
    let held = std::thread::spawn(move || browser::try_send("GET", &url, &[], ""));
    issuer.await_requests(Endpoint::Other, 1);
    drop(issuer);
    assert!(held.join().unwrap().is_err());
    drop(silent);
}

#[test]
fn an_unexpected_violation_fails_the_test() {
    let issuer = FakeIssuer::start();
    let url = format!("{}/.well-known/openid-configuration", issuer.url());
    assert_eq!(browser::get(&url).status, 400);
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(issuer)));
    let message = dropped.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(
        *message,
        "GET /.well-known/openid-configuration: no such endpoint"
    );
}

#[test]
fn expectations_match_what_they_say_and_nothing_else() {
    let fitting = [
        ("", ""),
        ("one\n", "one\n"),
        ("o[..]e [..]\n", "one two\n"),
        ("[..]\n", "\n"),
        ("a\n...\nz\n", "a\nz\n"),
        ("a\n...\nz\n", "a\nb\nc\nz\n"),
        ("...\n", ""),
    ];
    for (expected, actual) in fitting {
        assert!(expect::matches(expected, actual), "{expected:?} {actual:?}");
    }
    let differing = [
        ("", "one\n"),
        ("one\n", ""),
        ("one\n", "one"),
        ("one", "one\n"),
        ("one\n", "one\ntwo\n"),
        ("[..]\n", "one\ntwo\n"),
        ("o[..]x\n", "one\n"),
        ("a\n...\nz\n", "a\nb\n"),
    ];
    for (expected, actual) in differing {
        assert!(
            !expect::matches(expected, actual),
            "{expected:?} {actual:?}"
        );
    }
}

#[test]
fn a_planted_login_has_the_shape_and_the_age_that_was_asked_for() {
    let sandbox = Sandbox::new();
    let login = sandbox.plant_expiring_in(-5, 60);
    assert_eq!(sandbox.stored(), login);
    assert!(sandbox.can_refresh());
    let access = claims(&login["tokens"]["access_token"]);
    assert_eq!(access["exp"], login["expires_at"]);
    assert!(access["exp"].as_u64().unwrap() < support::fake_issuer::now());
    assert_eq!(login["expires_in"], 60);
    assert_eq!(login["tokens"]["account_id"], "account-1");
    let last_refresh = login["last_refresh"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(last_refresh).is_ok());
    assert_eq!(last_refresh.len(), "2025-01-01T00:00:00.000000Z".len());
}

#[test]
fn a_store_is_private_from_the_start() {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let sandbox = Sandbox::new();
        sandbox.plant();
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&sandbox.home()), 0o700);
        assert_eq!(mode(&sandbox.file("default")), 0o600);
    }
}

/// The sandbox and the terminal, tested with a shell instead of the program.
#[cfg(unix)]
mod with_a_shell {
    use std::ffi::OsString;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rustix::process::Signal;
    use support::sandbox::skip;

    use super::*;
    use crate::terminal::Terminal;

    fn shell(sandbox: &Sandbox, script: &str) -> Command {
        let command_line = ["/bin/sh", "-c", script].map(OsString::from);
        sandbox.command_of(&command_line)
    }

    #[test]
    fn code_stdout_and_stderr_are_shown_with_placeholders() {
        let sandbox = Sandbox::new();
        let login = sandbox.plant();
        let token = login["tokens"]["access_token"].as_str().unwrap();
        let script = format!(
            "echo {token}; echo $CODEX_AUTH_HOME/x $CODEX_AUTH_ISSUER/y $HOME/z >&2; exit 4"
        );
        let output = sandbox.start(shell(&sandbox, &script)).finish();
        output.assert(4, "[TOKEN]\n", "[HOME]/x [ISSUER]/y [FOLDER]/z\n");
        assert_eq!(output.line(), token);
        let unstated = catch_unwind(AssertUnwindSafe(|| {
            output.assert(4, "[TOKEN]\n", "");
        }));
        let message = unstated.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("stdout: as expected"), "{message}");
        assert!(message.contains("- (nothing)\n+ \"[HOME]/x"), "{message}");
    }

    #[test]
    fn the_environment_is_the_sandboxs_own() {
        let mut sandbox = Sandbox::new();
        sandbox.set("CODEX_AUTH_PROFILE", "work");
        sandbox.unset("HOME");
        sandbox.script("hello", "echo hello from PATH");
        let script = "hello; /usr/bin/env | while read -r line; do echo \"${line%%=*}\"; done";
        let output = sandbox.start(shell(&sandbox, script)).finish();
        let mut lines: Vec<&str> = output.stdout.lines().collect();
        lines.sort_unstable();
        let ours = [
            "CODEX_AUTH_CHATGPT_URL",
            "CODEX_AUTH_HOME",
            "CODEX_AUTH_ISSUER",
            "CODEX_AUTH_PORT",
            "CODEX_AUTH_PROFILE",
            "CODEX_HOME",
            "PATH",
            "PWD",
            "USERPROFILE",
        ];
        lines.retain(|line| !matches!(*line, "_" | "SHLVL" | "OLDPWD"));
        assert_eq!(lines, [&ours[..], &["hello from PATH"]].concat());
    }

    #[test]
    fn stderr_is_read_while_the_program_runs() {
        let sandbox = Sandbox::new();
        let page = format!("{}/codex/device", sandbox.issuer.url());
        let mut command = shell(
            &sandbox,
            &format!("echo Open >&2; echo {page} >&2; read line"),
        );
        command.stdin(Stdio::piped());
        let mut running = sandbox.start(command);
        running.await_text("Open");
        let shown = running.sign_in();
        assert_eq!(shown.text(), "<title>Enter the code</title>");
        running.write("done\n");
        let output = running.finish();
        output.assert(0, "", "Open\n[ISSUER]/codex/device\n");
    }

    #[test]
    fn a_program_that_a_signal_killed_has_a_negative_code() {
        let sandbox = Sandbox::new();
        for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
            let script = "echo ready >&2; while :; do :; done";
            let mut running = sandbox.start(shell(&sandbox, script));
            running.await_text("ready");
            running.signal(signal);
            running.finish().assert(-signal.as_raw(), "", "ready\n");
        }
    }

    #[test]
    fn a_process_group_ends_as_one() {
        let sandbox = Sandbox::new();
        let mut command = shell(&sandbox, "/bin/sleep 600 & echo ready >&2; wait");
        command.process_group(0);
        let mut running = sandbox.start(command);
        running.await_text("ready");
        running.signal_group(Signal::KILL);
        // It only returns once all processes have closed the pipes, including the sleeper.
        running.finish().assert(-9, "", "ready\n");
    }

    /// Set for the tests that the next test runs and kills.
    const IS_TO_BE_KILLED: &str = "CODEX_AUTH_TEST_IS_TO_BE_KILLED";

    #[test]
    fn a_program_ends_with_the_tests_that_started_it() {
        if std::env::var_os(IS_TO_BE_KILLED).is_some() {
            let sandbox = Sandbox::new();
            let mut running = sandbox.start(shell(&sandbox, "echo $$ >&2; exec /bin/sleep 600"));
            eprintln!("started {}", running.await_line(|_| true));
            running.finish();
            return;
        }
        let name = std::thread::current().name().unwrap().to_owned();
        let mut tests = Command::new(std::env::current_exe().unwrap());
        tests.args(["--exact", &name, "--nocapture"]);
        tests.env(IS_TO_BE_KILLED, "1").stdin(Stdio::null());
        let mut tests = support::process::Running::start(tests, Vec::new);
        let line = tests.await_line(|line| line.starts_with("started "));
        let pid = line.strip_prefix("started ").unwrap().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::test_kill_process(pid).unwrap();
        tests.kill();
        support::process::until("the end of the program", || {
            rustix::process::test_kill_process(pid).err()
        });
    }

    #[test]
    fn a_program_does_not_ignore_what_the_tests_ignore() {
        let name = "harness::with_a_shell::a_program_that_a_signal_killed_has_a_negative_code";
        let script = "trap '' HUP INT QUIT; exec \"$@\"";
        let mut tests = Command::new("/bin/sh");
        tests.args(["-c", script, "sh"]);
        tests.arg(std::env::current_exe().unwrap());
        tests.args(["--exact", name]).stdin(Stdio::null());
        let output = tests.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(
            String::from_utf8(output.stdout)
                .unwrap()
                .contains("1 passed")
        );
    }

    #[test]
    fn a_change_by_another_process_is_awaited() {
        let sandbox = Sandbox::new();
        sandbox.store("default", "{}");
        let script =
            "read line; echo '{\"refreshed\":true}' > new; /bin/mv new codex-auth/default.json";
        let mut command = shell(&sandbox, script);
        command.stdin(Stdio::piped());
        let mut running = sandbox.start(command);
        running.write("go\n");
        let stored = sandbox.await_stored(|login| login["refreshed"] == true);
        assert_eq!(stored, json!({ "refreshed": true }));
        running.finish().assert(0, "", "");
    }

    #[test]
    fn a_terminal_has_a_user_at_the_keyboard() {
        let sandbox = Sandbox::new();
        let script =
            "test -t 0 && test -t 1 && test -t 2 && echo ready && read line && echo got $line";
        let mut terminal = Terminal::of(shell(&sandbox, script), 80);
        terminal.await_text("ready", 1);
        terminal.type_line("pasted");
        let (code, screen) = terminal.finish();
        assert_eq!((code, &*screen), (0, "ready\npasted\ngot pasted\n"));
    }

    #[test]
    fn control_c_interrupts_and_the_width_is_known() {
        if !std::path::Path::new("/usr/bin/setsid").exists() {
            skip("no setsid here");
            return;
        }
        let sandbox = Sandbox::new();
        let script = "trap 'echo interrupted; exit 7' INT; /usr/bin/stty size; while :; do /bin/sleep 1; done";
        let command_line =
            ["/usr/bin/setsid", "--ctty", "/bin/sh", "-c", script].map(OsString::from);
        let mut terminal = Terminal::of(sandbox.command_of(&command_line), 40);
        terminal.await_text("24 40", 1);
        terminal.press("\x03");
        let (code, screen) = terminal.finish();
        assert_eq!(code, 7);
        assert!(screen.contains("interrupted"), "{screen}");
    }
}
