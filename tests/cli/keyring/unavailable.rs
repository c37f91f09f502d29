//! A keyring that is locked, absent, slow or empty: one line says which and what to do, and there is never a prompt.

use std::os::unix::net::UnixListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::TOKEN;
use support::desktop::Desktop;
use support::fake_issuer::Endpoint;
use support::process::Output;
use support::sandbox::{LIFE, Sandbox};

const READ: &str = "codex-auth: could not read [HOME]/default.json: it is sealed: ";
const LOCKED: &str = "the keyring is locked: unlock it, and try again";
const NO_BUS: &str = "the keyring cannot be reached: there is no session bus here: run codex-auth in your desktop session, \
                      where DBUS_SESSION_BUS_ADDRESS is set";
const MISSING: &str =
    "no keyring is running: start GNOME Keyring, KWallet or KeePassXC, and try again";
const SLOW: &str = "the keyring did not answer within 3 seconds: try again later";
const GONE: &str = "codex-auth: could not read [HOME]/default.json: it is sealed, and its key is no longer in the keyring: run \
                    codex-auth login\n";

/// Runs these at the same time, as each may wait for the keyring.
fn run_all(sandbox: &Sandbox, commands: &[&[&str]]) -> Vec<Output> {
    let running: Vec<_> = commands.iter().map(|words| sandbox.spawn(words)).collect();
    running.into_iter().map(|one| one.finish()).collect()
}

/// Asserts that every command that needs a token prints this and exits with 75, whether the token is fresh or expired.
#[track_caller]
fn assert_unavailable(sandbox: &Sandbox, problem: &str) {
    let stderr = format!("{READ}{problem}\n");
    let commands = [
        &["token"][..],
        &["token", "--force-refresh"],
        &["account-id"],
        &["exec", "--", "true"],
    ];
    for output in run_all(sandbox, &commands) {
        output.assert(75, "", &stderr);
    }
    assert!(sandbox.issuer.requests().is_empty());
    assert!(sandbox.stored()["sealed"].is_object());
}

/// Asserts what `status` can still show.
#[track_caller]
fn assert_status(sandbox: &Sandbox, problem: &str) {
    let words = format!(
        "No token: could not read [HOME]/default.json: it is sealed: {problem}\n  Profile:    default\n  Token:      valid for [..], cannot be refreshed\n  \
         Refreshed:  [..]\n  File:       [HOME]/default.json\n  Sealed:     with a key in the keyring\n  Issuer:     [ISSUER]\n"
    );
    let commands = [
        &["status"][..],
        &["status", "--verify"],
        &["status", "--json"],
        &["status", "--all"],
    ];
    let outputs = run_all(sandbox, &commands);
    for output in &outputs[..2] {
        output.assert(75, &words, "");
    }
    let status: Value = serde_json::from_str(&outputs[2].stdout).unwrap();
    assert_eq!(status["sealed"], json!(true));
    assert_eq!(status["usable"], json!(false));
    assert_eq!(status["state"], json!("fresh"));
    assert!(status["email"].is_null() && status["expires_at"].is_string());
    let all = format!(
        "PROFILE  ACCOUNT  PLAN  TOKEN\ndefault  -        -     could not read [HOME]/default.json: it is sealed: {problem}\n"
    );
    outputs[3].assert(75, &all, "");
}

#[test]
fn a_locked_keyring_is_never_made_to_prompt() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    desktop.plant_sealed(LIFE.cast_signed() / 2);
    desktop.lock();
    let listener = desktop.listen();
    assert_unavailable(&desktop.sandbox, LOCKED);
    assert_status(&desktop.sandbox, LOCKED);
    desktop.sandbox.run(&["doctor"]);
    desktop.assert_no_prompt(listener);
}

#[test]
fn an_expired_token_is_not_refreshed_without_the_key() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    desktop.plant_sealed(-60);
    let sealed = desktop.sandbox.stored();
    desktop.lock();
    assert_unavailable(&desktop.sandbox, LOCKED);
    assert_eq!(desktop.sandbox.stored(), sealed);
}

#[test]
fn without_a_session_bus_there_is_no_keyring() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    desktop.plant_sealed(LIFE.cast_signed() / 2);
    let nowhere = desktop.sandbox.folder().join("nowhere");
    desktop.sandbox.set("XDG_RUNTIME_DIR", &nowhere);
    desktop.sandbox.unset("DBUS_SESSION_BUS_ADDRESS");
    assert_unavailable(&desktop.sandbox, NO_BUS);
    assert_status(&desktop.sandbox, NO_BUS);
    let address = format!("unix:path={}", nowhere.display());
    desktop.sandbox.set("DBUS_SESSION_BUS_ADDRESS", address);
    assert_unavailable(&desktop.sandbox, NO_BUS);
    desktop
        .sandbox
        .set("DBUS_SESSION_BUS_ADDRESS", "no address");
    assert_unavailable(&desktop.sandbox, NO_BUS);
}

#[test]
fn a_keyring_that_has_exited_is_reported() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    desktop.plant_sealed(LIFE.cast_signed() / 2);
    desktop.end_keyring();
    assert_unavailable(&desktop.sandbox, MISSING);
    assert_status(&desktop.sandbox, MISSING);
    desktop.start_keyring();
    desktop.sandbox.run(&["token"]).assert(0, TOKEN, "");
    desktop.end_bus();
    assert_unavailable(&desktop.sandbox, NO_BUS);
}

#[test]
fn a_keyring_that_does_not_answer_is_given_up() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    desktop.plant_sealed(LIFE.cast_signed() / 2);
    desktop.signal_keyring(Signal::STOP);
    let stopped = desktop.sandbox.spawn(&["token"]);
    // It accepts connections, and never responds.
    let socket = desktop.sandbox.folder().join("silent");
    let _listener = UnixListener::bind(&socket).unwrap();
    let address = format!("unix:path={}", socket.display());
    desktop.sandbox.set("DBUS_SESSION_BUS_ADDRESS", address);
    let login = desktop.sandbox.spawn(&["login"]);
    let silent = desktop.sandbox.spawn(&["token"]);
    assert_status(&desktop.sandbox, SLOW);
    let stderr = format!("{READ}{SLOW}\n");
    stopped.finish().assert(75, "", &stderr);
    silent.finish().assert(75, "", &stderr);
    let stderr = format!("codex-auth: could not seal the login: {SLOW}\n");
    login.finish().assert(75, "", &stderr);
    desktop.signal_keyring(Signal::CONT);
    desktop
        .sandbox
        .set("DBUS_SESSION_BUS_ADDRESS", &desktop.address);
    desktop.sandbox.run(&["token"]).assert(0, TOKEN, "");
}

/// Like a sandbox that forbids sockets, although the bus exists.
#[test]
fn a_forbidden_session_bus_differs_from_a_missing_one() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    desktop.plant_sealed(LIFE.cast_signed() / 2);
    for (error, told) in [
        (
            "EPERM",
            "this sandbox refuses the connection: run codex-auth outside it",
        ),
        (
            "EACCES",
            "Permission denied (os error 13): run codex-auth as the user of the desktop session",
        ),
    ] {
        let inject = format!("inject=connect:error={error}");
        let forbidden = ["trace=connect".to_owned(), inject];
        let Some(command) = crate::faults::traced(&desktop.sandbox, &forbidden, &["token"]) else {
            return;
        };
        let stderr = format!(
            "{READ}the keyring cannot be reached: could not connect to the session bus: {told}\n"
        );
        desktop
            .sandbox
            .start(command)
            .finish()
            .assert(75, "", &stderr);
    }
}

#[test]
fn a_lost_key_asks_for_a_login() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    desktop.plant_sealed(LIFE.cast_signed() / 2);
    desktop.forget_keys();
    let sandbox = &desktop.sandbox;
    for arguments in [&["token"][..], &["token", "--force-refresh"], &["unseal"]] {
        sandbox.run(arguments).assert(4, "", GONE);
    }
    let words = "No token: could not read [HOME]/default.json: it is sealed, and its key is no longer in the keyring: run \
                 codex-auth login\n...\n  Sealed:     with a key in the keyring\n...\n";
    sandbox.run(&["status"]).assert(4, words, "");
    assert!(sandbox.issuer.requests().is_empty());
    // A locked keyring cannot tell whether it has the key.
    desktop.lock();
    let stderr = format!("{READ}{LOCKED}\n");
    sandbox.run(&["token"]).assert(75, "", &stderr);
}

/// Nobody is there to unlock it.
#[test]
fn a_login_that_cannot_be_sealed_fails_before_the_user_signs_in() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let planted = desktop.sandbox.plant();
    desktop.lock();
    let asks = "The keyring is locked: unlock it to continue.\n";
    let stderr = format!("{asks}codex-auth: could not seal the login: {LOCKED}\n");
    for arguments in [&["login", "--seal"][..], &["seal"]] {
        desktop.sandbox.run(arguments).assert(75, "", &stderr);
    }
    desktop
        .sandbox
        .set("DBUS_SESSION_BUS_ADDRESS", "no address");
    let stderr = format!("codex-auth: could not seal the login: {NO_BUS}\n");
    for arguments in [&["login", "--seal"][..], &["seal"]] {
        desktop.sandbox.run(arguments).assert(75, "", &stderr);
    }
    assert_eq!(desktop.sandbox.stored(), planted);
    assert!(desktop.sandbox.issuer.requests().is_empty());
}

#[test]
fn a_login_that_is_not_sealed_needs_no_keyring() {
    let mut sandbox = Sandbox::new();
    let socket = sandbox.folder().join("silent");
    let listener = UnixListener::bind(&socket).unwrap();
    let address = format!("unix:path={}", socket.display());
    sandbox.set("DBUS_SESSION_BUS_ADDRESS", address);
    sandbox.plant_expiring_in(-60, LIFE);
    for arguments in [&["token"][..], &["status"], &["account-id"]] {
        assert_eq!(sandbox.run(arguments).code, 0);
    }
    sandbox.run(&["doctor"]);
    sandbox
        .run(&["logout"])
        .assert(0, "", "Signed out (profile default).\n");
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 1);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody asked the keyring");
}
