//! Findings about the way to the issuer, step by step: each is taken only if the one before came through.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use http::Uri;

use super::finding::{Finding, Level};
use crate::net::http::{Answer, Client, broken, explain};
use crate::net::proxy;
use crate::net::proxy::Proxy;
use crate::net::roots;
use crate::settings;
use crate::text::printable;
use crate::time::seconds_since_epoch;
use crate::time::span;

const DNS_LIMIT: Duration = Duration::from_secs(10);
/// For all addresses of a name together.
const TCP_LIMIT: Duration = Duration::from_secs(10);
const HTTP_LIMIT: Duration = Duration::from_secs(15);
/// What this machine's clock may be off, in seconds.
const TOLERANCE: u64 = 60;

pub fn findings() -> Vec<Finding> {
    let mut findings = vec![of_certificates()];
    let issuer = match settings::issuer() {
        Ok(issuer) => issuer,
        Err(error) => {
            findings.push(Finding::problem(
                "issuer",
                format!("{error:#}"),
                "correct the variable",
            ));
            return findings;
        }
    };
    findings.push(Finding::ok("issuer", issuer.clone()));
    match proxy::for_url(&issuer) {
        Ok(proxy) => {
            findings.push(of_proxy(proxy.as_ref()));
            findings.extend(walk(&issuer, proxy.as_ref()));
        }
        Err(error) => findings.push(Finding::problem(
            "proxy",
            format!("{error:#}"),
            "correct the variable",
        )),
    }
    findings
}

fn of_certificates() -> Finding {
    match roots::load() {
        Ok(roots) => Finding::ok(
            "certificates",
            format!("{} are trusted: {}", roots.store.len(), roots.source),
        ),
        Err(error) => Finding::problem(
            "certificates",
            format!("{error:#}"),
            "correct the variable, or unset it",
        ),
    }
}

fn of_proxy(proxy: Option<&Proxy>) -> Finding {
    Finding::ok(
        "proxy",
        match proxy {
            Some(proxy) => proxy.to_string(),
            None => "none, the issuer is reached directly".to_owned(),
        },
    )
}

/// To the proxy, if there is one: the rest of the way is its business.
fn walk(issuer: &str, proxy: Option<&Proxy>) -> Vec<Finding> {
    let (host, port) = match proxy {
        Some(proxy) => (proxy.how().host().to_owned(), proxy.how().port()),
        None => address(issuer),
    };
    let (found, addresses) = look_up(&host, port);
    let mut findings = vec![found];
    if addresses.is_empty() {
        return findings;
    }
    let connected = connect(&host, &addresses);
    let is_connected = connected.level == Level::Ok;
    findings.push(connected);
    if is_connected {
        findings.extend(ask(issuer));
    }
    findings
}

/// The host and the port of a URL that has been checked.
fn address(url: &str) -> (String, u16) {
    let uri: Uri = url.parse().unwrap_or_default();
    let usual = if uri.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    let host = uri.host().unwrap_or_default();
    (host.to_owned(), uri.port_u16().unwrap_or(usual))
}

/// The addresses of a host, none if they were not found.
fn look_up(host: &str, port: u16) -> (Finding, Vec<SocketAddr>) {
    let begun = Instant::now();
    match addresses(host, port) {
        Ok(found) => {
            let words = format!(
                "{host} has {} in {}",
                counted(found.len()),
                time_since(begun)
            );
            (Finding::ok("dns", words), found)
        }
        Err(words) => {
            let advice =
                "check that this machine is online; behind a company proxy, set https_proxy";
            (Finding::problem("dns", words, advice), Vec::new())
        }
    }
}

/// The same, or why there are none. The resolver has no time limit of its own.
fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let bare = settings::without_brackets(host).to_owned();
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let found = (bare.as_str(), port).to_socket_addrs();
        // Nobody listens after the limit.
        let _ = sender.send(found.map(Iterator::collect::<Vec<_>>));
    };
    let why_not = |why: &str| format!("{host} was not found ({})", printable(why));
    thread::Builder::new()
        .spawn(work)
        .map_err(|error| why_not(&error.to_string()))?;
    let found = receiver
        .recv_timeout(DNS_LIMIT)
        .map_err(|_| why_not(&format!("no answer within {} s", DNS_LIMIT.as_secs())))?
        .map_err(|error| why_not(&error.to_string()))?;
    if found.is_empty() {
        return Err(why_not("it has no address"));
    }
    Ok(found)
}

fn counted(addresses: usize) -> String {
    match addresses {
        1 => "one address".to_owned(),
        count => format!("{count} addresses"),
    }
}

fn connect(host: &str, addresses: &[SocketAddr]) -> Finding {
    let begun = Instant::now();
    let mut why = "no address was tried".to_owned();
    for address in addresses {
        let left = TCP_LIMIT.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break;
        }
        let port = address.port();
        match TcpStream::connect_timeout(address, left) {
            Ok(_) => {
                let words = format!("{host} port {port} was reached in {}", time_since(begun));
                return Finding::ok("tcp", words);
            }
            Err(error) => {
                why = format!("{host} port {port} was not reached: {}", broken(&error));
            }
        }
    }
    Finding::problem(
        "tcp",
        why,
        "check the network and its firewall, and whether a proxy has to be used or not",
    )
}

/// One request. Any answer means that the issuer can be reached; its status may still tell of somebody in between.
fn ask(issuer: &str) -> Vec<Finding> {
    let begun = Instant::now();
    let url = format!("{issuer}/.well-known/jwks.json");
    let answer = Client::new(issuer).and_then(|client| client.get(&url, &[], HTTP_LIMIT));
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let advice = "see the lines of the proxy and of the certificates";
            return vec![Finding::problem("http", format!("{error:#}"), advice)];
        }
    };
    let tls = if issuer.starts_with("https:") {
        " over TLS"
    } else {
        ""
    };
    let finding = match answer.status {
        200 | 404 => {
            let words = format!(
                "the issuer answered{tls} in {} (status {})",
                time_since(begun),
                answer.status
            );
            Finding::ok("http", words)
        }
        _ => Finding::warning(
            "http",
            format!("the issuer {}", explain(&answer)),
            "try it again later, or from another network",
        ),
    };
    vec![finding, of_clock(&answer, SystemTime::now())]
}

/// A wrong clock makes certificates look invalid, and renewals come too early or too late.
fn of_clock(answer: &Answer, now: SystemTime) -> Finding {
    let Some(theirs) = answer.date else {
        return Finding::ok("clock", "not compared, as the issuer's answer has no date");
    };
    let ours = seconds_since_epoch(now);
    let off = ours.abs_diff(theirs);
    if off <= TOLERANCE {
        return Finding::ok("clock", "as the issuer's");
    }
    let direction = if ours > theirs { "ahead of" } else { "behind" };
    let words = format!("this machine is {} {direction} the issuer", span(off));
    Finding::warning("clock", words, "set the clock")
}

fn time_since(begun: Instant) -> String {
    format!("{} ms", begun.elapsed().as_millis())
}
