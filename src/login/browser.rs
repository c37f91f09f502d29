//! Signing in with the browser: send it to the issuer, and wait until it, or the person, brings the code back.

use std::io::{self, BufRead};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::issuer::{Authorization, Issuer};
use crate::login::callback;
use crate::login::callback::{Browser, Callback, Listening};
use crate::login::opener;
use crate::login::opener::Place;
use crate::login::redirect;
use crate::login::redirect::{Answer, Expectation};
use crate::login::{page, pkce};
use crate::settings;
use crate::terminal::{can_ask, link, say, tell};

/// How long a person has: a login that was forgotten must not hold the port for ever.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// An answer, and the browser that brought it, if one did.
type Arrival = (Answer, Option<Browser>);

/// One attempt to sign in: where the person is sent, and what goes with the code that comes back.
struct Attempt {
    url: String,
    redirect_uri: String,
    verifier: String,
    expected: Expectation,
}

/// Asks the person to sign in, and waits for the authorization code. The browser, if it brought the code, still waits
/// for its last page.
pub fn authorize(
    issuer: &Issuer,
    no_browser: bool,
    workspaces: &[String],
) -> Result<(Authorization, Option<Browser>)> {
    let ports = settings::callback_ports()?;
    // Listen before the browser starts: it may come back at once.
    let listening = callback::listen(&ports)?;
    let port = listening.as_ref().map_or(ports[0], Listening::port);
    let attempt = prepare(issuer, port, workspaces)?;
    let (sender, receiver) = mpsc::channel();
    let callback = serve(listening, &attempt.expected, &sender, &ports)?;
    invite(&attempt.url, no_browser, callback.as_ref())?;
    if can_ask() {
        take_pasted(attempt.expected.clone(), sender)?;
    }
    let arrival = wait(&receiver);
    drop(callback);
    match arrival? {
        (Answer::Code(code), browser) => Ok((attempt.with(code), browser)),
        (Answer::Refused(words), browser) => {
            if let Some(browser) = browser {
                browser.show(&page::failed(&words));
            }
            bail!("could not sign in: {words}");
        }
    }
}

fn prepare(issuer: &Issuer, port: u16, workspaces: &[String]) -> Result<Attempt> {
    let host = settings::redirect_host()?;
    let redirect_uri = format!("http://{host}:{port}{}", callback::PATH);
    let (verifier, state) = (pkce::verifier()?, pkce::secret_word()?);
    let challenge = pkce::challenge(&verifier);
    Ok(Attempt {
        url: issuer.authorize_url(&redirect_uri, &challenge, &state, workspaces),
        redirect_uri,
        verifier,
        expected: Expectation {
            state,
            issuer: issuer.url().to_owned(),
        },
    })
}

impl Attempt {
    fn with(self, code: String) -> Authorization {
        Authorization {
            code,
            redirect_uri: self.redirect_uri,
            verifier: self.verifier,
        }
    }
}

/// Starts the server for the redirect. Without a port, a person at a terminal can still paste; nobody else can go on.
fn serve(
    listening: Option<Listening>,
    expected: &Expectation,
    sender: &Sender<Arrival>,
    ports: &[u16],
) -> Result<Option<Callback>> {
    let Some(listening) = listening else {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let busy = format!("other programs hold port {}", ports.join(" and "));
        if !can_ask() {
            bail!(
                "could not wait for the browser: {busy}: end them, or run codex-auth login --device-code"
            );
        }
        say(&format!(
            "The browser cannot come back here, as {busy}: paste the address that it ends on."
        ));
        return Ok(None);
    };
    let sender = sender.clone();
    let callback = listening.serve(expected.clone(), move |answer, browser| {
        // Whoever came second is not awaited any more.
        let _ = sender.send((answer, Some(browser)));
    })?;
    Ok(Some(callback))
}

/// Tells the person where to sign in, and starts their browser there, if that is where they are and it can come back.
fn invite(url: &str, no_browser: bool, callback: Option<&Callback>) -> Result<()> {
    let place = opener::place();
    let entrance = callback.filter(|_| !no_browser && opener::has_browser(place));
    let entrance = entrance
        .map(|callback| callback.entrance_to(url))
        .transpose()?;
    say(if entrance.is_some() {
        "Opening the browser to sign in. If it does not come up, open this address:"
    } else {
        "Open this address in a browser to sign in:"
    });
    say(&format!("\n{}\n", link(url)));
    for paragraph in ways_back(place, callback.map(Callback::port), can_ask()) {
        tell(&paragraph);
    }
    if let Some(entrance) = entrance {
        opener::open(&entrance);
    }
    Ok(())
}

/// How the browser's answer gets here, where we run: one paragraph for each way that works there.
fn ways_back(place: Place, port: Option<u16>, can_paste: bool) -> Vec<String> {
    let away = match place {
        Place::Desktop | Place::Wsl => {
            let paste =
                "If the browser ends on a page that does not load, paste that page's address here:";
            return can_paste.then(|| paste.to_owned()).into_iter().collect();
        }
        Place::Ssh => "This machine is used over SSH, and the browser is elsewhere. What works:",
        Place::Container => "This is a container, and the browser is elsewhere. What works:",
        Place::NoDisplay => "There is no display here for a browser. What works elsewhere:",
    };
    let mut ways = vec![away.to_owned()];
    // What listens on a container's loopback cannot be reached from outside.
    if let Some(port) = port.filter(|_| place != Place::Container) {
        ways.push(
            "- Forward the port from the machine with the browser, and then open the address:"
                .to_owned(),
        );
        ways.push(format!("  ssh -L {port}:localhost:{port} HOST"));
    }
    ways.push(
        "- Stop this, and run codex-auth login --device-code: nothing has to come back here."
            .to_owned(),
    );
    if can_paste {
        ways.push("- Open the address on any machine. The browser ends on a page that does not load: paste that page's address here:".to_owned());
    }
    ways
}

/// Reads what the person pastes, line by line, until a line answers this login.
fn take_pasted(expected: Expectation, sender: Sender<Arrival>) -> Result<()> {
    thread::Builder::new().spawn(move || {
        for line in io::stdin()
            .lock()
            .lines()
            .map_while(Result::ok)
            .filter(|line| !line.trim().is_empty())
        {
            match redirect::judge_pasted(&line, &expected) {
                Ok(answer) => {
                    // Whoever came second is not awaited any more.
                    let _ = sender.send((answer, None));
                    return;
                }
                Err(why) => say(&format!("That does not help: {why}. Paste again:")),
            }
        }
    })?;
    Ok(())
}

/// The first of the two ways that brings an answer.
fn wait(receiver: &Receiver<Arrival>) -> Result<Arrival> {
    receiver.recv_timeout(PATIENCE).map_err(|_| {
        let minutes = PATIENCE.as_secs() / 60;
        anyhow!("could not sign in: nobody came back within {minutes} minutes: run codex-auth login again")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ways that are named: paste, forward, device code.
    fn named(place: Place, port: Option<u16>, can_paste: bool) -> [bool; 3] {
        let words = ways_back(place, port, can_paste).join("\n");
        let forward = format!("ssh -L {0}:localhost:{0} ", port.unwrap_or(1455));
        ["paste", &forward, "--device-code"].map(|way| words.contains(way))
    }

    #[test]
    fn only_ways_that_work_are_named() {
        for (place, port, can_paste, expected) in [
            (Place::Desktop, Some(1455), true, [true, false, false]),
            (Place::Desktop, Some(1455), false, [false, false, false]),
            (Place::Wsl, Some(1455), true, [true, false, false]),
            (Place::Ssh, Some(1457), true, [true, true, true]),
            (Place::Ssh, None, true, [true, false, true]),
            (Place::Ssh, Some(1455), false, [false, true, true]),
            (Place::NoDisplay, Some(1455), true, [true, true, true]),
            (Place::Container, Some(1455), true, [true, false, true]),
            (Place::Container, Some(1455), false, [false, false, true]),
        ] {
            assert_eq!(
                named(place, port, can_paste),
                expected,
                "{place:?} {port:?} {can_paste}"
            );
        }
    }
}
