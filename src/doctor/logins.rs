//! Findings about the logins themselves: refusals and pauses that are remembered, and refresh tokens that two share.

use std::time::SystemTime;

use anyhow::{Error, Result};

use super::finding::Finding;
use crate::credentials::Credentials;
use crate::profile::copies;
use crate::profile::report::{Report, State};
use crate::settings::CODEX_PROFILE;
use crate::time::moment;
use crate::time::seconds_since_epoch;
use crate::{refresh, store};

/// Findings about each stored login, and about the profile that was asked for.
pub fn findings(profile: Result<String>) -> Vec<Finding> {
    let asked = match profile {
        Ok(profile) => profile,
        Err(error) => return vec![unknown(&error, "choose another name")],
    };
    let mut profiles = match store::profiles() {
        Ok(profiles) => profiles,
        Err(error) => return vec![unknown(&error, "see the line of the store")],
    };
    if !profiles.contains(&asked) {
        profiles.push(asked);
    }
    let now = SystemTime::now();
    let mut findings = Vec::new();
    for profile in &profiles {
        match Report::of(profile, now) {
            Ok(report) => findings.push(of_login(&report, now)),
            Err(error) => findings.push(unknown(&error, "correct the variable")),
        }
    }
    findings.extend(of_sharing());
    findings
}

fn unknown(error: &Error, advice: &str) -> Finding {
    Finding::problem("login", format!("{error:#}"), advice)
}

fn of_login(report: &Report, now: SystemTime) -> Finding {
    let profile = &report.profile;
    let sign_in = format!("run {}", refresh::sign_in(profile));
    let obstacle = report.obstacle.as_deref();
    match (report.state, obstacle) {
        (State::None, Some(words)) => Finding::ok("login", format!("{profile}: {words}")),
        (State::Refused, Some(reason)) => {
            let words = format!("{profile}: the issuer refused to renew it: {reason}");
            Finding::problem("login", words, sign_in)
        }
        (State::Unreadable, Some(words)) if profile != CODEX_PROFILE => {
            Finding::problem("login", format!("{profile}: {words}"), sign_in)
        }
        (_, Some(words)) if !report.usable => {
            Finding::problem("login", format!("{profile}: no token can be had"), words)
        }
        (_, Some(words)) => {
            let found = format!("{profile}: a token can be had, but not be renewed");
            Finding::warning("login", found, words)
        }
        (State::Paused, None) => {
            let words = format!("{profile}: {}", paused(report.credentials.as_ref(), now));
            Finding::warning("login", words, "wait, and see the lines of the network")
        }
        (state, None) => Finding::ok("login", format!("{profile}: {}", state.name())),
    }
}

fn paused(credentials: Option<&Credentials>, now: SystemTime) -> String {
    let Some(backoff) = credentials.and_then(Credentials::backoff) else {
        return "its renewal is paused".to_owned();
    };
    let until = moment(seconds_since_epoch(backoff.until), now);
    format!(
        "the last renewal failed ({}), the next one is tried {until}",
        backoff.reason
    )
}

/// Each login that is a copy of one before it.
fn of_sharing() -> Vec<Finding> {
    let known = copies::known();
    let mut findings = Vec::new();
    for (number, (profile, print)) in known.iter().enumerate() {
        let earlier = known[..number].iter().filter(|(_, other)| other == print);
        findings.extend(earlier.map(|(other, _)| shared(profile, other)));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "sharing",
            "no login is a copy of another one here, or of Codex's",
        ));
    }
    findings
}

fn shared(profile: &str, other: &str) -> Finding {
    let whose = copies::whose(other);
    let words =
        format!("{profile}: it is a copy of {whose}: the first to be renewed ends the other");
    let advice = format!(
        "run codex-auth --profile {profile} logout --no-revoke, then {}",
        refresh::sign_in(profile)
    );
    Finding::problem("sharing", words, advice)
}
