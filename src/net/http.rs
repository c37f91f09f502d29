//! Requests over the network, with limits on everything: the only user of ureq, with `tls.rs` and `proxy.rs` beside it.
//!
//! Nothing is tried twice here, and no redirect is followed: a refresh token that a server has read is used up.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use http::header::{CONTENT_TYPE, DATE, HeaderName, RETRY_AFTER};
use http::{Request, Response, Uri, request};
use rustls::ClientConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector, NextTimeout, SocksConnector, TcpConnector,
};
use ureq::{Agent, Body};

use crate::error::Failure;
use crate::net::proxy;
use crate::net::proxy::Proxy;
use crate::net::tls;
use crate::net::tls::Handshake;
use crate::text::redact;

/// The longest answer that is read, in bytes. The answers that we know have a few thousand.
const LONGEST_BODY: u64 = 1 << 20;
/// Limits for the first steps: resolvers give up after 10 s, and 15 s are four lost packets of a TCP connection.
const LONGEST_RESOLVE: Duration = Duration::from_secs(10);
const LONGEST_CONNECT: Duration = Duration::from_secs(15);
/// In how many steps a limit is waited for.
const STEPS: u32 = 100;
/// How long this process may be stopped, frozen or suspended during a request: its answer is there when it goes on.
const LONGEST_STOP: Duration = DAY;
/// The longest wait that a server can ask for.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a server answered, whatever its status was.
pub struct Answer {
    pub status: u16,
    /// `Retry-After`, in either of its two forms (RFC 9110 section 10.2.3), as a time from now; a day at most.
    pub retry_after: Option<Duration>,
    /// `Date` of the answer, in seconds since 1970.
    pub date: Option<u64>,
    /// At most 1 MiB.
    pub body: Vec<u8>,
}

/// Sends requests to one host. Each has a connection of its own: one that is kept could be closed by the server while a
/// token request is on its way, and nobody could tell whether that was read.
///
/// What goes wrong on the way is `Failure::Temporary`, with words that name the host, the proxy and the step.
pub struct Client {
    host: String,
    proxy: Option<Proxy>,
    /// None for plain http.
    tls: Option<Arc<ClientConfig>>,
}

impl Client {
    /// A client for the URLs that begin with this one. Variables that cannot be used are errors here.
    pub fn new(base_url: &str) -> Result<Self> {
        let uri: Uri = base_url.parse().ok().context("the URL cannot be used")?;
        let host = uri.host().context("the URL has no host")?.to_owned();
        let is_https = uri.scheme_str() == Some("https");
        Ok(Self {
            host,
            proxy: proxy::for_url(base_url)?,
            tls: is_https.then(tls::config).transpose()?,
        })
    }

    /// `limit` bounds the whole request, from the name to the last byte of the answer.
    pub fn get(&self, url: &str, headers: &[(&str, &str)], limit: Duration) -> Result<Answer> {
        let head = headers
            .iter()
            .fold(Request::get(url), |head, (name, value)| {
                head.header(*name, *value)
            });
        self.send(head, None, limit)
    }

    pub fn post_form(&self, url: &str, body: &str, limit: Duration) -> Result<Answer> {
        let head = Request::post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(head, Some(body.to_owned()), limit)
    }

    pub fn post_json(&self, url: &str, body: &str, limit: Duration) -> Result<Answer> {
        let head = Request::post(url).header(CONTENT_TYPE, "application/json");
        self.send(head, Some(body.to_owned()), limit)
    }

    /// The request has a thread of its own: ureq counts the time in which this process is stopped, and its limit starts
    /// anew at each byte of a proxy's answer to CONNECT. What is given up before it was sent is not sent any more.
    fn send(
        &self,
        head: request::Builder,
        body: Option<String>,
        limit: Duration,
    ) -> Result<Answer> {
        let given_up = Arc::default();
        let agent = self.agent(limit, Arc::clone(&given_up));
        let (done, outcome) = mpsc::channel();
        thread::Builder::new()
            .spawn(move || done.send(exchange(&agent, head, body)))
            .context("could not start a thread")?;
        match wait_for(&outcome, limit) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(ureq::Error::Http(_) | ureq::Error::BadUri(_))) => {
                anyhow::bail!("could not put the request to {} together", self.host)
            }
            Some(Err(error)) => Err(self.failure(&self.words(&error, limit))),
            None => {
                given_up.store(true, Ordering::SeqCst);
                Err(self.failure(&late(limit)))
            }
        }
    }

    fn agent(&self, limit: Duration, given_up: Arc<AtomicBool>) -> Agent {
        let config = Agent::config_builder()
            .proxy(self.proxy.as_ref().map(|proxy| proxy.how().clone()))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("codex-auth/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(limit + LONGEST_STOP))
            // Together they stay below the whole, so that the error names the step.
            .timeout_resolve(Some(LONGEST_RESOLVE.min(limit / 3)))
            .timeout_connect(Some(LONGEST_CONNECT.min(limit / 3 * 2)))
            .build();
        let connector =
            ().chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(Handshake {
                    host: self.host.clone(),
                    config: self.tls.clone(),
                    given_up,
                });
        Agent::with_parts(
            config,
            connector,
            Names {
                host: self.host.clone(),
            },
        )
    }

    fn failure(&self, words: &str) -> anyhow::Error {
        let host = &self.host;
        let line = match &self.proxy {
            Some(proxy) => format!("{host} through the proxy {proxy}: {words}"),
            None => format!("{host}: {words}"),
        };
        Failure::Temporary(line).into()
    }

    fn words(&self, error: &ureq::Error, limit: Duration) -> String {
        match error {
            ureq::Error::Other(words) => words.to_string(),
            ureq::Error::Io(error) => broken(error),
            ureq::Error::Timeout(ureq::Timeout::Connect) => {
                "the connection did not come about in time (is a firewall or a proxy in the way?)"
                    .to_owned()
            }
            ureq::Error::Timeout(_) => late(limit),
            ureq::Error::BodyExceedsLimit(_) => "the answer is longer than 1 MiB".to_owned(),
            ureq::Error::ConnectProxyFailed(reason) => self.revoked(reason),
            other => format!(
                "the answer cannot be understood: {}",
                redact(&other.to_string())
            ),
        }
    }

    /// What a proxy means that does not open the tunnel. ureq says `proxy server responded 407/407`.
    fn revoked(&self, reason: &str) -> String {
        let variable = self.proxy.as_ref().map_or("https_proxy", Proxy::variable);
        let has_user = |proxy: &Proxy| proxy.how().username().is_some();
        match (
            reason.contains("407"),
            self.proxy.as_ref().is_some_and(has_user),
        ) {
            (true, true) => {
                format!("the proxy refused the user name or the password in {variable} (407)")
            }
            (true, false) => format!(
                "the proxy wants a user name and a password (407): set {variable} to http://USER:PASSWORD@HOST:PORT"
            ),
            _ => format!(
                "the proxy did not open a connection ({})",
                redact(reason.split('/').next().unwrap_or_default())
            ),
        }
    }
}

/// Resolves as ureq does, and says whose name it was that was not found.
#[derive(Debug)]
struct Names {
    host: String,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout);
        found.map_err(|error| {
            let whose = tls::whose(&self.host, uri);
            let late = if matches!(error, ureq::Error::Timeout(_)) { " in time" } else { "" };
            let words = format!(
                "{whose} name was not found{late} (is this machine online? behind a company proxy, is https_proxy set?)"
            );
            ureq::Error::Other(words.into())
        })
    }
}

fn exchange(
    agent: &Agent,
    head: request::Builder,
    body: Option<String>,
) -> Result<Answer, ureq::Error> {
    let response = match body {
        Some(body) => agent.run(head.body(body)?)?,
        None => agent.run(head.body(())?)?,
    };
    receive(response)
}

fn receive(mut response: Response<Body>) -> Result<Answer, ureq::Error> {
    let text = |name: HeaderName| response.headers().get(name)?.to_str().ok();
    let date = text(DATE).and_then(|value| httpdate::parse_http_date(value).ok());
    // By the server's own clock, where it tells: ours may be wrong.
    let now = date.unwrap_or_else(SystemTime::now);
    let retry_after = text(RETRY_AFTER).and_then(|value| wait(value, now));
    // The byte that is too many is allowed to come, because ureq fails at the limit even if that was the last one.
    let body = response
        .body_mut()
        .with_config()
        .limit(LONGEST_BODY + 1)
        .read_to_vec()?;
    Ok(Answer {
        status: response.status().as_u16(),
        retry_after,
        date: date.and_then(|date| Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())),
        body,
    })
}

/// Waits as long as this process runs, in short steps: while it is stopped the clock goes on, but no more than one step
/// of the limit is used up.
fn wait_for<T>(outcome: &mpsc::Receiver<T>, limit: Duration) -> Option<T> {
    let step = limit / STEPS;
    // The last chance is for what came during a stop.
    let mut steps = (0..=STEPS).map(|_| outcome.recv_timeout(step));
    steps.find_map(Result::ok)
}

/// `Retry-After` in seconds or as a date.
pub fn wait(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds).min(DAY));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(now).unwrap_or_default().min(DAY))
}

fn late(limit: Duration) -> String {
    format!("no complete answer came within {} s", limit.as_secs_f32())
}

/// What went wrong with a connection.
pub fn broken(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "the connection was refused".to_owned(),
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::AddrNotAvailable => {
            "there is no way to it (is this machine online?)".to_owned()
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => {
            "the connection was closed before the answer was complete".to_owned()
        }
        _ => redact(&error.to_string()),
    }
}

/// What an answer probably means that is none of those which the protocol knows, as the rest of a sentence that begins
/// with the name of the service. It quotes nothing of the body.
pub fn explain(answer: &Answer) -> String {
    let status = answer.status;
    let what = match (status, is_page(&answer.body)) {
        (300..=399 | 511, _) => {
            "redirected us (a captive portal? sign in to the network with a browser)"
        }
        (407, _) => "answered as a proxy that wants a user name and a password",
        (403 | 451, true) => {
            "refused with a web page: a filter, a firewall or a block of this region, not a bad login"
        }
        (429, _) => "had too many requests from here",
        (500..=599, _) => "has trouble itself, or a proxy before it",
        (_, true) => {
            "answered with a web page (a captive portal or a filter? try it with a browser)"
        }
        _ => "answered what was not expected",
    };
    format!("{what} (status {status})")
}

/// Whether a body is HTML.
fn is_page(body: &[u8]) -> bool {
    let start = body.trim_ascii_start().to_ascii_lowercase();
    start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(status: u16, body: &str) -> String {
        explain(&Answer {
            status,
            retry_after: None,
            date: None,
            body: body.into(),
        })
    }

    #[test]
    fn a_web_page_that_refuses_is_no_bad_login() {
        for page in ["<!DOCTYPE html><title>Blocked</title>", "\n <html lang=en>"] {
            assert_eq!(
                explained(403, page),
                "refused with a web page: a filter, a firewall or a block of this region, not a bad login (status 403)"
            );
        }
        assert_eq!(
            explained(403, "{}"),
            "answered what was not expected (status 403)"
        );
    }

    #[test]
    fn a_captive_portal_is_recognized() {
        for (status, body) in [(302, ""), (307, "<html>"), (511, "<html>"), (511, "")] {
            assert_eq!(
                explained(status, body),
                format!(
                    "redirected us (a captive portal? sign in to the network with a browser) (status {status})"
                )
            );
        }
        assert_eq!(
            explained(200, "<html>Welcome to the hotel"),
            "answered with a web page (a captive portal or a filter? try it with a browser) (status 200)"
        );
    }

    #[test]
    fn other_answers_have_plain_words() {
        for (status, words) in [
            (200, "answered what was not expected"),
            (
                407,
                "answered as a proxy that wants a user name and a password",
            ),
            (429, "had too many requests from here"),
            (500, "has trouble itself, or a proxy before it"),
            (503, "has trouble itself, or a proxy before it"),
        ] {
            assert_eq!(
                explained(status, "secret"),
                format!("{words} (status {status})")
            );
        }
        assert_eq!(
            explained(502, "<html>"),
            "has trouble itself, or a proxy before it (status 502)"
        );
    }
}
