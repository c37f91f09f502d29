//! The Secret Service of the desktop (<https://specifications.freedesktop.org/secret-service>), over the session bus.

use std::io::ErrorKind;

use super::Problem;
use super::dbus::{Arguments, Bus, Error, Message, Method};

const NAME: &str = "org.freedesktop.secrets";
const SERVICE: &str = "/org/freedesktop/secrets";
/// What each interface is called after.
const INTERFACE: &str = "org.freedesktop.Secret";
/// What stands for no object.
const NONE: &str = "/";
/// What an item says of its content.
const CONTENT: &str = "application/octet-stream";

/// A connection to the keyring.
struct Keyring {
    bus: Bus,
}

pub fn read(service: &str, account: &str) -> Result<Option<Vec<u8>>, Problem> {
    let mut keyring = Keyring::connect()?;
    match keyring.find(service, account)? {
        Some(item) => keyring.secret(&item).map(Some),
        None => Ok(None),
    }
}

pub fn write(service: &str, account: &str, name: &str, secret: &[u8]) -> Result<(), Problem> {
    let mut keyring = Keyring::connect()?;
    let collection = keyring.default_collection()?;
    keyring.check_unlocked(&collection)?;
    let session = keyring.session()?;
    let mut item = Arguments::default();
    item.list(8, |properties| {
        properties.group();
        properties.text("org.freedesktop.Secret.Item.Label");
        properties.signature("s");
        properties.text(name);
        properties.group();
        properties.text("org.freedesktop.Secret.Item.Attributes");
        properties.signature("a{ss}");
        put_attributes(properties, service, account);
    });
    item.group();
    item.text(&session);
    item.bytes(&[]);
    item.bytes(secret);
    item.text(CONTENT);
    item.number(1);
    let method = "Collection.CreateItem";
    let reply = keyring.call(&collection, method, "a{sv}(oayays)b", &item)?;
    match reply.content().text().map_err(problem)?.as_str() {
        // It would ask the person first.
        NONE => Err(Problem::Locked),
        _ => Ok(()),
    }
}

pub fn remove(service: &str, account: &str) -> Result<(), Problem> {
    let mut keyring = Keyring::connect()?;
    let Some(item) = keyring.find(service, account)? else {
        return Ok(());
    };
    let reply = keyring.call(&item, "Item.Delete", "", &Arguments::default())?;
    match reply.content().text().map_err(problem)?.as_str() {
        NONE => Ok(()),
        // It would ask the person first.
        _ => Err(Problem::Locked),
    }
}

pub fn unlock(service: &str, account: &str) -> Result<(), Problem> {
    let mut keyring = Keyring::connect()?;
    let collection = keyring.default_collection()?;
    // The item may be in another collection.
    let (_, mut locked) = keyring.search(service, account)?;
    locked.push(collection.clone());
    keyring.unlock(&locked)?;
    keyring.check_unlocked(&collection)
}

impl Keyring {
    fn connect() -> Result<Self, Problem> {
        let bus = Bus::session().map_err(problem)?;
        Ok(Self { bus })
    }

    /// Opens a session, in which secrets come and go. What goes over the bus is not encrypted once more: who may listen there,
    /// a program of the same user, may ask as well.
    ///
    /// Never the first call: where GNOME Keyring takes it for one of nobody it dies of it.
    fn session(&mut self) -> Result<String, Problem> {
        let mut plain = Arguments::default();
        plain.text("plain");
        plain.signature("s");
        plain.text("");
        let reply = self.call(SERVICE, "Service.OpenSession", "sv", &plain)?;
        let mut content = reply.content();
        let mut read = || {
            content.signature()?;
            content.text()?;
            content.text()
        };
        read().map_err(problem)
    }

    /// Calls a method, which is named with the last word of its interface.
    fn call(
        &mut self,
        object: &str,
        method: &str,
        signature: &str,
        arguments: &Arguments,
    ) -> Result<Message, Problem> {
        let (interface, name) = method.split_once('.').unwrap_or_default();
        let interface = format!("{INTERFACE}.{interface}");
        self.call_any(object, &interface, name, signature, arguments)
    }

    fn call_any(
        &mut self,
        object: &str,
        interface: &str,
        name: &str,
        signature: &str,
        arguments: &Arguments,
    ) -> Result<Message, Problem> {
        let method = Method {
            destination: NAME,
            object,
            interface,
            name,
        };
        self.bus
            .call(&method, signature, arguments)
            .map_err(problem)
    }

    fn default_collection(&mut self) -> Result<String, Problem> {
        let mut alias = Arguments::default();
        alias.text("default");
        // GNOME Keyring may take the first call of a program for one of nobody, and know of no collection.
        for _ in 0..2 {
            let reply = self.call(SERVICE, "Service.ReadAlias", "s", &alias)?;
            let collection = reply.content().text().map_err(problem)?;
            if collection != NONE {
                return Ok(collection);
            }
        }
        Err(Problem::other(&"it has no default collection"))
    }

    fn check_unlocked(&mut self, collection: &str) -> Result<(), Problem> {
        let mut property = Arguments::default();
        property.text("org.freedesktop.Secret.Collection");
        property.text("Locked");
        let properties = "org.freedesktop.DBus.Properties";
        let reply = self.call_any(collection, properties, "Get", "ss", &property)?;
        let mut content = reply.content();
        let is_locked = content.signature().and_then(|_| content.number());
        match is_locked.map_err(problem)? {
            0 => Ok(()),
            _ => Err(Problem::Locked),
        }
    }

    /// The items that are unlocked, and those that are not.
    fn search(
        &mut self,
        service: &str,
        account: &str,
    ) -> Result<(Vec<String>, Vec<String>), Problem> {
        let mut wanted = Arguments::default();
        put_attributes(&mut wanted, service, account);
        let reply = self.call(SERVICE, "Service.SearchItems", "a{ss}", &wanted)?;
        let mut content = reply.content();
        let mut read = || Ok((content.texts()?, content.texts()?));
        read().map_err(problem)
    }

    /// The item, which is unlocked; none if there is none, which only an unlocked keyring can tell.
    ///
    /// A locked one is not searched: `KeePassXC` would ask the person to unlock it. So an item that stands in another
    /// collection, which is unlocked, is out of reach until the default one is unlocked too. Ours are written into the
    /// default one: it takes a person who has chosen another since, and who then sees why.
    fn find(&mut self, service: &str, account: &str) -> Result<Option<String>, Problem> {
        let collection = self.default_collection()?;
        self.check_unlocked(&collection)?;
        let (mut unlocked, locked) = self.search(service, account)?;
        if let Some(item) = unlocked.pop() {
            return Ok(Some(item));
        }
        if locked.is_empty() {
            Ok(None)
        } else {
            Err(Problem::Locked)
        }
    }

    /// The secret of an item that is unlocked.
    fn secret(&mut self, item: &str) -> Result<Vec<u8>, Problem> {
        let mut session = Arguments::default();
        session.text(&self.session()?);
        let reply = self.call(item, "Item.GetSecret", "o", &session)?;
        let mut content = reply.content();
        content.group();
        let mut read = || {
            // The session, and the parameters of an encryption.
            content.text()?;
            content.bytes()?;
            content.bytes().map(<[u8]>::to_vec)
        };
        read().map_err(problem)
    }

    /// Has the person unlock these, and waits for that.
    fn unlock(&mut self, objects: &[String]) -> Result<(), Problem> {
        let mut locked = Arguments::default();
        locked.list(4, |list| {
            for object in objects {
                list.text(object);
            }
        });
        let reply = self.call(SERVICE, "Service.Unlock", "ao", &locked)?;
        let mut content = reply.content();
        let prompt = content.texts().and_then(|_| content.text());
        let prompt = prompt.map_err(problem)?;
        if prompt == NONE {
            return Ok(());
        }
        self.bus.subscribe(&prompt).map_err(problem)?;
        let mut window = Arguments::default();
        window.text("");
        self.call(&prompt, "Prompt.Prompt", "s", &window)?;
        let answer = self.bus.signal(&prompt, "Completed").map_err(problem)?;
        match answer.content().number().map_err(problem)? {
            0 => Ok(()),
            // It was dismissed.
            _ => Err(Problem::Locked),
        }
    }
}

/// The names that most programs use, Codex among them.
fn put_attributes(arguments: &mut Arguments, service: &str, account: &str) {
    arguments.list(8, |attributes| {
        for (name, value) in [("service", service), ("username", account)] {
            attributes.group();
            attributes.text(name);
            attributes.text(value);
        }
    });
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn problem(error: Error) -> Problem {
    match &error {
        Error::Unreachable => Problem::Unreachable,
        Error::Io(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            Problem::Unreachable
        }
        Error::Io(error) => Problem::other(error),
        Error::Malformed => Problem::other(&"its answer could not be understood"),
        Error::Refused(name) if name.ends_with(".Error.IsLocked") => Problem::Locked,
        Error::Refused(name) if name.ends_with(".ServiceUnknown") || name.contains(".Spawn.") => {
            Problem::Missing
        }
        Error::Refused(name) => Problem::other(name),
    }
}
