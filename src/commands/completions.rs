//! `completions`: the script for a shell, and the candidates that the script gets from this program at every TAB.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::{env, fs, path};

use anyhow::{Context, Result};
use clap::{Arg, Command, arg};
use clap_complete::Shell;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{CompleteEnv, Shells};

use crate::cli;
use crate::settings::{CODEX_PROFILE, COMPLETE};
use crate::{settings, store};

/// This program, as the scripts call it.
const NAME: &str = "codex-auth";

/// The script that makes a shell call this program for completions.
pub fn script(shell: Shell) -> Result<String> {
    let shells = Shells::builtins();
    let writer = shells.completer(&shell.to_string());
    let writer = writer.context("unknown shell")?;
    let mut script = Vec::new();
    writer.write_registration(COMPLETE, NAME, NAME, NAME, &mut script)?;
    let mut script = String::from_utf8(script)?.trim().to_owned();
    if shell == Shell::Zsh {
        // In a folder of `fpath`, zsh calls the file itself as the function for the first TAB.
        let function = "_clap_dynamic_completer_codex_auth";
        let register = format!("compdef {function} {NAME}");
        let either = format!(
            "if [ \"$funcstack[1]\" = \"_{NAME}\" ]; then\n    {function} \"$@\"\nelse\n    {register}\nfi"
        );
        script = script.replace(&register, &either);
    }
    Ok(script + "\n")
}

/// Answers a shell. Errors are silent, because the shell shows no message.
pub fn complete() -> ExitCode {
    let folder = env::current_dir().ok();
    let engine = CompleteEnv::with_factory(command).var(COMPLETE);
    match engine.try_complete(env::args_os(), folder.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The command line, with completions for its values.
fn command() -> Command {
    let (typed, current) = line();
    // Where a program or a shell is expected, options are only offered for a word that starts like one.
    let chooses = typed.iter().any(|it| it == "setup" || it == "completions");
    let hides_options = chooses && !current.to_string_lossy().starts_with('-');
    let as_offered = |argument: Arg| {
        let is_option = argument.get_long().is_some();
        argument.hide(is_option && hides_options)
    };
    let command_line = |subcommand: Command| {
        let completer = ArgValueCompleter::new(command_line);
        subcommand.mut_arg("command", |command| command.add(completer))
    };
    // For the parser's own flags it would only offer the short forms.
    cli::command()
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(arg!(--help "Print help").global(true))
        .arg(arg!(--version "Print version"))
        .mut_arg("profile", |it| it.add(ArgValueCandidates::new(profiles)))
        .mut_subcommand("exec", command_line)
        .mut_subcommand("login", command_line)
        .mut_args(as_offered)
        .mut_subcommands(|command| command.mut_args(as_offered))
}

/// The words between the name of the program and the word to complete, and that word.
fn line() -> (Vec<OsString>, OsString) {
    // The script passes the first `--`, followed by the program's name.
    let line = env::args_os().skip_while(|word| word != "--").skip(2);
    let mut words: Vec<OsString> = line.collect();
    let current = words.pop().unwrap_or_default();
    (words, current)
}

fn profiles() -> Vec<CompletionCandidate> {
    let stored = store::profiles().unwrap_or_default();
    let names = stored.into_iter().chain([CODEX_PROFILE.to_owned()]);
    names.map(CompletionCandidate::new).collect()
}

/// The command that `exec` or `login --from` runs, and its arguments, which follow a `--` that the user has typed.
fn command_line(current: &OsStr) -> Vec<CompletionCandidate> {
    let (typed, _) = line();
    let beginning = current.to_string_lossy();
    match typed.iter().position(|word| word == "--") {
        None => Vec::new(),
        Some(dashes) if dashes + 1 == typed.len() && !beginning.contains(path::is_separator) => {
            programs(&beginning)
        }
        Some(_) => PathCompleter::any().complete(current),
    }
}

/// The programs in `PATH` whose names start like this.
fn programs(beginning: &str) -> Vec<CompletionCandidate> {
    let folders = settings::program_folders().into_iter();
    let entries = folders.flat_map(fs::read_dir).flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    let matches = |name: &OsString| name.to_string_lossy().starts_with(beginning);
    let names: BTreeSet<OsString> = names.filter(matches).collect();
    names.into_iter().map(CompletionCandidate::new).collect()
}
