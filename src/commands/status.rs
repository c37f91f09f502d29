//! `status`: who is signed in, and until when. It never prints a token.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde_json::{Value, json};

use super::output::{Colour, coloured, is_terminal, print};
use crate::cli::StatusArgs;
use crate::credentials::{Backoff, Credentials, Revoked};
use crate::issuer::backend::{self, Usage, Verdict, Window, usage};
use crate::profile::report::{Report, State};
use crate::terminal::{fitted, result_width};
use crate::text::{capitalized, printable};
use crate::time::{date, moment, seconds_since_epoch, span, time_at};
use crate::{error, settings, store};

/// The form of what `--json` prints. A member that is added does not change it.
const VERSION: u64 = 1;
/// How long the backend may take for `--verify`: a person waits for it.
const CHECK_LIMIT: Duration = Duration::from_secs(10);
/// The columns of a full bar.
const BAR: usize = 10;
/// The column of a token that stands below its profile.
const TOKEN: usize = 2;
/// The column of the values.
const VALUE: usize = 14;

/// What is known of a profile.
struct Row {
    report: Report,
    /// What the backend says of the plan's limits, if it was asked, or why it is not known.
    usage: Option<Result<Usage, String>>,
}

/// Prints the state of one profile, or of all. Exit code 0 means that each can have a token without a person, 4 that
/// somebody has to sign in.
pub fn status(profile: Option<String>, args: &StatusArgs) -> Result<ExitCode> {
    let profiles = if args.all {
        store::profiles()?
    } else {
        vec![settings::profile(profile)?]
    };
    let now = SystemTime::now();
    let mut rows = Vec::new();
    for profile in &profiles {
        rows.push(row(profile, args, now)?);
    }
    print(&match (args.json, args.all) {
        (true, all) => format!("{:#}\n", as_json(&rows, all, now)),
        (false, true) => table(&rows, now),
        (false, false) => rows.iter().map(|row| details(row, now)).collect(),
    })?;
    Ok(ExitCode::from(worst_exit_code(&rows)))
}

/// That of the worst of them: a failure that signing in does not cure comes first.
fn worst_exit_code(rows: &[Row]) -> u8 {
    let codes = rows.iter().map(|row| row.report.exit_code());
    let worst = codes.filter(|code| *code != 0).min().unwrap_or(0);
    if rows.is_empty() {
        error::LOGIN_REQUIRED
    } else {
        worst
    }
}

/// Looks at a profile, and asks the backend what the options ask for, unless the token has expired.
fn row(profile: &str, args: &StatusArgs, now: SystemTime) -> Result<Row> {
    let mut row = Row {
        report: Report::of(profile, now)?,
        usage: None,
    };
    let Some(credentials) = valid_credentials(&row.report, now) else {
        return Ok(row);
    };
    let backend = settings::backend()?;
    if args.usage {
        let usage = usage(&backend, credentials);
        row.usage = Some(usage.map_err(|error| format!("{error:#}")));
    }
    if args.verify {
        let verdict = backend::check(&backend, credentials, CHECK_LIMIT);
        row.report.take(verdict);
    }
    Ok(row)
}

fn valid_credentials(report: &Report, now: SystemTime) -> Option<&Credentials> {
    let credentials = report.credentials.as_ref();
    credentials.filter(|credentials| credentials.is_valid(now) && !credentials.is_closed())
}

/// One JSON object. Its members, none of which is ever missing; what is not known is null:
///
/// - `version`: 1.
/// - `profile`.
/// - `state`: `none`, `fresh`, `due` (valid, refreshed at its next use), `expired` (refreshed at its next use, if
///   `usable`), `revoked`, `backoff` or `unreadable`.
/// - `usable`: whether a token can be had without a person.
/// - `obstacle`: what keeps it from being used or refreshed, as a sentence.
/// - `email`, `plan`, `account_id`, `issuer`, `store` (the file).
/// - `sealed`: whether the login is encrypted with a key in the keyring. While that does not give it, `email`, `plan` and
///   `account_id` are null.
/// - `source`: the command or the socket that the tokens come from, if not from the issuer.
/// - `expires_at`, `last_refresh`: RFC 3339 in UTC.
/// - `revoked`: `reason`, `at`.
/// - `backoff`: `reason`, `attempts`, `until`.
/// - `check`: `verdict` (`accepted`, `rejected` or `unreachable`) and `reason`; null without `--verify`, and for an expired
///   token.
/// - `usage`: `limit_reached`, `windows` (a list of `window_seconds`, `used_percent`, `resets_at`) and `error`; null
///   without `--usage`, and for an expired token.
///
/// With `--all` it has only `version` and `profiles`, a list of such objects without their `version`.
fn as_json(rows: &[Row], all: bool, now: SystemTime) -> Value {
    let mut profiles: Vec<Value> = rows.iter().map(|row| object(row, now)).collect();
    if all {
        return json!({"version": VERSION, "profiles": profiles});
    }
    let mut only = profiles.pop().unwrap_or_default();
    only["version"] = json!(VERSION);
    only
}

fn object(row: &Row, now: SystemTime) -> Value {
    let report = &row.report;
    let credentials = report.credentials.as_ref();
    json!({
        "profile": report.profile,
        "state": report.state.name(),
        "usable": report.usable,
        "obstacle": report.obstacle,
        "email": credentials.and_then(Credentials::email),
        "plan": credentials.and_then(Credentials::plan),
        "account_id": credentials.and_then(Credentials::account_id),
        "issuer": credentials.and_then(|it| it.issuer.as_deref()),
        "source": source(report),
        "store": report.path,
        "sealed": report.is_sealed(),
        "expires_at": credentials.and_then(Credentials::expiry).map(|end| date(time_at(end))),
        "last_refresh": credentials.and_then(Credentials::received_at).map(date),
        "revoked": credentials.and_then(|it| it.revoked.as_ref()).map(|revoked| {
            json!({"reason": revoked.reason(), "at": date(revoked.at)})
        }),
        "backoff": backoff(report, now).map(|backoff| {
            json!({"reason": backoff.reason(), "attempts": backoff.attempts, "until": date(backoff.until)})
        }),
        "check": report.verdict.as_ref().map(verdict_in_json),
        "usage": row.usage.as_ref().map(usage_in_json),
    })
}

fn verdict_in_json(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Accepted => json!({"verdict": "accepted", "reason": null}),
        Verdict::Rejected => json!({"verdict": "rejected", "reason": null}),
        Verdict::Unknown(reason) => json!({"verdict": "unreachable", "reason": reason}),
    }
}

fn usage_in_json(usage: &Result<Usage, String>) -> Value {
    let window = |window: &Window| {
        json!({
            "window_seconds": window.length,
            "used_percent": window.used_percent,
            "resets_at": window.reset_at.map(|at| date(time_at(at))),
        })
    };
    match usage {
        Ok(usage) => {
            let windows: Vec<Value> = usage.windows.iter().map(window).collect();
            json!({"limit_reached": usage.limit_reached, "windows": windows, "error": null})
        }
        Err(error) => json!({"limit_reached": null, "windows": [], "error": error}),
    }
}

/// The backoff, while it holds.
fn backoff(report: &Report, now: SystemTime) -> Option<&Backoff> {
    let backoff = report.credentials.as_ref()?.backoff.as_ref();
    backoff.filter(|backoff| backoff.holds(now))
}

/// A line for each profile, in columns that are as wide as need be. Where the terminal is too narrow for all of them, the
/// token stands below.
fn table(rows: &[Row], now: SystemTime) -> String {
    if rows.is_empty() {
        return "Not signed in: run codex-auth login\n".to_owned();
    }
    let cells: Vec<_> = rows.iter().map(|row| cells(&row.report, now)).collect();
    let heading = ["PROFILE", "ACCOUNT", "PLAN", "TOKEN"].map(str::to_owned);
    let widths = [0, 1, 2, 3].map(|column| {
        let lines = [&heading].into_iter().chain(&cells);
        let lengths = lines.map(|cells| cells[column].chars().count());
        lengths.max().unwrap_or_default()
    });
    let has_room = !is_terminal() || widths.iter().sum::<usize>() + 2 * 3 <= result_width();
    let [first, second, third, _] = widths;
    let line = |[profile, account, plan, _]: &[String; 4], token: &str| {
        let columns = format!("{profile:first$}  {account:second$}  {plan:third$}");
        if has_room {
            format!("{columns}  {token}")
        } else {
            format!("{}\n  {token}", columns.trim_end())
        }
    };
    let described = rows.iter().zip(&cells).map(|(row, cells)| {
        let token = if has_room {
            cells[3].clone()
        } else {
            fitted(&cells[3], TOKEN)
        };
        let line = line(cells, &coloured(&token, colour(&row.report)));
        format!("{line}\n{}", limits(row, now))
    });
    let heading = coloured(&line(&heading, &heading[3]), Colour::Heading);
    format!("{heading}\n{}", described.collect::<String>())
}

fn cells(report: &Report, now: SystemTime) -> [String; 4] {
    let credentials = report.credentials.as_ref();
    let known = |find: fn(&Credentials) -> Option<String>| credentials.and_then(find);
    let account = known(Credentials::email).or_else(|| known(Credentials::account_id));
    [
        report.profile.clone(),
        account.unwrap_or_else(|| "-".to_owned()),
        known(Credentials::plan).map_or_else(|| "-".to_owned(), |plan| capitalized(&plan)),
        token_cell(report, now),
    ]
}

fn source(report: &Report) -> Option<String> {
    let source = report.credentials.as_ref()?.external_source()?;
    Some(source.describe())
}

fn token_cell(report: &Report, now: SystemTime) -> String {
    let sign_in = match source(report) {
        Some(_) => "sign in again where its tokens come from".to_owned(),
        None => format!(
            "sign in again: {}",
            settings::login_command(&report.profile)
        ),
    };
    let left = match report.credentials.as_ref().and_then(Credentials::expiry) {
        Some(end) => format!(
            "{} left",
            span(end.saturating_sub(seconds_since_epoch(now)))
        ),
        None => "expiry unknown".to_owned(),
    };
    match (valid_credentials(report, now), &report.obstacle) {
        _ if report.is_temporary => "sealed, and the keyring does not give the key".to_owned(),
        _ if report.is_out_of_reach => "unreadable".to_owned(),
        _ if report.state == State::Unreadable => format!("unreadable; {sign_in}"),
        _ if !report.usable => sign_in,
        (_, _) if matches!(report.verdict, Some(Verdict::Rejected)) => {
            "rejected by the backend, refreshed by token --force-refresh".to_owned()
        }
        (Some(_), None) => format!("valid, {left}"),
        (Some(_), Some(_)) => format!("valid, {left}, then {sign_in}"),
        (None, _) => match backoff(report, now) {
            Some(backoff) => format!("expired, next refresh {}", at(backoff.until, now)),
            None => "expired, refreshed at its next use".to_owned(),
        },
    }
}

fn details(row: &Row, now: SystemTime) -> String {
    let report = &row.report;
    let headline = coloured(&fitted(&headline(report), 0), colour(report)) + "\n";
    if report.state == State::None {
        return headline;
    }
    let credentials = report.credentials.as_ref();
    let token = credentials.map(|credentials| expiry(credentials, report, now));
    let refreshed = credentials.and_then(Credentials::received_at);
    let revoked = credentials.and_then(|it| it.revoked.as_ref());
    let backoff = backoff(report, now);
    let verdict = report.verdict.as_ref();
    let issuer = credentials.and_then(|it| it.issuer.as_deref());
    let sealed = report.is_sealed().then_some("with a key in the keyring");
    let lines = [
        ("Profile", Some(report.profile.clone())),
        ("Account ID", credentials.and_then(Credentials::account_id)),
        ("Token", token),
        ("Refreshed", refreshed.map(|time| at(time, now))),
        ("Revoked", revoked.map(|revoked| revocation(revoked, now))),
        ("Backoff", backoff.map(|backoff| next_refresh(backoff, now))),
        (
            "Backend",
            verdict.map(|verdict| describe_verdict(verdict, report)),
        ),
        ("File", Some(report.path.clone())),
        ("Sealed", sealed.map(str::to_owned)),
        ("Issuer", issuer.map(printable)),
        ("Source", source(report)),
    ];
    let lines = lines
        .into_iter()
        .filter_map(|(name, value)| Some(line(name, &value?)));
    headline + &lines.collect::<String>() + &limits(row, now)
}

fn colour(report: &Report) -> Colour {
    if report.usable {
        Colour::Good
    } else {
        Colour::Bad
    }
}

fn line(name: &str, value: &str) -> String {
    format!("  {:<11} {}\n", format!("{name}:"), fitted(value, VALUE))
}

/// The one line that says whether anything has to be done.
fn headline(report: &Report) -> String {
    let obstacle = report.obstacle.as_deref();
    let sign_in = settings::login_command(&report.profile);
    match report.state {
        State::None => capitalized(obstacle.unwrap_or_default()),
        State::Unreadable if report.is_out_of_reach => {
            format!("No token: {}", obstacle.unwrap_or_default())
        }
        State::Unreadable => format!("No token: {}: run {sign_in}", obstacle.unwrap_or_default()),
        _ if report.usable && report.is_out_of_reach => format!(
            "Signed in{} until the token expires: {}",
            as_whom(report),
            obstacle.unwrap_or_default()
        ),
        _ if report.usable && obstacle.is_some() => {
            let then = match source(report) {
                Some(_) => "then sign in where its tokens come from".to_owned(),
                None => format!("then run {sign_in}"),
            };
            format!(
                "Signed in{} until the token expires: {then}",
                as_whom(report)
            )
        }
        _ if report.usable => format!("Signed in{}", as_whom(report)),
        State::Revoked => format!("No token: the issuer revoked the login: run {sign_in}"),
        _ => format!(
            "No token: {}",
            obstacle.unwrap_or("the backend rejects Codex's token: run codex")
        ),
    }
}

fn as_whom(report: &Report) -> String {
    let credentials = report.credentials.as_ref();
    match (
        credentials.and_then(Credentials::email),
        credentials.and_then(Credentials::plan),
    ) {
        (Some(email), Some(plan)) => format!(" as {email} ({})", capitalized(&plan)),
        (Some(email), None) => format!(" as {email}"),
        _ => String::new(),
    }
}

fn expiry(credentials: &Credentials, report: &Report, now: SystemTime) -> String {
    let Some(end) = credentials.expiry() else {
        return "expiry unknown".to_owned();
    };
    let state = if credentials.is_valid(now) {
        "valid, expires"
    } else {
        "expired"
    };
    let refresh = match report.state {
        State::Due | State::Expired if report.usable => ", refreshed at its next use",
        State::Revoked => ", cannot be refreshed",
        _ => "",
    };
    format!("{state} {}{refresh}", moment(end, now))
}

fn at(time: SystemTime, now: SystemTime) -> String {
    moment(seconds_since_epoch(time), now)
}

fn revocation(revoked: &Revoked, now: SystemTime) -> String {
    format!("{}: {}", at(revoked.at, now), revoked.reason())
}

fn next_refresh(backoff: &Backoff, now: SystemTime) -> String {
    format!(
        "next refresh {}: {}",
        at(backoff.until, now),
        backoff.reason()
    )
}

fn describe_verdict(verdict: &Verdict, report: &Report) -> String {
    match verdict {
        Verdict::Accepted => "accepts the token".to_owned(),
        Verdict::Rejected if report.usable => {
            let call = settings::call_for(&report.profile);
            format!("rejects the token: {call} token --force-refresh gets a new one")
        }
        Verdict::Rejected => "rejects the token".to_owned(),
        Verdict::Unknown(reason) => format!("unreachable: {reason}"),
    }
}

/// A line for each of the plan's limits.
fn limits(row: &Row, now: SystemTime) -> String {
    match &row.usage {
        None => String::new(),
        Some(Err(error)) => line("Usage", &format!("unknown: {error}")),
        Some(Ok(usage)) if usage.windows.is_empty() => line("Usage", "unknown"),
        Some(Ok(usage)) => {
            let windows = usage.windows.iter();
            let lines = windows.map(|window| line(&window_name(window), &window_use(window, now)));
            lines.collect()
        }
    }
}

fn window_name(window: &Window) -> String {
    match window.length {
        Some(604_800) => "Week".to_owned(),
        Some(seconds) => capitalized(&span(seconds)),
        None => "Limit".to_owned(),
    }
}

/// `37% used, resets in 2 hours (…)`, after a bar where a person looks.
fn window_use(window: &Window, now: SystemTime) -> String {
    let used = window.used_percent.map(|percent| {
        let bar = if is_terminal() {
            bar(percent) + " "
        } else {
            String::new()
        };
        format!("{bar}{percent:.0}% used")
    });
    let reset = window
        .reset_at
        .map(|at| format!("resets {}", moment(at, now)));
    let parts: Vec<String> = used.into_iter().chain(reset).collect();
    parts.join(", ")
}

fn bar(percent: f64) -> String {
    let full = filled(percent);
    let colour = match percent {
        90.0.. => Colour::Bad,
        70.0.. => Colour::Warning,
        _ => Colour::Good,
    };
    coloured(&"█".repeat(full), colour) + &"░".repeat(BAR - full)
}

/// The columns of a bar that are full.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is clamped to the columns of a bar first"
)]
fn filled(percent: f64) -> usize {
    // As many columns as `BAR`, which has no lossless way into a float.
    (percent / 10.0).round().clamp(0.0, 10.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_it_can_be() {
        for (percent, full) in [
            (0.0, 0),
            (-7.0, 0),
            (4.9, 0),
            (5.0, 1),
            (50.0, 5),
            (100.0, BAR),
            (1e300, BAR),
            (f64::NAN, 0),
        ] {
            assert_eq!(filled(percent), full, "{percent}");
        }
    }
}
