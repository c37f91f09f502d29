//! `token --verify`: asks the backend before printing the token, and replaces a rejected one.

use std::time::Duration;

use serde_json::{Value, json};

use crate::login::SIGNED_IN;
use support::fake_issuer::{Answer, Endpoint, Trouble};
use support::sandbox::{LIFE, Sandbox};

const HOUR: u64 = 3600;
/// Gives the backend as much time as a slow machine may take.
pub const VERIFY: &[&str] = &["token", "--verify", "--timeout", "10m"];

/// A login that is an hour old, so that a rejection of its token is believed.
fn signed_in() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in((LIFE - HOUR).cast_signed(), LIFE);
    sandbox
}

fn requests(sandbox: &Sandbox) -> (usize, usize) {
    let issuer = &sandbox.issuer;
    (
        issuer.count(Endpoint::Usage),
        issuer.count(Endpoint::Refresh),
    )
}

fn newest_token(sandbox: &Sandbox) -> String {
    sandbox.issuer.access_tokens().pop().unwrap()
}

#[test]
fn an_accepted_token_is_printed() {
    let sandbox = signed_in();
    let output = sandbox.run(VERIFY);
    output.assert(0, "[TOKEN]\n", "");
    assert_eq!(requests(&sandbox), (1, 0));
}

/// The fake backend refuses requests that lack these headers, or have them needlessly.
#[test]
fn an_account_of_fedramp_or_of_a_region_has_its_headers_everywhere() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| {
        let claims = &mut its.account.claims;
        claims.insert("chatgpt_account_is_fedramp".to_owned(), json!(true));
        claims.insert("chatgpt_data_residency".to_owned(), json!("eu"));
    });
    sandbox.plant_expiring_in((LIFE - HOUR).cast_signed(), LIFE);
    sandbox
            .run(&["token", "--verify", "--timeout", "10m", "--format", "headers"])
            .assert(
                0,
                "Authorization: Bearer [TOKEN]\nChatGPT-Account-Id: account-1\nx-openai-internal-codex-residency: eu\nX-OpenAI-Fedramp: true\n",
                "",
            );
    let setup = sandbox.run(&["setup", "codex"]).stdout;
    assert!(setup.contains(r#""X-OpenAI-Fedramp" = "true""#), "{setup}");
}

/// Another token would not help.
#[test]
fn a_401_about_the_region_is_inconclusive() {
    let sandbox = signed_in();
    let region =
        json!({ "error": { "code": "unauthorized", "message": "Not available in this region." } });
    let refusal = Trouble::Answer(Answer::json(401, &region));
    sandbox.issuer.plan(Endpoint::Usage, refusal);
    sandbox.run(&["token", "--verify", "--timeout", "10m"]).assert(
            0,
            "[TOKEN]\n",
            "codex-auth: warning: could not check the token with the backend: Not available in this region. (unauthorized, \
             status 401)\n",
        );
    assert_eq!(requests(&sandbox), (1, 0));
}

#[test]
fn without_the_option_the_backend_is_not_asked() {
    let sandbox = signed_in();
    sandbox.issuer.reject_access_tokens();
    sandbox.run(&["token"]).assert(0, "[TOKEN]\n", "");
    assert_eq!(requests(&sandbox), (0, 0));
}

#[test]
fn a_rejected_token_is_refreshed_once_and_the_new_one_printed() {
    let sandbox = signed_in();
    sandbox.issuer.reject_access_tokens();
    let output = sandbox.run(&[VERIFY, &["--format", "headers"]].concat());
    output.assert(
        0,
        "Authorization: Bearer [TOKEN]\nChatGPT-Account-Id: account-1\n",
        "",
    );
    assert!(output.stdout.contains(&newest_token(&sandbox)));
    assert_eq!(requests(&sandbox), (1, 1));
    sandbox.run(VERIFY).assert(0, "[TOKEN]\n", "");
    assert_eq!(requests(&sandbox), (2, 1));
}

#[test]
fn of_many_callers_with_a_rejected_token_one_refreshes() {
    let sandbox = signed_in();
    sandbox.issuer.reject_access_tokens();
    let gate = sandbox.issuer.hold(Endpoint::Refresh);
    let callers: Vec<_> = (0..8).map(|_| sandbox.spawn(VERIFY)).collect();
    // Until the refresh is answered, all of them find the old token.
    sandbox.issuer.await_requests(Endpoint::Usage, 8);
    gate.open();
    for caller in callers {
        let output = caller.finish();
        output.assert(0, "[TOKEN]\n", "");
        assert_eq!(output.line(), newest_token(&sandbox));
    }
    assert_eq!(requests(&sandbox), (8, 1));
}

#[test]
fn a_caller_whose_token_was_refreshed_while_it_asked_takes_the_new_one() {
    let sandbox = signed_in();
    sandbox.issuer.reject_access_tokens();
    let gate = sandbox.issuer.hold(Endpoint::Usage);
    let first = sandbox.spawn(VERIFY);
    sandbox.issuer.await_requests(Endpoint::Usage, 1);
    let second = sandbox.run(VERIFY);
    gate.open();
    let first = first.finish();
    first.assert(0, "[TOKEN]\n", "");
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(requests(&sandbox), (2, 1));
}

#[test]
fn an_inconclusive_answer_is_a_warning() {
    let sandbox = signed_in();
    for (trouble, words) in [
        (
            Trouble::status(403),
            "unexpected response from the backend (status 403)",
        ),
        (
            Trouble::status(429),
            "too many requests to the backend (status 429)",
        ),
        (
            Trouble::error(500, "oops"),
            "planned by the test (oops, status 500)",
        ),
        (
            Trouble::redirect("/elsewhere"),
            "the backend redirected the request (captive portal? sign in to the network with a browser) (status 302)",
        ),
        (
            Trouble::DropBefore,
            "127.0.0.1: connection closed before the response was complete",
        ),
    ] {
        sandbox.issuer.plan(Endpoint::Usage, trouble);
        let words =
            format!("codex-auth: warning: could not check the token with the backend: {words}\n");
        sandbox.run(VERIFY).assert(0, "[TOKEN]\n", &words);
    }
    assert_eq!(requests(&sandbox), (5, 0));
}

#[test]
fn a_backend_that_is_silent_is_a_warning() {
    let sandbox = signed_in();
    let gate = sandbox.issuer.gate();
    sandbox.issuer.plan(Endpoint::Usage, Trouble::Hold(gate));
    sandbox.run(&["token", "--verify"]).assert(
        0,
        "[TOKEN]\n",
        "codex-auth: warning: could not check the token with the backend: 127.0.0.1: request timed out after 1.5 s\n",
    );
}

#[test]
fn an_unreachable_backend_is_a_warning() {
    let mut sandbox = signed_in();
    // Nothing listens on a port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    sandbox.set("CODEX_AUTH_CHATGPT_URL", url);
    sandbox.run(VERIFY).assert(
        0,
        "[TOKEN]\n",
        "codex-auth: warning: could not check the token with the backend: 127.0.0.1: connection refused\n",
    );
}

#[test]
fn a_new_token_that_is_rejected_is_not_printed_and_the_next_call_refreshes() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    sandbox.issuer.reject_access_tokens();
    sandbox.run(VERIFY).assert(
        75,
        "",
        "codex-auth: the backend rejects the token: it was received just now: try again\n",
    );
    assert_eq!(requests(&sandbox), (1, 0));
    let output = sandbox.run(VERIFY);
    output.assert(0, "[TOKEN]\n", "");
    assert_eq!(output.line(), newest_token(&sandbox));
    assert_eq!(requests(&sandbox), (1, 1));
}

/// Moves the stored times of an earlier rejection and of the last refresh back.
fn let_pass(sandbox: &Sandbox, seconds: u64) {
    let mut stored = sandbox.stored();
    let back = |value: &Value| {
        let time = humantime::parse_rfc3339(value.as_str().unwrap()).unwrap();
        json!(humantime::format_rfc3339_micros(time - Duration::from_secs(seconds)).to_string())
    };
    stored["last_refresh"] = back(&stored["last_refresh"]);
    if stored["rejected_at"].is_string() {
        stored["rejected_at"] = back(&stored["rejected_at"]);
    }
    stored["rejection_backoff"]["until"] = back(&stored["rejection_backoff"]["until"]);
    sandbox.store("default", &stored.to_string());
}

#[test]
fn a_backend_that_rejects_every_token_costs_ever_fewer_refreshes() {
    let sandbox = signed_in();
    let rejected = Trouble::error(401, "token_revoked");
    sandbox.issuer.plan_always(Endpoint::Usage, rejected);
    sandbox.run(VERIFY).assert(0, "[TOKEN]\n", "");
    let words = "codex-auth: the backend rejects the token: a refresh did not help, and the next one is in [..]\n";
    for minutes in [1, 2, 4] {
        for _ in 0..3 {
            sandbox.run(VERIFY).assert(75, "", words);
        }
        let_pass(&sandbox, 60 * minutes - 5);
        sandbox.run(VERIFY).assert(75, "", words);
        let_pass(&sandbox, 6);
        let output = sandbox.run(VERIFY);
        output.assert(0, "[TOKEN]\n", "");
        assert_eq!(output.line(), newest_token(&sandbox));
    }
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 4);
    // An accepted token ends it.
    sandbox.issuer.end_plans(Endpoint::Usage);
    sandbox.run(VERIFY).assert(0, "[TOKEN]\n", "");
    assert!(sandbox.stored()["rejection_backoff"].is_null());
}

#[test]
fn a_rejected_token_is_not_printed_if_it_cannot_be_replaced_now() {
    let sandbox = signed_in();
    sandbox.issuer.reject_access_tokens();
    sandbox
        .issuer
        .plan(Endpoint::Refresh, Trouble::retry_after(429, "3600"));
    for _ in 0..5 {
        sandbox.run(VERIFY).assert(
            75,
            "",
            "codex-auth: the backend rejects the token: could not refresh the token: too many requests to the issuer (status 429)\n",
        );
    }
    assert_eq!(requests(&sandbox), (1, 1), "five callers cost two requests");
}

#[test]
fn a_rejected_token_of_a_revoked_login_asks_for_a_login() {
    let sandbox = signed_in();
    sandbox.issuer.reject_access_tokens();
    sandbox.issuer.revoke_logins();
    for _ in 0..5 {
        sandbox.run(VERIFY).assert(
            4,
            "",
            "codex-auth: the backend rejects the token: the issuer refused to refresh the token: [..]: run codex-auth login\n",
        );
    }
    assert_eq!(requests(&sandbox), (1, 1), "five callers cost two requests");
}

#[test]
fn a_new_login_forgets_that_the_old_token_was_rejected() {
    let sandbox = signed_in();
    sandbox.issuer.reject_access_tokens();
    sandbox.issuer.revoke_logins();
    sandbox.run(VERIFY).assert(4, "", "codex-auth: the backend rejects the token: the issuer refused to refresh the token: [..]: run codex-auth login\n");
    assert!(sandbox.stored()["rejected_at"].is_string());
    let mut login = sandbox.spawn(&["login", "--no-browser"]);
    login.sign_in();
    login.finish().assert(0, "", SIGNED_IN);
    sandbox.run(VERIFY).assert(0, "[TOKEN]\n", "");
    assert!(sandbox.stored()["rejected_at"].is_null());
}

#[test]
fn a_slow_refresh_is_awaited_no_longer_than_its_limit() {
    if support::sandbox::callers_stay() {
        return;
    }
    let sandbox = signed_in();
    sandbox.issuer.reject_access_tokens();
    // The rejection is known already, so the backend is not asked.
    let mut stored = sandbox.stored();
    let now = humantime::format_rfc3339_micros(std::time::SystemTime::now());
    stored["rejected_at"] = json!(now.to_string());
    sandbox.store("default", &stored.to_string());
    let gate = sandbox.issuer.hold(Endpoint::Refresh);
    sandbox.run(&["token", "--verify", "--timeout", "1s"]).assert(
        75,
        "",
        "codex-auth: the backend rejects the token: could not refresh the token within 1 second: the refresh continues, try again later\n",
    );
    gate.open();
    sandbox.await_stored(|newer| newer["last_refresh"] != stored["last_refresh"]);
    sandbox.run(VERIFY).assert(0, "[TOKEN]\n", "");
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 1);
}

#[test]
fn a_refresh_forgets_that_the_old_token_was_rejected() {
    let sandbox = signed_in();
    sandbox.issuer.reject_access_tokens();
    sandbox
        .issuer
        .plan(Endpoint::Refresh, Trouble::retry_after(429, "3600"));
    sandbox.run(VERIFY).assert(75, "", "codex-auth: the backend rejects the token: could not refresh the token: [..] (status 429)\n");
    let mut stored = sandbox.stored();
    assert!(stored["rejected_at"].is_string());
    // The pause is over.
    stored.as_object_mut().unwrap().remove("backoff");
    sandbox.store("default", &stored.to_string());
    for _ in 0..2 {
        let output = sandbox.run(VERIFY);
        output.assert(0, "[TOKEN]\n", "");
        assert_eq!(output.line(), newest_token(&sandbox));
    }
    assert_eq!(requests(&sandbox), (2, 2));
}
