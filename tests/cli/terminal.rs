//! A pseudo-terminal: the program with a user at the keyboard.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use support::process::{self, PATIENCE};
use support::sandbox::{Sandbox, program};

/// The program in a terminal of 24 lines, killed on drop.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Screen>,
}

/// Everything ever written to the terminal, including control sequences.
#[derive(Default)]
struct Screen {
    seen: Mutex<(String, bool)>,
    changed: Condvar,
}

impl Terminal {
    /// Starts the program with stdin, stdout and stderr on a terminal with this many columns. If the machine has `setsid`
    /// (Linux), it becomes the program's controlling terminal, so that Ctrl-C sends a signal.
    #[track_caller]
    pub fn start(sandbox: &Sandbox, arguments: &[&str], columns: u16) -> Self {
        let mut command_line = controlling();
        command_line.extend(program());
        command_line.extend(arguments.iter().map(OsString::from));
        let mut command = sandbox.command_of(&command_line);
        command.env("TERM", "xterm-256color");
        Self::of(command, columns)
    }

    /// A shell with job control that runs a script, in which `$0` is the program. Returns `None`, and says why, if the
    /// program would need an emulator.
    #[cfg(target_os = "linux")]
    pub fn shell(sandbox: &Sandbox, script: &str, columns: u16) -> Option<Self> {
        let program = support::sandbox::native_program()?;
        let mut command_line = controlling();
        command_line.extend(["/bin/sh", "-mc", script].map(OsString::from));
        command_line.push(program.into());
        let mut command = sandbox.command_of(&command_line);
        command.env("TERM", "xterm-256color");
        Some(Self::of(command, columns))
    }

    /// Starts any command like this.
    #[track_caller]
    pub fn of(mut command: Command, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        #[cfg(target_os = "linux")]
        let flags = flags | OpenptFlags::CLOEXEC;
        let near = openpt(flags).expect("no pseudo-terminal");
        grantpt(&near).expect("no pseudo-terminal");
        unlockpt(&near).expect("no pseudo-terminal");
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&near, size).expect("no pseudo-terminal");
        let name = ptsname(&near, Vec::new()).expect("no pseudo-terminal");
        let far = || open_far_end(OsString::from_vec(name.clone().into_bytes()));
        command.stdin(far()).stdout(far()).stderr(far());
        let child = command.spawn().expect("could not start the program");
        // The command also holds the far end, and the screen only ends when nothing does.
        drop(command);
        let keyboard = File::from(near);
        let screen = follow(keyboard.try_clone().expect("no screen"));
        Self {
            child,
            keyboard,
            screen,
        }
    }

    /// Types a line, followed by Enter.
    #[track_caller]
    pub fn type_line(&mut self, line: &str) {
        self.press(&format!("{line}\n"));
    }

    /// Types these characters: `\x03` is Ctrl-C, `\x04` is Ctrl-D.
    #[track_caller]
    pub fn press(&mut self, keys: &str) {
        self.press_bytes(keys.as_bytes());
    }

    /// Types bytes that need not be text.
    #[track_caller]
    pub fn press_bytes(&mut self, keys: &[u8]) {
        let typed = self.keyboard.write_all(keys);
        typed.expect("the terminal is gone");
    }

    /// The output so far, with plain line ends.
    pub fn screen(&self) -> String {
        let seen = self
            .screen
            .seen
            .lock()
            .expect("the screen's thread panicked");
        seen.0.replace("\r\n", "\n")
    }

    /// Waits until the screen has shown this text the given number of times.
    #[track_caller]
    pub fn await_text(&self, text: &str, times: usize) {
        let shown = |seen: &str| seen.matches(text).count() >= times;
        let seen = self
            .screen
            .seen
            .lock()
            .expect("the screen's thread panicked");
        let waits = |seen: &mut (String, bool)| !seen.1 && !shown(&seen.0);
        let waited = self
            .screen
            .changed
            .wait_timeout_while(seen, PATIENCE, waits);
        let seen = waited.expect("the screen's thread panicked").0;
        assert!(shown(&seen.0), "{text:?} did not show:\n{}", seen.0);
    }

    /// The URL that the screen shows as a link.
    #[track_caller]
    pub fn address(&self) -> String {
        const LINK: &str = "\x1b]8;;";
        const END: &str = "\x1b\\";
        self.await_text(&format!("{LINK}{END}"), 1);
        let screen = self.screen();
        let (_, link) = screen.split_once(LINK).expect("no address");
        let (address, _) = link.split_once(END).expect("no address");
        address.to_owned()
    }

    /// Waits for the program to exit, and returns its exit code and everything shown on the screen.
    #[track_caller]
    pub fn finish(mut self) -> (i32, String) {
        let seen = self
            .screen
            .seen
            .lock()
            .expect("the screen's thread panicked");
        let waited = self
            .screen
            .changed
            .wait_timeout_while(seen, PATIENCE, |seen| !seen.1);
        let ended = waited.expect("the screen's thread panicked").0.1;
        assert!(ended, "it did not end:\n{}", self.screen());
        let status = self.child.wait().expect("no exit code");
        let code = process::code(status);
        (code, self.screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Makes the terminal on stdin the controlling one, and then execs the program, which keeps the process ID.
fn controlling() -> Vec<OsString> {
    const SETSID: &str = "/usr/bin/setsid";
    if !Path::new(SETSID).exists() {
        return Vec::new();
    }
    vec![SETSID.into(), "--ctty".into()]
}

fn open_far_end(name: OsString) -> File {
    let no_controlling = OFlags::NOCTTY.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(no_controlling);
    options.open(name).expect("no pseudo-terminal")
}

/// Reads the screen until nothing holds the far end.
fn follow(mut near: File) -> Arc<Screen> {
    let screen = Arc::new(Screen::default());
    let filled = Arc::clone(&screen);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = near.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
            filled.seen.lock().expect("the screen's thread panicked").0 =
                String::from_utf8_lossy(&bytes).into_owned();
            filled.changed.notify_all();
        }
        filled.seen.lock().expect("the screen's thread panicked").1 = true;
        filled.changed.notify_all();
    });
    screen
}
