//! Findings about what prevents a login or a refresh, or may do so. None of them contains a secret.
//!
//! `stored` checks the logins and where they are stored. The checks of this machine and of the connection to the issuer
//! are here.

mod stored;

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::credentials::Credentials;
use crate::login::{callback, opener};
use crate::net::http::{Client, describe_unexpected};
use crate::net::{proxy, roots};
use crate::profile::Profile;
use crate::refresh::{first_credentials, stored_issuer};
use crate::sandbox;
use crate::settings::{self, login_command};
use crate::text::printable;
use crate::time::{rounded_span, seconds_since_epoch};

/// How long the issuer may take to answer.
const LIMIT: Duration = Duration::from_secs(15);
/// How far off this machine's clock may be, in seconds.
const TOLERANCE: u64 = 60;

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, but not as well, or not as safely, as it could.
    Warning,
    Problem,
}

#[derive(Serialize)]
pub struct Finding {
    /// A short name, which scripts may rely on.
    pub check: &'static str,
    pub level: Level,
    /// What was found, and what to do about it.
    pub found: String,
}

impl Finding {
    fn new(level: Level, check: &'static str, found: String) -> Self {
        Self {
            check,
            level,
            found,
        }
    }

    /// What passed, or a problem described by its error.
    fn of(check: &'static str, checked: Result<String>) -> Self {
        match checked {
            Ok(found) => Self::new(Level::Ok, check, found),
            Err(error) => Self::new(Level::Problem, check, format!("{error:#}")),
        }
    }
}

/// The result of every check, for this profile first and then for the other stored ones. Takes seconds if the network
/// does not respond.
pub fn findings(profile: String) -> Vec<Finding> {
    // If the location of the store is unknown, `stored` reports it.
    let profile = Profile::named(profile).ok();
    let stored = profile.as_ref().and_then(|profile| profile.stored().ok());
    // Nobody signs in to Codex's profile here.
    let (sign_in, forbidden) = match &profile {
        Some(Profile::Own(store)) => (login_command(&store.profile), store.forbidden_here()),
        _ => (login_command("default"), None),
    };
    let mut findings = profile.map_or_else(Vec::new, stored::logins);
    if let Some(reason) = forbidden.or_else(sandbox::lacks_network) {
        let found = format!(
            "{reason}: a valid token is printed, but not refreshed here: to refresh it from outside, see \
             codex-auth setup systemd, cron or launchd"
        );
        findings.push(Finding::new(Level::Warning, "sandbox", found));
        // Further failures would say nothing about the machine.
        return findings;
    }
    findings.extend(stored::disk());
    findings.extend(of_programs());
    match &stored {
        Some(stored) if stored.source().is_external() => {
            findings.push(Finding::of("source", check_source(stored, &sign_in)));
            return findings;
        }
        // A workload has no browser. Problems with its identity token are reported for the login.
        Some(stored) if stored.source().is_stored() => {}
        _ => {
            findings.push(Finding::of("port", check_ports(&sign_in)));
            findings.push(of_browser(&sign_in));
        }
    }
    findings.extend(of_network(stored.as_ref()));
    findings
}

/// Other programs of this name in PATH: some package registries have one.
fn of_programs() -> Option<Finding> {
    let name = format!("codex-auth{}", std::env::consts::EXE_SUFFIX);
    let folders = settings::program_folders().into_iter();
    let mut programs: Vec<_> = folders.map(|folder| folder.join(&name)).collect();
    // Each once, even if several links lead to it.
    let mut seen = HashSet::new();
    programs.retain(|path| fs::canonicalize(path).is_ok_and(|real| seen.insert(real)));
    let shown: Vec<_> = programs.iter().map(|path| path.to_string_lossy()).collect();
    let shown = shown.join(", ");
    let found = format!(
        "several programs of this name are in PATH, of which the first is run: {shown}: remove the ones you do \
         not want, or change PATH"
    );
    (programs.len() > 1).then(|| Finding::new(Level::Warning, "program", found))
}

/// Asks the profile's command or socket for a token, as a refresh would.
fn check_source(stored: &Credentials, sign_in: &str) -> Result<String> {
    let newest = first_credentials(stored.source().clone())?;
    let shown = stored.source().describe();
    if stored.account_id().is_some() && stored.account_id() != newest.account_id() {
        bail!("{shown}: its token is for another account: run {sign_in} --from again");
    }
    let left = rounded_span(newest.seconds_left(SystemTime::now()));
    Ok(format!("{shown}: its token expires in {left}"))
}

/// The ports for the browser to return to: one free port is enough.
fn check_ports(sign_in: &str) -> Result<String> {
    let listening = callback::listen(&settings::callback_ports()?, sign_in)?;
    Ok(format!("{} is free", listening.port))
}

fn of_browser(sign_in: &str) -> Finding {
    let programs = opener::programs();
    let installed = programs.iter().find(|name| settings::is_installed(name));
    if let Some(program) = installed.filter(|_| opener::has_browser()) {
        return Finding::of("browser", Ok(format!("opened with {}", printable(program))));
    }
    let place = opener::environment().shown();
    let programs = printable(&programs.join(", "));
    let found = format!(
        "no browser can be opened{place} ({programs}): set BROWSER, use {sign_in} --device-code, or open the URL elsewhere and paste the one you end up at"
    );
    Finding::new(Level::Warning, "browser", found)
}

/// Findings about the connection to the issuer: the trusted certificates, and one request.
fn of_network(stored: Option<&Credentials>) -> Vec<Finding> {
    let found = match roots::load() {
        Ok((roots, source)) => format!("{} trusted CA certificates: {source}", roots.len()),
        Err(error) => return vec![Finding::of("certificates", Err(error))],
    };
    let mut findings = vec![Finding::of("certificates", Ok(found))];
    let failed = |error| vec![Finding::of("issuer", Err(error))];
    findings.extend(ask_issuer(stored).unwrap_or_else(failed));
    findings
}

/// Asks the issuer that refreshes the stored login or, without one, the issuer to sign in at. Any response shows that it can
/// be reached, but its status may show that it came from something in between.
fn ask_issuer(stored: Option<&Credentials>) -> Result<Vec<Finding>> {
    let stored = stored.filter(|stored| stored.issuer.is_some());
    let issuer = stored.map_or_else(settings::issuer, stored_issuer)?;
    let proxy = proxy::for_url(&issuer)?;
    let proxy = proxy.map_or_else(String::new, |proxy| format!(" through {}", proxy.shown));
    let begun = Instant::now();
    let response = Client::new(&issuer)?.get(".well-known/jwks.json", &[], LIMIT)?;
    let (url, time) = (&issuer.text, begun.elapsed().as_millis());
    let status = response.status;
    let (level, found) = if matches!(status, 200 | 404) {
        let found = format!("{url} answered{proxy} in {time} ms (status {status})");
        (Level::Ok, found)
    } else {
        let found = describe_unexpected("the issuer", &response);
        let advice = "try again later, or from another network";
        (Level::Warning, format!("{found}: {advice}"))
    };
    let mut findings = vec![Finding::new(level, "issuer", found)];
    findings.extend(response.date.map(|date| of_clock(date, SystemTime::now())));
    Ok(findings)
}

/// With a wrong clock, certificates look invalid, and tokens are refreshed too early or too late.
fn of_clock(theirs: u64, now: SystemTime) -> Finding {
    let ours = seconds_since_epoch(now);
    let off = ours.abs_diff(theirs);
    if off <= TOLERANCE {
        return Finding::of("clock", Ok("the same as the issuer's".to_owned()));
    }
    let direction = if ours > theirs { "ahead of" } else { "behind" };
    let off = rounded_span(off);
    let found = format!("this machine's clock is {off} {direction} the issuer's: set it");
    Finding::new(Level::Warning, "clock", found)
}
