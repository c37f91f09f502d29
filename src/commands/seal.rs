//! `seal` and `unseal`: change how a login is stored, without a new sign-in.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::profile::lock;
use crate::profile::sealing::{Sealing, key_id, unlock};
use crate::refresh::{load, not_signed_in};
use crate::settings;
use crate::store::Store;
use crate::terminal::{say, succeed};

/// Encrypts a stored login.
pub fn seal(store: &Store) -> Result<ExitCode> {
    let profile = store.profile();
    if store.load_closed()?.is_none() {
        return Err(not_signed_in(store).into());
    }
    let sealing = Sealing::new(store, Some(true));
    sealing.prepare().context("could not seal the login")?;
    let lock = lock(store)?;
    let mut credentials = load(store)?;
    if credentials.is_sealed() {
        say(&format!("The login is sealed already (profile {profile})."));
        return Ok(ExitCode::SUCCESS);
    }
    let staged = lock.stage_sealed()?;
    let seal = sealing.begin().context("could not seal the login")?;
    seal.put_on(&mut credentials);
    staged.save_or_discard(&credentials)?;
    seal.end();
    succeed(&format!(
        "Sealed the login with a key in the keyring (profile {profile})"
    ));
    if credentials.refresh_token().is_some() {
        let call = settings::call_for(profile);
        say(&format!(
            "Older copies on the disk and in backups can still be read. This makes them worthless: {call} token --force-refresh"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Stores a sealed login as it was before it was sealed.
pub fn unseal(store: &Store) -> Result<ExitCode> {
    let profile = store.profile();
    if let Some(id) = key_id(store) {
        unlock(Some(&id)).context("could not unseal the login")?;
    }
    // Before the lock: it may take its time.
    load(store)?;
    let lock = lock(store)?;
    let mut credentials = load(store)?;
    if !credentials.is_sealed() {
        say(&format!("The login is not sealed (profile {profile})."));
        return Ok(ExitCode::SUCCESS);
    }
    let staged = lock.stage()?;
    let seal = Sealing::new(store, Some(false)).begin()?;
    seal.put_on(&mut credentials);
    staged.save_or_discard(&credentials)?;
    seal.end();
    succeed(&format!(
        "Unsealed the login: whoever can read its file can use it (profile {profile})"
    ));
    Ok(ExitCode::SUCCESS)
}
