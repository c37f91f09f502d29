//! The program while it runs, and its output. No wait here is unlimited.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::browser::{self, Answer};
use crate::expect;

/// How long the program may take. Only reached if something is broken.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Polls until `look` finds what another process does, and returns it. For what no event announces.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("timed out waiting for {what}");
}

/// A text and its placeholder in expectations.
pub type Names = Vec<(String, String)>;

/// A running program, killed on drop.
pub struct Running {
    child: Child,
    stdout: Arc<Stream>,
    stderr: Arc<Stream>,
    names: Box<dyn Fn() -> Names>,
}

/// The output of one pipe so far.
#[derive(Default)]
struct Stream {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    closed: bool,
}

impl Running {
    /// Starts a command with stdout and stderr piped. What `names` returns at the end gets placeholders in expectations.
    #[track_caller]
    pub fn start(mut command: Command, names: impl Fn() -> Names + 'static) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("could not start the program");
        #[cfg(unix)]
        crate::watchdog::started(child.id());
        let stdout = follow(child.stdout.take().expect("no stdout"));
        let stderr = follow(child.stderr.take().expect("no stderr"));
        let names = Box::new(names);
        Self {
            child,
            stdout,
            stderr,
            names,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its stdin, which must be a pipe.
    #[track_caller]
    pub fn write(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is no pipe");
        stdin
            .write_all(text.as_bytes())
            .expect("could not write to stdin");
        stdin.flush().expect("could not write to stdin");
    }

    /// Closes its stdin.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends SIGKILL, or the closest equivalent.
    pub fn kill(&mut self) {
        self.child.kill().ok();
    }

    /// Sends a signal to this process only.
    #[cfg(unix)]
    #[track_caller]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("could not send the signal");
    }

    /// Sends a signal to its process group, which must be its own (`CommandExt::process_group(0)`).
    #[cfg(unix)]
    #[track_caller]
    pub fn signal_group(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process_group(pid, signal).expect("could not send the signal");
    }

    /// Its stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits for a line of stderr, and returns it without its line end.
    #[track_caller]
    pub fn await_line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let find = |text: &str| {
            let mut lines = text.split_inclusive('\n');
            let line = lines.find(|line| line.ends_with('\n') && wanted(line.trim_end()))?;
            Some(line.trim_end().to_owned())
        };
        if let Some(line) = self.stderr.wait_for(find) {
            return line;
        }
        self.kill();
        panic!("the line did not appear:\n{}", self.so_far());
    }

    /// Waits until a line of stderr contains this text.
    #[track_caller]
    pub fn await_text(&mut self, text: &str) {
        self.await_line(|line| line.contains(text));
    }

    /// The URL that stderr shows on a line of its own.
    #[track_caller]
    pub fn address(&mut self) -> String {
        let is_address = |line: &str| line.trim().starts_with("http") && !line.trim().contains(' ');
        self.await_line(is_address).trim().to_owned()
    }

    /// Opens that URL as the user's browser would, and returns the final page.
    #[track_caller]
    pub fn sign_in(&mut self) -> Answer {
        browser::visit(&self.address())
    }

    /// Waits until it exits and both pipes are closed, which detects a process that keeps one open after the program has
    /// exited.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        self.close_stdin();
        let whole = self.stdout.wait_for_end() && self.stderr.wait_for_end();
        let status = if whole { self.wait() } else { None };
        let Some(status) = status else {
            let state = self.child.try_wait();
            self.kill();
            panic!(
                "the program did not exit in {PATIENCE:?}, or a pipe stayed open ({state:?}):\n{}",
                self.so_far()
            );
        };
        Output {
            code: code(status),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            names: (self.names)(),
        }
    }

    /// Polls, as std has no wait with a timeout. With both pipes closed, this takes only moments.
    fn wait(&mut self) -> Option<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(1));
        }
        None
    }

    fn so_far(&self) -> String {
        let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
        format!("--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        #[cfg(unix)]
        crate::watchdog::ended(self.child.id());
    }
}

/// The exit code; for a program killed by a signal, the negative number of the signal.
pub fn code(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return -signal;
    }
    status.code().expect("neither a code nor a signal")
}

/// Reads a pipe to its end, on a separate thread.
fn follow(pipe: impl Read + Send + 'static) -> Arc<Stream> {
    let stream = Arc::new(Stream::default());
    let filled = Arc::clone(&stream);
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        while let Ok(new @ 1..) = pipe.fill_buf().map(|bytes| filled.add(bytes)) {
            pipe.consume(new);
        }
        filled.seen.lock().expect("a reader panicked").closed = true;
        filled.changed.notify_all();
    });
    stream
}

impl Stream {
    fn add(&self, bytes: &[u8]) -> usize {
        let mut seen = self.seen.lock().expect("a reader panicked");
        seen.bytes.extend_from_slice(bytes);
        self.changed.notify_all();
        bytes.len()
    }

    fn text(&self) -> String {
        let seen = self.seen.lock().expect("a reader panicked");
        String::from_utf8_lossy(&seen.bytes).into_owned()
    }

    /// What `find` finds, as soon as it does; `None` at the end of the pipe, or after the time limit.
    fn wait_for(&self, find: impl Fn(&str) -> Option<String>) -> Option<String> {
        let look = |seen: &Seen| find(&String::from_utf8_lossy(&seen.bytes));
        let (seen, _) = self
            .changed
            .wait_timeout_while(
                self.seen.lock().expect("a reader panicked"),
                PATIENCE,
                |seen| !seen.closed && look(seen).is_none(),
            )
            .expect("a reader panicked");
        look(&seen)
    }

    /// Whether the pipe was closed in time.
    fn wait_for_end(&self) -> bool {
        let seen = self.seen.lock().expect("a reader panicked");
        let waited = self
            .changed
            .wait_timeout_while(seen, PATIENCE, |seen| !seen.closed);
        waited.expect("a reader panicked").0.closed
    }
}

/// The exit code and the output of a program.
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    names: Names,
}

impl Output {
    /// Asserts all three. `[..]` stands for anything within a line, a line `...` for any number of lines, and `[TOKEN]`,
    /// `[HOME]` and so on for the sandbox's values of these names.
    #[track_caller]
    pub fn assert(&self, code: i32, stdout: &str, stderr: &str) -> &Self {
        let (out, err) = (self.named(&self.stdout), self.named(&self.stderr));
        let fits =
            self.code == code && expect::matches(stdout, &out) && expect::matches(stderr, &err);
        assert!(
            fits,
            "\ncode: expected {code}, got {}\n{}{}",
            self.code,
            expect::difference("stdout", stdout, &out),
            expect::difference("stderr", stderr, &err),
        );
        self
    }

    /// The only line of stdout, without its line end: a token or an ID.
    #[track_caller]
    pub fn line(&self) -> &str {
        let line = self.stdout.strip_suffix('\n').expect("no whole line");
        assert!(!line.contains('\n'), "more than one line: {line}");
        line
    }

    /// Replaces values that change from run to run with placeholders.
    pub fn named(&self, text: &str) -> String {
        let mut named = text.to_owned();
        for (value, name) in &self.names {
            named = named.replace(value, name);
        }
        if cfg!(windows) {
            // Expectations have paths as on Unix.
            named = named.replace('\\', "/");
        }
        named
    }
}
