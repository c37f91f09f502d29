//! Sealed logins with a real keyring: what works, what is reported if the keyring does not work, and what is on disk.

mod codex;
mod commands;
mod fake_keyring;
mod leaks;
mod refresh;
mod unavailable;

const TOKEN: &str = "[TOKEN]\n";
const FORCED: [&str; 2] = ["token", "--force-refresh"];
