//! `cargo run -p codex-auth-test-support --example issuer`: the fake issuer, to try the program by hand. It prints what to put
//! into the environment, and serves until its stdin ends.

#![allow(clippy::print_stdout, reason = "it is there to print")]

use std::io;

use codex_auth_test_support::fake_issuer::FakeIssuer;

fn main() -> io::Result<()> {
    let issuer = FakeIssuer::start();
    let url = issuer.url();
    // A login here must not replace a real one.
    let home = tempfile::tempdir()?;
    println!(
        "export CODEX_AUTH_ISSUER={url} CODEX_AUTH_CHATGPT_URL={url}/backend-api CODEX_AUTH_PORT=0 CODEX_AUTH_HOME={}",
        home.path().join("codex-auth").display()
    );
    io::copy(&mut io::stdin(), &mut io::sink())?;
    // What a client did wrong is for the tests to complain about.
    drop(issuer.take_violations());
    Ok(())
}
