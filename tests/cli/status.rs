//! `status`: the truth about a login in each of its states, in words and as JSON.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::verify::in_time;
use support::fake_issuer::{Account, Endpoint, Trouble, now};
use support::sandbox::{LIFE, Sandbox};

fn stamp(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// A stored login with a change.
fn planted(left: i64, change: impl Fn(&mut Value)) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut login = sandbox.plant_expiring_in(left, LIFE);
    change(&mut login);
    sandbox.store("default", &login.to_string());
    sandbox
}

fn refused(login: &mut Value) {
    let reason = "It was used before.\n\u{1b}[31m(refresh_token_reused)";
    login["refusal"] = json!({ "reason": reason, "at": stamp(now() - 7200) });
}

fn paused(login: &mut Value) {
    let pause = json!({
        "reason": "the issuer has trouble",
        "attempts": 3,
        "at": stamp(now() - 5),
        "until": stamp(now() + 3030),
    });
    login["pause"] = pause;
}

fn not_renewable(login: &mut Value) {
    login["tokens"]
        .as_object_mut()
        .unwrap()
        .remove("refresh_token");
}

#[track_caller]
fn json_of(sandbox: &Sandbox, arguments: &[&str], code: i32) -> Value {
    let output = sandbox.run(&[&["status", "--json"], arguments].concat());
    let (stdout, stderr) = (&output.stdout, output.stderr.as_str());
    assert_eq!((output.code, stderr), (code, ""), "{stdout}");
    serde_json::from_str(&output.stdout).unwrap()
}

#[track_caller]
fn assert_state(sandbox: &Sandbox, state: &str, usable: bool) {
    let status = json_of(sandbox, &[], if usable { 0 } else { 4 });
    assert_eq!(
        (&status["state"], &status["usable"]),
        (&json!(state), &json!(usable))
    );
}

#[test]
fn nobody_is_signed_in() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(&["status"]);
    output.assert(4, "Not signed in: run codex-auth login\n", "");
    let named = sandbox.run(&["--profile", "work", "status"]);
    named.assert(
        4,
        "Not signed in: run codex-auth --profile work login\n",
        "",
    );
    assert_state(&sandbox, "none", false);
    assert!(!sandbox.home().exists());
}

#[test]
fn a_fresh_login_is_shown_whole() {
    let sandbox = planted(LIFE.cast_signed() - 86_400 * 2 + 60, |_| {});
    let output = sandbox.run(&["status"]);
    output.assert(
        0,
        "Signed in as someone@mail.example (plus)\n  \
           Profile:    default\n  \
           Account ID: account-1\n  \
           Token:      good, ends in 8 days ([..]-[..]-[..] [..]:[..]:[..] UTC)\n  \
           Renewed:    1 day ago ([..] UTC)\n  \
           Stored in:  [HOME]/default.json\n  \
           Issuer:     [ISSUER]\n",
        "",
    );
    assert_state(&sandbox, "fresh", true);
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn the_json_has_stable_names() {
    let sandbox = Sandbox::new();
    let login = sandbox.plant_expiring_in(86_400 * 5, LIFE);
    let status = json_of(&sandbox, &[], 0);
    let expected = json!({
        "version": 1,
        "profile": "default",
        "state": "fresh",
        "usable": true,
        "obstacle": null,
        "email": "someone@mail.example",
        "plan": "plus",
        "account_id": "account-1",
        "issuer": sandbox.issuer.url(),
        "store": sandbox.file("default"),
        "expires_at": stamp(login["expires_at"].as_u64().unwrap()).replace('Z', ".000000Z"),
        "last_refresh": login["last_refresh"],
        "refusal": null,
        "pause": null,
        "check": null,
    });
    assert_eq!(status, expected);
}

#[test]
fn a_login_that_is_due_is_renewed_at_its_next_use() {
    let sandbox = planted(7200 + 60, |_| {});
    sandbox.run(&["status"]).assert(
        0,
        "Signed in as someone@mail.example (plus)\n...\n  Token:      good, ends in 2 hours ([..]), renewed at its next use\n...\n",
        "",
    );
    assert_state(&sandbox, "due", true);
    let sandbox = planted(60, |_| {});
    assert_state(&sandbox, "due", true);
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn an_expired_login_that_can_be_renewed_needs_nobody() {
    let sandbox = planted(-7200, |_| {});
    sandbox.run(&["status"]).assert(
        0,
        "Signed in as someone@mail.example (plus)\n...\n  Token:      ended 2 hours ago ([..]), renewed at its next use\n...\n",
        "",
    );
    assert_state(&sandbox, "expired", true);
}

#[test]
fn an_expired_login_that_cannot_be_renewed_looks_dead() {
    let without_refresh_token = planted(-7200, not_renewable);
    let without_issuer = planted(-7200, |login| login["issuer"] = json!(""));
    for sandbox in [without_refresh_token, without_issuer] {
        sandbox.run(&["status"]).assert(
            4,
            "No token can be had: the stored login cannot be renewed, as it lacks its issuer or its refresh token: run codex-auth login\n...\n  Token:      ended 2 hours ago ([..]), cannot be renewed\n...\n",
            "",
        );
        assert_state(&sandbox, "ended", false);
    }
    let distrusted = planted(-1, |login| login["issuer"] = json!("http://mail.example"));
    assert_state(&distrusted, "ended", false);
}

#[test]
fn a_refused_login_lives_as_long_as_its_token() {
    let alive = planted(7200 + 60, refused);
    alive.run(&["status"]).assert(
        0,
        "Signed in as someone@mail.example (plus), as long as the token lives: then run codex-auth login\n...\n  \
           Token:      good, ends in 2 hours ([..]), cannot be renewed\n  \
           Renewed:    [..]\n  \
           Refused:    2 hours ago ([..]): It was used before.  [31m(refresh_token_reused)\n...\n",
        "",
    );
    assert_state(&alive, "refused", true);
    let dead = planted(-60, refused);
    dead.run(&["status"]).assert(
        4,
        "No token can be had: the issuer ended the login: run codex-auth login\n...\n  Refused:    [..]\n...\n",
        "",
    );
    assert_state(&dead, "refused", false);
    let refusal = json_of(&dead, &[], 4)["refusal"]["reason"].clone();
    assert!(refusal.as_str().unwrap().starts_with("It was used before."));
}

#[test]
fn a_refusal_that_the_issuer_just_gave_is_told() {
    let sandbox = planted(-60, |_| {});
    sandbox.issuer.end_logins();
    sandbox.run(&["token"]).assert(
        4,
        "",
        "codex-auth: the issuer refused to renew the login: [..]\n",
    );
    sandbox.run(&["status"]).assert(
        4,
        "No token can be had: the issuer ended the login: run codex-auth login\n...\n  Refused:    [..] ago ([..]): The login has ended. (refresh_token_invalidated, status 401)\n...\n",
        "",
    );
}

#[test]
fn a_paused_login_needs_nobody() {
    for left in [-60, 7200] {
        let sandbox = planted(left, paused);
        sandbox.run(&["status"]).assert(
            0,
            "Signed in as someone@mail.example (plus)\n...\n  Paused:     the next renewal is tried in 50 minutes ([..]): the issuer has trouble\n...\n",
            "",
        );
        assert_state(&sandbox, "paused", true);
    }
    let over = planted(-60, |login| {
        paused(login);
        login["pause"]["until"] = json!(stamp(now() - 1));
    });
    assert_state(&over, "expired", true);
}

#[test]
fn variables_of_the_network_change_no_state() {
    type Change = fn(&mut Value);
    let states: [(i64, Change, &str, bool); 6] = [
        (86_400 * 5, |_| {}, "fresh", true),
        (60, |_| {}, "due", true),
        (-7200, |_| {}, "expired", true),
        (-60, paused, "paused", true),
        (-60, refused, "refused", false),
        (-60, not_renewable, "ended", false),
    ];
    for (left, change, state, usable) in states {
        let mut sandbox = planted(left, change);
        let mut login = sandbox.stored();
        login["issuer"] = json!("https://issuer.example");
        sandbox.store("default", &login.to_string());
        sandbox.set("https_proxy", "ftp://x");
        sandbox.set("SSL_CERT_FILE", "/nope");
        assert_state(&sandbox, state, usable);
    }
}

#[test]
fn what_cannot_be_read_is_said_to_be_so() {
    for (text, cause) in [
        ("", "could not read [HOME]/default.json: the file is empty"),
        (
            "\0\0\0",
            "could not read [HOME]/default.json: the file is damaged: it is no JSON",
        ),
        (
            "{}",
            "could not use [HOME]/default.json: the stored login has no access token",
        ),
        (
            "{\"version\":2}",
            "could not read [HOME]/default.json: the file is of a newer codex-auth: update this one",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.store("default", text);
        let stdout = format!(
            "No token can be had: {cause}\n  Profile:    default\n  Stored in:  [HOME]/default.json\n"
        );
        sandbox.run(&["status"]).assert(4, &stdout, "");
        assert_state(&sandbox, "unreadable", false);
    }
}

#[test]
fn codexs_login_is_shown_as_codexs() {
    let sandbox = Sandbox::new();
    let status = ["--profile", "codex", "status"];
    sandbox.run(&status).assert(
        4,
        "Codex is not signed in: run codex login, or sign in here with codex-auth login\n",
        "",
    );
    sandbox.store_codex(&sandbox.codex_login(7200 + 60).to_string());
    sandbox.run(&status).assert(
        0,
        "Signed in as someone@mail.example (plus)\n  \
           Profile:    codex\n  \
           Account ID: account-1\n  \
           Token:      good, ends in 2 hours ([..])\n  \
           Renewed:    [..]\n  \
           Stored in:  [FOLDER]/.codex/auth.json\n",
        "",
    );
    sandbox.store_codex(&sandbox.codex_login(0).to_string());
    sandbox.run(&status).assert(
        4,
        "No token can be had: Codex's token has ended: run codex, which alone renews it, or sign in here with codex-auth login\n...\n  Token:      ended [..] ago ([..])\n...\n",
        "",
    );
    sandbox.store_codex(&json!({ "OPENAI_API_KEY": "sk-of-somebody" }).to_string());
    sandbox.run(&status).assert(
        4,
        "No token can be had: could not use [FOLDER]/.codex/auth.json: Codex is signed in with an API key, [..]\n...\n",
        "",
    );
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn all_logins_are_shown_and_codexs_is_not_one_of_them() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["status", "--all"])
        .assert(4, "Nobody is signed in: run codex-auth login\n", "");
    assert_eq!(
        json_of(&sandbox, &["--all"], 4),
        json!({ "version": 1, "logins": [] })
    );
    sandbox.store_codex(&sandbox.codex_login(LIFE).to_string());
    sandbox.plant_as("default", LIFE.cast_signed(), LIFE);
    sandbox
        .issuer
        .set(|its| its.account = Account::new("team-1", "other@mail.example"));
    sandbox.plant_as("work", -60, LIFE);
    sandbox.run(&["status", "--all"]).assert(
        0,
        "Signed in as someone@mail.example (plus)\n  Profile:    default\n...\n\nSigned in as other@mail.example (plus)\n  Profile:    work\n...\n",
        "",
    );
    sandbox.store("damaged", "{");
    sandbox.store("codex", "{}");
    let all = json_of(&sandbox, &["--all"], 4);
    let states: Vec<&Value> = all["logins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|login| &login["state"])
        .collect();
    assert_eq!(states, ["unreadable", "fresh", "expired"]);
    assert_eq!(all["logins"][0].get("version"), None);
}

#[test]
fn the_backend_accepts_or_rejects_the_token_or_is_unreachable() {
    in_time(|| {
        let mut sandbox = planted(86_400 * 5, |_| {});
        let assert_checked = |sandbox: &Sandbox, verdict: &str, words: &str| {
            let stdout = format!("Signed in as [..]\n...\n  Backend:    {words}\n...\n");
            sandbox.run(&["status", "--check"]).assert(0, &stdout, "");
            let check = &json_of(sandbox, &["--check"], 0)["check"];
            assert_eq!(check["verdict"], verdict, "{check}");
        };
        assert_checked(&sandbox, "accepted", "accepted the token");
        let trouble = Trouble::status(500);
        sandbox.issuer.plan_always(Endpoint::Usage, trouble);
        assert_checked(&sandbox, "unreachable", "unreachable: [..] (status 500)");
        sandbox.issuer.end_plans(Endpoint::Usage);
        sandbox.issuer.reject_access_tokens();
        let words = "rejected the token: codex-auth token --force-refresh renews it";
        assert_checked(&sandbox, "rejected", words);
        sandbox.set("CODEX_AUTH_CHATGPT_URL", "http://127.0.0.1:9");
        assert_checked(&sandbox, "unreachable", "unreachable: 127.0.0.1: [..]");
    });
}

#[test]
fn a_token_that_the_backend_rejects_is_as_good_as_ended() {
    in_time(|| {
        let refused = planted(7200, refused);
        refused.issuer.reject_access_tokens();
        assert_eq!(json_of(&refused, &["--check"], 4)["usable"], false);
        let kept = planted(7200, not_renewable);
        kept.issuer.reject_access_tokens();
        assert_eq!(json_of(&kept, &["--check"], 4)["usable"], false);
        let codexs = Sandbox::new();
        codexs.store_codex(&codexs.codex_login(7200).to_string());
        codexs.issuer.reject_access_tokens();
        codexs.run(&["--profile", "codex", "status", "--check"]).assert(
        4,
        "No token can be had: the backend rejects Codex's token: run codex\n...\n  Backend:    rejected the token\n...\n",
        "",
    );
    });
}

#[test]
fn a_token_that_has_ended_is_not_sent_to_the_backend() {
    let sandbox = planted(-60, |_| {});
    assert_eq!(json_of(&sandbox, &["--check"], 0)["check"], Value::Null);
    assert_eq!(sandbox.issuer.count(Endpoint::Usage), 0);
}

/// In every state: whoever reads it over a shoulder learns nothing to sign in with.
#[test]
fn no_secret_is_shown() {
    for (left, change) in [
        (7200, refused as fn(&mut Value)),
        (-60, paused),
        (7200, not_renewable),
    ] {
        let sandbox = planted(left, change);
        for arguments in [
            &["status"][..],
            &["status", "--json"],
            &["status", "--check"],
        ] {
            let output = sandbox.run(arguments);
            let shown = output.named(&format!("{}{}", output.stdout, output.stderr));
            assert!(!shown.contains("TOKEN]"), "{shown}");
        }
    }
}
