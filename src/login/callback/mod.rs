//! The loopback server that the browser comes back to. It lives for one login.
//!
//! Any page and any local program can send requests here. So the walk of a request is `attend` → `read_head` →
//! `examine` (did a browser navigate here?) → `redirect::judge` (is it the answer to this login?), and only the first answer
//! that passes all of them ends the login.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use httparse::{EMPTY_HEADER, Request, Status};
use subtle::ConstantTimeEq;

use crate::login::redirect;
use crate::login::redirect::{Answer, Expectation};
use crate::login::{page, pkce};

/// The path of the redirect URI, as it is registered.
pub const PATH: &str = "/auth/callback";
/// What stands here and a secret word leads to the issuer, once.
const ENTRANCE: &str = "/sign-in/";

/// Bytes of a request's head. A code and a state are a few hundred; the rest is for cookies
/// that other programs left on localhost.
const HEAD_LIMIT: usize = 16 * 1024;
/// A browser sends its head at once. It may also open a connection ahead of need, and never use it.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A browser opens a handful of connections; the rest is room for those that mean no good.
const CONNECTION_LIMIT: usize = 64;
/// How long, and for how many bytes, a peer that has its answer may go on sending. See `part`.
const PARTING_TIME: Duration = Duration::from_secs(2);
const PARTING_LIMIT: usize = 1024 * 1024;
/// After a failed accept the next one may fail as fast: this is the pause.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

const TOO_MUCH: &str = "the browser sent too much with it (clear the cookies of localhost, or paste the address of \
    this page in the terminal)";

/// The ports are taken; whoever connects waits until `serve`.
pub struct Listening {
    port: u16,
    listeners: Vec<TcpListener>,
}

/// The server at work. Dropping it closes the ports; the browser that waits for its page is not affected.
pub struct Callback {
    desk: Arc<ServerState>,
    acceptors: Vec<(SocketAddr, JoinHandle<()>)>,
}

/// The connection that brought the answer. Dropped without a page, the browser shows an error of its own.
pub struct Browser(Arc<TcpStream>);

type Arrived = Box<dyn FnOnce(Answer, Browser) + Send>;

/// What the threads of one server share.
struct ServerState {
    port: u16,
    expected: Expectation,
    /// Which secret word leads where. The first who has it takes it.
    entrance: Mutex<Option<(String, String)>>,
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

/// What a request that counts is for.
pub enum Visit {
    /// With this word after `ENTRANCE`.
    Entrance(String),
    Back(Answer),
}

/// What a request is answered with. All but the last one do not end the login.
pub struct Reply {
    status: &'static str,
    /// Where the browser is to go.
    location: Option<String>,
    page: String,
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
        let desk = Arc::new(ServerState {
            port: self.port,
            expected,
            entrance: Mutex::default(),
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

impl Callback {
    pub fn port(&self) -> u16 {
        self.desk.port
    }

    /// An address here that leads to this URL, once. The command that starts a browser is seen by every user of this
    /// machine, and the URL has the state in it.
    pub fn entrance_to(&self, url: &str) -> Result<String> {
        let word = pkce::secret_word()?;
        let address = format!("http://127.0.0.1:{}{ENTRANCE}{word}", self.desk.port);
        *lock(&self.desk.entrance) = Some((word, url.to_owned()));
        Ok(address)
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
    /// Answers the browser that waits, and returns when it has taken the page or gone, a few seconds later at most.
    pub fn show(self, page: &str) {
        let whole = Reply {
            status: "200 OK",
            location: None,
            page: page.to_owned(),
        };
        answer(&self.0, &whole, false);
    }
}

impl ServerState {
    /// Whoever waited for the answer goes, so that a request under way cannot end a login that has ended.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        lock(&self.arrived).take();
        for connection in lock(&self.open).iter().filter(|open| !open.has_head) {
            hang_up(&connection.stream);
        }
    }

    /// The first answer to this login, with who waits for it.
    fn admit(&self, head: &[u8]) -> Result<(Answer, Arrived), Reply> {
        let answer = match examine(head, self.port, &self.expected)? {
            Visit::Back(answer) => answer,
            Visit::Entrance(word) => return Err(self.lead(&word)),
        };
        let arrived = lock(&self.arrived).take();
        match arrived {
            Some(arrived) => Ok((answer, arrived)),
            None => Err(rebuff("400 Bad Request", "it has been used already")),
        }
    }

    /// Leads who has the word to the issuer. Anybody else finds nothing.
    fn lead(&self, word: &str) -> Reply {
        let is_right =
            |known: &mut (String, String)| known.0.as_bytes().ct_eq(word.as_bytes()).into();
        match lock(&self.entrance).take_if(is_right) {
            Some((_, url)) => Reply {
                status: "302 Found",
                location: Some(url),
                page: String::new(),
            },
            None => not_found(),
        }
    }

    fn enter(&self, stream: &Arc<TcpStream>) {
        let mut open = lock(&self.open);
        if open.len() >= CONNECTION_LIMIT {
            make_room(&mut open);
        }
        open.push(Connection {
            stream: Arc::clone(stream),
            has_head: false,
        });
    }

    fn note_head(&self, stream: &Arc<TcpStream>) {
        for connection in lock(&self.open).iter_mut() {
            connection.has_head |= Arc::ptr_eq(&connection.stream, stream);
        }
    }

    fn leave(&self, stream: &Arc<TcpStream>) {
        lock(&self.open).retain(|connection| !Arc::ptr_eq(&connection.stream, stream));
    }
}

/// Drops the oldest connection that has not asked for anything yet, else the oldest that has its answer already.
fn make_room(open: &mut Vec<Connection>) {
    let idle = open.iter().position(|connection| !connection.has_head);
    if let Some(oldest) = idle.or((!open.is_empty()).then_some(0)) {
        hang_up(&open.remove(oldest).stream);
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

fn accept(desk: &Arc<ServerState>, listener: &TcpListener) {
    loop {
        let accepted = listener.accept();
        if desk.closed.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((stream, _)) => welcome(desk, &Arc::new(stream)),
            Err(error) => {
                if has_no_room(&error) {
                    make_room(&mut lock(&desk.open));
                }
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

/// Whether the system had no file descriptor, or no memory, for a connection: some of what it has given is ours. With
/// any other error it is the new connection that has gone wrong.
fn has_no_room(error: &io::Error) -> bool {
    #[cfg(unix)]
    let is_exhausted = {
        use rustix::io::Errno;
        let errno = Errno::from_io_error(error);
        matches!(
            errno,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
        )
    };
    // WSAEMFILE and WSAENOBUFS.
    #[cfg(not(unix))]
    let is_exhausted = matches!(error.raw_os_error(), Some(10024 | 10055));
    is_exhausted
}

/// Without a thread for it the connection is closed; the browser tries again.
fn welcome(desk: &Arc<ServerState>, stream: &Arc<TcpStream>) {
    desk.enter(stream);
    let (at, visitor) = (Arc::clone(desk), Arc::clone(stream));
    let attendant = thread::Builder::new().spawn(move || {
        attend(&at, &visitor);
        at.leave(&visitor);
    });
    if attendant.is_err() {
        desk.leave(stream);
    }
}

fn attend(desk: &ServerState, stream: &Arc<TcpStream>) {
    let Some(head) = read_head(stream) else {
        return;
    };
    desk.note_head(stream);
    match desk.admit(&head) {
        Ok((answer, arrived)) => {
            desk.leave(stream);
            arrived(answer, Browser(Arc::clone(stream)));
        }
        Err(reply) => answer(stream, &reply, head.starts_with(b"HEAD ")),
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
        head.extend_from_slice(&chunk[..count.min(HEAD_LIMIT - head.len())]);
        let is_whole = head.windows(4).any(|four| four == b"\r\n\r\n");
        if is_whole || head.len() == HEAD_LIMIT {
            return Some(head);
        }
    }
}

/// Whether a browser has navigated here, to be led to the issuer or with its answer; the error is what to reply to all else. Pure.
pub fn examine(head: &[u8], port: u16, expected: &Expectation) -> Result<Visit, Reply> {
    let mut headers = [EMPTY_HEADER; 100];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(rebuff("431 Request Header Fields Too Large", TOO_MUCH));
        }
        Err(_) => return Err(rebuff("400 Bad Request", "the request is no HTTP")),
    }
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let word = path.strip_prefix(ENTRANCE);
    if path != PATH && word.is_none() {
        return Err(not_found());
    }
    check_sender(&request, port, &expected.issuer)?;
    match word {
        Some(word) => Ok(Visit::Entrance(word.to_owned())),
        None => redirect::judge(query, expected)
            .map(Visit::Back)
            .map_err(|why| rebuff("400 Bad Request", why)),
    }
}

/// Whether the request is one that a browser makes when it follows the redirect, and makes to us.
fn check_sender(request: &Request<'_, '_>, port: u16, issuer: &str) -> Result<(), Reply> {
    if request.method != Some("GET") {
        return Err(rebuff("405 Method Not Allowed", "only GET counts here"));
    }
    let hosts = values(request, "Host");
    // Another name that leads to this machine is that of a hostile page (DNS rebinding).
    if hosts.len() != 1 || !is_ours(hosts[0], port) {
        return Err(rebuff("403 Forbidden", "it was sent to another host"));
    }
    // Older browsers do not send these two. Scripts, images and frames do say what they are.
    for (name, wanted) in [
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
    ] {
        if values(request, name)
            .iter()
            .any(|value| *value != wanted.as_bytes())
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

fn rebuff(status: &'static str, why: &str) -> Reply {
    Reply {
        status,
        location: None,
        page: page::not_counted(why),
    }
}

fn not_found() -> Reply {
    Reply {
        status: "404 Not Found",
        location: None,
        page: page::not_found(),
    }
}

/// Sends a whole answer, and parts from the peer. Who does not take it is not waited for.
fn answer(mut stream: &TcpStream, reply: &Reply, is_head: bool) {
    let mut message = head_of(reply);
    if !is_head {
        message.push_str(&reply.page);
    }
    let sent = stream
        .set_write_timeout(Some(PARTING_TIME))
        .and_then(|()| stream.write_all(message.as_bytes()))
        .and_then(|()| stream.shutdown(Shutdown::Write));
    if sent.is_ok() {
        part(stream);
    }
}

fn head_of(reply: &Reply) -> String {
    let (status, length, policy) = (reply.status, reply.page.len(), page::security_policy());
    let special = match &reply.location {
        Some(location) => format!("Location: {location}\r\n"),
        None if status.starts_with("405") => "Allow: GET\r\n".to_owned(),
        None => String::new(),
    };
    format!(
        "HTTP/1.1 {status}\r\n\
         {special}\
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::sync::mpsc::{self, Receiver};

    const STATE: &str = "right-state";
    /// Far more than any of this takes: it only keeps a broken server from holding up the tests for ever.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn expectation() -> Expectation {
        Expectation {
            state: STATE.to_owned(),
            issuer: "https://issuer.example".to_owned(),
        }
    }

    fn serve() -> (Callback, Receiver<(Answer, Browser)>) {
        let (sender, arrivals) = mpsc::channel();
        let listening = listen(&[0]).unwrap().unwrap();
        let serving = listening.serve(expectation(), move |answer, browser| {
            sender.send((answer, browser)).unwrap();
        });
        (serving.unwrap(), arrivals)
    }

    #[cfg(unix)]
    #[test]
    fn only_a_system_without_room_costs_somebody_the_connection() {
        use rustix::io::Errno;
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert!(has_no_room(&errno.into()), "{errno:?}");
        }
        for errno in [Errno::CONNABORTED, Errno::INTR, Errno::PERM, Errno::NETDOWN] {
            assert!(!has_no_room(&errno.into()), "{errno:?}");
        }
        assert!(!has_no_room(&io::Error::other("none of the system's")));
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

    /// Sees the login through: the code comes in, and its browser gets the page.
    fn completes(port: u16, arrivals: &Receiver<(Answer, Browser)>) {
        let waiting = send(port, &right(port));
        let (answer, browser) = arrivals.recv_timeout(PATIENCE).unwrap();
        assert_eq!(told(Ok(answer)), "code the-code");
        assert!(shown(browser, waiting, "done").ends_with("\r\n\r\ndone"));
    }

    /// Shows the page, and gives what the browser got. The two run at once, because each waits for the other.
    fn shown(browser: Browser, waiting: TcpStream, page: &str) -> String {
        thread::scope(|scope| {
            let reader = scope.spawn(|| rest(waiting));
            browser.show(page);
            reader.join().unwrap()
        })
    }

    fn told(answer: Result<Answer, &'static str>) -> String {
        match answer {
            Ok(Answer::Code(code)) => format!("code {code}"),
            Ok(Answer::Refused(words)) => format!("refused {words}"),
            Err(why) => why.to_owned(),
        }
    }

    #[test]
    fn the_code_arrives_and_its_browser_waits_for_the_page() {
        let (callback, arrivals) = serve();
        completes(callback.desk.port, &arrivals);
    }

    #[test]
    fn a_refusal_ends_the_login_with_the_words_of_the_issuer() {
        let (callback, arrivals) = serve();
        let target = format!(
            "{PATH}?error=access_denied&error_description=Not+for%1b%5b31m+you&state={STATE}"
        );
        let waiting = send(callback.desk.port, &get(callback.desk.port, &target));
        let (answer, browser) = arrivals.recv_timeout(PATIENCE).unwrap();
        assert_eq!(told(Ok(answer)), "refused Not for [31m you (access_denied)");
        assert!(shown(browser, waiting, "no").ends_with("no"));
    }

    #[test]
    fn a_page_arrives_whole_though_the_browser_sent_more_than_was_read() {
        let (callback, arrivals) = serve();
        let mut request = right(callback.desk.port);
        request.resize(request.len() + 100_000, b'x');
        let waiting = send(callback.desk.port, &request);
        let (_, browser) = arrivals.recv_timeout(PATIENCE).unwrap();
        // The browser reads late: a connection that was reset by then has lost the end of the page.
        browser.show(&"p".repeat(200_000));
        let answer = rest(waiting);
        assert!(answer.contains("\r\nContent-Length: 200000\r\n"));
        assert!(answer.ends_with(&"p".repeat(200_000)));
    }

    #[test]
    fn every_answer_forbids_what_its_page_does_not_need() {
        let (callback, arrivals) = serve();
        let port = callback.desk.port;
        let waiting = send(port, &right(port));
        let (_, browser) = arrivals.recv_timeout(PATIENCE).unwrap();
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
        let (callback, arrivals) = serve();
        let port = callback.desk.port;
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
            ("400", b"\x16\x03\x01 TLS, by mistake\r\n\r\n".to_vec()),
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
        completes(port, &arrivals);
    }

    #[test]
    fn head_gets_no_body() {
        let (callback, _arrivals) = serve();
        let head = format!(
            "HEAD {PATH} HTTP/1.1\r\nHost: localhost:{}\r\n\r\n",
            callback.desk.port
        );
        let answer = rest(send(callback.desk.port, head.as_bytes()));
        assert!(
            answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n"),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[test]
    fn the_entrance_leads_to_the_issuer_once() {
        let (callback, arrivals) = serve();
        let port = callback.desk.port;
        let address = callback
            .entrance_to("https://issuer.example/authorize?state=s")
            .unwrap();
        let target = address
            .strip_prefix(&format!("http://127.0.0.1:{port}"))
            .unwrap();
        for wrong in [
            ENTRANCE.to_owned(),
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
        completes(port, &arrivals);
    }

    #[test]
    fn each_loopback_name_and_a_friendly_origin_will_do() {
        for headers in [
            "Host: LOCALHOST:7",
            "Host: 127.0.0.1:7",
            "host: [::1]:7",
            "Host: localhost:7\r\nOrigin: null",
            "Host: localhost:7\r\nOrigin: https://issuer.example",
        ] {
            let head = format!("GET {PATH}?code=c&state={STATE} HTTP/1.1\r\n{headers}\r\n\r\n");
            let answer = match examine(head.as_bytes(), 7, &expectation()) {
                Ok(Visit::Back(answer)) => Ok(answer),
                Ok(Visit::Entrance(_)) => Err("the entrance"),
                Err(reply) => Err(reply.status),
            };
            assert_eq!(told(answer), "code c", "{headers}");
        }
        let head = format!("GET {PATH}?code=c&state={STATE} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(examine(head.as_bytes(), 80, &expectation()).is_ok());
    }

    #[test]
    fn a_thousand_wrong_states_do_not_end_the_login() {
        let (callback, arrivals) = serve();
        let port = callback.desk.port;
        for number in 0..1000 {
            let target = format!("{PATH}?code=c&state=wrong-{number}");
            assert_eq!(status(port, &get(port, &target)), "400");
        }
        completes(port, &arrivals);
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
        let (callback, arrivals) = serve();
        let port = callback.desk.port;
        let silent = crowd(port, b"");
        let halves = crowd(port, b"GET /auth/callback?code=");
        completes(port, &arrivals);
        assert!(lock(&callback.desk.open).len() <= CONNECTION_LIMIT);
        // They were the oldest, and had to make room.
        for mut dropped in silent {
            assert!(is_closed(&mut dropped));
        }
        drop(halves);
    }

    #[test]
    fn hundreds_of_connections_that_have_an_answer_and_stay_do_not_hold_up_the_code() {
        let (callback, arrivals) = serve();
        let answered = crowd(callback.desk.port, &get(callback.desk.port, "/"));
        completes(callback.desk.port, &arrivals);
        drop(answered);
    }

    #[test]
    fn a_head_may_come_in_pieces() {
        let (callback, arrivals) = serve();
        let mut waiting = connect(callback.desk.port);
        waiting.set_nodelay(true).unwrap();
        for byte in right(callback.desk.port) {
            waiting.write_all(&[byte]).unwrap();
        }
        let (answer, _) = arrivals.recv_timeout(PATIENCE).unwrap();
        assert_eq!(told(Ok(answer)), "code the-code");
    }

    #[test]
    fn a_huge_head_is_refused_before_it_ends() {
        let (callback, arrivals) = serve();
        let port = callback.desk.port;
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
        completes(port, &arrivals);
    }

    #[test]
    fn only_the_first_answer_counts() {
        let (callback, arrivals) = serve();
        let port = callback.desk.port;
        let waiting = send(port, &right(port));
        let (_, browser) = arrivals.recv_timeout(PATIENCE).unwrap();
        assert_eq!(status(port, &right(port)), "400");
        assert!(shown(browser, waiting, "done").ends_with("done"));
        assert!(arrivals.try_recv().is_err());
    }

    #[test]
    fn after_the_end_nobody_listens_and_idle_connections_are_closed() {
        let (callback, _arrivals) = serve();
        let port = callback.desk.port;
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
        let (callback, arrivals) = serve();
        let waiting = send(callback.desk.port, &right(callback.desk.port));
        let (_, browser) = arrivals.recv_timeout(PATIENCE).unwrap();
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
        let (callback, arrivals) = serve();
        let mut waiting = TcpStream::connect((Ipv6Addr::LOCALHOST, callback.desk.port)).unwrap();
        waiting.write_all(&right(callback.desk.port)).unwrap();
        assert!(arrivals.recv_timeout(PATIENCE).is_ok());
    }

    #[test]
    fn room_is_made_by_those_that_have_not_asked_for_anything() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = Arc::new(connect(listener.local_addr().unwrap().port()));
        let mut open: Vec<_> = [true, false, true, false]
            .map(|has_head| Connection {
                stream: Arc::clone(&stream),
                has_head,
            })
            .into();
        let mut left = || {
            make_room(&mut open);
            open.iter()
                .map(|connection| connection.has_head)
                .collect::<Vec<_>>()
        };
        assert_eq!(left(), [true, true, false]);
        assert_eq!(left(), [true, true]);
        assert_eq!(left(), [true]);
        assert!(left().is_empty());
        assert!(left().is_empty());
    }
}
