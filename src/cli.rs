//! The command line: every option, and every word of the help. It imports clap alone, so that tests can include it.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Sign in to ChatGPT/Codex once, then print a fresh access token whenever it is asked for.
///
/// The token goes to stdout, everything else to stderr.
///
/// Exit codes: 0 done; 1 failed, and trying again will not help; 2 wrong usage; 4 a person has to sign in; 75
/// temporary, try again later.
#[derive(Parser)]
#[command(name = "codex-auth", version, propagate_version = false)]
pub struct Cli {
    /// The login to use: a name of your choice, or `codex` to read Codex's own login [env: CODEX_AUTH_PROFILE]
    /// [default: default]
    #[arg(long, global = true, value_name = "NAME")]
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
    /// One line on stdout. The login is renewed when the token is about to end; many callers at once cost one renewal.
    Token(TokenArgs),
    /// Print the ChatGPT account ID
    AccountId,
    /// Show who is signed in, and until when
    ///
    /// Exit code 0 means that a token can be had without a person (with --all: of each login), 4 that somebody has to
    /// sign in.
    Status(StatusArgs),
    /// Revoke the login at the issuer, and remove it from this machine
    Logout(LogoutArgs),
    /// Run a command with the access token in its environment
    ///
    /// The command finds the token in `CODEX_AUTH_TOKEN` and the account ID in `CODEX_AUTH_ACCOUNT_ID`; its exit code
    /// becomes that of codex-auth.
    Exec(ExecArgs),
    /// Print the configuration that makes another program call codex-auth
    ///
    /// What to put where stands in the comments. No file is written.
    Setup(SetupArgs),
    /// Find what stands in the way of a login or of a renewal
    ///
    /// One line for each finding, each with what to do about it. No secret is printed. Exit code 1 means that
    /// something does stand in the way.
    Doctor(DoctorArgs),
    /// Print a completion script
    Completions(CompletionsArgs),
}

#[derive(Args)]
pub struct LoginArgs {
    /// Sign in with a code that is typed on another device
    #[arg(long, alias = "device-auth")]
    pub device_code: bool,
    /// Print the address, but do not open a browser
    #[arg(long)]
    pub no_browser: bool,
    /// With --device-code: show the address as a QR code too
    #[arg(long, requires = "device_code")]
    pub qr: bool,
    /// Accept a login into this ChatGPT workspace only; may be given several times
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub workspace: Vec<String>,
}

#[derive(Args, Default, PartialEq, Debug)]
pub struct TokenArgs {
    /// Life that the token must have left, as 90s, 5m, 2h or 1d [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub min_ttl: Option<Duration>,
    /// Renew the token even if it is fresh
    #[arg(long)]
    pub force_refresh: bool,
    /// Ask the backend whether it accepts the token, and renew it if not
    #[arg(long)]
    pub verify: bool,
    /// How long to wait for a renewal, as 90s, 5m, 2h or 1d [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// The shape to print the token in
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
    /// Put the token into this environment variable too; may be given several times
    #[arg(long, value_name = "NAME", value_parser = variable)]
    pub env: Vec<String>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Args)]
pub struct SetupArgs {
    /// The program that is to call codex-auth
    #[arg(value_enum)]
    pub program: Program,
    /// Where that program sends its requests; claude-code needs it
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Codex,
    ClaudeCode,
    Vtcode,
    Pi,
    Crush,
    Curl,
}

#[derive(Args)]
pub struct StatusArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Ask the backend too whether it accepts the token
    #[arg(long)]
    pub check: bool,
    /// Show every stored login
    #[arg(long, conflicts_with = "profile")]
    pub all: bool,
}

#[derive(Args)]
pub struct LogoutArgs {
    /// Remove the login from this machine only
    #[arg(long)]
    pub no_revoke: bool,
    /// End every stored login
    #[arg(long, conflicts_with = "profile")]
    pub all: bool,
}

#[derive(Args)]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
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

/// Reads the name of an environment variable (POSIX.1-2017, base definitions 3.235).
pub fn variable(text: &str) -> Result<String, String> {
    let is_name = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if text.is_empty() || !is_name || text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("use A-Z a-z 0-9 _ and no digit in front".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads a duration as people write it: `90s`, `5m`, `2h`, `1d`; a bare number is seconds. Ten years is the most.
pub fn duration(text: &str) -> Result<Duration, String> {
    const WORDS: &str = "write it as 90s, 5m, 2h or 1d";
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(WORDS.to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| WORDS.to_owned())?;
    number
        .checked_mul(seconds)
        .filter(|total| *total <= 3650 * 24 * 60 * 60)
        .map(Duration::from_secs)
        .ok_or_else(|| "that is more than ten years".to_owned())
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
            "1.5h",
            "5 m",
            "1w",
            "5mm",
            "٣s",
            "99999999999999999999d",
            "4000d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_variables_are_those_that_a_shell_takes() {
        for name in ["A", "_", "a_1", "OPENAI_API_KEY"] {
            assert_eq!(variable(name).as_deref(), Ok(name));
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
