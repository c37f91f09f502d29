//! The failures that callers act on, and the exit codes. All other failures are plain `anyhow` errors, exit code 1.

use std::fmt;

use anyhow::Error;

/// A failure with its own exit code. Its message contains no secret.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
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

/// Someone has to sign in.
pub fn login_required(message: impl Into<String>) -> Error {
    from_code(LOGIN_REQUIRED, message)
}

/// The network, the issuer or another process: the same call may succeed later.
pub fn temporary(message: impl Into<String>) -> Error {
    from_code(TEMPORARY, message)
}

/// The call itself is wrong, such as the name of a profile.
pub fn usage(message: impl Into<String>) -> Error {
    from_code(USAGE, message)
}

/// A failure with this exit code, such as one that another process of ours reported.
pub fn from_code(code: u8, message: impl Into<String>) -> Error {
    let message = message.into();
    Failure { code, message }.into()
}

/// The exit code for an error: that of the failure in it, or else 1.
pub fn exit_code(error: &Error) -> u8 {
    let failure = error.downcast_ref::<Failure>();
    failure.map_or(1, |failure| failure.code)
}

/// The exit code of several calls, if there were any: a failure that trying again does not fix outweighs a temporary one.
pub fn worst(codes: &[u8]) -> Option<u8> {
    // Success, 0, has the lowest rank.
    let codes = codes.iter().copied();
    codes.min_by_key(|code| code.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_exit_code_is_found_under_any_context() {
        let error = Err::<(), _>(temporary("busy"))
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
