//! The Secret Service of the desktop (<https://specifications.freedesktop.org/secret-service>), over the session bus.

use super::dbus::{Arguments, BUS, Body, Bus};
use super::{Problem, Result};

const NAME: &str = "org.freedesktop.secrets";
const SERVICE: &str = "/org/freedesktop/secrets";
/// The path that means no object.
const NONE: &str = "/";

/// A connection to the keyring.
struct Keyring(Bus);

pub fn read(service: &str, account: &str) -> Result<Option<Vec<u8>>> {
    let mut keyring = Keyring(Bus::session()?);
    let Some(item) = keyring.find(service, account)? else {
        return Ok(None);
    };
    let session = Arguments::NONE.text(&keyring.open_session()?);
    let mut secret = keyring.call(&item, "Secret.Item.GetSecret(o)", &session)?;
    // A struct, which starts with the session and the parameters of an encryption.
    secret.align(8);
    secret.text()?;
    secret.bytes()?;
    secret.bytes().map(Some)
}

pub fn write(service: &str, account: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let mut keyring = Keyring(Bus::session()?);
    let collection = keyring.unlocked_collection()?;
    let session = keyring.open_session()?;
    let properties = Arguments::NONE.text("org.freedesktop.Secret.Item.Label");
    let properties = properties.signature("s").text(name).align(8);
    let properties = properties.text("org.freedesktop.Secret.Item.Attributes");
    let attributes = attributes(service, account);
    let properties = properties.signature("a{ss}").array(8, &attributes);
    // The secret: its session, the parameters of an encryption, its bytes and its content type.
    let secret = Arguments::NONE.array(8, &properties).align(8);
    let secret = secret.text(&session).bytes(&[]).bytes(bytes);
    // It replaces an item with the same attributes.
    let arguments = secret.text("application/octet-stream").number(1);
    let method = "Secret.Collection.CreateItem(a{sv}(oayays)b)";
    let mut reply = keyring.call(&collection, method, &arguments)?;
    // If no item was created, it would have to prompt first.
    let is_stored = reply.text()? != NONE;
    is_stored.then_some(()).ok_or(Problem::Locked)
}

pub fn remove(service: &str, account: &str) -> Result<()> {
    let mut keyring = Keyring(Bus::session()?);
    let Some(item) = keyring.find(service, account)? else {
        return Ok(());
    };
    let mut reply = keyring.call(&item, "Secret.Item.Delete()", &Arguments::NONE)?;
    // If it returns a prompt, the item is only removed once that is answered.
    let is_removed = reply.text()? == NONE;
    is_removed.then_some(()).ok_or(Problem::Locked)
}

pub fn unlock(service: &str, account: &str) -> Result<()> {
    let mut keyring = Keyring(Bus::session()?);
    let collection = keyring.default_collection()?;
    // The item may be in another collection.
    let [_, mut locked] = keyring.search(service, account)?;
    locked.push(collection);
    let put = |array: Arguments, object: &String| array.text(object);
    let locked = Arguments::NONE.array(4, &locked.iter().fold(Arguments::NONE, put));
    let mut reply = keyring.call(SERVICE, "Secret.Service.Unlock(ao)", &locked)?;
    reply.texts()?;
    let prompt = reply.text()?;
    if prompt != NONE {
        let signals = Arguments::NONE.text(&format!("type='signal',path='{prompt}'"));
        keyring.0.call(BUS, "DBus.AddMatch(s)", &signals, None)?;
        let (prompt, method) = ([NAME, &prompt], "Secret.Prompt.Prompt(s)");
        // We have no window that the prompt could belong to.
        let window = Arguments::NONE.text("");
        keyring.0.call(prompt, method, &window, Some("Completed"))?;
    }
    keyring.unlocked_collection().map(drop)
}

impl Keyring {
    /// Calls a method on an object of the keyring.
    fn call(&mut self, path: &str, method: &str, arguments: &Arguments) -> Result<Body> {
        self.0.call([NAME, path], method, arguments, None)
    }

    /// Opens a session for transferring secrets, which are not encrypted: a program that can listen on the bus runs as
    /// the same user, and can ask for them as well.
    ///
    /// This must not be the first call: GNOME Keyring may not have registered its client yet, and then crashes.
    fn open_session(&mut self) -> Result<String> {
        let plain = Arguments::NONE.text("plain").signature("s").text("");
        let mut reply = self.call(SERVICE, "Secret.Service.OpenSession(sv)", &plain)?;
        // The parameters of an encryption come first.
        reply.signature()?;
        reply.text()?;
        reply.text()
    }

    fn default_collection(&mut self) -> Result<String> {
        // GNOME Keyring may report none on the first call of a client that it has not registered yet.
        for _ in 0..2 {
            let alias = Arguments::NONE.text("default");
            let mut reply = self.call(SERVICE, "Secret.Service.ReadAlias(s)", &alias)?;
            let collection = reply.text()?;
            if collection != NONE {
                return Ok(collection);
            }
        }
        Err(Problem::failed("it has no default collection"))
    }

    /// The default collection, which must be unlocked.
    fn unlocked_collection(&mut self) -> Result<String> {
        let collection = self.default_collection()?;
        let property = Arguments::NONE.text("org.freedesktop.Secret.Collection");
        let property = property.text("Locked");
        let mut reply = self.call(&collection, "DBus.Properties.Get(ss)", &property)?;
        reply.signature()?;
        match reply.number()? {
            0 => Ok(collection),
            _ => Err(Problem::Locked),
        }
    }

    /// The unlocked items, and the locked ones.
    fn search(&mut self, service: &str, account: &str) -> Result<[Vec<String>; 2]> {
        let wanted = Arguments::NONE.array(8, &attributes(service, account));
        let mut reply = self.call(SERVICE, "Secret.Service.SearchItems(a{ss})", &wanted)?;
        Ok([reply.texts()?, reply.texts()?])
    }

    /// The unlocked item, or `None` if it does not exist, which only an unlocked keyring can tell.
    ///
    /// A locked keyring is not searched, as `KeePassXC` would prompt the user to unlock it. So an item in another
    /// collection is out of reach until the default one is unlocked, too. We write items to the default collection, but
    /// the user may have chosen another one since.
    fn find(&mut self, service: &str, account: &str) -> Result<Option<String>> {
        self.unlocked_collection()?;
        let [mut unlocked, locked] = self.search(service, account)?;
        match unlocked.pop() {
            None if !locked.is_empty() => Err(Problem::Locked),
            item => Ok(item),
        }
    }
}

/// The attributes that most programs use, including Codex: the entries of an `a{ss}`.
fn attributes(service: &str, account: &str) -> Arguments {
    let service = Arguments::NONE.text("service").text(service);
    service.align(8).text("username").text(account)
}
