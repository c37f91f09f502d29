//! The command line: every option, and every word of the help. It knows nothing of the rest of the program.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

// Lines are indented by what they are to be wrapped behind.

const ENVIRONMENT: &str = "\
The environment variables that codex-auth reads

CODEX_AUTH_HOME
  the folder of the stored credentials; an absolute path
CODEX_AUTH_PROFILE
  the profile, if --profile names none
CODEX_AUTH_KEYRING
  1: login seals what it stores, as with --keyring
CODEX_AUTH_ISSUER
  where to sign in; default https://auth.openai.com
CODEX_AUTH_CLIENT_ID
  the client to sign in as; default: that of Codex CLI
CODEX_AUTH_PORT
  where to wait for the browser; 0 is any free port; default 1455, else 1457
CODEX_AUTH_REDIRECT_HOST
  localhost (default) or 127.0.0.1
CODEX_AUTH_CHATGPT_URL
  the backend, for --verify, --check and --usage
CODEX_AUTH_MIN_TTL, CODEX_AUTH_FORCE_REFRESH, CODEX_AUTH_REJECTED
  what token is asked for, if its options do not say: a duration; 1; the SHA-256 of an access token that the backend \
  rejected. login --from sets them for its command
CODEX_AUTH_COMPLETE
  set by completion scripts, and only by them
CODEX_HOME
  the folder of Codex CLI, for the profile codex; default ~/.codex
BROWSER
  the browsers to open, separated by colons
https_proxy, HTTPS_PROXY, all_proxy, ALL_PROXY
  the proxy; the first that is set counts
no_proxy, NO_PROXY
  hosts that are reached without it
DBUS_SESSION_BUS_ADDRESS, XDG_RUNTIME_DIR
  where the keyring is, on Linux
CODEX_CA_CERTIFICATE
  a PEM file of authorities to trust besides those of the system
SSL_CERT_FILE, SSL_CERT_DIR
  a PEM file, or folders, in the place of the system's authorities
NO_COLOR
  no colours
TERM
  dumb: no colours, no links, no countdown

Whether a browser can be opened here is told by SSH_CONNECTION, SSH_TTY, WSL_DISTRO_NAME, DISPLAY, \
WAYLAND_DISPLAY, container, KUBERNETES_SERVICE_HOST, REMOTE_CONTAINERS, CODESPACES and GITPOD_WORKSPACE_ID.";

const EXIT_CODES: &str = "\
What the exit code of codex-auth says

 0  done: the result is on stdout
 1  failed: trying again will not help
 2  wrong usage
 4  a person has to sign in
75  temporary: try again later

With 1 and 4, stderr says what to do. 75 is about the network, the issuer, or another process that is still refreshing.

exec ends with the exit code of its command; 126 if it could not be run, 127 if it was not found.";

/// Sign in to ChatGPT/Codex once, then print a fresh access token whenever it is asked for.
///
/// The token goes to stdout, everything else to stderr.
///
/// Exit codes: 0 done; 1 failed, and trying again will not help; 2 wrong usage; 4 a person has to sign in; 75
/// temporary, try again later.
#[derive(Parser)]
#[command(
    name = "codex-auth",
    version,
    propagate_version = false,
    max_term_width = 100,
    after_help = "More: codex-auth help environment, codex-auth help exit-codes, codex-auth man | man -l -"
)]
pub struct Cli {
    /// The profile to use: a name of your choice, or `codex` to read Codex's own login [env: CODEX_AUTH_PROFILE]
    /// [default: default]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Global options"
    )]
    pub profile: Option<String>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Sign in with ChatGPT
    ///
    /// Opens the browser and waits for it to come back to port 1455 (or 1457) of this machine. On a terminal, the
    /// address that the browser ends on can be pasted instead. An earlier login stays until the new one is stored.
    Login(LoginArgs),
    /// Print a fresh access token
    ///
    /// One line on stdout. The token is refreshed before it expires; however many callers ask at once, it is refreshed
    /// once.
    Token(TokenArgs),
    /// Print the ChatGPT account ID
    AccountId,
    /// Show who is signed in, and until when
    ///
    /// Exit code 0 means that `token` works without a person (with --all: for each profile), 4 that somebody has to
    /// sign in.
    Status(StatusArgs),
    /// Revoke the login at the issuer, and remove it from this machine
    Logout(LogoutArgs),
    /// Encrypt the stored login with a key that the system's keyring holds
    ///
    /// Then a copy of the file is of no use: a backup, an image of the disk, a stolen laptop. Programs that run as you
    /// can still have the token. No new sign-in is needed; `login --keyring` seals a new login. Without the keyring, as
    /// over SSH or in cron, a sealed login gives no token.
    Seal,
    /// Store a sealed login unencrypted again
    ///
    /// The key is removed from the keyring.
    Unseal,
    /// Run a command with the access token in its environment
    ///
    /// The command finds the token in `CODEX_AUTH_TOKEN` and the account ID in `CODEX_AUTH_ACCOUNT_ID`. codex-auth ends
    /// with its exit code.
    Exec(ExecArgs),
    /// Print the configuration that makes another program call codex-auth
    ///
    /// Its comments say where it belongs. No file is written. Without a login it has placeholders.
    Setup(SetupArgs),
    /// Find what stands in the way of a login or of a refresh
    ///
    /// Says what is wrong, and what to do about it. No secret is printed: it can be pasted into a bug report. Exit code 1
    /// means that something does stand in the way.
    Doctor(DoctorArgs),
    /// Print a completion script
    ///
    /// bash:
    ///   folder=~/.local/share/bash-completion/completions
    ///   mkdir -p "$folder"
    ///   codex-auth completions bash > "$folder/codex-auth"
    ///
    /// zsh, with fpath=(~/.zfunc $fpath) in .zshrc before compinit:
    ///   mkdir -p ~/.zfunc
    ///   codex-auth completions zsh > ~/.zfunc/_codex-auth
    ///
    /// fish:
    ///   mkdir -p ~/.config/fish/completions
    ///   codex-auth completions fish > ~/.config/fish/completions/codex-auth.fish
    ///
    /// elvish and PowerShell: append the script to rc.elv or $PROFILE
    #[command(verbatim_doc_comment)]
    Completions(CompletionsArgs),
    /// Print the man page
    ///
    /// To read it:
    ///   codex-auth man | man -l -
    ///
    /// To put it where man looks, beside the folder of the program:
    ///   folder=$(dirname "$(command -v codex-auth)")/../share/man/man1
    ///   mkdir -p "$folder"
    ///   codex-auth man > "$folder/codex-auth.1"
    #[command(verbatim_doc_comment)]
    Man,
    /// What it reads of the environment
    #[command(hide = true, long_about = ENVIRONMENT, help_template = "{about-with-newline}")]
    Environment,
    /// What its exit codes say
    #[command(hide = true, long_about = EXIT_CODES, help_template = "{about-with-newline}")]
    ExitCodes,
}

#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct LoginArgs {
    /// Sign in with a code that is typed on another device
    #[arg(long, alias = "device-auth")]
    pub device_code: bool,
    /// Sign in with an access token (at-…) of an admin console, read from stdin; it is never refreshed
    #[arg(long, conflicts_with_all = ["device_code", "no_browser", "qr"])]
    pub with_access_token: bool,
    /// Take each token from the command after `--`, or from a socket (`unix:/PATH`), which gives what `codex-auth token
    /// --format json` prints on the machine that holds the login
    #[arg(
        long,
        value_name = "SOCKET",
        num_args = 0..=1,
        conflicts_with_all = ["device_code", "with_access_token", "no_browser", "qr"]
    )]
    pub from: Option<Option<String>>,
    /// Print the address, but do not open a browser
    #[arg(long)]
    pub no_browser: bool,
    /// With --device-code: show the address as a QR code too
    #[arg(long, requires = "device_code")]
    pub qr: bool,
    /// Seal the login: encrypt it with a key that the system's keyring holds [env: CODEX_AUTH_KEYRING]
    #[arg(long, conflicts_with = "no_keyring")]
    pub keyring: bool,
    /// Store the login unsealed, even if the one before it was sealed
    #[arg(long)]
    pub no_keyring: bool,
    /// Accept a login into this ChatGPT workspace only; may be repeated
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = workspace)]
    pub workspace: Vec<String>,
    /// With --from: the command and its arguments; no shell reads them
    #[arg(last = true, requires = "from", value_name = "COMMAND")]
    pub command: Vec<String>,
}

impl LoginArgs {
    /// Whether the login is to be sealed, if that was said.
    pub fn keyring(&self) -> Option<bool> {
        match (self.keyring, self.no_keyring) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

#[derive(Args, Default, PartialEq, Debug)]
pub struct TokenArgs {
    /// How long the token must stay valid: 90s, 5m, 2h, 1d [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub min_ttl: Option<Duration>,
    /// Refresh the token even if it is fresh
    #[arg(long)]
    pub force_refresh: bool,
    /// Ask the backend whether it accepts the token, and refresh it if not
    #[arg(long)]
    pub verify: bool,
    /// How long to wait for a refresh: 90s, 5m, 2h, 1d [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// What to print
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(ValueEnum, Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Format {
    /// The bare token
    #[default]
    Plain,
    /// One JSON object: token, type, expiry, account ID, plan, profile
    Json,
    /// HTTP header lines, for `curl -H @-`
    Headers,
    /// The same headers as one JSON object
    HeadersJson,
    /// Configuration lines, for `curl -K -`
    Curl,
    /// Shell assignments, for `eval`
    Env,
}

#[derive(Args)]
pub struct ExecArgs {
    /// Put the token into this environment variable too; may be repeated
    #[arg(long, value_name = "NAME", value_parser = variable)]
    pub env: Vec<String>,
    /// How long the token must stay valid: 90s, 5m, 2h, 1d [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub min_ttl: Option<Duration>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Args)]
pub struct SetupArgs {
    /// The program that is to call codex-auth
    #[arg(value_enum)]
    pub program: Program,
    /// Where that program sends its requests; default: the ChatGPT backend
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// OpenAI Codex CLI
    Codex,
    /// Anthropic Claude Code; needs --base-url
    ClaudeCode,
    /// GitHub Copilot CLI
    Copilot,
    /// A plugin for opencode
    Opencode,
    Pi,
    /// VT Code
    Vtcode,
    /// Hermes agent
    Hermes,
    /// Charm crush; needs --base-url
    Crush,
    /// OpenAI SDK for Python
    OpenaiPython,
    /// OpenAI SDK for Node
    OpenaiNode,
    Curl,
}

#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct StatusArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Ask the backend too whether it accepts the token
    #[arg(long)]
    pub check: bool,
    /// Ask the backend for the plan's limits: how much is used, when they reset
    #[arg(long)]
    pub usage: bool,
    /// Show every profile
    #[arg(long)]
    pub all: bool,
}

#[derive(Args)]
pub struct LogoutArgs {
    /// Remove the login from this machine only
    #[arg(long)]
    pub no_revoke: bool,
    /// Sign out of every profile
    #[arg(long)]
    pub all: bool,
}

#[derive(Args)]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// List the checks that passed, too
    #[arg(long)]
    pub verbose: bool,
}

#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell that the script is for
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
}

/// Reads the ID of a ChatGPT workspace, around which there may be blanks.
pub fn workspace(text: &str) -> Result<String, String> {
    let id = text.trim();
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    if id.is_empty() || !id.bytes().all(is_id) {
        return Err("use the workspace's ID, of A-Z a-z 0-9 _ . : -".to_owned());
    }
    Ok(id.to_owned())
}

/// Reads the name of an environment variable (POSIX.1-2017, base definitions 3.235).
pub fn variable(text: &str) -> Result<String, String> {
    let is_name = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if text.is_empty() || !is_name || text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("use A-Z a-z 0-9 _ and no digit in front".to_owned());
    }
    if is_taken(text) {
        return Err("it has another meaning: use a variable that is for a token".to_owned());
    }
    Ok(text.to_owned())
}

/// Whether a variable would do harm with a token in it. The names have no case on Windows.
fn is_taken(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let is_ours = name.starts_with("CODEX_AUTH_") && name != "CODEX_AUTH_TOKEN";
    is_ours || matches!(name.as_str(), "PATH" | "HOME")
}

/// Reads a duration as people write it: `90s`, `5m`, `2h`, `1d`; a bare number is seconds. Ten years is the most: what is
/// added to the clock must not overflow.
pub fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
    let length = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| "write it as 90s, 5m, 2h or 1d".to_owned())?,
    };
    if length > LONGEST {
        return Err("that is more than ten years".to_owned());
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("2h", 7200),
            ("1d", 86400),
            ("7", 7),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "-1",
            "5mm",
            "soon",
            "٣s",
            "99999999999999999999d",
            "4000d",
            "400000000",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn workspaces_are_named_by_their_ids() {
        assert_eq!(
            workspace(" account-1_a.b:C ").as_deref(),
            Ok("account-1_a.b:C")
        );
        for text in ["", " ", "a b", "a/b", "!a", "ä", "a\n\tb"] {
            assert!(workspace(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_of_variables_are_those_that_a_shell_takes() {
        for name in ["A", "_", "a_1", "OPENAI_API_KEY"] {
            assert_eq!(variable(name).as_deref(), Ok(name));
        }
        assert_eq!(
            variable("CODEX_AUTH_TOKEN").as_deref(),
            Ok("CODEX_AUTH_TOKEN")
        );
        for name in ["PATH", "Path", "HOME", "CODEX_AUTH_ACCOUNT_ID"] {
            assert!(variable(name).is_err(), "{name}");
        }
        for name in ["", "1A", "A-B", "A=B", "A B", "Ä", "A\0"] {
            assert!(variable(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_bare_token_parses_to_the_defaults() {
        let Command::Token(parsed) = Cli::parse_from(["codex-auth", "token"]).command else {
            panic!("not token");
        };
        assert_eq!(parsed, TokenArgs::default());
    }
}
