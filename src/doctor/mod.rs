//! What stands in the way of a login or of a renewal: each finding says what to do about it, and none says a secret.

mod browser;
mod disk;
mod finding;
mod logins;
mod network;
mod ports;

use crate::settings;

pub use finding::{Finding, Level};

/// Everything that can be looked at, for the logins that are stored and the one of this profile. It takes seconds where
/// the network does not answer.
pub fn findings(profile: Option<String>) -> Vec<Finding> {
    let mut findings = disk::findings();
    findings.extend(logins::findings(settings::profile(profile)));
    findings.extend(ports::findings());
    findings.push(browser::finding());
    findings.extend(network::findings());
    findings
}
