//! What is said of arguments that cannot be used, with suggestions for somebody who types the commands of another tool; and
//! the help, which the parser treats alike.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap::builder::PossibleValue;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::cli::Cli;
use crate::settings::is_profile_name;
use crate::terminal;

/// The column of a tip: the parser puts `tip: ` before it.
const TIP: usize = 7;

/// Commands of other tools, and what they are here.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["whoami", "info", "show", "current"], "codex-auth status"),
    (
        &["list", "ls", "accounts", "profiles", "logins"],
        "codex-auth status --all",
    ),
    (&["refresh", "renew"], "codex-auth token --force-refresh"),
    (&["signin", "sign-in", "auth", "init"], "codex-auth login"),
    (&["signout", "sign-out", "revoke"], "codex-auth logout"),
    (
        &["get", "print", "print-token", "access-token", "get-token"],
        "codex-auth token",
    ),
    (&["env"], "codex-auth token --format env"),
    (&["headers"], "codex-auth token --format headers"),
    (&["run"], "codex-auth exec -- COMMAND"),
    (&["switch", "use"], "codex-auth --profile NAME COMMAND"),
    (&["usage", "limits"], "codex-auth status --usage"),
    (&["encrypt", "keyring", "keychain"], "codex-auth seal"),
    (&["decrypt"], "codex-auth unseal"),
    (&["version"], "codex-auth --version"),
    (&["config", "configure"], "codex-auth setup PROGRAM"),
];

/// Commands behind which somebody may put the name of a profile.
const OF_A_PROFILE: [&str; 5] = ["login", "token", "account-id", "status", "logout"];

/// Prints what the parser has to say: the help and the version on stdout, what is wrong with the arguments on stderr. A
/// reader that has gone away is no failure.
pub fn show(error: Error, arguments: &[OsString]) -> Result<ExitCode> {
    let code = u8::try_from(error.exit_code())?;
    let error = with_hint(error, arguments);
    match error.print() {
        Err(problem) if !error.use_stderr() && problem.kind() != io::ErrorKind::BrokenPipe => {
            Err(problem).context("could not write to stdout")
        }
        _ => Ok(ExitCode::from(code)),
    }
}

/// The error with a tip, if we know what these arguments were meant to be, or what is missing.
fn with_hint(mut error: Error, arguments: &[OsString]) -> Error {
    let meant = meant(&error, arguments).map(|meant| format!("use '{meant}'"));
    if let Some(tip) = meant.or_else(|| missing(&error)) {
        error.remove(ContextKind::SuggestedSubcommand);
        error.remove(ContextKind::SuggestedArg);
        let columns = terminal::width().unwrap_or(usize::MAX);
        let tip = terminal::fitted_to(&tip, TIP, columns);
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
    error
}

/// The possible values of an argument that is missing.
fn missing(error: &Error) -> Option<String> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    if error.kind() != ErrorKind::MissingRequiredArgument {
        return None;
    }
    let mut command = Cli::command();
    command.build();
    let mut arguments = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    let argument = arguments.find(|argument| missing.contains(&argument.to_string()))?;
    let values = argument.get_possible_values();
    let names: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
    (!names.is_empty()).then(|| format!("{argument} is one of {}", names.join(", ")))
}

fn meant(error: &Error, arguments: &[OsString]) -> Option<String> {
    let typed = |kind| match error.get(kind) {
        Some(ContextValue::String(typed)) => Some(typed.as_str()),
        _ => None,
    };
    let has = |argument: &str| arguments.iter().any(|given| given == argument);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let typed = typed(ContextKind::InvalidSubcommand)?;
            let known = COMMANDS.iter().find(|(names, _)| names.contains(&typed));
            known.map(|(_, meant)| (*meant).to_owned())
        }
        ErrorKind::UnknownArgument => match typed(ContextKind::InvalidArg)? {
            "--json" if has("token") => Some("codex-auth token --format json".to_owned()),
            option if option.starts_with('-') => None,
            _ if has("--from") && !has("--") => {
                Some("codex-auth login --from -- COMMAND …".to_owned())
            }
            command if has("exec") && !has("--") => Some(format!("codex-auth exec -- {command} …")),
            profile if is_profile_name(profile) => {
                let command = OF_A_PROFILE.into_iter().find(|command| has(command))?;
                Some(format!("codex-auth --profile {profile} {command}"))
            }
            _ => None,
        },
        _ => None,
    }
}
