//! The command line: every option, and the help, of which the longer texts are in `help/`.

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, Styles};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint};

use crate::error::EXIT_CODES;
use crate::settings::VARIABLES;
use crate::text::{entries, is_plain};
use crate::time::duration;
use crate::url::Url;

/// Sign in to ChatGPT/Codex once, then print a fresh access token on demand
///
/// The token goes to stdout, everything else to stderr.
#[derive(Parser)]
#[command(
    name = "codex-auth",
    version,
    max_term_width = 100,
    // Otherwise, `codex-auth --` would print the help as an error.
    arg_required_else_help = false,
    after_help = "Environment variables and exit codes: codex-auth --help\nMan page: codex-auth man | man -l -"
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

// `help/commands.txt` describes each.
#[derive(Subcommand)]
pub enum Command {
    Login(LoginArgs),
    Token(TokenArgs),
    AccountId,
    Status(StatusArgs),
    Logout {
        /// Remove the login from this machine only
        #[arg(long)]
        no_revoke: bool,
        /// Sign out of every profile
        #[arg(long)]
        all: bool,
    },
    Seal,
    Unseal,
    Exec(ExecArgs),
    Setup(SetupArgs),
    Doctor {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Also list passed checks
        #[arg(long)]
        verbose: bool,
    },
    Completions {
        /// Target shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    Man,
}

/// The command line with all of its help, which takes longer to build than most commands take to run.
pub fn command() -> clap::Command {
    let whole = Cli::command().after_long_help(reference());
    whole.mut_subcommands(|command| {
        // `== name: what it does`, then a description and examples, if any.
        let mut texts = include_str!("help/commands.txt").split("== ");
        let heading = format!("{}: ", command.get_name());
        let text = texts.find_map(|text| text.strip_prefix(&heading));
        let text = text.unwrap_or_default().trim_end();
        let (text, examples) = text.split_once("\nExamples:\n").unwrap_or((text, ""));
        let (about, description) = text.split_once('\n').unwrap_or((text, ""));
        let long = format!("{about}\n\n{description}").trim_end().to_owned();
        let command = command.about(about).long_about(long);
        match examples {
            "" => command,
            examples => command.after_long_help(section("Examples", examples)),
        }
    })
}

pub fn parse() -> Result<Cli, clap::Error> {
    Cli::try_parse().or_else(|error| match error.kind() {
        ErrorKind::DisplayHelp => Cli::from_arg_matches(&command().try_get_matches()?),
        _ => Err(error),
    })
}

/// The repository's URL, from Cargo.toml; empty until it is known.
pub const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The tables of exit codes and variables, for the end of the program's long help.
fn reference() -> String {
    let codes = entries(EXIT_CODES).map(|(code, meaning)| format!("  {code:>2}  {meaning}\n"));
    let codes = section("Exit codes", &codes.collect::<String>());
    let variables =
        entries(VARIABLES).map(|(names, text)| format!("  {names}\n          {text}\n"));
    let variables = section("Environment variables", &variables.collect::<String>());
    let bugs = match REPOSITORY {
        "" => String::new(),
        address => format!("\nReport bugs: {address}/issues"),
    };
    format!("{codes}\n{variables}\nMan page: codex-auth man | man -l -{bugs}")
}

fn section(title: &str, text: &str) -> String {
    let style = *Styles::styled().get_header();
    format!("{style}{title}:{style:#}\n{text}")
}

/// The options of a browser login.
const BROWSER: [&str; 2] = ["no_browser", "switch_account"];

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate option")]
pub struct LoginArgs {
    /// Sign in with a code entered on another device
    #[arg(long, alias = "device-auth", group = "way")]
    pub device_code: bool,
    /// Also show the URL as a QR code
    #[arg(long, requires = "device_code")]
    pub qr: bool,
    /// Print the URL, but do not open a browser
    #[arg(long)]
    pub no_browser: bool,
    /// Choose the account, even if the browser is already signed in
    #[arg(long, conflicts_with = "device_code")]
    pub switch_account: bool,
    /// Accept only a login to this ChatGPT workspace; may be repeated
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = workspace)]
    pub workspace: Vec<String>,
    /// Encrypt the login with a key in the system's keyring, as `seal` does [env: CODEX_AUTH_SEAL]
    #[arg(long)]
    pub seal: bool,
    /// Read an admin console's access token (at-…) from stdin; it is never refreshed
    #[arg(long, group = "way", conflicts_with_all = BROWSER)]
    pub with_access_token: bool,
    /// Exchange the identity token of this workload's platform for access tokens [env: `OPENAI_FEDERATION_RULE_ID`,
    /// `OPENAI_IDENTITY_TOKEN_FILE`]
    #[arg(long, group = "way", conflicts_with_all = BROWSER)]
    pub workload_identity: bool,
    /// The federation rule, created by an administrator
    #[arg(long, value_name = "ID", requires = "workload_identity")]
    pub federation_rule: Option<String>,
    /// The identity token's file, as an absolute path
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "workload_identity")]
    pub identity_token: Option<String>,
    /// Get access tokens from the command after `--`, which must print the output of `codex-auth token --format json` on the
    /// machine that holds the login
    #[arg(long, requires = "command", group = "way", conflicts_with_all = BROWSER)]
    pub from: bool,
    /// Get access tokens from a Unix socket that sends the same output
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    #[arg(group = "way", conflicts_with_all = BROWSER, conflicts_with = "command")]
    pub from_socket: Option<String>,
    /// With --from: the command and its arguments, run without a shell
    #[arg(last = true, requires = "from", value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Args, Default, PartialEq, Debug)]
pub struct RequestArgs {
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
}

#[derive(Args, Default, PartialEq, Debug)]
pub struct TokenArgs {
    #[command(flatten)]
    pub request: RequestArgs,
    /// What to print
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(ValueEnum, Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Format {
    /// The bare token
    #[default]
    Plain,
    /// One JSON object with the token, its expiry, the account and more
    Json,
    /// HTTP header lines, for `curl -H @-`
    Headers,
    /// The same headers as one JSON object
    HeadersJson,
    /// curl configuration, for `curl -K -`
    Curl,
    /// Shell assignments, for `eval`
    Env,
}

#[derive(Args)]
pub struct ExecArgs {
    /// Also set this environment variable to the token; may be repeated
    #[arg(long, value_name = "NAME", value_parser = variable)]
    pub env: Vec<String>,
    /// Set `OPENAI_API_KEY` to the token and `OPENAI_BASE_URL` to the ChatGPT backend
    #[arg(long)]
    pub openai: bool,
    #[command(flatten)]
    pub request: RequestArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Args)]
pub struct SetupArgs {
    /// The program to configure
    #[arg(value_parser = programs())]
    pub program: String,
    /// Where the program sends its requests; default: the ChatGPT backend
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, value_parser = Url::parse)]
    pub base_url: Option<Url>,
}

fn programs() -> PossibleValuesParser {
    let programs = include_str!("help/programs.txt").lines();
    let programs = programs.filter_map(|line| line.split_once(": "));
    PossibleValuesParser::new(programs.map(|(name, help)| PossibleValue::new(name).help(help)))
}

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate option")]
pub struct StatusArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Also ask the backend whether it accepts the token
    #[arg(long)]
    pub verify: bool,
    /// Show plan usage, and when the limits reset
    #[arg(long)]
    pub usage: bool,
    /// Show every stored profile
    #[arg(long)]
    pub all: bool,
}

/// Parses the ID of a ChatGPT workspace, ignoring surrounding spaces.
pub fn workspace(text: &str) -> Result<String, String> {
    let id = text.trim().to_owned();
    let why = "use the workspace ID, made of A-Z a-z 0-9 _ . : -".to_owned();
    is_plain(&id).then_some(id).ok_or(why)
}

/// Parses the name of an environment variable (POSIX.1-2017, base definitions 3.235) that is safe to set to a token.
pub fn variable(text: &str) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts_well = text.starts_with(|c: char| is_name(c) && !c.is_ascii_digit());
    if !starts_well || !text.chars().all(is_name) {
        return Err("use A-Z a-z 0-9 _, not starting with a digit".to_owned());
    }
    // Windows ignores the case of names.
    let name = text.to_ascii_uppercase();
    let is_ours = name.starts_with("CODEX_AUTH_") && name != "CODEX_AUTH_TOKEN";
    if is_ours || name == "PATH" || name == "HOME" {
        return Err(format!("{text} is reserved: choose another variable"));
    }
    Ok(text.to_owned())
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
    fn names_of_variables_are_those_that_a_shell_accepts() {
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
