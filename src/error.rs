//! The failures that callers act on, and the exit codes. Every other failure is a plain `anyhow` error, exit code 1.

use std::fmt;

/// A failure that has an exit code of its own. It holds its message, which names no secret.
#[derive(Debug)]
pub enum Failure {
    /// A person has to sign in.
    LoginRequired(String),
    /// The network, the issuer or another process: the same call may succeed later.
    Temporary(String),
    /// The call itself is wrong, such as the name of a profile.
    Usage(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoginRequired(message) | Self::Temporary(message) | Self::Usage(message) => {
                f.write_str(message)
            }
        }
    }
}

impl std::error::Error for Failure {}

/// The parser's exit code for wrong usage.
const USAGE: u8 = 2;
/// The same as that of `gh`.
pub const LOGIN_REQUIRED: u8 = 4;
/// `EX_TEMPFAIL` of `sysexits.h`.
pub const TEMPORARY: u8 = 75;

/// What the exit codes mean (`text::entries`): in the help and in the man page.
pub const EXIT_CODES: &str = include_str!("help/exit_codes.txt");

/// The exit code for an error: one of those above for the failures above, else 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(Failure::LoginRequired(_)) => LOGIN_REQUIRED,
        Some(Failure::Temporary(_)) => TEMPORARY,
        Some(Failure::Usage(_)) => USAGE,
        None => 1,
    }
}

/// The error of which another process of ours reports the exit code and the message.
pub fn from_code(code: u8, message: String) -> anyhow::Error {
    match code {
        LOGIN_REQUIRED => Failure::LoginRequired(message).into(),
        TEMPORARY => Failure::Temporary(message).into(),
        USAGE => Failure::Usage(message).into(),
        _ => anyhow::Error::msg(message),
    }
}

/// The exit code of several calls, if there were any: a failure that another try does not cure outweighs a temporary one.
pub fn worst(codes: &[u8]) -> Option<u8> {
    // Success, 0, comes last.
    codes
        .iter()
        .copied()
        .min_by_key(|code| code.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_exit_code_is_found_under_any_context() {
        let error = Err::<(), _>(Failure::Temporary("busy".into()))
            .context("could not refresh")
            .context("could not print")
            .unwrap_err();
        assert_eq!(exit_code(&error), 75);
        assert_eq!(exit_code(&anyhow::anyhow!("plain")), 1);
    }

    #[test]
    fn the_same_call_is_worth_another_try_only_if_every_failure_was_temporary() {
        for (codes, expected) in [
            (&[0, 0][..], 0),
            (&[75, 0, 75], 75),
            (&[75, 1], 1),
            (&[4, 75], 4),
            (&[0, 4, 1], 1),
        ] {
            assert_eq!(worst(codes), Some(expected), "{codes:?}");
        }
        assert_eq!(worst(&[]), None);
    }
}
