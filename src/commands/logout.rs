//! `logout`: removes a login, and revokes it if the issuer can be reached. What cannot be read now, but later, stays.

use std::process::ExitCode;

use anyhow::{Error, Result};

use crate::cli::LogoutArgs;
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::profile::replacement::forget_key;
use crate::profile::revoke::retire;
use crate::profile::{self, lock};
use crate::store::Store;
use crate::terminal::{complain, say, warn};
use crate::{error, store};

pub fn logout(profile: Option<String>, args: &LogoutArgs) -> Result<ExitCode> {
    if !args.all {
        return sign_out(&profile::store(profile)?, args).map(|()| ExitCode::SUCCESS);
    }
    let profiles = store::profiles()?;
    if profiles.is_empty() {
        say("Not signed in.");
    }
    // One that cannot be removed does not keep the others.
    let sign_out = |profile| sign_out(&Store::new(profile)?, args);
    let failures = profiles.into_iter().filter_map(|one| sign_out(one).err());
    let failures: Vec<Error> = failures
        .inspect(|failure| complain(&format!("{failure:#}")))
        .collect();
    Ok(ExitCode::from(worst(&failures)))
}

/// The exit code for all of them: a failure that is not temporary outweighs those that are.
fn worst(failures: &[Error]) -> u8 {
    let codes = failures.iter().map(error::exit_code);
    codes
        .min_by_key(|&code| code == error::TEMPORARY)
        .unwrap_or(0)
}

/// Removes the login of a profile, then revokes it, and says so.
fn sign_out(store: &Store, args: &LogoutArgs) -> Result<()> {
    let profile = store.profile();
    let not_signed_in = || say(&format!("Not signed in (profile {profile})."));
    if store.is_unused() {
        not_signed_in();
        return Ok(());
    }
    if let Some(target) = store.remove_link()? {
        let target = target.display();
        say(&format!(
            "Removed the link to {target} (profile {profile}). The login it led to stays."
        ));
        return Ok(());
    }
    let was_link = store.path().is_symlink();
    let lock = lock(store)?;
    let stored = store.load();
    if let Err(error) = &stored
        && !args.no_revoke
        && !was_link
    {
        check_removable(error, profile)?;
    }
    lock.remove()?;
    drop(lock);
    // A file that did not open may name the key of another one.
    let opened = stored.as_ref().ok().and_then(Option::as_ref);
    forget_key(opened.and_then(Credentials::key_id));
    let not_revoked = match stored {
        Ok(None) => {
            not_signed_in();
            return Ok(());
        }
        Err(_) if was_link => {
            say(&format!("Removed the dangling link (profile {profile})."));
            return Ok(());
        }
        Err(error) if args.no_revoke && error::exit_code(&error) == error::TEMPORARY => {
            Ok(Some(", and its key is still in the keyring".to_owned()))
        }
        _ if args.no_revoke => Ok(Some(String::new())),
        Ok(Some(credentials)) => {
            retire(&credentials, profile).map(|reason| reason.map(|why| format!(": {why}")))
        }
        Err(error) => Err(error),
    };
    match not_revoked {
        Ok(None) => say(&format!("Signed out (profile {profile}).")),
        Ok(Some(why)) => say(&format!(
            "Signed out (profile {profile}). The login was not revoked{why}."
        )),
        Err(error) => warn(&format!(
            "signed out here (profile {profile}), but could not revoke the login at the issuer: {error:#}: anyone with a copy can use it until it expires"
        )),
    }
    Ok(())
}

/// Fails where what cannot be read now may be read later, here or by another version: without the file it could never be
/// revoked.
fn check_removable(error: &Error, profile: &str) -> Result<()> {
    let words = format!(
        "could not sign out (profile {profile}): {error:#}; --no-revoke removes the file anyway"
    );
    match error::exit_code(error) {
        1 => Err(Error::msg(words)),
        error::TEMPORARY => Err(Failure::Temporary(words).into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
