//! What the parser says: the help, and what is wrong with the arguments, in our style and with the command to try.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use strsim::damerau_levenshtein;

use super::output::print_coloured;
use crate::cli;
use crate::settings::is_profile_name;
use crate::terminal;

/// What people type who know other tools, and what to try instead.
const HINTS: &str = include_str!("../help/hints.txt");

/// Prints the help or the version that was asked for, or else what is wrong with the arguments.
pub fn show(error: &Error, arguments: &[OsString]) -> Result<ExitCode> {
    if !error.use_stderr() {
        return print_coloured(&error.render().ansi().to_string());
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
    let (wrong, suggested) = match error.kind() {
        ErrorKind::InvalidSubcommand => (
            ContextKind::InvalidSubcommand,
            ContextKind::SuggestedSubcommand,
        ),
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        _ => (ContextKind::InvalidValue, ContextKind::SuggestedValue),
    };
    let values = possible_values(command);
    let wrong = match text(error, wrong) {
        Some(wrong) => wrong,
        None if error.kind() == ErrorKind::MissingRequiredArgument && !values.is_empty() => {
            return format!(": use one of {}", values.join(", "));
        }
        None => return format!(": try {call} --help"),
    };
    // Two typing errors at most: of what is less similar, none is likely.
    let is_likely = |suggestion: &&str| damerau_levenshtein(wrong, suggestion) <= 2;
    let likely = text(error, suggested).filter(is_likely);
    let is_value = error.get(ContextKind::InvalidValue).is_some();
    // `--format <FORMAT>` of a wrong value.
    let argument = text(error, ContextKind::InvalidArg).filter(|_| is_value);
    let option = argument.and_then(|argument| argument.split_once('<'));
    let likely = likely.map(|likely| format!("{call} {}{likely}", option.map_or("", |it| it.0)));
    let meant = || hint(wrong, &whole, command.get_name(), &typed);
    match likely.or_else(|| if is_value { None } else { meant() }) {
        Some(meant) => format!(": try {meant}"),
        None if is_value => String::new(),
        None => format!(": try {call} --help"),
    }
}

/// What can be chosen from, where the argument of a command is a choice.
fn possible_values(command: &Command) -> Vec<String> {
    let choices = command.get_positionals();
    let values = choices.flat_map(clap::Arg::get_possible_values);
    values.map(|value| value.get_name().to_owned()).collect()
}

/// What was probably meant: a command or an option of another tool, or a missing `--` or `--profile`.
fn hint(word: &str, whole: &Command, command: &str, typed: &[&str]) -> Option<String> {
    let is_bare = !word.starts_with('-') && !typed.contains(&"--");
    let is_profile = is_profile_name(word) && whole.find_subcommand(word).is_none();
    match command {
        "exec" if is_bare => return Some(format!("codex-auth exec -- {word} …")),
        "login" if is_bare && typed.contains(&"--from") => {
            return Some(format!("codex-auth login --from -- {word} …"));
        }
        "login" | "token" | "account-id" | "status" | "logout" if is_bare && is_profile => {
            return Some(format!("codex-auth --profile {word} {command}"));
        }
        _ => {}
    }
    let known = |typed: &str| {
        let mut hints = HINTS.lines().filter_map(|line| line.split_once(": "));
        hints.find(|(words, _)| words.split(", ").any(|words| words == typed))
    };
    let (_, meant) = known(&format!("{command} {word}")).or_else(|| known(word))?;
    Some(meant.to_owned())
}

/// A detail of an error; of several the last, which is the parser's best.
fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        ContextValue::Strings(texts) => texts.last().map(String::as_str),
        _ => None,
    }
}
