//! What stands in the way of a login or of a refresh: each finding says what to do about it, and none contains a secret.

mod browser;
mod disk;
mod finding;
mod keyring;
mod logins;
mod network;
mod ports;
mod program;
mod source;

use crate::profile::Profile;
use crate::settings::{self, CODEX_PROFILE};

pub use finding::{Finding, Level};

/// Everything that can be checked, for the profiles that are stored and for this one. It takes seconds where the network
/// does not answer.
pub fn findings(profile: &str) -> Vec<Finding> {
    // Nobody signs in to Codex's profile here.
    let sign_in = match profile {
        CODEX_PROFILE => settings::login_command("default"),
        profile => settings::login_command(profile),
    };
    let mut findings = disk::findings();
    findings.extend(keyring::finding());
    findings.extend(logins::findings(profile));
    findings.extend(program::finding());
    let stored = Profile::named(profile.to_owned()).and_then(|named| named.stored());
    match stored
        .ok()
        .and_then(|stored| source::finding(profile, &stored))
    {
        Some(finding) => findings.push(finding),
        None => findings.extend(of_signing_in(&sign_in)),
    }
    findings
}

/// Findings about what a login or a refresh at the issuer needs.
fn of_signing_in(sign_in: &str) -> Vec<Finding> {
    let mut findings = ports::findings(sign_in);
    findings.push(browser::finding(sign_in));
    findings.extend(network::findings());
    findings
}
