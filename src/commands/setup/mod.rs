//! `setup`: prints the configuration with which another program calls us. It writes no file, and prints no secret.
//!
//! Each text is a template in the program's own language, beside this file. Its first lines are comments for the person;
//! `{{name}}` stands for a value, inside quotes where the language needs them.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::output::print;
use crate::cli::{Program, SetupArgs};
use crate::error::{Failure, LOGIN_REQUIRED, exit_code};
use crate::profile::Profile;
use crate::settings;
use crate::terminal::say;
use crate::text::shell_word;
use crate::url::Url;

/// The gateway that `setup litellm` describes, for programs that speak another protocol than the backend.
const GATEWAY: &str = "http://127.0.0.1:4000";
const GATEWAY_V1: &str = "http://127.0.0.1:4000/v1";

/// Names and values. Names are known words.
type Headers = Vec<(&'static str, String)>;

/// What a template is written in: this decides how a value is escaped.
#[derive(Clone, Copy)]
enum Language {
    /// Its comments go to stderr: the language has none.
    Json,
    JavaScript,
    Toml,
    /// Also YAML.
    Python,
    Shell,
    Crontab,
    /// Unit files of systemd, in a shell script that writes them.
    Systemd,
    /// A property list of macOS. Its comments go to stderr: it must begin with the XML declaration.
    Plist,
}

/// The template of a program, and the base URL where none was asked for: a path of the backend, or the gateway.
fn template(program: Program, has_gateway: bool) -> (&'static str, Language, &'static str) {
    use Language::{Crontab, JavaScript, Json, Plist, Python, Shell, Systemd, Toml};
    match program {
        Program::Codex => (include_str!("codex.toml"), Toml, "/codex"),
        Program::ClaudeCode if has_gateway => (include_str!("claude-code.json"), Json, ""),
        Program::ClaudeCode => (include_str!("claude-code-litellm.json"), Json, GATEWAY),
        Program::Copilot => (include_str!("copilot.sh"), Shell, "/codex"),
        Program::Opencode => (include_str!("opencode.js"), JavaScript, "/codex"),
        Program::Pi => (include_str!("pi.json"), Json, ""),
        Program::Vtcode => (include_str!("vtcode.toml"), Toml, "/codex"),
        Program::Hermes => (include_str!("hermes.yaml"), Python, "/codex"),
        Program::Crush if has_gateway => (include_str!("crush.sh"), Shell, ""),
        Program::Crush => (include_str!("crush-litellm.sh"), Shell, GATEWAY_V1),
        Program::OpenaiPython => (include_str!("openai.py"), Python, "/codex"),
        Program::OpenaiNode => (include_str!("openai.mjs"), JavaScript, "/codex"),
        Program::OpenaiAgents => (include_str!("openai-agents.py"), Python, "/codex"),
        Program::AiSdk => (include_str!("ai-sdk.mjs"), JavaScript, "/codex"),
        Program::Litellm => (include_str!("litellm.py"), Python, "/codex"),
        Program::Curl => (include_str!("curl.sh"), Shell, "/wham/usage"),
        Program::Env => (include_str!("env.sh"), Shell, GATEWAY_V1),
        Program::Systemd => (include_str!("systemd.sh"), Systemd, ""),
        Program::Cron => (include_str!("cron.crontab"), Crontab, ""),
        Program::Launchd => (include_str!("launchd.plist"), Plist, ""),
    }
}

pub fn setup(profile: Option<String>, args: &SetupArgs) -> Result<ExitCode> {
    let (template, language, default_url) = template(args.program, args.base_url.is_some());
    let profile = Profile::chosen(profile)?;
    let mut notes = Vec::new();
    let (backend, headers) = destination(&profile, &mut notes)?;
    let url = match &args.base_url {
        Some(url) => {
            let unusable = |error| Failure::Usage(format!("--base-url cannot be used: {error:#}"));
            Url::parse(url).map_err(unusable)?.to_string()
        }
        None if default_url.starts_with("http") => default_url.to_owned(),
        None => backend + default_url,
    };
    let call = command(&profile, &mut notes);
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
    ];
    let mut text = template.to_owned();
    for (name, value) in filled {
        text = text.replace(&format!("{{{{{name}}}}}"), &value);
    }
    print_with(&notes, &text, language)
}

/// Prints a text with the notes below its own comments.
fn print_with(notes: &[String], text: &str, language: Language) -> Result<ExitCode> {
    let mark = match language {
        Language::JavaScript => "//",
        _ => "#",
    };
    let lines = text.split_inclusive('\n');
    let comments = lines.take_while(|line| line.starts_with(mark));
    let (about, body) = text.split_at(comments.map(str::len).sum());
    let notes: Vec<String> = notes
        .iter()
        .map(|note| format!("{mark} {note}\n"))
        .collect();
    let about = about.to_owned() + &notes.concat();
    if matches!(language, Language::Json | Language::Plist) {
        say(about.trim_end());
        return print(body);
    }
    print(&(about + body))
}

/// Where the requests of this login go, without a slash at the end, and the headers that they need beside the token. A
/// value that a program could take for something else is left out: pi runs one that begins with `!`.
fn destination(profile: &Profile, notes: &mut Vec<String>) -> Result<(String, Headers)> {
    let backend = settings::backend()?;
    let credentials = match profile.stored() {
        Err(error) if exit_code(&error) == LOGIN_REQUIRED => {
            let words = "Not signed in: ACCOUNT-ID is a placeholder. Run setup again after";
            let login = settings::login_command(profile.name());
            notes.extend([words.to_owned(), format!("  {login}")]);
            let account = ("ChatGPT-Account-Id", "ACCOUNT-ID".to_owned());
            return Ok((backend.to_string(), vec![account]));
        }
        stored => stored?,
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    let is_usual = |(_, value): &(_, String)| !value.is_empty() && value.bytes().all(is_plain);
    let headers = credentials.account_headers().into_iter();
    let (usual, unusual): (Headers, Headers) = headers.partition(is_usual);
    let left_out = |(name, _)| format!("Header {name} left out: its value is unusual.");
    notes.extend(unusual.into_iter().map(left_out));
    Ok((credentials.base_url(&backend).to_string(), usual))
}

/// The words that start this program for a profile, whatever the environment of the caller says. The default profile is
/// named too: the account in the headers is its. Windows has no `env` that could set variables.
fn command(profile: &Profile, notes: &mut Vec<String>) -> Vec<String> {
    let home = match profile {
        Profile::Own(_) => "CODEX_AUTH_HOME",
        Profile::Codex => "CODEX_HOME",
    };
    let mut words = Vec::new();
    for name in [home, "CODEX_AUTH_CHATGPT_URL"] {
        match settings::variable(name).map(printable_text) {
            None => {}
            Some(Some(value)) if cfg!(unix) => words.push(format!("{name}={value}")),
            Some(_) => notes.push(format!("Its environment needs the same {name} as here.")),
        }
    }
    if !words.is_empty() {
        words.insert(0, "env".to_owned());
    }
    let program = this_program().and_then(|path| printable_text(path.into_os_string()));
    if program.is_none() {
        notes.push("codex-auth must be in the program's PATH.".to_owned());
    }
    words.push(program.unwrap_or_else(|| "codex-auth".to_owned()));
    words.extend(["--profile", profile.name()].map(String::from));
    words
}

impl Language {
    /// A value inside the quotes that the templates of this language have around it.
    fn escape(self, text: &str) -> String {
        match self {
            Self::Shell => text.replace('\'', r"'\''"),
            Self::Crontab => text.replace('%', r"\%"),
            Self::Plist => text.replace('&', "&amp;").replace('<', "&lt;"),
            Self::Systemd => in_double_quotes(text).replace('%', "%%").replace('$', "$$"),
            _ => in_double_quotes(text),
        }
    }

    /// Several values, each in quotes.
    fn list(self, values: &[String]) -> String {
        let (begin, between, end) = match self {
            Self::Plist => ("<string>", "</string>\n    <string>", "</string>"),
            Self::Systemd => ("\"", "\" \"", "\""),
            _ => ("\"", "\", \"", "\""),
        };
        let values: Vec<String> = values.iter().map(|value| self.escape(value)).collect();
        format!("{begin}{}{end}", values.join(between))
    }
}

/// The inside of a string that JSON, TOML, YAML, JavaScript, Python and systemd read alike. Control characters are not
/// among what is printed here.
fn in_double_quotes(text: &str) -> String {
    let quoted = json!(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The words as a line of a shell.
fn line(words: &[String]) -> String {
    let words = words.iter().map(|word| shell_word(word));
    words.collect::<Vec<_>>().join(" ")
}

/// What can be written into a configuration, and looked at on a terminal.
fn printable_text(text: OsString) -> Option<String> {
    let text = text.into_string().ok();
    text.filter(|text| !text.chars().any(char::is_control))
}

/// The absolute path of this program, so that the `PATH` of the caller does not matter, if it can be told. A link to it in `PATH`
/// is preferred: a package manager keeps that where it is when it puts a new version elsewhere.
fn this_program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?;
    let real = fs::canonicalize(&path).ok()?;
    let folders = settings::program_folders().into_iter();
    let mut links = folders.filter_map(|folder| Some(folder.join(path.file_name()?)));
    let is_link = |link: &PathBuf| {
        link.is_absolute() && fs::canonicalize(link).is_ok_and(|found| found == real)
    };
    Some(links.find(is_link).unwrap_or(path))
}
