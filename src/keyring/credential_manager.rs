//! The Windows Credential Manager. It is unlocked while the user is logged on, and never prompts.

use std::collections::HashMap;

use keyring_core::api::CredentialStoreApi;
use keyring_core::{Entry, Error};
use windows_native_keyring_store::Store;

use super::{Problem, Result};

pub fn read(service: &str, account: &str) -> Result<Option<Vec<u8>>> {
    found(entry(service, account)?.get_secret())
}

/// The Credential Manager lists entries by account and service.
pub fn write(service: &str, account: &str, _name: &str, secret: &[u8]) -> Result<()> {
    Ok(entry(service, account)?.set_secret(secret)?)
}

pub fn remove(service: &str, account: &str) -> Result<()> {
    found(entry(service, account)?.delete_credential()).map(drop)
}

pub fn unlock(service: &str, account: &str) -> Result<()> {
    read(service, account).map(drop)
}

/// An entry that, like the file, does not roam to other machines.
fn entry(service: &str, account: &str) -> Result<Entry> {
    let local = HashMap::from([("persistence", "Local")]);
    Ok(Store::new()?.build(service, account, Some(&local))?)
}

fn found<T>(outcome: std::result::Result<T, Error>) -> Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(Error::NoEntry) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::PlatformFailure(error) | Error::NoStorageAccess(error) => {
                Self::failed(&error.to_string())
            }
            // It may contain the secret.
            _ => Self::failed("the Credential Manager rejects this entry"),
        }
    }
}
