//! HTTP requests, with limits on everything: the only user of ureq, with `tls.rs` and `proxy.rs` beside it.
//!
//! Nothing is tried twice here, and no redirect is followed: a refresh token that a server has read is used up.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use http::header::{CONNECTION, CONTENT_TYPE, DATE, HeaderName, RETRY_AFTER};
use http::{Request, request};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector, NextTimeout, RustlsConnector, SocksConnector, TcpConnector,
};
use ureq::{Agent, Body};

use crate::error::Failure;
use crate::net::proxy::{self, Proxy};
use crate::net::tls::{Handshake, Peer, TlsError, Trust};
use crate::net::{connect, tls};
use crate::text::{is_whole_object, redact};
use crate::url::{Url, without_brackets};

/// The longest body that is read, in bytes. Those that we know have a few thousand.
const LONGEST_BODY: u64 = 1 << 20;
/// Limits for the first steps: resolvers give up after 10 s, and 15 s are four lost packets of a TCP connection.
const LONGEST_RESOLVE: Duration = Duration::from_secs(10);
const LONGEST_CONNECT: Duration = Duration::from_secs(15);
/// For a look at a certificate: the way to it has just been gone.
const INSPECT_LIMIT: Duration = Duration::from_secs(5);
/// In how many steps a limit is waited for.
const STEPS: u32 = 100;
/// How long this process may be stopped, frozen or suspended during a request: its response is there when it goes on.
const LONGEST_STOP: Duration = DAY;
/// The longest wait that a server can ask for.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a server answered, whatever its status was.
#[derive(Default)]
pub struct Response {
    pub status: u16,
    /// `Retry-After`, in either of its two forms (RFC 9110 section 10.2.3), as a time from now; a day at most.
    pub retry_after: Option<Duration>,
    /// `Date`, in seconds since 1970.
    pub date: Option<u64>,
    /// As much of it as came, at most 1 MiB.
    pub body: Vec<u8>,
    /// What went wrong after the head, if anything did: the body may be cut off.
    pub flaw: Option<String>,
}

#[cfg(test)]
impl Response {
    pub fn of(status: u16, body: &str) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }
}

/// Why there is no response.
#[derive(Debug)]
pub struct NoResponse {
    /// It names the host, and the proxy if there is one.
    pub reason: String,
    /// False if the server cannot have seen the request, because no connection to it stood.
    pub reached: bool,
}

impl From<NoResponse> for anyhow::Error {
    fn from(error: NoResponse) -> Self {
        Failure::Temporary(error.reason).into()
    }
}

/// Sends requests to one server. Each has a connection of its own: one that is kept could be closed by the server while a
/// token request is on its way, and nobody could tell whether that was read.
pub struct Client {
    base: Url,
    proxy: Option<Proxy>,
    /// None for plain http.
    trust: Option<Trust>,
}

impl Client {
    /// A client for the paths below `base`. Variables that cannot be used are errors here.
    pub fn new(base: &Url) -> Result<Self> {
        Ok(Self {
            base: base.clone(),
            proxy: proxy::for_url(base)?,
            trust: base.is_https().then(tls::trust).transpose()?,
        })
    }

    /// `limit` bounds the whole request, from the name to the last byte of the response.
    pub fn get(
        &self,
        path: &str,
        headers: &[(&str, String)],
        limit: Duration,
    ) -> Result<Response, NoResponse> {
        let head = headers
            .iter()
            .fold(Request::get(self.base.join(path)), |head, (name, value)| {
                head.header(*name, value)
            });
        self.send(head, None, limit)
    }

    pub fn post_form(
        &self,
        path: &str,
        body: &str,
        limit: Duration,
    ) -> Result<Response, NoResponse> {
        self.post(path, "application/x-www-form-urlencoded", body, limit)
    }

    pub fn post_json(
        &self,
        path: &str,
        body: &str,
        limit: Duration,
    ) -> Result<Response, NoResponse> {
        self.post(path, "application/json", body, limit)
    }

    fn post(
        &self,
        path: &str,
        content_type: &str,
        body: &str,
        limit: Duration,
    ) -> Result<Response, NoResponse> {
        let head = Request::post(self.base.join(path)).header(CONTENT_TYPE, content_type);
        self.send(head, Some(body.to_owned()), limit)
    }

    fn send(
        &self,
        head: request::Builder,
        body: Option<String>,
        limit: Duration,
    ) -> Result<Response, NoResponse> {
        // Then a server whose length is wrong does not keep us waiting for what never comes.
        let head = head.header(CONNECTION, "close");
        let connected = Arc::default();
        let agent = self.agent(limit, Arc::clone(&connected), None);
        let (response, error) = run(agent, head, body, limit);
        let connected = connected.load(Ordering::SeqCst);
        let problem = error.map(|error| self.describe(&error, limit, connected));
        match (response, problem) {
            (Some(response), flaw) => Ok(Response { flaw, ..response }),
            (None, problem) => Err(NoResponse {
                reason: self.at_host(&problem.unwrap_or_default()),
                reached: connected,
            }),
        }
    }

    fn agent(&self, limit: Duration, connected: Arc<AtomicBool>, inspected: Option<Peer>) -> Agent {
        // Together the steps stay below the whole, so that the error names the step.
        let connect_limit = LONGEST_CONNECT.min(limit / 3 * 2);
        let mut config = Agent::config_builder()
            .proxy(self.proxy.as_ref().map(|proxy| proxy.inner().clone()))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("codex-auth/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(limit + LONGEST_STOP))
            .timeout_connect(Some(connect_limit));
        if let Some(trust) = &self.trust {
            config = config.tls_config(trust.config.clone());
        }
        let host = self.base.host().to_owned();
        let addresses = Addresses {
            host: host.clone(),
            is_proxied: self.proxy.is_some(),
            resolve_limit: LONGEST_RESOLVE.min(limit / 3),
            connect_limit,
        };
        let connector =
            ().chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(Handshake {
                    host,
                    connected,
                    inspected,
                    tls: RustlsConnector::default(),
                });
        Agent::with_parts(config.build(), connector, addresses)
    }

    fn at_host(&self, problem: &str) -> String {
        let host = self.base.host();
        match &self.proxy {
            Some(proxy) => format!("{host} through the proxy {proxy}: {problem}"),
            None => format!("{host}: {problem}"),
        }
    }

    fn describe(&self, error: &ureq::Error, limit: Duration, connected: bool) -> String {
        use ureq::Timeout;
        match error {
            ureq::Error::Other(cause) => match cause.downcast_ref() {
                Some(TlsError::Untrusted(peer)) => self.describe_untrusted(*peer),
                _ => match cause.downcast_ref() {
                    Some(Unresolved(peer)) => self.describe_unresolved(*peer),
                    None => cause.to_string(),
                },
            },
            ureq::Error::Io(error) if !connected && is_misunderstood(error) => {
                self.describe_misunderstood(error)
            }
            ureq::Error::Io(error) => describe_io(error),
            ureq::Error::Timeout(Timeout::Global) => {
                format!("request timed out after {} s", limit.as_secs_f32())
            }
            ureq::Error::Timeout(_) => "connection timed out".to_owned(),
            ureq::Error::BodyExceedsLimit(_) => "response is longer than 1 MiB".to_owned(),
            ureq::Error::ConnectProxyFailed(reason) => self.describe_proxy_error(reason),
            other => format!("invalid HTTP response: {}", redact(&other.to_string())),
        }
    }

    /// A certificate that is not trusted, with the name of who issued it. That takes a connection of its own.
    fn describe_untrusted(&self, peer: Peer) -> String {
        let agent = self.agent(INSPECT_LIMIT, Arc::default(), Some(peer));
        let (_, error) = run(
            agent,
            Request::head(self.base.as_str()),
            None,
            INSPECT_LIMIT,
        );
        let issuer = match &error {
            Some(ureq::Error::Other(cause)) => match cause.downcast_ref() {
                Some(TlsError::IssuedBy(issuer)) => issuer,
                _ => "unknown",
            },
            _ => "unknown",
        };
        let source = self.trust.as_ref().map_or("none", |trust| &trust.source);
        format!(
            "{peer} certificate issued by «{issuer}» is not trusted (if that is your company's proxy, set \
             CODEX_CA_CERTIFICATE to the PEM file of its CA; trusted are {source})"
        )
    }

    fn describe_unresolved(&self, peer: Peer) -> String {
        match (&self.proxy, peer) {
            (None, _) => "could not resolve host (is this machine online? behind a company proxy, is https_proxy set?)"
                .to_owned(),
            (Some(_), Peer::Proxy) => "could not resolve proxy (is this machine online?)".to_owned(),
            (Some(proxy), Peer::Server) => format!(
                "could not resolve host (write socks5h:// in {} to have the proxy resolve it)",
                proxy.variable()
            ),
        }
    }

    /// An answer that makes no sense, or none at all, before the server was reached.
    fn describe_misunderstood(&self, error: &io::Error) -> String {
        match &self.proxy {
            Some(proxy) if proxy.is_socks() => format!(
                "proxy does not speak SOCKS (if it is an HTTP proxy, write http:// in {})",
                proxy.variable()
            ),
            _ => describe_io(error),
        }
    }

    /// Why a proxy did not open the tunnel. ureq says `proxy server responded 407/407`.
    fn describe_proxy_error(&self, reason: &str) -> String {
        let variable = self.proxy.as_ref().map_or("https_proxy", Proxy::variable);
        let has_user = |proxy: &Proxy| proxy.inner().username().is_some();
        let has_user = self.proxy.as_ref().is_some_and(has_user);
        match reason.rsplit_once('/') {
            Some((_, "407")) if has_user => {
                format!("proxy rejected the user name or password in {variable} (status 407)")
            }
            Some((_, "407")) => format!(
                "proxy authentication required (status 407): set {variable} to http://USER:PASSWORD@HOST:PORT"
            ),
            Some((_, status)) => format!("proxy refused to connect (status {status})"),
            None => "proxy closed the connection".to_owned(),
        }
    }
}

/// The name of this end of the connection has no address.
#[derive(Debug)]
struct Unresolved(Peer);

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not resolve {}", self.0)
    }
}

impl std::error::Error for Unresolved {}

/// Finds the one address to connect to.
#[derive(Debug)]
struct Addresses {
    /// The host of the request.
    host: String,
    is_proxied: bool,
    resolve_limit: Duration,
    connect_limit: Duration,
}

impl Resolver for Addresses {
    fn resolve(
        &self,
        uri: &http::Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = without_brackets(uri.host().unwrap_or_default());
        let peer = Peer::of(uri, &self.host);
        let found = connect::resolve(host, port_of(uri), self.resolve_limit);
        let mut found = found.map_err(|_| ureq::Error::Other(Unresolved(peer).into()))?;
        // The proxy itself chooses the address of the server.
        let is_ours = !self.is_proxied || peer == Peer::Proxy;
        if is_ours && found.len() > 1 {
            found = vec![connect::race(&found, self.connect_limit)?];
        }
        let mut addresses = self.empty();
        addresses.push(found[0]);
        Ok(addresses)
    }
}

/// What a request reports from its thread.
enum Event {
    /// The response, still without its body.
    Head(Response),
    Body(Vec<u8>),
    /// Nothing more comes; what went wrong, if anything did.
    End(Option<ureq::Error>),
}

/// What came within the limit, and what went wrong, if anything did.
///
/// The request has a thread of its own: ureq counts the time in which this process is stopped, and its limit starts anew
/// at each byte of a proxy's answer to CONNECT. A request that is given up before it was sent is never sent.
fn run(
    agent: Agent,
    head: request::Builder,
    body: Option<String>,
    limit: Duration,
) -> (Option<Response>, Option<ureq::Error>) {
    let (sender, events) = mpsc::channel();
    let theirs = agent.clone();
    let started =
        thread::Builder::new().spawn(move || send_and_forward(&theirs, head, body, &sender));
    let outcome = match started {
        Ok(_) => collect(&events, limit),
        Err(error) => (None, Some(error.into())),
    };
    agent.shutdown();
    outcome
}

fn collect(events: &Receiver<Event>, limit: Duration) -> (Option<Response>, Option<ureq::Error>) {
    let mut response: Option<Response> = None;
    // One step more is the last chance for what came during a stop.
    let mut left = limit + limit / STEPS;
    while let Some(event) = next_event(events, &mut left, limit / STEPS) {
        match (event, &mut response) {
            (Event::Head(head), _) => response = Some(head),
            (Event::Body(bytes), Some(response)) => response.body.extend(bytes),
            (Event::Body(_), None) => {}
            (Event::End(error), _) => return (response, error),
        }
        // A server may drip, or not end, once it has said everything.
        if response
            .as_ref()
            .is_some_and(|it| is_whole_object(&it.body))
        {
            return (response, None);
        }
    }
    (response, Some(ureq::Error::Timeout(ureq::Timeout::Global)))
}

/// Sends a request, and forwards what comes back as it comes.
fn send_and_forward(
    agent: &Agent,
    head: request::Builder,
    body: Option<String>,
    events: &Sender<Event>,
) {
    let run = || match body {
        Some(body) => agent.run(head.body(body)?),
        None => agent.run(head.body(())?),
    };
    let end = run().and_then(|response| forward(response, events));
    // Nobody listens after the limit.
    let _ = events.send(Event::End(end.err()));
}

fn forward(response: http::Response<Body>, events: &Sender<Event>) -> Result<(), ureq::Error> {
    let _ = events.send(Event::Head(read_head(&response)));
    let limits = response.into_body().into_with_config();
    // The byte that is too many is allowed to come, because ureq fails at the limit even if that was the last one.
    let mut reader = limits.limit(LONGEST_BODY + 1).reader();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let count = reader.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        let _ = events.send(Event::Body(chunk[..count].to_vec()));
    }
}

fn read_head(response: &http::Response<Body>) -> Response {
    let text = |name: HeaderName| response.headers().get(name)?.to_str().ok();
    let date = text(DATE).and_then(|value| httpdate::parse_http_date(value).ok());
    // By the server's own clock, where it tells: ours may be wrong.
    let now = date.unwrap_or_else(SystemTime::now);
    Response {
        status: response.status().as_u16(),
        retry_after: text(RETRY_AFTER).and_then(|value| retry_after(value, now)),
        date: date.and_then(|date| Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())),
        ..Response::default()
    }
}

/// The next event, or None when nothing is left of the limit. It waits in short steps: while this process is stopped the
/// clock goes on, but no more than one step of the limit is used up.
fn next_event(events: &Receiver<Event>, left: &mut Duration, step: Duration) -> Option<Event> {
    while !left.is_zero() {
        let begun = Instant::now();
        let event = events.recv_timeout(step);
        *left = left.saturating_sub(begun.elapsed().min(step));
        match event {
            Ok(event) => return Some(event),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    events.try_recv().ok()
}

/// `Retry-After` in seconds or as a date.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds).min(DAY));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(now).unwrap_or_default().min(DAY))
}

/// The port of a URL, or of a proxy's.
fn port_of(uri: &http::Uri) -> u16 {
    uri.port_u16().unwrap_or(match uri.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => 1080,
    })
}

/// Whether a peer spoke another protocol, or hung up at ours.
fn is_misunderstood(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
    )
}

/// What went wrong with a connection.
pub fn describe_io(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::TimedOut => "connection timed out".to_owned(),
        ErrorKind::HostUnreachable => "no route to host".to_owned(),
        ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
            "network unreachable".to_owned()
        }
        ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            "connection closed before the response was complete".to_owned()
        }
        _ => redact(&error.to_string()),
    }
}

/// What an unexpected response probably means. `who` is the name of the service. It quotes nothing of the body.
pub fn describe_unexpected(who: &str, response: &Response) -> String {
    let status = response.status;
    let what = match (status, is_page(&response.body)) {
        (300..=399 | 511, _) => {
            format!("{who} redirected the request (captive portal? sign in to the network with a browser)")
        }
        (407, _) => "proxy authentication required".to_owned(),
        (403 | 451, true) => {
            "blocked with a web page: a filter, a firewall or a block of this region, not a bad login".to_owned()
        }
        (429, _) => format!("too many requests to {who}"),
        (500..=599, _) => format!("server error at {who}, or at a proxy before it"),
        (_, true) => {
            format!("{who} answered with a web page (captive portal or filter? try it with a browser)")
        }
        _ => format!("unexpected response from {who}"),
    };
    let flaw = response.flaw.as_ref();
    let flaw = flaw.map_or_else(String::new, |flaw| format!("; {flaw}"));
    format!("{what} (status {status}{flaw})")
}

/// Whether a body is HTML, or another page that no API sends.
pub fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(status: u16, body: &str) -> String {
        let response = Response {
            status,
            body: body.into(),
            ..Response::default()
        };
        describe_unexpected("the issuer", &response)
    }

    #[test]
    fn a_web_page_that_blocks_is_no_bad_login() {
        for page in ["<!DOCTYPE html><title>Blocked</title>", "\n <html lang=en>"] {
            assert_eq!(
                described(403, page),
                "blocked with a web page: a filter, a firewall or a block of this region, not a bad login (status 403)"
            );
        }
        assert_eq!(
            described(403, "{}"),
            "unexpected response from the issuer (status 403)"
        );
    }

    #[test]
    fn a_captive_portal_is_recognized() {
        for (status, body) in [(302, ""), (307, "<html>"), (511, "<html>"), (511, "")] {
            assert_eq!(
                described(status, body),
                format!(
                    "the issuer redirected the request (captive portal? sign in to the network with a browser) \
                     (status {status})"
                )
            );
        }
        assert_eq!(
            described(200, "<html>Welcome to the hotel"),
            "the issuer answered with a web page (captive portal or filter? try it with a browser) (status 200)"
        );
    }

    #[test]
    fn other_responses_have_plain_words() {
        let server_error = "server error at the issuer, or at a proxy before it";
        for (status, expected) in [
            (200, "unexpected response from the issuer"),
            (407, "proxy authentication required"),
            (429, "too many requests to the issuer"),
            (500, server_error),
            (503, server_error),
        ] {
            assert_eq!(
                described(status, "secret"),
                format!("{expected} (status {status})")
            );
        }
        assert_eq!(
            described(502, "<html>"),
            format!("{server_error} (status 502)")
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_request_given_up_before_it_was_sent_is_never_sent() {
        let server = support::unanswering::Unanswering::start("127.0.0.1:0");
        let url = Url::parse(&format!("http://{}", server.address)).unwrap();
        // Its own limits leave this agent more time than its caller does.
        let agent = Client::new(&url)
            .unwrap()
            .agent(Duration::from_secs(60), Arc::default(), None);
        let head = Request::get(url.as_str());
        let (response, error) = run(agent, head, None, Duration::from_millis(100));
        assert!(response.is_none() && matches!(error, Some(ureq::Error::Timeout(_))));
        assert_eq!(server.answer(), "");
    }

    #[test]
    fn a_flaw_is_told_with_the_status() {
        let response = Response {
            status: 200,
            flaw: Some("connection reset by peer".to_owned()),
            ..Response::default()
        };
        assert_eq!(
            describe_unexpected("the issuer", &response),
            "unexpected response from the issuer (status 200; connection reset by peer)"
        );
    }
}
