//! Signing in with the browser: sends it to the issuer, and waits until it, or the user, returns with the code.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use anyhow::{Error, Result, bail};

use crate::issuer::{Authorization, Issuer};
use crate::login::callback::{self, Callback};
use crate::login::opener::{self, Environment};
use crate::login::pkce;
use crate::login::redirect::{self, AuthorizationResponse, Expectation};
use crate::settings;
use crate::terminal::{awaiting, can_ask, is_watched, link, read_lines, say, tell};
use crate::time::start;

/// How long a user may take: a forgotten login must not keep the port forever.
const MINUTES: u64 = 15;

/// Asks the user to sign in, and waits for the authorization code, or for the issuer's reason to give none. If the
/// browser brought it, it waits for its final page.
///
/// With `switch` the issuer asks which account to use, even if the browser is signed in. `command` repeats this login.
pub fn authorize(
    issuer: &Issuer,
    no_browser: bool,
    switch: bool,
    workspaces: &[String],
    command: &str,
) -> Result<(Result<Authorization>, Callback)> {
    // Listen before the browser starts, as it may return immediately.
    let listening = callback::listen(&settings::callback_ports()?, command)?;
    let (host, port) = (settings::redirect_host()?, listening.port);
    let redirect_uri = format!("http://{host}:{port}{}", redirect::PATH);
    let (verifier, state) = (pkce::random_secret()?, pkce::random_secret()?);
    let challenge = pkce::challenge(&verifier);
    let url = issuer.authorize_url(&redirect_uri, &challenge, &state, workspaces, switch);
    let issuer = issuer.url.clone();
    let expected = Expectation { state, issuer };
    let (sender, responses) = mpsc::channel();
    let callback = listening.serve(expected.clone(), sender.clone(), &url)?;
    let can_open = !no_browser && opener::has_browser();
    invite(&url, &redirect_uri, port, can_open, command);
    let waiting = format!("Waiting for up to {MINUTES} minutes … ");
    if !is_watched() {
        say(waiting.trim_end());
    }
    let response = awaiting(&waiting, || {
        if can_open {
            let link = callback.one_time_link.clone();
            start(move || {
                if let Err(reason) = opener::open(&link) {
                    tell(&format!(
                        "Could not open your browser ({reason}): open the address above yourself."
                    ));
                }
            })?;
        }
        if can_ask() {
            let wanted = format!("{redirect_uri}?code=…");
            start(move || take_pasted(&expected, &sender, &wanted))?;
        }
        io::Result::Ok(responses.recv_timeout(Duration::from_secs(MINUTES * 60)))
    })?;
    let authorization = match response {
        Ok(AuthorizationResponse::Code(code)) => Ok(Authorization {
            code,
            redirect_uri,
            verifier,
        }),
        Ok(AuthorizationResponse::Error(reason)) => Err(Error::msg(reason)),
        Err(_) => bail!("nobody signed in within {MINUTES} minutes: run {command} again"),
    };
    Ok((authorization, callback))
}

/// Tells the user where to sign in, and how the response gets here.
fn invite(url: &str, redirect_uri: &str, port: u16, can_open: bool, command: &str) {
    // A browser that the user configured is expected to reach this machine.
    let (environment, how) = if can_open {
        let how = "Opening your browser. If nothing happens, open:";
        (Environment::Desktop, how)
    } else {
        (opener::environment(), "Open this address in your browser:")
    };
    tell(how);
    say(&format!("  {}", link(url)));
    let ended_on = redirect_uri.replace(redirect::PATH, "/…");
    let paste = format!(
        "If the browser ends on a page that does not load ({ended_on}), paste its address here."
    );
    for paragraph in ways_back(environment, port, can_ask().then_some(paste), command) {
        tell(&paragraph);
    }
}

/// The ways for the response to get here that work in this environment.
fn ways_back(
    environment: Environment,
    port: u16,
    paste: Option<String>,
    command: &str,
) -> Vec<String> {
    if matches!(environment, Environment::Desktop | Environment::Wsl) {
        return paste.into_iter().collect();
    }
    let place = environment.shown();
    let mut ways = vec![format!(
        "Running{place}, out of your browser's reach. What works:"
    )];
    ways.extend(paste.map(|paste| format!("- {paste}")));
    // A container's loopback cannot be reached from outside.
    if environment != Environment::Container {
        ways.push("- Forward the port before you open the address:".to_owned());
        ways.push(format!("  ssh -L {port}:localhost:{port} HOST"));
    }
    ways.push("- Press Ctrl-C, and sign in with a code instead:".to_owned());
    ways.push(format!("  {command} --device-code"));
    ways
}

/// Reads what the user pastes, until a line is a response to this login.
fn take_pasted(expected: &Expectation, responses: &Sender<AuthorizationResponse>, wanted: &str) {
    read_lines(|line| {
        match redirect::parse_pasted(line, expected) {
            _ if line.trim().is_empty() => {}
            Ok(response) => return responses.send(response).is_err(),
            Err(reason) => tell(&format!(
                "Not accepted: {reason}. Paste the address that the browser ends on, like {wanted}"
            )),
        }
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which ways are mentioned: paste, forward, device code.
    fn named(environment: Environment, port: u16, can_paste: bool) -> [bool; 3] {
        let command = "codex-auth --profile work login";
        let paste = can_paste.then(|| "Paste".to_owned());
        let ways = ways_back(environment, port, paste, command).join("\n");
        let forward = format!("ssh -L {port}:localhost:{port} ");
        let device = format!("{command} --device-code");
        ["Paste", &forward, &device].map(|way| ways.contains(way))
    }

    #[test]
    fn only_ways_that_work_are_named() {
        for (environment, port, can_paste, expected) in [
            (Environment::Desktop, 1455, true, [true, false, false]),
            (Environment::Desktop, 1455, false, [false, false, false]),
            (Environment::Wsl, 1455, true, [true, false, false]),
            (Environment::Ssh, 1457, true, [true, true, true]),
            (Environment::Ssh, 1455, false, [false, true, true]),
            (Environment::NoDisplay, 1455, true, [true, true, true]),
            (Environment::Container, 1455, true, [true, false, true]),
            (Environment::Container, 1455, false, [false, false, true]),
        ] {
            assert_eq!(
                named(environment, port, can_paste),
                expected,
                "{environment:?} {port} {can_paste}"
            );
        }
    }
}
