//! Runs the command that gives a profile its tokens (`login --from`), or asks the socket. It has no terminal, an empty stdin and
//! a time limit, and what it prints is read up to a limit.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::credentials::{ForwardedRequest, Source};
use crate::error::LOGIN_REQUIRED;
use crate::process;
use crate::settings::REQUEST;
use crate::text::redact;
use crate::time::length;

/// As long as a request to the issuer.
pub const LIMIT: Duration = Duration::from_secs(60);
/// The most that is read of stdout, and of stderr, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// How long the end of stderr is awaited once the command has ended: what it started may hold it open.
const COMPLAINT_LIMIT: Duration = Duration::from_millis(200);
/// How often we look whether a command that has closed its stdout has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Why there is no output.
pub enum Unobtained {
    /// The command says, by its exit code, that a person has to sign in where it gets its tokens.
    LoginRequired(String),
    Failed(String),
}

impl From<String> for Unobtained {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

/// What a source prints or sends, if it does so in time.
pub fn output(
    source: &Source,
    request: &ForwardedRequest,
    limit: Duration,
) -> Result<Vec<u8>, Unobtained> {
    match source {
        Source::Command(words) => run(words, request, limit),
        Source::Socket(path) => Ok(ask(path, limit)?),
        Source::Issuer | Source::AccessToken => Err("it is no command".to_owned().into()),
    }
}

fn run(
    words: &[String],
    request: &ForwardedRequest,
    limit: Duration,
) -> Result<Vec<u8>, Unobtained> {
    let begun = Instant::now();
    let command = words.split_first();
    let (program, arguments) = command.ok_or("there is no command".to_owned())?;
    let started = start(program, arguments, request);
    let mut child = started.map_err(|error| process::describe_start(&error, program.as_ref()))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("it has no pipes".to_owned().into());
    };
    // A pipe that nobody writes to is as empty as /dev/null, which a container may not have.
    drop(child.stdin.take());
    let complaint = read_aside(stderr, LARGEST)?;
    let read = read_within(stdout, limit);
    let ended = read.and_then(|output| Ok((output, wait(&mut child, begun, limit)?)));
    let (output, status) = ended.inspect_err(|_| process::kill_group(&mut child))?;
    match status {
        Some(status) if !status.success() => Err(failure(status, &complaint)),
        _ => Ok(output),
    }
}

fn failure(status: ExitStatus, complaint: &Receiver<io::Result<Vec<u8>>>) -> Unobtained {
    let complaint = complaint.recv_timeout(COMPLAINT_LIMIT);
    let complaint = complaint.ok().and_then(Result::ok).unwrap_or_default();
    let reason = last_line(&complaint).unwrap_or_else(|| format!("it failed ({status})"));
    match status.code() {
        Some(code) if code == i32::from(LOGIN_REQUIRED) => Unobtained::LoginRequired(reason),
        _ => Unobtained::Failed(reason),
    }
}

fn start(program: &str, arguments: &[String], request: &ForwardedRequest) -> io::Result<Child> {
    // Ours are blocked, and would stay so in the command. If one ends us here nothing is lost: the token is asked for again.
    process::unblock_signals();
    let mut command = Command::new(program);
    command.args(arguments);
    match request.to_string() {
        nothing if nothing.is_empty() => command.env_remove(REQUEST),
        request => command.env(REQUEST, request),
    };
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    process::spawn(streams.stderr(Stdio::piped()))
}

/// Waits for the end of a command that has said all. Its status is unknown where SIGCHLD is ignored.
fn wait(child: &mut Child, begun: Instant, limit: Duration) -> Result<Option<ExitStatus>, String> {
    loop {
        match child.try_wait() {
            Ok(None) if begun.elapsed() < limit => thread::sleep(PAUSE),
            Ok(None) => return Err(timed_out(limit)),
            Ok(status) => return Ok(status),
            Err(_) => return Ok(None),
        }
    }
}

#[cfg(unix)]
fn ask(path: &str, limit: Duration) -> Result<Vec<u8>, String> {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    let path = path.to_owned();
    let (sender, receiver) = mpsc::channel();
    // A socket that nobody accepts at can keep us waiting.
    let connect = move || {
        let connected = UnixStream::connect(path);
        let _ = sender.send(connected.and_then(|stream| {
            stream.shutdown(Shutdown::Write)?;
            Ok(stream)
        }));
    };
    spawn(connect)?;
    let connected = receiver.recv_timeout(limit);
    let connected = connected.map_err(|_| timed_out(limit))?;
    read_within(connected.map_err(|error| error.to_string())?, limit)
}

#[cfg(not(unix))]
fn ask(_path: &str, _limit: Duration) -> Result<Vec<u8>, String> {
    Err("there are no Unix sockets here".to_owned())
}

/// All that comes, if its end comes in time and it is not too much.
fn read_within(from: impl Read + Send + 'static, limit: Duration) -> Result<Vec<u8>, String> {
    let read = read_aside(from, LARGEST + 1)?;
    let bytes = read.recv_timeout(limit).map_err(|_| timed_out(limit))?;
    let bytes = bytes.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST {
        return Err("it printed more than 1 MiB".to_owned());
    }
    Ok(bytes)
}

/// Reads up to so many bytes in a thread of its own.
fn read_aside(
    from: impl Read + Send + 'static,
    most: u64,
) -> Result<Receiver<io::Result<Vec<u8>>>, String> {
    let (sender, receiver) = mpsc::channel();
    spawn(move || {
        let mut bytes = Vec::new();
        let read = from.take(most).read_to_end(&mut bytes);
        // Nobody listens after the time limit.
        let _ = sender.send(read.map(|_| bytes));
    })?;
    Ok(receiver)
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let started = thread::Builder::new().spawn(work);
    started.map(drop).map_err(|error| error.to_string())
}

fn timed_out(limit: Duration) -> String {
    format!("it took more than {}", length(limit))
}

/// The last line that says something, which is the one that matters: a banner, or a trace, stands before it.
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
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let mut mkfifo = Command::new("mkfifo");
        assert!(mkfifo.arg(&path).status().unwrap().success());
        for script in ["sleep 1000 & wait", "exec >&-; sleep 1000"] {
            // Whoever reads the FIFO waits until the last process of the command has ended.
            let script = format!("exec 9>'{}'; {script}", path.display());
            let words = ["/bin/sh", "-c", &script].map(str::to_owned);
            let reader = thread::spawn({
                let path = path.clone();
                move || std::fs::read(path).unwrap()
            });
            let ended = run(&words, &ForwardedRequest::default(), Duration::from_secs(1));
            let Err(Unobtained::Failed(reason)) = ended else {
                panic!("it did not fail");
            };
            assert_eq!(reason, "it took more than 1 second");
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
        assert_eq!(asked.err().as_deref(), Some("it took more than 1 second"));
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
