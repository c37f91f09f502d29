//! `logout`: removes credentials in any case, and revokes them if the issuer can be reached.

use std::process::ExitCode;

use anyhow::{Error, Result};

use crate::cli::LogoutArgs;
use crate::credentials::Credentials;
use crate::profile::revoke::{ADMIN_CONSOLE, revoke};
use crate::profile::{self, copies, lock, sealing};
use crate::store::Store;
use crate::terminal::{complain, say, warn};
use crate::{error, store};

pub fn logout(profile: Option<String>, args: &LogoutArgs) -> Result<ExitCode> {
    if !args.all {
        sign_out(&profile::store(profile)?, args)?;
        return Ok(ExitCode::SUCCESS);
    }
    let profiles = store::profiles()?;
    if profiles.is_empty() {
        say("Not signed in.");
    }
    // One that cannot be removed does not keep the others.
    let failures: Vec<Error> = profiles
        .into_iter()
        .filter_map(|profile| sign_out(&Store::new(profile).ok()?, args).err())
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

/// Removes the credentials of a profile, then revokes them, and says so.
fn sign_out(store: &Store, args: &LogoutArgs) -> Result<()> {
    let profile = store.profile();
    if let Some(target) = store.remove_link()? {
        say(&format!(
            "Removed the link to {} (profile {profile}), and left what is there.",
            target.display()
        ));
        return Ok(());
    }
    let was_link = store.path().is_symlink();
    let lock = lock(store)?;
    let credentials = store.load();
    if let Err(error) = &credentials
        && error::exit_code(error) == 1
        && !args.no_revoke
        && !was_link
    {
        let words = format!(
            "could not sign out (profile {profile}): {error:#}; --no-revoke removes the file all the same"
        );
        return Err(Error::msg(words));
    }
    let key = sealing::key_id(store).filter(|_| !was_link);
    lock.remove()?;
    drop(lock);
    sealing::forget_key(key.as_deref());
    match credentials {
        Ok(None) => say(&format!("Not signed in (profile {profile}).")),
        Err(_) if was_link => say(&format!(
            "Removed the link that led nowhere (profile {profile})."
        )),
        _ if args.no_revoke => say(&format!(
            "Signed out (profile {profile}). The login was not revoked."
        )),
        Ok(Some(credentials)) => revoke_removed(&credentials, profile),
        Err(error) => warn_of(profile, &error),
    }
    Ok(())
}

/// Revokes removed credentials, unless somebody else here has them too, and says so.
fn revoke_removed(credentials: &Credentials, profile: &str) {
    if let Some(other) = copies::other_holder(credentials, profile) {
        return say(&format!(
            "Signed out (profile {profile}). The login was not revoked, as it is a copy of {other}."
        ));
    }
    if let Some(source) = credentials.source() {
        return say(&format!(
            "Signed out (profile {profile}). The login was not revoked: it is held where {} gets its tokens.",
            source.in_brief()
        ));
    }
    if credentials.is_access_token_only() {
        return say(&format!(
            "Signed out (profile {profile}). The login was not revoked: {ADMIN_CONSOLE}."
        ));
    }
    match revoke(credentials) {
        Ok(()) => say(&format!("Signed out (profile {profile}).")),
        Err(error) => warn_of(profile, &error),
    }
}

fn warn_of(profile: &str, error: &Error) {
    warn(&format!(
        "signed out here (profile {profile}), but could not revoke the login at the issuer: {error:#}: whoever has a copy can use it until it expires"
    ));
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
