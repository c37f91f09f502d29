//! What stands in the way of a login or of a renewal: each finding says what to do about it, and none says a secret.

mod browser;
mod disk;
mod logins;
mod network;
mod ports;

use crate::settings;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Ok,
    /// It works, but not as well, or not as safely, as it could.
    Warning,
    /// It stands in the way.
    Problem,
}

/// One thing that was looked at.
pub struct Finding {
    /// What was looked at: a short name that stays.
    pub check: &'static str,
    pub level: Level,
    /// How it was found.
    pub words: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl Finding {
    fn ok(check: &'static str, words: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            words: words.into(),
            advice: None,
        }
    }

    fn warning(check: &'static str, words: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            advice: Some(advice.into()),
            ..Self::ok(check, words)
        }
    }

    fn problem(check: &'static str, words: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Problem,
            ..Self::warning(check, words, advice)
        }
    }
}

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
