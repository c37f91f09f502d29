//! The program as people and programs use it: the real binary against a fake issuer.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make the files and variables that they need"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step of a test ends the test"
)]

mod access_token;
#[cfg(unix)]
mod callers;
#[cfg(unix)]
mod codex;
mod codex_profile;
#[cfg(unix)]
mod completions;
#[cfg(windows)]
mod credential_manager;
mod device;
mod disk;
mod doctor;
#[cfg(target_os = "linux")]
mod durability;
mod exec;
#[cfg(target_os = "linux")]
mod faults;
mod formats;
#[cfg(unix)]
mod from;
mod harness;
mod help;
#[cfg(target_os = "linux")]
mod keyring;
#[cfg(target_os = "linux")]
mod limits;
mod login;
mod logout;
#[cfg(target_os = "linux")]
mod masks;
mod network;
#[cfg(target_os = "linux")]
mod owners;
mod profiles;
#[cfg(target_os = "linux")]
mod promises;
mod refresh;
mod routing;
#[cfg(target_os = "linux")]
mod sandbox;
mod secrets;
mod setup;
mod shortcut;
#[cfg(target_os = "linux")]
mod signals;
mod status;
#[cfg(unix)]
mod terminal;
mod verify;
mod workload;
#[cfg(unix)]
mod workload_codex;
