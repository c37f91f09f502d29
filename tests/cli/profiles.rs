//! Several logins side by side, and logins limited to certain workspaces.

use crate::login::SIGNED_IN;
use support::fake_issuer::{Account, Endpoint};
use support::sandbox::{LIFE, Sandbox};

fn refresh_token(login: &serde_json::Value) -> String {
    login["tokens"]["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn each_profile_is_a_login_of_its_own() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.plant_as("default", LIFE.cast_signed(), LIFE);
    let second = sandbox.plant_as("work", LIFE.cast_signed(), LIFE);
    let token = |login: &serde_json::Value| login["tokens"]["access_token"].clone();
    assert_eq!(sandbox.run(&["token"]).line(), token(&first));
    let named = sandbox.run(&["--profile", "work", "token"]);
    assert_eq!(named.line(), token(&second));
    let behind = sandbox.run(&["token", "--profile", "work"]);
    assert_eq!(behind.line(), token(&second));
    sandbox.set("CODEX_AUTH_PROFILE", "work");
    assert_eq!(sandbox.run(&["token"]).line(), token(&second));
    let option_first = sandbox.run(&["--profile", "default", "token"]);
    assert_eq!(option_first.line(), token(&first));
    sandbox
        .run(&["logout"])
        .assert(0, "", "Signed out (profile work).\n");
    assert!(sandbox.file("default").exists());
    assert!(!sandbox.file("work").exists());
}

#[test]
fn a_profile_that_is_not_signed_in_says_how_to() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    sandbox.run(&["--profile", "work", "token"]).assert(
        4,
        "",
        "codex-auth: not signed in to the profile work (stored: default): run codex-auth --profile work login\n",
    );
}

#[test]
fn the_advice_for_one_profile_never_replaces_another() {
    let mut sandbox = Sandbox::new();
    sandbox.plant_as("default", -60, LIFE);
    sandbox.plant_as("work", -60, LIFE);
    sandbox.issuer.revoke_logins();
    let refused = |sandbox: &Sandbox, profile: &str, command: &str| {
        for _ in 0..2 {
            sandbox.run(&["--profile", profile, "token"]).assert(
                4,
                "",
                &format!(
                    "codex-auth: the issuer refused to refresh the token: [..]: run {command}\n"
                ),
            );
        }
    };
    refused(&sandbox, "work", "codex-auth --profile work login");
    refused(&sandbox, "default", "codex-auth login");
    sandbox.set("CODEX_AUTH_PROFILE", "work");
    refused(&sandbox, "default", "codex-auth --profile default login");
    refused(&sandbox, "work", "codex-auth --profile work login");
}

#[test]
fn advice_from_status_doctor_and_setup_names_the_profile() {
    let mut sandbox = Sandbox::new();
    sandbox.plant_as("work", LIFE.cast_signed(), LIFE);
    sandbox.set("CODEX_AUTH_PROFILE", "work");
    sandbox.set("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22");
    let doctor = sandbox.run(&["doctor"]).stdout;
    let instead = "use codex-auth --profile work login --device-code, or open the URL elsewhere";
    assert!(doctor.contains(instead), "{doctor}");
    let pi = sandbox.run(&["setup", "pi"]);
    let why = " --profile work status\n";
    assert_eq!(pi.code, 0);
    assert!(pi.stderr.contains(why), "{}", pi.stderr);
    sandbox.issuer.reject_access_tokens();
    let words = "rejects the token: run codex-auth --profile work token --force-refresh";
    let stdout = format!("Signed in as [..]\n...\n  Backend:    {words}\n...\n");
    sandbox.run(&["status", "--verify"]).assert(0, &stdout, "");
}

#[test]
fn no_name_leads_out_of_the_store() {
    let sandbox = Sandbox::new();
    for name in ["../x", "/etc/passwd", "a/b", ".x", "", "a b", "con"] {
        for command in ["token", "status", "logout", "login", "account-id"] {
            let output = sandbox.run(&["--profile", name, command]);
            let stderr =
                format!("codex-auth: invalid value {name:?} for --profile: use 1 to 64 of [..]\n");
            output.assert(2, "", &stderr);
        }
    }
    let mut sandbox = Sandbox::new();
    sandbox.set("CODEX_AUTH_PROFILE", "a/b");
    let stderr = "codex-auth: invalid value \"a/b\" for CODEX_AUTH_PROFILE: use 1 to 64 of [..]\n";
    sandbox.run(&["token"]).assert(2, "", stderr);
    let verified = sandbox.run(&["token", "--verify", "--timeout", "10m"]);
    verified.assert(2, "", stderr);
    assert!(!sandbox.home().exists());
}

#[test]
fn a_profile_that_is_not_signed_in_leaves_no_file() {
    let sandbox = Sandbox::new();
    let try_all = || {
        for command in [
            &["token"][..],
            &["token", "--force-refresh", "--verify"],
            &["account-id"],
            &["status"],
            &["status", "--json"],
            &["seal"],
            &["unseal"],
            &["exec", "--", "true"],
        ] {
            let output = sandbox.run(&[&["--profile", "typo"], command].concat());
            assert_eq!(output.code, 4, "{command:?}: {}", output.stderr);
        }
        let output = sandbox.run(&["--profile", "typo", "logout"]);
        output.assert(0, "", "Not signed in (profile typo).\n");
    };
    try_all();
    assert!(!sandbox.home().exists());
    sandbox.plant();
    try_all();
    let files = std::fs::read_dir(sandbox.home()).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["default.json"]);
}

#[cfg(unix)]
#[test]
fn before_a_login_over_another_one_a_terminal_shows_who_is_signed_in() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let current =
        "You are signed in as someone@mail.example (Plus) until the new login is stored.\n";
    let mut terminal = crate::terminal::Terminal::start(&sandbox, &["login"], 200);
    terminal.await_text("Waiting for up to", 1);
    terminal.press("\x03");
    let (_, screen) = terminal.finish();
    assert!(screen.starts_with(current), "{screen}");
    let mut unseen = sandbox.spawn(&["login"]);
    unseen.sign_in();
    unseen.finish().assert(0, "", SIGNED_IN);
}

#[test]
fn all_profiles_and_one_profile_exclude_each_other() {
    let sandbox = Sandbox::new();
    sandbox.plant_as("default", LIFE.cast_signed(), LIFE);
    sandbox.plant_as("work", LIFE.cast_signed(), LIFE);
    for command in ["logout", "status"] {
        for arguments in [
            ["--profile", "work", command, "--all"],
            [command, "--profile", "work", "--all"],
            [command, "--all", "--profile", "work"],
        ] {
            sandbox.run(&arguments).assert(
                2,
                "",
                "codex-auth: --all cannot be used with --profile: --all means every profile\n",
            );
        }
    }
    assert!(sandbox.file("default").exists() && sandbox.file("work").exists());
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn two_profiles_are_refreshed_at_the_same_time() {
    let sandbox = Sandbox::new();
    sandbox.plant_as("one", -1, 3600);
    sandbox.plant_as("other", -1, 3600);
    let gate = sandbox.issuer.hold(Endpoint::Refresh);
    let held = sandbox.spawn(&["--profile", "one", "token"]);
    sandbox.issuer.await_requests(Endpoint::Refresh, 1);
    let free = sandbox.run(&["--profile", "other", "token"]);
    free.assert(0, "[TOKEN]\n", "");
    gate.open();
    held.finish().assert(0, "[TOKEN]\n", "");
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 2);
}

#[test]
fn a_login_to_one_of_the_workspaces_is_accepted() {
    for arguments in [
        &["login", "--workspace", "team-1", "--workspace", "account-1"][..],
        &["login", "--workspace", "team-1,account-1"],
    ] {
        let sandbox = Sandbox::new();
        let mut running = sandbox.spawn(arguments);
        running.sign_in();
        running.finish().assert(0, "", SIGNED_IN);
        let asked = sandbox.issuer.requests_to(Endpoint::Authorize)[0].parameters();
        assert_eq!(asked["allowed_workspace_id"], "team-1,account-1");
        assert_eq!(sandbox.stored()["tokens"]["account_id"], "account-1");
    }
}

#[test]
fn a_login_to_another_workspace_is_refused_and_revoked_and_the_old_one_stays() {
    let sandbox = Sandbox::new();
    let old = sandbox.plant();
    sandbox.issuer.set(|its| its.honours_workspace = false);
    let mut running = sandbox.spawn(&["login", "--workspace", "team-1", "--workspace", "team-2"]);
    let page = running.sign_in();
    let output = running.finish();
    output.assert(
        1,
        "",
        "...\ncodex-auth: could not sign in: the login is for workspace account-1, but only team-1 or team-2 is accepted\n",
    );
    assert!(
        !page.text().contains("You are signed in"),
        "{}",
        page.text()
    );
    assert_eq!(sandbox.stored(), old);
    assert!(sandbox.can_refresh());
    let revoked = sandbox.issuer.revoked();
    assert_eq!(revoked.len(), 1);
    assert_ne!(revoked[0], refresh_token(&old));
    assert_eq!(sandbox.issuer.count(Endpoint::Exchange), 1);
}

#[test]
fn a_login_without_an_account_is_in_no_workspace() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| {
        its.honours_workspace = false;
        its.account = Account {
            id: None,
            ..Account::new("", "someone@mail.example")
        };
    });
    let mut running = sandbox.spawn(&["login", "--workspace", "team-1"]);
    running.sign_in();
    running.finish().assert(
        1,
        "",
        "...\ncodex-auth: could not sign in: the login is for workspace (none), but only team-1 is accepted\n",
    );
    assert!(!sandbox.file("default").exists());
    assert_eq!(sandbox.issuer.revoked().len(), 1);
}

#[test]
fn an_empty_workspace_is_wrong_usage() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(&["login", "--workspace", ""]);
    assert_eq!((output.code, output.stdout.as_str()), (2, ""));
}
