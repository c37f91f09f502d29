//! Logins with an access token from an admin console (`at-…`): it is read from stdin, printed as it is, and never
//! refreshed.

use serde_json::{Value, json};

use crate::setup::ENVIRONMENT;
use support::fake_issuer::{Endpoint, Trouble};
use support::process::Output;
use support::sandbox::{LIFE, Sandbox};

const NEVER: &str =
    "an access token from an admin console is never refreshed: create a new one, and run";
const TOKEN: &str = "[TOKEN]\n";
const SIGNED_IN: &str = "Signed in as someone@mail.example (Plus)\n";

/// Signs in to a profile with a new access token, and returns the token.
#[track_caller]
fn sign_in(sandbox: &Sandbox, profile: &str) -> String {
    let token = sandbox.issuer.issue_personal_token();
    let arguments = ["--profile", profile, "login", "--with-access-token"];
    let output = sandbox.run_with_stdin(&arguments, &format!("{token}\n"));
    output.assert(0, "", SIGNED_IN);
    token
}

fn signed_in() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let token = sign_in(&sandbox, "default");
    (sandbox, token)
}

fn login_with(sandbox: &Sandbox, text: &str) -> Output {
    sandbox.run_with_stdin(&["login", "--with-access-token"], text)
}

/// A `FedRAMP` workspace requires a separate header.
fn in_fedramp(sandbox: &Sandbox) {
    sandbox.issuer.set(|its| {
        let claims = json!({ "chatgpt_account_is_fedramp": true });
        its.account.claims.clone_from(claims.as_object().unwrap());
    });
}

#[test]
fn the_token_is_checked_and_then_printed_as_it_is() {
    let (sandbox, token) = signed_in();
    let printed = sandbox.run(&["token"]);
    printed.assert(0, TOKEN, "");
    assert_eq!(printed.line(), token);
    sandbox.run(&["account-id"]).assert(0, "account-1\n", "");
    let asked = sandbox.issuer.requests_to(Endpoint::Whoami);
    let bearer = format!("Bearer {token}");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), Some(&*bearer));
    assert_eq!(sandbox.issuer.count(Endpoint::AccountsCheck), 1);
    assert_eq!(sandbox.issuer.requests().len(), 2);
    let stored = sandbox.stored();
    assert_eq!(stored["auth_mode"], "personalAccessToken");
    assert_eq!(stored["tokens"]["refresh_token"], Value::Null);
}

#[test]
fn an_invalid_token_is_refused_and_not_quoted() {
    let sandbox = Sandbox::new();
    let long = "a".repeat((64 << 10) + 1);
    for (text, found) in [
        ("", "nothing"),
        (" \r\n\t", "nothing"),
        ("at-one\nat-two\n", "one with invalid characters"),
        ("at-one two", "one with invalid characters"),
        ("at-\u{fc}", "one with invalid characters"),
        ("at-\x1b[31m", "one with invalid characters"),
        (&*long, "more than 64 KiB"),
        ("ghp_0123456789", "a GitHub token"),
        ("sk-proj-0123456789", "an API key"),
        ("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "a JWT"),
        ("hunter2", "other text"),
    ] {
        let stderr = format!(
            "codex-auth: could not sign in: expected an access token (at-…) on stdin, found {found}\n"
        );
        login_with(&sandbox, text).assert(2, "", &stderr);
    }
    assert!(sandbox.issuer.requests().is_empty());
    assert!(!sandbox.file("default").exists());
}

#[test]
fn blanks_and_line_ends_around_the_token_do_not_matter() {
    let sandbox = Sandbox::new();
    let token = sandbox.issuer.issue_personal_token();
    login_with(&sandbox, &format!(" {token}\r\n\n")).assert(0, "", SIGNED_IN);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

#[test]
fn a_check_that_fails_leaves_the_earlier_login() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant();
    login_with(&sandbox, "at-of-nobody").assert(
        1,
        "",
        "codex-auth: could not sign in: the issuer rejected the access token: The access token is not accepted. \
         (invalid_token, status 401)\n",
    );
    for trouble in [Trouble::status(503), Trouble::DropBefore] {
        sandbox.issuer.plan(Endpoint::Whoami, trouble);
        let token = sandbox.issuer.issue_personal_token();
        login_with(&sandbox, &token).assert(75, "", "codex-auth: could not sign in: [..]\n");
    }
    assert_eq!(sandbox.stored(), planted);
    assert!(sandbox.can_refresh());
}

#[test]
fn a_login_that_could_not_be_stored_reads_no_token() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.file("default")).unwrap();
    // An empty token would be a usage error.
    sandbox.run(&["login", "--with-access-token"]).assert(
        1,
        "",
        "codex-auth: could not replace [HOME]/default.json: [..]\n",
    );
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn it_replaces_and_revokes_an_earlier_login() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant();
    sign_in(&sandbox, "default");
    let old = planted["tokens"]["refresh_token"].as_str().unwrap();
    assert_eq!(sandbox.issuer.revoked(), [old]);
}

#[test]
fn an_access_token_that_is_replaced_is_for_the_admin_to_revoke() {
    let (sandbox, token) = signed_in();
    login_with(&sandbox, &token).assert(0, "", SIGNED_IN);
    let another = sandbox.issuer.issue_personal_token();
    login_with(&sandbox, &another).assert(
        0,
        "",
        &format!(
            "{SIGNED_IN}The earlier login was not revoked: revoke the access token in the workspace's admin console.\n"
        ),
    );
    assert!(sandbox.issuer.revoked().is_empty());
}

#[test]
fn only_a_workspace_that_was_named_is_accepted() {
    let sandbox = Sandbox::new();
    let token = sandbox.issuer.issue_personal_token();
    let login = |workspace| {
        let arguments = ["login", "--with-access-token", "--workspace", workspace];
        sandbox.run_with_stdin(&arguments, &token)
    };
    login("other,another").assert(
        1,
        "",
        "codex-auth: could not sign in: the login is for workspace account-1, but only other or another is \
         accepted\n",
    );
    assert!(!sandbox.file("default").exists());
    login("other,account-1").assert(0, "", SIGNED_IN);
}

#[test]
fn it_cannot_be_combined_with_another_way_to_sign_in() {
    let sandbox = Sandbox::new();
    for other in ["--device-code", "--no-browser"] {
        let output = sandbox.run(&["login", "--with-access-token", other]);
        let stderr = format!(
            "codex-auth: the argument '--with-access-token' cannot be used with '{other}': try codex-auth login --help\n"
        );
        output.assert(2, "", &stderr);
    }
    let output = sandbox.run(&["login", "--with-access-token", "--qr", "--device-code"]);
    assert_eq!((output.code, output.stdout.as_str()), (2, ""));
    // A token is never an argument, which every other user of the machine could read.
    let long = format!("at-{}", "AbC4".repeat(13));
    for token in ["at-1234", &long] {
        let output = sandbox.run(&["login", "--with-access-token", token]);
        output.assert(
            2,
            "",
            "codex-auth: unexpected argument '…' found: try codex-auth login --with-access-token, which reads it from stdin\n",
        );
        let output = sandbox.run(&["login", &format!("--with-access-token={token}")]);
        output.assert(
            2,
            "",
            "codex-auth: unexpected value '…' for '--with-access-token' found; no more were expected[..]\n",
        );
    }
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn every_format_and_exec_have_the_token_and_its_account() {
    let sandbox = Sandbox::new();
    in_fedramp(&sandbox);
    let token = sign_in(&sandbox, "default");
    let print = |format| sandbox.run(&["token", "--format", format]);
    print("headers").assert(
        0,
        "Authorization: Bearer [TOKEN]\nChatGPT-Account-Id: account-1\nX-OpenAI-Fedramp: true\n",
        "",
    );
    print("env").assert(
        0,
        "CODEX_AUTH_TOKEN='[TOKEN]'\nCODEX_AUTH_ACCOUNT_ID='account-1'\nCODEX_AUTH_BASE_URL='[ISSUER]/backend-api'\n",
        "",
    );
    let object: Value = serde_json::from_str(&print("json").stdout).unwrap();
    let expected = json!({
        "version": 1, "token": token, "access_token": token, "token_type": "Bearer", "account_id": "account-1",
        "email": "someone@mail.example", "plan": "plus", "workspace": null, "residency": null, "fedramp": true,
        "base_url": format!("{}/backend-api", sandbox.issuer.url()),
        "headers": {"Authorization": format!("Bearer {token}"), "ChatGPT-Account-Id": "account-1", "X-OpenAI-Fedramp": "true"},
        "expires_at": null, "expires_at_epoch": null, "expires_in": null, "profile": "default",
        "base_url": format!("{}/backend-api", sandbox.issuer.url()),
        "headers": {
            "Authorization": format!("Bearer {token}"), "ChatGPT-Account-Id": "account-1", "X-OpenAI-Fedramp": "true",
        },
    });
    assert_eq!(object, expected);
}

#[cfg(unix)]
#[test]
fn a_command_gets_the_token_and_its_account() {
    let (sandbox, _) = signed_in();
    let script = "echo $CODEX_AUTH_TOKEN $CODEX_AUTH_ACCOUNT_ID";
    let output = sandbox.run(&["exec", "--min-ttl", "1d", "--", "/bin/sh", "-c", script]);
    output.assert(0, "[TOKEN] account-1\n", "");
}

#[test]
fn setup_names_its_account() {
    let sandbox = Sandbox::new();
    in_fedramp(&sandbox);
    sign_in(&sandbox, "default");
    let output = sandbox.run(&["setup", "codex"]);
    output.assert(0, "...\n", ENVIRONMENT);
    for header in [
        r#"ChatGPT-Account-Id" = "account-1""#,
        r#"X-OpenAI-Fedramp" = "true""#,
    ] {
        assert!(output.stdout.contains(header), "{}", output.stdout);
    }
}

#[test]
fn its_expiry_is_unknown() {
    let (sandbox, _) = signed_in();
    for min_ttl in ["0", "1h", "3650d"] {
        sandbox
            .run(&["token", "--min-ttl", min_ttl])
            .assert(0, TOKEN, "");
    }
    sandbox.run(&["status"]).assert(
        0,
        "Signed in as someone@mail.example (Plus)\n  \
           Profile:    default\n  \
           Account ID: account-1\n  \
           Token:      valid until it is revoked, never refreshed\n  \
           Refreshed:  [..] ([..] UTC)\n  \
           File:       [HOME]/default.json\n  \
           Issuer:     [ISSUER]\n",
        "",
    );
    sandbox.run(&["status", "--all"]).assert(
        0,
        "PROFILE  ACCOUNT               PLAN  TOKEN\n\
         default  someone@mail.example  Plus  valid until it is revoked, never refreshed\n",
        "",
    );
    let status = sandbox.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    for (member, value) in [
        ("state", json!("fresh")),
        ("usable", json!(true)),
        ("obstacle", Value::Null),
        ("expires_at", Value::Null),
        ("account_id", json!("account-1")),
    ] {
        assert_eq!(status[member], value, "{member}");
    }
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 0);
}

#[test]
fn it_is_never_refreshed() {
    let sandbox = Sandbox::new();
    for (profile, command) in [
        ("default", "codex-auth login"),
        ("work", "codex-auth --profile work login"),
    ] {
        sign_in(&sandbox, profile);
        let forced = sandbox.run(&["--profile", profile, "token", "--force-refresh"]);
        let stderr = format!("codex-auth: {NEVER} {command} --with-access-token\n");
        forced.assert(4, "", &stderr);
    }
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 0);
}

#[test]
fn a_rejected_token_asks_for_a_new_one() {
    let sandbox = Sandbox::new();
    for (profile, command) in [
        ("default", "codex-auth login"),
        ("work", "codex-auth --profile work login"),
    ] {
        sign_in(&sandbox, profile);
        let verify = [
            "--profile",
            profile,
            "token",
            "--verify",
            "--timeout",
            "10m",
        ];
        sandbox.run(&verify).assert(0, TOKEN, "");
        sandbox.issuer.reject_access_tokens();
        let words = format!("the backend rejects the token: {NEVER} {command} --with-access-token");
        // Freshly received or not, checked now or before: a refresh would not help.
        for _ in 0..2 {
            sandbox
                .run(&verify)
                .assert(4, "", &format!("codex-auth: {words}\n"));
        }
        let status = sandbox.run(&["--profile", profile, "status", "--verify"]);
        let stdout = format!("No token: {words}\n...\n  Backend:    rejects the token\n...\n");
        status.assert(4, &stdout, "");
    }
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 0);
}

#[test]
fn a_backend_that_cannot_be_asked_is_a_warning() {
    let (sandbox, _) = signed_in();
    sandbox.issuer.plan(Endpoint::Usage, Trouble::status(503));
    sandbox
        .run(&["token", "--verify", "--timeout", "10m"])
        .assert(
            0,
            TOKEN,
            "codex-auth: warning: could not check the token with the backend: [..]\n",
        );
}

/// The issuer also accepts a token with claims, but cannot refresh it either.
#[test]
fn a_token_with_a_known_expiry_is_not_printed_after_it() {
    let sandbox = Sandbox::new();
    let store = |left: i64| {
        let mut login = sandbox.plant_expiring_in(left, LIFE);
        login["auth_mode"] = json!("personalAccessToken");
        login["tokens"]
            .as_object_mut()
            .unwrap()
            .remove("refresh_token");
        for member in ["expires_at", "expires_in"] {
            login.as_object_mut().unwrap().remove(member);
        }
        sandbox.store("default", &login.to_string());
    };
    let refused = format!("codex-auth: {NEVER} codex-auth login --with-access-token\n");
    store(60);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox
        .run(&["token", "--min-ttl", "1h"])
        .assert(4, "", &refused);
    store(-60);
    sandbox.run(&["token"]).assert(4, "", &refused);
    assert_eq!(sandbox.run(&["status"]).code, 4);
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn doctor_finds_nothing_wrong_with_it() {
    let (sandbox, _) = signed_in();
    let output = sandbox.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let login = findings
        .iter()
        .find(|finding| finding["check"] == "login")
        .unwrap();
    assert_eq!(
        (&login["level"], &login["found"]),
        (
            &json!("ok"),
            &json!("default: valid until it is revoked, never refreshed")
        )
    );
}

#[test]
fn signing_out_removes_it_and_says_who_can_revoke_it() {
    let (sandbox, _) = signed_in();
    sandbox.run(&["logout"]).assert(
        0,
        "",
        "Signed out (profile default). The login was not revoked: revoke the access token in the \
         workspace's admin console.\n",
    );
    assert!(!sandbox.file("default").exists());
    assert_eq!(sandbox.issuer.count(Endpoint::Revoke), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_does_not_show_what_is_pasted() {
    use crate::terminal::Terminal;
    let sandbox = Sandbox::new();
    let token = sandbox.issuer.issue_personal_token();
    let mut terminal = Terminal::start(&sandbox, &["login", "--with-access-token"], 80);
    terminal.await_text("it is not shown", 1);
    terminal.type_line(&token);
    terminal.await_text("Signed in", 1);
    let (code, screen) = terminal.finish();
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains(&token), "{screen}");
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}
