//! A separate network namespace for a test that needs certain ports.

use std::process::{Command, Stdio};

/// Set for a test that runs in such a namespace.
const INSIDE: &str = "CODEX_AUTH_TEST_OWN_NETWORK";

/// Runs the current test again in a namespace with nothing but a loopback interface. Returns true if it did, and the
/// caller must then return; false inside that run, or if the system does not allow network namespaces.
#[track_caller]
pub fn has_run_in_own_network() -> bool {
    let is_possible = || {
        unshare("ip link set lo up")
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if std::env::var_os(INSIDE).is_some() || !is_possible() {
        return false;
    }
    let name = std::thread::current().name().expect("no test").to_owned();
    let mut again = unshare("ip link set lo up && exec \"$0\" --exact \"$1\" --nocapture");
    again.arg(std::env::current_exe().expect("no path of this test"));
    let output = again.arg(&name).env(INSIDE, "1").output();
    let output = output.expect("could not run the test again");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("1 passed"),
        "in a separate network: {output:?}"
    );
    true
}

/// A shell that runs this script in a separate network namespace.
fn unshare(script: &str) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--net", "sh", "-c", script])
        .stdin(Stdio::null());
    command
}
