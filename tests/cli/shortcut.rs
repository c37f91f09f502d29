//! A bare `token` skips the parser, and must only differ from other spellings in speed.

use serde_json::{Value, json};

use support::fake_issuer::{Endpoint, Trouble};
use support::sandbox::Sandbox;

/// A change to a stored login.
type Change = fn(&mut Value);

/// Stored records with a fresh token, and the exit code of `token` with each.
const STORED: [(&str, Change, i32); 8] = [
    ("fresh", |_| {}, 0),
    (
        "with more in it",
        |login| login["x"] = json!({"tokens": 1}),
        0,
    ),
    (
        "refused",
        |login| login["revoked"] = json!({"reason": "gone", "at": "2026-01-01T00:00:00Z"}),
        0,
    ),
    ("of a newer version", |login| login["version"] = json!(2), 1),
    ("without a version", |login| drop(take(login, "version")), 0),
    ("without an end", |login| drop(take(login, "expires_at")), 0),
    ("without tokens", |login| drop(take(login, "tokens")), 4),
    (
        "with a bad token",
        |login| login["tokens"]["access_token"] = json!("a b"),
        4,
    ),
];

fn take(login: &mut Value, name: &str) -> Option<Value> {
    login.as_object_mut().unwrap().remove(name)
}

/// Runs both spellings on the same stored login, and compares everything they leave behind.
fn assert_alike(sandbox: &Sandbox, what: &str, code: i32) {
    let plain = sandbox.run(&["token"]);
    let parsed = sandbox.run(&["token", "--profile", "default"]);
    assert_eq!(plain.code, code, "{what}: {}", plain.stderr);
    assert_eq!(plain.code, parsed.code, "{what}");
    assert_eq!(plain.stdout, parsed.stdout, "{what}");
    assert_eq!(plain.stderr, parsed.stderr, "{what}");
}

#[test]
fn a_bare_token_succeeds_like_any_other_spelling() {
    let sandbox = Sandbox::new();
    assert_alike(&sandbox, "nothing", 4);
    for (what, change, code) in STORED {
        let mut login = sandbox.plant();
        change(&mut login);
        sandbox.store("default", &login.to_string());
        assert_alike(&sandbox, what, code);
    }
    sandbox.store("default", "{");
    assert_alike(&sandbox, "damaged", 4);
}

#[test]
fn a_bare_token_fails_as_any_other_spelling_does() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-1, 3600);
    let rejection = Trouble::error(401, "refresh_token_expired");
    sandbox.issuer.plan(Endpoint::Refresh, rejection);
    assert_alike(&sandbox, "refused now, and still", 4);
}

#[test]
fn a_bare_token_uses_the_profile_of_the_environment() {
    let mut sandbox = Sandbox::new();
    sandbox.set("CODEX_AUTH_PROFILE", "work");
    let login = sandbox.plant_as("work", 3600, 7200);
    let output = sandbox.run(&["token"]);
    output.assert(0, "[TOKEN]\n", "");
    assert_eq!(output.line(), login["tokens"]["access_token"]);
}

#[test]
fn a_short_min_ttl_needs_no_refresh_and_a_long_one_does() {
    let sandbox = Sandbox::new();
    let login = sandbox.plant_expiring_in(3600, 7200);
    let fresh = sandbox.run(&["token", "--min-ttl", "50m"]);
    fresh.assert(0, "[TOKEN]\n", "");
    assert_eq!(fresh.line(), login["tokens"]["access_token"]);
    let refreshed = sandbox.run(&["token", "--min-ttl", "70m"]);
    refreshed.assert(0, "[TOKEN]\n", "");
    assert_ne!(refreshed.line(), fresh.line());
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 1);
}
