//! `setup`: prints the configuration with which another program calls us. It writes no file, and prints no secret.
//!
//! Each template is a file in the program's own language, beside this one. It starts with comments for the user;
//! `{{name}}` stands for a value, inside quotes if the language needs them.

use std::ffi::OsString;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Result, bail};
use serde_json::json;

use super::output::print;
use crate::cli::SetupArgs;
use crate::error::{LOGIN_REQUIRED, exit_code};
use crate::profile::Profile;
use crate::settings;
use crate::terminal::{say, warn};
use crate::text::{is_plain, shell_word};

/// The language of a template, which determines how values are escaped.
#[derive(Clone, Copy)]
enum Language {
    /// Has no comments, so they go to stderr.
    Json,
    Toml,
    /// Also JavaScript and YAML.
    Python,
    Shell,
    Crontab,
    /// systemd unit files, in a shell script that writes them.
    Systemd,
    /// A macOS property list. Its comments go to stderr, because it must start with the XML declaration.
    Plist,
}

/// The template of a program, and its default base URL: a path below the backend, or a gateway.
fn template(program: &str, has_gateway: bool) -> Result<(&'static str, Language, &'static str)> {
    use Language::{Crontab, Json, Plist, Python, Shell, Systemd, Toml};
    Ok(match program {
        "codex" => (include_str!("codex.toml"), Toml, "/codex"),
        "claude-code" if has_gateway => (include_str!("claude-code.json"), Json, ""),
        "claude-code" => (include_str!("claude-code-litellm.json"), Json, ""),
        "copilot" => (include_str!("copilot.sh"), Shell, "/codex"),
        "opencode" => (include_str!("opencode.js"), Python, "/codex"),
        "pi" => (include_str!("pi.json"), Json, ""),
        "vtcode" => (include_str!("vtcode.toml"), Toml, "/codex"),
        "hermes" => (include_str!("hermes.yaml"), Python, "/codex"),
        "crush" if has_gateway => (include_str!("crush.sh"), Shell, ""),
        "crush" => (include_str!("crush-litellm.sh"), Shell, ""),
        "openai-python" => (include_str!("openai.py"), Python, "/codex"),
        "openai-node" => (include_str!("openai.mjs"), Python, "/codex"),
        "openai-agents" => (include_str!("openai-agents.py"), Python, "/codex"),
        "ai-sdk" => (include_str!("ai-sdk.mjs"), Python, "/codex"),
        "litellm" => (include_str!("litellm.py"), Python, "/codex"),
        "curl" => (include_str!("curl.sh"), Shell, "/wham/usage"),
        "env" => (include_str!("env.sh"), Shell, "http://127.0.0.1:4000/v1"),
        "systemd" => (include_str!("systemd.sh"), Systemd, ""),
        "cron" => (include_str!("cron.crontab"), Crontab, ""),
        "launchd" => (include_str!("launchd.plist"), Plist, ""),
        _ => bail!("unknown program"),
    })
}

pub fn setup(profile: Option<String>, args: &SetupArgs) -> Result<ExitCode> {
    let has_gateway = args.base_url.is_some();
    let (template, language, default_url) = template(&args.program, has_gateway)?;
    let profile = Profile::chosen(profile)?;
    let has_headers = template.contains("{{header");
    let (backend, headers) = destination(&profile, has_headers)?;
    let url = match &args.base_url {
        Some(url) => url.text.clone(),
        None if default_url.starts_with("http") => default_url.to_owned(),
        None => backend + default_url,
    };
    let call = call(&profile);
    let mut words = call.clone();
    // Claude Code complains after 10 s, and the backend takes up to 1.5 s.
    words.extend(["token", "--verify", "--timeout", "8s"].map(String::from));
    let (suffix, of_profile) = match profile.name() {
        "default" => (String::new(), String::new()),
        name => (format!("-{name}"), format!(" ({name})")),
    };
    let between = match language {
        Language::Toml => "\" = \"",
        _ => "\": \"",
    };
    let pairs = |before: &str, between: &str, after: &str, separator: &str| {
        let pair = |(name, value): &(_, _)| format!("{before}{name}{between}{value}{after}");
        headers.iter().map(pair).collect::<Vec<_>>().join(separator)
    };
    let filled = [
        ("suffix", suffix),
        ("of_profile", of_profile),
        ("url", language.escape(&url)),
        ("program", language.escape(&words[0])),
        ("words", language.list(&words)),
        ("args", language.list(&words[1..])),
        ("line", language.escape(&line(&words))),
        ("call", line(&call)),
        ("headers", pairs("\"", between, "\"", ", ")),
        ("header_lines", language.escape(&pairs("", ": ", "", "\n"))),
        ("header_options", pairs(" --extra-header ", " ", "", "")),
        ("home", language.escape(&settings::user_home())),
    ];
    let mut text = template.to_owned();
    for (name, value) in filled {
        text = text.replace(&format!("{{{{{name}}}}}"), &value);
    }
    match (language, text.split_once("\n\n")) {
        (Language::Json | Language::Plist, Some((comments, body))) => {
            say(comments);
            print(body)
        }
        _ => print(&text),
    }
}

type Headers = Vec<(&'static str, String)>;

/// The base URL for this login's requests, without a trailing slash, and the headers that they need besides the token.
/// Leaves out values that a program could misinterpret: pi runs one that starts with `!`.
fn destination(profile: &Profile, has_headers: bool) -> Result<(String, Headers)> {
    let backend = settings::backend()?;
    let credentials = match profile.stored() {
        Err(error) if exit_code(&error) == LOGIN_REQUIRED => {
            if has_headers {
                let reason = format!("{error:#}, then setup again");
                warn(&format!("ACCOUNT-ID is a placeholder: {reason}"));
            }
            let account = ("ChatGPT-Account-Id", "ACCOUNT-ID".to_owned());
            return Ok((backend.text, vec![account]));
        }
        stored => stored?,
    };
    let headers = credentials.account_headers().into_iter();
    let (usual, unusual): (Vec<_>, Vec<_>) = headers.partition(|(_, value)| is_plain(value));
    for (name, _) in unusual {
        warn(&format!("omitted header {name}: unusual characters"));
    }
    Ok((credentials.base_url(&backend).text, usual))
}

/// The command line that calls this program for a profile. It carries the variables that locate the login, and also names
/// the default profile, as the account in the headers belongs to it. Windows has no `env` to set variables.
fn call(profile: &Profile) -> Vec<String> {
    // Elsewhere, it does not decide where the configuration folder is.
    let has_xdg = cfg!(not(any(windows, target_os = "macos")));
    let home = match profile {
        Profile::Own(_) if has_xdg && !settings::is_set("CODEX_AUTH_HOME") => "XDG_CONFIG_HOME",
        Profile::Own(_) => "CODEX_AUTH_HOME",
        Profile::Codex => "CODEX_HOME",
    };
    let mut words = Vec::new();
    for name in [home, "CODEX_AUTH_CHATGPT_URL"] {
        match settings::variable(name).map(OsString::into_string) {
            None => {}
            Some(Ok(value)) if cfg!(unix) => words.push(format!("{name}={value}")),
            Some(_) => warn(&format!("set the same {name} in the program's environment")),
        }
    }
    if !words.is_empty() {
        words.insert(0, "env".to_owned());
    }
    words.push(this_program().unwrap_or_else(|| {
        warn("codex-auth must be in the program's PATH");
        "codex-auth".to_owned()
    }));
    words.extend(["--profile", profile.name()].map(String::from));
    words
}

impl Language {
    /// Escapes a value for the quotes around it in the templates of this language. Values contain no control characters.
    fn escape(self, text: &str) -> String {
        // JSON, TOML, YAML, JavaScript, Python and systemd agree on such strings.
        let quoted = json!(text).to_string();
        let quoted = &quoted[1..quoted.len() - 1];
        match self {
            Self::Shell => text.replace('\'', r"'\''"),
            Self::Crontab => text.replace('%', r"\%"),
            Self::Plist => text.replace('&', "&amp;").replace('<', "&lt;"),
            Self::Systemd => quoted.replace('%', "%%").replace('$', "$$"),
            Self::Json | Self::Toml | Self::Python => quoted.to_owned(),
        }
    }

    /// Several values, separated by quotes; the template has the outermost ones.
    fn list(self, values: &[String]) -> String {
        let between = match self {
            Self::Plist => "</string>\n    <string>",
            Self::Systemd => "\" \"",
            _ => "\", \"",
        };
        let values: Vec<String> = values.iter().map(|value| self.escape(value)).collect();
        values.join(between)
    }
}

fn line(words: &[String]) -> String {
    let words = words.iter().map(|word| shell_word(word));
    words.collect::<Vec<_>>().join(" ")
}

/// The absolute path of this program if known, so that the caller's `PATH` does not matter. Prefers a link in `PATH`,
/// which a package manager keeps in place when it installs a new version elsewhere.
fn this_program() -> Option<String> {
    let path = env::current_exe().ok()?;
    let real = fs::canonicalize(&path).ok();
    let link = settings::find_program(path.file_name()?);
    let link = link.filter(|link| link.is_absolute() && fs::canonicalize(link).ok() == real);
    link.unwrap_or(path).into_os_string().into_string().ok()
}
