//! `setup`: prints the configuration with which another program calls us. It writes no file.
//!
//! Each text holds no secret: a path, an account ID, and how long to wait. Its comments go to stderr where the
//! configuration is JSON, which has none, so that stdout is what belongs into the file.

mod programs;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use super::output::print;
use crate::cli::{Program, SetupArgs};
use crate::credentials::Credentials;
use crate::error::{Failure, LOGIN_REQUIRED, exit_code};
use crate::profile::Profile;
use crate::settings;
use crate::settings::CODEX_PROFILE;
use crate::terminal::say;
use crate::text::shell_word;
use crate::url::Url;

/// The longest that we wait for a refresh, so that it is we who say what went wrong. Claude Code complains after 10 s,
/// and the backend takes up to 1.5 s.
const PATIENCE: &str = "8s";
/// What stands for the account ID before anybody has signed in.
const PLACEHOLDER: &str = "ACCOUNT-ID";

/// What the texts are filled in with.
struct Call {
    /// What this login is called there: two profiles can stand in one configuration.
    id: String,
    title: String,
    /// What a person runs to see why there is no token.
    status: String,
    /// The path of this program.
    program: String,
    arguments: Vec<String>,
    /// What its environment has to set, because ours does.
    variables: Vec<(&'static str, String)>,
    /// Where the caller sends its requests: what was asked for, and the backend, without a slash at the end.
    base_url: Option<String>,
    backend: String,
    /// What it sends along with the token.
    headers: Vec<(&'static str, String)>,
    /// What the person has to know, a sentence each.
    notes: Vec<String>,
}

/// What is printed for a program.
struct Text {
    /// Where it belongs, and what a failure looks like there.
    about: String,
    body: String,
    comments: Comments,
    /// Whether `body` has the variables, too.
    has_variables: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comments {
    Hash,
    Slashes,
    /// There are none: they go to stderr.
    None,
}

pub fn setup(profile: Option<String>, args: &SetupArgs) -> Result<ExitCode> {
    check_usage(args)?;
    let profile = Profile::chosen(profile)?;
    let credentials = match profile.stored() {
        Err(error) if exit_code(&error) == LOGIN_REQUIRED => None,
        stored => Some(stored?),
    };
    let call = Call::new(profile.name(), args, credentials.as_ref())?;
    let text = programs::text(args.program, &call)?;
    let comments = comments(&call, &text);
    if text.comments == Comments::None {
        say(comments.trim_end());
        return print(&text.body);
    }
    print(&format!("{comments}{}", text.body))
}

fn check_usage(args: &SetupArgs) -> Result<()> {
    let Some(url) = &args.base_url else {
        let why = match args.program {
            Program::ClaudeCode => {
                "claude-code needs --base-url URL: without one Claude Code sends the token to Anthropic"
            }
            Program::Crush => {
                "crush needs --base-url URL: the ChatGPT backend refuses its requests (they have no instructions)"
            }
            _ => return Ok(()),
        };
        return Err(Failure::Usage(why.to_owned()).into());
    };
    let why = |error| Failure::Usage(format!("--base-url cannot be used: {error:#}"));
    Url::parse(url).map_err(why)?;
    Ok(())
}

/// The comments of a text, a line each.
fn comments(call: &Call, text: &Text) -> String {
    let mark = if text.comments == Comments::Slashes {
        "//"
    } else {
        "#"
    };
    let named = |(name, value): &(&str, String)| {
        format!(
            "Start it with {name}={} in its environment.",
            shell_word(value)
        )
    };
    let unnamed = call.variables.iter().filter(|_| !text.has_variables);
    let notes = call.notes.iter().cloned().chain(unnamed.map(named));
    let lines = text.about.lines().map(str::to_owned).chain(notes);
    let marked: Vec<String> = lines.map(|line| format!("{mark} {line}\n")).collect();
    marked.concat()
}

impl Call {
    fn new(profile: &str, args: &SetupArgs, credentials: Option<&Credentials>) -> Result<Self> {
        // Named even if it is the default one: the account in the headers is its, whatever the caller's environment says.
        let arguments = [
            "--profile",
            profile,
            "token",
            "--verify",
            "--timeout",
            PATIENCE,
        ];
        let (suffix, in_title) = match profile {
            "default" => (String::new(), String::new()),
            _ => (format!("-{profile}"), format!(" ({profile})")),
        };
        let base_url = args.base_url.as_deref();
        let mut call = Self {
            id: format!("chatgpt{suffix}"),
            title: format!("ChatGPT{in_title} through codex-auth"),
            status: settings::call_for(profile) + " status",
            program: "codex-auth".to_owned(),
            arguments: arguments.map(str::to_owned).to_vec(),
            variables: Vec::new(),
            base_url: base_url.map(|url| url.trim_end_matches('/').to_owned()),
            backend: settings::backend()?.to_string(),
            headers: Vec::new(),
            notes: Vec::new(),
        };
        call.take_headers(profile, credentials);
        call.take_program();
        call.take_variables(profile);
        Ok(call)
    }

    /// The headers of the account, but none that a program could take for something else: pi runs a value that begins
    /// with `!`.
    fn take_headers(&mut self, profile: &str, credentials: Option<&Credentials>) {
        let Some(credentials) = credentials else {
            let sign_in = settings::login_command(profile);
            let note = format!(
                "Not signed in: {PLACEHOLDER} is a placeholder. Run {sign_in}, then this again."
            );
            self.notes.push(note);
            self.headers = vec![("ChatGPT-Account-Id", PLACEHOLDER.to_owned())];
            return;
        };
        for (name, value) in credentials.account_headers() {
            if is_plain(&value) {
                self.headers.push((name, value));
            } else {
                let note =
                    format!("The header {name} is left out: its value has unusual characters.");
                self.notes.push(note);
            }
        }
    }

    fn take_program(&mut self) {
        match this_program().and_then(|path| printable_text(path.into_os_string())) {
            Some(path) => self.program = path,
            None => self
                .notes
                .push("codex-auth has to be in the PATH of the program.".to_owned()),
        }
    }

    /// What tells where the credentials are, and which backend judges the token.
    fn take_variables(&mut self, profile: &str) {
        let home = match profile {
            CODEX_PROFILE => "CODEX_HOME",
            _ => "CODEX_AUTH_HOME",
        };
        for name in [home, "CODEX_AUTH_CHATGPT_URL"] {
            let Some(value) = settings::variable(name) else {
                continue;
            };
            match printable_text(value) {
                Some(value) => self.variables.push((name, value)),
                None => self.notes.push(format!(
                    "Start it with the same {name} in its environment as here."
                )),
            }
        }
    }

    /// The base URL, if none was asked for that of the backend's Responses API.
    fn responses_url(&self) -> String {
        let ours = || format!("{}/codex", self.backend);
        self.base_url.clone().unwrap_or_else(ours)
    }

    /// The call as a line of a shell; that of Windows has no variables in it.
    fn line(&self) -> String {
        let variables = self.variables.iter().filter(|_| !cfg!(windows));
        let variables = variables.map(|(name, value)| format!("{name}={}", shell_word(value)));
        let words = [&self.program].into_iter().chain(&self.arguments);
        let words: Vec<String> = variables
            .chain(words.map(|word| shell_word(word)))
            .collect();
        words.join(" ")
    }
}

/// Whether a header's value is a plain word to every program.
fn is_plain(value: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    !value.is_empty() && value.bytes().all(is_plain)
}

/// What can be written into a configuration, and looked at on a terminal.
fn printable_text(text: OsString) -> Option<String> {
    let text = text.into_string().ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// The absolute path of this program, so that the caller's `PATH` does not matter, if it can be told.
fn this_program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok().filter(|path| path.exists())?;
    Some(lasting(&path).unwrap_or(path))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_go_into_the_headers_of_others() {
        for plain in [
            "account-1",
            "a_b.c:d",
            "00000000-0000-4000-8000-000000000000",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in ["", "!id", "a b", "a$b", "`id`", "ä", "a\n"] {
            assert!(!is_plain(other), "{other}");
        }
    }
}
