//! The finding about the keyring, where there is a login that needs it.

use super::finding::Finding;
use crate::keyring::Problem;
use crate::profile::replacement::key_ids;
use crate::settings;
use crate::store::sealing::{find_key, is_locked};

/// Whether the keyring gives the key of each sealed login, or would take one. It is not asked where nobody needs it.
pub fn finding() -> Option<Finding> {
    let keys = key_ids();
    if keys.is_empty() && !settings::wants_seal().unwrap_or(false) {
        return None;
    }
    let problem = match is_locked(None) {
        Ok(false) => return Some(of_keys(&keys)),
        Ok(true) => Problem::Locked,
        Err(problem) => problem,
    };
    let (found, advice) = problem.describe();
    Some(Finding::problem("keyring", found, advice))
}

fn of_keys(keys: &[String]) -> Finding {
    let is_there = |id: &String| find_key(id).is_ok_and(|key| key.is_some());
    if keys.iter().all(is_there) {
        return Finding::ok("keyring", "the keyring is unlocked");
    }
    let found = "the key of a sealed login is not in the keyring";
    Finding::problem("keyring", found, "see that login below")
}
