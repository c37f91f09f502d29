//! `logout`: ends logins here in any case, and at the issuer if it can be reached.

use std::process::ExitCode;

use anyhow::{Context, Error, Result};

use crate::cli::LogoutArgs;
use crate::credentials::Credentials;
use crate::profile::copies;
use crate::profile::{self, lock};
use crate::store::Store;
use crate::terminal::{complain, say};
use crate::{error, refresh, store};

pub fn logout(profile: Option<String>, args: &LogoutArgs) -> Result<ExitCode> {
    if !args.all {
        end(&profile::store(profile)?, args)?;
        return Ok(ExitCode::SUCCESS);
    }
    let profiles = store::profiles()?;
    if profiles.is_empty() {
        say("Nobody was signed in.");
    }
    // One that cannot be ended does not keep the others.
    let failures: Vec<Error> = profiles
        .into_iter()
        .filter_map(|profile| end(&Store::new(profile).ok()?, args).err())
        .collect();
    for failure in &failures {
        complain(&format!("{failure:#}"));
    }
    Ok(ExitCode::from(worst(&failures)))
}

/// The exit code for all of them: a failure that is not temporary outweighs those that are.
fn worst(failures: &[Error]) -> u8 {
    let codes = failures.iter().map(error::exit_code);
    codes
        .min_by_key(|&code| code == error::TEMPORARY)
        .unwrap_or(0)
}

/// Removes a login, then revokes it, and says so.
fn end(store: &Store, args: &LogoutArgs) -> Result<()> {
    let profile = store.profile();
    let lock = lock(store)?;
    let credentials = store.load();
    lock.remove()?;
    drop(lock);
    match credentials {
        Ok(None) => say(&format!("Nobody was signed in (profile {profile}).")),
        _ if args.no_revoke => say(&format!(
            "Removed the login (profile {profile}), and did not revoke it."
        )),
        Ok(Some(credentials)) => end_at_issuer(&credentials, profile),
        Err(error) => complain_of(profile, &error),
    }
    Ok(())
}

/// Revokes a removed login, unless somebody else here has it too, and says so.
fn end_at_issuer(credentials: &Credentials, profile: &str) {
    if let Some(other) = copies::other_holder(credentials, profile) {
        return say(&format!(
            "Removed the login (profile {profile}), and did not revoke it, as it is a copy of {other}."
        ));
    }
    match revoke(credentials, profile) {
        Ok(()) => say(&format!("Signed out (profile {profile}).")),
        Err(error) => complain_of(profile, &error),
    }
}

fn complain_of(profile: &str, error: &Error) {
    complain(&format!(
        "signed out here (profile {profile}), but could not revoke the login at the issuer: {error:#}: until it ends by itself, whoever has a copy of it can use it"
    ));
}

fn revoke(credentials: &Credentials, profile: &str) -> Result<()> {
    credentials
        .refresh_token()
        .context("it has no refresh token")?;
    let (issuer, refresh_token) = refresh::issuer_of(credentials, profile)?;
    issuer.revoke(&refresh_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    #[test]
    fn the_same_call_is_worth_another_try_only_if_every_failure_was_temporary() {
        let temporary = || Failure::Temporary("held".to_owned()).into();
        let lasting = || Error::msg("read-only");
        assert_eq!(worst(&[]), 0);
        assert_eq!(worst(&[temporary(), temporary()]), 75);
        assert_eq!(worst(&[temporary(), lasting()]), 1);
        assert_eq!(worst(&[lasting(), temporary()]), 1);
    }
}
