//! What keeps a login or a refresh from working, or may do so: findings, none of which has a secret.
//!
//! `logins` looks at what is stored, `disk` at where it is stored, `network` at the way to the issuer. The small ones are here.

mod disk;
mod logins;
mod network;

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Error;
use serde::Serialize;

use crate::credentials::{Credentials, Source};
use crate::keyring::Problem;
use crate::login::callback;
use crate::login::opener::{self, Environment};
use crate::profile::Profile;
use crate::profile::replacement::key_ids;
use crate::refresh::{first_credentials, identity_token};
use crate::settings::{self, login_command};
use crate::store::sealing::{find_key, is_locked};
use crate::text::printable;
use crate::time::rounded_span;

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, but not as well, or not as safely, as it could.
    Warning,
    Problem,
}

/// What one check found.
#[derive(Serialize)]
pub struct Finding {
    /// A short name, which scripts may rely on.
    pub check: &'static str,
    pub level: Level,
    pub found: String,
    /// What to do about it, where `found` does not say it.
    pub advice: Option<String>,
}

impl Finding {
    fn new(level: Level, check: &'static str, found: impl Into<String>) -> Self {
        let (found, advice) = (found.into(), None);
        Self {
            check,
            level,
            found,
            advice,
        }
    }

    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(Level::Ok, check, found)
    }

    /// A failure, in the words of whoever failed.
    fn failure(check: &'static str, error: &Error) -> Self {
        Self::new(Level::Problem, check, format!("{error:#}"))
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self {
            advice,
            ..Self::new(Level::Warning, check, found)
        }
    }

    fn problem(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self {
            advice,
            ..Self::new(Level::Problem, check, found)
        }
    }
}

/// Everything that can be checked, for the profiles that are stored and for this one, which comes first. It takes seconds where
/// the network does not answer.
pub fn findings(profile: String) -> Vec<Finding> {
    // Where the place of the store is unknown, `disk` says so.
    let profile = Profile::named(profile).ok();
    let stored = profile.as_ref().and_then(|profile| profile.stored().ok());
    // Nobody signs in to Codex's profile here.
    let sign_in = match &profile {
        Some(Profile::Own(store)) => login_command(store.profile()),
        _ => login_command("default"),
    };
    let source = stored.and_then(|stored| of_source(&sign_in, &stored));
    let mut findings = profile.map_or_else(Vec::new, logins::findings);
    findings.extend(disk::findings());
    findings.extend(of_keyring());
    findings.extend(of_program());
    if let Some(source) = source {
        findings.push(source);
        return findings;
    }
    findings.extend([of_ports(&sign_in), of_browser(&sign_in)]);
    findings.extend(network::findings());
    findings
}

/// Whether the keyring gives the key of each sealed login, or would take one. It is not asked where nobody needs it.
fn of_keyring() -> Option<Finding> {
    let keys = key_ids();
    if keys.is_empty() && !settings::wants_seal().unwrap_or(false) {
        return None;
    }
    let problem = match is_locked(None) {
        Err(problem) => problem,
        Ok(true) => Problem::Locked,
        Ok(false) => {
            let is_there = |id: &String| find_key(id).is_ok_and(|key| key.is_some());
            if keys.iter().all(is_there) {
                return Some(Finding::ok("keyring", "the keyring is unlocked"));
            }
            let found = "the key of a sealed login is not in the keyring";
            return Some(Finding::new(Level::Problem, "keyring", found));
        }
    };
    let (found, advice) = problem.describe();
    Some(Finding::problem("keyring", found, advice))
}

/// Another program of this name in PATH: some package registries have one.
fn of_program() -> Option<Finding> {
    let name = format!("codex-auth{}", std::env::consts::EXE_SUFFIX);
    let paths = settings::program_folders().into_iter();
    let paths = paths.map(|folder| folder.join(&name));
    // Each once, however many links lead to it.
    let mut programs: Vec<(PathBuf, PathBuf)> = Vec::new();
    for path in paths.filter(|path| path.is_file()) {
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if !programs.iter().any(|(_, known)| *known == real) {
            programs.push((path, real));
        }
    }
    let mut shown = programs.iter().map(|(path, _)| path.display().to_string());
    let first = shown.next()?;
    let others: Vec<String> = shown.collect();
    (!others.is_empty()).then(|| {
        let found = format!("{first} comes first in PATH, before {}", others.join(", "));
        let advice = "remove those that you do not want, or change PATH";
        Finding::warning("program", found, advice)
    })
}

/// The command, or the socket, that gives a profile its tokens: it is asked as a refresh would ask it. None if they come from
/// the issuer.
fn of_source(sign_in: &str, stored: &Credentials) -> Option<Finding> {
    if let Source::Workload { file, .. } = stored.source() {
        // An exchange would use it up.
        return Some(match identity_token(file) {
            Ok(_) => Finding::ok(
                "source",
                format!("the identity token in {file} can be used"),
            ),
            Err(error) => Finding::failure("source", &error),
        });
    }
    let source = stored.external_source()?;
    let newest = match first_credentials(source.clone()) {
        Ok(newest) => newest,
        Err(error) => {
            let advice = "run it by hand, without a terminal: it has to print what codex-auth token --format json prints";
            return Some(Finding::problem("source", format!("{error:#}"), advice));
        }
    };
    let shown = source.in_brief();
    if stored.account_id().is_some() && stored.account_id() != newest.account_id() {
        let found = format!("{shown}: its token is for another account");
        let advice = format!("run {sign_in} --from again");
        return Some(Finding::problem("source", found, advice));
    }
    let left = rounded_span(newest.seconds_left(SystemTime::now()));
    let found = format!("{shown}: its token expires in {left}");
    Some(Finding::ok("source", found))
}

/// The ports that the browser comes back to: one free one is enough.
fn of_ports(sign_in: &str) -> Finding {
    let ports = match settings::callback_ports() {
        Ok(ports) => ports,
        Err(error) => return Finding::failure("port", &error),
    };
    let shown: Vec<String> = ports.iter().map(u16::to_string).collect();
    let shown = shown.join(" and ");
    let device_code = format!("use {sign_in} --device-code");
    match callback::listen(&ports) {
        Ok(Some(_)) if ports == [0] => Finding::ok("port", "any free one"),
        Ok(Some(listening)) => Finding::ok("port", format!("{} is free", listening.port())),
        Ok(None) => Finding::problem(
            "port",
            format!("{shown}: in use by another program"),
            format!("end it (ss -ltnp shows it), or {device_code}"),
        ),
        Err(error) => Finding::problem("port", format!("{error:#}"), device_code),
    }
}

fn of_browser(sign_in: &str) -> Finding {
    let instead = format!(
        "use {sign_in} --device-code, or open the URL elsewhere and paste the one you end up at"
    );
    let place = opener::environment();
    if !opener::has_browser(place) {
        let why = match place {
            Environment::Ssh => "cannot be opened over SSH",
            Environment::Container => "cannot be opened in a container",
            _ => "cannot be opened without a display",
        };
        return Finding::warning("browser", why, instead);
    }
    let programs = opener::programs();
    let installed = programs
        .iter()
        .find(|program| settings::is_installed(program));
    if let Some(program) = installed {
        return Finding::ok("browser", format!("opened with {}", printable(program)));
    }
    let found = format!("not installed: {}", printable(&programs.join(", ")));
    Finding::warning("browser", found, format!("set BROWSER, or {instead}"))
}
