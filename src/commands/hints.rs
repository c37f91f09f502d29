//! What the parser says: the help, and what is wrong with the arguments, in our style and with the command to try.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use strsim::damerau_levenshtein;

use super::output::print;
use crate::cli;
use crate::settings::is_profile_name;
use crate::terminal;

/// What people type who know other tools, and what to try instead.
const HINTS: &str = include_str!("../help/hints.txt");

/// Prints the help or the version that was asked for, or else what is wrong with the arguments.
pub fn show(error: &Error, arguments: &[OsString]) -> Result<ExitCode> {
    if !error.use_stderr() {
        return print(&error.render().ansi().to_string());
    }
    // What is wrong comes first, up to an empty line; tips and the usage follow.
    let text = error.render().to_string();
    let cause = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = cause.split_whitespace().skip(1).collect();
    let long = "the following required arguments were not provided:";
    let cause = match error.kind() {
        ErrorKind::MissingSubcommand => "no command was given".to_owned(),
        _ => words.join(" ").replace(long, "missing"),
    };
    terminal::complain(&(cause + &advice(error, arguments)));
    Ok(ExitCode::from(u8::try_from(error.exit_code())?))
}

/// What to do, behind the cause. Nothing where that says which values are possible, and none is close.
fn advice(error: &Error, arguments: &[OsString]) -> String {
    let mut whole = cli::command();
    whole.build();
    let typed: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let mut commands = typed.iter().filter_map(|word| whole.find_subcommand(word));
    let command = commands.next().unwrap_or(&whole);
    let call = command.get_bin_name().unwrap_or("codex-auth");
    let values = possible_values(command);
    if error.kind() == ErrorKind::MissingRequiredArgument && !values.is_empty() {
        return format!(": use one of {}", values.join(", "));
    }
    let similar = || Some(format!("{call} {}", similar(error)?));
    match hint(error, command.get_name(), &typed).or_else(similar) {
        Some(meant) => format!(": try {meant}"),
        None if error.get(ContextKind::InvalidValue).is_some() => String::new(),
        None => format!(": try {call} --help"),
    }
}

/// What can be chosen from, where the argument of a command is a choice.
fn possible_values(command: &Command) -> Vec<String> {
    let choices = command.get_positionals();
    let values = choices.flat_map(clap::Arg::get_possible_values);
    values.map(|value| value.get_name().to_owned()).collect()
}

/// What somebody means who types what another tool has, or forgets the dashes before a command or `--profile`.
fn hint(error: &Error, command: &str, typed: &[&str]) -> Option<String> {
    let word = match error.kind() {
        ErrorKind::InvalidSubcommand => text(error, ContextKind::InvalidSubcommand)?,
        ErrorKind::UnknownArgument => text(error, ContextKind::InvalidArg)?,
        _ => return None,
    };
    if !word.starts_with('-') && !typed.contains(&"--") {
        match command {
            "exec" => return Some(format!("codex-auth exec -- {word} …")),
            "login" if typed.contains(&"--from") => {
                return Some("codex-auth login --from -- COMMAND".to_owned());
            }
            "login" | "token" | "account-id" | "status" | "logout"
                if is_profile_name(word) && cli::command().find_subcommand(word).is_none() =>
            {
                return Some(format!("codex-auth --profile {word} {command}"));
            }
            _ => {}
        }
    }
    let of_command = format!("{command} {word}");
    let known = |typed: &str| {
        let mut hints = HINTS.lines().filter_map(|line| line.split_once(": "));
        hints.find(|(words, _)| words.split(", ").any(|words| words == typed))
    };
    let (_, meant) = known(&of_command).or_else(|| known(word))?;
    Some(meant.to_owned())
}

/// The command, option or value that was most likely meant: two typing errors at most.
fn similar(error: &Error) -> Option<&str> {
    let pairs = [
        (
            ContextKind::InvalidSubcommand,
            ContextKind::SuggestedSubcommand,
        ),
        (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        (ContextKind::InvalidValue, ContextKind::SuggestedValue),
    ];
    pairs.into_iter().find_map(|(typed, suggested)| {
        let suggestion = text(error, suggested)?;
        let errors = damerau_levenshtein(text(error, typed)?, suggestion);
        (errors <= 2).then_some(suggestion)
    })
}

/// A detail of an error; of several the last, which is the parser's best.
fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        ContextValue::Strings(texts) => texts.last().map(String::as_str),
        _ => None,
    }
}
