//! What the parser reports: the help, and errors in the arguments, in our style and with the command to try.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ContextKind::{
    self, InvalidArg, InvalidSubcommand, InvalidValue, SuggestedArg, SuggestedSubcommand,
    SuggestedValue,
};
use clap::error::{ContextValue, Error, ErrorKind};
use clap::{Command, CommandFactory};
use strsim::damerau_levenshtein;

use super::output::print_coloured;
use crate::cli::Cli;
use crate::settings::is_profile_name;
use crate::terminal;
use crate::text::without_secrets;

/// Prints the requested help or version, or else what is wrong with the arguments.
pub fn show(error: &Error, arguments: &[OsString]) -> Result<ExitCode> {
    if !error.use_stderr() {
        return print_coloured(&error.render().ansi().to_string());
    }
    // The error comes first, up to an empty line; tips and the usage follow.
    let text = error.render().to_string();
    let cause = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = cause.split_whitespace().skip(1).collect();
    let long = "the following required arguments were not provided:";
    let cause = match error.kind() {
        ErrorKind::MissingSubcommand => "no command was given".to_owned(),
        _ => words.join(" ").replace(long, "missing"),
    };
    let advice = advice(error, arguments).map(|call| format!(": try {call}"));
    // An argument may be a token, which belongs on stdin.
    terminal::complain(&without_secrets(&(cause + &advice.unwrap_or_default())));
    Ok(ExitCode::from(u8::try_from(error.exit_code())?))
}

/// What to try instead. `None` if the error lists the possible values, and none is close.
fn advice(error: &Error, arguments: &[OsString]) -> Option<String> {
    let mut whole = Cli::command();
    whole.build();
    let typed: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    // The word after --profile is a name, and `help` has no help of its own.
    let is_other = |at: usize| typed[at] == "help" || at > 0 && typed[at - 1] == "--profile";
    let words = (0..typed.len()).filter(|at| !is_other(*at));
    let mut commands = words.filter_map(|at| whole.find_subcommand(typed[at]));
    let command = commands.next().unwrap_or(&whole);
    let call = command.get_bin_name().unwrap_or("codex-auth");
    let (wrong, suggested) = match error.kind() {
        ErrorKind::InvalidSubcommand => (InvalidSubcommand, SuggestedSubcommand),
        ErrorKind::UnknownArgument => (InvalidArg, SuggestedArg),
        _ => (InvalidValue, SuggestedValue),
    };
    let help = format!("{call} --help");
    let Some(wrong) = text(error, wrong) else {
        return Some(help);
    };
    // At most two typing errors: anything less similar is unlikely.
    let likely = text(error, suggested).filter(|likely| damerau_levenshtein(wrong, likely) <= 2);
    if let Some(likely) = likely {
        // `--format <FORMAT>` if its value is wrong.
        let argument = text(error, InvalidArg).and_then(|it| it.split_once('<'));
        let option = argument.map_or("", |it| it.0);
        return Some(format!("{call} {option}{likely}"));
    }
    if error.get(InvalidValue).is_some() {
        return None;
    }
    Some(hint(wrong, &whole, command.get_name(), &typed).unwrap_or(help))
}

/// What was probably meant: a command or an option known from another tool, or a missing `--` or `--profile`.
fn hint(word: &str, whole: &Command, command: &str, typed: &[&str]) -> Option<String> {
    let is_bare = !word.starts_with('-') && !typed.contains(&"--");
    let is_profile = is_profile_name(word) && whole.find_subcommand(word).is_none();
    match command {
        "exec" if is_bare => return Some(format!("codex-auth exec -- {word} …")),
        "login" if is_bare && typed.contains(&"--from") => {
            return Some(format!("codex-auth login --from -- {word} …"));
        }
        "login" if is_bare && typed.contains(&"--with-access-token") => {
            let meant = "codex-auth login --with-access-token, which reads it from stdin";
            return Some(meant.to_owned());
        }
        "login" | "token" | "account-id" | "status" | "logout" if is_bare && is_profile => {
            return Some(format!("codex-auth --profile {word} {command}"));
        }
        _ => {}
    }
    // What users of other tools type, and what to try instead.
    let hints = include_str!("../help/hints.txt").lines();
    let mut hints = hints.filter_map(|line| line.split_once(": "));
    let in_command = format!("{command} {word}");
    let is_typed = |words: &str| words == word || words == in_command;
    let (_, meant) = hints.find(|(words, _)| words.split(", ").any(is_typed))?;
    Some(meant.to_owned())
}

/// A detail of an error; if there are several, the last one, which is the parser's best.
fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        ContextValue::Strings(texts) => texts.last().map(String::as_str),
        _ => None,
    }
}
