//! `status`: who is signed in, and until when. It never prints a token.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use serde_json::{Value, json};

use super::output::print;
use crate::cli::StatusArgs;
use crate::credentials::{Backoff, Credentials, Revoked};
use crate::issuer;
use crate::issuer::Verdict;
use crate::profile::report::{Report, State};
use crate::refresh::is_alive;
use crate::text::printable;
use crate::time::moment;
use crate::time::{seconds_since_epoch, time_at, timestamp};
use crate::{refresh, settings, store};

/// The form of what `--json` prints. A member that is added does not change it.
const VERSION: u64 = 1;

/// Prints the state of one login, or of all that are stored. Exit code 0 means that a token can be had of each without
/// a person, 4 that somebody has to sign in.
pub fn status(profile: Option<String>, args: &StatusArgs) -> Result<ExitCode> {
    let profiles = if args.all {
        store::profiles()?
    } else {
        vec![settings::profile(profile)?]
    };
    let now = SystemTime::now();
    let mut reports = Vec::new();
    for profile in &profiles {
        let mut report = Report::of(profile, now)?;
        if args.check {
            ask_backend(&mut report, now)?;
        }
        reports.push(report);
    }
    print(&if args.json {
        format!("{:#}\n", in_json(&reports, args.all, now))
    } else {
        in_words(&reports, now)?
    })?;
    let all_usable = !reports.is_empty() && reports.iter().all(|report| report.usable);
    Ok(ExitCode::from(if all_usable { 0 } else { 4 }))
}

/// Has the backend judge the stored token. One that has ended needs no judge.
fn ask_backend(report: &mut Report, now: SystemTime) -> Result<()> {
    let Some(credentials) = report
        .credentials
        .as_ref()
        .filter(|credentials| is_alive(credentials, now))
    else {
        return Ok(());
    };
    let account = credentials.account_id();
    let (backend, token) = (settings::backend()?, credentials.access_token()?);
    let verdict = issuer::check(&backend, token, account.as_deref());
    report.take(verdict.unwrap_or_else(|error| Verdict::Unknown(format!("{error:#}"))));
    Ok(())
}

/// One JSON object. Its members, none of which is ever missing; what is not known is null:
///
/// - `version`: 1.
/// - `profile`.
/// - `state`: `none`, `fresh`, `due` (good, and renewed at its next use), `expired` (renewed at its next use), `ended`
///   (it cannot be renewed), `refused`, `paused` or `unreadable`.
/// - `usable`: whether a token can be had without a person.
/// - `obstacle`: what keeps it from being used or renewed, in words.
/// - `email`, `plan`, `account_id`, `issuer`, `store` (the file).
/// - `expires_at`, `last_refresh`: RFC 3339 in UTC.
/// - `refusal`: `reason`, `at`.
/// - `pause`: `reason`, `attempts`, `until`.
/// - `check`: `verdict` (`accepted`, `rejected` or `unreachable`) and `reason`; null without `--check`, and for a token
///   that has ended anyway.
///
/// With `--all` it has only `version` and `logins`, a list of such objects without their `version`.
fn in_json(reports: &[Report], all: bool, now: SystemTime) -> Value {
    let mut logins: Vec<Value> = reports.iter().map(|report| object(report, now)).collect();
    if all {
        return json!({"version": VERSION, "logins": logins});
    }
    let mut credentials = logins.pop().unwrap_or_default();
    credentials["version"] = json!(VERSION);
    credentials
}

fn object(report: &Report, now: SystemTime) -> Value {
    let credentials = report.credentials.as_ref();
    let stamp = |time: SystemTime| json!(timestamp(time));
    json!({
        "profile": report.profile,
        "state": report.state.name(),
        "usable": report.usable,
        "obstacle": report.obstacle,
        "email": credentials.and_then(Credentials::email),
        "plan": credentials.and_then(Credentials::plan),
        "account_id": credentials.and_then(Credentials::account_id),
        "issuer": credentials.and_then(Credentials::issuer),
        "store": report.place,
        "expires_at": credentials.and_then(Credentials::expires_at).map(|end| stamp(time_at(end))),
        "last_refresh": credentials.and_then(Credentials::received_at).map(stamp),
        "refusal": credentials.and_then(Credentials::revoked).map(|revoked| {
            json!({"reason": revoked.reason, "at": revoked.at.map(stamp)})
        }),
        "pause": credentials.and_then(|credentials| backoff(credentials, now)).map(|backoff| {
            json!({"reason": backoff.reason, "attempts": backoff.attempts, "until": stamp(backoff.until)})
        }),
        "check": report.verdict.as_ref().map(|verdict| match verdict {
            Verdict::Accepted => json!({"verdict": "accepted", "reason": null}),
            Verdict::Rejected => json!({"verdict": "rejected", "reason": null}),
            Verdict::Unknown(reason) => json!({"verdict": "unreachable", "reason": reason}),
        }),
    })
}

/// The pause that holds now.
fn backoff(credentials: &Credentials, now: SystemTime) -> Option<Backoff> {
    credentials.backoff().filter(|backoff| backoff.holds(now))
}

fn in_words(reports: &[Report], now: SystemTime) -> Result<String> {
    if reports.is_empty() {
        return Ok("Nobody is signed in: run codex-auth login\n".to_owned());
    }
    let texts: Result<Vec<String>> = reports.iter().map(|report| describe(report, now)).collect();
    Ok(texts?.join("\n"))
}

fn describe(report: &Report, now: SystemTime) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "{}", headline(report))?;
    if report.state == State::None {
        return Ok(text);
    }
    let mut line = |name: &str, value: Option<String>| match value {
        Some(value) => writeln!(text, "  {:<11} {value}", format!("{name}:")),
        None => Ok(()),
    };
    let credentials = report.credentials.as_ref();
    line("Profile", Some(report.profile.clone()))?;
    line("Account ID", credentials.and_then(Credentials::account_id))?;
    line(
        "Token",
        credentials.map(|credentials| life(credentials, report, now)),
    )?;
    line(
        "Renewed",
        credentials
            .and_then(Credentials::received_at)
            .map(|time| seen(time, now)),
    )?;
    line(
        "Refused",
        credentials
            .and_then(Credentials::revoked)
            .map(|revoked| refused(&revoked, now)),
    )?;
    line(
        "Paused",
        credentials
            .and_then(|credentials| backoff(credentials, now))
            .map(|backoff| paused(&backoff, now)),
    )?;
    line(
        "Backend",
        report
            .verdict
            .as_ref()
            .map(|verdict| judged(verdict, report.usable)),
    )?;
    line("Stored in", Some(report.place.clone()))?;
    line(
        "Issuer",
        credentials.and_then(Credentials::issuer).map(printable),
    )?;
    Ok(text)
}

/// The one line that says whether anything has to be done.
fn headline(report: &Report) -> String {
    let obstacle = report.obstacle.as_deref();
    let sign_in = refresh::sign_in(&report.profile);
    match report.state {
        State::None => capitalized(obstacle.unwrap_or_default()),
        State::Unreadable => format!("No token can be had: {}", obstacle.unwrap_or_default()),
        _ if report.usable && obstacle.is_some() => format!(
            "Signed in{}, as long as the token lives: then run {sign_in}",
            whose(report)
        ),
        _ if report.usable => format!("Signed in{}", whose(report)),
        State::Refused => format!("No token can be had: the issuer ended the login: run {sign_in}"),
        _ => format!(
            "No token can be had: {}",
            obstacle.unwrap_or("the backend rejects Codex's token: run codex")
        ),
    }
}

fn capitalized(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn whose(report: &Report) -> String {
    let credentials = report.credentials.as_ref();
    match (
        credentials.and_then(Credentials::email),
        credentials.and_then(Credentials::plan),
    ) {
        (Some(email), Some(plan)) => format!(" as {email} ({plan})"),
        (Some(email), None) => format!(" as {email}"),
        _ => String::new(),
    }
}

fn life(credentials: &Credentials, report: &Report, now: SystemTime) -> String {
    let Some(end) = credentials.expires_at() else {
        return "its end is not known".to_owned();
    };
    let lives = if is_alive(credentials, now) {
        "good, ends"
    } else {
        "ended"
    };
    let refresh = match report.state {
        State::Due | State::Expired if report.usable => ", renewed at its next use",
        State::Refused | State::Ended => ", cannot be renewed",
        _ => "",
    };
    format!("{lives} {}{refresh}", moment(end, now))
}

fn seen(time: SystemTime, now: SystemTime) -> String {
    moment(seconds_since_epoch(time), now)
}

fn refused(revoked: &Revoked, now: SystemTime) -> String {
    let reason = &revoked.reason;
    match revoked.at {
        Some(at) => format!("{}: {reason}", seen(at, now)),
        None => reason.clone(),
    }
}

fn paused(backoff: &Backoff, now: SystemTime) -> String {
    format!(
        "the next renewal is tried {}: {}",
        seen(backoff.until, now),
        backoff.reason
    )
}

fn judged(verdict: &Verdict, usable: bool) -> String {
    match verdict {
        Verdict::Accepted => "accepted the token".to_owned(),
        Verdict::Rejected if usable => {
            "rejected the token: codex-auth token --force-refresh renews it".to_owned()
        }
        Verdict::Rejected => "rejected the token".to_owned(),
        Verdict::Unknown(reason) => format!("unreachable: {reason}"),
    }
}
