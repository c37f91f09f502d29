//! The profile `codex`: reads Codex's own login in all its forms, and never writes or refreshes it.

#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use support::fake_issuer::Endpoint;
use support::sandbox::Sandbox;
#[cfg(target_os = "linux")]
use support::sandbox::{find_program, program, skip};

const DAY: u64 = 86400;

fn with_codexs(change: impl Fn(&mut Value)) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut login = sandbox.codex_login(DAY);
    change(&mut login);
    sandbox.store_codex(&login.to_string());
    sandbox
}

fn without(object: &mut Value, member: &str) {
    object.as_object_mut().unwrap().remove(member);
}

#[test]
fn codexs_token_and_account_are_printed_in_all_shapes_of_its_file() {
    let changes: [fn(&mut Value); 9] = [
        |_| {},
        |login| without(login, "auth_mode"),
        |login| without(login, "last_refresh"),
        |login| without(login, "OPENAI_API_KEY"),
        |login| without(&mut login["tokens"], "account_id"),
        |login| login["tokens"]["oauth_provenance"] = json!({ "kind": "new" }),
        |login| login["tokens"]["id_token"] = json!("broken"),
        |login| login["tokens"]["id_token"] = json!({ "raw": "of old" }),
        |login| {
            login["version"] = json!(99);
            login["expires_at"] = json!(1);
            login["revoked"] = json!({ "reason": "none of ours" });
        },
    ];
    for change in changes {
        let sandbox = with_codexs(change);
        let token = sandbox.run(&["--profile", "codex", "token"]);
        token.assert(0, "[TOKEN]\n", "");
        let account = sandbox.run(&["--profile", "codex", "account-id"]);
        account.assert(0, "account-1\n", "");
        assert!(sandbox.issuer.requests().is_empty());
    }
}

#[cfg(unix)]
#[test]
fn without_codex_home_the_file_is_that_of_the_home_folder() {
    let mut sandbox = with_codexs(|_| {});
    sandbox.unset("CODEX_HOME");
    let output = sandbox.run(&["--profile", "codex", "token"]);
    output.assert(0, "[TOKEN]\n", "");
}

#[test]
fn the_profile_can_come_from_the_environment() {
    let mut sandbox = with_codexs(|_| {});
    sandbox.set("CODEX_AUTH_PROFILE", "codex");
    sandbox.run(&["token"]).assert(0, "[TOKEN]\n", "");
}

/// Honouring an issuer in this file would allow others to redirect the refresh token.
#[test]
fn the_name_is_codexs_in_any_spelling() {
    let sandbox = with_codexs(|_| {});
    for name in ["Codex", "CODEX"] {
        let output = sandbox.run(&["--profile", name, "token"]);
        output.assert(0, "[TOKEN]\n", "");
        assert_eq!(sandbox.run(&["--profile", name, "logout"]).code, 2);
        sandbox.store(name, "{}");
    }
    let output = sandbox.run(&["logout", "--all"]);
    output.assert(0, "", "Not signed in.\n");
}

#[test]
fn an_expired_token_is_not_refreshed_and_the_file_stays_untouched() {
    let sandbox = Sandbox::new();
    for (left, reason) in [
        (0, "Codex's token has expired"),
        (60, "Codex's token expires too soon"),
    ] {
        let mut login = sandbox.codex_login(left);
        login["issuer"] = json!(sandbox.issuer.url());
        login["client_id"] = json!(support::fake_issuer::CLIENT_ID);
        sandbox.store_codex(&login.to_string());
        let before = fs::metadata(sandbox.codex_file()).unwrap();
        let stderr = format!("codex-auth: {reason}: run codex to refresh it\n");
        let output = sandbox.run(&["--profile", "codex", "token"]);
        output.assert(4, "", &stderr);
        let after = fs::metadata(sandbox.codex_file()).unwrap();
        assert_eq!(before.modified().unwrap(), after.modified().unwrap());
        let text = fs::read_to_string(sandbox.codex_file()).unwrap();
        assert_eq!(text, login.to_string());
    }
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 0);
    assert!(!sandbox.home().exists(), "nothing was stored here either");
}

#[test]
fn another_token_or_a_longer_life_is_for_codex_to_get() {
    let sandbox = with_codexs(|_| {});
    let forced = sandbox.run(&["--profile", "codex", "token", "--force-refresh"]);
    forced.assert(
        4,
        "",
        "codex-auth: codex-auth cannot refresh Codex's token: run codex to refresh it\n",
    );
    let longer = sandbox.run(&["--profile", "codex", "token", "--min-ttl", "2d"]);
    longer.assert(
        4,
        "",
        "codex-auth: Codex's token expires too soon: run codex to refresh it\n",
    );
    let shorter = sandbox.run(&["--profile", "codex", "token", "--min-ttl", "1h"]);
    shorter.assert(0, "[TOKEN]\n", "");
    assert!(sandbox.issuer.requests().is_empty());
}

/// Whatever else the file contains, an API key is not a ChatGPT token.
#[test]
fn a_login_with_an_api_key_is_reported_as_an_error() {
    let by_mode = |login: &mut Value| {
        login["auth_mode"] = json!("apikey");
        login["OPENAI_API_KEY"] = json!("sk-of-somebody");
    };
    let by_key = |login: &mut Value| {
        without(login, "auth_mode");
        login["OPENAI_API_KEY"] = json!("sk-of-somebody");
    };
    let without_tokens = |login: &mut Value| {
        *login = json!({ "OPENAI_API_KEY": "sk-of-somebody" });
    };
    let changes: [&dyn Fn(&mut Value); 3] = [&by_mode, &by_key, &without_tokens];
    for change in changes {
        let sandbox = with_codexs(change);
        for command in ["token", "account-id"] {
            let output = sandbox.run(&["--profile", "codex", command]);
            output.assert(
                4,
                "",
                "codex-auth: could not use [FOLDER]/.codex/auth.json: Codex is signed in with an API key, not with ChatGPT: use the profile default instead: run codex-auth login\n",
            );
        }
    }
}

#[test]
fn a_login_of_any_other_kind_is_an_error_that_names_it() {
    for (mode, kind) in [
        ("headers", "its own HTTP headers"),
        ("agentIdentity", "an agent identity"),
        ("bedrockApiKey", "Amazon Bedrock"),
        ("bedrockAccessKeys", "Amazon Bedrock"),
        ("some\u{1b}thing", "some thing"),
    ] {
        let sandbox = with_codexs(|login| login["auth_mode"] = json!(mode));
        let stderr = format!(
            "codex-auth: could not use [FOLDER]/.codex/auth.json: Codex is signed in with {kind}, not with ChatGPT: use the profile \
             default instead: run codex-auth login\n"
        );
        let output = sandbox.run(&["--profile", "codex", "token"]);
        output.assert(4, "", &stderr);
    }
}

/// Signed in by the app that Codex is part of.
#[test]
fn tokens_that_another_app_gave_codex_are_printed() {
    let sandbox = with_codexs(|login| login["auth_mode"] = json!("chatgptAuthTokens"));
    let output = sandbox.run(&["--profile", "codex", "token"]);
    output.assert(0, "[TOKEN]\n", "");
}

#[test]
fn the_mode_decides_which_of_two_logins_counts() {
    let sandbox = with_codexs(|login| login["personal_access_token"] = json!("at-old"));
    let output = sandbox.run(&["--profile", "codex", "token"]);
    output.assert(0, "[TOKEN]\n", "");
    assert_ne!(output.line(), "at-old");
}

/// A bare `codex-auth login` would be for the profile `codex` again.
#[test]
fn the_advice_to_sign_in_is_about_the_default_profile_whatever_the_environment_names() {
    let mut sandbox = with_codexs(|login| login["auth_mode"] = json!("apikey"));
    sandbox.set("CODEX_AUTH_PROFILE", "codex");
    sandbox.run(&["token"]).assert(
        4,
        "",
        "codex-auth: could not use [FOLDER]/.codex/auth.json: Codex is signed in with an API key, not with ChatGPT: use the profile default instead: run codex-auth --profile default login\n",
    );
}

#[test]
fn an_api_key_beside_a_chatgpt_login_does_not_matter() {
    let sandbox = with_codexs(|login| login["OPENAI_API_KEY"] = json!("sk-of-somebody"));
    let output = sandbox.run(&["--profile", "codex", "token"]);
    output.assert(0, "[TOKEN]\n", "");
}

#[test]
fn a_damaged_or_missing_file_is_an_error() {
    let sandbox = Sandbox::new();
    let absent = sandbox.run(&["--profile", "codex", "token"]);
    absent.assert(
        4,
        "",
        "codex-auth: Codex is not signed in: run codex login\n",
    );
    for (text, cause) in [
        ("", "the file is empty"),
        (
            "{\"tokens\":",
            "the file is damaged: it is not a JSON object",
        ),
        ("[]", "the file is damaged: it is not a JSON object"),
    ] {
        sandbox.store_codex(text);
        let stderr = format!("codex-auth: could not use [FOLDER]/.codex/auth.json: {cause}\n");
        let output = sandbox.run(&["--profile", "codex", "token"]);
        output.assert(1, "", &stderr);
    }
    sandbox.store_codex("{}");
    let output = sandbox.run(&["--profile", "codex", "token"]);
    output.assert(
        4,
        "",
        "codex-auth: Codex's file has no access token: run codex to refresh it\n",
    );
}

#[test]
fn codexs_login_is_mentioned_but_never_used_unasked() {
    let sandbox = with_codexs(|_| {});
    for command in ["token", "account-id"] {
        sandbox.run(&[command]).assert(
            4,
            "",
            "codex-auth: not signed in: run codex-auth login, or use --profile codex for Codex's own login\n",
        );
    }
    fs::remove_file(sandbox.codex_file()).unwrap();
    let output = sandbox.run(&["token"]);
    output.assert(4, "", "codex-auth: not signed in: run codex-auth login\n");
}

#[test]
fn nobody_signs_in_to_codexs_profile_or_out_of_it() {
    let sandbox = with_codexs(|_| {});
    for arguments in [&["login"][..], &["logout"], &["logout", "--no-revoke"]] {
        let arguments = [&["--profile", "codex"], arguments].concat();
        sandbox.run(&arguments).assert(
            2,
            "",
            "codex-auth: could not use the profile codex: it is Codex's own login, which codex-auth only reads: choose another --profile\n",
        );
    }
    assert!(sandbox.codex_file().exists());
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn an_access_token_from_an_admin_console_is_printed_unchanged() {
    let sandbox = Sandbox::new();
    sandbox.store_codex(r#"{"auth_mode":"personalAccessToken","personal_access_token":"at-1234"}"#);
    sandbox
        .run(&["--profile", "codex", "token"])
        .assert(0, "at-1234\n", "");
    sandbox
        .run(&["--profile", "codex", "token", "--force-refresh"])
        .assert(
            4,
            "",
            "codex-auth: codex-auth cannot refresh Codex's token: create a new one, and run codex login --with-access-token\n",
        );
    assert!(sandbox.issuer.requests().is_empty());
}

/// Its file names no account, so no account header is sent.
#[test]
fn an_access_token_of_codexs_is_asked_about_without_an_account() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| its.account.id = None);
    let token = sandbox.issuer.issue_personal_token();
    let login = json!({ "auth_mode": "personalAccessToken", "personal_access_token": token });
    sandbox.store_codex(&login.to_string());
    let verify = [
        "--profile",
        "codex",
        "token",
        "--verify",
        "--timeout",
        "10m",
    ];
    sandbox.run(&verify).assert(0, "[TOKEN]\n", "");
    sandbox.issuer.reject_access_tokens();
    sandbox.run(&verify).assert(
            4,
            "",
            "codex-auth: the backend rejects Codex's token: create a new one, and run codex login --with-access-token\n",
        );
    let status = sandbox.run(&["--profile", "codex", "status", "--verify"]);
    status.assert(
            4,
            "No token: the backend rejects Codex's token: create a new one, and run codex login --with-access-token\n...\n",
            "",
        );
    let requests = sandbox.issuer.requests_to(Endpoint::Usage);
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(request.header("chatgpt-account-id"), None);
    }
}

/// Sets Codex's configuration to this text.
fn configure(sandbox: &Sandbox, text: &str) {
    let configuration = configuration(sandbox);
    fs::create_dir_all(configuration.parent().unwrap()).unwrap();
    fs::write(&configuration, text).unwrap();
}

fn configuration(sandbox: &Sandbox) -> PathBuf {
    sandbox.codex_file().with_file_name("config.toml")
}

const ENCRYPTED: &str = "Codex keeps its login in an encrypted file, which codex-auth cannot read: set cli_auth_credentials_store = \
                         \"file\" in Codex's config.toml and run codex login\n";

/// As Codex does on Windows, and on other systems if configured.
#[test]
fn an_encrypted_login_of_codexs_is_reported() {
    for store in ["keyring", "auto"] {
        let sandbox = Sandbox::new();
        configure(
            &sandbox,
            &format!(
                "\"cli_auth_credentials_store\" = '{store}'\n[features]\nsecret_auth_storage = true\n"
            ),
        );
        let stderr = format!("codex-auth: {ENCRYPTED}");
        let token = || sandbox.run(&["--profile", "codex", "token"]);
        token().assert(4, "", &stderr);
        let status = sandbox.run(&["--profile", "codex", "status"]);
        status.assert(4, ENCRYPTED, "");
        // A login in the plain file is older, unless Codex could not encrypt (`auto`).
        sandbox.store_codex(&sandbox.codex_login(DAY).to_string());
        if store == "auto" {
            token().assert(0, "[TOKEN]\n", "");
        }
        let folder = sandbox.codex_file().with_file_name("secrets");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("codex_auth.age"), "age").unwrap();
        token().assert(4, "", &stderr);
    }
}

/// Files that cannot be a configuration are not read, especially not endless ones.
#[cfg(unix)]
#[test]
fn a_configuration_of_codexs_that_cannot_be_read_is_an_error_and_never_a_wait() {
    use std::os::unix::fs::symlink;
    type Make = fn(&std::path::Path);
    let makes: [(Make, &str); 5] = [
        (
            |path| {
                let made = std::process::Command::new("mkfifo").arg(path).status();
                assert!(made.unwrap().success());
            },
            "it is not a regular file",
        ),
        (
            |path| symlink("/dev/zero", path).unwrap(),
            "it is not a regular file",
        ),
        (
            |path| fs::create_dir(path).unwrap(),
            "it is not a regular file",
        ),
        (
            |path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
            "it is larger than 4194304 bytes",
        ),
        (
            |path| fs::write(path, "cli_auth_credentials_store = keyring").unwrap(),
            "it is not valid TOML",
        ),
    ];
    for (make, cause) in makes {
        let sandbox = with_codexs(|_| {});
        make(&configuration(&sandbox));
        let words = format!(
            "could not use Codex's login: could not read [FOLDER]/.codex/config.toml: {cause}"
        );
        let token = sandbox.run(&["--profile", "codex", "token"]);
        token.assert(1, "", &format!("codex-auth: {words}\n"));
        let status = sandbox.run(&["--profile", "codex", "status"]);
        status.assert(1, &format!("No token: {words}\n..."), "");
        let doctor = sandbox.run(&["--profile", "codex", "doctor"]);
        assert!(doctor.stdout.contains(cause), "{}", doctor.stdout);
        // Other profiles are not affected.
        sandbox.plant();
        sandbox.run(&["token"]).assert(0, "[TOKEN]\n", "");
        sandbox
            .run(&["logout"])
            .assert(0, "", "Signed out (profile default).\n");
    }
}

/// The administrator's configuration, which the user's own can override.
#[cfg(target_os = "linux")]
#[test]
fn the_systems_configuration_of_codex_counts_too() {
    let Some(bwrap) = find_program("bwrap") else {
        return skip("no bwrap here");
    };
    let sandbox = with_codexs(|_| {});
    let system = sandbox.folder().join("system.toml");
    let text = "cli_auth_credentials_store = \"keyring\"\nfeatures.secret_auth_storage = true\n";
    fs::write(&system, text).unwrap();
    let token = || {
        let mut words: Vec<OsString> = vec![bwrap.clone().into()];
        for word in ["--dev-bind", "/", "/", "--tmpfs", "/etc", "--ro-bind"] {
            words.push(word.into());
        }
        words.extend([system.clone().into(), "/etc/codex/config.toml".into()]);
        words.extend(program());
        words.extend(["--profile", "codex", "token"].map(OsString::from));
        sandbox.start(sandbox.command_of(&words)).finish()
    };
    let output = token();
    if output.stderr.starts_with("bwrap:") {
        return skip("bwrap does not work here");
    }
    output.assert(4, "", &format!("codex-auth: {ENCRYPTED}"));
    configure(&sandbox, "cli_auth_credentials_store = \"file\"\n");
    token().assert(0, "[TOKEN]\n", "");
}
