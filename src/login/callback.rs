//! The loopback server that receives the redirect (RFC 8252 section 7.3). It serves one login.
//!
//! Any page and any local program can send requests here. Only one that `redirect::classify` lets pass ends the login. All others
//! get an error page, and the login goes on.
//!
//! It is made of std and httparse: `tiny_http` limits neither the size nor the time of a request's head, and 255
//! connections that are reset at once crash it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use subtle::ConstantTimeEq;

use crate::login::redirect::{AuthorizationResponse, Expectation, LINK_PATH, Navigation, classify};
use crate::login::{page, pkce};
use crate::time::{start, within};

/// For each address family. A browser opens a handful; the rest is for other programs.
const CONNECTION_LIMIT: usize = 32;
/// In bytes. A code and a state take a few hundred; the rest is for cookies that other programs left on localhost.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long, and how many bytes, a browser may go on sending after the reply.
const DRAIN_TIME: Duration = Duration::from_secs(2);
const DRAIN_LIMIT: u64 = 1024 * 1024;

/// The ports are bound; a connection waits until `serve`.
pub struct Listening {
    pub port: u16,
    listeners: Vec<TcpListener>,
}

/// The running server. It ends with the process.
pub struct Callback {
    /// An address here that leads to the issuer, once. The command that starts a browser is seen by every user of this machine,
    /// and the issuer's address has the state in it.
    pub one_time_link: String,
    state: Arc<ServerState>,
}

/// What the threads of the server share.
struct ServerState {
    port: u16,
    expected: Expectation,
    responses: Sender<AuthorizationResponse>,
    /// The secret of the link, and where it leads.
    one_time_link: Mutex<Option<(String, String)>>,
    /// What a browser that brought the response gets, once that is known.
    last_page: OnceLock<String>,
    /// Locked for reading while such a browser is served.
    serving: RwLock<()>,
}

/// Takes the first of the ports that is free on 127.0.0.1 and, if this machine has it, on `::1`; 0 is any free one.
/// None if all are busy.
pub fn listen(ports: &[u16]) -> Result<Option<Listening>> {
    for &port in ports {
        // A port that is free in one address family may be busy in the other.
        for _ in 0..if port == 0 { 16 } else { 1 } {
            if let Some(listening) = listen_on(port)? {
                return Ok(Some(listening));
            }
        }
    }
    Ok(None)
}

fn listen_on(port: u16) -> Result<Option<Listening>> {
    let first = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Err(error) if is_busy(&error) => return Ok(None),
        bound => bound.with_context(|| format!("could not listen on port {port} of 127.0.0.1"))?,
    };
    let port = first.local_addr().context("could not listen")?.port();
    // `localhost` may resolve to either, so another program on ::1 would get our redirect.
    let listeners = match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
        Ok(second) => vec![first, second],
        Err(error) if is_busy(&error) => return Ok(None),
        // This machine has no IPv6.
        Err(_) => vec![first],
    };
    Ok(Some(Listening { port, listeners }))
}

/// Windows denies access to a port that another program uses exclusively or that Hyper-V has reserved.
fn is_busy(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == ErrorKind::AddrInUse || cfg!(windows) && kind == ErrorKind::PermissionDenied
}

impl Listening {
    /// Starts to answer requests. Each response that fits `expected` is sent to `responses`, and its browser waits for
    /// `Callback::show`. The one-time link leads to `url`.
    pub fn serve(
        self,
        expected: Expectation,
        responses: Sender<AuthorizationResponse>,
        url: &str,
    ) -> Result<Callback> {
        let (port, secret) = (self.port, pkce::random_secret()?);
        let one_time_link = format!("http://127.0.0.1:{port}{LINK_PATH}{secret}");
        let state = Arc::new(ServerState {
            port,
            expected,
            responses,
            one_time_link: Mutex::new(Some((secret, url.to_owned()))),
            last_page: OnceLock::new(),
            serving: RwLock::default(),
        });
        for listener in self.listeners {
            let state = Arc::clone(&state);
            start(move || accept_connections(&state, &listener))?;
        }
        Ok(Callback {
            one_time_link,
            state,
        })
    }
}

impl Callback {
    /// Sends this page to each browser that brought the response, or will. Returns when those that wait have received it or
    /// closed, after a few seconds at most.
    pub fn show(&self, page: String) {
        // There is only one.
        let _ = self.state.last_page.set(page);
        drop(self.state.serving.write());
    }
}

impl ServerState {
    /// Where the one-time link leads, for who knows its secret.
    fn follow_link(&self, secret: &str) -> Option<String> {
        let mut link = self.one_time_link.lock().ok()?;
        let followed = link.take_if(|(right, _)| right.as_bytes().ct_eq(secret.as_bytes()).into());
        followed.map(|(_, url)| url)
    }

    /// Reports the response, and sends the browser that brought it the last page, once there is one. It may come twice: a person
    /// reloads the page, or a scanner fetches it first.
    fn take_response(&self, response: AuthorizationResponse, browser: &Arc<TcpStream>) {
        let _serving = self.serving.read();
        // Nobody receives it after the first one.
        let _ = self.responses.send(response);
        send(browser, "200 OK", self.last_page.wait());
    }
}

fn accept_connections(state: &Arc<ServerState>, listener: &TcpListener) {
    let mut latest = VecDeque::<Weak<TcpStream>>::new();
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // The next one may fail immediately too.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let (state, stream) = (Arc::clone(state), Arc::new(stream));
        latest.push_back(Arc::downgrade(&stream));
        if latest.len() > CONNECTION_LIMIT
            && let Some(oldest) = latest.pop_front().and_then(|oldest| oldest.upgrade())
        {
            // This wakes the thread that reads, so that the browser gets through however many are silent. One that waits for
            // the last page still receives it.
            let _ = oldest.shutdown(Shutdown::Read);
        }
        // If no thread can be started the connection is closed, and the browser tries again.
        let _ = start(move || handle_connection(&state, &stream));
    }
}

fn handle_connection(state: &ServerState, stream: &Arc<TcpStream>) {
    let Some(head) = receive(stream) else {
        return;
    };
    let (status, page) = match classify(&head, state.port, &state.expected) {
        Ok(Navigation::Redirect(response)) => return state.take_response(response, stream),
        Ok(Navigation::Link(secret)) => match state.follow_link(&secret) {
            Some(url) => (format!("302 Found\r\nLocation: {url}"), String::new()),
            None => ("404 Not Found".to_owned(), page::not_found()),
        },
        Err((status, page)) => (status.to_owned(), page),
    };
    let is_head = head.starts_with(b"HEAD ");
    send(stream, &status, if is_head { "" } else { &page });
}

/// What a browser sent, up to an empty line or the limit. None if the connection was closed before that, or if the browser
/// begins a TLS handshake (RFC 8446 section 5.1) and would wait for our answer.
fn receive(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 2048];
    while head.len() < HEAD_LIMIT && !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = stream.read(&mut chunk).ok().filter(|&count| count > 0)?;
        head.extend_from_slice(&chunk[..count.min(HEAD_LIMIT - head.len())]);
        if head[0] == 0x16 {
            return None;
        }
    }
    Some(head)
}

/// Sends a page, with a status and the header lines that only this reply has, and returns when the browser has received it or
/// closed, after a few seconds at most.
fn send(stream: &Arc<TcpStream>, status: &str, page: &str) {
    let (length, policy) = (page.len(), page::security_policy());
    let reply = format!(
        "HTTP/1.1 {status}\r\n\
         Connection: close\r\n\
         Content-Type: text/html; charset=utf-8\r\n\
         Content-Length: {length}\r\n\
         Cache-Control: no-store\r\n\
         Content-Security-Policy: {policy}\r\n\
         Referrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\n\
         \r\n\
         {page}"
    );
    let stream = Arc::clone(stream);
    // It reads on until the browser closes (RFC 9112 section 9.6): closing with unread bytes resets the connection, and the
    // browser may lose what it has not read yet.
    let _ = within(DRAIN_TIME, move || {
        (&*stream).write_all(reply.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        io::copy(&mut (&*stream).take(DRAIN_LIMIT), &mut io::sink())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    use crate::login::redirect::testing::{STATE, expectation};

    #[test]
    fn a_page_arrives_whole_though_the_browser_sent_more_than_was_read() {
        let (sender, events) = mpsc::channel();
        let listening = listen(&[0]).unwrap().unwrap();
        let mut browser = TcpStream::connect((Ipv4Addr::LOCALHOST, listening.port)).unwrap();
        let callback = listening.serve(expectation(), sender, "").unwrap();
        let target = format!("/auth/callback?code=c&state={STATE}");
        let mut request = format!("GET {target} HTTP/1.1\r\n\r\n").into_bytes();
        request.resize(request.len() + 100_000, b'x');
        browser.write_all(&request).unwrap();
        events.recv_timeout(Duration::from_mins(1)).unwrap();
        // More than the system keeps, read late: a connection that was reset by then has lost the end of the page.
        let page = "p".repeat(200_000);
        callback.show(page.clone());
        let mut answer = String::new();
        browser.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(&page));
    }
}
