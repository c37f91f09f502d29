//! Where this program runs, and how the person's browser is started there: best effort, and without waiting.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::settings;

/// What runs without a browser of the person's own, and what a login has to say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The browser of this machine is the person's.
    Desktop,
    /// Linux on Windows: the browser is that of Windows, and reaches our ports.
    Wsl,
    /// The browser is on the machine that the person sits at.
    Ssh,
    /// A container or a machine for development: its ports may lead nowhere.
    Container,
    /// Linux, with no screen that a browser could be shown on.
    NoDisplay,
}

/// A program that fails sooner than this has shown nothing; one that ends later was closed by the person.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Where we run, as far as the environment and a few files tell.
pub fn place() -> Place {
    let signs = Signs {
        ssh: settings::over_ssh(),
        container: settings::in_container()
            || ["/.dockerenv", "/run/.containerenv"]
                .iter()
                .any(|mark| Path::new(mark).exists()),
        wsl: settings::in_wsl() || is_windows_kernel(),
        display: settings::has_display() || !cfg!(target_os = "linux"),
    };
    signs.place()
}

/// Whether a browser can be opened without surprise: the person named one (`BROWSER`), or sits where we run.
pub fn is_wanted(place: Place) -> bool {
    settings::browser().is_some() || matches!(place, Place::Desktop | Place::Wsl)
}

/// Shows the URL in the person's browser: the one that `BROWSER` names, else that of the system. Returns at once;
/// whether it worked cannot be known, so the person must be given the URL as well.
pub fn open(url: &str) {
    let commands = match settings::browser() {
        Some(list) => named(&list, url),
        None => usual(place(), url),
    };
    // Without a thread there is no browser, and the URL has been printed.
    let _ = thread::Builder::new().spawn(move || {
        commands.iter().any(|command| shows(command));
    });
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one sign that is there or not"
)]
struct Signs {
    ssh: bool,
    container: bool,
    wsl: bool,
    display: bool,
}

impl Signs {
    /// The farthest from the person comes first: a container on WSL has the kernel of WSL, too.
    fn place(&self) -> Place {
        match self {
            Self { ssh: true, .. } => Place::Ssh,
            Self {
                container: true, ..
            } => Place::Container,
            Self { wsl: true, .. } => Place::Wsl,
            Self { display: false, .. } => Place::NoDisplay,
            _ => Place::Desktop,
        }
    }
}

/// The kernel of WSL says whose it is.
fn is_windows_kernel() -> bool {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .is_ok_and(|release| release.to_ascii_lowercase().contains("microsoft"))
}

/// The commands in `BROWSER`, read as `xdg-open` does: separated by colons (on Windows, by semicolons), the URL in
/// the place of `%s`, else as the last word. No shell is involved.
fn named(list: &str, url: &str) -> Vec<Vec<OsString>> {
    let separator = if cfg!(windows) { ';' } else { ':' };
    let entries = list
        .split(separator)
        .filter(|entry| !entry.trim().is_empty());
    entries.map(|entry| with_url(&words(entry), url)).collect()
}

/// A path with blanks in it is one word, if there is such a file.
fn words(entry: &str) -> Vec<&str> {
    if Path::new(entry).is_file() {
        return vec![entry];
    }
    entry.split_whitespace().collect()
}

fn with_url(words: &[&str], url: &str) -> Vec<OsString> {
    let mut command: Vec<OsString> = words
        .iter()
        .map(|word| word.replace("%s", url).into())
        .collect();
    if !words.iter().any(|word| word.contains("%s")) {
        command.push(url.into());
    }
    command
}

/// The commands that start the browser of a system, the best first.
fn usual(place: Place, url: &str) -> Vec<Vec<OsString>> {
    let openers: &[&str] = if cfg!(target_os = "macos") {
        &["open"]
    } else if cfg!(windows) {
        // Unlike `cmd /c start`, it takes a URL with `&` and `%` as it is.
        &["rundll32.exe url.dll,FileProtocolHandler"]
    } else if place == Place::Wsl {
        // The second ends with 1 even when it has shown the page: nothing may come after it.
        &["wslview", "explorer.exe"]
    } else {
        &[
            "xdg-open",
            "gio open",
            "x-www-browser",
            "firefox",
            "chromium",
            "google-chrome",
        ]
    };
    let split = |opener: &&str| with_url(&opener.split(' ').collect::<Vec<_>>(), url);
    openers.iter().map(split).collect()
}

/// Runs a command until it ends, which may be as long as the browser lives. False if it could not show anything.
fn shows(command: &[OsString]) -> bool {
    let started = Instant::now();
    match start(command).and_then(|mut child| child.wait().ok()) {
        Some(status) => status.success() || started.elapsed() > AT_ONCE,
        None => false,
    }
}

/// Starts a command that outlives us and hears nothing of us: no terminal, no Ctrl-C, and not the token that
/// `codex-auth exec` may have put into our environment.
fn start(command: &[OsString]) -> Option<Child> {
    let (program, arguments) = command.split_first()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_remove("CODEX_AUTH_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    detach(&mut command);
    command.spawn().ok()
}

#[cfg(unix)]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(windows)]
fn detach(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}
