//! Sealed logins on Windows, whose Credential Manager is always unlocked.

use serde_json::Value;

use support::browser;
use support::fake_issuer::Endpoint;
use support::sandbox::{LIFE, Sandbox};

const TOKEN: &str = "[TOKEN]\n";
const FORCED: [&str; 2] = ["token", "--force-refresh"];
const GONE: &str = "codex-auth: could not read [HOME]/default.json: it is sealed, and its key is no longer in the keyring: run \
                    codex-auth login\n";

#[track_caller]
fn assert_sealed(sandbox: &Sandbox) {
    let stored = sandbox.stored();
    assert!(stored["sealed"].is_object());
    let text = stored.to_string();
    for (secret, name) in sandbox.issuer.secrets() {
        assert!(!text.contains(&secret), "{name}");
    }
}

#[test]
fn a_sealed_login_serves_until_it_is_unsealed() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in(LIFE.cast_signed() / 2, LIFE);
    assert_eq!(sandbox.run(&["seal"]).code, 0);
    assert_sealed(&sandbox);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    let unsealed =
        "Unsealed the login: anyone who can read its file can use it (profile default)\n";
    let sealed = std::fs::read_to_string(sandbox.file("default")).unwrap();
    sandbox.run(&["unseal"]).assert(0, "", unsealed);
    let mut stored = sandbox.stored();
    // The file names the login that it replaced.
    stored.as_object_mut().unwrap().remove("replaces");
    assert_eq!(stored, planted);
    // The key was removed with it.
    sandbox.store("default", &sealed);
    sandbox.run(&["token"]).assert(4, "", GONE);
}

#[test]
fn a_sealed_login_is_refreshed_and_removed() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    assert_eq!(sandbox.run(&["seal"]).code, 0);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox.run(&FORCED).assert(0, TOKEN, "");
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 2);
    assert_sealed(&sandbox);
    let status = sandbox.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (&status["sealed"], status["email"].as_str()),
        (&true.into(), Some("someone@mail.example"))
    );
    let sealed = std::fs::read_to_string(sandbox.file("default")).unwrap();
    sandbox
        .run(&["logout"])
        .assert(0, "", "Signed out (profile default).\n");
    sandbox.store("default", &sealed);
    sandbox.run(&["token"]).assert(4, "", GONE);
}

#[test]
fn a_new_login_is_sealed_and_stays_so() {
    let sandbox = Sandbox::new();
    for arguments in [&["login", "--seal"][..], &["login"]] {
        let (login, address) = crate::login::start(&sandbox, arguments);
        assert_eq!(browser::visit(&address).status, 200);
        let output = login.finish();
        assert!(
            output.code == 0
                && output
                    .stderr
                    .ends_with("The login is sealed with a key in the keyring.\n"),
            "{}",
            output.stderr
        );
        assert_sealed(&sandbox);
        sandbox.run(&["token"]).assert(0, TOKEN, "");
    }
    assert_eq!(sandbox.run(&["logout"]).code, 0);
}
