//! Signing in with the browser: send it to the issuer, and wait until it, or the person, brings the code back.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::issuer::{Authorization, Issuer};
use crate::login::callback::{self, Callback, Event, Listening, WaitingBrowser};
use crate::login::opener::{self, Environment};
use crate::login::redirect::{self, AuthorizationResponse, Expectation};
use crate::login::{page, pkce};
use crate::settings;
use crate::terminal::{can_ask, link, read_lines, say, tell};

/// How long a person has: a login that was forgotten must not hold the port for ever.
const TIME_LIMIT: Duration = Duration::from_secs(15 * 60);

/// One authorization request: where the person is sent, and what goes with the code that comes back.
struct Request {
    url: String,
    redirect_uri: String,
    verifier: String,
    expected: Expectation,
}

/// Asks the person to sign in, and waits for the authorization code. The browser, if it brought the code, still waits
/// for its last page. `command` is the one to sign in with again.
pub fn authorize(
    issuer: &Issuer,
    no_browser: bool,
    workspaces: &[String],
    switch_account: bool,
    command: &str,
) -> Result<(Authorization, Option<WaitingBrowser>)> {
    let ports = settings::callback_ports()?;
    // Listen before the browser starts: it may come back at once.
    let listening = callback::listen(&ports)?;
    let port = listening.as_ref().map_or(ports[0], Listening::port);
    let request = prepare(issuer, port, workspaces, switch_account)?;
    let (sender, events) = mpsc::channel();
    let callback = match listening {
        Some(listening) => Some(listening.serve(request.expected.clone(), sender.clone())?),
        None => without_port(&ports, command)?,
    };
    invite(&request.url, no_browser, callback.as_ref(), command)?;
    if can_ask() {
        take_pasted(request.expected.clone(), sender)?;
    }
    let response = wait(&events, command);
    drop(callback);
    match response? {
        (AuthorizationResponse::Code(code), browser) => Ok((request.with(code), browser)),
        (AuthorizationResponse::Error(reason), browser) => {
            if let Some(browser) = browser {
                browser.show(&page::failed(&reason));
            }
            bail!("could not sign in: {reason}");
        }
    }
}

fn prepare(
    issuer: &Issuer,
    port: u16,
    workspaces: &[String],
    switch_account: bool,
) -> Result<Request> {
    let host = settings::redirect_host()?;
    let redirect_uri = format!("http://{host}:{port}{}", callback::PATH);
    let (verifier, state) = (pkce::verifier()?, pkce::random_secret()?);
    let challenge = pkce::challenge(&verifier);
    Ok(Request {
        url: issuer.authorize_url(
            &redirect_uri,
            &challenge,
            &state,
            workspaces,
            switch_account,
        ),
        redirect_uri,
        verifier,
        expected: Expectation {
            state,
            issuer: issuer.url().to_owned(),
        },
    })
}

impl Request {
    fn with(self, code: String) -> Authorization {
        Authorization {
            code,
            redirect_uri: self.redirect_uri,
            verifier: self.verifier,
        }
    }
}

/// Without a port, a person at a terminal can still paste; nobody else can go on.
fn without_port(ports: &[u16], command: &str) -> Result<Option<Callback>> {
    let numbers: Vec<String> = ports.iter().map(u16::to_string).collect();
    let (busy, remedy) = match numbers.as_slice() {
        [port] => (
            format!("port {port} is in use by another program"),
            "close it",
        ),
        ports => (
            format!("ports {} are in use by other programs", ports.join(" and ")),
            "close one",
        ),
    };
    if !can_ask() {
        bail!("could not sign in: {busy}: {remedy}, or run {command} --device-code");
    }
    tell(&format!(
        "Your browser cannot be redirected back here: {busy}."
    ));
    Ok(None)
}

/// Tells the person where to sign in, and starts their browser there, if that is where they are and it can come back.
fn invite(url: &str, no_browser: bool, callback: Option<&Callback>, command: &str) -> Result<()> {
    let environment = opener::environment();
    let opened = callback.filter(|_| !no_browser && opener::has_browser(environment));
    let one_time_link = opened.map(|callback| callback.one_time_link(url));
    let one_time_link = one_time_link.transpose()?;
    tell(match one_time_link {
        Some(_) => "Opening your browser. If nothing happens, open:",
        None => "Open this address in your browser:",
    });
    say(&format!("  {}", link(url)));
    // A browser that was named on purpose is one that can come back.
    let environment = match one_time_link {
        Some(_) => Environment::Desktop,
        None => environment,
    };
    let port = callback.map(Callback::port);
    for paragraph in ways_back(environment, port, can_ask(), command) {
        tell(&paragraph);
    }
    say(&format!(
        "Waiting for up to {} minutes.",
        TIME_LIMIT.as_secs() / 60
    ));
    if let Some(one_time_link) = one_time_link {
        opener::open(&one_time_link);
    }
    Ok(())
}

/// How the browser's answer gets here, where we run: the ways that work there.
fn ways_back(
    environment: Environment,
    port: Option<u16>,
    can_paste: bool,
    command: &str,
) -> Vec<String> {
    let paste = can_paste.then(|| "Page does not load? Paste its address here.".to_owned());
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
fn take_pasted(expected: Expectation, events: Sender<Event>) -> Result<()> {
    thread::Builder::new().spawn(move || {
        read_lines(|line| {
            if line.trim().is_empty() {
                return true;
            }
            match redirect::parse_pasted(line, &expected) {
                Ok(response) => {
                    // Nobody listens after the first response.
                    let _ = events.send(Event::Response(response, None));
                    false
                }
                Err(reason) => {
                    tell(&format!("Not accepted: {reason}. Paste again:"));
                    true
                }
            }
        });
    })?;
    Ok(())
}

/// The first response that counts.
fn wait(
    events: &Receiver<Event>,
    command: &str,
) -> Result<(AuthorizationResponse, Option<WaitingBrowser>)> {
    let end = Instant::now() + TIME_LIMIT;
    let mut is_told_of_https = false;
    loop {
        match events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Event::Response(response, browser)) => return Ok((response, browser)),
            Ok(Event::HttpsAttempt) if is_told_of_https => {}
            Ok(Event::HttpsAttempt) => {
                is_told_of_https = true;
                explain_https();
            }
            Err(RecvTimeoutError::Timeout) => bail!(
                "could not sign in: nobody signed in within {} minutes: run {command} again",
                TIME_LIMIT.as_secs() / 60
            ),
            // No callback is served, and stdin is at its end.
            Err(RecvTimeoutError::Disconnected) => bail!(
                "could not sign in: nothing was pasted, and the browser cannot be redirected here: run {command} --device-code"
            ),
        }
    }
}

fn explain_https() {
    let paste = if can_ask() {
        ", or paste the address here"
    } else {
        ""
    };
    tell(&format!(
        "Your browser came back with https, which is not served here: change https to http in its address bar{paste}."
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ways that are named: paste, forward, device code.
    fn named(environment: Environment, port: Option<u16>, can_paste: bool) -> [bool; 3] {
        let command = "codex-auth --profile work login";
        let ways = ways_back(environment, port, can_paste, command).join("\n");
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
