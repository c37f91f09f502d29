//! Findings about the way to the issuer: the certificates that are trusted, and one request.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use super::{Finding, Level};
use crate::net::http::{Client, describe_unexpected};
use crate::net::{proxy, roots};
use crate::settings;
use crate::time::{rounded_span, seconds_since_epoch};

const LIMIT: Duration = Duration::from_secs(15);
/// How far off this machine's clock may be, in seconds.
const TOLERANCE: u64 = 60;

pub fn findings() -> Vec<Finding> {
    let roots = match roots::load() {
        Ok(roots) => roots,
        Err(error) => return vec![Finding::of("certificates", Err(error))],
    };
    let (count, source) = (roots.store.len(), roots.source);
    let found = format!("{count} are trusted: {source}");
    let mut findings = vec![Finding::of("certificates", Ok(found))];
    match ask_issuer() {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(Finding::of("issuer", Err(error))),
    }
    findings
}

/// Any answer shows that the issuer can be reached; but its status may show that it came from something in between.
fn ask_issuer() -> Result<Vec<Finding>> {
    let issuer = settings::issuer()?;
    let proxy = proxy::for_url(&issuer)?;
    let proxy = proxy.map_or_else(String::new, |proxy| format!(" through {}", proxy.shown));
    let begun = Instant::now();
    let response = Client::new(&issuer)?.get(".well-known/jwks.json", &[], LIMIT)?;
    let (status, time) = (response.status, begun.elapsed().as_millis());
    let (level, found) = if matches!(status, 200 | 404) {
        let found = format!("{issuer} answered{proxy} in {time} ms (status {status})");
        (Level::Ok, found)
    } else {
        let found = describe_unexpected("the issuer", &response);
        let advice = "try again later, or from another network";
        (Level::Warning, format!("{found}: {advice}"))
    };
    let mut findings = vec![Finding::new(level, "issuer", found)];
    findings.extend(response.date.map(|date| of_clock(date, SystemTime::now())));
    Ok(findings)
}

/// With a wrong clock certificates look invalid, and tokens are refreshed too early or too late.
fn of_clock(theirs: u64, now: SystemTime) -> Finding {
    let ours = seconds_since_epoch(now);
    let off = ours.abs_diff(theirs);
    if off <= TOLERANCE {
        return Finding::of("clock", Ok("the same as the issuer's".to_owned()));
    }
    let direction = if ours > theirs { "ahead of" } else { "behind" };
    let off = rounded_span(off);
    let found = format!("this machine is {off} {direction} the issuer: set the clock");
    Finding::new(Level::Warning, "clock", found)
}
