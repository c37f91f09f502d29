//! `completions`: the script for a shell, and the candidates that it asks this program for at every TAB.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_complete::Shell;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{CompleteEnv, Shells};

use super::output::print;
use crate::cli::{Cli, CompletionsArgs};
use crate::settings::{CODEX_PROFILE, COMPLETE};
use crate::store::codex_file;
use crate::{settings, store};

/// This program, as the scripts call it.
const NAME: &str = "codex-auth";
/// The function of the script for zsh.
const ZSH_FUNCTION: &str = "_clap_dynamic_completer_codex_auth";

pub fn completions(args: &CompletionsArgs) -> Result<ExitCode> {
    print(&script(args.shell)?)
}

/// The script that makes a shell ask this program.
pub fn script(shell: Shell) -> Result<String> {
    let shells = Shells::builtins();
    let writer = shells
        .completer(&shell.to_string())
        .context("unknown shell")?;
    let mut script = Vec::new();
    writer.write_registration(COMPLETE, NAME, NAME, NAME, &mut script)?;
    let script = String::from_utf8(script)?;
    Ok(match shell {
        Shell::Zsh => also_as_function(&script),
        _ => format!("{}\n", script.trim()),
    })
}

/// In a folder of `fpath` the file itself is the function that zsh calls for the first TAB.
fn also_as_function(script: &str) -> String {
    let register = format!("compdef {ZSH_FUNCTION} {NAME}");
    let either = format!(
        "if [ \"$funcstack[1]\" = \"_{NAME}\" ]; then\n    {ZSH_FUNCTION} \"$@\"\nelse\n    {register}\nfi"
    );
    format!("{}\n", script.trim().replace(&register, &either))
}

/// Answers a shell. A failure is silent: the shell shows no message.
pub fn complete() -> ExitCode {
    let folder = env::current_dir().ok();
    let engine = CompleteEnv::with_factory(command).var(COMPLETE);
    match engine.try_complete(env::args_os(), folder.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The command line, with what can be completed in place of its values.
fn command() -> Command {
    let typed = typed();
    Cli::command()
        .mut_args(|argument| once(argument, &typed))
        .mut_subcommands(|command| command.mut_args(|argument| once(argument, &typed)))
        .mut_arg("profile", |profile| {
            profile.add(ArgValueCandidates::new(profiles))
        })
        .mut_subcommand("exec", with_command_line)
        .mut_subcommand("login", with_command_line)
}

fn with_command_line(subcommand: Command) -> Command {
    subcommand.mut_arg("command", |command| {
        command.add(ArgValueCompleter::new(command_line))
    })
}

/// The words between the name of the program and the one that is to be completed.
fn typed() -> Vec<OsString> {
    // The script puts the first `--`, and the name behind it.
    let line = env::args_os().skip_while(|word| word != "--").skip(2);
    let mut words: Vec<OsString> = line.collect();
    words.pop();
    words
}

/// An argument that is not offered again if it was typed and may not be repeated; nor is `--profile` beside `--all`.
fn once(argument: Arg, typed: &[OsString]) -> Arg {
    let long = argument.get_long().map(|name| format!("--{name}"));
    let is_typed = |option: &str| typed.iter().any(|word| word == option);
    let repeats = matches!(argument.get_action(), ArgAction::Append);
    let is_spent = long.is_some_and(|option| match option.as_str() {
        "--profile" if is_typed("--all") => true,
        option => !repeats && is_typed(option),
    });
    let is_hidden = argument.is_hide_set() || is_spent;
    argument.hide(is_hidden)
}

/// The profiles that can be used now.
fn profiles() -> Vec<CompletionCandidate> {
    let has_codexs = codex_file::path().is_ok_and(|path| path.exists());
    let codexs = has_codexs.then(|| CODEX_PROFILE.to_owned());
    let stored = store::profiles().unwrap_or_default();
    let names = stored.into_iter().chain(codexs);
    names.map(CompletionCandidate::new).collect()
}

/// The command that `exec`, or `login --from`, runs, and its arguments: they come behind a `--` that the person has typed.
fn command_line(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed();
    let Some(dashes) = typed.iter().position(|word| word == "--") else {
        return Vec::new();
    };
    let is_command = dashes + 1 == typed.len();
    let is_path = current.to_string_lossy().contains(std::path::is_separator);
    if is_command && !is_path {
        programs(current)
    } else {
        PathCompleter::any().complete(current)
    }
}

/// The programs in `PATH` whose names begin so.
fn programs(beginning: &OsStr) -> Vec<CompletionCandidate> {
    let beginning = beginning.to_string_lossy();
    let in_folder = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let entries = settings::program_folders().into_iter().flat_map(in_folder);
    let mut names: Vec<OsString> = entries
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().starts_with(&*beginning))
        .collect();
    names.sort();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}
