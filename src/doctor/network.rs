//! Findings about the way to the issuer: what it is, and one request over it.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Error;

use super::Finding;
use crate::net::http::{Client, describe_unexpected};
use crate::net::{proxy, roots};
use crate::settings;
use crate::time::{rounded_span, seconds_since_epoch};

const LIMIT: Duration = Duration::from_secs(15);
/// What this machine's clock may be off, in seconds.
const TOLERANCE: u64 = 60;

pub fn findings() -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err((check, error)) = look(&mut findings) {
        findings.push(Finding::failure(check, &error));
    }
    findings
}

/// Goes as far as it gets. The failure comes with the name of its check.
fn look(findings: &mut Vec<Finding>) -> Result<(), (&'static str, Error)> {
    let roots = roots::load().map_err(|error| ("certificates", error))?;
    let found = format!("{} are trusted: {}", roots.certificates.len(), roots.source);
    findings.push(Finding::ok("certificates", found));
    let issuer = settings::issuer().map_err(|error| ("issuer", error))?;
    findings.push(Finding::ok("issuer", issuer.as_str()));
    let proxy = proxy::for_url(&issuer).map_err(|error| ("proxy", error))?;
    let direct = || "none, the issuer is reached directly".to_owned();
    let found = proxy.map_or_else(direct, |proxy| proxy.to_string());
    findings.push(Finding::ok("proxy", found));
    let begun = Instant::now();
    let response = Client::new(&issuer)
        .and_then(|client| Ok(client.get(".well-known/jwks.json", &[], LIMIT)?))
        .map_err(|error| ("http", error))?;
    let time = begun.elapsed().as_millis();
    let tls = if issuer.is_https() { " over TLS" } else { "" };
    // Any answer shows that the issuer can be reached; but its status may show that it came from something in between.
    findings.push(match response.status {
        status @ (200 | 404) => Finding::ok(
            "http",
            format!("the issuer answered{tls} in {time} ms (status {status})"),
        ),
        _ => Finding::warning(
            "http",
            describe_unexpected("the issuer", &response),
            "try again later, or from another network",
        ),
    });
    findings.push(of_clock(response.date, SystemTime::now()));
    Ok(())
}

/// With a wrong clock certificates look invalid, and tokens are refreshed too early or too late.
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
    let off = rounded_span(off);
    let found = format!("this machine is {off} {direction} the issuer");
    Finding::warning("clock", found, "set the clock")
}
