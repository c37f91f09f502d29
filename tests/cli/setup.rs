//! `setup`: the configuration of other programs. Whether Codex accepts it is tested in `codex.rs`.

use serde_json::{Value, json};

/// What `setup` warns about on Windows, which has no `env` to set variables.
pub const ENVIRONMENT: &str = if cfg!(windows) {
    "codex-auth: warning: set the same CODEX_AUTH_HOME in the program's environment\n\
     codex-auth: warning: set the same CODEX_AUTH_CHATGPT_URL in the program's environment\n"
} else {
    ""
};

#[cfg(unix)]
use support::expect;
use support::fake_issuer::Account;
use support::sandbox::Sandbox;

fn signed_in() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.plant();
    sandbox
}

/// The command that a program is told to run, from any folder and with any environment.
#[cfg(unix)]
const ARGUMENTS: &str = "[\"CODEX_AUTH_HOME=[HOME]\", \"CODEX_AUTH_CHATGPT_URL=[ISSUER]/backend-api\", \"[..]codex-auth[..]\", \
    \"--profile\", \"default\", \"token\", \"--verify\", \"--timeout\", \"8s\"]";

#[test]
#[cfg(unix)]
fn codex_is_told_everything_it_needs() {
    let sandbox = signed_in();
    let expected = format!(
        "\
# Codex CLI: put this into ~/.codex/config.toml (or $CODEX_HOME/config.toml).
# [..]
...
model_provider = \"chatgpt\"

[model_providers.\"chatgpt\"]
name = \"ChatGPT through codex-auth\"
base_url = \"[ISSUER]/backend-api/codex\"
wire_api = \"responses\"
http_headers = {{ \"ChatGPT-Account-Id\" = \"account-1\" }}

[model_providers.\"chatgpt\".auth]
command = \"env\"
args = {ARGUMENTS}
timeout_ms = 15000
refresh_interval_ms = 300000
"
    );
    sandbox.run(&["setup", "codex"]).assert(0, &expected, "");
}

#[test]
fn without_variables_of_ours_the_program_is_called_as_it_is() {
    let mut sandbox = Sandbox::new();
    sandbox.unset("CODEX_AUTH_HOME");
    sandbox.unset("CODEX_AUTH_CHATGPT_URL");
    sandbox.run(&["setup", "codex"]).assert(
        0,
        "...\nbase_url = \"https://chatgpt.com/backend-api/codex\"\n...\n\
         command = \"[..]codex-auth[..]\"\nargs = [\"--profile\", \"default\", [..]]\n...\n",
        "codex-auth: warning: ACCOUNT-ID is a placeholder: not signed in: run codex-auth login, then setup again\n",
    );
}

/// A scheduled job has none of the user's variables.
#[test]
#[cfg(target_os = "linux")]
fn the_variable_that_locates_the_login_is_carried() {
    let mut sandbox = signed_in();
    sandbox.set("XDG_CONFIG_HOME", sandbox.folder().join("config"));
    let call = |sandbox: &Sandbox, profile: &str, home: &str| {
        let job =
            format!("...\n17 * * * * env {home}CODEX_AUTH_CHATGPT_URL=[ISSUER]/backend-api [..]\n");
        let output = sandbox.run(&["--profile", profile, "setup", "cron"]);
        assert!(
            expect::matches(&job, &output.named(&output.stdout)),
            "{}",
            output.stdout
        );
    };
    call(&sandbox, "default", "CODEX_AUTH_HOME=[HOME] ");
    sandbox.unset("CODEX_AUTH_HOME");
    call(&sandbox, "default", "XDG_CONFIG_HOME=[FOLDER]/config ");
    call(&sandbox, "codex", "CODEX_HOME=[..] ");
}

/// A folder that everybody can write to could contain another user's link.
#[test]
#[cfg(unix)]
fn the_log_of_launchd_is_in_the_home_folder() {
    let mut sandbox = signed_in();
    sandbox.set("HOME", "/home/some & one");
    let log = "/home/some &amp; one/Library/Logs/codex-auth-refresh.log";
    let output = sandbox.run(&["setup", "launchd"]);
    let expected = format!("...\n  <string>{log}</string>\n</dict>\n</plist>\n");
    assert!(
        expect::matches(&expected, &output.stdout),
        "{}",
        output.stdout
    );
}

/// In the order of the command line.
const PROGRAMS: [&str; 18] = [
    "codex",
    "claude-code",
    "copilot",
    "opencode",
    "pi",
    "vtcode",
    "hermes",
    "crush",
    "openai-python",
    "openai-node",
    "openai-agents",
    "ai-sdk",
    "litellm",
    "curl",
    "env",
    "systemd",
    "cron",
    "launchd",
];

#[test]
fn every_text_is_filled_in_and_its_comments_fit_80_columns() {
    let sandbox = Sandbox::new();
    for base_url in [&[][..], &["--base-url", "https://proxy.example/v1"]] {
        for program in PROGRAMS {
            let output = sandbox.run(&[&["setup", program], base_url].concat());
            assert_eq!(output.code, 0, "{program}");
            let text = format!("{}{}", output.stdout, output.stderr);
            assert!(!text.contains("{{"), "{program}: {text}");
            let is_comment = |line: &&str| line.starts_with("# ") || line.starts_with("// ");
            // Commands to copy are indented and stay on one line; so does a list of dependencies.
            let prose = text
                .lines()
                .filter(is_comment)
                .filter(|line| !line.contains("#   "));
            for line in prose {
                assert!(line.chars().count() <= 80, "{program}: {line}");
            }
            assert!(
                text.contains("codex-auth") || program == "vtcode",
                "{program}"
            );
        }
    }
}

#[test]
fn the_profile_and_the_region_of_the_login_are_included() {
    let sandbox = Sandbox::new();
    let mut account = Account::new("team-1", "someone@mail.example");
    let region = json!("eu");
    account
        .claims
        .insert("chatgpt_compute_residency".to_owned(), region);
    sandbox.issuer.set(|its| its.account = account);
    sandbox.plant_as("work", 1000, 2000);
    let arguments = [
        "--profile",
        "work",
        "setup",
        "codex",
        "--base-url",
        "https://proxy.example/v1/",
    ];
    sandbox.run(&arguments).assert(
        0,
        "\
...
model_provider = \"chatgpt-work\"

[model_providers.\"chatgpt-work\"]
name = \"ChatGPT (work) through codex-auth\"
base_url = \"https://proxy.example/v1\"
wire_api = \"responses\"
http_headers = { \"ChatGPT-Account-Id\" = \"team-1\", \"x-openai-internal-codex-residency\" = \"eu\" }
...
args = [[..]\"--profile\", \"work\", \"token\", \"--verify\", \"--timeout\", \"8s\"]
...
",
        ENVIRONMENT,
    );
}

/// In every configuration with a base URL and headers for the backend, so that the token works there.
#[test]
fn the_routing_of_the_workspace_is_included_for_every_program() {
    let mut sandbox = Sandbox::new();
    let mut account = Account::new("team-1", "someone@mail.example");
    account
        .claims
        .insert("chatgpt_account_is_fedramp".to_owned(), json!(true));
    sandbox.issuer.set(|its| its.account = account);
    let mut login = sandbox.plant();
    login["routing"] = json!({ "origin": "https://us.chatgpt.com", "override": "us_cr" });
    sandbox.store("default", &login.to_string());
    sandbox.unset("CODEX_AUTH_CHATGPT_URL");
    for program in [
        "codex",
        "copilot",
        "opencode",
        "pi",
        "hermes",
        "openai-python",
        "openai-node",
        "openai-agents",
        "ai-sdk",
        "litellm",
    ] {
        let text = sandbox.run(&["setup", program]).stdout;
        assert!(
            text.contains("https://us.chatgpt.com/backend-api"),
            "{text}"
        );
        for (name, value) in [
            ("ChatGPT-Account-Id", "team-1"),
            ("X-OpenAI-Account-Routing-Override", "us_cr"),
            ("X-OpenAI-Fedramp", "true"),
        ] {
            let is_said = |line: &str| line.contains(name) && line.contains(value);
            // Copilot's variable has one header on each line.
            assert!(
                text.replace("'\n", "").lines().any(is_said),
                "{name}: {text}"
            );
        }
    }
}

#[test]
fn a_login_without_an_account_has_no_headers() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| its.account.id = None);
    sandbox.plant();
    sandbox.run(&["setup", "codex"]).assert(
        0,
        "...\nwire_api = \"responses\"\nhttp_headers = {  }\n\n[model_providers.\"chatgpt\".auth]\n...\n",
        ENVIRONMENT,
    );
}

#[test]
fn without_a_login_there_is_a_placeholder() {
    let sandbox = Sandbox::new();
    sandbox.run(&["--profile", "work", "setup", "codex"]).assert(
        0,
        "# Codex CLI: [..]\n...\nmodel_provider [..]\n...\nhttp_headers = { \"ChatGPT-Account-Id\" = \"ACCOUNT-ID\" }\n...\n",
        &format!("codex-auth: warning: ACCOUNT-ID is a placeholder: not signed in: run codex-auth --profile work login, then setup again\n{ENVIRONMENT}"),
    );
    // Its output has no account ID.
    let output = sandbox.run(&["setup", "curl"]);
    output.assert(0, "...\n", ENVIRONMENT);
    sandbox.store("work", "{");
    sandbox
        .run(&["--profile", "work", "setup", "codex"])
        .assert(
            0,
            "# Codex CLI: [..]\n...\n",
            &format!("codex-auth: warning: ACCOUNT-ID is a placeholder: could not read [HOME]/work.json: the file is damaged [..]: run codex-auth --profile work login, then setup again\n{ENVIRONMENT}"),
        );
}

#[test]
fn a_header_that_a_program_could_run_is_left_out() {
    let sandbox = Sandbox::new();
    let id = Some("!touch${IFS}x".to_owned());
    sandbox.issuer.set(|its| its.account.id = id);
    sandbox.plant();
    for program in [
        "codex",
        "pi",
        "copilot",
        "opencode",
        "hermes",
        "openai-python",
        "openai-node",
    ] {
        let output = sandbox.run(&["setup", program]);
        let told = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.code, 0, "{told}");
        assert!(!told.contains("touch"), "{told}");
        let note = "codex-auth: warning: omitted header ChatGPT-Account-Id: unusual characters\n";
        assert!(output.stderr.contains(note), "{told}");
    }
}

#[test]
fn a_profile_with_a_dot_is_a_key_in_quotes() {
    let sandbox = Sandbox::new();
    sandbox.plant_as("a.b", 1000, 2000);
    sandbox.run(&["--profile", "a.b", "setup", "codex"]).assert(
        0,
        "...\nmodel_provider = \"chatgpt-a.b\"\n\n[model_providers.\"chatgpt-a.b\"]\n...\n[model_providers.\"chatgpt-a.b\".auth]\n...\n",
        ENVIRONMENT,
    );
}

#[test]
fn programs_that_the_backend_does_not_serve_are_led_to_the_gateway_of_litellm() {
    let sandbox = signed_in();
    let output = sandbox.run(&["setup", "claude-code"]);
    output.assert(
        0,
        "...\n",
        "...\n# `codex-auth setup litellm` translates, and must be running. [..]\n...\n",
    );
    let settings: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        settings["env"]["ANTHROPIC_BASE_URL"],
        "http://127.0.0.1:4000"
    );
    assert_eq!(settings.get("apiKeyHelper"), None);
    sandbox.run(&["setup", "crush"]).assert(
        0,
        "...\n# `codex-auth setup litellm` translates, and must be running. [..]\n...\n  --base-url 'http://127.0.0.1:4000/v1' --api-key sk-local\n...\n",
        ENVIRONMENT,
    );
}

#[test]
fn crush_calls_us_if_its_gateway_accepts_the_token() {
    let sandbox = signed_in();
    let arguments = ["setup", "crush", "--base-url", "https://proxy.example/v1"];
    // Backslashes are shown as slashes there.
    let line_end = if cfg!(windows) { '/' } else { '\\' };
    sandbox.run(&arguments).assert(
        0,
        &format!("...\n  --base-url 'https://proxy.example/v1' {line_end}\n  --api-key \"$([..]codex-auth[..] --profile default token --verify --timeout 8s)\" --extra-header ChatGPT-Account-Id account-1\n...\n"),
        ENVIRONMENT,
    );
}

#[test]
fn hermes_gets_the_form_of_its_release_and_that_of_later_ones() {
    signed_in().run(&["setup", "hermes"]).assert(
        0,
        "\
# Hermes 0.19: [..]
#   [..]codex-auth[..] --profile default exec --verify -- hermes
...
providers:
  \"chatgpt\":
    base_url: \"[ISSUER]/backend-api/codex\"
    api_mode: codex_responses
    key_env: CODEX_AUTH_TOKEN
...
    # key_cmd: \"[..]codex-auth[..] --profile default token --verify --timeout 8s --min-ttl 20m\"
    extra_headers: { \"ChatGPT-Account-Id\": \"account-1\" }
",
        ENVIRONMENT,
    );
}

#[test]
fn copilot_gets_variables() {
    signed_in().run(&["setup", "copilot"]).assert(
        0,
        "\
# GitHub Copilot CLI: [..]
...
export COPILOT_PROVIDER_BASE_URL='[ISSUER]/backend-api/codex'
export COPILOT_PROVIDER_TYPE=openai
export COPILOT_PROVIDER_WIRE_API=responses
export COPILOT_PROVIDER_API_KEY_COMMAND='[..] token --verify --timeout 8s'
export COPILOT_PROVIDER_HEADERS='ChatGPT-Account-Id: account-1'
export COPILOT_MODEL=MODEL
",
        ENVIRONMENT,
    );
}

#[test]
fn a_base_url_that_would_show_the_token_is_refused() {
    let sandbox = signed_in();
    let arguments = ["setup", "codex", "--base-url", "http://proxy.example"];
    sandbox.run(&arguments).assert(
        2,
        "",
        "codex-auth: invalid value 'http://proxy.example' for '--base-url <URL>': plain http is only allowed to a loopback address\n",
    );
}

/// The output for a program whose configuration is JSON; the comments are on stderr.
#[track_caller]
fn configuration(sandbox: &Sandbox, program: &str) -> Value {
    let arguments = ["setup", program, "--base-url", "https://proxy.example/v1"];
    let output = sandbox.run(&arguments);
    output.assert(
        0,
        "...\n",
        &format!("{ENVIRONMENT}# [..]: put this into [..]\n...\n"),
    );
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
    assert_eq!(
        claude["env"]["ANTHROPIC_CUSTOM_HEADERS"],
        "ChatGPT-Account-Id: account-1"
    );
    let pi = &configuration(&sandbox, "pi")["providers"]["chatgpt"];
    assert_eq!(pi["baseUrl"], "https://proxy.example/v1");
    assert_eq!(pi["headers"], json!({ "ChatGPT-Account-Id": "account-1" }));
}

#[test]
#[cfg(unix)]
fn vt_code_is_told_how_to_call_us() {
    let sandbox = signed_in();
    let expected = format!(
        "\
# VT Code: put this into ~/.vtcode/vtcode.toml [..]
...
[[custom_providers]]
name = \"chatgpt\"
display_name = \"ChatGPT through codex-auth\"
base_url = \"[ISSUER]/backend-api/codex\"
api_format = \"openai-responses\"
model = \"MODEL\"

[custom_providers.auth]
command = \"env\"
args = {ARGUMENTS}
timeout_ms = 15000
refresh_interval_ms = 300000
"
    );
    sandbox.run(&["setup", "vtcode"]).assert(0, &expected, "");
}

#[cfg(unix)]
mod on_unix {
    use std::ffi::OsString;

    use super::*;
    use support::process::Output;

    /// The output of `setup` for this program, with codex-auth in a path that needs quotes.
    fn setup(sandbox: &Sandbox, program: &str) -> Option<Output> {
        let installed = sandbox.install()?.into_os_string();
        let arguments =
            ["setup", program, "--base-url", "https://proxy.example"].map(OsString::from);
        let mut command = sandbox.command_of(&[&[installed], &arguments[..]].concat());
        command.env_remove("PATH");
        Some(sandbox.start(command).finish())
    }

    #[test]
    fn the_lines_for_a_shell_work_from_any_path() {
        for (program, path) in [
            ("claude-code", "/apiKeyHelper"),
            ("pi", "/providers/chatgpt/apiKey"),
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
                _ => value.to_owned(),
            };
            let output = sandbox.start(sandbox.shell(&line)).finish();
            output.assert(0, "[TOKEN]\n", "");
        }
    }

    /// The link stays in place when a package manager installs the next version into another folder.
    #[test]
    fn a_link_in_path_is_what_setup_prints() {
        let sandbox = signed_in();
        let Some(installed) = sandbox.install() else {
            return;
        };
        let arguments = [installed.into(), "setup".into(), "codex".into()];
        let output = sandbox.start(sandbox.command_of(&arguments)).finish();
        let link = "...\nargs = [[..], \"[FOLDER]/bin/codex-auth\", \"--profile\", [..]\n...\n";
        output.assert(0, link, "");
    }

    /// A user's systemd in separate namespaces, which loads the units that `setup` writes and runs the service.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_real_systemd_refreshes_the_token_by_the_timer() {
        let line = "test -x /lib/systemd/systemd && command -v dbus-daemon && unshare --mount --pid --fork true";
        let sandbox = Sandbox::new();
        if sandbox.start(sandbox.shell(line)).finish().code != 0 {
            support::sandbox::skip("no systemd, no D-Bus, or not root");
            return;
        }
        sandbox.plant_expiring_in(-60, 864_000);
        let Some(printed) = setup(&sandbox, "systemd") else {
            return;
        };
        std::fs::write(sandbox.folder().join("units.sh"), printed.stdout).unwrap();
        let script = "\
            mount -t tmpfs tmpfs /run && mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
            mkdir -p /run/systemd/system /run/user/0\n\
            export XDG_RUNTIME_DIR=/run/user/0 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/0/bus\n\
            dbus-daemon --session --address=$DBUS_SESSION_BUS_ADDRESS --fork\n\
            /lib/systemd/systemd --user &\n\
            until [ \"$(systemctl --user is-system-running)\" = running ]; do sleep 0.05; done\n\
            unset CODEX_AUTH_HOME CODEX_AUTH_CHATGPT_URL\n\
            sh units.sh && systemctl --user is-active codex-auth-refresh.timer\n\
            systemctl --user start codex-auth-refresh && echo refreshed";
        let script = format!(
            "exec unshare --mount --pid --fork --mount-proc --kill-child sh -c '{script}' 2>log"
        );
        let output = sandbox.start(sandbox.shell(&script)).finish();
        let log = std::fs::read_to_string(sandbox.folder().join("log")).unwrap();
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (0, "active\nrefreshed\n"),
            "{log}"
        );
        assert_eq!(
            sandbox
                .issuer
                .requests_to(support::fake_issuer::Endpoint::Refresh)
                .len(),
            1
        );
        sandbox.run(&["token"]).assert(0, "[TOKEN]\n", "");
        // The token is in no log.
        let tokens = sandbox.issuer.access_tokens();
        assert!(!tokens.iter().any(|token| log.contains(token)));
    }

    /// Runs the output of `setup` with a program of this machine; `None` if it is not installed.
    fn run_by(
        sandbox: &Sandbox,
        program: &str,
        name: &str,
        before: &str,
        after: &str,
    ) -> Option<Output> {
        let found = sandbox.shell(&format!("command -v {program}"));
        if sandbox.start(found).finish().code != 0 {
            support::sandbox::skip(&format!("no {program} here"));
            return None;
        }
        let text = setup(sandbox, name)?.stdout;
        let kept =
            |line: &&str| !line.starts_with("import OpenAI") && !line.starts_with("from openai");
        let lines: Vec<&str> = text.lines().filter(kept).collect();
        let script = sandbox.folder().join("script.mjs");
        std::fs::write(
            &script,
            format!("{before}\n{}\n{after}\n", lines.join("\n")),
        )
        .unwrap();
        let line = format!("exec {program} '{}'", script.display());
        let mut command = sandbox.shell(&line);
        // What the configuration itself must contain.
        command
            .env_remove("CODEX_AUTH_HOME")
            .env_remove("CODEX_AUTH_CHATGPT_URL");
        Some(sandbox.start(command).finish())
    }

    #[test]
    fn the_lines_for_python_get_a_token_and_raise_without_one() {
        let (before, after) = (
            "class OpenAI:\n    def __init__(self, **its): print(its['api_key']())\n\
             class AsyncOpenAI:\n    def __init__(self, **its): self.api_key = its['api_key']",
            "print(asyncio.run(async_client.api_key()))",
        );
        let sandbox = signed_in();
        let run = || run_by(&sandbox, "python3", "openai-python", before, after);
        let Some(output) = run() else { return };
        output.assert(0, "[TOKEN]\n[TOKEN]\n", "");
        let sandbox = Sandbox::new();
        let output = run_by(&sandbox, "python3", "openai-python", before, after).unwrap();
        output.assert(1, "", "codex-auth: not signed in: run codex-auth login\nTraceback [..]\n...\nsubprocess.CalledProcessError: [..] status 4.\n");
    }

    #[test]
    fn the_lines_for_node_get_a_token_and_reject_without_one() {
        let before = "class OpenAI { constructor(its) { its.apiKey().then(console.log); } }";
        let sandbox = signed_in();
        let Some(output) = run_by(&sandbox, "node", "openai-node", before, "") else {
            return;
        };
        output.assert(0, "[TOKEN]\n", "");
        let sandbox = Sandbox::new();
        let output = run_by(&sandbox, "node", "openai-node", before, "").unwrap();
        output.assert(
            1,
            "",
            "...\n[..]codex-auth: not signed in: run codex-auth login\n...\n",
        );
    }

    #[test]
    fn the_plugin_for_opencode_sends_what_the_backend_accepts() {
        let after = "\
            const hooks = await CodexAuth();\n\
            const config = { provider: { other: 1 } };\n\
            await hooks.config(config);\n\
            console.log(Object.keys(config.provider).join());\n\
            globalThis.fetch = async (url, init) => {\n\
              console.log(url, init.headers.get('authorization'), init.headers.get('content-length'));\n\
              console.log(init.body);\n\
            };\n\
            const message = (role, content) => ({ role, content });\n\
            const input = [message('developer', 'Be brief.'), message('system', [{ text: 'Be' }, { text: 'kind.' }]), message('user', 'Hello')];\n\
            const body = JSON.stringify({ model: 'm', max_output_tokens: 9, input });\n\
            const headers = { 'content-length': '999' };\n\
            await config.provider.chatgpt.options.fetch('url', { headers, body });";
        let sandbox = signed_in();
        let Some(output) = run_by(&sandbox, "node", "opencode", "", after) else {
            return;
        };
        let body = json!({ "model": "m", "input": [{ "role": "user", "content": "Hello" }],
            "instructions": "Be brief.\n\nBe\nkind.", "store": false });
        let sent = output.stdout.lines().last().unwrap();
        assert_eq!(serde_json::from_str::<Value>(sent).unwrap(), body);
        output.assert(0, "other,chatgpt\nurl Bearer [TOKEN] null\n[..]\n", "");
    }

    #[test]
    fn the_line_for_curl_works_unchanged_and_sends_nothing_without_a_token() {
        let sandbox = signed_in();
        if !sandbox.has_curl() {
            return;
        }
        let lines = sandbox.run(&["setup", "curl"]).stdout;
        let output = sandbox.start(sandbox.shell(&lines)).finish();
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (0, "{\"plan_type\":\"plus\"}")
        );
        std::fs::remove_file(sandbox.file("default")).unwrap();
        let output = sandbox.start(sandbox.shell(&lines)).finish();
        output.assert(
            2,
            "",
            "codex-auth: not signed in: run codex-auth login\ncurl: [..]\n...\n",
        );
        assert_eq!(sandbox.issuer.requests().len(), 2);
    }

    #[test]
    fn an_unprintable_value_is_reported_as_needed() {
        use std::os::unix::ffi::OsStringExt;
        let mut sandbox = signed_in();
        sandbox.set(
            "CODEX_AUTH_HOME",
            OsString::from_vec(b"/home/\xff".to_vec()),
        );
        sandbox.run(&["setup", "curl"]).assert(
            0,
            "...\n{ env CODEX_AUTH_CHATGPT_URL=[..]\n",
            "codex-auth: warning: set the same CODEX_AUTH_HOME in the program's environment\n",
        );
    }
}
