//! Where this program runs, and how to open the user's browser there.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::text::printable;
use crate::{process, settings};

/// Where this program runs, seen from the user's browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// The browser is on this machine.
    Desktop,
    /// Linux on Windows: the browser is a Windows program, and reaches our ports.
    Wsl,
    /// The browser is on the machine that the user connects from.
    Ssh,
    /// A container or a remote development machine, whose ports may not be reachable.
    Container,
    /// Linux without a display.
    NoDisplay,
}

impl Environment {
    /// As a phrase, such as ` over SSH`; empty on a desktop.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Desktop => "",
            Self::Wsl => " on WSL",
            Self::Ssh => " over SSH",
            Self::Container => " in a container",
            Self::NoDisplay => " without a display",
        }
    }
}

/// The environment, judged by its variables and a few files. If several apply, the one farthest from the user wins: a
/// container on WSL also has WSL's kernel.
pub fn environment() -> Environment {
    // WSL's kernel has Microsoft in its name.
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let is_windows = kernel.to_ascii_lowercase().contains("microsoft");
    let marks = ["/.dockerenv", "/run/.containerenv"];
    if settings::any_is_set(&settings::SSH) {
        Environment::Ssh
    } else if settings::any_is_set(&settings::CONTAINER)
        || marks.iter().any(|mark| Path::new(mark).exists())
    {
        Environment::Container
    } else if settings::any_is_set(&settings::WSL) || is_windows {
        Environment::Wsl
    } else if settings::any_is_set(&settings::SCREEN) || !cfg!(target_os = "linux") {
        Environment::Desktop
    } else {
        Environment::NoDisplay
    }
}

/// Whether to open a browser: the user configured one (`BROWSER`), or sits at this machine.
pub fn has_browser() -> bool {
    settings::browser().is_some()
        || matches!(environment(), Environment::Desktop | Environment::Wsl)
}

/// Opens the URL in the browser that `BROWSER` names, or in the system's. Returns when the browser is closed, or sooner.
/// The error says why no program could open it, but success is not certain.
pub fn open(url: &str) -> Result<(), String> {
    let mut failures = Vec::new();
    for command in commands(url) {
        match try_opener(&command) {
            Ok(()) => return Ok(()),
            Err(reason) => failures.push(format!("{}: {reason}", printable(&command[0]))),
        }
    }
    Err(failures.join(", "))
}

/// The programs that `open` tries, in order of preference.
pub fn programs() -> Vec<String> {
    let commands = commands("").into_iter();
    commands.map(|mut command| command.swap_remove(0)).collect()
}

fn commands(url: &str) -> Vec<Vec<String>> {
    from_list(settings::browser().as_deref().unwrap_or(of_system()), url)
}

/// The commands in `BROWSER`, parsed like `xdg-open` does: separated by colons (semicolons on Windows), with the URL in
/// place of `%s`, or else as the last word. No shell is involved.
fn from_list(list: &str, url: &str) -> Vec<Vec<String>> {
    let command = |entry: &str| -> Vec<String> {
        let url_at_end = (!entry.contains("%s")).then_some("%s");
        let words = entry.split_whitespace().chain(url_at_end);
        words.map(|word| word.replace("%s", url)).collect()
    };
    let entries = list.split(if cfg!(windows) { ';' } else { ':' });
    let entries = entries.filter(|entry| !entry.trim().is_empty());
    entries.map(command).collect()
}

/// The system's browsers in order of preference, in the same format.
fn of_system() -> &'static str {
    if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        // Unlike `cmd /c start`, it accepts a URL with `&` and `%` unchanged.
        "rundll32.exe url.dll,FileProtocolHandler"
    } else if environment() == Environment::Wsl {
        "wslview:explorer.exe"
    } else {
        "xdg-open:gio open:x-www-browser:firefox:chromium:google-chrome"
    }
}

/// Runs a command until it exits, which may be when the browser is closed. It outlives us and inherits nothing: no
/// terminal, no Ctrl-C, and not `CODEX_AUTH_TOKEN`. The error says why it showed nothing.
fn try_opener(words: &[String]) -> Result<(), String> {
    let started = Instant::now();
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .env_remove("CODEX_AUTH_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut browser = process::spawn(&mut command)
        .map_err(|error| process::describe_start(&error, words[0].as_ref()))?;
    let status = browser.wait().map_err(|error| error.to_string())?;
    // A program that fails immediately has shown nothing; after a later failure, the user has seen the page and closed
    // it. Only explorer.exe exits with 1 even if it has shown the page.
    let has_shown = status.success() || words[0].ends_with("explorer.exe");
    if has_shown || started.elapsed() > Duration::from_secs(5) {
        return Ok(());
    }
    Err(status.to_string().replace(": ", " "))
}

#[cfg(test)]
mod tests {
    #[cfg(not(windows))]
    use super::*;

    #[cfg(not(windows))]
    #[test]
    fn browser_is_read_as_xdg_open_reads_it_without_a_shell() {
        const URL: &str = "https://a.example/x?a=1&b=$(id)%20%s";
        let read = |list| from_list(list, URL);
        assert_eq!(read("firefox"), [["firefox", URL]]);
        assert_eq!(
            read("w3m -o x=%s -T:: lynx "),
            [
                vec![
                    "w3m".to_owned(),
                    "-o".into(),
                    format!("x={URL}"),
                    "-T".into()
                ],
                vec!["lynx".into(), URL.into()]
            ]
        );
        assert_eq!(read("sh -c 'rm'"), [["sh", "-c", "'rm'", URL]]);
        assert!(read(" : ").is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn the_browser_of_windows_may_exit_with_1_after_it_has_shown_the_page() {
        let folder = tempfile::tempdir().unwrap();
        for (name, has_shown) in [("explorer.exe", true), ("another.exe", false)] {
            let path = folder.path().join(name);
            std::os::unix::fs::symlink("/bin/sh", &path).unwrap();
            let words = [path.to_str().unwrap(), "-c", "exit 1"].map(String::from);
            assert_eq!(try_opener(&words).is_ok(), has_shown, "{name}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_browser_has_its_own_process_group_and_none_of_our_streams() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = r#"links=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2)
            group=$(cut -d' ' -f5 /proc/$$/stat)
            printf '%s\n' "$group" "$$" "$links" > "$0""#;
        let command = ["sh", "-c", script, file.path().to_str().unwrap()].map(String::from);
        assert_eq!(try_opener(&command), Ok(()));
        let told = fs::read_to_string(file.path()).unwrap();
        let [group, process, streams @ ..] = &told.lines().collect::<Vec<_>>()[..] else {
            panic!("{told}");
        };
        assert_eq!(group, process);
        assert_eq!(streams, ["/dev/null"; 3]);
    }
}
