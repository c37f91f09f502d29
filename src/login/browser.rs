//! Signing in with the browser: send it to the issuer, and wait until it, or the person, brings the code back.

use std::mem;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::issuer::{Authorization, Issuer};
use crate::login::callback::{self, Callback, Event, Listening};
use crate::login::opener::{self, Environment};
use crate::login::redirect::{self, AuthorizationResponse, Expectation};
use crate::login::{page, pkce};
use crate::settings;
use crate::terminal::{awaiting, can_ask, is_watched, link, read_lines, say, tell};

/// How long a person has: a login that was forgotten must not hold the port for ever.
const MINUTES: u64 = 15;

/// One authorization request: where the person is sent, and what goes with the code that comes back.
struct Request {
    url: String,
    redirect_uri: String,
    verifier: String,
    expected: Expectation,
}

/// How a person wants to sign in.
pub struct Options<'a> {
    pub no_browser: bool,
    /// The issuer asks for an account, also where the browser is signed in with one.
    pub switch_account: bool,
    pub workspaces: &'a [String],
    /// The command to sign in with again.
    pub command: &'a str,
}

/// Asks the person to sign in, and waits for the authorization code. The browser, if it brought the code, waits for its
/// last page.
pub fn authorize(issuer: &Issuer, options: &Options<'_>) -> Result<(Authorization, Callback)> {
    let ports = settings::callback_ports()?;
    // Listen before the browser starts: it may come back at once.
    let listening = callback::listen(&ports)?;
    let port = listening.as_ref().map(Listening::port);
    let listening = match listening {
        Some(listening) => listening,
        None => listen_for_link(&ports, options.command)?,
    };
    let request = prepare(issuer, port.unwrap_or(ports[0]), options)?;
    let (sender, events) = mpsc::channel();
    let callback = listening.serve(request.expected.clone(), sender.clone())?;
    invite(&request, port, options);
    if can_open(options) {
        open(callback.one_time_link(&request.url)?, sender.clone())?;
    }
    if can_ask() {
        take_pasted(&request, sender)?;
    }
    let waiting = format!("Waiting for up to {MINUTES} minutes …");
    if !is_watched() {
        say(&waiting);
    }
    let response = awaiting(&(waiting + " "), || {
        wait(&events, port.is_some(), options.command)
    })?;
    match response {
        AuthorizationResponse::Code(code) => {
            let authorization = Authorization {
                code,
                redirect_uri: request.redirect_uri,
                verifier: request.verifier,
            };
            Ok((authorization, callback))
        }
        AuthorizationResponse::Error(reason) => {
            callback.show(&page::failed(&reason));
            bail!("could not sign in: {reason}");
        }
    }
}

fn prepare(issuer: &Issuer, port: u16, options: &Options<'_>) -> Result<Request> {
    let host = settings::redirect_host()?;
    let redirect_uri = format!("http://{host}:{port}{}", callback::PATH);
    let (verifier, state) = (pkce::random_secret()?, pkce::random_secret()?);
    let challenge = pkce::challenge(&verifier);
    let (workspaces, switches) = (options.workspaces, options.switch_account);
    let url = issuer.authorize_url(&redirect_uri, &challenge, &state, workspaces, switches);
    let issuer = issuer.url().to_owned();
    Ok(Request {
        url,
        redirect_uri,
        verifier,
        expected: Expectation { state, issuer },
    })
}

/// Without a port to come back to, a person at a terminal can still paste, and any other port serves the one-time link.
/// Nobody else can go on.
fn listen_for_link(ports: &[u16], command: &str) -> Result<Listening> {
    let ports: Vec<String> = ports.iter().map(|port| format!("port {port}")).collect();
    let busy = ports.join(" and ") + " in use by another program";
    if !can_ask() {
        bail!("could not sign in: {busy}: close it, or run {command} --device-code");
    }
    tell(&format!(
        "Your browser cannot be redirected back here: {busy}."
    ));
    callback::listen(&[0])?.context("could not listen on any port")
}

fn can_open(options: &Options<'_>) -> bool {
    !options.no_browser && opener::has_browser(opener::environment())
}

/// Tells the person where to sign in, and how the answer gets here: to this port, if there is one.
fn invite(request: &Request, port: Option<u16>, options: &Options<'_>) {
    // A browser that was named on purpose is one that can come back.
    let environment = if can_open(options) {
        tell("Opening your browser. If nothing happens, open:");
        Environment::Desktop
    } else {
        tell("Open this address in your browser:");
        opener::environment()
    };
    say(&format!("  {}", link(&request.url)));
    let paste = can_ask().then(|| {
        let page = port.map_or("another program's page", |_| "a page that does not load");
        let address = request.redirect_uri.replace(callback::PATH, "/…");
        format!("If the browser ends on {page} ({address}), paste its address here.")
    });
    for paragraph in ways_back(environment, port, paste, options.command) {
        tell(&paragraph);
    }
}

/// Opens the browser, which is not waited for.
fn open(url: String, events: Sender<Event>) -> Result<()> {
    thread::Builder::new().spawn(move || {
        if let Err(reason) = opener::open(&url) {
            // Nobody listens after the first response.
            let _ = events.send(Event::BrowserFailed(reason));
        }
    })?;
    Ok(())
}

/// How the browser's answer gets here, where we run: the ways that work there.
fn ways_back(
    environment: Environment,
    port: Option<u16>,
    paste: Option<String>,
    command: &str,
) -> Vec<String> {
    let why = match environment {
        Environment::Desktop | Environment::Wsl => return paste.into_iter().collect(),
        Environment::Ssh => "Your browser is at the other end of this SSH session. What works:",
        Environment::Container => "Your browser is outside this container. What works:",
        Environment::NoDisplay => "This machine has no display for a browser. What works:",
    };
    let mut ways = vec![why.to_owned()];
    ways.extend(paste.map(|paste| format!("- {paste}")));
    // What listens on a container's loopback cannot be reached from outside.
    if let Some(port) = port.filter(|_| environment != Environment::Container) {
        ways.push("- Forward the port before you open the address:".to_owned());
        ways.push(format!("  ssh -L {port}:localhost:{port} HOST"));
    }
    ways.push("- Press Ctrl-C, and sign in with a code instead:".to_owned());
    ways.push(format!("  {command} --device-code"));
    ways
}

/// Reads what the person pastes, line by line, until a line answers this login.
fn take_pasted(request: &Request, events: Sender<Event>) -> Result<()> {
    let expected = request.expected.clone();
    let wanted = format!("{}?code=…", request.redirect_uri);
    thread::Builder::new().spawn(move || {
        read_lines(|line| {
            match redirect::parse_pasted(line, &expected) {
                _ if line.trim().is_empty() => {}
                Ok(response) => return events.send(Event::Response(response)).is_err(),
                Err(reason) => tell(&format!(
                    "Not accepted: {reason}. Paste the address that the browser ends on, like {wanted}"
                )),
            }
            true
        });
        let _ = events.send(Event::InputEnded);
    })?;
    Ok(())
}

/// The first response that counts.
fn wait(events: &Receiver<Event>, has_port: bool, command: &str) -> Result<AuthorizationResponse> {
    let end = Instant::now() + Duration::from_secs(MINUTES * 60);
    let mut is_told_of_https = false;
    loop {
        match events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Event::Response(response)) => return Ok(response),
            Ok(Event::HttpsAttempt) if mem::replace(&mut is_told_of_https, true) => {}
            Ok(Event::HttpsAttempt) => tell(
                "Your browser came back with https, which is not served here: change https to http in its address bar.",
            ),
            Ok(Event::BrowserFailed(reason)) => tell(&format!(
                "Could not open your browser ({reason}): open the address above yourself."
            )),
            Ok(Event::InputEnded) if has_port => {}
            Ok(Event::InputEnded) => bail!(
                "could not sign in: nothing was pasted, and the browser cannot be redirected here: run {command} --device-code"
            ),
            Err(_) => bail!(
                "could not sign in: nobody signed in within {MINUTES} minutes: run {command} again"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ways that are named: paste, forward, device code.
    fn named(environment: Environment, port: Option<u16>, can_paste: bool) -> [bool; 3] {
        let command = "codex-auth --profile work login";
        let paste = can_paste.then(|| "Paste".to_owned());
        let ways = ways_back(environment, port, paste, command).join("\n");
        let forward = format!("ssh -L {0}:localhost:{0} ", port.unwrap_or(1455));
        let device = format!("{command} --device-code");
        ["Paste", &forward, &device].map(|way| ways.contains(way))
    }

    #[test]
    fn only_ways_that_work_are_named() {
        for (environment, port, can_paste, expected) in [
            (Environment::Desktop, Some(1455), true, [true, false, false]),
            (
                Environment::Desktop,
                Some(1455),
                false,
                [false, false, false],
            ),
            (Environment::Wsl, Some(1455), true, [true, false, false]),
            (Environment::Ssh, Some(1457), true, [true, true, true]),
            (Environment::Ssh, None, true, [true, false, true]),
            (Environment::Ssh, Some(1455), false, [false, true, true]),
            (Environment::NoDisplay, Some(1455), true, [true, true, true]),
            (
                Environment::Container,
                Some(1455),
                true,
                [true, false, true],
            ),
            (
                Environment::Container,
                Some(1455),
                false,
                [false, false, true],
            ),
        ] {
            assert_eq!(
                named(environment, port, can_paste),
                expected,
                "{environment:?} {port:?} {can_paste}"
            );
        }
    }
}
