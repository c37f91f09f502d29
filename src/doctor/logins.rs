//! Findings about the stored logins: how each stands, and which of them are copies of one another.

use std::time::SystemTime;

use super::{Finding, Level};
use crate::profile::status::{LoginStatus, State};
use crate::profile::{Profile, copies};
use crate::time::{moment, seconds_since_epoch};
use crate::{settings, store};

/// Findings about the profile that was asked for, then about each one that is stored.
pub fn findings(asked: Profile) -> Vec<Finding> {
    // A folder that cannot be listed has a finding of its own.
    let mut others = store::profiles().unwrap_or_default();
    others.retain(|name| name != asked.name());
    let others = others
        .into_iter()
        .filter_map(|name| Profile::named(name).ok());
    let now = SystemTime::now();
    let logins = std::iter::once(asked).chain(others);
    let logins = logins.flat_map(|profile| match LoginStatus::of(profile, now) {
        Ok(login) => of_login(&login),
        Err(error) => vec![Finding::failure("login", &error)],
    });
    logins.chain(of_sharing()).collect()
}

fn of_login(login: &LoginStatus) -> Vec<Finding> {
    let profile = login.profile.name();
    let (level, found) = match (&login.obstacle, login.backoff()) {
        (Some(obstacle), _) if login.state == State::None => {
            (Level::Warning, format!("{obstacle:#}"))
        }
        (Some(obstacle), _) if login.is_usable() => {
            let found = "the token is valid, but cannot be refreshed";
            (Level::Warning, format!("{profile}: {found}: {obstacle:#}"))
        }
        (Some(obstacle), _) => (Level::Problem, format!("{profile}: no token: {obstacle:#}")),
        (None, Some(backoff)) => {
            let until = moment(seconds_since_epoch(backoff.until), login.now);
            let found = format!("the last refresh failed, the next one is tried {until}");
            (
                Level::Warning,
                format!("{profile}: {found}: {}", backoff.reason()),
            )
        }
        (None, None) => (Level::Ok, format!("{profile}: {}", login.cell())),
    };
    let note = login
        .note()
        .map(|note| (Level::Warning, format!("{profile}: {note}")));
    let all = [(level, found)].into_iter().chain(note);
    all.map(|(level, found)| Finding::new(level, "login", found))
        .collect()
}

/// Each profile whose refresh token one before it has too.
fn of_sharing() -> Vec<Finding> {
    let known = copies::known();
    let closed = known.closed.iter().map(|profile| {
        let login = copies::describe_login(profile);
        let found = format!(
            "it is unknown whether {login} is a copy of another: it cannot be read without the keyring"
        );
        let advice = "run codex-auth doctor where the keyring is unlocked";
        Finding::warning("sharing", found, advice)
    });
    let logins = known.logins.iter().enumerate();
    let shared = logins.filter_map(|(number, (profile, token))| {
        let (other, _) = known.logins[..number]
            .iter()
            .find(|(_, other)| other == token)?;
        let other = copies::describe_login(other);
        let found = format!(
            "{profile}: it is a copy of {other}: the first to be refreshed invalidates the other"
        );
        let login = settings::login_command(profile);
        let advice = format!("run codex-auth --profile {profile} logout --no-revoke, then {login}");
        Some(Finding::problem("sharing", found, advice))
    });
    let mut findings: Vec<Finding> = closed.chain(shared).collect();
    if findings.is_empty() {
        let found = "no two profiles have the same login";
        findings.push(Finding::ok("sharing", found));
    }
    findings
}
