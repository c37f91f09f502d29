//! `logout`: removes a login, and revokes it if the issuer can be reached. A login that is unreadable only now is kept.

use std::process::ExitCode;

use anyhow::Result;

use crate::credentials::Credentials;
use crate::error::{LOGIN_REQUIRED, TEMPORARY, exit_code, from_code, worst};
use crate::profile::copies::retire;
use crate::profile::replacement::forget_key;
use crate::profile::{lock, selected};
use crate::store::Store;
use crate::terminal::{complain, say};

pub fn logout(profile: Option<String>, no_revoke: bool, all: bool) -> Result<ExitCode> {
    let profiles = selected(profile, all)?;
    if profiles.is_empty() {
        say("Not signed in.");
    }
    let mut codes = Vec::new();
    for profile in profiles {
        match Store::new(profile).and_then(|store| sign_out(&store, no_revoke)) {
            Ok(done) => say(&done),
            // One that cannot be removed does not stop the others.
            Err(error) => {
                complain(&format!("{error:#}"));
                codes.push(exit_code(&error));
            }
        }
    }
    Ok(worst(&codes).unwrap_or(0).into())
}

/// Removes the login of a profile, then revokes it. Returns the message about it.
fn sign_out(store: &Store, no_revoke: bool) -> Result<String> {
    let profile = &store.profile;
    let not_signed_in = format!("Not signed in (profile {profile}).");
    if store.is_unused() {
        return Ok(not_signed_in);
    }
    if let Some(target) = store.remove_link()? {
        let link = format!("the link to {} (profile {profile})", target.display());
        return Ok(format!("Removed {link}. Nothing was revoked."));
    }
    let lock = lock(store)?;
    let stored = match store.load() {
        // It may become readable later, here or for another version; without its file it could never be revoked.
        Err(error) if !no_revoke && exit_code(&error) != LOGIN_REQUIRED => {
            let words = format!(
                "could not sign out (profile {profile}): {error:#}; --no-revoke removes the file anyway"
            );
            return Err(from_code(exit_code(&error), words));
        }
        stored => stored,
    };
    lock.remove()?;
    drop(lock);
    // A file that did not open may name another file's key.
    let opened = stored.as_ref().ok().and_then(Option::as_ref);
    forget_key(opened.and_then(Credentials::key_id));
    let not_revoked = match stored {
        Ok(None) => return Ok(not_signed_in),
        Err(error) if no_revoke && exit_code(&error) == TEMPORARY => {
            Some(", and its key is still in the keyring".to_owned())
        }
        _ if no_revoke => Some(String::new()),
        Ok(Some(login)) => retire(&login, profile).map(|why| format!(": {why}")),
        Err(error) => Some(format!(": {error:#}")),
    };
    let not_revoked = not_revoked.map(|why| format!(" The login was not revoked{why}."));
    let not_revoked = not_revoked.unwrap_or_default();
    Ok(format!("Signed out (profile {profile}).{not_revoked}"))
}
