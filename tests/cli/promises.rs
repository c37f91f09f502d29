//! Promises that each depend on a single line, which could break without any other test noticing: `ci/mutants.list`
//! breaks them.

use std::fs::{self, File};
use std::time::Duration;

use serde_json::{Value, json};

use support::fake_issuer::{Endpoint, Trouble};
use support::sandbox::{LIFE, Sandbox};

const REFRESH: Endpoint = Endpoint::Refresh;
const TOKEN: &str = "[TOKEN]\n";

// Concurrent changes to the store.

/// A worker prepares before it waits for the lock.
#[test]
fn a_worker_refreshes_what_is_stored_once_it_has_the_lock() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let lock = File::create(sandbox.lock_file()).unwrap();
    lock.lock().unwrap();
    let caller = sandbox.spawn(&["token"]);
    sandbox.await_lock_users(2);
    // Another process has refreshed it, and that token has expired by now, too.
    let newer = sandbox.plant_expiring_in(-30, LIFE);
    lock.unlock().unwrap();
    caller.finish().assert(0, TOKEN, "");
    let requests = sandbox.issuer.requests_to(REFRESH);
    assert_eq!(requests.len(), 1);
    assert_eq!(
        newer["tokens"]["refresh_token"],
        requests[0].form()["refresh_token"]
    );
}

#[test]
fn a_rejection_is_not_noted_with_a_login_that_was_stored_meanwhile() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    sandbox.issuer.reject_access_tokens();
    let gate = sandbox.issuer.hold(Endpoint::Usage);
    // The backend may take this long.
    let caller = sandbox.spawn(&["token", "--verify", "--timeout", "10m"]);
    sandbox.issuer.await_requests(Endpoint::Usage, 1);
    let newer = sandbox.plant_expiring_in(3600, LIFE);
    gate.open();
    caller.finish().assert(
        75,
        "",
        "codex-auth: the backend rejects the token: it was received just now: try again\n",
    );
    assert_eq!(sandbox.stored(), newer);
}

// Refreshes.

#[test]
fn the_same_token_again_is_not_a_new_one() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    sandbox.issuer.set(|its| its.omit.push("access_token"));
    sandbox.run(&["token", "--force-refresh"]).assert(
        1,
        "",
        "codex-auth: could not get another token: the issuer sent the same one again\n",
    );
    assert!(sandbox.can_refresh());
}

#[test]
fn after_an_unknown_401_the_issuer_is_left_alone_for_a_minute() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let refusal = Trouble::error(401, "something_new");
    sandbox.issuer.plan(REFRESH, refusal);
    let stderr = "codex-auth: the issuer refused to refresh the token: [..]\n";
    sandbox.run(&["token"]).assert(4, "", stderr);
    let stored = sandbox.stored();
    let time = |name: &str| {
        let text = stored["backoff"][name].as_str().unwrap();
        humantime::parse_rfc3339(text).unwrap()
    };
    let pause = time("until").duration_since(time("at")).unwrap();
    assert!(pause >= Duration::from_mins(1), "{pause:?}");
}

/// A file system cannot be unmounted while a process has its working folder in it.
#[test]
fn a_worker_is_not_in_the_folder_of_its_caller() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let caller = sandbox.spawn(&["token"]);
    let worker = sandbox.await_worker();
    let folder = fs::read_link(format!("/proc/{worker}/cwd")).unwrap();
    assert_eq!(folder.to_str(), Some("/"));
    gate.open();
    caller.finish().assert(0, TOKEN, "");
}

// Tokens from a command.

/// The lifetime of the last token does not tell that of the next one.
#[test]
fn a_command_is_asked_for_a_longer_life_than_its_last_token_had() {
    let sandbox = Sandbox::new();
    let printing = |token: &str, life: u64| {
        let token = json!({"token": token, "account_id": "account-1", "expires_in": life});
        sandbox.script("remote", &format!("echo '{token}'"));
    };
    printing("short", 3600);
    let login = sandbox.run(&["login", "--from", "--", "remote"]);
    assert_eq!(login.code, 0, "{}", login.stderr);
    printing("long", 4 * 3600);
    let output = sandbox.run(&["token", "--min-ttl", "2h"]);
    output.assert(0, "long\n", "");
    assert_eq!(sandbox.stored()["revoked"], Value::Null);
}

/// If the issuer sends no new access token ahead of time, not every call asks again.
#[test]
fn a_token_that_stays_the_same_is_not_refreshed_at_every_call() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(3600, LIFE);
    sandbox.issuer.set(|its| its.omit = vec!["access_token"]);
    for _ in 0..3 {
        sandbox.run(&["token"]).assert(0, TOKEN, "");
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    assert!(sandbox.can_refresh());
}
