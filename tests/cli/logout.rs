//! `logout`: always removes the credentials, and says whether they were revoked.

use std::fs::{self, File};

use support::expect::word;
use support::fake_issuer::{Endpoint, Trouble};
use support::sandbox::{LIFE, Sandbox};

const NOT_REVOKED: &str = "anyone with a copy can use it until it expires";

#[test]
fn a_login_is_revoked_and_removed() {
    let sandbox = Sandbox::new();
    let login = sandbox.plant();
    let output = sandbox.run(&["logout"]);
    output.assert(0, "", "Signed out (profile default).\n");
    assert!(!sandbox.file("default").exists());
    assert_eq!(
        sandbox.issuer.revoked(),
        [login["tokens"]["refresh_token"].as_str().unwrap()]
    );
    let again = sandbox.run(&["logout"]);
    again.assert(0, "", "Not signed in (profile default).\n");
    assert_eq!(sandbox.issuer.count(Endpoint::Revoke), 1);
}

/// RFC 7009 section 2.1: the hint names the type of the token.
#[test]
fn without_a_refresh_token_the_access_token_is_revoked() {
    let sandbox = Sandbox::new();
    let mut login = sandbox.plant();
    login["tokens"]
        .as_object_mut()
        .unwrap()
        .remove("refresh_token");
    sandbox.store("default", &login.to_string());
    let output = sandbox.run(&["logout"]);
    output.assert(0, "", "Signed out (profile default).\n");
    let token = &login["tokens"]["access_token"];
    assert_eq!(sandbox.issuer.revoked(), [token.as_str().unwrap()]);
    let sent = sandbox.issuer.requests_to(Endpoint::Revoke)[0].json();
    assert_eq!(sent["token_type_hint"], "access_token");
}

#[test]
fn a_logout_without_revocation_sends_nothing() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let output = sandbox.run(&["logout", "--no-revoke"]);
    output.assert(
        0,
        "",
        "Signed out (profile default). The login was not revoked.\n",
    );
    assert!(!sandbox.file("default").exists());
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn a_failed_revocation_is_reported_with_its_consequences() {
    for trouble in [
        Trouble::status(500),
        Trouble::error(400, "invalid_request"),
        Trouble::DropBefore,
    ] {
        let sandbox = Sandbox::new();
        sandbox.plant();
        sandbox.issuer.plan_always(Endpoint::Revoke, trouble);
        let stderr = format!(
            "Signed out (profile default). The login was not revoked: [..]: {NOT_REVOKED}.\n"
        );
        sandbox.run(&["logout"]).assert(0, "", &stderr);
        assert!(!sandbox.file("default").exists());
    }
}

#[test]
fn offline_the_login_is_still_removed() {
    let sandbox = Sandbox::new();
    let mut login = sandbox.plant();
    // Nothing listens on the discard port, which requires root.
    login["issuer"] = "http://127.0.0.1:9".into();
    sandbox.store("default", &login.to_string());
    let stderr = format!(
        "Signed out (profile default). The login was not revoked: 127.0.0.1: connection refused: {NOT_REVOKED}.\n"
    );
    sandbox.run(&["logout"]).assert(0, "", &stderr);
    assert!(!sandbox.file("default").exists());
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn a_login_that_is_damaged_or_incomplete_is_removed_too() {
    for (text, cause) in [
        ("", "could not read [HOME]/default.json: the file is empty"),
        (
            "{",
            "could not read [HOME]/default.json: the file is damaged (line 1, column 1)",
        ),
        (
            "{}",
            "could not trust the issuer of the stored credentials: not a URL",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.store("default", text);
        let stderr =
            format!("Signed out (profile default). The login was not revoked: {cause}[..].\n");
        sandbox.run(&["logout"]).assert(0, "", &stderr);
        assert!(!sandbox.file("default").exists());
    }
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_removed() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    fs::remove_file(sandbox.file("default")).unwrap();
    std::os::unix::fs::symlink("/nowhere", sandbox.file("default")).unwrap();
    let output = sandbox.run(&["logout"]);
    output.assert(
        0,
        "",
        "Removed the link to /nowhere (profile default). Nothing was revoked.\n",
    );
    assert!(!sandbox.file("default").is_symlink());
}

#[test]
fn all_logins_are_revoked_and_codexs_is_not() {
    let sandbox = Sandbox::new();
    sandbox.store_codex(&sandbox.codex_login(LIFE).to_string());
    sandbox.plant_as("default", LIFE.cast_signed(), LIFE);
    sandbox.plant_as("work", -1, LIFE);
    sandbox.store("damaged", "{");
    let output = sandbox.run(&["logout", "--all"]);
    output.assert(
        0,
        "",
        "Signed out (profile damaged). The login was not revoked: [..]\nSigned out (profile default).\nSigned out (profile work).\n",
    );
    assert_eq!(sandbox.issuer.revoked().len(), 2);
    assert!(sandbox.codex_file().exists());
    let again = sandbox.run(&["logout", "--all"]);
    again.assert(0, "", "Not signed in.\n");
}

#[test]
fn one_login_that_cannot_be_removed_does_not_stop_the_others() {
    let sandbox = Sandbox::new();
    sandbox.plant_as("work", LIFE.cast_signed(), LIFE);
    fs::create_dir(sandbox.file("folder")).unwrap();
    let output = sandbox.run(&["logout", "--all", "--no-revoke"]);
    output.assert(
        1,
        "",
        &format!(
            "codex-auth: could not remove [HOME]/folder.json: [HOME]/folder.json is not a regular file: run rm -r {}\nSigned out (profile work). The login was not revoked.\n",
            word("[HOME]/folder.json")
        ),
    );
    assert!(!sandbox.file("work").exists());
}

#[test]
fn a_shared_login_is_removed_and_not_revoked() {
    let sandbox = Sandbox::new();
    let login = sandbox.plant();
    let mut codexs = sandbox.codex_login(LIFE);
    codexs["tokens"] = login["tokens"].clone();
    sandbox.store_codex(&codexs.to_string());
    sandbox.run(&["logout"]).assert(
        0,
        "",
        "Signed out (profile default). The login was not revoked: it is a copy of Codex's own login.\n",
    );
    assert!(!sandbox.file("default").exists());
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn of_two_copies_the_last_one_is_revoked() {
    let sandbox = Sandbox::new();
    let login = sandbox.plant();
    sandbox.store("work", &login.to_string());
    sandbox.run(&["logout", "--all"]).assert(
        0,
        "",
        "Signed out (profile default). The login was not revoked: it is a copy of the profile work.\n\
         Signed out (profile work).\n",
    );
    assert_eq!(
        sandbox.issuer.revoked(),
        [login["tokens"]["refresh_token"].as_str().unwrap()]
    );
}

#[test]
fn of_all_logins_one_that_is_being_refreshed_is_waited_for() {
    let sandbox = Sandbox::new();
    sandbox.plant_as("held", LIFE.cast_signed(), LIFE);
    sandbox.plant_as("work", LIFE.cast_signed(), LIFE);
    let lock = File::create(sandbox.home().join("held.lock")).unwrap();
    lock.lock().unwrap();
    let mut running = sandbox.spawn(&["logout", "--all"]);
    running.await_text("Waiting for another process that is refreshing this token.");
    drop(lock);
    running.finish().assert(
        0,
        "",
        "Waiting for another process that is refreshing this token.\nSigned out (profile held).\nSigned out (profile work).\n",
    );
    assert_eq!(sandbox.issuer.revoked().len(), 2);
}

#[test]
fn all_and_a_profile_exclude_each_other() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let output = sandbox.run(&["logout", "--all", "--profile", "work"]);
    assert_eq!((output.code, output.stdout.as_str()), (2, ""));
    assert!(sandbox.file("default").exists());
}
