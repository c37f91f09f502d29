//! The program as people and programs use it: the real binary against a fake issuer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step of a test ends the test"
)]

#[cfg(unix)]
mod codex;
mod codex_profile;
mod device;
mod disk;
mod doctor;
mod exec;
mod formats;
mod harness;
mod login;
mod logout;
mod profiles;
mod refresh;
mod secrets;
mod setup;
mod shortcut;
#[cfg(target_os = "linux")]
mod signals;
mod status;
#[cfg(unix)]
mod terminal;
mod verify;
