//! The process that refreshes, and how it is started.
//!
//! It is started apart: with a session of its own, nobody's child, none of the caller's files, every signal blocked. So
//! nothing that happens to the caller reaches it. It does what has to be done under the lock (`refresh_under_lock`) and writes
//! its report, one line of JSON, into the pipe that is its stdout.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use serde::{Deserialize, Serialize};

use super::attempt::{Limit, Task, Trouble, refresh_under_lock};
use super::provider::first_credentials;
use crate::credentials::{Credentials, Source};
use crate::error::{self, Failure};
use crate::process;
use crate::settings;
use crate::store::{Lock, Store};
use crate::terminal::{clear_status, show_status};
use crate::time::length;

/// The first argument that makes this binary a worker. It is no command: no help and no completion names it.
pub const WORKER: &str = "refresh-worker";
/// The word before the task that makes a process start the worker, and end: so the worker is nobody's child.
const DETACH: &str = "detach";
/// What leads to this program on Linux, even when its file has been replaced since.
const LINK: &str = "/proc/self/exe";

/// How long a worker may take until its request, its wait for the lock aside: then it gives up.
const PREPARATION: Duration = Duration::from_secs(30);
/// How long a worker can take from the lock to its report.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(95);
/// How long a person waits without being told for what.
const SILENCE: Duration = Duration::from_secs(1);
/// How long, and how often, credentials are tried to be saved that the disk did not take.
const SAVING: Duration = Duration::from_secs(10 * 60);
const SAVING_PAUSE: Duration = Duration::from_secs(1);

/// What a worker is started for.
#[derive(Serialize, Deserialize)]
pub enum Job {
    Refresh(Task),
    /// To get the first token of a new profile, and store nothing. A worker does it because it has no terminal, as later.
    Try(Source),
}

/// What a worker reports.
#[derive(Default, Serialize, Deserialize)]
struct Report {
    /// The exit code that the caller's failure has; 0 if there is none.
    code: u8,
    message: String,
    /// The new credentials, if they are not saved; sealed, if those in the store are.
    credentials: Option<String>,
}

impl Report {
    fn of(error: &Error) -> Self {
        Self {
            code: error::exit_code(error),
            message: format!("{error:#}"),
            credentials: None,
        }
    }

    /// Of credentials that are not saved, with a warning.
    fn unsaved(credentials: &Credentials, message: String) -> Self {
        let text = credentials.to_json().ok();
        Self {
            code: 0,
            message,
            credentials: text.and_then(|bytes| String::from_utf8(bytes).ok()),
        }
    }
}

/// How a worker ended, as its caller sees it.
pub enum Ended {
    Done,
    /// There is a token, but it is not on the disk; with a warning.
    Unsaved(Box<Credentials>, String),
    Failed(Error),
    /// It was killed, or gave up, without a word.
    Killed,
}

/// A worker at work.
pub struct Running(ChildStdout);

/// Starts a worker.
pub fn start(job: &Job) -> Result<Running> {
    let start = || -> Result<Running> {
        let mut command = this_program(&[WORKER, DETACH, &serde_json::to_string(job)?])?;
        command.envs(settings::absolute_paths());
        // `/dev/null` may be missing, as in a container from scratch: pipes that nobody reads do as well.
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = process::spawn(streams.stderr(Stdio::piped()))?;
        let report = child.stdout.take().context("there is no pipe")?;
        if cfg!(unix) {
            // It ends as soon as it has started the worker. Where children are not waited for this fails, and nothing is lost.
            let _ = child.wait();
        }
        Ok(Running(report))
    };
    start()
        .map_err(|error| Failure::Temporary(format!("could not start a refresh: {error:#}")).into())
}

impl Running {
    /// Waits for the report, at most for `patience`. After that the worker goes on without us. Where the system may end it with
    /// us, and the refresh token with it, we stay as long as it needs: its own wait for the lock is no longer than `patience`,
    /// and its request ends.
    pub fn wait_until_safe(self, patience: Duration) -> Result<Ended> {
        if process::may_end_with_caller() {
            return self.wait(patience + LONGEST_ATTEMPT);
        }
        self.wait(patience)
    }

    /// The same where nothing is lost with the worker.
    pub fn wait(self, patience: Duration) -> Result<Ended> {
        let (sender, receiver) = mpsc::channel();
        let read = move || {
            let mut line = String::new();
            let read = BufReader::new(self.0).read_line(&mut line);
            // Nobody listens after the time-out.
            let _ = sender.send(read.map(|_| line));
        };
        thread::Builder::new().spawn(read).map_err(|error| {
            Failure::Temporary(format!("could not wait for a refresh: {error}"))
        })?;
        match receive(&receiver, patience) {
            Ok(line) => Ok(ended(&line.unwrap_or_default())),
            Err(_) => bail!(Failure::Temporary(format!(
                "could not refresh the token within {}: the refresh goes on, try again later",
                length(patience)
            ))),
        }
    }
}

/// Waits, and tells a person at a terminal for what, if it takes time.
fn receive<T>(receiver: &Receiver<T>, patience: Duration) -> Result<T, RecvTimeoutError> {
    let silently = receiver.recv_timeout(patience.min(SILENCE));
    let left = patience.saturating_sub(SILENCE);
    if !matches!(silently, Err(RecvTimeoutError::Timeout)) || left.is_zero() {
        return silently;
    }
    show_status("Refreshing the token …");
    let report = receiver.recv_timeout(left);
    clear_status();
    report
}

fn ended(line: &str) -> Ended {
    let Ok(report) = serde_json::from_str::<Report>(line) else {
        return Ended::Killed;
    };
    let credentials = report
        .credentials
        .map(|text| Credentials::parse(text.into_bytes()));
    match (report.code, credentials) {
        (0, None) => Ended::Done,
        (0, Some(Ok(credentials))) => Ended::Unsaved(Box::new(credentials), report.message),
        (code, _) => Ended::Failed(error::from_code(code, report.message)),
    }
}

/// This program with these arguments: on Linux by the link that leads to it even when its file has been replaced since.
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
        // Who looks at the processes sees whose it is. Where only a path leads to us, it has to stay.
        std::os::unix::process::CommandExt::arg0(&mut command, env!("CARGO_PKG_NAME"));
    }
    command.args(arguments);
    Ok(command)
}

/// What the worker does, or the process that starts it.
pub fn work(words: &[OsString]) -> Result<ExitCode> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let [steps @ .., job] = words.as_slice() else {
        bail!("the worker is started by codex-auth itself");
    };
    let parsed: Job =
        serde_json::from_str(job).context("the worker is started by codex-auth itself")?;
    process::leave_caller();
    if cfg!(unix) && steps == [DETACH] {
        let mut worker = this_program(&[WORKER, job])?;
        worker
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        return Ok(ExitCode::SUCCESS);
    }
    process::block_signals();
    match parsed {
        Job::Refresh(task) => refresh(&task),
        Job::Try(source) => report(&match first_credentials(source) {
            Ok(credentials) => Report::unsaved(&credentials, String::new()),
            Err(error) => Report::of(&error),
        }),
    }
    Ok(ExitCode::SUCCESS)
}

fn refresh(task: &Task) {
    let limit = Limit::start(task.patience() + PREPARATION, give_up);
    let store = match Store::new(task.profile().to_owned()) {
        Ok(store) => store,
        Err(error) => return report(&Report::of(&error)),
    };
    match refresh_under_lock(&store, task, limit) {
        Ok(()) => report(&Report::default()),
        Err(Trouble::Failed(error)) => report(&Report::of(&error)),
        Err(Trouble::Unsaved(lock, credentials, error)) => {
            report(&Report::unsaved(&credentials, format!("{error:#}")));
            keep_saving(&lock, &credentials);
        }
    }
}

/// What keeps everybody from the credentials, and does not come to its request, ends.
fn give_up() {
    let words = "could not refresh the token: the preparation timed out";
    report(&Report::of(&Failure::Temporary(words.to_owned()).into()));
    std::process::exit(0);
}

/// The caller may be gone: then nobody wants to know.
fn report(report: &Report) {
    let line = serde_json::to_string(report).unwrap_or_default();
    let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// Tries again to save what the disk did not take, while nobody else can change anything.
fn keep_saving(lock: &Lock, credentials: &Credentials) {
    let begun = Instant::now();
    while lock.save_anew(credentials).is_err() && begun.elapsed() < SAVING {
        thread::sleep(SAVING_PAUSE);
    }
}
