//! `logout`: removes credentials, and revokes them if the issuer can be reached. What cannot be read now, but later, stays.

use std::process::ExitCode;

use anyhow::{Error, Result};

use crate::cli::LogoutArgs;
use crate::credentials::Credentials;
use crate::error::Failure;
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
        && !args.no_revoke
        && !was_link
    {
        check_removable(error, profile)?;
    }
    lock.remove()?;
    drop(lock);
    // Of a file that did not open the key may be another file's.
    let opened = credentials.as_ref().ok().and_then(Option::as_ref);
    sealing::forget_key(opened.and_then(Credentials::key_id));
    match credentials {
        Ok(None) => say(&format!("Not signed in (profile {profile}).")),
        Err(_) if was_link => say(&format!(
            "Removed the link that led nowhere (profile {profile})."
        )),
        Err(error) if args.no_revoke && error::exit_code(&error) == error::TEMPORARY => {
            say(&format!(
                "Signed out (profile {profile}). The login was not revoked, and its key is still in the keyring."
            ));
        }
        _ if args.no_revoke => say(&format!(
            "Signed out (profile {profile}). The login was not revoked."
        )),
        Ok(Some(credentials)) => revoke_removed(&credentials, profile),
        Err(error) => warn_of(profile, &error),
    }
    Ok(())
}

/// Fails where what cannot be read for this reason may be read later, here or by another version: without the file it could
/// never be revoked.
fn check_removable(error: &Error, profile: &str) -> Result<()> {
    let words = format!(
        "could not sign out (profile {profile}): {error:#}; --no-revoke removes the file all the same"
    );
    match error::exit_code(error) {
        1 => Err(Error::msg(words)),
        error::TEMPORARY => Err(Failure::Temporary(words).into()),
        _ => Ok(()),
    }
}

/// Revokes removed credentials, unless somebody else here has them too, and says so.
fn revoke_removed(credentials: &Credentials, profile: &str) {
    if let Some(why) = copies::reason_to_keep(credentials, profile) {
        return say(&format!(
            "Signed out (profile {profile}). The login was not revoked, as {why}."
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
