//! Refreshing sealed credentials: once for all callers, whatever happens to the caller, the keyring or the disk
//! meanwhile.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use super::{FORCED, TOKEN};
use support::desktop::Desktop;
use support::fake_issuer::Endpoint;
use support::process::Output;
use support::sandbox::{LIFE, find_program};

const REFRESH: Endpoint = Endpoint::Refresh;

#[test]
fn a_sealed_login_serves_like_any_other_one() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    desktop.plant_sealed(LIFE.cast_signed() / 2);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox.run(&["account-id"]).assert(0, "account-1\n", "");
    sandbox.run(&FORCED).assert(0, TOKEN, "");
    desktop.assert_sealed();
    sandbox.run(&["token", "--verify"]).assert(0, TOKEN, "");
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    assert_eq!(desktop.keys(), 1);
}

/// As under systemd: the environment names no bus, which is at its usual place.
#[test]
fn the_bus_is_found_in_the_runtime_folder() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    desktop.plant_sealed(-60);
    let folder = desktop.sandbox.folder().to_owned();
    let entries = fs::read_dir(&folder).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let is_socket = |path: &PathBuf| path.metadata().unwrap().file_type().is_socket();
    std::os::unix::fs::symlink(paths.find(is_socket).unwrap(), folder.join("bus")).unwrap();
    desktop.sandbox.unset("DBUS_SESSION_BUS_ADDRESS");
    desktop.sandbox.run(&["token"]).assert(0, TOKEN, "");
    let addresses = "unix:path=/no/such/bus;unix:runtime=yes";
    desktop.sandbox.set("DBUS_SESSION_BUS_ADDRESS", addresses);
    desktop.sandbox.run(&FORCED).assert(0, TOKEN, "");
    desktop.assert_sealed();
}

#[test]
fn of_many_callers_one_refreshes() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    desktop.plant_sealed(-60);
    let callers: Vec<_> = (0..64).map(|_| sandbox.spawn(&["token"])).collect();
    let outputs: Vec<Output> = callers.into_iter().map(|caller| caller.finish()).collect();
    for output in &outputs {
        output.assert(0, TOKEN, "");
        assert_eq!(output.line(), outputs[0].line());
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    desktop.assert_sealed();
}

#[test]
fn a_token_that_is_due_is_refreshed_ahead_of_time() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    desktop.plant_sealed(3600);
    let sealed = sandbox.stored();
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert_ne!(sandbox.stored()["last_refresh"], sealed["last_refresh"]);
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    desktop.assert_sealed();
}

#[test]
fn a_caller_that_is_killed_leaves_a_sealed_refresh_behind() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    desktop.plant_sealed(-60);
    let sealed = sandbox.stored();
    let gate = sandbox.issuer.hold(REFRESH);
    let mut caller = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    caller.kill();
    gate.open();
    sandbox.await_stored(|stored| stored["last_refresh"] != sealed["last_refresh"]);
    desktop.assert_sealed();
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

/// The worker has the key before it spends the refresh token.
#[test]
fn a_keyring_that_ends_while_the_issuer_is_asked_changes_nothing() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    desktop.plant_sealed(-60);
    let gate = desktop.sandbox.issuer.hold(REFRESH);
    let caller = desktop.sandbox.spawn(&["token"]);
    desktop.sandbox.issuer.await_requests(REFRESH, 1);
    desktop.end_keyring();
    gate.open();
    caller.finish().assert(0, TOKEN, "");
    desktop.assert_sealed();
    desktop.start_keyring();
    desktop.sandbox.run(&FORCED).assert(0, TOKEN, "");
    assert_eq!(desktop.sandbox.issuer.count(REFRESH), 2);
}

#[test]
fn a_file_completely_written_by_a_killed_worker_is_used() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    desktop.plant_sealed(-60);
    let spent = fs::read(sandbox.file("default")).unwrap();
    let fresh = sandbox.run(&FORCED);
    for name in ["default.json.new"] {
        // A truncated file was not completely written.
        let whole = fs::read(sandbox.file("default")).unwrap();
        for (left, wanted) in [(&whole[..whole.len() - 9], &spent), (&whole[..], &whole)] {
            fs::write(sandbox.file("default"), &spent).unwrap();
            fs::write(sandbox.home().join(name), left).unwrap();
            sandbox.run(&["seal"]).assert(
                0,
                "",
                "The login is already sealed (profile default).\n",
            );
            assert_eq!(&fs::read(sandbox.file("default")).unwrap(), wanted);
            assert!(!sandbox.home().join(name).exists());
        }
    }
    assert_eq!(
        sandbox.run(&["token"]).assert(0, TOKEN, "").line(),
        fresh.line()
    );
}

/// The worker hands over the token, and stores it once the disk accepts it.
#[test]
fn an_unsaved_token_is_handed_over_sealed() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    if find_program("strace").is_none() {
        return support::sandbox::skip("no strace here");
    }
    let sandbox = &desktop.sandbox;
    desktop.plant_sealed(-60);
    let sealed = sandbox.stored();
    // The second `lseek` is for the response.
    let fault = ["inject=lseek:error=EIO:when=2".to_owned()];
    let Some(command) = crate::faults::traced(sandbox, &fault, &["token"]) else {
        return;
    };
    let output = sandbox.start(command).finish();
    output.assert(
        0,
        TOKEN,
        "codex-auth: warning: the token was refreshed, but could not be stored yet: [..]\n",
    );
    sandbox.await_stored(|stored| stored["last_refresh"] != sealed["last_refresh"]);
    desktop.assert_sealed();
    assert_eq!(
        sandbox.run(&["token"]).assert(0, TOKEN, "").line(),
        output.line()
    );
    sandbox.run(&FORCED).assert(0, TOKEN, "");
}
