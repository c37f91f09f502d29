//! Findings about the stored credentials: their state, and refresh tokens that two profiles share.

use std::time::SystemTime;

use super::finding::Finding;
use crate::credentials::Backoff;
use crate::profile::copies;
use crate::profile::report::{Report, State};
use crate::settings::CODEX_PROFILE;
use crate::time::{moment, seconds_since_epoch};
use crate::{settings, store};

/// Findings about each stored profile, and about the one that was asked for.
pub fn findings(asked: &str) -> Vec<Finding> {
    let mut profiles = match store::profiles() {
        Ok(profiles) => profiles,
        Err(error) => {
            let advice = "see the line of the store";
            return vec![Finding::problem("login", format!("{error:#}"), advice)];
        }
    };
    if !profiles.iter().any(|profile| profile == asked) {
        profiles.push(asked.to_owned());
    }
    let now = SystemTime::now();
    let mut findings: Vec<Finding> = profiles
        .iter()
        .map(|profile| of_profile(profile, now))
        .collect();
    findings.extend(of_sharing());
    findings
}

fn of_profile(profile: &str, now: SystemTime) -> Finding {
    match Report::of(profile, now) {
        Ok(report) => of_login(&report, now),
        Err(error) => Finding::problem("login", format!("{error:#}"), "correct the variable"),
    }
}

fn of_login(report: &Report, now: SystemTime) -> Finding {
    let profile = &report.profile;
    let sign_in = format!("run {}", settings::login_command(profile));
    let obstacle = report.obstacle.as_deref();
    match (report.state, obstacle) {
        (State::None, Some(why)) => Finding::ok("login", format!("{profile}: {why}")),
        (State::Revoked, Some(reason)) => {
            let found = format!("{profile}: the issuer revoked the login: {reason}");
            Finding::problem("login", found, sign_in)
        }
        (State::Unreadable, Some(why)) if profile != CODEX_PROFILE => {
            let advice = if report.is_out_of_reach {
                "see store and file above".to_owned()
            } else {
                sign_in
            };
            Finding::problem("login", format!("{profile}: {why}"), advice)
        }
        (_, Some(why)) if !report.usable => {
            Finding::problem("login", format!("{profile}: no token"), why)
        }
        (_, Some(why)) => {
            let found = format!("{profile}: the token is valid, but cannot be refreshed");
            Finding::warning("login", found, why)
        }
        (State::Backoff, None) => {
            let backoff = report
                .credentials
                .as_ref()
                .and_then(|found| found.backoff.as_ref());
            let is_own = report
                .credentials
                .as_ref()
                .is_some_and(|found| found.external_source().is_none());
            let advice = if is_own {
                "wait, and see the network below"
            } else {
                "wait, or run the command by hand"
            };
            Finding::warning(
                "login",
                format!("{profile}: {}", last_failure(backoff, now)),
                advice,
            )
        }
        (state, None) => Finding::ok("login", format!("{profile}: {}", state.name())),
    }
}

fn last_failure(backoff: Option<&Backoff>, now: SystemTime) -> String {
    let Some(backoff) = backoff else {
        return "the last refresh failed".to_owned();
    };
    let until = moment(seconds_since_epoch(backoff.until), now);
    format!(
        "the last refresh failed ({}), the next one is tried {until}",
        backoff.reason()
    )
}

/// Each profile whose refresh token one before it has too.
fn of_sharing() -> Vec<Finding> {
    let known = copies::known();
    let mut findings: Vec<Finding> = known
        .closed
        .iter()
        .map(|profile| unknown(profile))
        .collect();
    for (number, (profile, fingerprint)) in known.logins.iter().enumerate() {
        let earlier = known.logins[..number]
            .iter()
            .filter(|(_, other)| other == fingerprint);
        findings.extend(earlier.map(|(other, _)| shared(profile, other)));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "sharing",
            "no two profiles have the same login",
        ));
    }
    findings
}

fn unknown(profile: &str) -> Finding {
    let found = format!(
        "it is unknown whether {} is a copy of another: it cannot be read without the keyring",
        copies::describe_holder(profile)
    );
    let advice = "run codex-auth doctor where the keyring is unlocked";
    Finding::warning("sharing", found, advice)
}

fn shared(profile: &str, other: &str) -> Finding {
    let other = copies::describe_holder(other);
    let found = format!(
        "{profile}: it is a copy of {other}: the first to be refreshed invalidates the other"
    );
    let advice = format!(
        "run codex-auth --profile {profile} logout --no-revoke, then {}",
        settings::login_command(profile)
    );
    Finding::problem("sharing", found, advice)
}
