//! The words for a refresh that failed.

use anyhow::{Error, anyhow};

use crate::credentials::Source;
use crate::error::Failure;
use crate::issuer::{FailureKind, RefreshFailure};
use crate::settings::login_command;

pub fn error_of(failure: &RefreshFailure, source: &Source, profile: &str) -> Error {
    match failure.kind {
        FailureKind::Revoked | FailureKind::LoginRequired => {
            refused(source, profile, &failure.reason)
        }
        _ => failed(source, &failure.reason),
    }
}

/// The error where a person has to act: who refuses another token, why, and what to run.
pub fn refused(source: &Source, profile: &str, reason: &str) -> Error {
    let words = match source {
        // No sign-in helps: the platform writes another identity token, or an administrator changes the rule.
        Source::Workload { file, .. } => {
            return anyhow!("could not use the identity token in {file}: {reason}");
        }
        Source::Command(_) | Source::Socket(_) => {
            let source = source.describe();
            format!("could not get a token from {source}: sign in there: {reason}")
        }
        Source::Issuer | Source::AccessToken => {
            let login = login_command(profile);
            format!("the issuer refused to refresh the token: {reason}: run {login}")
        }
    };
    Failure::LoginRequired(words).into()
}

/// The error where the same call may succeed later.
pub fn failed(source: &Source, reason: &str) -> Error {
    let act = match source {
        Source::Workload { .. } => "exchange the identity token",
        Source::Command(_) | Source::Socket(_) => {
            &format!("get a token from {}", source.describe())
        }
        Source::Issuer | Source::AccessToken => "refresh the token",
    };
    Failure::Temporary(format!("could not {act}: {reason}")).into()
}
