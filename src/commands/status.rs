//! `status`: who is signed in, and until when. It never prints a token.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use serde_json::{Value, json};

use super::output::print;
use crate::cli::StatusArgs;
use crate::credentials::{Login, Pause, Refusal, seconds_since_epoch, time_at, timestamp};
use crate::error::tame;
use crate::issuer::{self, Verdict};
use crate::phrases::moment;
use crate::renewal::is_alive;
use crate::report::{Report, State};
use crate::{renewal, settings, store};

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
    let Some(login) = report.login.as_ref().filter(|login| is_alive(login, now)) else {
        return Ok(());
    };
    let account = login.account_id();
    let (backend, token) = (settings::backend()?, login.access_token()?);
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
    let mut login = logins.pop().unwrap_or_default();
    login["version"] = json!(VERSION);
    login
}

fn object(report: &Report, now: SystemTime) -> Value {
    let login = report.login.as_ref();
    let stamp = |time: SystemTime| json!(timestamp(time));
    json!({
        "profile": report.profile,
        "state": report.state.name(),
        "usable": report.usable,
        "obstacle": report.obstacle,
        "email": login.and_then(Login::email),
        "plan": login.and_then(Login::plan),
        "account_id": login.and_then(Login::account_id),
        "issuer": login.and_then(Login::issuer),
        "store": report.place,
        "expires_at": login.and_then(Login::expires_at).map(|end| stamp(time_at(end))),
        "last_refresh": login.and_then(Login::received_at).map(stamp),
        "refusal": login.and_then(Login::refusal).map(|refusal| {
            json!({"reason": refusal.reason, "at": refusal.at.map(stamp)})
        }),
        "pause": login.and_then(|login| pause(login, now)).map(|pause| {
            json!({"reason": pause.reason, "attempts": pause.attempts, "until": stamp(pause.until)})
        }),
        "check": report.verdict.as_ref().map(|verdict| match verdict {
            Verdict::Accepted => json!({"verdict": "accepted", "reason": null}),
            Verdict::Rejected => json!({"verdict": "rejected", "reason": null}),
            Verdict::Unknown(reason) => json!({"verdict": "unreachable", "reason": reason}),
        }),
    })
}

/// The pause that holds now.
fn pause(login: &Login, now: SystemTime) -> Option<Pause> {
    login.pause().filter(|pause| pause.holds(now))
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
    let login = report.login.as_ref();
    line("Profile", Some(report.profile.clone()))?;
    line("Account ID", login.and_then(Login::account_id))?;
    line("Token", login.map(|login| life(login, report, now)))?;
    line(
        "Renewed",
        login
            .and_then(Login::received_at)
            .map(|time| seen(time, now)),
    )?;
    line(
        "Refused",
        login
            .and_then(Login::refusal)
            .map(|refusal| refused(&refusal, now)),
    )?;
    line(
        "Paused",
        login
            .and_then(|login| pause(login, now))
            .map(|pause| paused(&pause, now)),
    )?;
    line(
        "Backend",
        report
            .verdict
            .as_ref()
            .map(|verdict| judged(verdict, report.usable)),
    )?;
    line("Stored in", Some(report.place.clone()))?;
    line("Issuer", login.and_then(Login::issuer).map(tame))?;
    Ok(text)
}

/// The one line that says whether anything has to be done.
fn headline(report: &Report) -> String {
    let obstacle = report.obstacle.as_deref();
    let sign_in = renewal::sign_in(&report.profile);
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
    let login = report.login.as_ref();
    match (login.and_then(Login::email), login.and_then(Login::plan)) {
        (Some(email), Some(plan)) => format!(" as {email} ({plan})"),
        (Some(email), None) => format!(" as {email}"),
        _ => String::new(),
    }
}

fn life(login: &Login, report: &Report, now: SystemTime) -> String {
    let Some(end) = login.expires_at() else {
        return "its end is not known".to_owned();
    };
    let lives = if is_alive(login, now) {
        "good, ends"
    } else {
        "ended"
    };
    let renewal = match report.state {
        State::Due | State::Expired if report.usable => ", renewed at its next use",
        State::Refused | State::Ended => ", cannot be renewed",
        _ => "",
    };
    format!("{lives} {}{renewal}", moment(end, now))
}

fn seen(time: SystemTime, now: SystemTime) -> String {
    moment(seconds_since_epoch(time), now)
}

fn refused(refusal: &Refusal, now: SystemTime) -> String {
    let reason = &refusal.reason;
    match refusal.at {
        Some(at) => format!("{}: {reason}", seen(at, now)),
        None => reason.clone(),
    }
}

fn paused(pause: &Pause, now: SystemTime) -> String {
    format!(
        "the next renewal is tried {}: {}",
        seen(pause.until, now),
        pause.reason
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
