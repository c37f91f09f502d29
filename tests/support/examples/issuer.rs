//! `cargo run -p codex-auth-test-support --example issuer`: runs the fake issuer, to try the program by hand. Prints the
//! environment variables to set in another terminal, and runs until Ctrl-C or the end of stdin.

#![allow(
    clippy::print_stdout,
    reason = "it prints the variables for a script to read"
)]

use std::io;

use codex_auth_test_support::fake_issuer::FakeIssuer;

fn main() -> io::Result<()> {
    let issuer = FakeIssuer::start();
    let url = issuer.url();
    // Keep logins made here from replacing a real one.
    let home = tempfile::tempdir()?;
    eprintln!("The fake issuer is running. In another terminal, set these variables:\n");
    println!(
        "export CODEX_AUTH_ISSUER={url} CODEX_AUTH_CHATGPT_URL={url}/backend-api CODEX_AUTH_PORT=0 CODEX_AUTH_HOME={}",
        home.path().join("codex-auth").display()
    );
    eprintln!(
        "\nThen run codex-auth there, beginning with codex-auth login --no-browser.\nTo sign in, open the URL: the \
         issuer approves it at once.\n\nCtrl-C stops the issuer and deletes {}.",
        home.path().display()
    );
    wait()?;
    // Protocol violations only matter to tests.
    drop(issuer.take_violations());
    Ok(())
}

/// Waits for a signal or the end of stdin.
#[cfg(unix)]
fn wait() -> io::Result<()> {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let (mut stopped, mut stop) = UnixStream::pair()?;
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, stop.try_clone()?)?;
    }
    std::thread::spawn(move || {
        io::copy(&mut io::stdin(), &mut io::sink())?;
        stop.write_all(b"\n")
    });
    stopped.read_exact(&mut [0])
}

/// Waits for the end of stdin.
#[cfg(not(unix))]
fn wait() -> io::Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}
