//! `exec`: runs a command with a fresh token in its environment, and nowhere else.

use std::io::ErrorKind;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::token::obtain;
use crate::cli::ExecArgs;
use crate::process::{become_command, describe_start};
use crate::profile::Profile;
use crate::settings;
use crate::terminal::complain;
use crate::text::{printable, shell_word};

pub fn exec(profile: Option<String>, args: &ExecArgs) -> Result<ExitCode> {
    let found = obtain(&Profile::chosen(profile)?, &args.request)?;
    let (program, arguments) = args.command.split_first().context("no command was given")?;
    let token = found.access_token()?;
    let mut command = Command::new(program);
    let base_url = found.base_url(&settings::backend()?);
    command
        .args(arguments)
        .env("CODEX_AUTH_TOKEN", token)
        .env("CODEX_AUTH_BASE_URL", &base_url.text);
    match found.account_id() {
        Some(id) => command.env("CODEX_AUTH_ACCOUNT_ID", id),
        // An inherited one belongs to another login.
        None => command.env_remove("CODEX_AUTH_ACCOUNT_ID"),
    };
    for name in settings::WORKLOAD {
        command.env_remove(name);
    }
    command.envs(args.env.iter().map(|name| (name, token)));
    if args.openai {
        // With only the key, a program would send the token to api.openai.com.
        command
            .env("OPENAI_API_KEY", token)
            .env("OPENAI_BASE_URL", base_url.join("codex"));
    }
    Ok(become_command(command).unwrap_or_else(|error| {
        let name = shell_word(&printable(&program.to_string_lossy()));
        let why = describe_start(&error, program);
        complain(&format!("could not run {name}: {why}"));
        // As in a shell (POSIX.1-2017, XCU 2.8.2): it was not found, or could not be run.
        let is_missing = error.kind() == ErrorKind::NotFound;
        ExitCode::from(if is_missing { 127 } else { 126 })
    }))
}
