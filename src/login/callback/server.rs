//! The sockets of the callback server: who may connect, how many, and for how long.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use subtle::ConstantTimeEq;

use super::navigation::{LINK_PATH, Navigation, classify};
use super::reply::Reply;
use super::request::{Received, receive};
use crate::login::pkce;
use crate::login::redirect::{AuthorizationResponse, Expectation};

/// A browser opens a handful of connections; the rest is for those of other programs.
const CONNECTION_LIMIT: usize = 64;
/// How long to wait after a failed accept: the next one may fail as fast.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What a login waits for.
pub enum Event {
    /// The issuer's response, with the browser that brought it; without one it was pasted.
    Response(AuthorizationResponse, Option<WaitingBrowser>),
    /// A browser tried https on the port of the callback.
    HttpsAttempt,
}

/// The connection that brought the response. Dropped without a page, the browser shows an error of its own.
pub struct WaitingBrowser(Arc<TcpStream>);

/// The ports are bound; a connection waits until `serve`.
pub struct Listening {
    port: u16,
    listeners: Vec<TcpListener>,
}

/// The running server. Dropping it closes the ports; the browser that waits for its page is not affected.
pub struct Callback {
    state: Arc<ServerState>,
    acceptors: Vec<(SocketAddr, JoinHandle<()>)>,
}

/// What the threads of one server share.
struct ServerState {
    port: u16,
    expected: Expectation,
    one_time_link: Mutex<Option<OneTimeLink>>,
    /// Who waits for the response. The first response takes it, and so does the end.
    events: Mutex<Option<Sender<Event>>>,
    /// Oldest first.
    connections: Mutex<Vec<Arc<TcpStream>>>,
    closed: AtomicBool,
}

struct OneTimeLink {
    secret: String,
    url: String,
}

/// Takes the first of the ports that is free on 127.0.0.1 and, if this machine has it, on `::1`; 0 is any free one.
/// None if all are busy.
pub fn listen(ports: &[u16]) -> Result<Option<Listening>> {
    for &port in ports {
        // What the system finds free in one family may be taken in the other.
        let attempts = if port == 0 { 16 } else { 1 };
        for _ in 0..attempts {
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
    // `localhost` may lead to either family, so somebody else on ::1 would get our redirect.
    let listeners = match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
        Ok(second) => vec![first, second],
        Err(error) if is_busy(&error) => return Ok(None),
        // This machine has no IPv6.
        Err(_) => vec![first],
    };
    Ok(Some(Listening { port, listeners }))
}

/// Windows says "access denied" for a port that another program holds for itself, or that Hyper-V has set aside.
fn is_busy(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::AddrInUse || cfg!(windows) && kind == io::ErrorKind::PermissionDenied
}

impl Listening {
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts to answer requests. The first response that fits `expected` is sent to `events`, once at most; its browser
    /// waits for `WaitingBrowser::show`.
    pub fn serve(self, expected: Expectation, events: Sender<Event>) -> Result<Callback> {
        let state = Arc::new(ServerState {
            port: self.port,
            expected,
            one_time_link: Mutex::default(),
            events: Mutex::new(Some(events)),
            connections: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let mut callback = Callback {
            state,
            acceptors: Vec::new(),
        };
        for listener in self.listeners {
            let address = listener.local_addr().context("could not listen")?;
            let state = Arc::clone(&callback.state);
            let acceptor = thread::Builder::new()
                .spawn(move || accept_connections(&state, &listener))
                .context("could not start a thread")?;
            callback.acceptors.push((address, acceptor));
        }
        Ok(callback)
    }
}

impl Callback {
    pub fn port(&self) -> u16 {
        self.state.port
    }

    /// An address here that leads to this URL, once. The command that starts a browser is seen by every user of this
    /// machine, and the URL has the state in it.
    pub fn one_time_link(&self, url: &str) -> Result<String> {
        let secret = pkce::random_secret()?;
        let link = format!("http://127.0.0.1:{}{LINK_PATH}{secret}", self.state.port);
        let url = url.to_owned();
        *lock(&self.state.one_time_link) = Some(OneTimeLink { secret, url });
        Ok(link)
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        self.state.close();
        for (address, acceptor) in self.acceptors.drain(..) {
            // An accept can only be woken by a connection. Should none be had, the thread ends with the process.
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                // Only a panic makes this an error, and the port is closed then, too.
                let _ = acceptor.join();
            }
        }
    }
}

impl WaitingBrowser {
    /// Answers the browser, and returns when it has taken the page or gone, a few seconds later at most.
    pub fn show(self, page: &str) {
        Reply::page(page).send(&self.0, false);
    }
}

impl ServerState {
    /// Nobody waits for a response any more, so that a request under way cannot complete a login that is over.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        lock(&self.events).take();
        for connection in lock(&self.connections).drain(..) {
            hang_up(&connection);
        }
    }

    /// The first response to this login, with who waits for it; the error is the reply to all else.
    fn accept_response(
        &self,
        head: &[u8],
    ) -> Result<(AuthorizationResponse, Sender<Event>), Reply> {
        let response = match classify(head, self.port, &self.expected)? {
            Navigation::Redirect(response) => response,
            Navigation::Link(secret) => return Err(self.follow_link(&secret)),
        };
        match lock(&self.events).take() {
            Some(events) => Ok((response, events)),
            None => Err(Reply::error("400 Bad Request", "it has been used already")),
        }
    }

    /// Redirects a request with the right secret to the issuer. Any other finds nothing.
    fn follow_link(&self, secret: &str) -> Reply {
        let is_right =
            |link: &mut OneTimeLink| link.secret.as_bytes().ct_eq(secret.as_bytes()).into();
        match lock(&self.one_time_link).take_if(is_right) {
            Some(link) => Reply::redirect(link.url),
            None => Reply::not_found(),
        }
    }

    /// Reports a browser that tried https, unless the login is over.
    fn note_https(&self) {
        if let Some(events) = &*lock(&self.events) {
            let _ = events.send(Event::HttpsAttempt);
        }
    }

    fn add(&self, stream: &Arc<TcpStream>) {
        let mut connections = lock(&self.connections);
        if connections.len() >= CONNECTION_LIMIT {
            hang_up_oldest(&mut connections);
        }
        connections.push(Arc::clone(stream));
    }

    fn remove(&self, stream: &Arc<TcpStream>) {
        lock(&self.connections).retain(|connection| !Arc::ptr_eq(connection, stream));
    }
}

fn hang_up_oldest(connections: &mut Vec<Arc<TcpStream>>) {
    if !connections.is_empty() {
        hang_up(&connections.remove(0));
    }
}

/// Wakes the thread that reads from the stream. A stream that is gone already is what this is for.
fn hang_up(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}

/// A thread that panicked leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept_connections(state: &Arc<ServerState>, listener: &TcpListener) {
    loop {
        let accepted = listener.accept();
        if state.closed.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((stream, _)) => start_connection(state, &Arc::new(stream)),
            Err(error) => {
                if is_exhausted(&error) {
                    hang_up_oldest(&mut lock(&state.connections));
                }
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

/// Whether the system had no file descriptor, or no memory, for a connection: hanging up one of ours frees some. With
/// any other error only the new connection has failed.
#[cfg(unix)]
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
    )
}

/// The same: WSAEMFILE and WSAENOBUFS.
#[cfg(not(unix))]
fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(10024 | 10055))
}

/// Without a thread for it the connection is closed; the browser tries again.
fn start_connection(state: &Arc<ServerState>, stream: &Arc<TcpStream>) {
    state.add(stream);
    let (shared, connection) = (Arc::clone(state), Arc::clone(stream));
    let thread = thread::Builder::new().spawn(move || {
        handle_connection(&shared, &connection);
        shared.remove(&connection);
    });
    if thread.is_err() {
        state.remove(stream);
    }
}

fn handle_connection(state: &ServerState, stream: &Arc<TcpStream>) {
    let head = match receive(stream) {
        Received::Head(head) => head,
        Received::Tls => return state.note_https(),
        Received::Nothing => return,
    };
    match state.accept_response(&head) {
        Ok((response, events)) => {
            // From here on it is not hung up on: the login shows it the last page.
            state.remove(stream);
            let browser = WaitingBrowser(Arc::clone(stream));
            // Nobody listens after the first response.
            let _ = events.send(Event::Response(response, Some(browser)));
        }
        Err(reply) => reply.send(stream, head.starts_with(b"HEAD ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::io::{Read, Write};
    use std::sync::mpsc::{self, Receiver};

    use crate::login::callback::PATH;
    use crate::login::callback::request::HEAD_LIMIT;
    use crate::login::page;
    use crate::login::redirect::testing::{STATE, expectation, told};

    /// Far more than any of this takes: it only keeps a broken server from holding up the tests for ever.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn serve() -> (Callback, Receiver<Event>) {
        let (sender, events) = mpsc::channel();
        let listening = listen(&[0]).unwrap().unwrap();
        (listening.serve(expectation(), sender).unwrap(), events)
    }

    #[cfg(unix)]
    #[test]
    fn only_an_exhausted_system_costs_somebody_the_connection() {
        use rustix::io::Errno;
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert!(is_exhausted(&errno.into()), "{errno:?}");
        }
        for errno in [Errno::CONNABORTED, Errno::INTR, Errno::PERM, Errno::NETDOWN] {
            assert!(!is_exhausted(&errno.into()), "{errno:?}");
        }
        assert!(!is_exhausted(&io::Error::other("none of the system's")));
    }

    fn connect(port: u16) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn send(port: u16, request: &[u8]) -> TcpStream {
        let mut stream = connect(port);
        stream.write_all(request).unwrap();
        stream
    }

    fn rest(mut stream: TcpStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(port: u16, target: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\r\n")
            .into_bytes()
    }

    fn right(port: u16) -> Vec<u8> {
        get(port, &format!("{PATH}?code=the-code&state={STATE}"))
    }

    /// Sends the request and gives the status of its answer.
    fn status(port: u16, request: &[u8]) -> String {
        let answer = rest(send(port, request));
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// Waits for the end of the connection, which may be a reset.
    fn is_closed(stream: &mut TcpStream) -> bool {
        match stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// The response that came in, and the browser that brought it.
    fn response(events: &Receiver<Event>) -> (AuthorizationResponse, WaitingBrowser) {
        match events.recv_timeout(PATIENCE).unwrap() {
            Event::Response(response, Some(browser)) => (response, browser),
            _ => panic!("no response of a browser"),
        }
    }

    /// Sees the login through: the code comes in, and its browser gets the page.
    fn completes(port: u16, events: &Receiver<Event>) {
        let waiting = send(port, &right(port));
        let (answer, browser) = response(events);
        assert_eq!(told(Ok(answer)), "code the-code");
        assert!(shown(browser, waiting, "done").ends_with("\r\n\r\ndone"));
    }

    /// Shows the page, and gives what the browser got. The two run at once, because each waits for the other.
    fn shown(browser: WaitingBrowser, waiting: TcpStream, page: &str) -> String {
        thread::scope(|scope| {
            let reader = scope.spawn(|| rest(waiting));
            browser.show(page);
            reader.join().unwrap()
        })
    }

    #[test]
    fn the_code_arrives_and_its_browser_waits_for_the_page() {
        let (callback, events) = serve();
        completes(callback.state.port, &events);
    }

    #[test]
    fn an_error_of_the_issuer_ends_the_login_with_its_message() {
        let (callback, events) = serve();
        let target = format!(
            "{PATH}?error=access_denied&error_description=Not+for%1b%5b31m+you&state={STATE}"
        );
        let waiting = send(callback.state.port, &get(callback.state.port, &target));
        let (answer, browser) = response(&events);
        assert_eq!(told(Ok(answer)), "error Not for [31m you (access_denied)");
        assert!(shown(browser, waiting, "no").ends_with("no"));
    }

    #[test]
    fn a_page_arrives_whole_though_the_browser_sent_more_than_was_read() {
        let (callback, events) = serve();
        let mut request = right(callback.state.port);
        request.resize(request.len() + 100_000, b'x');
        let waiting = send(callback.state.port, &request);
        let (_, browser) = response(&events);
        // The browser reads late: a connection that was reset by then has lost the end of the page.
        browser.show(&"p".repeat(200_000));
        let answer = rest(waiting);
        assert!(answer.contains("\r\nContent-Length: 200000\r\n"));
        assert!(answer.ends_with(&"p".repeat(200_000)));
    }

    #[test]
    fn every_answer_forbids_what_its_page_does_not_need() {
        let (callback, events) = serve();
        let port = callback.state.port;
        let waiting = send(port, &right(port));
        let (_, browser) = response(&events);
        for answer in [
            shown(browser, waiting, "done"),
            rest(send(port, &get(port, "/"))),
            rest(send(port, b"\0\r\n\r\n")),
        ] {
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            for line in [
                "Connection: close",
                "Content-Type: text/html; charset=utf-8",
                &format!("Content-Length: {}", body.len()),
                "Cache-Control: no-store",
                &format!("Content-Security-Policy: {}", page::security_policy()),
                "Cross-Origin-Opener-Policy: same-origin",
                "Cross-Origin-Resource-Policy: same-origin",
                "Referrer-Policy: no-referrer",
                "X-Content-Type-Options: nosniff",
            ] {
                assert!(head.lines().any(|sent| sent == line), "{line} in {head}");
            }
        }
    }

    #[test]
    fn what_is_not_the_redirect_is_answered_and_the_login_goes_on() {
        let (callback, events) = serve();
        let port = callback.state.port;
        let target = format!("{PATH}?code=the-code&state={STATE}");
        let with =
            |headers: &str| format!("GET {target} HTTP/1.1\r\n{headers}\r\n\r\n").into_bytes();
        let ours = format!("Host: localhost:{port}");
        for (wanted, request) in [
            ("404", get(port, "/favicon.ico")),
            ("404", get(port, "/cancel")),
            (
                "404",
                get(
                    port,
                    &format!("/auth%2fcallback?code=the-code&state={STATE}"),
                ),
            ),
            (
                "404",
                get(
                    port,
                    &format!("/auth/callback/?code=the-code&state={STATE}"),
                ),
            ),
            (
                "404",
                get(port, &format!("http://localhost:{port}{target}")),
            ),
            (
                "405",
                format!("HEAD {target} HTTP/1.1\r\n{ours}\r\n\r\n").into_bytes(),
            ),
            (
                "405",
                format!("POST {target} HTTP/1.1\r\n{ours}\r\nContent-Length: 0\r\n\r\n")
                    .into_bytes(),
            ),
            (
                "405",
                format!("OPTIONS {target} HTTP/1.1\r\n{ours}\r\n\r\n").into_bytes(),
            ),
            ("403", with("Accept: */*")),
            ("403", with(&format!("Host: rebound.example:{port}"))),
            (
                "403",
                with(&format!("Host: localhost.rebound.example:{port}")),
            ),
            ("403", with("Host: localhost")),
            ("403", with("Host: localhost:1")),
            (
                "403",
                with(&format!("{ours}\r\nHost: rebound.example:{port}")),
            ),
            ("403", with(&format!("{ours}\r\n{ours}"))),
            (
                "403",
                with(&format!("{ours}\r\nOrigin: https://evil.example")),
            ),
            (
                "403",
                with(&format!(
                    "{ours}\r\nOrigin: https://issuer.example.evil.example"
                )),
            ),
            (
                "403",
                with(&format!(
                    "{ours}\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image"
                )),
            ),
            (
                "403",
                with(&format!(
                    "{ours}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe"
                )),
            ),
            (
                "403",
                with(&format!(
                    "{ours}\r\nSec-Fetch-Mode: navigate\r\nsec-fetch-mode: cors"
                )),
            ),
            ("400", get(port, PATH)),
            (
                "400",
                get(port, &format!("{PATH}?code=the-code&state=wrong")),
            ),
            (
                "400",
                get(port, &format!("{PATH}?error=access_denied&state=wrong")),
            ),
            (
                "400",
                format!("GET {PATH}?state={STATE}&code=a\0b HTTP/1.1\r\n{ours}\r\n\r\n")
                    .into_bytes(),
            ),
            ("431", b"\r\n\r\n".to_vec()),
        ] {
            assert_eq!(
                status(port, &request),
                wanted,
                "{}",
                String::from_utf8_lossy(&request)
            );
        }
        completes(port, &events);
    }

    #[test]
    fn https_is_reported_and_closed_at_once() {
        let (callback, events) = serve();
        let port = callback.state.port;
        // The first bytes of a ClientHello (RFC 8446 section 4.1.2), and no more: it is not waited for the rest.
        let mut hello = send(port, b"\x16\x03\x01\x02\x00\x01");
        assert!(is_closed(&mut hello));
        let event = events.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(event, Event::HttpsAttempt));
        completes(port, &events);
    }

    #[test]
    fn head_gets_no_body() {
        let (callback, _events) = serve();
        let head = format!(
            "HEAD {PATH} HTTP/1.1\r\nHost: localhost:{}\r\n\r\n",
            callback.state.port
        );
        let answer = rest(send(callback.state.port, head.as_bytes()));
        assert!(
            answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n"),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[test]
    fn the_one_time_link_leads_to_the_issuer_once() {
        let (callback, events) = serve();
        let port = callback.state.port;
        let address = callback
            .one_time_link("https://issuer.example/authorize?state=s")
            .unwrap();
        let target = address
            .strip_prefix(&format!("http://127.0.0.1:{port}"))
            .unwrap();
        for wrong in [
            LINK_PATH.to_owned(),
            format!("{target}x"),
            target.to_ascii_uppercase(),
        ] {
            assert_eq!(status(port, &get(port, &wrong)), "404");
        }
        let led = rest(send(port, &get(port, target)));
        assert!(led.starts_with("HTTP/1.1 302 Found\r\n"), "{led}");
        assert!(
            led.contains("\r\nLocation: https://issuer.example/authorize?state=s\r\n"),
            "{led}"
        );
        assert_eq!(status(port, &get(port, target)), "404");
        completes(port, &events);
    }

    #[test]
    fn a_thousand_wrong_states_do_not_end_the_login() {
        let (callback, events) = serve();
        let port = callback.state.port;
        for number in 0..1000 {
            let target = format!("{PATH}?code=c&state=wrong-{number}");
            assert_eq!(status(port, &get(port, &target)), "400");
        }
        completes(port, &events);
    }

    /// Opens many connections that send this and no more. None is left in the backlog of the system.
    fn crowd(port: u16, request: &[u8]) -> Vec<TcpStream> {
        let mut crowd = Vec::new();
        for _ in 0..5 {
            crowd.extend((0..40).map(|_| send(port, request)));
            // Connections are taken in turn: once this one has its answer, those before it were taken.
            assert_eq!(status(port, &get(port, "/")), "404");
        }
        crowd
    }

    #[test]
    fn hundreds_of_silent_and_half_open_connections_do_not_hold_up_the_code() {
        let (callback, events) = serve();
        let port = callback.state.port;
        let silent = crowd(port, b"");
        let halves = crowd(port, b"GET /auth/callback?code=");
        completes(port, &events);
        assert!(lock(&callback.state.connections).len() <= CONNECTION_LIMIT);
        // They were the oldest.
        for mut dropped in silent {
            assert!(is_closed(&mut dropped));
        }
        drop(halves);
    }

    #[test]
    fn hundreds_of_connections_that_have_an_answer_and_stay_do_not_hold_up_the_code() {
        let (callback, events) = serve();
        let answered = crowd(callback.state.port, &get(callback.state.port, "/"));
        completes(callback.state.port, &events);
        drop(answered);
    }

    #[test]
    fn a_head_may_come_in_pieces() {
        let (callback, events) = serve();
        let mut waiting = connect(callback.state.port);
        waiting.set_nodelay(true).unwrap();
        for byte in right(callback.state.port) {
            waiting.write_all(&[byte]).unwrap();
        }
        let (answer, _) = response(&events);
        assert_eq!(told(Ok(answer)), "code the-code");
    }

    #[test]
    fn a_huge_head_is_refused_before_it_ends() {
        let (callback, events) = serve();
        let port = callback.state.port;
        let long = "a".repeat(HEAD_LIMIT);
        let mut many = String::new();
        for number in 0..200 {
            write!(many, "x-{number}: y\r\n").unwrap();
        }
        for request in [
            format!("GET {PATH}?{long}"),
            format!("GET {PATH} HTTP/1.1\r\nCookie: {long}"),
            format!("GET {PATH} HTTP/1.1\r\n{many}\r\n"),
        ] {
            assert_eq!(status(port, request.as_bytes()), "431");
        }
        completes(port, &events);
    }

    #[test]
    fn only_the_first_answer_counts() {
        let (callback, events) = serve();
        let port = callback.state.port;
        let waiting = send(port, &right(port));
        let (_, browser) = response(&events);
        assert_eq!(status(port, &right(port)), "400");
        assert!(shown(browser, waiting, "done").ends_with("done"));
        assert!(events.try_recv().is_err());
    }

    #[test]
    fn after_the_end_nobody_listens_and_idle_connections_are_closed() {
        let (callback, _events) = serve();
        let port = callback.state.port;
        let mut idle = connect(port);
        // Once this is answered, the connection before it is known to the server.
        assert_eq!(status(port, &get(port, "/")), "404");
        drop(callback);
        assert!(is_closed(&mut idle));
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_err());
    }

    #[test]
    fn the_page_is_shown_even_after_the_ports_are_closed() {
        let (callback, events) = serve();
        let waiting = send(callback.state.port, &right(callback.state.port));
        let (_, browser) = response(&events);
        drop(callback);
        assert!(shown(browser, waiting, "done").ends_with("done"));
    }

    /// Says what is not tried here, even where the output of passing tests is not shown.
    fn skip(why: &str) {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        writeln!(std::io::stderr(), "skipped: {test}: {why}").unwrap();
    }

    #[test]
    fn a_port_that_is_busy_in_either_family_is_left_alone() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let busy = other.local_addr().unwrap().port();
        assert!(listen(&[busy]).unwrap().is_none());
        let next = listen(&[busy, 0]).unwrap().unwrap();
        assert_ne!(next.port(), busy);
        let Ok(other) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
            skip("the half about IPv6, which this machine does not have");
            return;
        };
        assert!(
            listen(&[other.local_addr().unwrap().port()])
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn the_redirect_arrives_in_both_families() {
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            skip("this machine has no IPv6");
            return;
        }
        let (callback, events) = serve();
        let mut waiting = TcpStream::connect((Ipv6Addr::LOCALHOST, callback.state.port)).unwrap();
        waiting.write_all(&right(callback.state.port)).unwrap();
        response(&events);
    }
}
