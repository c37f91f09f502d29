//! The profile `codex` if Codex keeps its login in the keyring: it is read from there and nowhere else.

use std::fs;

use sha2::{Digest, Sha256};

use super::TOKEN;
use support::desktop::Desktop;
use support::sandbox::Sandbox;

const DAY: u64 = 86400;
const CODEX: [&str; 3] = ["--profile", "codex", "token"];
const NOT_SIGNED_IN: &str = "codex-auth: Codex is not signed in: run codex login\n";
const LOCKED: &str = "codex-auth: could not use Codex's login in the keyring: the keyring is locked: unlock it, and try again\n";

/// Sets where Codex stores its login.
fn configure(sandbox: &Sandbox, store: &str) {
    let folder = sandbox.codex_file().parent().unwrap().to_owned();
    fs::create_dir_all(&folder).unwrap();
    let text = format!("model = \"gpt\"\ncli_auth_credentials_store = \"{store}\"\n");
    fs::write(folder.join("config.toml"), text).unwrap();
}

/// Stores a login as Codex does.
fn keep(desktop: &Desktop) {
    let sandbox = &desktop.sandbox;
    let home = fs::canonicalize(sandbox.codex_file().parent().unwrap()).unwrap();
    let digest = Sha256::digest(home.to_str().unwrap());
    let start = u64::from_be_bytes(digest[..8].try_into().unwrap());
    let login = sandbox.codex_login(DAY).to_string();
    desktop.keep("Codex Auth", &format!("cli|{start:016x}"), &login);
}

#[test]
fn codexs_login_is_read_from_the_keyring() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    for store in ["keyring", "auto"] {
        configure(sandbox, store);
        sandbox.run(&CODEX).assert(4, "", NOT_SIGNED_IN);
    }
    keep(&desktop);
    for store in ["keyring", "auto"] {
        configure(sandbox, store);
        sandbox.run(&CODEX).assert(0, TOKEN, "");
        let words = "Signed in as someone@mail.example (Plus)\n...\n  File:       the keyring (Codex Auth)\n...\n";
        sandbox
            .run(&["--profile", "codex", "status"])
            .assert(0, words, "");
    }
    configure(sandbox, "file");
    sandbox.run(&CODEX).assert(4, "", NOT_SIGNED_IN);
    assert!(!sandbox.home().exists());
}

/// Codex ignores a file beside it, which is an older login.
#[test]
fn a_file_only_counts_if_codex_would_read_it() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    sandbox.store_codex(&sandbox.codex_login(DAY).to_string());
    configure(sandbox, "keyring");
    sandbox.run(&CODEX).assert(4, "", NOT_SIGNED_IN);
    configure(sandbox, "auto");
    sandbox.run(&CODEX).assert(0, TOKEN, "");
}

#[test]
fn a_locked_keyring_does_not_give_codexs_login() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    configure(sandbox, "keyring");
    keep(&desktop);
    desktop.lock();
    let listener = desktop.listen();
    for store in ["keyring", "auto"] {
        configure(sandbox, store);
        sandbox.run(&CODEX).assert(75, "", LOCKED);
    }
    sandbox.store_codex(&sandbox.codex_login(DAY).to_string());
    sandbox.run(&CODEX).assert(0, TOKEN, "");
    desktop.assert_no_prompt(listener);
}

#[test]
fn without_a_session_bus_a_status_ends_like_a_token() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    desktop
        .sandbox
        .set("DBUS_SESSION_BUS_ADDRESS", "no address");
    let sandbox = &desktop.sandbox;
    let words = "could not use Codex's login in the keyring: the keyring cannot be reached: there is no session bus here: run \
                 codex-auth in your desktop session, where DBUS_SESSION_BUS_ADDRESS is set\n";
    for store in ["keyring", "auto"] {
        configure(sandbox, store);
        let stderr = format!("codex-auth: {words}");
        sandbox.run(&CODEX).assert(75, "", &stderr);
        let status = sandbox.run(&["--profile", "codex", "status"]);
        status.assert(75, &format!("No token: {words}..."), "");
    }
}
