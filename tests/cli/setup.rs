//! `setup`: what other programs are to be told. That Codex takes it is tried in `codex.rs`.

use serde_json::{Value, json};

use support::fake_issuer::Account;
use support::sandbox::Sandbox;

fn signed_in() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.plant();
    sandbox
}

#[test]
fn codex_is_told_everything_it_needs() {
    let sandbox = signed_in();
    sandbox.run(&["setup", "codex"]).assert(
        0,
        "\
# Codex CLI: put this into ~/.codex/config.toml (or $CODEX_HOME/config.toml). The first line belongs above all
# [tables] that are there already. After signing in to another account, replace it.
model_provider = \"chatgpt\"

[model_providers.chatgpt]
name = \"ChatGPT through codex-auth\"
base_url = \"[ISSUER]/backend-api/codex\"
wire_api = \"responses\"
http_headers = { \"ChatGPT-Account-Id\" = \"account-1\" }

[model_providers.chatgpt.auth]
command = \"[..]codex-auth[..]\"
args = [\"--profile\", \"default\", \"token\", \"--verify\", \"--timeout\", \"8s\"]
timeout_ms = 15000
refresh_interval_ms = 300000
",
        "",
    );
}

#[test]
fn the_profile_and_the_region_of_the_login_are_told_too() {
    let sandbox = Sandbox::new();
    let mut account = Account::new("team-1", "someone@mail.example");
    let region = json!("eu");
    account
        .claims
        .insert("chatgpt_compute_residency".to_owned(), region);
    sandbox.issuer.set(|its| its.account = account);
    sandbox.plant_as("work", 1000, 2000);
    let words = [
        "--profile",
        "work",
        "setup",
        "codex",
        "--base-url",
        "https://proxy.example/v1/",
    ];
    sandbox.run(&words).assert(
        0,
        "\
...
base_url = \"https://proxy.example/v1\"
wire_api = \"responses\"
http_headers = { \"ChatGPT-Account-Id\" = \"team-1\", \"x-openai-internal-codex-residency\" = \"eu\" }
...
args = [\"--profile\", \"work\", \"token\", \"--verify\", \"--timeout\", \"8s\"]
...
",
        "",
    );
}

#[test]
fn a_login_without_an_account_has_no_headers() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| its.account.id = None);
    sandbox.plant();
    sandbox.run(&["setup", "codex"]).assert(
        0,
        "...\nwire_api = \"responses\"\n\n[model_providers.chatgpt.auth]\n...\n",
        "",
    );
}

#[test]
fn without_a_login_somebody_has_to_sign_in_first() {
    let sandbox = Sandbox::new();
    sandbox.run(&["setup", "codex"]).assert(
        4,
        "",
        "codex-auth: not signed in: run codex-auth login\n",
    );
}

#[test]
fn claude_code_needs_a_base_url() {
    let sandbox = signed_in();
    sandbox.run(&["setup", "claude-code"]).assert(
        2,
        "",
        "codex-auth: claude-code needs --base-url URL: without one Claude Code sends the token to Anthropic\n",
    );
}

#[test]
fn a_base_url_that_would_show_the_token_is_refused() {
    let sandbox = signed_in();
    let words = ["setup", "codex", "--base-url", "http://proxy.example"];
    sandbox.run(&words).assert(
        2,
        "",
        "codex-auth: --base-url cannot be used: it is plain http, and proxy.example is not this machine\n",
    );
}

/// What is printed for a program whose configuration is JSON; the comments stand on stderr.
#[track_caller]
fn configuration(sandbox: &Sandbox, program: &str) -> Value {
    let words = ["setup", program, "--base-url", "https://proxy.example/v1"];
    let output = sandbox.run(&words);
    output.assert(0, "...\n", "# [..]: put this into [..]\n...\n");
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn programs_with_json_get_json() {
    let sandbox = signed_in();
    let claude = configuration(&sandbox, "claude-code");
    assert_eq!(
        claude["env"]["ANTHROPIC_BASE_URL"],
        "https://proxy.example/v1"
    );
    let pi = &configuration(&sandbox, "pi")["providers"]["codex-auth"];
    assert_eq!(pi["baseUrl"], "https://proxy.example/v1");
    assert_eq!(pi["headers"], json!({ "ChatGPT-Account-Id": "account-1" }));
    let crush = &configuration(&sandbox, "crush")["providers"]["codex-auth"];
    assert_eq!(crush["base_url"], "https://proxy.example/v1");
    assert_eq!(
        crush["extra_headers"],
        json!({ "ChatGPT-Account-Id": "account-1" })
    );
}

#[test]
fn vt_code_is_told_how_to_call_us() {
    let sandbox = signed_in();
    sandbox.run(&["setup", "vtcode"]).assert(
        0,
        "\
# VT Code: put this into ~/.vtcode/vtcode.toml, [..]
...
[[custom_providers]]
name = \"chatgpt\"
display_name = \"ChatGPT through codex-auth\"
base_url = \"[ISSUER]/backend-api/codex\"
model = \"MODEL\"

[custom_providers.auth]
command = \"[..]\"
args = [\"--profile\", \"default\", \"token\", \"--verify\", \"--timeout\", \"8s\"]
timeout_ms = 15000
refresh_interval_ms = 300000
",
        "",
    );
}

#[cfg(unix)]
mod on_unix {
    use std::ffi::OsString;

    use super::*;
    use support::process::Output;

    /// What this program prints when it was put where its path needs quotes.
    fn setup(sandbox: &Sandbox, program: &str) -> Option<Output> {
        let installed = sandbox.install()?.into_os_string();
        let words = ["setup", program, "--base-url", "https://proxy.example"].map(OsString::from);
        let mut command = sandbox.command_of(&[&[installed], &words[..]].concat());
        command.env_remove("PATH");
        Some(sandbox.start(command).finish())
    }

    #[test]
    fn the_lines_for_a_shell_work_from_any_path() {
        for (program, path) in [
            ("claude-code", "/apiKeyHelper"),
            ("pi", "/providers/codex-auth/apiKey"),
            ("crush", "/providers/codex-auth/api_key"),
        ] {
            let sandbox = signed_in();
            let Some(output) = setup(&sandbox, program) else {
                return;
            };
            let configuration: Value = serde_json::from_str(&output.stdout).unwrap();
            let value = configuration.pointer(path).unwrap().as_str().unwrap();
            assert!(value.contains("$dir"), "{value}");
            let line = match program {
                "pi" => value.strip_prefix('!').unwrap().to_owned(),
                "crush" => format!("printf '%s\\n' \"{value}\""),
                _ => value.to_owned(),
            };
            let output = sandbox.start(sandbox.shell(&line)).finish();
            output.assert(0, "[TOKEN]\n", "");
        }
    }

    /// It stays where it is when a package manager puts the next version into another folder.
    #[test]
    fn a_link_in_path_is_what_the_caller_is_told() {
        let sandbox = signed_in();
        let Some(installed) = sandbox.install() else {
            return;
        };
        let words = [installed.into(), "setup".into(), "codex".into()];
        let output = sandbox.start(sandbox.command_of(&words)).finish();
        let link = "...\ncommand = \"[FOLDER]/bin/codex-auth\"\n...\n";
        output.assert(0, link, "");
    }

    #[test]
    fn the_lines_for_curl_work_as_they_are() {
        let sandbox = signed_in();
        if sandbox
            .start(sandbox.shell("command -v curl"))
            .finish()
            .code
            != 0
        {
            support::sandbox::skip("no curl here");
            return;
        }
        let lines = sandbox.run(&["setup", "curl"]).stdout;
        let output = sandbox.start(sandbox.shell(&lines)).finish();
        let answer = "{\"plan_type\":\"plus\"}";
        assert_eq!((output.code, output.stdout), (0, answer.repeat(2)));
    }
}
