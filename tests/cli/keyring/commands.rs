//! The commands for users: `login`, `seal`, `unseal`, `logout`, `status`, `doctor`.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use super::{FORCED, TOKEN};
use crate::faults::traced;
use crate::login;
use support::browser;
use support::desktop::{Desktop, assert_sealed, leaks};
use support::fake_issuer::{Endpoint, Trouble};
use support::sandbox::{LIFE, Sandbox, native_program};

const WITH_KEY: &str = "The login is sealed with a key in the keyring.\n";

/// Signs in with the browser.
#[track_caller]
fn sign_in(sandbox: &Sandbox, arguments: &[&str], after: &str) {
    let (login, address) = login::start(sandbox, arguments);
    assert_eq!(browser::visit(&address).status, 200);
    let expected = format!("{}{after}", login::SIGNED_IN);
    login.finish().assert(0, "", &expected);
}

fn key_of(sandbox: &Sandbox) -> Value {
    sandbox.stored()["sealed"]["key"].clone()
}

#[test]
fn a_login_is_sealed_and_unsealed_without_a_new_sign_in() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    let planted = sandbox.plant();
    desktop.seal();
    let again = sandbox.run(&["seal"]);
    again.assert(0, "", "The login is already sealed (profile default).\n");
    assert_eq!(desktop.keys(), 1);
    let unsealed =
        "Unsealed the login: anyone who can read its file can use it (profile default)\n";
    sandbox.run(&["unseal"]).assert(0, "", unsealed);
    let mut stored = sandbox.stored();
    // The file names the login that it replaced.
    stored.as_object_mut().unwrap().remove("replaces");
    assert_eq!(stored, planted);
    assert_eq!(desktop.keys(), 0);
    let again = sandbox.run(&["unseal"]);
    again.assert(0, "", "The login is not sealed (profile default).\n");
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn without_a_login_there_is_nothing_to_seal() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    // It does not have to be unlocked for that.
    desktop.lock();
    for command in ["seal", "unseal"] {
        let output = desktop.sandbox.run(&[command]);
        output.assert(4, "", "codex-auth: not signed in: run codex-auth login\n");
    }
}

#[test]
fn a_new_login_is_sealed_if_that_is_asked_for_or_if_the_one_before_it_was() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    sandbox.plant();
    sign_in(sandbox, &["login", "--seal"], WITH_KEY);
    assert_sealed(sandbox);
    let key = key_of(sandbox);
    sign_in(sandbox, &["login"], WITH_KEY);
    assert_sealed(sandbox);
    assert_eq!(key_of(sandbox), key);
    assert_eq!(
        (desktop.keys(), sandbox.issuer.count(Endpoint::Revoke)),
        (1, 2)
    );
    sandbox.run(&["unseal"]).assert(0, "", "[..]\n");
    assert!(sandbox.stored()["sealed"].is_null() && sandbox.can_refresh());
    assert_eq!(desktop.keys(), 0);
    sign_in(sandbox, &["login"], "");
    assert!(sandbox.can_refresh());
    desktop.sandbox.set("CODEX_AUTH_SEAL", "1");
    sign_in(&desktop.sandbox, &["login"], WITH_KEY);
    desktop.assert_sealed();
    desktop.sandbox.run(&["token"]).assert(0, TOKEN, "");
}

#[test]
fn advice_repeats_the_option() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    desktop.sandbox.set("CODEX_AUTH_PORT", &port);
    desktop.sandbox.run(&["login", "--seal"]).assert(
        1,
        "",
        "codex-auth: could not sign in: port [..], or use codex-auth login --seal --device-code\n",
    );
}

#[test]
fn a_variable_that_says_neither_yes_nor_no_is_an_error() {
    let mut sandbox = Sandbox::new();
    sandbox.set("CODEX_AUTH_SEAL", "yes");
    let words = "codex-auth: invalid value \"yes\" for CODEX_AUTH_SEAL: use 1 or 0\n";
    sandbox.run(&["login"]).assert(2, "", words);
}

#[test]
fn every_way_to_sign_in_seals_and_leaves_nothing_readable_meanwhile() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    let mut login = sandbox.spawn(&["login", "--device-code", "--seal"]);
    login.await_text("CODE-00001");
    sandbox.issuer.await_answers(Endpoint::DeviceToken, 1);
    assert_eq!(leaks(sandbox), Vec::<std::path::PathBuf>::new());
    assert!(!sandbox.home().join("default.device").exists());
    sandbox.issuer.approve();
    let signed_in = format!(
        "...\nPress Ctrl-C to stop waiting; the code is then lost.\nSigned in as [..]\n{WITH_KEY}"
    );
    login.finish().assert(0, "", &signed_in);
    assert_sealed(sandbox);
    let token = sandbox.issuer.issue_personal_token();
    let output = sandbox.run_with_stdin(&["login", "--with-access-token"], &token);
    let signed_in = format!("Signed in as [..]\n{WITH_KEY}The earlier login was [..]\n");
    assert!(
        output.code == 0 && output.stderr.contains(WITH_KEY),
        "{signed_in} {}",
        output.stderr
    );
    assert_sealed(sandbox);
    assert_eq!(sandbox.run(&["token"]).assert(0, TOKEN, "").line(), token);
}

/// The command that provides the tokens is private, too.
#[test]
fn a_login_that_comes_from_a_command_is_sealed_too() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    let Some(program) = native_program() else {
        return;
    };
    sandbox.plant_as("owner", LIFE.cast_signed() / 2, LIFE);
    let script = format!(
        "exec '{}' --profile owner token --format json",
        program.display()
    );
    sandbox.script("remote", &script);
    let login = ["login", "--seal", "--from", "--", "remote"];
    let signed_in = format!("Signed in as [..]\n{WITH_KEY}  Its tokens come from remote\n");
    sandbox.run(&login).assert(0, "", &signed_in);
    let text = fs::read_to_string(sandbox.file("default")).unwrap();
    assert!(
        text.contains("\"sealed\"") && !text.contains("remote"),
        "{text}"
    );
    let first = sandbox.run(&["token"]);
    let second = sandbox.run(&["token", "--force-refresh"]);
    first.assert(0, TOKEN, "");
    second.assert(0, TOKEN, "");
    assert_ne!(first.line(), second.line());
    fs::remove_file(sandbox.file("owner")).unwrap();
    assert_sealed(sandbox);
}

/// The rule, the path and the tokens are no longer readable. Each exchange is stored sealed, even a rejected one.
#[test]
fn a_login_by_workload_identity_is_sealed_too() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    sandbox.issuer.set(|its| its.access_life = 600);
    let identity = sandbox.folder().join("identity");
    let rotate = || fs::write(&identity, sandbox.issuer.issue_identity_token(300)).unwrap();
    let assert_hidden = |exchanges| {
        assert_sealed(sandbox);
        let text = fs::read_to_string(sandbox.file("default")).unwrap();
        let path = identity.to_str().unwrap();
        assert!(!text.contains("rule-1") && !text.contains(path), "{text}");
        assert_eq!(sandbox.issuer.count(Endpoint::Assertion), exchanges);
    };
    let path = identity.to_str().unwrap();
    let login = [
        "login",
        "--workload-identity",
        "--federation-rule",
        "rule-1",
        "--identity-token",
        path,
    ];
    rotate();
    assert_eq!(sandbox.run(&login).code, 0);
    let plain = sandbox.stored();
    sandbox.age(-60);
    let sealed = "Sealed the login with a key in the keyring (profile default)\n";
    sandbox.run(&["seal"]).assert(0, "", sealed);
    assert_hidden(1);
    rotate();
    let token = sandbox.run(&["token"]);
    assert_hidden(2);
    let again = sandbox.run(&["token"]);
    assert_eq!(token.assert(0, TOKEN, "").line(), again.line());
    let refused = "codex-auth: could not use the identity token in [FOLDER]/identity: The identity token does not match the rule. \
                   (invalid_grant, status 400)\n";
    fs::write(&identity, "eyJub25l.e30.x").unwrap();
    for _ in 0..2 {
        sandbox.run(&FORCED).assert(1, "", refused);
        assert_hidden(3);
    }
    let unsealed =
        "Unsealed the login: anyone who can read its file can use it (profile default)\n";
    sandbox.run(&["unseal"]).assert(0, "", unsealed);
    assert_eq!(
        (desktop.keys(), &sandbox.stored()["source"]),
        (0, &plain["source"])
    );
    rotate();
    sandbox.run(&FORCED).assert(0, TOKEN, "");
    rotate();
    let signed_in =
        format!("Signed in as [..]\n{WITH_KEY}  Its tokens come from workload identity ([..]\n");
    let login = [&login[..], &["--seal"]].concat();
    sandbox.run(&login).assert(0, "", &signed_in);
    assert_hidden(5);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

#[test]
fn a_failed_login_leaves_no_key_and_keeps_the_old_login() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    let planted = sandbox.plant();
    sandbox
        .issuer
        .plan(Endpoint::Exchange, Trouble::status(400));
    let (login, address) = login::start(sandbox, &["login", "--seal"]);
    browser::visit(&address);
    assert_eq!(login.finish().code, 1);
    assert_eq!(sandbox.stored(), planted);
    assert_eq!(desktop.keys(), 0);
    let (mut login, _) = login::start(sandbox, &["login", "--seal"]);
    login.kill();
    login.finish();
    assert_eq!(sandbox.stored(), planted);
    assert_eq!(desktop.keys(), 0);
}

#[test]
fn a_logout_removes_the_key_too() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    desktop.plant_sealed(3600);
    let output = desktop.sandbox.run(&["logout"]);
    output.assert(0, "", "Signed out (profile default).\n");
    assert_eq!(desktop.keys(), 0);
    assert_eq!(desktop.sandbox.issuer.count(Endpoint::Revoke), 1);
}

/// A login that cannot be opened cannot be revoked, neither now nor later.
#[test]
fn a_logout_waits_for_the_keyring_unless_it_is_told_not_to_revoke() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    desktop.plant_sealed(3600);
    desktop.lock();
    let refused = "codex-auth: could not sign out (profile default): could not read [HOME]/default.json: it is sealed: the \
                   keyring is locked: unlock it, and try again; --no-revoke removes the file anyway\n";
    sandbox.run(&["logout"]).assert(75, "", refused);
    sandbox.run(&["logout", "--all"]).assert(75, "", refused);
    assert!(sandbox.file("default").exists());
    let words = "Signed out (profile default). The login was not revoked, and its key is still in the keyring.\n";
    sandbox.run(&["logout", "--no-revoke"]).assert(0, "", words);
    assert!(!sandbox.file("default").exists());
}

#[test]
fn a_status_says_that_a_login_is_sealed() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    sandbox.plant();
    let is_sealed = || {
        let status = sandbox.run(&["status", "--json"]);
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        (
            status["sealed"].clone(),
            status["email"].clone(),
            status["state"].clone(),
        )
    };
    assert_eq!(
        is_sealed(),
        (json!(false), json!("someone@mail.example"), json!("fresh"))
    );
    desktop.seal();
    assert_eq!(
        is_sealed(),
        (json!(true), json!("someone@mail.example"), json!("fresh"))
    );
    let words = "Signed in as someone@mail.example (Plus)\n...\n  File:       [HOME]/default.json\n  \
                 Sealed:     with a key in the keyring\n...\n";
    sandbox.run(&["status"]).assert(0, words, "");
}

#[test]
fn a_doctor_says_that_the_keyring_is_locked() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    sandbox.plant();
    desktop.seal();
    let login = || {
        let report = sandbox.run(&["doctor", "--json"]);
        let report: Value = serde_json::from_str(&report.stdout).unwrap();
        let login = &report["findings"][0];
        assert_eq!(login["check"], "login");
        (login["level"].clone(), login["found"].clone())
    };
    let valid = "default: valid for 10 days, then refreshed automatically";
    assert_eq!(login(), (json!("ok"), json!(valid)));
    desktop.lock();
    let file = sandbox.file("default");
    let locked = format!(
        "default: could not read {}: it is sealed: the keyring is locked: unlock it, and try again",
        file.display()
    );
    assert_eq!(login(), (json!("problem"), json!(locked)));
}

#[test]
fn one_login_under_two_names_opens_under_both() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    sandbox.plant_expiring_in(LIFE.cast_signed() / 2, LIFE);
    std::os::unix::fs::symlink("default.json", sandbox.file("work")).unwrap();
    let words = "Sealed the login with a key in the keyring (profile work)\n[..] codex-auth --profile work token --force-refresh\n";
    sandbox
        .run(&["--profile", "work", "seal"])
        .assert(0, "", words);
    assert_sealed(sandbox);
    for profile in ["work", "default"] {
        let forced = ["--profile", profile, "token", "--force-refresh"];
        sandbox.run(&forced).assert(0, TOKEN, "");
    }
    assert!(sandbox.file("work").is_symlink());
    let output = sandbox.run(&["--profile", "work", "logout"]);
    assert_eq!(output.code, 0);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert_eq!(desktop.keys(), 1);
}

#[test]
fn a_file_moved_over_another_one_does_not_open() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    desktop.plant_sealed(3600);
    fs::copy(sandbox.file("default"), sandbox.file("work")).unwrap();
    sandbox.run(&["--profile", "work", "token"]).assert(
        4,
        "",
        "codex-auth: could not read [HOME]/work.json: it is sealed, but cannot be opened: it was modified or renamed: run \
         codex-auth --profile work login\n",
    );
    let mut stored = sandbox.stored();
    stored["issuer"] = json!("https://stranger.example");
    sandbox.store("default", &stored.to_string());
    assert_eq!(sandbox.run(&["token", "--force-refresh"]).code, 4);
    assert!(sandbox.issuer.requests().is_empty());
}

/// A copy names the key of the original, and does not open. Nothing done with the copy may harm the original.
#[test]
fn a_key_stays_as_long_as_another_file_names_it() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    desktop.plant_sealed(3600);
    let key = key_of(sandbox);
    let copy = || fs::copy(sandbox.file("default"), sandbox.file("work")).unwrap();
    copy();
    let output = sandbox.run(&["--profile", "work", "logout"]);
    assert_eq!(output.code, 0);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    copy();
    let token = sandbox.issuer.issue_personal_token();
    let login = ["--profile", "work", "login", "--with-access-token"];
    let output = sandbox.run_with_stdin(&login, &token);
    assert!(output.code == 0 && output.stderr.contains(WITH_KEY));
    assert_ne!(sandbox.stored_as("work")["sealed"]["key"], key);
    assert_eq!(desktop.keys(), 2);
    assert_eq!(sandbox.run(&["--profile", "work", "unseal"]).code, 0);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert_eq!(desktop.keys(), 1);
    // The file could still be moved back.
    copy();
    assert_eq!(sandbox.run(&["unseal"]).code, 0);
    assert_eq!(desktop.keys(), 1);
    fs::rename(sandbox.file("work"), sandbox.file("default")).unwrap();
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

/// As if the file system became read-only meanwhile: the new file can neither replace the stored one nor be removed. The
/// next command that takes the lock completes the replacement.
#[test]
fn a_key_stays_while_a_leftover_file_is_sealed_with_it() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    sandbox.plant();
    // The first two find no file to remove.
    let faults = [
        "inject=?rename,?renameat,renameat2:error=EROFS",
        "inject=?unlink,unlinkat:error=EROFS:when=3+",
    ];
    let Some(command) = traced(sandbox, &faults.map(str::to_owned), &["seal"]) else {
        return;
    };
    let output = sandbox.start(command).finish();
    output.assert(1, "", "codex-auth: could not save [..]\n");
    assert!(sandbox.file("default").with_extension("json.new").exists());
    assert_eq!(desktop.keys(), 1);
    sandbox.run(&FORCED).assert(0, TOKEN, "");
    assert_sealed(sandbox);
}

#[test]
fn a_login_over_a_sealed_one_that_is_damaged_is_sealed_too() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    desktop.plant_sealed(3600);
    let text = fs::read_to_string(sandbox.file("default")).unwrap();
    let end = text.find("\"sealed\"").unwrap() + 100;
    sandbox.store("default", &text[..end]);
    let token = sandbox.issuer.issue_personal_token();
    let output = sandbox.run_with_stdin(&["login", "--with-access-token"], &token);
    assert!(
        output.code == 0 && output.stderr.contains(WITH_KEY),
        "{}",
        output.stderr
    );
    assert_sealed(sandbox);
}

#[test]
fn a_login_that_may_be_a_copy_of_a_sealed_one_is_not_revoked() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    sandbox.plant();
    fs::copy(sandbox.file("default"), sandbox.file("work")).unwrap();
    sandbox.run(&["seal"]);
    let sharing = || {
        let report = sandbox.run(&["doctor", "--json"]);
        let report: Value = serde_json::from_str(&report.stdout).unwrap();
        let mut findings = report["findings"].as_array().unwrap().clone();
        findings.retain(|one| one["check"] == "sharing");
        assert_eq!(findings.len(), 1);
        findings.remove(0)
    };
    assert_eq!(sharing()["level"], json!("problem"));
    desktop.lock();
    let finding = sharing();
    assert_eq!(finding["level"], json!("warning"));
    assert_eq!(
        finding["found"],
        json!(
            "cannot tell whether the profile default is a copy of another: it cannot be read without the keyring"
        )
    );
    let words = "Signed out (profile work). The login was not revoked: it may be a copy of the profile default, which \
                 cannot be read without the keyring.\n";
    sandbox
        .run(&["--profile", "work", "logout"])
        .assert(0, "", words);
    assert_eq!(sandbox.issuer.count(Endpoint::Revoke), 0);
}

/// Its code would be readable, and so would the resulting login.
#[test]
fn a_pending_device_login_is_removed_when_a_login_is_sealed() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    let waiting = sandbox.home().join("default.device");
    let interrupt = |code: &str| {
        let mut login = sandbox.spawn(&["login", "--device-code"]);
        login.await_text(code);
        login.kill();
        login.finish();
        assert!(waiting.exists());
    };
    interrupt("CODE-00001");
    let mut login = sandbox.spawn(&["login", "--device-code", "--seal"]);
    login.await_text("CODE-00002");
    assert!(!waiting.exists());
    login.kill();
    login.finish();
    interrupt("CODE-00003");
    sandbox.plant();
    desktop.seal();
    assert!(!waiting.exists());
}

#[test]
fn doctor_finds_the_leftovers_of_a_killed_unseal() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    let planted = sandbox.plant();
    desktop.seal();
    let staged = sandbox.file("default").with_extension("json.new");
    sandbox.store("left", &planted.to_string());
    fs::rename(sandbox.file("left"), &staged).unwrap();
    let left = || {
        let report = sandbox.run(&["doctor", "--json"]);
        let report: Value = serde_json::from_str(&report.stdout).unwrap();
        let mut findings = report["findings"].as_array().unwrap().clone();
        findings.retain(|one| one["check"] == "file" && one["level"] == "warning");
        findings.pop().map(|one| one["found"].clone())
    };
    let found = format!(
        "{} was left behind by a killed command, and may contain unencrypted tokens: run codex-auth seal",
        staged.display()
    );
    assert_eq!(left(), Some(json!(found)));
    let sealed = "The login is already sealed (profile default).\n";
    let seal = ["--profile", "default", "seal"];
    sandbox.run(&seal).assert(0, "", sealed);
    assert!(!staged.exists());
    assert_eq!(left(), None);
    assert_sealed(sandbox);
}
