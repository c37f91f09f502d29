//! `status`: who is signed in, and until when. It never prints a token.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::print;
use crate::credentials::{Login, seconds_since_epoch, time_at};
use crate::renewal;
use crate::store::Store;

pub fn status(store: &Store) -> Result<ExitCode> {
    let now = SystemTime::now();
    let login = store.load()?;
    let Some(login) = login else {
        print(&format!("Not signed in (profile {}).\n", store.profile()))?;
        return Ok(ExitCode::from(4));
    };
    print(&describe(&login, store, now)?)?;
    let usable =
        login.access_token().is_ok() && renewal::is_alive(&login, now) || can_renew(&login);
    Ok(ExitCode::from(if usable { 0 } else { 4 }))
}

fn can_renew(login: &Login) -> bool {
    login.refusal().is_none() && renewal::issuer_of(login).is_ok()
}

fn describe(login: &Login, store: &Store, now: SystemTime) -> Result<String> {
    let unknown = || "unknown".to_owned();
    let mut text = String::new();
    writeln!(text, "Account:   {}", login.email().unwrap_or_else(unknown))?;
    writeln!(text, "Plan:      {}", login.plan().unwrap_or_else(unknown))?;
    writeln!(
        text,
        "ID:        {}",
        login.account_id().unwrap_or_else(unknown)
    )?;
    writeln!(text, "Token:     {}", life(login, now))?;
    if let Some(refusal) = login.refusal() {
        writeln!(text, "Refused:   {}: run codex-auth login", refusal.reason)?;
    }
    writeln!(text, "Stored in: {}", store.path().display())?;
    Ok(text)
}

fn life(login: &Login, now: SystemTime) -> String {
    let Some(end) = login.expires_at() else {
        return "its end is unknown".to_owned();
    };
    let now = seconds_since_epoch(now);
    let distance = humantime::format_duration(Duration::from_secs(end.abs_diff(now)));
    let at = humantime::format_rfc3339_seconds(time_at(end));
    if end > now {
        format!("good for {distance}, until {at}")
    } else {
        format!("ended {distance} ago, at {at}")
    }
}
