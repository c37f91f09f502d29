//! HTTP requests, with limits on everything. Only this file makes ureq send them; `proxy` and `url` parse with it.
//!
//! Nothing is retried here, and no redirect is followed: a refresh token that a server has read is used up.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use rustls::ClientConfig;
use ureq::config::Config;
use ureq::http::header::{CONNECTION, CONTENT_TYPE, DATE, HeaderName, RETRY_AFTER};
use ureq::http::{self, Request, Uri, request};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, AsSendBody, Body, Error, ProxyProtocol, SendBody};

use crate::error::temporary;
use crate::net::proxy::{self, Proxy};
use crate::net::socket::{LONGEST_RESOLVE, Socket, Stream, describe_io, race, resolve};
use crate::net::tls;
use crate::sandbox::{NO_NETWORK, lacks_network};
use crate::text::{is_whole_object, redact};
use crate::time::seconds_since_epoch;
use crate::url::Url;

/// The maximum length of a body, in bytes. Usual ones have a few thousand.
const LONGEST_BODY: u64 = 1 << 20;
pub const FORM: &str = "application/x-www-form-urlencoded";
pub const JSON: &str = "application/json";
/// The longest wait that a server can ask for.
const DAY: Duration = Duration::from_hours(24);

/// Long enough for four lost packets of a TCP handshake.
const LONGEST_CONNECT: Duration = Duration::from_secs(15);

/// A server's response, whatever its status.
#[derive(Default)]
pub struct Response {
    pub status: u16,
    /// `Retry-After`, in either form (RFC 9110 section 10.2.3), as a time from now; a day at most.
    pub retry_after: Option<Duration>,
    /// `Date`, in seconds since 1970.
    pub date: Option<u64>,
    /// As much of it as arrived, at most 1 MiB.
    pub body: Vec<u8>,
    /// What went wrong after the head, if anything, so that the body may be incomplete.
    pub flaw: Option<String>,
}

/// Why there is no response.
#[derive(Debug)]
pub struct NoResponse {
    /// Names the host, and the proxy if there is one.
    pub reason: String,
    /// False if the server cannot have received the request, because there was no connection to it.
    pub reached: bool,
}

/// The outcome of a request.
pub type Outcome = Result<Response, NoResponse>;

impl From<NoResponse> for anyhow::Error {
    fn from(error: NoResponse) -> Self {
        temporary(error.reason)
    }
}

/// Sends requests to one server, each on a new connection: the server could close a reused one while a token request is
/// in flight, and it would be unknown whether the server had read the request.
#[derive(Clone, Debug)]
pub struct Client {
    url: Url,
    proxy: Option<Proxy>,
    /// `None` for plain http.
    tls: Option<Arc<ClientConfig>>,
}

impl Client {
    /// A client for the paths below `base`. Fails if a variable is invalid.
    pub fn new(base: &Url) -> Result<Self> {
        Ok(Self {
            url: base.clone(),
            proxy: proxy::for_url(base)?,
            tls: base.is_https.then(tls::config).transpose()?,
        })
    }

    /// `limit` covers the whole request, from resolving the name to the last byte of the response.
    pub fn get(&self, path: &str, headers: &[(&str, String)], limit: Duration) -> Outcome {
        let mut head = Request::get(self.url.join(path));
        for (name, value) in headers {
            head = head.header(*name, value);
        }
        self.send(head, SendBody::none(), limit)
    }

    pub fn post(&self, path: &str, content_type: &str, mut body: &str, limit: Duration) -> Outcome {
        let head = Request::post(self.url.join(path)).header(CONTENT_TYPE, content_type);
        self.send(head, body.as_body(), limit)
    }

    fn send(&self, head: request::Builder, body: SendBody<'_>, limit: Duration) -> Outcome {
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("codex-auth/", env!("CARGO_PKG_VERSION")));
        let client = self.clone();
        let dialer = Dialer { client, limit };
        let agent = Agent::with_parts(config.build(), dialer.clone(), dialer);
        // So that a server that sends a wrong length does not keep us waiting.
        let request = head.header(CONNECTION, "close").body(body);
        let response = request.map_or_else(|error| Err(error.into()), |it| agent.run(it));
        let host = &self.url.host;
        let place = match &self.proxy {
            Some(proxy) => format!("{host} through the proxy {}", proxy.shown),
            None => host.clone(),
        };
        let response = response.map_err(|error| NoResponse {
            reason: format!("{place}: {}", describe(&error, limit)),
            // Only `Dialer` fails with this kind.
            reached: !matches!(error, Error::Other(_)),
        })?;
        Ok(receive(response, limit))
    }
}

/// Connects for one request with this limit.
#[derive(Clone, Debug)]
struct Dialer {
    client: Client,
    limit: Duration,
}

impl Resolver for Dialer {
    /// `connect` resolves the name instead: with a proxy, it is another one.
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

impl Connector for Dialer {
    type Out = Connection;

    fn connect(&self, _: &ConnectionDetails, _: Option<()>) -> Result<Option<Connection>, Error> {
        let stream = self.dial();
        let stream = stream.map_err(|reason| Error::Other(reason.into()))?;
        let buffers = LazyBuffers::new(16 * 1024, 16 * 1024);
        Ok(Some(Connection { stream, buffers }))
    }
}

impl Dialer {
    fn dial(&self) -> Result<Stream, String> {
        let (begun, longest) = (Instant::now(), self.limit / 3 * 2);
        let longest_resolve = LONGEST_RESOLVE.min(self.limit / 3);
        let Client { url, proxy, tls } = &self.client;
        let (host, port) = match proxy {
            Some(proxy) => (&proxy.host, proxy.inner.port()),
            None => (&url.host, url.port),
        };
        let addresses = resolve(host, port, longest_resolve).map_err(|_| match proxy {
            _ if lacks_network().is_some() => NO_NETWORK,
            Some(_) => "could not resolve proxy (is this machine online?)",
            None => "could not resolve host (is this machine online? if it is behind a proxy, is https_proxy set?)",
        })?;
        let socket = race(&addresses, LONGEST_CONNECT.min(longest))
            .and_then(|socket| Socket::new(socket, self.limit.saturating_sub(begun.elapsed())));
        let mut stream = Stream::Plain(socket.map_err(|error| describe_io(&error))?);
        if let (Some(proxy), Some(config)) = (proxy, tls) {
            if proxy.inner.protocol() == ProxyProtocol::Https {
                stream = tls::encrypt(config, host, stream)
                    .map_err(|reason| format!("proxy: {reason}"))?;
            }
            proxy.tunnel(&mut stream, url, longest_resolve)?;
        }
        if let Some(config) = tls {
            stream = tls::encrypt(config, &url.host, stream)?;
        }
        // The request needs time for its response.
        if begun.elapsed() > longest {
            return Err("connection timed out".to_owned());
        }
        Ok(stream)
    }
}

/// A connection for ureq. The limits are those of the socket.
#[derive(Debug)]
struct Connection {
    stream: Stream,
    buffers: LazyBuffers,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(self.stream.flush()?)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let count = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    /// Connections are never reused.
    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

/// Receives the head, and as much of the body as arrives. Stops after a complete JSON object, because some servers leave
/// the connection open after it.
fn receive(response: http::Response<Body>, limit: Duration) -> Response {
    let text = |name: HeaderName| response.headers().get(name)?.to_str().ok();
    let date = text(DATE).and_then(|value| httpdate::parse_http_date(value).ok());
    // By the server's clock, if it sends its time, as ours may be wrong.
    let now = date.unwrap_or_else(SystemTime::now);
    let mut received = Response {
        status: response.status().as_u16(),
        retry_after: text(RETRY_AFTER).and_then(|value| retry_after(value, now)),
        date: date.map(seconds_since_epoch),
        ..Response::default()
    };
    let limits = response.into_body().into_with_config();
    let mut reader = limits.limit(LONGEST_BODY).reader();
    let mut chunk = vec![0; 16 * 1024];
    while !is_whole_object(&received.body) && received.flaw.is_none() {
        match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => received.body.extend(&chunk[..count]),
            Err(error) => received.flaw = Some(describe(&error.into(), limit)),
        }
    }
    received
}

fn describe(error: &Error, limit: Duration) -> String {
    match error {
        Error::Other(reason) => reason.to_string(),
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => {
            // What is left of a longer limit is rarely a round number.
            let seconds = (limit.as_secs_f32() * 10.0).round() / 10.0;
            format!("request timed out after {seconds} s")
        }
        Error::Io(error) => describe_io(error),
        Error::BodyExceedsLimit(_) => "response is longer than 1 MiB".to_owned(),
        other => format!("invalid HTTP response: {}", redact(&other.to_string())),
    }
}

/// `Retry-After` in seconds or as a date.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds).min(DAY));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(now).unwrap_or_default().min(DAY))
}

/// What an unexpected response probably means, without quoting its body. `who` names the service.
pub fn describe_unexpected(who: &str, response: &Response) -> String {
    let status = response.status;
    let what = match (status, is_page(&response.body)) {
        (300..=399 | 511, _) => {
            format!("{who} redirected the request (captive portal? sign in to the network with a browser)")
        }
        (403 | 451, true) => {
            "blocked by a web page: a filter, a firewall or a regional block, not a problem with your login".to_owned()
        }
        (429, _) => format!("too many requests to {who}"),
        (500..=599, _) => format!("server error at {who}, or at a proxy in front of it"),
        (_, true) => {
            format!("{who} answered with a web page (captive portal or filter? try it with a browser)")
        }
        _ => format!("unexpected response from {who}"),
    };
    let flaw = response.flaw.as_ref();
    let flaw = flaw.map_or_else(String::new, |flaw| format!("; {flaw}"));
    format!("{what} (status {status}{flaw})")
}

/// Whether a body is HTML or XML, which no API sends.
pub fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn described(status: u16, body: &str) -> String {
        describe_unexpected("the issuer", &Response::of(status, body))
    }

    #[test]
    fn a_blocking_web_page_is_not_a_bad_login() {
        for page in ["<!DOCTYPE html><title>Blocked</title>", "\n <html lang=en>"] {
            assert_eq!(
                described(403, page),
                "blocked by a web page: a filter, a firewall or a regional block, not a problem with your login (status 403)"
            );
        }
        assert_eq!(
            described(403, "{}"),
            "unexpected response from the issuer (status 403)"
        );
    }

    #[test]
    fn a_time_limit_is_shown_to_a_tenth_of_a_second() {
        for (micros, shown) in [(4_998_687, "5"), (1_500_000, "1.5"), (60_000_000, "60")] {
            let late = Error::Io(ErrorKind::TimedOut.into());
            let limit = Duration::from_micros(micros);
            let wanted = format!("request timed out after {shown} s");
            assert_eq!(describe(&late, limit), wanted);
        }
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
        let server_error = "server error at the issuer, or at a proxy in front of it";
        for (status, expected) in [
            (200, "unexpected response from the issuer"),
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

    #[test]
    fn a_flaw_is_reported_with_the_status() {
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
