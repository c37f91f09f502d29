//! The Secret Service of the desktop (<https://specifications.freedesktop.org/secret-service>), over the session bus.

use super::dbus::{Body, Bus, Part};
use super::{Problem, Result};

const NAME: &str = "org.freedesktop.secrets";
const SERVICE: &str = "/org/freedesktop/secrets";
/// The path that means no object.
const NONE: &str = "/";

/// A connection to the keyring.
struct Keyring(Bus);

pub fn read(service: &str, account: &str) -> Result<Option<Vec<u8>>> {
    let mut keyring = Keyring::connect()?;
    match keyring.find(service, account)? {
        Some(item) => keyring.secret(&item).map(Some),
        None => Ok(None),
    }
}

pub fn write(service: &str, account: &str, name: &str, secret: &[u8]) -> Result<()> {
    let mut keyring = Keyring::connect()?;
    let collection = keyring.unlocked_collection()?;
    let session = keyring.open_session()?;
    let (label, attributes) = (Part::Text(name), attributes(service, account));
    let properties = [
        ("org.freedesktop.Secret.Item.Label", "s", label),
        (
            "org.freedesktop.Secret.Item.Attributes",
            "a{ss}",
            attributes,
        ),
    ];
    let properties = properties
        .map(|(name, kind, value)| [Part::Struct, Part::Text(name), Part::Signature(kind), value]);
    let arguments = [
        Part::Array(8, properties.concat()),
        // The secret: its session, the parameters of an encryption, its bytes and their type.
        Part::Struct,
        Part::Text(&session),
        Part::Bytes(&[]),
        Part::Bytes(secret),
        Part::Text("application/octet-stream"),
        // It replaces an item with the same attributes.
        Part::Number(1),
    ];
    let method = "Secret.Collection.CreateItem(a{sv}(oayays)b)";
    let mut reply = keyring.call(&collection, method, &arguments)?;
    match reply.text()?.as_str() {
        // It would prompt first.
        NONE => Err(Problem::Locked),
        _ => Ok(()),
    }
}

pub fn remove(service: &str, account: &str) -> Result<()> {
    let mut keyring = Keyring::connect()?;
    let Some(item) = keyring.find(service, account)? else {
        return Ok(());
    };
    let mut reply = keyring.call(&item, "Secret.Item.Delete()", &[])?;
    match reply.text()?.as_str() {
        NONE => Ok(()),
        // It would prompt first.
        _ => Err(Problem::Locked),
    }
}

pub fn unlock(service: &str, account: &str) -> Result<()> {
    let mut keyring = Keyring::connect()?;
    let collection = keyring.default_collection()?;
    // The item may be in another collection.
    let [_, mut locked] = keyring.search(service, account)?;
    locked.push(collection);
    keyring.unlock(&locked)?;
    keyring.unlocked_collection().map(drop)
}

impl Keyring {
    fn connect() -> Result<Self> {
        Bus::session().map(Self)
    }

    /// Calls a method of a keyring's object. All their interfaces are of freedesktop.org.
    fn call(&mut self, path: &str, method: &str, arguments: &[Part]) -> Result<Body> {
        let method = format!("org.freedesktop.{method}");
        self.0.call([NAME, path], &method, arguments)
    }

    /// Opens a session, in which secrets are transferred, not encrypted: a program that can listen on the bus runs as the same
    /// user, and can ask for them as well.
    ///
    /// Never the first call: GNOME Keyring may not have registered its client yet, and then crashes.
    fn open_session(&mut self) -> Result<String> {
        let plain = [Part::Text("plain"), Part::Signature("s"), Part::Text("")];
        let mut reply = self.call(SERVICE, "Secret.Service.OpenSession(sv)", &plain)?;
        // The parameters of an encryption come first.
        reply.signature()?;
        reply.text()?;
        reply.text()
    }

    fn default_collection(&mut self) -> Result<String> {
        // GNOME Keyring may answer none to the first call of a client that it has not registered yet.
        for _ in 0..2 {
            let alias = [Part::Text("default")];
            let mut reply = self.call(SERVICE, "Secret.Service.ReadAlias(s)", &alias)?;
            let collection = reply.text()?;
            if collection != NONE {
                return Ok(collection);
            }
        }
        Err(Problem::failed("it has no default collection"))
    }

    /// The default collection, which has to be unlocked.
    fn unlocked_collection(&mut self) -> Result<String> {
        let collection = self.default_collection()?;
        let property = ["org.freedesktop.Secret.Collection", "Locked"].map(Part::Text);
        let mut reply = self.call(&collection, "DBus.Properties.Get(ss)", &property)?;
        reply.signature()?;
        match reply.number()? {
            0 => Ok(collection),
            _ => Err(Problem::Locked),
        }
    }

    /// The items that are unlocked, and those that are not.
    fn search(&mut self, service: &str, account: &str) -> Result<[Vec<String>; 2]> {
        let wanted = [attributes(service, account)];
        let mut reply = self.call(SERVICE, "Secret.Service.SearchItems(a{ss})", &wanted)?;
        Ok([reply.texts()?, reply.texts()?])
    }

    /// The item, which is unlocked; none if there is none, which only an unlocked keyring can tell.
    ///
    /// A locked one is not searched: `KeePassXC` would ask the person to unlock it. So an item in another collection is out of
    /// reach until the default one is unlocked too. Ours are written into the default one, unless the person has changed that
    /// since.
    fn find(&mut self, service: &str, account: &str) -> Result<Option<String>> {
        self.unlocked_collection()?;
        let [mut unlocked, locked] = self.search(service, account)?;
        match unlocked.pop() {
            None if !locked.is_empty() => Err(Problem::Locked),
            item => Ok(item),
        }
    }

    /// The secret of an item that is unlocked.
    fn secret(&mut self, item: &str) -> Result<Vec<u8>> {
        let session = [Part::Text(&self.open_session()?)];
        let mut secret = self.call(item, "Secret.Item.GetSecret(o)", &session)?;
        // A struct: the session and the parameters of an encryption come first.
        secret.align(8);
        secret.text()?;
        secret.bytes()?;
        secret.bytes()
    }

    /// Has the person unlock these, and waits for that.
    fn unlock(&mut self, objects: &[String]) -> Result<()> {
        let objects = objects.iter().map(|object| Part::Text(object)).collect();
        let objects = [Part::Array(4, objects)];
        let mut reply = self.call(SERVICE, "Secret.Service.Unlock(ao)", &objects)?;
        reply.texts()?;
        let prompt = reply.text()?;
        if prompt == NONE {
            return Ok(());
        }
        self.0.await_signal(&prompt, "Completed")?;
        // We have no window that it could belong to.
        let window = [Part::Text("")];
        let mut completed = self.call(&prompt, "Secret.Prompt.Prompt(s)", &window)?;
        match completed.number()? {
            0 => Ok(()),
            // It was dismissed.
            _ => Err(Problem::Locked),
        }
    }
}

/// The names that most programs use, including Codex.
fn attributes<'a>(service: &'a str, account: &'a str) -> Part<'a> {
    let entries = [("service", service), ("username", account)];
    let entries = entries.map(|(name, value)| [Part::Struct, Part::Text(name), Part::Text(value)]);
    Part::Array(8, entries.concat())
}
