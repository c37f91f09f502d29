//! The macOS Keychain.

use security_framework::base::Error;
use security_framework::os::macos::keychain::SecKeychain;
use security_framework::passwords::{
    delete_generic_password, get_generic_password, set_generic_password,
};

use super::{Problem, Result};

/// `errSecItemNotFound` of Apple's `SecBase.h`.
const NOT_FOUND: i32 = -25300;
/// `errSecInteractionNotAllowed`: it would have to prompt.
const WOULD_ASK: i32 = -25308;
/// `errSecAuthFailed`: the user did not unlock it.
const NOT_UNLOCKED: i32 = -25293;

pub fn read(service: &str, account: &str) -> Result<Option<Vec<u8>>> {
    let _silent = SecKeychain::disable_user_interaction()?;
    found(get_generic_password(service, account))
}

/// The Keychain lists items by service.
pub fn write(service: &str, account: &str, _name: &str, secret: &[u8]) -> Result<()> {
    let _silent = SecKeychain::disable_user_interaction()?;
    Ok(set_generic_password(service, account, secret)?)
}

pub fn remove(service: &str, account: &str) -> Result<()> {
    let _silent = SecKeychain::disable_user_interaction()?;
    found(delete_generic_password(service, account)).map(drop)
}

/// It may prompt twice: for the password, and whether this program may read an item that another version of it wrote.
pub fn unlock(service: &str, account: &str) -> Result<()> {
    SecKeychain::default()?.unlock(None)?;
    found(get_generic_password(service, account)).map(drop)
}

fn found<T>(outcome: std::result::Result<T, Error>) -> Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == NOT_FOUND => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error.code() {
            WOULD_ASK | NOT_UNLOCKED => Self::Locked,
            _ => Self::failed(&error.to_string()),
        }
    }
}
