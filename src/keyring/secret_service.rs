//! The Secret Service of the desktop (<https://specifications.freedesktop.org/secret-service>), over the session bus.
//!
//! The few calls that it takes are made here: what libraries do around them unlocks, and so prompts, or brings encryption along
//! that a bus of this machine does not need.

use std::collections::HashMap;
use std::io::ErrorKind;

use serde::Serialize;
use zbus::blocking::{Connection, MessageIterator};
use zbus::zvariant::{DynamicDeserialize, DynamicType, OwnedObjectPath, OwnedValue, Value};
use zbus::{Error, MatchRule, Message, message};

use super::Problem;

const NAME: &str = "org.freedesktop.secrets";
const SERVICE: &str = "/org/freedesktop/secrets";
/// What each interface is called after.
const INTERFACE: &str = "org.freedesktop.Secret";
/// What stands for no object.
const NONE: &str = "/";
/// What an item says of its content.
const CONTENT: &str = "application/octet-stream";

/// A secret as it goes over the bus: the session, parameters of an encryption, the secret, what it is.
type Secret = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);

/// A connection to the keyring.
struct Keyring {
    bus: Connection,
    session: OwnedObjectPath,
}

pub fn read(service: &str, account: &str) -> Result<Option<Vec<u8>>, Problem> {
    let keyring = Keyring::connect()?;
    let Some(item) = keyring.find(service, account)? else {
        return Ok(None);
    };
    let reply = keyring.call(&item, "Item", "GetSecret", &(&keyring.session,))?;
    let (_, _, secret, _): Secret = content(&reply)?;
    Ok(Some(secret))
}

pub fn write(service: &str, account: &str, name: &str, secret: &[u8]) -> Result<(), Problem> {
    let keyring = Keyring::connect()?;
    let collection = keyring.default_collection()?;
    keyring.check_unlocked(&collection)?;
    let properties = HashMap::from([
        ("org.freedesktop.Secret.Item.Label", Value::from(name)),
        (
            "org.freedesktop.Secret.Item.Attributes",
            Value::from(attributes(service, account)),
        ),
    ]);
    let secret = (&keyring.session, &[][..] as &[u8], secret, CONTENT);
    let item = (properties, secret, true);
    let reply = keyring.call(&collection, "Collection", "CreateItem", &item)?;
    let (item, _): (OwnedObjectPath, OwnedObjectPath) = content(&reply)?;
    match item.as_str() {
        // It would ask the person first.
        NONE => Err(Problem::Locked),
        _ => Ok(()),
    }
}

pub fn remove(service: &str, account: &str) -> Result<(), Problem> {
    let keyring = Keyring::connect()?;
    let Some(item) = keyring.find(service, account)? else {
        return Ok(());
    };
    let reply = keyring.call(&item, "Item", "Delete", &())?;
    let prompt: OwnedObjectPath = content(&reply)?;
    match prompt.as_str() {
        NONE => Ok(()),
        // It would ask the person first.
        _ => Err(Problem::Locked),
    }
}

pub fn unlock(service: &str, account: &str) -> Result<(), Problem> {
    let keyring = Keyring::connect()?;
    let collection = keyring.default_collection()?;
    if keyring.is_locked(&collection)? {
        keyring.unlock(std::slice::from_ref(&collection))?;
    }
    // The item may be in another collection.
    let (_, locked) = keyring.search(service, account)?;
    if !locked.is_empty() {
        keyring.unlock(&locked)?;
    }
    keyring.check_unlocked(&collection)
}

impl Keyring {
    /// What goes over the bus is not encrypted once more: who may listen there, a program of the same user, may ask as well.
    fn connect() -> Result<Self, Problem> {
        let mut keyring = Self {
            bus: Connection::session().map_err(problem)?,
            session: OwnedObjectPath::default(),
        };
        let plain = ("plain", Value::from(""));
        let reply = keyring.call(SERVICE, "Service", "OpenSession", &plain)?;
        let (_, session): (OwnedValue, OwnedObjectPath) = content(&reply)?;
        keyring.session = session;
        Ok(keyring)
    }

    fn call(
        &self,
        object: &str,
        interface: &str,
        method: &str,
        arguments: &(impl Serialize + DynamicType),
    ) -> Result<Message, Problem> {
        let interface = format!("{INTERFACE}.{interface}");
        let reply = self.bus.call_method(
            Some(NAME),
            object,
            Some(interface.as_str()),
            method,
            arguments,
        );
        reply.map_err(problem)
    }

    fn default_collection(&self) -> Result<OwnedObjectPath, Problem> {
        let reply = self.call(SERVICE, "Service", "ReadAlias", &("default",))?;
        let collection: OwnedObjectPath = content(&reply)?;
        match collection.as_str() {
            NONE => Err(Problem::other(&"it has no default collection")),
            _ => Ok(collection),
        }
    }

    fn is_locked(&self, object: &str) -> Result<bool, Problem> {
        let property = ("org.freedesktop.Secret.Collection", "Locked");
        let properties = Some("org.freedesktop.DBus.Properties");
        let bus = &self.bus;
        let reply = bus.call_method(Some(NAME), object, properties, "Get", &property);
        let locked: OwnedValue = content(&reply.map_err(problem)?)?;
        bool::try_from(locked).map_err(|error| Problem::other(&error))
    }

    fn check_unlocked(&self, collection: &str) -> Result<(), Problem> {
        if self.is_locked(collection)? {
            return Err(Problem::Locked);
        }
        Ok(())
    }

    /// The items that are unlocked, and those that are not.
    fn search(
        &self,
        service: &str,
        account: &str,
    ) -> Result<(Vec<OwnedObjectPath>, Vec<OwnedObjectPath>), Problem> {
        let wanted = (attributes(service, account),);
        content(&self.call(SERVICE, "Service", "SearchItems", &wanted)?)
    }

    /// The item, which is unlocked; none if there is none, which only an unlocked keyring can tell.
    fn find(&self, service: &str, account: &str) -> Result<Option<OwnedObjectPath>, Problem> {
        let (mut unlocked, locked) = self.search(service, account)?;
        if let Some(item) = unlocked.pop() {
            return Ok(Some(item));
        }
        if !locked.is_empty() {
            return Err(Problem::Locked);
        }
        self.check_unlocked(&self.default_collection()?)?;
        Ok(None)
    }

    /// Has the person unlock these, and waits for that.
    fn unlock(&self, objects: &[OwnedObjectPath]) -> Result<(), Problem> {
        let reply = self.call(SERVICE, "Service", "Unlock", &(objects,))?;
        let (_, prompt): (Vec<OwnedObjectPath>, OwnedObjectPath) = content(&reply)?;
        if prompt.as_str() == NONE {
            return Ok(());
        }
        let completed = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .path(&prompt)
            .and_then(|rule| rule.member("Completed"))
            .map_err(problem)?
            .build();
        let mut answers =
            MessageIterator::for_match_rule(completed, &self.bus, None).map_err(problem)?;
        self.call(&prompt, "Prompt", "Prompt", &("",))?;
        let answer = answers.next().ok_or(Problem::Locked)?.map_err(problem)?;
        let (is_dismissed, _): (bool, OwnedValue) = content(&answer)?;
        if is_dismissed {
            return Err(Problem::Locked);
        }
        Ok(())
    }
}

/// What a reply has in it.
fn content<T: for<'a> DynamicDeserialize<'a>>(reply: &Message) -> Result<T, Problem> {
    reply.body().deserialize().map_err(problem)
}

/// The names that most programs use, Codex among them.
fn attributes<'a>(service: &'a str, account: &'a str) -> HashMap<&'a str, &'a str> {
    HashMap::from([("service", service), ("username", account)])
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn problem(error: Error) -> Problem {
    match &error {
        Error::MethodError(name, ..) if name.ends_with(".Error.IsLocked") => Problem::Locked,
        Error::MethodError(name, ..)
            if name.ends_with(".ServiceUnknown") || name.contains(".Spawn.") =>
        {
            Problem::Missing
        }
        Error::InputOutput(cause) | Error::Connection(cause, _)
            if matches!(
                cause.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            Problem::Unreachable
        }
        Error::Address(_) => Problem::Unreachable,
        _ => Problem::other(&error),
    }
}
