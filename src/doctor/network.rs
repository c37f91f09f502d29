//! Findings about the way to the issuer, step by step: each is taken only if the one before came through.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::finding::{Finding, Level};
use crate::net::http::{Client, describe_io, describe_unexpected};
use crate::net::proxy::{self, Proxy};
use crate::net::{connect, roots};
use crate::settings;
use crate::text::printable;
use crate::time::{seconds_since_epoch, span};
use crate::url::{Url, without_brackets};

const DNS_LIMIT: Duration = Duration::from_secs(10);
/// For all addresses of one family together.
const TCP_LIMIT: Duration = Duration::from_secs(5);
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
    findings.push(Finding::ok("issuer", issuer.as_str()));
    match proxy::for_url(&issuer) {
        Ok(proxy) => {
            findings.push(of_proxy(proxy.as_ref()));
            findings.extend(check_route(&issuer, proxy.as_ref()));
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
            format!("{} are trusted: {}", roots.certificates.len(), roots.source),
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

/// The route to the issuer, or to the proxy if there is one, and one request over it.
fn check_route(issuer: &Url, proxy: Option<&Proxy>) -> Vec<Finding> {
    let (host, port) = match proxy {
        Some(proxy) => (proxy.inner().host().to_owned(), proxy.inner().port()),
        None => (issuer.host().to_owned(), issuer.port()),
    };
    let (found, addresses) = resolve_host(&host, port);
    let mut findings = vec![found];
    if addresses.is_empty() {
        return findings;
    }
    let connected = try_connect(&format!("{host} port {port}"), &addresses);
    let is_connected = connected.level != Level::Problem;
    findings.push(connected);
    if is_connected {
        findings.extend(request(issuer));
    }
    findings
}

/// The addresses of a host, none if they were not found.
fn resolve_host(host: &str, port: u16) -> (Finding, Vec<SocketAddr>) {
    let begun = Instant::now();
    match connect::resolve(without_brackets(host), port, DNS_LIMIT) {
        Ok(found) => {
            let count = match found.len() {
                1 => "one address".to_owned(),
                count => format!("{count} addresses"),
            };
            let resolved = format!("{host} has {count} in {}", time_since(begun));
            (Finding::ok("dns", resolved), found)
        }
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::TimedOut => format!("no answer within {} s", DNS_LIMIT.as_secs()),
                _ => printable(&error.to_string()),
            };
            let problem = format!("could not resolve {host}: {why}");
            let advice =
                "check that this machine is online; behind a company proxy, set https_proxy";
            (Finding::problem("dns", problem, advice), Vec::new())
        }
    }
}

/// Tries the addresses of each family, because one that does not answer costs other programs much time.
fn try_connect(place: &str, addresses: &[SocketAddr]) -> Finding {
    let begun = Instant::now();
    let of_family = |is_ipv6| {
        let family = addresses.iter().filter(|one| one.is_ipv6() == is_ipv6);
        family.copied().collect::<Vec<_>>()
    };
    let (ipv4, ipv6) = (of_family(false), of_family(true));
    let (ipv4, ipv6) = thread::scope(|scope| {
        let other = scope.spawn(|| race_family(&ipv6));
        let outcome = race_family(&ipv4);
        let other = other.join().ok().flatten();
        (outcome, other)
    });
    let time = time_since(begun);
    judge_connections(place, ipv4, ipv6, &time)
}

/// None without an address.
fn race_family(addresses: &[SocketAddr]) -> Option<io::Result<SocketAddr>> {
    (!addresses.is_empty()).then(|| connect::race(addresses, TCP_LIMIT))
}

fn judge_connections(
    place: &str,
    ipv4: Option<io::Result<SocketAddr>>,
    ipv6: Option<io::Result<SocketAddr>>,
    time: &str,
) -> Finding {
    let one_sided = |silent: &str, works: &str| {
        Finding::warning(
            "tcp",
            format!("{place} was reached in {time}: {silent} does not answer, {works} does"),
            format!("fix the {silent} route of this network, or switch {silent} off"),
        )
    };
    match (ipv4, ipv6) {
        (Some(Ok(_)), Some(Err(error))) if is_timeout(&error) => one_sided("IPv6", "IPv4"),
        (Some(Err(error)), Some(Ok(_))) if is_timeout(&error) => one_sided("IPv4", "IPv6"),
        (Some(Ok(_)), _) | (_, Some(Ok(_))) => {
            Finding::ok("tcp", format!("{place} was reached in {time}"))
        }
        (Some(Err(error)), _) | (None, Some(Err(error))) => Finding::problem(
            "tcp",
            format!("could not connect to {place}: {}", describe_io(&error)),
            "check the network and its firewall, and whether a proxy has to be used or not",
        ),
        (None, None) => {
            Finding::problem("tcp", format!("{place} has no address"), "check its name")
        }
    }
}

/// Whether nothing came back. A refused connection, or a family that this machine does not have, costs no time.
fn is_timeout(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut
}

/// One request. Any answer means that the issuer can be reached; its status may still show that it came from something in between.
fn request(issuer: &Url) -> Vec<Finding> {
    let begun = Instant::now();
    let response = Client::new(issuer)
        .and_then(|client| Ok(client.get(".well-known/jwks.json", &[], HTTP_LIMIT)?));
    let response = match response {
        Ok(response) => response,
        Err(error) => {
            let advice = "see proxy and certificates above";
            return vec![Finding::problem("http", format!("{error:#}"), advice)];
        }
    };
    let tls = if issuer.is_https() { " over TLS" } else { "" };
    let finding = match response.status {
        status @ (200 | 404) => {
            let time = time_since(begun);
            let found = format!("the issuer answered{tls} in {time} (status {status})");
            Finding::ok("http", found)
        }
        _ => Finding::warning(
            "http",
            describe_unexpected("the issuer", &response),
            "try it again later, or from another network",
        ),
    };
    vec![finding, of_clock(response.date, SystemTime::now())]
}

/// A wrong clock makes certificates look invalid, and tokens are refreshed too early or too late.
fn of_clock(theirs: Option<u64>, now: SystemTime) -> Finding {
    let Some(theirs) = theirs else {
        return Finding::ok("clock", "not compared: the issuer's response has no date");
    };
    let ours = seconds_since_epoch(now);
    let off = ours.abs_diff(theirs);
    if off <= TOLERANCE {
        return Finding::ok("clock", "the same as the issuer's");
    }
    let direction = if ours > theirs { "ahead of" } else { "behind" };
    let found = format!("this machine is {} {direction} the issuer", span(off));
    Finding::warning("clock", found, "set the clock")
}

fn time_since(begun: Instant) -> String {
    format!("{} ms", begun.elapsed().as_millis())
}
