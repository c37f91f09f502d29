//! Findings about the stored logins: how each stands, and which of them are copies of one another.

use std::iter;
use std::time::SystemTime;

use super::{Finding, Level};
use crate::profile::status::LoginStatus;
use crate::profile::{Profile, copies};
use crate::{settings, store};

/// Findings about the profile that was asked for, then about each one that is stored.
pub fn findings(asked: Profile) -> Vec<Finding> {
    // A folder that cannot be listed has a separate finding.
    let mut others = store::profiles().unwrap_or_default();
    others.retain(|name| name != asked.name());
    let others = others.into_iter().flat_map(Profile::named);
    let now = SystemTime::now();
    let logins = iter::once(asked).chain(others);
    let logins = logins.map(|profile| match LoginStatus::of(profile, now) {
        Ok(login) => of_login(&login),
        Err(error) => Finding::of("login", Err(error)),
    });
    logins.chain(of_copies()).collect()
}

fn of_login(login: &LoginStatus) -> Finding {
    let (profile, cell) = (login.profile.name(), login.cell());
    let (level, found) = match login.problem() {
        None => (Level::Ok, cell),
        Some(_) if login.is_absent => (Level::Warning, cell),
        Some(_) if !login.is_usable => (Level::Problem, cell),
        // The token is valid, but no other one follows it.
        Some(reason) if login.obstacle.is_some() => (Level::Problem, format!("{cell}: {reason}")),
        Some(reason) => (Level::Warning, format!("{cell}: {reason}")),
    };
    Finding::new(level, "login", format!("{profile}: {found}"))
}

/// Each profile whose refresh token one before it has too.
fn of_copies() -> Vec<Finding> {
    let known = copies::known();
    let unreadable = known.closed.iter().map(|profile| {
        let login = copies::describe_login(profile);
        Finding::new(Level::Warning, "sharing", format!(
            "cannot tell whether {login} is a copy of another: it cannot be read without the keyring"
        ))
    });
    let logins = known.logins.iter().enumerate();
    let copied = logins.filter_map(|(number, (profile, login))| {
        let mut before = known.logins[..number].iter();
        let copy = before.find(|(_, other)| other.tokens.refresh_token == login.tokens.refresh_token)?;
        let other = copies::describe_login(&copy.0);
        let login = settings::login_command(profile);
        Some(Finding::new(Level::Problem, "sharing", format!(
            "{profile} is a copy of {other}: whichever is refreshed first invalidates the other: run codex-auth --profile {profile} logout --no-revoke, then {login}"
        )))
    });
    let mut findings: Vec<Finding> = unreadable.chain(copied).collect();
    if findings.is_empty() {
        let found = "no two profiles have the same login".to_owned();
        findings.push(Finding::of("sharing", Ok(found)));
    }
    findings
}
