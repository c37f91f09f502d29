//! Properties that hold for any input from outside: files, tokens, responses, redirects, requests, variables. Each target
//! reads arbitrary bytes without a panic, a hang or unlimited output, and asserts something that is always true.
//!
//! The same targets run with random inputs (`cargo test --test properties`, longer with `PROPTEST_CASES`) and with inputs
//! that a fuzzer finds (`tests/fuzz`).

#![allow(
    clippy::disallowed_methods,
    reason = "tests make the files and variables that they need"
)]
#![cfg_attr(fuzzing, no_main)]

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use codex_auth::credentials::{Credentials, Revoked, Source, TokenResponse};
use codex_auth::issuer::response;
use codex_auth::login::redirect::{self, AuthorizationResponse, Expectation, Navigation};
use codex_auth::net::{http, proxy};
use codex_auth::text;
use codex_auth::time::{self, time_at};
use codex_auth::url::Url;

const NOW: u64 = 2_000_000_000;
const ISSUER: &str = "https://issuer.example";
const CLIENT: &str = "client";
const STATE: &str = "right-state";
const PORT: u16 = 1455;
const DAY: Duration = Duration::from_hours(24);
/// The maximum length of cleaned text, in characters.
const LONGEST_PRINTABLE: usize = 301;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = match env!("CARGO_BIN_NAME") {
        "stored_file" => stored_file,
        "claims" => claims,
        "token_response" => token_response,
        "command_output" => command_output,
        "error_body" => error_body,
        "authorization_response" => authorization_response,
        "pasted" => pasted,
        "callback_request" => callback_request,
        "duration" => duration,
        "no_proxy" => no_proxy,
        "retry_after" => retry_after,
        _ => panic!("no such target"),
    };
    target(bytes);
});

fn now() -> SystemTime {
    time_at(NOW)
}

/// Whether a text fits into an HTTP header and on one line.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_clean(text: &str) -> bool {
    text.chars().count() <= LONGEST_PRINTABLE && !text.chars().any(char::is_control)
}

fn assert_tokens(credentials: &Credentials) {
    assert!(credentials.access_token().is_ok_and(is_token) || credentials.access_token().is_err());
    assert!(
        credentials
            .tokens
            .refresh_token
            .as_deref()
            .is_none_or(is_token)
    );
    assert!(credentials.account_id().is_none_or(|id| is_token(&id)));
    assert!(
        credentials
            .account()
            .residency
            .is_none_or(|region| is_token(&region))
    );
}

fn assert_shown(credentials: &Credentials) {
    assert!(
        credentials
            .account()
            .email
            .is_none_or(|email| is_clean(&email))
    );
    assert!(credentials.plan().is_none_or(|plan| is_clean(&plan)));
    assert!(
        credentials
            .revoked
            .as_ref()
            .is_none_or(|revoked| is_clean(&revoked.reason))
    );
    assert!(
        credentials
            .backoff
            .as_ref()
            .is_none_or(|backoff| is_clean(&backoff.reason))
    );
    assert!(
        credentials
            .backoff
            .as_ref()
            .is_none_or(|backoff| !backoff.holds(backoff.until))
    );
}

/// A stored file: what is read from it is printable, and stays the same when written and read again.
fn stored_file(bytes: &[u8]) {
    let mut credentials = match Credentials::parse(bytes.to_vec()) {
        Ok(credentials) => credentials,
        Err(error) => return assert!(is_clean(&format!("{error:#}"))),
    };
    assert_tokens(&credentials);
    assert_shown(&credentials);
    let written = credentials.to_json().unwrap_or_default();
    let again =
        Credentials::parse(written.clone()).map(|again| again.to_json().unwrap_or_default());
    assert!(
        again.is_ok_and(|again| again == written),
        "it changed when written and read again"
    );
    credentials.revoked = Some(Revoked {
        reason: "no".to_owned(),
        at: now(),
    });
    let answer = json!({"access_token": "new", "expires_in": 60});
    let response = TokenResponse::parse(&answer, None, now());
    assert!(credentials.update(&response, now()).is_ok());
    assert!(credentials.access_token().is_ok_and(|token| token == "new"));
    assert_eq!(credentials.expires_at, Some(NOW + 60));
    assert!(credentials.revoked.is_none());
}

/// The claims as given, and then with all but one of the checked claims corrected, to reach every check.
fn turns(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut turns = vec![bytes.to_vec()];
    if let Ok(Value::Object(came)) = serde_json::from_slice(bytes) {
        let right = [
            ("iss", json!(ISSUER)),
            ("aud", json!(CLIENT)),
            ("exp", json!(NOW + 1)),
        ];
        for kept in ["iss", "aud", "exp"] {
            let others = right.iter().filter(|(name, _)| *name != kept);
            let others = others.map(|(name, value)| ((*name).to_owned(), value.clone()));
            let claims = came.clone().into_iter().chain(others);
            turns.push(claims.collect::<Value>().to_string().into_bytes());
        }
    }
    turns
}

/// The claims of a token: an accepted ID token must be for this client.
fn claims(bytes: &[u8]) {
    for payload in turns(bytes) {
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(&payload));
        let answer = json!({"access_token": token, "refresh_token": "r", "id_token": token});
        let response = TokenResponse::parse(&answer, None, now());
        assert!(response.tokens.access_token.is_some());
        assert!(response.tokens.account_id.as_deref().is_none_or(is_token));
        let mut credentials = Credentials::new(Source::Issuer);
        assert!(credentials.update(&response, now()).is_ok());
        assert_tokens(&credentials);
        assert_shown(&credentials);
        if response.check_login(ISSUER, CLIENT, now()).is_ok() {
            assert_for_us(&serde_json::from_slice(&payload).unwrap_or_default());
        }
    }
}

fn assert_for_us(claims: &Value) {
    let issuer = claims["iss"].as_str().unwrap_or_default();
    assert_eq!(issuer.trim_end_matches('/'), ISSUER);
    let audience = &claims["aud"];
    let listed = audience
        .as_array()
        .is_some_and(|all| all.contains(&json!(CLIENT)));
    assert!(audience == CLIENT || listed, "it is for {audience}");
    let end = &claims["exp"];
    let end = end.as_f64().or_else(|| end.as_str()?.parse().ok());
    assert!(
        end.is_some_and(|end| end > f64::from(2_000_000_000_u32)),
        "it expired at {end:?}"
    );
}

/// The output of a command: gives credentials that are valid now and have no refresh token.
fn command_output(bytes: &[u8]) {
    let Ok(backend) = Url::parse("https://chatgpt.com/backend-api") else {
        unreachable!("it is a URL");
    };
    let response = match TokenResponse::from_command(bytes, &backend, now()) {
        Ok(response) => response,
        Err(error) => return assert!(is_clean(&error.to_string())),
    };
    let source = Source::Command(vec!["remote".to_owned()]);
    let mut credentials = Credentials::new(source);
    assert!(credentials.update(&response, now()).is_ok());
    credentials.choose_refresh_window(0.5);
    assert_tokens(&credentials);
    assert_shown(&credentials);
    assert!(
        credentials.access_token().is_ok() && credentials.tokens.refresh_token.as_deref().is_none()
    );
    assert!(credentials.is_valid(now()));
    assert!(!credentials.is_prolonged_by(&response, now()));
    let host = credentials.base_url(&backend).host.clone();
    assert!(
        host == "chatgpt.com" || host.ends_with(".chatgpt.com"),
        "{host}"
    );
}

/// A token response: gives credentials only if it has both tokens, and they never expire in the past.
fn token_response(bytes: &[u8]) {
    let response = TokenResponse::parse(&response::value(bytes), None, now());
    let tokens = &response.tokens;
    let has_both = tokens.access_token.is_some() && tokens.refresh_token.is_some();
    let tokens = [
        &tokens.access_token,
        &tokens.refresh_token,
        &tokens.id_token,
    ];
    assert!(tokens.into_iter().flatten().all(|token| is_token(token)));
    if response.check_login(ISSUER, CLIENT, now()).is_ok() {
        assert!(has_both);
        let mut credentials = Credentials::new(Source::Issuer);
        assert!(credentials.update(&response, now()).is_ok());
        assert_tokens(&credentials);
        assert!(credentials.expires_in.is_some());
        // The token's own claims may say that it has expired already.
        assert!(credentials.expires_at.is_some_and(|end| end >= NOW));
    }
}

/// An error body: what is shown of it fits on one line, and redacting it twice changes nothing.
fn error_body(bytes: &[u8]) {
    for text in response::error_of(bytes).into_iter().flatten() {
        for clean in [text::printable, text::redact] {
            let cleaned = clean(&text);
            assert!(is_clean(&cleaned), "{cleaned:?}");
            assert_eq!(clean(&cleaned), cleaned);
        }
    }
}

fn expectation() -> Expectation {
    let Ok(issuer) = Url::parse(ISSUER) else {
        panic!("{ISSUER} is not a URL");
    };
    let state = STATE.to_owned();
    Expectation { state, issuer }
}

/// The only value of a parameter, parsed independently.
fn only(query: &str, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut values = pairs.filter(|(known, _)| known == name);
    let value = values.next()?.1.into_owned();
    assert!(values.next().is_none(), "{name} occurs twice");
    Some(value)
}

fn assert_sound(response: &AuthorizationResponse) {
    let (text, limit) = match response {
        AuthorizationResponse::Code(code) => (code, usize::MAX),
        AuthorizationResponse::Error(reason) => (reason, 2 * LONGEST_PRINTABLE + 3),
    };
    assert!(text.chars().count() <= limit, "{text}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// The query of a redirect: an accepted one has the right state, the right issuer or none, and no duplicates.
fn authorization_response(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for query in [text.to_string(), format!("state={STATE}&{text}")] {
        if let Ok(response) = redirect::parse_query(&query, &expectation()) {
            assert_sound(&response);
            assert_eq!(only(&query, "state").as_deref(), Some(STATE));
            let issuer = only(&query, "iss").filter(|issuer| !issuer.is_empty());
            assert!(issuer.is_none_or(|issuer| issuer.trim_end_matches('/') == ISSUER));
        }
    }
}

/// Pasted text: an accepted one contains the state; errors never repeat the text.
fn pasted(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in [
        text.to_string(),
        format!("{text}#{STATE}"),
        format!("{text}&state={STATE}"),
        format!("“{text}&state={STATE}”)."),
    ] {
        match redirect::parse_pasted(&line, &expectation()) {
            Ok(response) => {
                assert_sound(&response);
                let decoded = form_urlencoded::parse(line.as_bytes()).flat_map(|(k, v)| [k, v]);
                let joined: String = decoded.collect();
                assert!(line.contains(STATE) || joined.contains(STATE), "{line}");
            }
            Err(reason) => assert!(reason.starts_with("it ")),
        }
    }
}

/// A request to the callback: only a GET of the redirect URI is accepted.
fn callback_request(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (target, headers) = text.split_once('\n').unwrap_or((&text, ""));
    let whole = format!(
        "GET /auth/callback?state={STATE}&code={target} HTTP/1.1\r\nHost: localhost:{PORT}\r\n{headers}\r\n\r\n"
    );
    let posted = whole.replacen("GET", "POST", 1);
    for head in [bytes, whole.as_bytes(), posted.as_bytes()] {
        match redirect::classify(head, PORT, &expectation()) {
            Ok(Navigation::Redirect(response)) => {
                assert_sound(&response);
                let head = String::from_utf8_lossy(head);
                assert!(
                    head.trim_start().starts_with("GET /auth/callback?"),
                    "{head}"
                );
            }
            Ok(Navigation::Link(_)) => assert!(String::from_utf8_lossy(head).contains("/sign-in/")),
            Err(_) => {}
        }
    }
}

/// A duration: at most ten years, and unchanged when written in seconds and parsed again.
fn duration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match time::duration(&text) {
        Ok(read) => {
            assert!(read <= 3650 * DAY);
            assert_eq!(time::duration(&format!("{}s", read.as_secs())), Ok(read));
        }
        Err(text) => assert!(is_clean(&text)),
    }
}

/// `NO_PROXY` and a host, separated by a NUL: case does not matter, more entries never match less, and `*` matches
/// everything.
fn no_proxy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (list, host) = text.split_once('\0').unwrap_or((&text, "issuer.example"));
    let covers = |list: &str, host: &str| proxy::is_listed(list, host, 443);
    let covered = covers(list, host);
    assert_eq!(
        covers(&list.to_ascii_uppercase(), &host.to_ascii_uppercase()),
        covered
    );
    assert!(!covered || covers(&format!("{list},other.example"), host));
    assert!(covers(&format!("{list},*"), host));
    assert!(!covers("", host));
}

/// `Retry-After`: at most a day, and a number means that many seconds.
fn retry_after(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let wait = http::retry_after(&text, now());
    assert!(wait.is_none_or(|wait| wait <= DAY));
    if let Ok(seconds) = text.parse::<u64>() {
        assert_eq!(wait, Some(Duration::from_secs(seconds).min(DAY)));
    }
}

#[cfg(not(fuzzing))]
mod at_random {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    /// Members with a meaning in a stored file, in claims, in a token response or in an error.
    const STORED: &[&str] = &[
        "version",
        "auth_mode",
        "issuer",
        "client_id",
        "tokens",
        "access_token",
        "refresh_token",
        "id_token",
        "account_id",
        "expires_in",
        "expires_at",
        "last_refresh",
        "account",
        "revoked",
        "backoff",
        "rejected_at",
        "rejection_backoff",
        "login_required",
        "reason",
        "at",
        "until",
        "attempts",
        "OPENAI_API_KEY",
    ];
    const CLAIMS: &[&str] = &[
        "iss",
        "aud",
        "exp",
        "iat",
        "email",
        "https://api.openai.com/auth",
        "https://api.openai.com/profile",
        "chatgpt_account_id",
        "chatgpt_plan_type",
        "chatgpt_data_residency",
    ];
    const ANSWER: &[&str] = &["access_token", "refresh_token", "id_token", "expires_in"];
    const OUTPUT: &[&str] = &[
        "token",
        "access_token",
        "refresh_token",
        "expires_in",
        "expires_at_epoch",
        "account_id",
        "email",
        "plan",
        "residency",
        "fedramp",
    ];
    const ERROR: &[&str] = &[
        "error",
        "code",
        "message",
        "type",
        "detail",
        "error_description",
    ];
    /// Values and fragments with a meaning somewhere.
    const PIECES: &[&str] = &[
        "",
        ISSUER,
        CLIENT,
        "chatgpt",
        "apikey",
        "e30.eyJleHAiOjF9.c2ln",
        "2026-01-01T00:00:00Z",
        "a b",
        "\0",
        "\x1b[31m",
        "\u{202e}",
        "state=",
        STATE,
        "code=",
        "error=",
        "error_description=",
        "iss=",
        "&",
        "=",
        "#",
        "?",
        "%00",
        "%",
        "%2B",
        "http://localhost:1455/auth/callback",
        "https%3A%2F%2Fissuer.example",
        "<",
        "\"",
        "&amp;",
        "\x1b[200~",
        "201~",
        "\u{200b}",
        ")",
        "GET ",
        "POST ",
        "/auth/callback",
        "/sign-in/",
        " HTTP/1.1",
        "\r\n",
        "\n",
        "Host: localhost:1455",
        "Host: evil.example",
        "Origin: null",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: image",
        "0",
        "9",
        "18446744073709551616",
        "s",
        "m",
        "h",
        "d",
        "-",
        ".",
        "*",
        ",",
        ":443",
        "10.0.0.0/8",
        "10.1.2.3",
        "[::1]",
        "issuer.example",
        ".example",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ];

    /// Fragments in any order, with anything in between.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            6 => select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => any::<u64>().prop_map(|number| number.to_string().into_bytes()),
            1 => any::<u32>().prop_map(|number| number.to_string().into_bytes()),
            1 => any::<String>().prop_map(String::into_bytes),
            1 => vec(any::<u8>(), 0..16),
        ];
        vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// The parameters of a redirect; sometimes any text.
    fn query() -> impl Strategy<Value = Vec<u8>> {
        let name = select(
            &[
                "state",
                "code",
                "error",
                "error_description",
                "iss",
                "other",
            ][..],
        );
        let pair = (name, select(PIECES)).prop_map(|(name, value)| format!("{name}={value}"));
        let usual = vec(pair, 0..5).prop_map(|pairs| pairs.join("&").into_bytes());
        prop_oneof![usual, text()]
    }

    /// JSON objects whose members have these names, at any depth; sometimes any text.
    fn document(names: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            1 => Just(Value::Null),
            1 => any::<bool>().prop_map(Value::from),
            1 => any::<i64>().prop_map(Value::from),
            1 => (NOW - 100..NOW + 100).prop_map(Value::from),
            1 => any::<f64>().prop_map(Value::from),
            9 => select(PIECES).prop_map(Value::from),
            1 => any::<String>().prop_map(Value::from),
        ];
        let object = move |value: BoxedStrategy<Value>| {
            btree_map(select(names).prop_map(str::to_owned), value, 0..8).prop_map(Value::from_iter)
        };
        let value = leaf.prop_recursive(3, 32, 8, move |inner| {
            prop_oneof![
                1 => vec(inner.clone(), 0..4).prop_map(Value::from),
                4 => object(inner.boxed()),
            ]
        });
        let document = object(value.boxed()).prop_map(|value| value.to_string().into_bytes());
        prop_oneof![9 => document, 1 => text()]
    }

    /// Runs as many cases as `PROPTEST_CASES` says; the default is 256.
    #[track_caller]
    fn hold(target: fn(&[u8]), inputs: impl Strategy<Value = Vec<u8>>) {
        let mut runner = TestRunner::new(Config {
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&inputs, |bytes| {
            target(&bytes);
            Ok(())
        });
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    #[test]
    fn a_stored_file_gives_nothing_that_could_not_be_printed() {
        hold(stored_file, document(STORED));
    }

    #[test]
    fn an_id_token_that_is_accepted_is_for_us() {
        hold(claims, document(CLAIMS));
    }

    #[test]
    fn a_token_response_makes_credentials_only_with_both_tokens() {
        hold(token_response, document(ANSWER));
    }

    #[test]
    fn the_output_of_a_command_makes_credentials_without_a_refresh_token() {
        hold(command_output, document(OUTPUT));
    }

    #[test]
    fn an_error_fits_on_one_line() {
        hold(error_body, document(ERROR));
    }

    #[test]
    fn a_redirect_that_counts_has_the_right_state() {
        hold(authorization_response, query());
    }

    #[test]
    fn a_paste_that_counts_has_the_right_state() {
        hold(pasted, query());
    }

    #[test]
    fn only_a_get_of_the_redirect_uri_counts() {
        hold(callback_request, query());
    }

    #[test]
    fn a_duration_reads_as_itself() {
        let unit = select(&["s", "m", "h", "d", ""][..]);
        let usual = (0..100_000_u64, unit)
            .prop_map(|(number, unit)| format!("{number}{unit}").into_bytes());
        hold(duration, prop_oneof![usual, text()]);
    }

    #[test]
    fn more_entries_of_no_proxy_cover_no_less() {
        let entry = select(
            &[
                "issuer.example",
                ".EXAMPLE",
                "*.example",
                "other",
                "*:443",
                "10.0.0.0/8",
                "[::1]:443",
            ][..],
        );
        let usual = vec(entry, 0..4).prop_map(|entries| entries.join(",").into_bytes());
        hold(no_proxy, prop_oneof![usual, text()]);
    }

    #[test]
    fn a_retry_after_is_a_day_at_most() {
        hold(retry_after, text());
    }
}
