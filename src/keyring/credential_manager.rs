//! The Credential Manager of Windows. It is unlocked as long as the person is logged on, and asks nobody anything.

use std::collections::HashMap;

use keyring_core::api::CredentialStoreApi;
use keyring_core::{Entry, Error};
use windows_native_keyring_store::Store;

use super::Problem;

pub fn read(service: &str, account: &str) -> Result<Option<Vec<u8>>, Problem> {
    found(entry(service, account)?.get_secret())
}

/// The Credential Manager shows an entry by its account and its service.
pub fn write(service: &str, account: &str, _name: &str, secret: &[u8]) -> Result<(), Problem> {
    let entry = entry(service, account)?;
    entry.set_secret(secret).map_err(problem)
}

pub fn remove(service: &str, account: &str) -> Result<(), Problem> {
    found(entry(service, account)?.delete_credential()).map(drop)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "elsewhere it may be refused to be unlocked"
)]
pub fn unlock(_service: &str, _account: &str) -> Result<(), Problem> {
    Ok(())
}

/// An entry that stays on this machine, as the file does.
fn entry(service: &str, account: &str) -> Result<Entry, Problem> {
    let local = HashMap::from([("persistence", "Local")]);
    let store = Store::new().map_err(problem)?;
    store.build(service, account, Some(&local)).map_err(problem)
}

fn found<T>(outcome: Result<T, Error>) -> Result<Option<T>, Problem> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(Error::NoEntry) => Ok(None),
        Err(error) => Err(problem(error)),
    }
}

/// What it says of a failure may have the secret in it, but for these.
fn problem(error: Error) -> Problem {
    match error {
        Error::PlatformFailure(error) | Error::NoStorageAccess(error) => Problem::other(&error),
        _ => Problem::other(&"the Credential Manager does not take this entry"),
    }
}
