//! Runs the command that provides a profile's tokens (`login --from`), or asks the socket. The command has no terminal,
//! an empty stdin and a time limit, and limited output.

use std::io::{self, ErrorKind, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use crate::credentials::{Source, TokenRequest};
use crate::error::LOGIN_REQUIRED;
use crate::issuer::{FailureKind, RefreshFailure};
use crate::process;
use crate::sandbox::SANDBOX;
use crate::settings::{self, REQUEST, WORKLOAD};
use crate::text::{is_whole_object, redact};
use crate::time::{length, start, within};

/// As long as a request to the issuer.
pub const LIMIT: Duration = Duration::from_mins(1);
/// The maximum to read of stdout, and of stderr, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// How long to wait for the end of stderr once the command has exited: its children may hold it open.
const COMPLAINT_LIMIT: Duration = Duration::from_millis(200);
/// How long a command that has printed a complete token may continue.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How often to check whether a command that has closed its stdout has exited.
const PAUSE: Duration = Duration::from_millis(5);

/// What a source prints or sends, if it does so in time.
pub fn output(
    source: &Source,
    request: &TokenRequest,
    limit: Duration,
) -> Result<Vec<u8>, RefreshFailure> {
    match source {
        Source::Command(words) => run(words, request, limit),
        Source::Socket(path) => ask(path, limit),
        _ => Err(failed("it is not a command")),
    }
}

fn failed(reason: impl Into<String>) -> RefreshFailure {
    if settings::in_sandbox() {
        // It may work outside.
        return unreached(format!("{}, in {SANDBOX}", reason.into()));
    }
    RefreshFailure::temporary(reason)
}

fn unreached(reason: String) -> RefreshFailure {
    RefreshFailure::new(FailureKind::Unreached, reason)
}

fn run(
    words: &[String],
    request: &TokenRequest,
    limit: Duration,
) -> Result<Vec<u8>, RefreshFailure> {
    let begun = Instant::now();
    let program = words.first().map_or("", String::as_str);
    let mut child = start_command(program, words, request)
        .map_err(|error| unreached(process::describe_start(&error, program.as_ref())))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("it has no pipes"));
    };
    // A pipe without a writer is as empty as /dev/null, which a container may not have.
    drop(child.stdin.take());
    let describe = |error: io::Error| match error.kind() {
        ErrorKind::TimedOut => failed(timed_out(limit)),
        _ => failed(error.to_string()),
    };
    let complaint = start(move || {
        let mut bytes = Vec::new();
        // Part of it may say enough.
        let _ = stderr.take(LARGEST).read_to_end(&mut bytes);
        bytes
    })
    .map_err(describe)?;
    let read = within(limit, move || read_output(stdout)).flatten();
    let output = read.inspect_err(|_| process::kill_group(&mut child));
    let output = output.map_err(describe)?;
    let is_whole = is_whole_object(&output);
    let most = if is_whole { END_LIMIT } else { limit };
    let left = limit.saturating_sub(begun.elapsed()).min(most);
    match wait(&mut child, left).inspect_err(|_| process::kill_group(&mut child)) {
        Ok(Some(status)) if !status.success() => Err(complain(status, &complaint)),
        Err(error) if !is_whole => Err(describe(error)),
        _ => Ok(output),
    }
}

/// The failure of a command that exited with this status. Its exit code may mean that someone has to sign in at the
/// source of its tokens.
fn complain(status: ExitStatus, complaint: &Receiver<Vec<u8>>) -> RefreshFailure {
    let complaint = complaint.recv_timeout(COMPLAINT_LIMIT).unwrap_or_default();
    let reason = last_line(&complaint).unwrap_or_else(|| format!("it failed ({status})"));
    match status.code() {
        Some(code) if code == i32::from(LOGIN_REQUIRED) => {
            RefreshFailure::new(FailureKind::LoginRequired, reason)
        }
        _ => failed(reason),
    }
}

fn start_command(program: &str, words: &[String], request: &TokenRequest) -> io::Result<Child> {
    // Our signals are blocked, and would stay so in the command. If one kills us here, nothing is lost: the token is
    // requested again.
    process::unblock_signals();
    let mut command = Command::new(program);
    command.args(words.iter().skip(1));
    for name in WORKLOAD {
        command.env_remove(name);
    }
    match request.to_variable() {
        nothing if nothing.is_empty() => command.env_remove(REQUEST),
        request => command.env(REQUEST, request),
    };
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    process::spawn(streams.stderr(Stdio::piped()))
}

/// Waits for a command to exit. Its status is unknown if SIGCHLD is ignored.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) if begun.elapsed() < limit => thread::sleep(PAUSE),
            Ok(None) => return Err(ErrorKind::TimedOut.into()),
            Ok(status) => return Ok(status),
            Err(_) => return Ok(None),
        }
    }
}

#[cfg(unix)]
fn ask(path: &str, limit: Duration) -> Result<Vec<u8>, RefreshFailure> {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    let path = path.to_owned();
    // A socket that nobody accepts connections on can keep us waiting.
    let ask = move || {
        let stream = UnixStream::connect(path)
            .map_err(|error| unreached(crate::sandbox::describe_refused(&error)))?;
        let asked = stream.shutdown(Shutdown::Write);
        let read = asked.and_then(|()| read_output(stream));
        read.map_err(|error| failed(error.to_string()))
    };
    within(limit, ask).map_err(|_| failed(timed_out(limit)))?
}

#[cfg(not(unix))]
fn ask(_path: &str, _limit: Duration) -> Result<Vec<u8>, RefreshFailure> {
    Err(failed("there are no Unix sockets here"))
}

/// Reads everything, or a complete JSON object, as its sender may keep the stream open.
fn read_output(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while bytes.len() as u64 <= LARGEST {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if is_whole_object(&bytes) {
            return Ok(bytes);
        }
    }
    Err(io::Error::other("it printed more than 1 MiB"))
}

fn timed_out(limit: Duration) -> String {
    format!("it took more than {}", length(limit))
}

/// The last line that says something, as it follows any banner or trace.
fn last_line(complaint: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let line = line.strip_prefix("codex-auth: ").unwrap_or(line);
    Some(redact(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_command_that_takes_too_long_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let mut mkfifo = Command::new("mkfifo");
        assert!(mkfifo.arg(&path).status().unwrap().success());
        for script in ["sleep 1000 & wait", "exec >&-; sleep 1000"] {
            // A reader of the FIFO waits until the command's last process has exited.
            let script = format!("exec 9>'{}'; {script}", path.display());
            let words = ["/bin/sh", "-c", &script].map(str::to_owned);
            let reader = thread::spawn({
                let path = path.clone();
                move || std::fs::read(path).unwrap()
            });
            let ended = run(&words, &TokenRequest::default(), Duration::from_secs(1));
            let failure = ended.err().unwrap();
            assert_eq!(failure.reason, "it took more than 1 second");
            assert_eq!(reader.join().unwrap(), b"");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_that_says_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let asked = ask(path.to_str().unwrap(), Duration::from_secs(1));
        let failure = asked.err().unwrap();
        assert_eq!(failure.reason, "it took more than 1 second");
        assert_eq!(failure.kind, FailureKind::Temporary);
    }

    /// The other end stays open, as with a daemon started by a command.
    #[test]
    fn a_complete_object_ends_the_reading() {
        let (mut theirs, ours) = (io::pipe().unwrap(), b"{\"token\": \"a}\"}\n");
        io::Write::write_all(&mut theirs.1, ours).unwrap();
        assert_eq!(read_output(theirs.0).unwrap(), ours);
    }

    #[test]
    fn of_a_complaint_the_last_line_is_the_reason() {
        for (complaint, line) in [
            ("", None),
            (" \n\n", None),
            (
                "Welcome!\nssh: no route to host\r\n\n",
                Some("ssh: no route to host"),
            ),
            (
                "codex-auth: not signed in: run codex-auth login\n",
                Some("not signed in: run codex-auth login"),
            ),
        ] {
            assert_eq!(last_line(complaint.as_bytes()).as_deref(), line);
        }
    }
}
