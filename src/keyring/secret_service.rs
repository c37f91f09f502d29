//! The Secret Service of the desktop (<https://specifications.freedesktop.org/secret-service>), over the session bus.

use std::collections::HashMap;
use std::io::ErrorKind;

use secret_service::blocking::{Item, SecretService};
use secret_service::{EncryptionType, Error};

use super::Problem;

/// What an item says of its content.
const CONTENT: &str = "application/octet-stream";

pub fn read(service: &str, account: &str) -> Result<Option<Vec<u8>>, Problem> {
    let bus = connect()?;
    match find(&bus, service, account)? {
        Some(item) => item.get_secret().map(Some).map_err(problem),
        None => Ok(None),
    }
}

pub fn write(service: &str, account: &str, name: &str, secret: &[u8]) -> Result<(), Problem> {
    let bus = connect()?;
    let collection = bus.get_default_collection().map_err(problem)?;
    // One that is locked would ask the person.
    collection.ensure_unlocked().map_err(problem)?;
    let attributes = attributes(service, account);
    collection
        .create_item(name, attributes, secret, true, CONTENT)
        .map(drop)
        .map_err(problem)
}

pub fn remove(service: &str, account: &str) -> Result<(), Problem> {
    let bus = connect()?;
    match find(&bus, service, account)? {
        Some(item) => item.delete().map_err(problem),
        None => Ok(()),
    }
}

pub fn unlock(service: &str, account: &str) -> Result<(), Problem> {
    let bus = connect()?;
    let collection = bus.get_default_collection().map_err(problem)?;
    if collection.is_locked().map_err(problem)? {
        collection.unlock().map_err(problem)?;
    }
    // The item may be in another collection.
    let found = bus.search_items(attributes(service, account));
    let locked: Vec<Item> = found.map_err(problem)?.locked;
    locked.iter().try_for_each(Item::unlock).map_err(problem)?;
    collection.ensure_unlocked().map_err(problem)
}

/// What goes over the bus is not encrypted once more: who may listen there, a program of the same user, may ask as well.
fn connect<'a>() -> Result<SecretService<'a>, Problem> {
    SecretService::connect(EncryptionType::Plain).map_err(problem)
}

/// The item, which is unlocked; none if there is none, which only an unlocked keyring can tell.
fn find<'a>(
    bus: &'a SecretService<'a>,
    service: &str,
    account: &str,
) -> Result<Option<Item<'a>>, Problem> {
    let found = bus.search_items(attributes(service, account));
    let mut found = found.map_err(problem)?;
    if let Some(item) = found.unlocked.pop() {
        return Ok(Some(item));
    }
    if !found.locked.is_empty() {
        return Err(Problem::Locked);
    }
    let collection = bus.get_default_collection().map_err(problem)?;
    collection.ensure_unlocked().map_err(problem)?;
    Ok(None)
}

/// The names that most programs use, Codex among them.
fn attributes<'a>(service: &'a str, account: &'a str) -> HashMap<&'a str, &'a str> {
    HashMap::from([("service", service), ("username", account)])
}

fn problem(error: Error) -> Problem {
    match error {
        // A prompt that was dismissed leaves it locked.
        Error::Locked | Error::Prompt => Problem::Locked,
        Error::Unavailable => Problem::Unreachable,
        Error::NoResult => Problem::other(&"it has no default collection"),
        Error::Zbus(error) => of_bus(&error),
        Error::ZbusFdo(error) => of_bus(&error.into()),
        error => Problem::other(&error),
    }
}

fn of_bus(error: &zbus::Error) -> Problem {
    match error {
        zbus::Error::FDO(error) => match &**error {
            zbus::fdo::Error::ZBus(error) => of_bus(error),
            zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::NameHasNoOwner(_) => {
                Problem::Missing
            }
            error => Problem::other(error),
        },
        zbus::Error::MethodError(name, ..) if name.ends_with(".Error.IsLocked") => Problem::Locked,
        zbus::Error::MethodError(name, ..)
            if name.ends_with(".ServiceUnknown") || name.contains(".Spawn.") =>
        {
            Problem::Missing
        }
        zbus::Error::InputOutput(error) | zbus::Error::Connection(error, _)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            Problem::Unreachable
        }
        zbus::Error::Address(_) => Problem::Unreachable,
        error => Problem::other(error),
    }
}
