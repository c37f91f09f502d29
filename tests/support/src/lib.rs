//! What tests, benchmarks and the demo share: the fake issuer, a separate home folder for the program, and the user's
//! browser.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make the files and variables that they need"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step of a test ends the test"
)]

pub mod browser;
#[cfg(target_os = "linux")]
pub mod desktop;
pub mod expect;
pub mod fake_issuer;
#[cfg(target_os = "linux")]
pub mod locks;
#[cfg(target_os = "linux")]
pub mod network;
pub mod process;
pub mod sandbox;
#[cfg(unix)]
mod signals;
#[cfg(target_os = "linux")]
pub mod socket;
#[cfg(unix)]
pub mod sshd;
pub mod unanswering;
#[cfg(unix)]
mod watchdog;
