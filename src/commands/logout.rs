//! `logout`: removes a login, and revokes it if the issuer can be reached. What cannot be read now, but later, stays.

use std::process::ExitCode;

use anyhow::{Error, Result};

use crate::cli::LogoutArgs;
use crate::credentials::Credentials;
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
            "Removed the link to {target} (profile {profile}). Nothing was revoked."
        ));
        return Ok(());
    }
    let lock = lock(store)?;
    let stored = store.load();
    // It may be readable later, here or by another version; without its file it could never be revoked.
    if let Err(error) = &stored
        && !args.no_revoke
        && error::exit_code(error) != error::LOGIN_REQUIRED
    {
        let words = format!(
            "could not sign out (profile {profile}): {error:#}; --no-revoke removes the file anyway"
        );
        return Err(error::from_code(error::exit_code(error), words));
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
        Err(error) if args.no_revoke && error::exit_code(&error) == error::TEMPORARY => {
            Ok(Some(", and its key is still in the keyring".to_owned()))
        }
        _ if args.no_revoke => Ok(Some(String::new())),
        Ok(Some(login)) => retire(&login, profile).map(|why| why.map(|why| format!(": {why}"))),
        Err(error) => Err(error),
    };
    let done = format!("Signed out (profile {profile})");
    match not_revoked {
        Ok(None) => say(&format!("{done}.")),
        Ok(Some(why)) => say(&format!("{done}. The login was not revoked{why}.")),
        Err(error) => warn(&format!(
            "signed out here (profile {profile}), but could not revoke the login at the issuer: {error:#}: anyone with a copy can use it until it expires"
        )),
    }
    Ok(())
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
