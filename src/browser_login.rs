//! Signing in with the browser: send it to the issuer, and wait until it, or the person, brings the code back.

use std::io::{self, BufRead};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::callback::{self, Browser, Callback, Listening};
use crate::issuer::{Authorization, Issuer};
use crate::redirect::{self, Answer, Expectation};
use crate::terminal::{can_ask, say};
use crate::{opener, page, pkce, settings};

/// How long a person has: a login that was forgotten must not hold the port for ever.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// An answer, and the browser that brought it, if one did.
type Arrival = (Answer, Option<Browser>);

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
    let redirect_uri = format!(
        "http://{}:{port}{}",
        settings::redirect_host()?,
        callback::PATH
    );
    let (verifier, state) = (pkce::verifier()?, pkce::state()?);
    let url = issuer.authorize_url(
        &redirect_uri,
        &pkce::challenge(&verifier),
        &state,
        workspaces,
    );

    let (sender, receiver) = mpsc::channel();
    let expected = Expectation {
        state,
        issuer: issuer.url().to_owned(),
    };
    let callback = serve(listening, &expected, &sender, &ports)?;
    invite(&url, no_browser, callback.as_ref())?;
    if can_ask() {
        take_pasted(expected, sender)?;
    }
    let arrival = wait(&receiver);
    drop(callback);
    match arrival? {
        (Answer::Code(code), browser) => Ok((
            Authorization {
                code,
                redirect_uri,
                verifier,
            },
            browser,
        )),
        (Answer::Refused(words), browser) => {
            if let Some(browser) = browser {
                browser.show(&page::failed(&words));
            }
            bail!("could not sign in: {words}");
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
                "could not wait for the browser: {busy}: end them, or run codex-auth login on a terminal and paste"
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

/// Tells the person where to sign in, and starts their browser there, if it can come back.
fn invite(url: &str, no_browser: bool, callback: Option<&Callback>) -> Result<()> {
    let entrance = callback.filter(|_| !no_browser && opener::has_browser(opener::place()));
    let entrance = entrance
        .map(|callback| callback.entrance_to(url))
        .transpose()?;
    say(if entrance.is_some() {
        "Opening the browser to sign in. If it does not come up, open this address:"
    } else {
        "Open this address in a browser to sign in:"
    });
    say(&format!("\n{url}\n"));
    if can_ask() {
        say("If the browser ends on a page that does not load, paste that page's address here:");
    }
    if let Some(entrance) = entrance {
        opener::open(&entrance);
    }
    Ok(())
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
