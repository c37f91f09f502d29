//! `status`: who is signed in, and for how long. It never prints a token.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use serde_json::json;

use super::output::{BAD, GOOD, HEADING, print_coloured};
use crate::cli::StatusArgs;
use crate::credentials::{Credentials, Source};
use crate::error::{LOGIN_REQUIRED, worst};
use crate::issuer::backend::Window;
use crate::profile::status::LoginStatus;
use crate::profile::{Profile, note, selected};
use crate::terminal::{awaiting, fitted, painted, result_width};
use crate::text::{capitalized, printable};
use crate::time::{moment, seconds_since_epoch, span};

/// Prints the state of one profile, or of all. Adding a member to the JSON does not change its version. Exit code 0 means
/// that each can get a token without a sign-in, 4 that someone has to sign in.
pub fn status(profile: Option<String>, args: &StatusArgs) -> Result<ExitCode> {
    let now = SystemTime::now();
    let look = |profile| {
        let mut login = LoginStatus::of(profile, now)?;
        if args.verify || args.usage {
            let ask = || login.ask(args.verify, args.usage);
            awaiting("Asking the backend …", ask)?;
        }
        anyhow::Ok(login)
    };
    let profiles = selected(profile, args.all)?.into_iter();
    let logins = profiles.map(|name| look(Profile::named(name)?));
    let logins = logins.collect::<Result<Vec<_>>>()?;
    let mut json = match &logins[..] {
        [login] if !args.all => login.to_json(),
        logins => json!({"profiles": logins.iter().map(LoginStatus::to_json).collect::<Vec<_>>()}),
    };
    json["version"] = 1.into();
    print_coloured(&match &logins[..] {
        _ if args.json => format!("{json:#}\n"),
        [login] if !args.all => details(login),
        logins => table(logins),
    })?;
    let codes: Vec<u8> = logins.iter().map(LoginStatus::exit_code).collect();
    Ok(worst(&codes).unwrap_or(LOGIN_REQUIRED).into())
}

/// A line for each profile, in columns as wide as needed. If the terminal is too narrow for all of them, the token is
/// shown below.
fn table(logins: &[LoginStatus]) -> String {
    if logins.is_empty() {
        return "Not signed in: run codex-auth login\n".to_owned();
    }
    let heading = ["PROFILE", "ACCOUNT", "PLAN", "TOKEN"].map(str::to_owned);
    let rows: Vec<_> = logins.iter().map(cells).collect();
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|column| {
        let rows = rows.iter().chain([&heading]);
        let lengths = rows.map(|cells| cells[column].chars().count());
        lengths.max().unwrap_or_default()
    });
    let has_room = first + second + third + fourth + 2 * 3 <= result_width();
    let line = |[profile, account, plan, token]: &[String; 4], colour| {
        let columns = format!("{profile:first$}  {account:second$}  {plan:third$}");
        if has_room {
            format!("{columns}  {}\n", painted(token, colour))
        } else {
            let token = painted(&fitted(token, 2), colour);
            format!("{}\n  {token}\n", columns.trim_end())
        }
    };
    let described = logins.iter().zip(&rows);
    let described = described.map(|(login, row)| line(row, colour(login)) + &limits(login));
    let heading = line(&heading, HEADING);
    painted(heading.trim_end(), HEADING) + "\n" + &described.collect::<String>()
}

fn cells(login: &LoginStatus) -> [String; 4] {
    let credentials = login.credentials.as_ref();
    let known = |find: fn(&Credentials) -> Option<String>| credentials.and_then(find);
    let account = known(|found| found.account().email).or_else(|| known(Credentials::account_id));
    let workspace = known(Credentials::workspace).map(|name| format!(" ({name})"));
    let account = account.map(|account| account + &workspace.unwrap_or_default());
    let plan = login.plan().map(|plan| capitalized(&plan));
    let [account, plan] = [account, plan].map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
    [login.profile.name().to_owned(), account, plan, login.cell()]
}

fn details(login: &LoginStatus) -> String {
    let headline = painted(&fitted(&login.headline(), 0), colour(login)) + "\n";
    if login.is_absent {
        return headline;
    }
    let at = |time| moment(seconds_since_epoch(time), login.now);
    let found = login.credentials.as_ref();
    let received = found.and_then(Credentials::received_at).map(at);
    let revoked = found.and_then(|found| found.revoked.as_ref());
    let revoked = revoked.map(|it| format!("{}: {}", at(it.at), it.reason));
    let backoff = login.backoff();
    let backoff = backoff.map(|it| format!("next refresh {}: {}", at(it.until), it.reason));
    let issuer = found.and_then(|found| found.issuer.as_deref());
    let is_sealed = found.is_some_and(Credentials::is_sealed);
    let sealed = is_sealed.then(|| "with a key in the keyring".to_owned());
    let source = found.map(Credentials::source).filter(|it| it.is_stored());
    let lines = [
        ("Profile", Some(login.profile.name().to_owned())),
        ("Account ID", found.and_then(Credentials::account_id)),
        ("Plan", login.plan_line()),
        ("Token", login.token_line()),
        ("Refreshed", received),
        ("Revoked", revoked),
        ("Backoff", backoff),
        ("Backend", login.backend_line()),
        ("File", Some(login.place.clone())),
        ("Sealed", sealed),
        ("Issuer", issuer.map(printable)),
        ("Source", source.map(Source::describe)),
        ("Note", found.and_then(note)),
    ];
    let lines = lines.into_iter();
    let lines = lines.filter_map(|(name, text)| Some(line(name, &text?)));
    headline + &lines.collect::<String>() + &limits(login)
}

fn colour(login: &LoginStatus) -> &'static str {
    if login.is_usable { GOOD } else { BAD }
}

fn line(name: &str, value: &str) -> String {
    format!("  {:<11} {}\n", format!("{name}:"), fitted(value, 14))
}

fn limits(login: &LoginStatus) -> String {
    let usage = match &login.usage {
        None => return String::new(),
        Some(Err(error)) => return line("Usage", &format!("unknown: {error:#}")),
        Some(Ok(usage)) => usage,
    };
    let windows = usage.windows.iter().map(|window| {
        let name = window.length.map_or("Limit".to_owned(), span);
        line(&capitalized(&name), &window_use(window, login.now))
    });
    let credits = usage.credits.as_deref();
    let credits = credits.map(|credits| line("Credits", &printable(credits)));
    match windows.chain(credits).collect() {
        lines if String::is_empty(&lines) => {
            line("Usage", "unknown: the backend reports no limits")
        }
        lines => lines,
    }
}

/// `37% used, resets in 2 hours (…)`
fn window_use(window: &Window, now: SystemTime) -> String {
    let used = window.used_percent.map(|it| format!("{it:.0}% used"));
    let reset = window.reset_at;
    let reset = reset.map(|at| format!("resets {}", moment(at, now)));
    let limit = window.limit.as_deref();
    let limit = limit.map_or_else(String::new, |name| format!(" ({})", printable(name)));
    let parts: Vec<String> = used.into_iter().chain(reset).collect();
    parts.join(", ") + &limit
}
