//! `exec`: run a command with a fresh token in its environment, and nowhere else.

use std::io::{self, ErrorKind};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
#[cfg(unix)]
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
#[cfg(unix)]
use nix::sys::signal::{SigSet, kill};
#[cfg(unix)]
use nix::unistd::Pid;

use crate::cli::ExecArgs;
use crate::profile::usable;
use crate::refresh::TokenRequest;
use crate::settings;
use crate::terminal::complain;
use crate::text::printable;

/// The exit codes of a shell (POSIX.1-2017, XCU 2.8.2) for a command that is not there, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

pub fn exec(profile: Option<String>, args: &ExecArgs) -> Result<ExitCode> {
    // A shell that became this process may have left us some, which the command has just as well.
    let had_children = has_child();
    let usable = usable(&settings::profile(profile)?, &TokenRequest::default())?;
    if let Some(warning) = &usable.warning {
        complain(warning);
    }
    let (program, words) = args.command.split_first().context("no command was given")?;
    let token = usable.credentials.access_token()?;
    let mut command = Command::new(program);
    command.args(words).env("CODEX_AUTH_TOKEN", token);
    match usable.credentials.account_id() {
        Some(id) => command.env("CODEX_AUTH_ACCOUNT_ID", id),
        // One that was inherited is of another login.
        None => command.env_remove("CODEX_AUTH_ACCOUNT_ID"),
    };
    command.envs(args.env.iter().map(|name| (name, token)));
    let is_parent = has_child() && !had_children;
    let outcome = if is_parent {
        wait_for(command)
    } else {
        become_it(command)
    };
    outcome.or_else(|error| {
        let name = printable(&program.to_string_lossy());
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
fn become_it(mut command: Command) -> io::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    crate::store::permissions::allow_core_dumps();
    Err(command.exec())
}

#[cfg(not(unix))]
fn become_it(command: Command) -> io::Result<ExitCode> {
    wait_for(command)
}

/// Whether a process is our child, such as a renewal for which we waited in vain: the command would not know whose it is.
#[cfg(unix)]
fn has_child() -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::All, look).is_ok()
}

#[cfg(not(unix))]
fn has_child() -> bool {
    false
}

/// Waits for the command, and ends with its exit code, which has 32 bits on Windows; of one that a signal ended it is
/// that of a shell.
fn wait_for(mut command: Command) -> io::Result<ExitCode> {
    #[cfg(unix)]
    let requests = hold_requests_to_end();
    let mut child = command.spawn()?;
    #[cfg(unix)]
    hand_on(requests, child.id());
    let status = child.wait()?;
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let code = status.code().or(signal.map(|signal| 128 + signal));
    std::process::exit(code.unwrap_or(1))
}

/// From now on a signal that asks this process to end waits for `hand_on`.
#[cfg(unix)]
fn hold_requests_to_end() -> SigSet {
    let requests = [SIGTERM, SIGHUP, SIGINT, SIGQUIT].into_iter().collect();
    // It fails only if it is called wrongly.
    let _ = SigSet::thread_block(&requests);
    requests
}

/// Sends such a signal to the command. What is typed at a terminal reaches it without us.
#[cfg(unix)]
fn hand_on(requests: SigSet, command: u32) {
    let handing_on = move || {
        while let Ok(request) = requests.wait() {
            if let (SIGTERM | SIGHUP, Ok(command)) = (request, command.try_into()) {
                let _ = kill(Pid::from_raw(command), request);
            }
        }
    };
    // Without it they are lost, and the command lives on.
    let _ = std::thread::Builder::new().spawn(handing_on);
}
