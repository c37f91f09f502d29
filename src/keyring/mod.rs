//! The system's keyring: the Secret Service on Linux, the Keychain on macOS, the Credential Manager on Windows. Nobody else
//! asks it for anything, and whatever it does, nobody waits for it for long.
//!
//! `read`, `write` and `remove` never let it ask the person for something. `unlock` does: it is for the commands that a person
//! has typed.

#[cfg(all(unix, not(target_os = "macos")))]
mod dbus;

#[cfg(windows)]
#[path = "credential_manager.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "keychain.rs"]
mod system;
#[cfg(all(unix, not(target_os = "macos")))]
#[path = "secret_service.rs"]
mod system;

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::text::printable;
use crate::time::length;

/// How long all calls together may take in the life of a process: programs that call us give up after some seconds.
const LIMIT: Duration = Duration::from_secs(3);
/// How long a person may take to unlock the keyring.
const PROMPT_LIMIT: Duration = Duration::from_secs(60);

/// What is left of the limit.
static LEFT: Mutex<Duration> = Mutex::new(LIMIT);

/// Why the keyring does not do what it is asked for. The same call may succeed later.
pub enum Problem {
    /// Somebody has to unlock it.
    Locked,
    /// There is no way to it from here, as over SSH, in a container or in cron.
    Unreachable,
    /// No program provides one.
    Missing,
    /// It did not answer in time.
    TimedOut(Duration),
    /// What it says itself.
    Other(String),
}

impl Problem {
    fn other(reason: &impl ToString) -> Self {
        Self::Other(printable(&reason.to_string()))
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Locked if cfg!(target_os = "macos") => {
                "unlock it, or run codex-auth seal to allow this program, and try again"
            }
            Self::Locked => "unlock it, and try again",
            Self::Unreachable => {
                "run it in your desktop session, where DBUS_SESSION_BUS_ADDRESS is set"
            }
            Self::Missing => "start GNOME Keyring, KWallet or KeePassXC, and try again",
            Self::TimedOut(_) | Self::Other(_) => "try again later",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("the keyring is locked"),
            Self::Unreachable => {
                f.write_str("the keyring cannot be reached: there is no session bus here")
            }
            Self::Missing => f.write_str("no keyring is running"),
            Self::TimedOut(limit) => {
                write!(f, "the keyring did not answer within {}", length(*limit))
            }
            Self::Other(reason) => write!(f, "the keyring failed: {reason}"),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Temporary(format!("{problem}: {}", problem.advice()))
    }
}

/// The secret of this account, or none.
pub fn read(service: &str, account: &str) -> Result<Option<Vec<u8>>, Problem> {
    let (service, account) = (service.to_owned(), account.to_owned());
    in_time(move || system::read(&service, &account))
}

/// Stores the secret of this account, under a name for people.
pub fn write(service: &str, account: &str, name: &str, secret: &[u8]) -> Result<(), Problem> {
    let [service, account, name] = [service, account, name].map(str::to_owned);
    let secret = secret.to_owned();
    in_time(move || system::write(&service, &account, &name, &secret).map(|()| None)).map(drop)
}

/// Removes the secret of this account, if there is one.
pub fn remove(service: &str, account: &str) -> Result<(), Problem> {
    let (service, account) = (service.to_owned(), account.to_owned());
    in_time(move || system::remove(&service, &account).map(|()| None)).map(drop)
}

/// Whether the person has to unlock the keyring, or the secret of this account, before anything can be had of it.
pub fn is_locked(service: &str, account: &str) -> Result<bool, Problem> {
    match read(service, account) {
        Err(Problem::Locked) => Ok(true),
        found => found.map(|_| false),
    }
}

/// Has the person unlock them.
pub fn unlock(service: &str, account: &str) -> Result<(), Problem> {
    let (service, account) = (service.to_owned(), account.to_owned());
    let unlock = move || system::unlock(&service, &account).map(|()| None);
    within(PROMPT_LIMIT, unlock).map(drop)
}

/// Does it within what is left of the limit.
fn in_time(
    work: impl FnOnce() -> Result<Option<Vec<u8>>, Problem> + Send + 'static,
) -> Result<Option<Vec<u8>>, Problem> {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = Instant::now();
    let outcome = within(*left, work);
    *left = left.saturating_sub(begun.elapsed());
    outcome
}

/// Does it on a thread of its own, as no keyring has a time limit. One that comes too late is left to itself.
fn within(
    limit: Duration,
    work: impl FnOnce() -> Result<Option<Vec<u8>>, Problem> + Send + 'static,
) -> Result<Option<Vec<u8>>, Problem> {
    let (sender, receiver) = mpsc::channel();
    let working = thread::Builder::new().spawn(move || {
        // Nobody listens any more if it took too long.
        let _ = sender.send(work());
    });
    working.map_err(|error| Problem::other(&error))?;
    match receiver.recv_timeout(limit) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(Problem::TimedOut(limit.max(LIMIT))),
        Err(RecvTimeoutError::Disconnected) => Err(Problem::other(&"it gave no answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_that_hangs_is_given_up_and_costs_no_second_wait() {
        let (end, hanging) = mpsc::channel::<()>();
        *LEFT.lock().unwrap() = Duration::from_millis(1);
        let outcome = in_time(move || {
            let _ = hanging.recv();
            Ok(None)
        });
        assert!(matches!(outcome, Err(Problem::TimedOut(_))));
        assert!(LEFT.lock().unwrap().is_zero());
        drop(end);
    }
}
