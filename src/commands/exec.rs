//! `exec`: run a command with a fresh token in its environment, and nowhere else.

use std::io::{self, ErrorKind};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::logins::usable;
use crate::cli::ExecArgs;
use crate::error::tame;
use crate::renewal::Wish;
use crate::settings;
use crate::terminal::complain;

/// The exit codes of a shell (POSIX.1-2017, XCU 2.8.2) for a command that is not there, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

pub fn exec(profile: Option<String>, args: &ExecArgs) -> Result<ExitCode> {
    let usable = usable(&settings::profile(profile)?, &Wish::default())?;
    if let Some(warning) = &usable.warning {
        complain(warning);
    }
    let (program, words) = args.command.split_first().context("no command was given")?;
    let token = usable.login.access_token()?;
    let mut command = Command::new(program);
    command.args(words).env("CODEX_AUTH_TOKEN", token);
    match usable.login.account_id() {
        Some(id) => command.env("CODEX_AUTH_ACCOUNT_ID", id),
        // One that was inherited is of another login.
        None => command.env_remove("CODEX_AUTH_ACCOUNT_ID"),
    };
    command.envs(args.env.iter().map(|name| (name, token)));
    run(command).or_else(|error| {
        let name = tame(&program.to_string_lossy());
        complain(&format!("could not run {name}: {error}"));
        let is_missing = error.kind() == ErrorKind::NotFound;
        Ok(ExitCode::from(if is_missing {
            NOT_FOUND
        } else {
            NOT_RUNNABLE
        }))
    })
}

/// Becomes the command: it has this process's ID, its terminal and its signals. It comes back only if that fails.
#[cfg(unix)]
fn run(mut command: Command) -> io::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    crate::permissions::allow_core_dumps();
    if has_child() {
        return wait_for(command);
    }
    Err(command.exec())
}

/// Whether a renewal for which we waited in vain is still our child: the command would not know whose it has.
#[cfg(unix)]
fn has_child() -> bool {
    use rustix::process::{WaitOptions, wait};
    matches!(wait(WaitOptions::NOHANG), Ok(None))
}

#[cfg(not(unix))]
fn run(command: Command) -> io::Result<ExitCode> {
    wait_for(command)
}

/// Waits for the command, and ends with its exit code, which has 32 bits on Windows; of one that a signal ended it is
/// that of a shell.
fn wait_for(mut command: Command) -> io::Result<ExitCode> {
    let status = command.status()?;
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let code = status.code().or(signal.map(|signal| 128 + signal));
    std::process::exit(code.unwrap_or(1))
}
