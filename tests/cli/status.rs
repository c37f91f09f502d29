//! `status`: the truth about a login in each of its states, in words and as JSON.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use support::fake_issuer::{Account, Answer, Endpoint, Trouble, now};
use support::sandbox::{LIFE, Sandbox};

#[cfg(unix)]
use crate::terminal::Terminal;

fn stamp(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// Stores a login with a change.
fn planted(left: i64, change: impl Fn(&mut Value)) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut login = sandbox.plant_expiring_in(left, LIFE);
    change(&mut login);
    sandbox.store("default", &login.to_string());
    sandbox
}

fn revoked(login: &mut Value) {
    let reason = "It was used before.\n\u{1b}[31m(refresh_token_reused)";
    login["revoked"] = json!({ "reason": reason, "at": stamp(now() - 7200) });
}

fn in_backoff(login: &mut Value) {
    let pause = json!({
        "reason": "the issuer has trouble",
        "attempts": 3,
        "at": stamp(now() - 5),
        "until": stamp(now() + 3630),
    });
    login["backoff"] = pause;
}

fn not_refreshable(login: &mut Value) {
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
fn a_fresh_login_is_shown_completely() {
    let sandbox = planted(LIFE.cast_signed() - 86_400 * 2 + 60, |_| {});
    let output = sandbox.run(&["status"]);
    output.assert(
        0,
        "Signed in as someone@mail.example (Plus)\n  \
           Profile:    default\n  \
           Account ID: account-1\n  \
           Token:      valid for 8 days (until [..]-[..]-[..] [..]:[..]:[..] UTC), then refreshed automatically\n  \
           Refreshed:  2 days ago ([..] UTC)\n  \
           File:       [HOME]/default.json\n  \
           Issuer:     [ISSUER]\n",
        "",
    );
    assert_state(&sandbox, "fresh", true);
    assert!(sandbox.issuer.requests().is_empty());
}

/// A full lifetime that was received three seconds ago is ten days, not nine.
#[test]
fn the_rest_of_a_life_is_rounded_to_the_nearest() {
    for (left, words) in [
        (LIFE - 3, "valid for 10 days (until"),
        (86_400 + 43_100, "valid for 1 day (until"),
        (86_400 + 43_300, "valid for 2 days (until"),
    ] {
        let stdout = planted(left.cast_signed(), |_| {}).run(&["status"]).stdout;
        assert!(stdout.contains(words), "{left}: {stdout}");
    }
}

/// A POSIX rule, so that no time zone database is needed.
#[cfg(unix)]
#[test]
fn times_are_those_of_the_local_zone() {
    let mut sandbox = planted(86_400 * 5, |_| {});
    let end = sandbox.stored()["expires_at"].as_u64().unwrap();
    for (zone, ahead, shown) in [
        ("AAA-5:30", 19_800, "+05:30"),
        ("BBB8", -28_800, "-08:00"),
        ("UTC0", 0, "UTC"),
    ] {
        sandbox.set("TZ", zone);
        let local = stamp(end.saturating_add_signed(ahead));
        let local = local.replace('T', " ").replace('Z', "");
        sandbox.run(&["status", "--verify"]).assert(
            0,
            &format!("...\n  Token:      valid for 5 days (until {local} {shown}), [..]\n...\n"),
            "",
        );
        let json = json_of(&sandbox, &[], 0);
        assert_eq!(json["expires_at"], stamp(end));
    }
}

#[test]
fn tokens_without_an_account_are_named_in_status_and_doctor() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| its.account.id = None);
    sandbox.plant();
    let missing = "the tokens have no ChatGPT account ID: account-id fails, and requests lack the ChatGPT-Account-Id header";
    let status = format!("Signed in as [..]\n...\n  Note:       {missing}\n");
    sandbox.run(&["status"]).assert(0, &status, "");
    let doctor = format!(
        "...\n! login         default: valid for 10 days, then refreshed automatically: {missing}\n...\n"
    );
    sandbox.run(&["doctor"]).assert(0, &doctor, "");
}

/// A problem that keeps a refresh from being stored is shown before it matters.
#[test]
fn a_refresh_that_could_not_be_stored_is_reported_while_the_token_is_valid() {
    let sandbox = planted(86_400 * 5, |_| {});
    let staged = sandbox.file("default").with_extension("json.new");
    std::fs::create_dir(&staged).unwrap();
    std::fs::write(staged.join("file"), "").unwrap();
    let obstacle = |sandbox: &Sandbox| {
        let status = json_of(sandbox, &[], 0);
        status["obstacle"].as_str().unwrap_or_default().to_owned()
    };
    assert!(
        obstacle(&sandbox).contains("default.json.new"),
        "{}",
        obstacle(&sandbox)
    );
    assert_eq!(sandbox.run(&["doctor"]).code, 1);
    std::fs::remove_dir_all(&staged).unwrap();
    std::fs::write(&staged, r#"{"version":9}"#).unwrap();
    assert!(
        obstacle(&sandbox).contains("default.json.new"),
        "{}",
        obstacle(&sandbox)
    );
    assert_eq!(sandbox.run(&["doctor"]).code, 1);
}

/// On a terminal, long waits are announced, and the line is wiped at the end.
#[cfg(unix)]
#[test]
fn a_terminal_shows_what_the_program_waits_for() {
    let sandbox = planted(86_400 * 5, |_| {});
    for (endpoint, arguments, awaited, end) in [
        (
            Endpoint::Usage,
            &["status", "--verify"][..],
            "Asking the backend …",
            "accepts the token",
        ),
        (
            Endpoint::Usage,
            &["status", "--usage"],
            "Asking the backend …",
            "Usage:",
        ),
        (
            Endpoint::Revoke,
            &["logout"],
            "Revoking the login at the issuer …",
            "Signed out (profile default).\n",
        ),
    ] {
        let gate = sandbox.issuer.hold(endpoint);
        let terminal = Terminal::start(&sandbox, arguments, 80);
        terminal.await_text(awaited, 1);
        gate.open();
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
        let wiped = format!("{awaited}\x1b[K\r\x1b[K");
        let rest = screen.split_once(&wiped).map(|(_, rest)| rest);
        assert!(rest.is_some_and(|rest| rest.contains(end)), "{screen:?}");
    }
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
        "workspace": null,
        "note": null,
        "account_id": "account-1",
        "issuer": sandbox.issuer.url(),
        "source": null,
        "store": sandbox.file("default"),
        "sealed": false,
        "expires_at": stamp(login["expires_at"].as_u64().unwrap()),
        "last_refresh": login["last_refresh"].as_str().unwrap().replace(".000000Z", "Z"),
        "revoked": null,
        "backoff": null,
        "verify": null,
        "usage": null,
    });
    assert_eq!(status, expected);
}

#[test]
fn a_token_that_is_due_is_refreshed_at_its_next_use() {
    let sandbox = planted(7200 + 60, |_| {});
    sandbox.run(&["status"]).assert(
        0,
        "Signed in as someone@mail.example (Plus)\n...\n  Token:      valid for 2 hours (until [..]), refreshed at its next use\n...\n",
        "",
    );
    assert_state(&sandbox, "due", true);
    let sandbox = planted(60, |_| {});
    assert_state(&sandbox, "due", true);
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn an_expired_token_that_can_be_refreshed_needs_no_user() {
    let sandbox = planted(-7200, |_| {});
    sandbox.run(&["status"]).assert(
        0,
        "Signed in as someone@mail.example (Plus)\n...\n  Token:      expired 2 hours ago ([..]), refreshed at its next use\n...\n",
        "",
    );
    assert_state(&sandbox, "expired", true);
}

#[test]
fn an_expired_token_that_cannot_be_refreshed_needs_a_login() {
    let without_refresh_token = planted(-7200, not_refreshable);
    let without_issuer = planted(-7200, |login| login["issuer"] = json!(""));
    for sandbox in [without_refresh_token, without_issuer] {
        sandbox.run(&["status"]).assert(
            4,
            "No token: [..]: run codex-auth login\n...\n  Token:      expired 2 hours ago ([..]), cannot be refreshed\n...\n",
            "",
        );
        assert_state(&sandbox, "expired", false);
    }
    let distrusted = planted(-1, |login| login["issuer"] = json!("http://mail.example"));
    let status = json_of(&distrusted, &[], 4);
    assert_eq!(
        (&status["state"], &status["usable"]),
        (&json!("expired"), &json!(false))
    );
}

#[test]
fn a_revoked_login_serves_as_long_as_its_token_is_valid() {
    let valid = planted(7200 + 60, revoked);
    valid.run(&["status"]).assert(
        0,
        "Signed in as someone@mail.example (Plus) until the token expires: the issuer refused to refresh the token: It was used before.  [31m(refresh_token_reused): run codex-auth login\n...\n  \
           Token:      valid for 2 hours (until [..]), cannot be refreshed\n  \
           Refreshed:  [..]\n  \
           Revoked:    2 hours ago ([..]): It was used before.  [31m(refresh_token_reused)\n...\n",
        "",
    );
    assert_state(&valid, "revoked", true);
    let expired = planted(-60, revoked);
    expired.run(&["status"]).assert(
        4,
        "No token: the issuer refused to refresh the token: It was used before.[..]: run codex-auth login\n...\n  Revoked:    [..]\n...\n",
        "",
    );
    assert_state(&expired, "revoked", false);
    let reason = json_of(&expired, &[], 4)["revoked"]["reason"].clone();
    assert!(reason.as_str().unwrap().starts_with("It was used before."));
}

#[test]
fn a_recent_revocation_by_the_issuer_is_shown() {
    let sandbox = planted(-60, |_| {});
    sandbox.issuer.revoke_logins();
    sandbox.run(&["token"]).assert(4, "", "codex-auth: [..]\n");
    sandbox.run(&["status"]).assert(
        4,
        "No token: the issuer refused to refresh the token: The login has ended. [..]: run codex-auth login\n...\n  Revoked:    [..] ([..]): The login has ended. (refresh_token_invalidated, status 401)\n...\n",
        "",
    );
}

#[test]
fn a_login_in_backoff_needs_no_user() {
    for left in [-60, 7200] {
        let sandbox = planted(left, in_backoff);
        sandbox.run(&["status"]).assert(
            0,
            "Signed in as someone@mail.example (Plus)\n...\n  Backoff:    next refresh in 1 hour ([..]): the issuer has trouble\n...\n",
            "",
        );
        assert_state(&sandbox, "backoff", true);
    }
    let over = planted(-60, |login| {
        in_backoff(login);
        login["backoff"]["until"] = json!(stamp(now() - 1));
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
        (-60, in_backoff, "backoff", true),
        (-60, revoked, "revoked", false),
        (-60, not_refreshable, "expired", false),
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
fn unreadable_files_are_reported() {
    for (text, code, cause) in [
        ("", 4, "the file is empty: run codex-auth login"),
        (
            "\0\0\0",
            4,
            "the file is damaged: it is not a JSON object: run codex-auth login",
        ),
        (
            "{}",
            4,
            "the file has no access token: run codex-auth login",
        ),
        (
            "{\"version\":2}",
            1,
            "the file was written by a newer codex-auth: update codex-auth",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.store("default", text);
        let stdout = format!(
            "No token: could not read [HOME]/default.json: {cause}\n  Profile:    default\n  File:       [HOME]/default.json\n"
        );
        sandbox.run(&["status"]).assert(code, &stdout, "");
        let json = json_of(&sandbox, &[], code);
        assert_eq!(
            (&json["state"], &json["usable"]),
            (&json!("unreadable"), &json!(false))
        );
    }
}

#[test]
fn codexs_login_is_shown_as_codexs() {
    let sandbox = Sandbox::new();
    let status = ["--profile", "codex", "status"];
    sandbox
        .run(&status)
        .assert(4, "Codex is not signed in: run codex login\n", "");
    sandbox.store_codex(&sandbox.codex_login(7200 + 60).to_string());
    sandbox.run(&status).assert(
        0,
        "Signed in as someone@mail.example (Plus)\n  \
           Profile:    codex\n  \
           Account ID: account-1\n  \
           Token:      valid for 2 hours (until [..]), refreshed by Codex\n  \
           Refreshed:  [..]\n  \
           File:       [FOLDER]/.codex/auth.json\n",
        "",
    );
    sandbox.store_codex(&sandbox.codex_login(0).to_string());
    sandbox.run(&status).assert(
        4,
        "No token: Codex's token [..]: run codex to refresh it\n...\n  Token:      expired [..] ([..]), refreshed by Codex\n...\n",
        "",
    );
    let expired = sandbox.run(&status).stdout;
    assert!(!expired.contains(" 0 seconds"), "{expired}");
    sandbox.store_codex(&json!({ "OPENAI_API_KEY": "sk-of-somebody" }).to_string());
    sandbox.run(&status).assert(
        4,
        "No token: could not use [FOLDER]/.codex/auth.json: Codex is signed in with an API key, [..]\n...\n",
        "",
    );
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn all_profiles_are_shown_and_codexs_is_not_one_of_them() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["status", "--all"])
        .assert(4, "Not signed in: run codex-auth login\n", "");
    assert_eq!(
        json_of(&sandbox, &["--all"], 4),
        json!({ "version": 1, "profiles": [] })
    );
    sandbox.store_codex(&sandbox.codex_login(LIFE).to_string());
    sandbox.plant_as("default", (LIFE - 3600).cast_signed(), LIFE);
    sandbox
        .issuer
        .set(|its| its.account = Account::new("team-1", "other@mail.example"));
    sandbox.plant_as("work", -60, LIFE);
    sandbox.run(&["status", "--all"]).assert(
        0,
        "PROFILE  ACCOUNT               PLAN  TOKEN\n\
         default  someone@mail.example  Plus  valid for 10 days, then refreshed automatically\n\
         work     other@mail.example    Plus  expired 1 minute ago, refreshed at its next use\n",
        "",
    );
    sandbox.store("damaged", "{");
    sandbox.store("codex", "{}");
    let all = json_of(&sandbox, &["--all"], 4);
    let states: Vec<&Value> = all["profiles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|login| &login["state"])
        .collect();
    assert_eq!(states, ["unreadable", "fresh", "expired"]);
    assert_eq!(all["profiles"][0].get("version"), None);
}

#[test]
fn the_backend_accepts_or_rejects_the_token_or_does_not_say() {
    let mut sandbox = planted(86_400 * 5, |_| {});
    let assert_checked = |sandbox: &Sandbox, verdict: &str, words: &str| {
        let stdout = format!("Signed in as [..]\n...\n  Backend:    {words}\n...\n");
        sandbox.run(&["status", "--verify"]).assert(0, &stdout, "");
        let check = &json_of(sandbox, &["--verify"], 0)["verify"];
        assert_eq!(check["verdict"], verdict, "{check}");
    };
    assert_checked(&sandbox, "accepted", "accepts the token");
    let trouble = Trouble::status(500);
    sandbox.issuer.plan_always(Endpoint::Usage, trouble);
    assert_checked(&sandbox, "unknown", "unknown: [..] (status 500)");
    sandbox.issuer.end_plans(Endpoint::Usage);
    sandbox.issuer.reject_access_tokens();
    let words = "rejects the token: run codex-auth token --force-refresh";
    assert_checked(&sandbox, "rejected", words);
    sandbox.set("CODEX_AUTH_CHATGPT_URL", "http://127.0.0.1:9");
    assert_checked(&sandbox, "unknown", "unknown: 127.0.0.1: [..]");
}

#[test]
fn a_token_that_the_backend_rejects_counts_as_expired() {
    let revoked = planted(7200, revoked);
    revoked.issuer.reject_access_tokens();
    assert_eq!(json_of(&revoked, &["--verify"], 4)["usable"], false);
    let kept = planted(7200, not_refreshable);
    kept.issuer.reject_access_tokens();
    assert_eq!(json_of(&kept, &["--verify"], 4)["usable"], false);
    let codexs = Sandbox::new();
    codexs.store_codex(&codexs.codex_login(7200).to_string());
    codexs.issuer.reject_access_tokens();
    codexs.run(&["--profile", "codex", "status", "--verify"]).assert(
        4,
        "No token: the backend rejects Codex's token: run codex to refresh it\n...\n  Backend:    rejects the token\n...\n",
        "",
    );
}

#[test]
fn an_expired_token_is_not_sent_to_the_backend() {
    let sandbox = planted(-60, |_| {});
    assert_eq!(json_of(&sandbox, &["--verify"], 0)["verify"], Value::Null);
    assert_eq!(sandbox.issuer.count(Endpoint::Usage), 0);
}

/// In every state: someone looking over the user's shoulder learns nothing to sign in with.
#[test]
fn no_secret_is_shown() {
    for (left, change) in [
        (7200, revoked as fn(&mut Value)),
        (-60, in_backoff),
        (7200, not_refreshable),
    ] {
        let sandbox = planted(left, change);
        for arguments in [
            &["status"][..],
            &["status", "--json"],
            &["status", "--verify"],
        ] {
            let output = sandbox.run(arguments);
            let shown = output.named(&format!("{}{}", output.stdout, output.stderr));
            assert!(!shown.contains("TOKEN]"), "{shown}");
        }
    }
}

#[test]
fn the_usage_of_the_plan_is_shown() {
    let sandbox = planted(86_400 * 5, |_| {});
    let answer = json!({ "plan_type": "plus", "rate_limit": {
        "allowed": true,
        "limit_reached": false,
        "primary_window": { "used_percent": 37, "limit_window_seconds": 18_000, "reset_at": now() + 7230 },
        "secondary_window": { "used_percent": 4.5, "limit_window_seconds": 604_800, "reset_at": now() + 172_830 },
    } });
    let answered = Trouble::Answer(Answer::json(200, &answer));
    sandbox.issuer.plan_always(Endpoint::Usage, answered);
    sandbox.run(&["status", "--usage"]).assert(
        0,
        "Signed in as [..]\n...\n  \
           5 hours:    37% used, resets in 2 hours ([..] UTC)\n  \
           7 days:     4% used, resets in 2 days ([..] UTC)\n",
        "",
    );
    let request = &sandbox.issuer.requests_to(Endpoint::Usage)[0];
    assert_eq!(request.header("chatgpt-account-id"), Some("account-1"));
    let usage = &json_of(&sandbox, &["--usage"], 0)["usage"];
    let expected = json!({ "limit_reached": false, "credits": null, "error": null, "windows": [
        { "limit": null, "window_seconds": 18_000, "used_percent": 37.0, "resets_at": stamp(answer["rate_limit"]["primary_window"]["reset_at"].as_u64().unwrap()) },
        { "limit": null, "window_seconds": 604_800, "used_percent": 4.5, "resets_at": stamp(answer["rate_limit"]["secondary_window"]["reset_at"].as_u64().unwrap()) },
    ] });
    assert_eq!(*usage, expected);
}

#[test]
fn unknown_usage_does_no_harm() {
    let sandbox = planted(86_400 * 5, |_| {});
    sandbox.run(&["status", "--usage"]).assert(
        0,
        "Signed in as [..]\n...\n  Usage:      unknown: the backend reports no limits\n",
        "",
    );
    sandbox
        .issuer
        .plan_always(Endpoint::Usage, Trouble::status(500));
    sandbox.run(&["status", "--usage", "--all"]).assert(
        0,
        "PROFILE  [..]\ndefault  [..]\n  Usage:      unknown: [..] (status 500)\n",
        "",
    );
    let usage = &json_of(&sandbox, &["--usage"], 0)["usage"];
    assert_eq!(usage["windows"], json!([]));
    assert!(usage["error"].as_str().unwrap().ends_with("(status 500)"));
    sandbox
        .issuer
        .plan_always(Endpoint::Usage, Trouble::status(401));
    sandbox.run(&["status", "--usage"]).assert(
        0,
        "Signed in as [..]\n...\n  Usage:      unknown: the backend rejects the token\n",
        "",
    );
}

#[test]
fn a_missing_profile_is_reported_with_the_existing_ones() {
    let sandbox = Sandbox::new();
    sandbox.plant_as("default", 1000, 2000);
    sandbox.plant_as("work", 1000, 2000);
    sandbox.run(&["--profile", "wrok", "status"]).assert(
        4,
        "Not signed in to the profile wrok (stored: default, work): run codex-auth --profile wrok login\n",
        "",
    );
}

#[cfg(unix)]
#[test]
fn a_table_that_is_too_wide_shows_the_tokens_below() {
    let sandbox = Sandbox::new();
    sandbox.plant_as("default", 7230, LIFE);
    sandbox.plant_as("work", -60, LIFE);
    let show = |columns| {
        Terminal::of(sandbox.command(&["status", "--all"]), columns)
            .finish()
            .1
    };
    assert_eq!(
        show(40),
        "PROFILE  ACCOUNT               PLAN\n  TOKEN\n\
         default  someone@mail.example  Plus\n  valid for 2 hours, refreshed at its\n  next use\n\
         work     someone@mail.example  Plus\n  expired 1 minute ago, refreshed at its\n  next use\n"
    );
    let wide = sandbox.run(&["status", "--all"]).stdout;
    let widest = wide.lines().map(str::len).max().unwrap();
    assert_eq!(show(u16::try_from(widest).unwrap()), wide);
    assert_ne!(show(u16::try_from(widest - 1).unwrap()), wide);
}
