//! What tests, benchmarks and the demo share: the fake issuer, a home folder of its own for the program, and the person with
//! their browser.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step of a test ends the test"
)]

pub mod browser;
pub mod expect;
pub mod fake_issuer;
pub mod process;
pub mod sandbox;
