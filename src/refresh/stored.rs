//! The stored credentials: how they are loaded and changed, and what a user without any reads.

use std::time::Duration;

use anyhow::{Context, Error, Result};

use crate::credentials::Credentials;
use crate::error::{self, login_required};
use crate::settings::{self, login_command};
use crate::store::{self, Store, codex_file};

/// The stored credentials, which have an access token. The error says what to run, if signing in helps.
pub fn load(store: &Store) -> Result<Credentials> {
    let advise = |error: Error| match error::exit_code(&error) {
        error::LOGIN_REQUIRED => {
            let login = login_command(&store.profile);
            login_required(format!("{error:#}: run {login}"))
        }
        _ => error,
    };
    let found = store.load().map_err(advise)?;
    let found = found.ok_or_else(|| not_signed_in(store))?;
    let token = found.access_token().map(drop);
    token
        .with_context(|| store.could_not("read"))
        .map_err(advise)?;
    Ok(found)
}

pub fn not_signed_in(store: &Store) -> Error {
    let profile = &store.profile;
    let mut login = login_command(profile);
    if settings::has_workload() {
        login += " --workload-identity";
    }
    if codex_file::real_path().is_some() {
        login += ", or use --profile codex for Codex's own login";
    }
    // If the store cannot be listed, there are none to suggest.
    let others = store::profiles().unwrap_or_default().join(", ");
    let others = if others.is_empty() || profile == "default" {
        String::new()
    } else {
        format!(" to the profile {profile} (stored: {others})")
    };
    login_required(format!("not signed in{others}: run {login}"))
}

/// Changes the stored credentials, if they are still these. A failure loses nothing that is not found out again.
pub fn update(
    store: &Store,
    seen: &Credentials,
    patience: Duration,
    change: impl FnOnce(&mut Credentials),
) {
    let _ = store.lock(patience).and_then(|lock| match store.load()? {
        Some(mut stored) if stored.last_refresh == seen.last_refresh => {
            change(&mut stored);
            lock.stage(stored.is_sealed())?.save_or_discard(&mut stored)
        }
        _ => Ok(()),
    });
}
