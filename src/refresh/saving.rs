//! How new credentials reach the disk, whatever happens to it meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::report::{Report, send};
use crate::credentials::Credentials;
use crate::settings::login_command;
use crate::store::{StagedFile, Store};

/// How long to keep trying to save new credentials that could not be stored at once, and how often.
const SAVING: Duration = Duration::from_mins(10);
const SECOND: Duration = Duration::from_secs(1);

/// Saves new credentials. If that fails, the caller gets them immediately, and saving is tried for minutes. Returns false
/// if others are stored by now, or none: that stays so.
pub fn save(store: &Store, staged: StagedFile, credentials: &mut Credentials) -> bool {
    let words = format!(
        "the token was refreshed, but could not be stored yet: make room before it expires, or run {}",
        login_command(&store.profile)
    );
    let begun = Instant::now();
    let mut staged = Some(staged);
    loop {
        let saved = match &mut staged {
            Some(staged) => staged.save(credentials),
            None => save_again(store, credentials),
        };
        match saved {
            Ok(is_saved) => return is_saved,
            Err(error) => send(&Report::unsaved(credentials, &error.context(words.clone()))),
        }
        if begun.elapsed() > SAVING {
            // If they are complete, whoever takes the lock next stores them.
            return true;
        }
        // Until they are completely on disk, the lock is held, so that nobody uses the refresh token that they replace.
        // After that, a new login need not wait for the lock, and wins.
        staged = staged.filter(|staged| !staged.is_complete);
        thread::sleep(SECOND);
    }
}

/// Lets the lock complete the replacement with the staged file, or starts again.
fn save_again(store: &Store, credentials: &mut Credentials) -> Result<bool> {
    let lock = store.lock(Duration::ZERO)?;
    let stored = store.load_closed()?.and_then(|stored| stored.last_refresh);
    if stored != credentials.replaces {
        return Ok(stored == credentials.last_refresh);
    }
    let staged = lock.stage(credentials.is_sealed())?;
    staged.save_or_discard(credentials).map(|()| true)
}

/// Whether stored tokens may belong to the same login as these, so that revoking either would end it.
pub fn has_relatives(store: &Store, credentials: &Credentials) -> bool {
    let ours = credentials.account_id();
    match store.load_closed() {
        Ok(Some(stored)) => stored.account_id().is_none_or(|id| Some(id) == ours),
        Ok(None) => false,
        Err(_) => true,
    }
}
