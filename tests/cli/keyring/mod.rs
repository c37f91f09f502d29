//! Sealed logins, with a real keyring: what serves, what is said where the keyring does not, and what lies on the disk.

mod codex;
mod commands;
mod leaks;
mod refresh;
mod unavailable;

const TOKEN: &str = "[TOKEN]\n";
const FORCED: [&str; 2] = ["token", "--force-refresh"];
