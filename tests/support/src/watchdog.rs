//! Kills the programs that tests have started if the tests themselves are killed: a login would poll for minutes.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Reads the process IDs that start and end. Its stdin is closed when the test process ends, however that happens.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
running=' '
while read -r event pid; do
    case $event in
        started) running="$running$pid " ;;
        ended) running="${running%%" $pid "*} ${running#*" $pid "}" ;;
    esac
done
kill -KILL $running
"#;

pub(crate) fn started(pid: u32) {
    tell("started", pid);
}

pub(crate) fn ended(pid: u32) {
    tell("ended", pid);
}

fn tell(event: &str, pid: u32) {
    static WATCHDOG: OnceLock<Mutex<Child>> = OnceLock::new();
    let watchdog = WATCHDOG.get_or_init(|| Mutex::new(start()));
    let mut watchdog = watchdog.lock().expect("a test panicked");
    let stdin = watchdog.stdin.as_mut().expect("no stdin");
    writeln!(stdin, "{event} {pid}").expect("no watchdog");
}

fn start() -> Child {
    let mut shell = Command::new("/bin/sh");
    // Only the tests should receive a Ctrl-C at the terminal.
    shell.args(["-c", SCRIPT]).process_group(0);
    shell
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    shell.spawn().expect("no shell")
}
