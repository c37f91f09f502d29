//! `seal` and `unseal`: change how a login is stored, without a new sign-in.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::profile::lock;
use crate::profile::replacement::{Replacement, key_id, unlock};
use crate::refresh::{load, not_signed_in};
use crate::settings;
use crate::store::Store;
use crate::terminal::{say, succeed};

pub fn seal(store: &Store, sealed: bool) -> Result<ExitCode> {
    let profile = &store.profile;
    if store.load_closed()?.is_none() {
        return Err(not_signed_in(store));
    }
    let key = key_id(store);
    if sealed || key.is_some() {
        let change = if sealed { "seal" } else { "unseal" };
        unlock(key.as_deref()).with_context(|| format!("could not {change} the login"))?;
    }
    // Before taking the lock, as the keyring may be slow.
    load(store)?;
    let lock = lock(store)?;
    let mut credentials = load(store)?;
    if credentials.is_sealed() == sealed {
        let already = if sealed { "already" } else { "not" };
        let unchanged = format!("The login is {already} sealed (profile {profile}).");
        say(&unchanged);
        return Ok(ExitCode::SUCCESS);
    }
    // The earlier login is this one, so it is not revoked.
    let _ = Replacement::prepare(store, lock, Some(sealed))?.save(&mut credentials)?;
    succeed(&if sealed {
        format!("Sealed the login with a key in the keyring (profile {profile})")
    } else {
        format!("Unsealed the login: anyone who can read its file can use it (profile {profile})")
    });
    if sealed && credentials.tokens.refresh_token.is_some() {
        let call = settings::call_for(profile);
        say(&format!(
            "Older copies on disk and in backups can still be read. To make them worthless, run {call} token --force-refresh"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
