//! Asks the backend where an account's requests go, once the new tokens are stored and all waiting callers have them.

use std::time::Duration;

use super::verify::update_stored;
use crate::credentials::Credentials;
use crate::issuer::backend;
use crate::settings;
use crate::store::Store;

/// How long the lock is awaited. What is not stored then is asked for again after the next refresh.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks with credentials that are stored, unless their tokens came with the answer, and stores it beside them. Whatever fails:
/// what was known stays.
pub fn learn_routing(store: &Store, credentials: &mut Credentials) {
    if credentials.has_newest_routing() {
        return;
    }
    let asked = settings::backend().and_then(|backend| backend::routing(&backend, credentials));
    if let Ok(routing) = asked {
        credentials.set_routing(routing.clone());
        update_stored(store, credentials, PATIENCE, |stored| {
            stored.set_routing(routing);
        });
    }
}
