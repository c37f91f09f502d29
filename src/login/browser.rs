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
                        "Could not open your browser ({reason}): open the URL above yourself."
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

/// Tells the user where to sign in, and the ways for the response to get here that work in this environment.
fn invite(url: &str, redirect_uri: &str, port: u16, can_open: bool, command: &str) {
    tell(if can_open {
        "Opening your browser. If nothing happens, open:"
    } else {
        "Open this URL in your browser:"
    });
    say(&format!("  {}", link(url)));
    let environment = opener::environment();
    let is_local = matches!(environment, Environment::Desktop | Environment::Wsl);
    // A browser that the user configured is expected to reach this machine.
    let can_return = can_open || is_local;
    if !can_return {
        let place = environment.shown();
        let why = format!("Running{place}, out of your browser's reach. What works:");
        tell(&why);
    }
    if can_ask() {
        let bullet = if can_return { "" } else { "- " };
        let ended_on = redirect_uri.replace(redirect::PATH, "/…");
        tell(&format!(
            "{bullet}If your browser ends up on a page that does not load ({ended_on}), paste its URL here."
        ));
    }
    if can_return {
        return;
    }
    // A container's loopback cannot be reached from outside.
    if environment != Environment::Container {
        tell("- Forward the port before you open the URL:");
        say(&format!("  ssh -L {port}:localhost:{port} HOST"));
    }
    tell("- Press Ctrl-C, and sign in with a code instead:");
    say(&format!("  {command} --device-code"));
}

/// Reads what the user pastes, until a line is a response to this login.
fn take_pasted(expected: &Expectation, responses: &Sender<AuthorizationResponse>, wanted: &str) {
    read_lines(|line| {
        match redirect::parse_pasted(line, expected) {
            _ if line.trim().is_empty() => {}
            Ok(response) => return responses.send(response).is_err(),
            Err(reason) => tell(&format!(
                "Not accepted: {reason}. Paste the URL you end up at, like {wanted}"
            )),
        }
        true
    });
}
