//! Suggestions for somebody who types the commands of another tool.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

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
    (
        &["switch", "use"],
        "codex-auth --profile NAME COMMAND, or CODEX_AUTH_PROFILE",
    ),
    (&["usage", "limits"], "codex-auth status --usage"),
    (&["version"], "codex-auth --version"),
    (&["config", "configure"], "codex-auth setup PROGRAM"),
];

/// The error with a tip, if we know what these arguments were meant to be.
pub fn with_hint(mut error: Error, arguments: &[OsString]) -> Error {
    if let Some(meant) = meant(&error, arguments) {
        error.remove(ContextKind::SuggestedSubcommand);
        error.remove(ContextKind::SuggestedArg);
        let tip = format!("try: {meant}");
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
    error
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
        ErrorKind::UnknownArgument
            if has("token") && typed(ContextKind::InvalidArg)? == "--json" =>
        {
            Some("codex-auth token --format json".to_owned())
        }
        ErrorKind::UnknownArgument if has("exec") && !has("--") => {
            let typed = typed(ContextKind::InvalidArg)?;
            (!typed.starts_with('-')).then(|| format!("codex-auth exec -- {typed} …"))
        }
        _ => None,
    }
}
