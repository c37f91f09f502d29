//! The loopback server that receives the redirect (RFC 8252 section 7.3). It serves one login.
//!
//! Any page and any local program can send requests here. Only one that `redirect::classify` accepts ends the login. All
//! others get an error page, and the login continues.
//!
//! It is built on std and httparse: `tiny_http` does not limit the size of a request head, and crashes if 255
//! connections are reset at once.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use subtle::ConstantTimeEq;

use crate::login::redirect::{AuthorizationResponse, Expectation, LINK_PATH, Navigation, classify};
use crate::login::{page, pkce};
use crate::time::{start, within};

/// Per address family. A browser opens a handful; the rest is for other programs.
const CONNECTION_LIMIT: usize = 32;
/// In bytes. A code and a state take a few hundred; the rest is for cookies that other programs have set on localhost.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long, and how many bytes, a browser may continue to send after the reply.
const DRAIN_TIME: Duration = Duration::from_secs(2);
const DRAIN_LIMIT: u64 = 1024 * 1024;

/// The command that shows which programs listen on ports.
const LISTENERS: &str = if cfg!(target_os = "macos") {
    "lsof -nP -iTCP -sTCP:LISTEN"
} else if cfg!(windows) {
    "netstat -ano"
} else {
    "ss -ltnp"
};

/// The ports are bound; connections wait until `serve`.
pub struct Listening {
    pub port: u16,
    listeners: Vec<TcpListener>,
}

/// The running server, which ends with the process.
pub struct Callback {
    /// A local URL that leads to the issuer, once. All users of this machine can see the command that starts a browser,
    /// and the issuer's URL contains the state.
    pub one_time_link: String,
    state: Arc<ServerState>,
}

/// The state shared by the server's threads.
struct ServerState {
    port: u16,
    expected: Expectation,
    responses: Sender<AuthorizationResponse>,
    /// The secret of the link, and its target.
    one_time_link: Mutex<Option<(String, String)>>,
    /// The page for a browser that brought the response, once known.
    last_page: OnceLock<String>,
    /// Locked for reading while such a browser is served.
    serving: RwLock<()>,
}

/// Binds the first of these ports that is free on 127.0.0.1 and, if this machine has IPv6, on `::1`; 0 means any free
/// port. `sign_in` is the command that needs one.
pub fn listen(ports: &[u16], sign_in: &str) -> Result<Listening> {
    // A port that is free in one address family may be busy in the other.
    let attempts = |&port: &u16| iter::repeat_n(port, if port == 0 { 16 } else { 1 });
    for port in ports.iter().flat_map(attempts) {
        let first = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if is_busy(&error) => continue,
            bound => bound.with_context(|| format!("could not listen on 127.0.0.1:{port}"))?,
        };
        let port = first.local_addr().context("could not listen")?.port();
        // `localhost` may resolve to either, so another program on ::1 would get our redirect.
        let listeners = match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
            Ok(second) => vec![first, second],
            Err(error) if is_busy(&error) => continue,
            // This machine has no IPv6.
            Err(_) => vec![first],
        };
        return Ok(Listening { port, listeners });
    }
    let are = if ports.len() > 1 { "are" } else { "is" };
    let ports: Vec<String> = ports.iter().map(|port| format!("port {port}")).collect();
    let ports = ports.join(" and ");
    bail!(
        "{ports} {are} in use by another program: stop it (find it with {LISTENERS}), or use {sign_in} --device-code"
    )
}

/// Windows denies access to a port that another program uses exclusively or that Hyper-V has reserved.
fn is_busy(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == ErrorKind::AddrInUse || cfg!(windows) && kind == ErrorKind::PermissionDenied
}

impl Listening {
    /// Starts to answer requests. Each response that matches `expected` is sent to `responses`, and its browser waits for
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
    /// Sends this page to each browser that brought the response, now or later. Returns when the waiting ones have
    /// received it or closed the connection, after a few seconds at most.
    pub fn show(&self, page: String) {
        // It is only set once.
        let _ = self.state.last_page.set(page);
        drop(self.state.serving.write());
    }
}

impl ServerState {
    /// The target of the one-time link, for a request with its secret.
    fn follow_link(&self, secret: &str) -> Option<String> {
        let mut link = self.one_time_link.lock().ok()?;
        let followed = link.take_if(|(right, _)| right.as_bytes().ct_eq(secret.as_bytes()).into());
        followed.map(|(_, url)| url)
    }

    /// Reports the response, and sends the browser that brought it the final page, once there is one. It may arrive
    /// twice: the user reloads the page, or a scanner fetches it first.
    fn take_response(&self, response: AuthorizationResponse, browser: &Arc<TcpStream>) {
        let _serving = self.serving.read();
        // Only the first one is received.
        let _ = self.responses.send(response);
        send(browser, "200 OK", self.last_page.wait());
    }
}

fn accept_connections(state: &Arc<ServerState>, listener: &TcpListener) {
    let mut latest = VecDeque::<Weak<TcpStream>>::new();
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // The next one may fail immediately, too.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let (state, stream) = (Arc::clone(state), Arc::new(stream));
        latest.push_back(Arc::downgrade(&stream));
        if latest.len() > CONNECTION_LIMIT
            && let Some(oldest) = latest.pop_front().and_then(|oldest| oldest.upgrade())
        {
            // This ends the thread's read, so that the browser gets through no matter how many connections are silent. A
            // browser waiting for the final page still receives it.
            let _ = oldest.shutdown(Shutdown::Read);
        }
        // If no thread can be started, the connection is closed, and the browser tries again.
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

/// Receives a request, up to an empty line or the limit. `None` if the connection is closed before that, or if the
/// browser starts a TLS handshake (RFC 8446 section 5.1) and would wait for our reply.
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

/// Sends a page, with a status and the header lines specific to this reply. Returns when the browser has received it or
/// closed the connection, after a few seconds at most.
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
    // Reads until the browser closes the connection (RFC 9112 section 9.6): closing it with unread bytes would reset it,
    // and the browser could lose the rest of the page.
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
    fn ports_in_use_are_named() {
        let holders = [0; 2].map(|any| TcpListener::bind((Ipv4Addr::LOCALHOST, any)).unwrap());
        let [one, other] = holders.each_ref().map(|it| it.local_addr().unwrap().port());
        for (ports, named) in [
            (&[one][..], format!("port {one} is in use by ")),
            (
                &[one, other],
                format!("port {one} and port {other} are in use by "),
            ),
        ] {
            let error = listen(ports, "").err().unwrap().to_string();
            assert!(error.starts_with(&named), "{error}");
        }
    }

    #[test]
    fn a_page_arrives_completely_if_the_browser_sent_more_than_was_read() {
        let (sender, events) = mpsc::channel();
        let listening = listen(&[0], "").unwrap();
        let mut browser = TcpStream::connect((Ipv4Addr::LOCALHOST, listening.port)).unwrap();
        let callback = listening.serve(expectation(), sender, "").unwrap();
        let target = format!("/auth/callback?code=c&state={STATE}");
        let mut request = format!("GET {target} HTTP/1.1\r\n\r\n").into_bytes();
        request.resize(request.len() + 100_000, b'x');
        browser.write_all(&request).unwrap();
        events.recv_timeout(Duration::from_mins(1)).unwrap();
        // More than the system buffers, read late: a connection that was reset by then has lost the end of the page.
        let page = "p".repeat(200_000);
        callback.show(page.clone());
        let mut answer = String::new();
        browser.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(&page));
    }
}
