//! What the parser says: the help, and what is wrong with the arguments, in our style and with the command to try.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;
use clap::builder::PossibleValue;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use strsim::damerau_levenshtein;

use super::output::{has_colours, print};
use crate::cli::Cli;
use crate::settings::is_profile_name;
use crate::terminal;

/// Commands of other tools, and what to try instead.
const COMMANDS: &[(&str, &str)] = &[
    ("whoami info show current", "codex-auth status"),
    (
        "list ls accounts profiles logins",
        "codex-auth status --all",
    ),
    ("refresh renew", "codex-auth token --force-refresh"),
    ("signin sign-in auth init", "codex-auth login"),
    ("signout sign-out revoke", "codex-auth logout"),
    (
        "get print print-token access-token get-token",
        "codex-auth token",
    ),
    ("env", "codex-auth token --format env"),
    ("headers", "codex-auth token --format headers"),
    ("run", "codex-auth exec -- COMMAND"),
    ("switch use", "codex-auth --profile NAME COMMAND"),
    ("usage limits", "codex-auth status --usage"),
    ("encrypt keyring keychain", "codex-auth seal"),
    ("decrypt", "codex-auth unseal"),
    ("version", "codex-auth --version"),
    ("config configure", "codex-auth setup PROGRAM"),
    ("update upgrade", "updating the way you installed it"),
];

/// Options that people expect of a command (`*`: of any), and what to try instead.
const OPTIONS: &[(&str, &str, &str)] = &[
    ("token", "--json", "codex-auth token --format json"),
    (
        "token",
        "--refresh --force",
        "codex-auth token --force-refresh",
    ),
    ("status", "--format --output -o", "codex-auth status --json"),
    ("doctor", "--format --output -o", "codex-auth doctor --json"),
    ("doctor", "-v", "codex-auth doctor --verbose"),
    (
        "doctor",
        "--fix",
        "codex-auth doctor, which says what to run",
    ),
    ("login", "--device", "codex-auth login --device-code"),
    (
        "login",
        "--web --browser",
        "codex-auth login, which opens the browser",
    ),
    ("", "-v", "codex-auth --version"),
    ("*", "-p", "codex-auth --profile NAME COMMAND"),
];

/// Commands behind which somebody may put the name of a profile.
const OF_A_PROFILE: [&str; 5] = ["login", "token", "account-id", "status", "logout"];

/// Prints the help or the version that was asked for, or else what is wrong with the arguments.
pub fn show(error: &Error, arguments: &[OsString]) -> Result<ExitCode> {
    if !error.use_stderr() {
        let help = error.render();
        return print(&if has_colours() {
            help.ansi().to_string()
        } else {
            help.to_string()
        });
    }
    // What is wrong comes first, up to an empty line; tips and the usage follow.
    let text = error.render().to_string();
    let cause = text.split("\n\n").next().unwrap_or_default();
    let cause = cause
        .split_whitespace()
        .skip(1)
        .collect::<Vec<_>>()
        .join(" ");
    let cause = match error.kind() {
        ErrorKind::MissingSubcommand => "no command was given".to_owned(),
        _ => cause.replace(
            "the following required arguments were not provided:",
            "missing",
        ),
    };
    terminal::complain(&(cause + &advice(error, arguments)));
    Ok(ExitCode::from(u8::try_from(error.exit_code())?))
}

/// What to do, behind the cause. Nothing where that says which values are possible, and none is close.
fn advice(error: &Error, arguments: &[OsString]) -> String {
    let mut whole = Cli::command();
    whole.build();
    let typed: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let command = typed
        .iter()
        .find_map(|word| whole.find_subcommand(word))
        .filter(|command| command.get_name() != "help");
    let call = command.map_or("codex-auth".to_owned(), |command| {
        format!("codex-auth {}", command.get_name())
    });
    if let Some(names) = command.and_then(|command| missing_values(error, command)) {
        return names;
    }
    let name = command.map_or("", clap::Command::get_name);
    match hint(error, &typed, name).or_else(|| similar(error, &call)) {
        Some(meant) => format!(": try {meant}"),
        None if error.get(ContextKind::InvalidValue).is_some() => String::new(),
        None => format!(": try {call} --help"),
    }
}

/// The possible values of an argument that is missing.
fn missing_values(error: &Error, command: &clap::Command) -> Option<String> {
    if error.kind() != ErrorKind::MissingRequiredArgument {
        return None;
    }
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let mut arguments = command.get_arguments();
    let argument = arguments.find(|argument| missing.contains(&argument.to_string()))?;
    let values = argument.get_possible_values();
    let names: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
    (!names.is_empty()).then(|| format!(": use one of {}", names.join(", ")))
}

/// What somebody means who types what another tool has, or forgets the dashes before a command.
fn hint(error: &Error, typed: &[&str], command: &str) -> Option<String> {
    let has = |names: &str, word: &str| names.split(' ').any(|name| name == word);
    if error.kind() == ErrorKind::InvalidSubcommand {
        let word = text(error, ContextKind::InvalidSubcommand)?;
        let known = COMMANDS.iter().find(|(names, _)| has(names, word))?;
        return Some(known.1.to_owned());
    }
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let word = text(error, ContextKind::InvalidArg)?;
    if word.starts_with('-') {
        let mut options = OPTIONS.iter();
        let known =
            options.find(|(of, names, _)| [command, "*"].contains(of) && has(names, word))?;
        return Some(known.2.to_owned());
    }
    match command {
        _ if typed.contains(&"--") => None,
        "login" if typed.contains(&"--from") => {
            Some("codex-auth login --from -- COMMAND".to_owned())
        }
        "exec" => Some(format!("codex-auth exec -- {word} …")),
        _ if !OF_A_PROFILE.contains(&command) || !is_profile_name(word) => None,
        _ if Cli::command().find_subcommand(word).is_some() => None,
        _ => Some(format!("codex-auth --profile {word} {command}")),
    }
}

/// The command or option that was most likely meant: two typing errors at most.
fn similar(error: &Error, call: &str) -> Option<String> {
    let pairs = [
        (
            ContextKind::InvalidSubcommand,
            ContextKind::SuggestedSubcommand,
        ),
        (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        (ContextKind::InvalidValue, ContextKind::SuggestedValue),
    ];
    pairs.into_iter().find_map(|(typed, suggested)| {
        let typed = text(error, typed)?;
        let mut suggestions = match error.get(suggested)? {
            ContextValue::String(suggestion) => vec![suggestion.as_str()],
            ContextValue::Strings(suggestions) => suggestions.iter().map(String::as_str).collect(),
            _ => return None,
        };
        suggestions.retain(|suggestion| damerau_levenshtein(typed, suggestion) <= 2);
        suggestions
            .last()
            .map(|suggestion| format!("{call} {suggestion}"))
    })
}

fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    }
}
