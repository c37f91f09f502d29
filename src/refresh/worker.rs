//! The process that refreshes, and how it is started.
//!
//! It is started detached: in its own session, with no parent that waits for it, with none of the caller's files, and
//! with every signal blocked. So nothing that happens to the caller affects it. It makes its `attempt` and writes its
//! report, one line of JSON, to the pipe that is its stdout.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use super::attempt::{self, Task};
use super::deadline::Deadline;
use super::report::{Report, send};
use crate::credentials::Source;
use crate::error::temporary;
use crate::process;
use crate::settings;
use crate::terminal::awaiting;
use crate::time;

/// The first argument that makes this binary a worker. It is not a command: neither help nor completion shows it.
pub const WORKER: &str = "refresh-worker";
/// The word before the task that makes a process start the worker and exit, so that the worker has no parent among our
/// processes.
const DETACH: &str = "detach";
/// Leads to this program on Linux, even if its file has been replaced since.
const LINK: &str = "/proc/self/exe";

/// How long a worker may take until its request, not counting its wait for the lock, before it gives up.
const PREPARATION: Duration = Duration::from_secs(30);
/// How long a worker can take from the lock to its report.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(95);
/// How long a user waits without a message that says for what.
const SILENCE: Duration = Duration::from_secs(1);

/// The job of a worker.
#[derive(Serialize, Deserialize)]
pub enum Job {
    Refresh(Task),
    /// Gets the first token of a new profile, and stores nothing. A worker does it because it has no terminal, as later.
    Try(Source),
}

/// Starts a worker and waits for its report. If it is precious, and the system may kill it along with us, waits until it
/// is done. A killed worker leaves no report, but the disk shows what it has done.
pub fn run(job: &Job, mut patience: Duration, is_precious: bool) -> Result<Report> {
    let start = || -> Result<Receiver<String>> {
        let mut command = this_program(&[WORKER, DETACH, &serde_json::to_string(job)?])?;
        command.envs(settings::absolute_paths());
        // `/dev/null` may be missing, as in a container from scratch; pipes that nothing reads will do.
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = process::spawn(streams.stderr(Stdio::piped()))?;
        let report = child.stdout.take().context("there is no pipe")?;
        if cfg!(unix) {
            // It exits as soon as it has started the worker. If SIGCHLD is ignored, this fails, which does no harm.
            let _ = child.wait();
        }
        let first_line = move || BufReader::new(report).lines().next()?.ok();
        Ok(time::start(move || first_line().unwrap_or_default())?)
    };
    let report = start().map_err(|it| temporary(format!("could not start a refresh: {it:#}")))?;
    if is_precious && process::may_end_with_caller() {
        patience += LONGEST_ATTEMPT;
    }
    // On a terminal, say what the wait is for if it takes time.
    let left = patience.saturating_sub(SILENCE);
    let mut line = report.recv_timeout(patience.min(SILENCE));
    if line.is_err() && !left.is_zero() {
        line = awaiting("Refreshing the token …", || report.recv_timeout(left));
    }
    let parse = |line: String| serde_json::from_str(&line).unwrap_or(Report::Done);
    Ok(line.map_or(Report::Late, parse))
}

/// This program with these arguments; on Linux through the link that leads to it even if its file has been replaced
/// since.
fn this_program(arguments: &[&str]) -> Result<Command> {
    let link = PathBuf::from(LINK);
    let is_linked = cfg!(target_os = "linux") && link.exists();
    let named = || env::args_os().next().map(PathBuf::from);
    let path = if is_linked {
        Some(link)
    } else {
        env::current_exe().ok().or_else(named)
    };
    let mut command = Command::new(path.context("could not find this program's own file")?);
    #[cfg(target_os = "linux")]
    if is_linked {
        // The name that `ps` shows. On other systems it must be the path, which may be the only way to our file.
        std::os::unix::process::CommandExt::arg0(&mut command, env!("CARGO_PKG_NAME"));
    }
    command.args(arguments);
    Ok(command)
}

/// What the worker does, or the process that starts it.
pub fn work(words: &[OsString]) -> Result<ExitCode> {
    let job = words.last().and_then(|job| job.to_str());
    let job = job.unwrap_or_default();
    let parsed = serde_json::from_str(job);
    let parsed: Job = parsed.context("the worker is started by codex-auth itself")?;
    process::leave_caller();
    if cfg!(unix) && words[0] == DETACH {
        let mut worker = this_program(&[WORKER, job])?;
        worker.stdin(Stdio::piped()).stderr(Stdio::piped());
        worker.spawn()?;
        return Ok(ExitCode::SUCCESS);
    }
    process::block_signals();
    let done = match parsed {
        Job::Refresh(task) => {
            let deadline = Deadline::start(task.patience + PREPARATION);
            attempt::run(&task, &deadline).map(|()| Report::Done)
        }
        Job::Try(source) => attempt::try_source(source)
            .map(|first| Report::unsaved(&first, &Error::msg("it is not stored"))),
    };
    send(&done.unwrap_or_else(|error| Report::of(&error)));
    Ok(ExitCode::SUCCESS)
}
