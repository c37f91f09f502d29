//! The system's keyring: the Secret Service on Linux, the Keychain on macOS, the Credential Manager on Windows. Only this
//! folder talks to it, and every call has a time limit.
//!
//! `read`, `write` and `remove` never make it prompt. `unlock` does: it is for commands that users type.

#[cfg(all(unix, not(target_os = "macos")))]
mod dbus;
#[cfg_attr(windows, path = "credential_manager.rs")]
#[cfg_attr(target_os = "macos", path = "keychain.rs")]
#[cfg_attr(not(any(windows, target_os = "macos")), path = "secret_service.rs")]
mod system;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::temporary;
use crate::terminal::say;
use crate::text::printable;
use crate::time;

/// How long all calls of one process may take together. Programs that call us give up after a few seconds.
const LIMIT: Duration = Duration::from_secs(3);
/// How long a user may take to unlock the keyring.
const PROMPT_LIMIT: Duration = Duration::from_mins(1);

/// How much of `LIMIT` is left.
static LEFT: Mutex<Duration> = Mutex::new(LIMIT);

type Result<T> = std::result::Result<T, Problem>;

/// Why the keyring cannot be used. The next attempt may succeed.
pub enum Problem {
    /// A user has to unlock it.
    Locked,
    /// Any other problem, and what to do about it.
    Other(String),
}

impl Problem {
    /// It failed for this reason.
    fn failed(reason: &str) -> Self {
        let reason = printable(reason);
        Self::Other(format!("the keyring failed: {reason}: try again later"))
    }
}

impl From<Problem> for anyhow::Error {
    fn from(problem: Problem) -> Self {
        let unlock = if cfg!(target_os = "macos") {
            "unlock it, or run codex-auth seal to allow this program"
        } else {
            "unlock it"
        };
        temporary(match problem {
            Problem::Locked => format!("the keyring is locked: {unlock}, and try again"),
            Problem::Other(what) => what,
        })
    }
}

/// Reads the secret of this account, if it exists.
pub fn read(service: &str, account: &str) -> Result<Option<Vec<u8>>> {
    let [service, account] = [service, account].map(str::to_owned);
    within_limit(move || system::read(&service, &account))
}

/// Stores the secret of this account, with a label for users.
pub fn write(service: &str, account: &str, name: &str, secret: &[u8]) -> Result<()> {
    let [service, account, name] = [service, account, name].map(str::to_owned);
    let secret = secret.to_owned();
    within_limit(move || system::write(&service, &account, &name, &secret))
}

/// Removes the secret of this account, if it exists.
pub fn remove(service: &str, account: &str) -> Result<()> {
    let [service, account] = [service, account].map(str::to_owned);
    within_limit(move || system::remove(&service, &account))
}

/// Prompts the user to unlock the keyring, and this secret, if they are locked.
pub fn unlock(service: &str, account: &str) -> Result<()> {
    match read(service, account) {
        Err(Problem::Locked) => say("The keyring is locked: unlock it to continue."),
        found => return found.map(drop),
    }
    let [service, account] = [service, account].map(str::to_owned);
    let unlocked = time::within(PROMPT_LIMIT, move || system::unlock(&service, &account));
    // It has not been unlocked in time.
    unlocked.unwrap_or(Err(Problem::Locked))
}

fn within_limit<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = Instant::now();
    let outcome = time::within(*left, work);
    *left = left.saturating_sub(begun.elapsed());
    let limit = time::length(LIMIT);
    let what = format!("the keyring did not answer within {limit}: try again later");
    outcome.unwrap_or(Err(Problem::Other(what)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_keyring_that_hangs_is_given_up_and_costs_no_second_wait() {
        let (end, hanging) = mpsc::channel::<()>();
        *LEFT.lock().unwrap() = Duration::from_millis(1);
        let outcome = within_limit(move || Ok(hanging.recv().is_ok()));
        assert!(matches!(outcome, Err(Problem::Other(_))));
        assert!(LEFT.lock().unwrap().is_zero());
        drop(end);
    }
}
