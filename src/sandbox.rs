//! Whether an agent's sandbox causes a failure, and what messages then say. `net::socket` blames one, too, if a
//! connection is not permitted.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::settings;

/// Words that identify a message about a sandbox.
pub const SANDBOX: &str = "this sandbox";
pub const NO_NETWORK: &str = "no network in this sandbox";

/// Why a folder cannot be written to, if a sandbox forbids it. If no variable reports one, a read-only folder may be a
/// volume, unless the root is read-only as well.
pub fn cannot_write(error: &io::Error, folder: &Path) -> Option<String> {
    let is_root_read_only =
        || mount_options(Path::new("/")).is_some_and(|options| options.starts_with("ro"));
    let is_forbidden = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => settings::in_sandbox() || is_root_read_only(),
        ErrorKind::PermissionDenied => settings::in_sandbox(),
        _ => false,
    };
    is_forbidden.then(|| format!("{SANDBOX} cannot write to {}", folder.display()))
}

/// The options of a mount at exactly this path, if there is one, as in a container into which single files are mounted.
/// Linux only.
pub fn mount_options(place: &Path) -> Option<String> {
    // The kernel escapes a space as an octal number (proc(5)).
    let real = fs::canonicalize(place).ok()?;
    let place = real.to_string_lossy().replace(' ', r"\040");
    let table = fs::read("/proc/self/mounts").ok()?;
    let table = String::from_utf8_lossy(&table);
    let mut mounts = table.lines().map(|line| line.split(' ').skip(1));
    // Of several mounts at one path, the last one counts.
    let mut found = mounts.rfind(|fields| fields.clone().next() == Some(&place))?;
    found.nth(2).map(str::to_owned)
}

/// Why there is no network, as far as known without trying.
pub fn lacks_network() -> Option<String> {
    settings::is_set("CODEX_SANDBOX_NETWORK_DISABLED").then(|| NO_NETWORK.to_owned())
}

/// Why connecting to a Unix socket failed. EPERM (1) comes from a sandbox; EACCES means that it belongs to another user.
pub fn describe_refused(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(1) => format!("{SANDBOX} refuses the connection"),
        _ => error.to_string(),
    }
}

/// A failure, with what to run outside the sandbox that causes it, if any.
pub fn with_advice(failure: String, profile: &str, is_strict: bool) -> String {
    if !failure.contains(SANDBOX) {
        return failure;
    }
    let option = if is_strict { " --force-refresh" } else { "" };
    let call = settings::call_for(profile);
    format!("{failure}: run {call} token{option} outside it")
}
