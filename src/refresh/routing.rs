//! Asks the backend where an account's requests go, once the new tokens are stored and all waiting callers have them.

use std::time::Duration;

use super::stored;
use crate::credentials::Credentials;
use crate::issuer::backend;
use crate::settings;
use crate::store::Store;

/// How long to wait for the lock. If that fails, the next refresh asks again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks where the account's requests go, with stored credentials, and stores the answer with them, unless it came with
/// their tokens. If that fails, the earlier routing is kept.
pub fn learn_routing(store: &Store, credentials: &mut Credentials) {
    if credentials.has_newest_routing() {
        return;
    }
    let asked = settings::backend().and_then(|backend| backend::routing(&backend, credentials));
    if let Ok(routing) = asked {
        credentials.set_routing(routing.clone());
        let change = |stored: &mut Credentials| stored.set_routing(routing);
        stored::update(store, credentials, PATIENCE, change);
    }
}
