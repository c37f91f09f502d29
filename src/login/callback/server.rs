//! The sockets of the callback server: ports, connections, and the browsers that wait for the last page.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use subtle::ConstantTimeEq;

use super::http::{Reply, receive};
use super::navigation::{LINK_PATH, Navigation, classify};
use crate::login::pkce;
use crate::login::redirect::{AuthorizationResponse, Expectation};
use crate::time::start;

/// A browser opens a handful; the rest is for other programs.
const CONNECTION_LIMIT: usize = 64;
/// How long to wait after a failed accept: the next one may fail immediately too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The ports are bound; a connection waits until `serve`.
pub struct Listening {
    pub port: u16,
    listeners: Vec<TcpListener>,
}

/// The running server. It ends with the process.
pub struct Callback(Arc<ServerState>);

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
    /// Those that have not brought a response, oldest first.
    connections: Mutex<Vec<Weak<TcpStream>>>,
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
    kind == io::ErrorKind::AddrInUse || cfg!(windows) && kind == io::ErrorKind::PermissionDenied
}

impl Listening {
    /// Starts to answer requests. Each response that fits `expected` is sent to `responses`, and its browser waits for
    /// `Callback::show`.
    pub fn serve(
        self,
        expected: Expectation,
        responses: Sender<AuthorizationResponse>,
    ) -> Result<Callback> {
        let state = Arc::new(ServerState {
            port: self.port,
            expected,
            responses,
            one_time_link: Mutex::default(),
            last_page: OnceLock::new(),
            serving: RwLock::default(),
            connections: Mutex::default(),
        });
        for listener in self.listeners {
            let state = Arc::clone(&state);
            start(move || accept_connections(&state, &listener))?;
        }
        Ok(Callback(state))
    }
}

impl Callback {
    /// An address here that leads to this URL, once. The command that starts a browser is seen by every user of this
    /// machine, and the URL has the state in it.
    pub fn one_time_link(&self, url: &str) -> Result<String> {
        let secret = pkce::random_secret()?;
        let link = format!("http://127.0.0.1:{}{LINK_PATH}{secret}", self.0.port);
        *lock(&self.0.one_time_link) = Some((secret, url.to_owned()));
        Ok(link)
    }

    /// Sends this page to each browser that brought the response, or will. Returns when those that wait have received it or
    /// closed, after a few seconds at most.
    pub fn show(&self, page: String) {
        // There is only one.
        let _ = self.0.last_page.set(page);
        drop(self.0.serving.write());
    }
}

impl ServerState {
    /// Redirects a request with the right secret to the issuer. Any other is not found.
    fn follow_link(&self, secret: &str) -> Reply {
        let mut link = lock(&self.one_time_link);
        match link.take_if(|(right, _)| right.as_bytes().ct_eq(secret.as_bytes()).into()) {
            Some((_, url)) => Reply::redirect(&url),
            None => Reply::not_found(),
        }
    }

    /// Reports the response, and sends the browser that brought it the last page, once there is one. It may come twice: a person
    /// reloads the page, or a scanner fetches it first.
    fn take_response(&self, response: AuthorizationResponse, browser: &Arc<TcpStream>) {
        // From here on `add` does not close it, and `show` waits for it.
        lock(&self.connections).retain(|other| other.as_ptr() != Arc::as_ptr(browser));
        let _serving = self.serving.read();
        // Nobody receives it after the first one.
        let _ = self.responses.send(response);
        Reply::page(self.last_page.wait()).send(browser, false);
    }

    /// Adds a connection. If there are too many it closes the oldest one, so that the browser gets through however many are
    /// silent.
    fn add(&self, stream: &Arc<TcpStream>) {
        let mut connections = lock(&self.connections);
        connections.retain(|connection| connection.strong_count() > 0);
        if connections.len() >= CONNECTION_LIMIT
            && let Some(oldest) = connections.remove(0).upgrade()
        {
            // This wakes the thread that reads from it. It may be closed already.
            let _ = oldest.shutdown(Shutdown::Both);
        }
        connections.push(Arc::downgrade(stream));
    }
}

/// A thread that panicked leaves nothing half-done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept_connections(state: &Arc<ServerState>, listener: &TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        let (state, stream) = (Arc::clone(state), Arc::new(stream));
        state.add(&stream);
        // If no thread can be started the connection is closed, and the browser tries again.
        let _ = start(move || handle_connection(&state, &stream));
    }
}

fn handle_connection(state: &ServerState, stream: &Arc<TcpStream>) {
    let Some(head) = receive(stream) else {
        return;
    };
    let reply = match classify(&head, state.port, &state.expected) {
        Ok(Navigation::Redirect(response)) => return state.take_response(response, stream),
        Ok(Navigation::Link(secret)) => state.follow_link(&secret),
        Err(reply) => reply,
    };
    reply.send(stream, head.starts_with(b"HEAD "));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::sync::mpsc;

    use crate::login::redirect::testing::{STATE, expectation};

    #[test]
    fn a_page_arrives_whole_though_the_browser_sent_more_than_was_read() {
        let (sender, events) = mpsc::channel();
        let listening = listen(&[0]).unwrap().unwrap();
        let mut browser = TcpStream::connect((Ipv4Addr::LOCALHOST, listening.port)).unwrap();
        let callback = listening.serve(expectation(), sender).unwrap();
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
