//! `setup`: what to write into another program's configuration so that it calls us. It writes no file itself.
//!
//! Each text holds no secret: a path, an account ID, and how long to wait. Where the configuration is JSON, which has no
//! comments, they go to stderr, so that stdout is what belongs into the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::output::print;
use crate::cli::{Program, SetupArgs};
use crate::commands::formats::{account_headers, object_of, shell_word, toml_string};
use crate::credentials::Credentials;
use crate::profile::stored;
use crate::settings;
use crate::terminal::{complain, say};

/// How long the callers let us run before they kill us, in milliseconds: what we wait at most, and some to spare.
const TIMEOUT_MS: u64 = 15_000;
/// The longest that we wait for a renewal, so that it is we who say what went wrong. Claude Code complains after 10 s,
/// and the backend takes up to 1.5 s.
const PATIENCE: &str = "8s";
/// How often they ask again, in milliseconds: as long as a token lives at least when it is printed.
const REFRESH_MS: u64 = 300_000;

/// What the texts are filled in with.
struct Call {
    /// The path of this program.
    program: String,
    arguments: Vec<String>,
    /// Where the caller sends its requests: what was asked for, and the backend, without a slash at the end.
    base_url: Option<String>,
    backend: String,
    /// What it sends along with the token.
    headers: Vec<(&'static str, String)>,
}

pub fn setup(profile: Option<String>, args: &SetupArgs) -> Result<ExitCode> {
    if let Some(words) = wrong_usage(args) {
        complain(&words);
        return Ok(ExitCode::from(2));
    }
    let profile = settings::profile(profile)?;
    let call = Call::new(&profile, args, &stored(&profile)?)?;
    match args.program {
        Program::Codex => print(&call.codex()?),
        Program::Vtcode => print(&call.vtcode()?),
        Program::Curl => print(&call.curl()),
        Program::ClaudeCode => print_json(CLAUDE_CODE, &call.claude_code()),
        Program::Pi => print_json(PI, &call.pi()),
        Program::Crush => print_json(CRUSH, &call.crush()),
    }
}

fn wrong_usage(args: &SetupArgs) -> Option<String> {
    let Some(url) = &args.base_url else {
        let words = "claude-code needs --base-url URL: without one Claude Code sends the token to Anthropic";
        return (args.program == Program::ClaudeCode).then(|| words.to_owned());
    };
    let error = settings::check_url(url).err()?;
    Some(format!("--base-url cannot be used: {error:#}"))
}

/// Prints a configuration, and its comments beside it.
fn print_json(comments: &str, configuration: &Value) -> Result<ExitCode> {
    say(comments);
    print(&format!("{configuration:#}\n"))
}

const CLAUDE_CODE: &str = "# Claude Code: put this into ~/.claude/settings.json.
# Behind the base URL has to be something that speaks Anthropic's API: the ChatGPT backend does not.";

const PI: &str =
    "# pi: put this into ~/.pi/agent/models.json, with the name of a model in the place of MODEL.";

const CRUSH: &str = "# crush: put this into ~/.config/crush/crush.json, with the name of a model in the place of MODEL.";

impl Call {
    fn new(profile: &str, args: &SetupArgs, credentials: &Credentials) -> Result<Self> {
        // Named even if it is the default one: the account in the headers is its, whatever the caller's environment says.
        let arguments = [
            "--profile",
            profile,
            "token",
            "--verify",
            "--timeout",
            PATIENCE,
        ];
        let base_url = args.base_url.as_deref();
        Ok(Self {
            program: this_program(),
            arguments: arguments.map(str::to_owned).to_vec(),
            base_url: base_url.map(|url| url.trim_end_matches('/').to_owned()),
            backend: settings::backend()?,
            headers: account_headers(credentials),
        })
    }

    /// The base URL, if none was asked for that of the backend's Responses API.
    fn responses_url(&self) -> String {
        let ours = || format!("{}/codex", self.backend);
        self.base_url.clone().unwrap_or_else(ours)
    }

    /// The call as a line of a shell.
    fn line(&self) -> String {
        let words = [&self.program].into_iter().chain(&self.arguments);
        let words: Vec<String> = words.map(|word| shell_word(word)).collect();
        words.join(" ")
    }

    fn codex(&self) -> Result<String> {
        let base_url = toml_string(&self.responses_url())?;
        let headers = self.toml_headers()?;
        let auth = self.toml_auth()?;
        Ok(format!(
            "\
# Codex CLI: put this into ~/.codex/config.toml (or $CODEX_HOME/config.toml). The first line belongs above all
# [tables] that are there already. After signing in to another account, replace it.
model_provider = \"chatgpt\"

[model_providers.chatgpt]
name = \"ChatGPT through codex-auth\"
base_url = {base_url}
wire_api = \"responses\"
{headers}
[model_providers.chatgpt.auth]
{auth}"
        ))
    }

    fn vtcode(&self) -> Result<String> {
        let base_url = toml_string(&self.responses_url())?;
        let auth = self.toml_auth()?;
        Ok(format!(
            "\
# VT Code: put this into ~/.vtcode/vtcode.toml, with the name of a model in the place of MODEL. A vtcode.toml in a
# project may not name commands. The ChatGPT backend speaks the Responses API only, and VT Code sends no account ID: if
# yours cannot do without, give a gateway with --base-url.
[[custom_providers]]
name = \"chatgpt\"
display_name = \"ChatGPT through codex-auth\"
base_url = {base_url}
model = \"MODEL\"

[custom_providers.auth]
{auth}"
        ))
    }

    fn curl(&self) -> String {
        let line = self.line();
        let ours = || format!("{}/wham/usage", self.backend);
        let url = shell_word(&self.base_url.clone().unwrap_or_else(ours));
        format!(
            "\
# curl: the token goes through a pipe, so that no list of processes shows it.
{line} --format curl | curl -K - {url}

# The same as header lines.
{line} --format headers | curl -H @- {url}
"
        )
    }

    fn claude_code(&self) -> Value {
        json!({
            "apiKeyHelper": self.line(),
            "env": {
                "ANTHROPIC_BASE_URL": self.base_url,
                "CLAUDE_CODE_API_KEY_HELPER_TTL_MS": REFRESH_MS.to_string(),
            },
        })
    }

    /// pi finds the path of the Responses API by itself, and the account ID in the token.
    fn pi(&self) -> Value {
        let base_url = self.base_url.as_ref().unwrap_or(&self.backend);
        json!({ "providers": { "codex-auth": {
            "baseUrl": base_url,
            "api": "openai-codex-responses",
            "apiKey": format!("!{}", self.line()),
            "headers": object_of(&self.headers),
            "models": [{ "id": "MODEL" }],
        } } })
    }

    fn crush(&self) -> Value {
        json!({ "providers": { "codex-auth": {
            "name": "ChatGPT through codex-auth",
            "type": "openai",
            "base_url": self.responses_url(),
            "api_key": format!("$({})", self.line()),
            "extra_headers": object_of(&self.headers),
            "models": [{ "id": "MODEL", "name": "MODEL" }],
        } } })
    }

    /// The line of the headers with its end, or nothing.
    fn toml_headers(&self) -> Result<String> {
        let pair = |(name, value): &(&str, String)| {
            anyhow::Ok(format!("{} = {}", toml_string(name)?, toml_string(value)?))
        };
        let pairs = self.headers.iter().map(pair).collect::<Result<Vec<_>>>()?;
        Ok(if pairs.is_empty() {
            String::new()
        } else {
            format!("http_headers = {{ {} }}\n", pairs.join(", "))
        })
    }

    fn toml_auth(&self) -> Result<String> {
        let command = toml_string(&self.program)?;
        let words = self.arguments.iter().map(|word| toml_string(word));
        let arguments = words.collect::<Result<Vec<_>>>()?.join(", ");
        Ok(format!(
            "\
command = {command}
args = [{arguments}]
timeout_ms = {TIMEOUT_MS}
refresh_interval_ms = {REFRESH_MS}
"
        ))
    }
}

/// The absolute path of this program, so that the caller's `PATH` does not matter; its name if that cannot be told.
fn this_program() -> String {
    let path = std::env::current_exe().ok().filter(|path| path.exists());
    path.map(|path| lasting(&path).unwrap_or(path))
        .and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or_else(|| "codex-auth".to_owned())
}

/// A link in `PATH` that leads to this program. Package managers keep it where it is when they put a new version elsewhere.
fn lasting(program: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(program).ok()?;
    let folders = settings::program_folders().into_iter();
    let links = folders.filter_map(|folder| Some(folder.join(program.file_name()?)));
    links
        .filter(|link| link.is_absolute())
        .find(|link| fs::canonicalize(link).is_ok_and(|found| found == real))
}
