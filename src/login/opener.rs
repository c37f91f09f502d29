//! Where this program runs, and how the person's browser is started there: best effort, and without waiting.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::{process, settings};

/// Where this program runs, seen from the person's browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
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
pub fn environment() -> Environment {
    let has_mark = || {
        ["/.dockerenv", "/run/.containerenv"]
            .iter()
            .any(|mark| Path::new(mark).exists())
    };
    environment_from(
        settings::over_ssh(),
        settings::in_container() || has_mark(),
        settings::in_wsl() || is_windows_kernel(),
        settings::has_display() || !cfg!(target_os = "linux"),
    )
}

/// What is farthest from the person comes first: a container on WSL has the kernel of WSL, too.
#[expect(
    clippy::fn_params_excessive_bools,
    reason = "each is one thing that is so or not"
)]
fn environment_from(ssh: bool, container: bool, wsl: bool, display: bool) -> Environment {
    match (ssh, container, wsl, display) {
        (true, ..) => Environment::Ssh,
        (_, true, ..) => Environment::Container,
        (_, _, true, _) => Environment::Wsl,
        (.., false) => Environment::NoDisplay,
        _ => Environment::Desktop,
    }
}

/// Whether a browser can be opened without surprise: the person named one (`BROWSER`), or sits where we run.
pub fn has_browser(environment: Environment) -> bool {
    settings::browser().is_some() || matches!(environment, Environment::Desktop | Environment::Wsl)
}

/// Shows the URL in the person's browser: the one that `BROWSER` names, else that of the system. Returns at once;
/// whether it worked cannot be known, so the person must be given the URL as well.
pub fn open(url: &str) {
    let commands = commands(url);
    // Without a thread there is no browser, and the URL has been printed.
    let _ = thread::Builder::new().spawn(move || {
        commands.iter().any(|command| try_opener(command));
    });
}

/// The programs that `open` tries, the best first.
pub fn programs() -> Vec<String> {
    let commands = commands("").into_iter();
    commands
        .filter_map(|command| command.into_iter().next())
        .collect()
}

fn commands(url: &str) -> Vec<Vec<String>> {
    match settings::browser() {
        Some(list) => from_variable(&list, url),
        None => from_system(environment(), url),
    }
}

/// The kernel of WSL has Microsoft in its name.
fn is_windows_kernel() -> bool {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .is_ok_and(|release| release.to_ascii_lowercase().contains("microsoft"))
}

/// The commands in `BROWSER`, read as `xdg-open` does: separated by colons (on Windows, by semicolons), the URL in
/// the place of `%s`, else as the last word. No shell is involved.
fn from_variable(list: &str, url: &str) -> Vec<Vec<String>> {
    let separator = if cfg!(windows) { ';' } else { ':' };
    let entries = list
        .split(separator)
        .filter(|entry| !entry.trim().is_empty());
    entries.map(|entry| with_url(&split(entry), url)).collect()
}

/// A path with blanks in it is one word, if there is such a file.
fn split(entry: &str) -> Vec<&str> {
    if Path::new(entry).is_file() {
        return vec![entry];
    }
    entry.split_whitespace().collect()
}

fn with_url(template: &[&str], url: &str) -> Vec<String> {
    let mut command: Vec<String> = template
        .iter()
        .map(|word| word.replace("%s", url))
        .collect();
    if !template.iter().any(|word| word.contains("%s")) {
        command.push(url.into());
    }
    command
}

/// The commands that start the browser of a system, the best first.
fn from_system(environment: Environment, url: &str) -> Vec<Vec<String>> {
    let openers: &[&str] = if cfg!(target_os = "macos") {
        &["open"]
    } else if cfg!(windows) {
        // Unlike `cmd /c start`, it takes a URL with `&` and `%` as it is.
        &["rundll32.exe url.dll,FileProtocolHandler"]
    } else if environment == Environment::Wsl {
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

/// Runs a command until it ends, which may be when the browser is closed. False if it could not show anything.
fn try_opener(command: &[String]) -> bool {
    let started = Instant::now();
    match start(command).and_then(|mut child| child.wait().ok()) {
        Some(status) => status.success() || started.elapsed() > AT_ONCE,
        None => false,
    }
}

/// Starts a command that outlives us and has nothing of us: no terminal, no Ctrl-C, and not the token that
/// `codex-auth exec` may have put into our environment.
fn start(command: &[String]) -> Option<Child> {
    let (program, arguments) = command.split_first()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_remove("CODEX_AUTH_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    process::spawn(&mut command).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_the_farthest_from_the_person_that_anything_speaks_for() {
        for (ssh, container, wsl, display, wanted) in [
            (false, false, false, true, Environment::Desktop),
            (false, false, false, false, Environment::NoDisplay),
            (false, false, true, true, Environment::Wsl),
            (false, false, true, false, Environment::Wsl),
            (false, true, true, false, Environment::Container),
            (true, false, true, true, Environment::Ssh),
            (true, true, false, true, Environment::Ssh),
        ] {
            assert_eq!(environment_from(ssh, container, wsl, display), wanted);
        }
    }

    #[cfg(not(windows))]
    #[test]
    fn browser_is_read_as_xdg_open_reads_it_without_a_shell() {
        const URL: &str = "https://a.example/x?a=1&b=$(id)%20%s";
        let read = |list| from_variable(list, URL);
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

    #[test]
    fn a_path_with_blanks_is_one_word() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("my browser");
        fs::write(&program, "").unwrap();
        let program = program.to_str().unwrap();
        assert_eq!(split(program), [program]);
        assert_eq!(split("/no/such browser"), ["/no/such", "browser"]);
    }

    #[cfg(unix)]
    #[test]
    fn what_fails_at_once_has_shown_nothing() {
        let try_opener = |command: &[&str]| {
            try_opener(&command.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert!(try_opener(&["true"]));
        assert!(!try_opener(&["false"]));
        assert!(!try_opener(&["/no/such/browser"]));
        assert!(!try_opener(&[]));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_browser_has_a_process_group_of_its_own_and_none_of_our_streams() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = r#"links=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2)
            group=$(cut -d' ' -f5 /proc/$$/stat)
            printf '%s\n' "$group" "$$" "$links" > "$0""#;
        let command = ["sh", "-c", script, file.path().to_str().unwrap()].map(String::from);
        assert!(try_opener(&command));
        let told = fs::read_to_string(file.path()).unwrap();
        let [group, process, streams @ ..] = &told.lines().collect::<Vec<_>>()[..] else {
            panic!("{told}");
        };
        assert_eq!(group, process);
        assert_eq!(streams, ["/dev/null"; 3]);
    }
}
