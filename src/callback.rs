//! The loopback server that the browser comes back to. It lives for one login, and it alone judges what comes back,
//! by redirect or by paste.
//!
//! Any page and any local program can send requests here. So the walk of a request is `attend` → `read_head` →
//! `examine` (did a browser navigate here?) → `judge` (is it the answer to this login?), and only the first answer
//! that passes all of them ends the login.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use httparse::{EMPTY_HEADER, Request, Status};
use subtle::ConstantTimeEq;

use crate::{error, page};

/// The path of the redirect URI, as it is registered.
pub const PATH: &str = "/auth/callback";

/// Bytes of a request's head, and of a pasted text. A code and a state are a few hundred; the rest is for cookies
/// that other programs left on localhost.
const HEAD_LIMIT: usize = 16 * 1024;
/// A browser sends its head at once. It may also open a connection ahead of need, and never use it.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A browser opens a handful of connections; the rest is room for those that mean no good.
const CONNECTION_LIMIT: usize = 64;
/// How long, and for how many bytes, a peer that has its answer may go on sending. See `part`.
const PARTING_TIME: Duration = Duration::from_secs(2);
const PARTING_LIMIT: usize = 1024 * 1024;
/// After a failed accept (no file descriptor left, say) the next one would fail as fast: this is the pause.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What an answer must fit to count for this login.
#[derive(Clone)]
pub struct Expectation {
    pub state: String,
    /// As in the settings: without a slash at the end.
    pub issuer: String,
}

/// What the issuer answered to this login.
pub enum Answer {
    /// The authorization code. It is a secret until it is exchanged.
    Code(String),
    /// No code: the issuer's own words why not, fit for one line of a terminal.
    Refused(String),
}

/// The ports are taken; whoever connects waits until `serve`.
pub struct Listening {
    port: u16,
    listeners: Vec<TcpListener>,
}

/// The server at work. Dropping it closes the ports; the browser that waits for its page is not affected.
pub struct Callback {
    desk: Arc<Desk>,
    acceptors: Vec<(SocketAddr, JoinHandle<()>)>,
}

/// The connection that brought the answer. Dropped without a page, the browser shows an error of its own.
pub struct Browser(Arc<TcpStream>);

type Arrived = Box<dyn FnOnce(Answer, Browser) + Send>;

/// What the threads of one server share.
struct Desk {
    port: u16,
    expected: Expectation,
    /// Who waits for the answer. The first answer takes it, and closing does.
    arrived: Mutex<Option<Arrived>>,
    /// Oldest first.
    open: Mutex<Vec<Connection>>,
    closed: AtomicBool,
}

struct Connection {
    stream: Arc<TcpStream>,
    has_head: bool,
}

/// An answer to a request that does not end the login.
pub struct Rebuff {
    status: &'static str,
    page: String,
}

/// Takes the first of the ports that is free on 127.0.0.1 and, if this machine has it, on ::1; 0 is any free one.
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
    match error.kind() {
        io::ErrorKind::AddrInUse => true,
        io::ErrorKind::PermissionDenied => cfg!(windows),
        _ => false,
    }
}

impl Listening {
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts to answer requests. `arrived` is called once at most, from another thread, with the first answer that
    /// fits `expected`; its browser waits for `Browser::show`.
    pub fn serve(
        self,
        expected: Expectation,
        arrived: impl FnOnce(Answer, Browser) + Send + 'static,
    ) -> Result<Callback> {
        let desk = Arc::new(Desk {
            port: self.port,
            expected,
            arrived: Mutex::new(Some(Box::new(arrived))),
            open: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let mut callback = Callback {
            desk,
            acceptors: Vec::new(),
        };
        for listener in self.listeners {
            let address = listener.local_addr().context("could not listen")?;
            let desk = Arc::clone(&callback.desk);
            let acceptor = thread::Builder::new()
                .spawn(move || accept(&desk, &listener))
                .context("could not start a thread")?;
            callback.acceptors.push((address, acceptor));
        }
        Ok(callback)
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        self.desk.close();
        for (address, acceptor) in self.acceptors.drain(..) {
            // An accept can only be woken by a connection. Should none be had, the thread ends with the process.
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                // Only a panic makes this an error, and the port is closed then, too.
                let _ = acceptor.join();
            }
        }
    }
}

impl Browser {
    /// Answers the browser that waits, and returns when it has the page or has gone; after two seconds at the latest.
    pub fn show(self, page: &str) {
        answer(&self.0, "200 OK", page, false);
    }
}

impl Desk {
    /// The waiting answer taker goes, so that what is still under way cannot end a login that has ended.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        lock(&self.arrived).take();
        for connection in lock(&self.open).iter().filter(|open| !open.has_head) {
            hang_up(&connection.stream);
        }
    }

    /// Makes room for one more, at the cost of the oldest that has not asked for anything yet, else of the oldest
    /// that has its answer already.
    fn enter(&self, stream: &Arc<TcpStream>) {
        let mut open = lock(&self.open);
        if open.len() >= CONNECTION_LIMIT {
            let idle = open.iter().position(|connection| !connection.has_head);
            hang_up(&open.remove(idle.unwrap_or(0)).stream);
        }
        open.push(Connection {
            stream: Arc::clone(stream),
            has_head: false,
        });
    }

    fn has_head(&self, stream: &Arc<TcpStream>) {
        for connection in lock(&self.open).iter_mut() {
            connection.has_head |= Arc::ptr_eq(&connection.stream, stream);
        }
    }

    fn leave(&self, stream: &Arc<TcpStream>) {
        lock(&self.open).retain(|connection| !Arc::ptr_eq(&connection.stream, stream));
    }
}

/// A thread that panicked leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes the thread that reads from the stream. A stream that is gone already is what this is for.
fn hang_up(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}

fn accept(desk: &Arc<Desk>, listener: &TcpListener) {
    while !desk.closed.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        let stream = Arc::new(stream);
        desk.enter(&stream);
        let (at, visitor) = (Arc::clone(desk), Arc::clone(&stream));
        let attendant = thread::Builder::new().spawn(move || {
            attend(&at, &visitor);
            at.leave(&visitor);
        });
        if attendant.is_err() {
            desk.leave(&stream);
        }
    }
}

fn attend(desk: &Desk, stream: &Arc<TcpStream>) {
    let Some(head) = read_head(stream) else {
        return;
    };
    desk.has_head(stream);
    let judged = examine(&head, desk.port, &desk.expected).and_then(|answer| {
        let arrived = lock(&desk.arrived).take();
        let late = || rebuff("400 Bad Request", "it has been used already");
        Ok((answer, arrived.ok_or_else(late)?))
    });
    match judged {
        Ok((answer, arrived)) => {
            desk.leave(stream);
            arrived(answer, Browser(Arc::clone(stream)));
        }
        Err(rebuff) => answer(
            stream,
            rebuff.status,
            &rebuff.page,
            head.starts_with(b"HEAD "),
        ),
    }
}

/// The head of a request, up to its empty line or to the limit. None if it does not come in time.
fn read_head(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let deadline = Instant::now() + HEAD_TIME;
    let mut head = Vec::with_capacity(2048);
    let mut chunk = [0; 2048];
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        // A limit of nothing is refused, and no limit would stay.
        stream.set_read_timeout(Some(left)).ok()?;
        let count = match stream.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.ok().filter(|&count| count > 0)?,
        };
        let seen = head.len().saturating_sub(3);
        head.extend_from_slice(&chunk[..count.min(HEAD_LIMIT - head.len())]);
        let is_whole = head[seen..].windows(4).any(|four| four == b"\r\n\r\n");
        if is_whole || head.len() == HEAD_LIMIT {
            return Some(head);
        }
    }
}

/// Whether a browser has navigated here with the answer to this login; all else gets a rebuff. Pure.
pub fn examine(head: &[u8], port: u16, expected: &Expectation) -> Result<Answer, Rebuff> {
    let mut headers = [EMPTY_HEADER; 100];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) if head.len() < HEAD_LIMIT => {
            return Err(rebuff("400 Bad Request", "the request is no HTTP"));
        }
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(rebuff(
                "431 Request Header Fields Too Large",
                "the browser sent too much with it (clear the cookies of localhost, or paste the address of this page in the terminal)",
            ));
        }
        Err(_) => return Err(rebuff("400 Bad Request", "the request is no HTTP")),
    }
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path != PATH {
        return Err(Rebuff {
            status: "404 Not Found",
            page: page::not_found(),
        });
    }
    check_sender(&request, port, &expected.issuer)?;
    judge(query, expected).map_err(|why| rebuff("400 Bad Request", why))
}

/// Whether the request is one that a browser makes when it follows the redirect, and makes to us.
fn check_sender(request: &Request<'_, '_>, port: u16, issuer: &str) -> Result<(), Rebuff> {
    if request.method != Some("GET") {
        return Err(rebuff("405 Method Not Allowed", "only GET counts here"));
    }
    let hosts = values(request, "Host");
    // Another name that leads to this machine is that of a hostile page (DNS rebinding).
    if hosts.len() != 1 || !is_ours(hosts[0], port) {
        return Err(rebuff("403 Forbidden", "it was sent to another host"));
    }
    // Older browsers do not send these two. Scripts, images and frames do say what they are.
    for (name, navigation) in [
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
    ] {
        if values(request, name)
            .iter()
            .any(|value| *value != navigation.as_bytes())
        {
            return Err(rebuff(
                "403 Forbidden",
                "no tab of the browser asked for it",
            ));
        }
    }
    // Following a link sends none; following a form does.
    let is_friend = |origin: &&[u8]| *origin == b"null" || *origin == origin_of(issuer).as_bytes();
    if !values(request, "Origin").iter().all(is_friend) {
        return Err(rebuff("403 Forbidden", "another site sent it"));
    }
    Ok(())
}

fn values<'b>(request: &Request<'_, 'b>, name: &str) -> Vec<&'b [u8]> {
    let named = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value).collect()
}

fn is_ours(host: &[u8], port: u16) -> bool {
    let host = String::from_utf8_lossy(host).to_ascii_lowercase();
    let name = match host.strip_suffix(&format!(":{port}")) {
        Some(name) => name,
        // The default port of http is not named.
        None if port == 80 => &host,
        None => return false,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// Scheme, host and port of a URL.
fn origin_of(url: &str) -> String {
    url.split('/').take(3).collect::<Vec<_>>().join("/")
}

fn rebuff(status: &'static str, why: &str) -> Rebuff {
    Rebuff {
        status,
        page: page::not_counted(why),
    }
}

/// What a text that a person pasted answers to this login: the address that the browser ended on, its query, or
/// `code#state`. The error says what is wrong with the text ("it …"), and repeats nothing of it.
pub fn judge_pasted(text: &str, expected: &Expectation) -> Result<Answer, &'static str> {
    judge(&query_of(text)?, expected)
}

fn query_of(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let text = text.trim();
    if text.len() > HEAD_LIMIT {
        return Err("it is too long");
    }
    let (before_fragment, fragment) = text.split_once('#').unwrap_or((text, ""));
    let query = match before_fragment.split_once('?') {
        Some((_, query)) => query,
        None if before_fragment.contains("://") => "",
        None if before_fragment.contains('&') => before_fragment,
        None if !fragment.is_empty() => {
            return Ok(Cow::Owned(query_with(before_fragment, fragment)));
        }
        None => return Err("it is neither the address that the browser ended on nor code#state"),
    };
    if query.contains("code_challenge=") {
        return Err("it is the address to sign in at: paste the one that the browser ends on");
    }
    Ok(Cow::Borrowed(query))
}

fn query_with(code: &str, state: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("code", code)
        .append_pair("state", state)
        .finish()
}

/// What the parameters of a redirect (RFC 6749 sections 4.1.2 and 4.1.2.1) answer to this login. An error says why
/// they do not count ("it …"), and repeats nothing of them.
pub fn judge(query: &str, expected: &Expectation) -> Result<Answer, &'static str> {
    let state = only("state", query)?.ok_or("it carries no state")?;
    // In constant time, or a local program could find it out byte by byte.
    if !bool::from(state.as_bytes().ct_eq(expected.state.as_bytes())) {
        return Err("it belongs to another sign-in: its state is not the one of this one");
    }
    // RFC 9207 section 2.4: an answer of another issuer must not be used.
    if only("iss", query)?.is_some_and(|issuer| issuer.trim_end_matches('/') != expected.issuer) {
        return Err("it comes from another issuer");
    }
    let description = only("error_description", query)?;
    match (only("code", query)?, only("error", query)?) {
        (Some(_), Some(_)) => Err("it carries both a code and an error"),
        (Some(code), None) if code.bytes().all(is_visible) => Ok(Answer::Code(code)),
        (Some(_), None) => Err("its code has characters that no code has"),
        (None, Some(error)) => Ok(Answer::Refused(words(&error, description.as_deref()))),
        (None, None) => Err("it carries no code"),
    }
}

/// The one value of a parameter; an empty one counts as none (RFC 6749 section 3.1). Twice the same parameter is an
/// error: two readers could take it for two different things.
fn only(name: &str, query: &str) -> Result<Option<String>, &'static str> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    match values.next() {
        Some(_) => Err("it carries a parameter twice"),
        None => Ok(value.filter(|value| !value.is_empty())),
    }
}

/// What a code is made of (VSCHAR of RFC 6749 appendix A.11).
fn is_visible(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn words(error: &str, description: Option<&str>) -> String {
    match description {
        Some(description) => format!("{} ({})", error::tame(description), error::tame(error)),
        None => error::tame(error),
    }
}

/// Sends a whole answer, and parts from the peer. Who does not take it is not waited for.
fn answer(mut stream: &TcpStream, status: &str, page: &str, is_head: bool) {
    let mut message = head_of_answer(status, page.len());
    if !is_head {
        message.push_str(page);
    }
    let sent = stream
        .set_write_timeout(Some(PARTING_TIME))
        .and_then(|()| stream.write_all(message.as_bytes()))
        .and_then(|()| stream.shutdown(Shutdown::Write));
    if sent.is_ok() {
        part(stream);
    }
}

fn head_of_answer(status: &str, length: usize) -> String {
    let policy = page::security_policy();
    let allow = if status.starts_with("405") {
        "Allow: GET\r\n"
    } else {
        ""
    };
    format!(
        "HTTP/1.1 {status}\r\n\
         {allow}\
         Connection: close\r\n\
         Content-Type: text/html; charset=utf-8\r\n\
         Content-Length: {length}\r\n\
         Cache-Control: no-store\r\n\
         Content-Security-Policy: {policy}\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n\
         Referrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\n\
         \r\n"
    )
}

/// Reads on until the peer closes (RFC 9112 section 9.6): a connection that is closed on unread bytes is reset, and
/// the peer may lose the answer that it has not read yet.
fn part(mut stream: &TcpStream) {
    let deadline = Instant::now() + PARTING_TIME;
    let mut scrap = [0; 4096];
    let mut drained = 0;
    while drained < PARTING_LIMIT {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return;
        };
        if stream.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match stream.read(&mut scrap) {
            Ok(count) if count > 0 => drained += count,
            _ => return,
        }
    }
}
