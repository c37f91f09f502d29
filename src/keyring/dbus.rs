//! The parts of D-Bus (<https://dbus.freedesktop.org/doc/dbus-specification.html>) that a few method calls on the session
//! bus need: one connection, one call at a time, no threads. The caller sets the time limit.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use percent_encoding::percent_decode_str;

use super::{Problem, Result};
use crate::sandbox::{SANDBOX, describe_refused};
use crate::settings;

/// The bus itself, by its name and its path.
pub const BUS: [&str; 2] = ["org.freedesktop.DBus", "/org/freedesktop/DBus"];

/// The maximum length of a part of a message, in bytes. A keyring's replies are far shorter.
const LONGEST: u32 = 1024 * 1024;

/// The sender chooses the byte order of a message. This one is native to all processors that we build for.
const LITTLE_ENDIAN: u8 = b'l';
/// Message types and header fields (Message Format).
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A connection to the session bus.
pub struct Bus {
    stream: UnixStream,
    serial: u32,
}

impl Bus {
    /// The bus knows our user from the socket (EXTERNAL), but expects to be told.
    pub fn session() -> Result<Self> {
        // The first reachable bus in the environment, or systemd's.
        let addresses = settings::session_bus().unwrap_or_else(|| "unix:runtime=yes".to_owned());
        let try_next = |tried: Result<_>, address| tried.or_else(|_| connect_to(address));
        let mut stream = addresses.split(';').fold(Err(no_bus()), try_next)?;
        let user = rustix::process::geteuid().as_raw().to_string();
        // The decimal digits, hex-encoded: `3` is 33.
        let user: String = user.chars().flat_map(|digit| ['3', digit]).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        // Nothing follows this line, of a few dozen bytes, until we send BEGIN.
        let mut line = String::new();
        BufReader::new((&stream).take(1024)).read_line(&mut line)?;
        if !line.starts_with("OK ") {
            return Err(malformed());
        }
        stream.write_all(b"BEGIN\r\n")?;
        let mut bus = Self { stream, serial: 0 };
        bus.call(BUS, "DBus.Hello()", &Arguments::NONE, None)?;
        Ok(bus)
    }

    /// Calls a method of freedesktop.org, given by its interface and the types of its arguments, on an object, given by
    /// its owner and its path. Returns the body of the reply, or of the named signal of that object, which may arrive
    /// before the reply.
    pub fn call(
        &mut self,
        object: [&str; 2],
        method: &str,
        arguments: &Arguments,
        signal: Option<&str>,
    ) -> Result<Body> {
        self.serial += 1;
        let call = call(self.serial, object, method, arguments);
        self.stream.write_all(&call)?;
        loop {
            let (kind, fields, body) = self.receive()?;
            let field = |code| fields.get(&code).map_or("", String::as_str);
            let is_reply = field(REPLY_SERIAL) == self.serial.to_string();
            let is_signal =
                field(PATH) == object[1] && signal.is_some_and(|name| field(MEMBER) == name);
            match kind {
                ERROR if is_reply => return Err(returned(field(ERROR_NAME))),
                METHOD_RETURN if is_reply && signal.is_none() => return Ok(body),
                SIGNAL if is_signal => return Ok(body),
                // Any program may send us messages.
                _ => {}
            }
        }
    }

    /// The next message: its type, the fields of its header as text, and its body.
    fn receive(&mut self) -> Result<(u8, HashMap<u8, String>, Body)> {
        let mut start = Body::read(&mut self.stream, 16)?;
        let &[order, kind, _flags, _version] = start.take(4)? else {
            return Err(malformed());
        };
        let [body, _serial, end] = [start.number()?, start.number()?, start.number()?];
        if order != LITTLE_ENDIAN || body.max(end) > LONGEST {
            return Err(malformed());
        }
        // It starts at a multiple of 8 in the message, so alignment can be counted from its own start.
        let mut header = Body::read(&mut self.stream, end.next_multiple_of(8))?;
        header.bytes.truncate(end as usize);
        let mut fields = HashMap::new();
        while header.at < header.bytes.len() {
            header.align(8);
            let code = header.take(1)?[0];
            let value = match header.signature()?.as_str() {
                "u" => header.number()?.to_string(),
                "s" | "o" => header.text()?,
                "g" => header.signature()?,
                _ => return Err(malformed()),
            };
            fields.insert(code, value);
        }
        Ok((kind, fields, Body::read(&mut self.stream, body)?))
    }
}

/// Connects to `unix:path=…`, `unix:abstract=…` or `unix:runtime=yes`, the only kinds that desktops use.
fn connect_to(address: &str) -> Result<UnixStream> {
    let pairs = address.strip_prefix("unix:").ok_or_else(no_bus)?;
    for (key, value) in pairs.split(',').filter_map(|pair| pair.split_once('=')) {
        let value = OsString::from_vec(percent_decode_str(value).collect());
        let address = match key {
            "path" => SocketAddr::from_pathname(value),
            "runtime" => SocketAddr::from_pathname(settings::runtime_folder().join("bus")),
            #[cfg(target_os = "linux")]
            "abstract" => {
                use std::os::linux::net::SocketAddrExt;
                SocketAddr::from_abstract_name(value.as_encoded_bytes())
            }
            _ => continue,
        };
        return Ok(UnixStream::connect_addr(&address?)?);
    }
    Err(no_bus())
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => no_bus(),
            ErrorKind::PermissionDenied => {
                let refused = describe_refused(&error);
                let outside = refused.contains(SANDBOX).then_some("outside it");
                let place = outside.unwrap_or("as the user of the desktop session");
                Self::Other(format!(
                    "the keyring cannot be reached: could not connect to the session bus: {refused}: run codex-auth {place}"
                ))
            }
            _ => Self::failed(&error.to_string()),
        }
    }
}

fn no_bus() -> Problem {
    let what = "the keyring cannot be reached: there is no session bus here: run codex-auth in your desktop \
                session, where DBUS_SESSION_BUS_ADDRESS is set";
    Problem::Other(what.to_owned())
}

fn malformed() -> Problem {
    Problem::failed("its reply is malformed")
}

/// What the name of an error in a reply means.
fn returned(name: &str) -> Problem {
    if name.ends_with(".Error.IsLocked") {
        return Problem::Locked;
    }
    if name.ends_with(".ServiceUnknown") || name.contains(".Spawn.") {
        let what =
            "no keyring is running: start GNOME Keyring, KWallet or KeePassXC, and try again";
        return Problem::Other(what.to_owned());
    }
    Problem::failed(name)
}

/// A call as a message.
fn call(serial: u32, [owner, path]: [&str; 2], method: &str, arguments: &Arguments) -> Vec<u8> {
    let (method, types) = method.split_once('(').unwrap_or_default();
    let (interface, name) = method.rsplit_once('.').unwrap_or_default();
    let types = types.strip_suffix(')').unwrap_or_default();
    let fields = Arguments::NONE.field(DESTINATION, "s").text(owner);
    let fields = fields.field(PATH, "o").text(path);
    let fields = fields.field(INTERFACE, "s");
    let fields = fields.text(&format!("org.freedesktop.{interface}"));
    let fields = fields.field(MEMBER, "s").text(name);
    let fields = fields.field(SIGNATURE, "g").signature(types);
    message(METHOD_CALL, serial, &fields, arguments)
}

fn message(kind: u8, serial: u32, fields: &Arguments, arguments: &Arguments) -> Vec<u8> {
    // No flags, protocol version 1.
    let start = Arguments(vec![LITTLE_ENDIAN, kind, 0, 1]);
    let start = start.number(length(&arguments.0)).number(serial);
    start.array(8, fields).align(8).raw(&arguments.0).0
}

/// Marshals the arguments of a call. All of them are our own, and short.
pub struct Arguments(Vec<u8>);

impl Arguments {
    pub const NONE: Self = Self(Vec::new());

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Pads to a multiple of this: of 8 before a struct or a dictionary entry.
    pub fn align(mut self, to: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
        self
    }

    /// A `u`, or a `b` of 0 or 1.
    pub fn number(self, number: u32) -> Self {
        self.align(4).raw(&number.to_le_bytes())
    }

    /// An `ay`.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.number(length(bytes)).raw(bytes)
    }

    /// An `s` or `o`.
    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes()).raw(&[0])
    }

    /// A `g`, or the type of a `v`, whose value follows.
    pub fn signature(self, types: &str) -> Self {
        let length = u8::try_from(types.len()).unwrap_or_default();
        self.raw(&[length]).raw(types.as_bytes()).raw(&[0])
    }

    /// An array of elements with this alignment.
    pub fn array(self, alignment: usize, elements: &Self) -> Self {
        let start = self.number(length(&elements.0));
        start.align(alignment).raw(&elements.0)
    }

    /// A header field. Its value, of this type, follows.
    fn field(self, code: u8, kind: &str) -> Self {
        self.align(8).raw(&[code]).signature(kind)
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or_default()
}

/// The arguments of a reply or a signal, read in order. Unexpected types are errors.
pub struct Body {
    bytes: Vec<u8>,
    at: usize,
}

impl Body {
    fn read(stream: &mut UnixStream, size: u32) -> Result<Self> {
        let mut bytes = vec![0; size as usize];
        stream.read_exact(&mut bytes)?;
        Ok(Self { bytes, at: 0 })
    }

    /// Skips to a multiple of this, where a struct starts.
    pub fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, size: u32) -> Result<&[u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..size as usize).ok_or_else(malformed)?;
        self.at += taken.len();
        Ok(taken)
    }

    pub fn number(&mut self) -> Result<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| malformed())?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub fn bytes(&mut self) -> Result<Vec<u8>> {
        let size = self.number()?;
        self.take(size).map(<[u8]>::to_vec)
    }

    pub fn text(&mut self) -> Result<String> {
        let size = self.number()?;
        self.string(size)
    }

    pub fn signature(&mut self) -> Result<String> {
        let size = self.take(1)?[0].into();
        self.string(size)
    }

    /// This many bytes, and a terminating zero.
    fn string(&mut self, size: u32) -> Result<String> {
        let text = self.take(size)?.to_vec();
        self.take(1)?;
        String::from_utf8(text).map_err(|_| malformed())
    }

    /// An `ao`.
    pub fn texts(&mut self) -> Result<Vec<String>> {
        let size = self.number()? as usize;
        let end = self.at.saturating_add(size);
        let mut texts = Vec::new();
        while self.at < end {
            texts.push(self.text()?);
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str = "Secret.Prompt.Prompt()";
    const OBJECT: [&str; 2] = ["a.b", "/prompt/1"];

    #[test]
    fn only_addresses_of_unix_sockets_are_used() {
        for address in [
            "",
            "tcp:host=localhost",
            "unix:",
            "unix:tmpdir=/tmp",
            "autolaunch:",
        ] {
            let outcome = connect_to(address);
            assert!(matches!(outcome, Err(Problem::Other(_))), "{address}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a bus,%");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let folder = folder.path().display();
        // `%` and characters not allowed in a value are escaped; a `%` without digits is literal.
        for name in ["a%20bus%2c%25", "a%20bus%2C%"] {
            let address = format!("unix:guid=00,path={folder}/{name}");
            assert!(connect_to(&address).is_ok(), "{address}");
        }
    }

    /// A message from another process.
    fn received(message: &[u8]) -> Result<(u8, HashMap<u8, String>, Body)> {
        let (stream, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(message).unwrap();
        drop(theirs);
        Bus { stream, serial: 0 }.receive()
    }

    #[test]
    fn a_call_is_read_as_it_was_written() {
        let entry = Arguments::NONE.text("key").signature("s").text("x");
        let arguments = Arguments::NONE
            .text("name")
            .array(4, &Arguments::NONE.text("/object"))
            .align(8)
            .bytes(b"secret")
            .number(1)
            .array(8, &entry);
        let sent = call(7, OBJECT, "Secret.Prompt.Prompt(sao(ayb)a{sv})", &arguments);
        let (kind, fields, mut body) = received(&sent).ok().unwrap();
        assert_eq!(kind, METHOD_CALL);
        for (field, value) in [
            (PATH, "/prompt/1"),
            (INTERFACE, "org.freedesktop.Secret.Prompt"),
            (MEMBER, "Prompt"),
            (DESTINATION, "a.b"),
        ] {
            assert_eq!(fields[&field], value);
        }
        assert_eq!(body.text().ok().unwrap(), "name");
        assert_eq!(body.texts().ok().unwrap(), ["/object"]);
        body.align(8);
        assert_eq!(body.bytes().ok().unwrap(), b"secret");
        assert_eq!(body.number().ok().unwrap(), 1);
        // The length of the array, without the padding before its first element.
        assert_eq!(body.number().ok().unwrap(), 18);
        body.align(8);
        assert_eq!(body.text().ok().unwrap(), "key");
        assert_eq!(body.signature().ok().unwrap(), "s");
        assert_eq!(body.text().ok().unwrap(), "x");
        assert!(body.number().is_err());
    }

    /// A message to us with one number in it: a reply to a call, or an object's signal `Completed`.
    fn message_to_us(kind: u8, reply_to: u32, path: &str, number: u32) -> Vec<u8> {
        let fields = Arguments::NONE.field(REPLY_SERIAL, "u").number(reply_to);
        let fields = fields.field(PATH, "o").text(path);
        let fields = fields.field(MEMBER, "s").text("Completed");
        message(kind, 1, &fields, &Arguments::NONE.number(number))
    }

    /// The number that the seventh call of a connection returns if the bus sends these messages, then closes it.
    fn called(signal: Option<&str>, messages: &[Vec<u8>]) -> Result<u32> {
        let (stream, mut theirs) = UnixStream::pair().unwrap();
        let mut bus = Bus { stream, serial: 6 };
        for message in messages {
            theirs.write_all(message).unwrap();
        }
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        bus.call(OBJECT, PROMPT, &Arguments::NONE, signal)?.number()
    }

    #[test]
    fn only_the_reply_to_the_call_counts() {
        let another = message_to_us(METHOD_RETURN, 6, "/", 1);
        let signal = message_to_us(SIGNAL, 7, "/prompt/1", 2);
        let reply = message_to_us(METHOD_RETURN, 7, "/", 3);
        let outcome = called(None, &[another.clone(), signal.clone(), reply]);
        assert_eq!(outcome.ok(), Some(3));
        let outcome = called(None, &[another, signal]);
        assert!(matches!(outcome, Err(Problem::Other(_))));
        let error = message_to_us(ERROR, 7, "/", 0);
        assert!(called(None, &[error]).is_err());
    }

    #[test]
    fn a_signal_counts_before_the_reply_and_after_it() {
        let strangers = message_to_us(SIGNAL, 7, "/prompt/2", 1);
        let signal = message_to_us(SIGNAL, 0, "/prompt/1", 2);
        let reply = message_to_us(METHOD_RETURN, 7, "/", 3);
        let completed = Some("Completed");
        for messages in [
            [strangers.clone(), signal.clone(), reply.clone()],
            [reply.clone(), strangers.clone(), signal.clone()],
        ] {
            assert_eq!(called(completed, &messages).ok(), Some(2));
        }
        for messages in [[strangers, reply.clone()], [reply.clone(), reply.clone()]] {
            assert!(called(completed, &messages).is_err());
        }
        assert!(called(Some("Another"), &[signal, reply]).is_err());
    }

    /// The claimed length is not believed, and no memory is allocated for it.
    #[test]
    fn a_malformed_message_is_an_error() {
        let header = |body: u32, fields: u32| {
            let mut header = vec![LITTLE_ENDIAN, METHOD_RETURN, 0, 1];
            for number in [body, 1, fields] {
                header.extend(number.to_le_bytes());
            }
            header
        };
        let reply_with = |field: &[u8]| {
            let length = u32::try_from(field.len()).unwrap();
            Arguments(header(0, length)).raw(field).align(8).0
        };
        for (body, fields) in [
            (0, u32::MAX),
            (u32::MAX, 0),
            (u32::MAX, u32::MAX),
            (8, u32::MAX - 6),
            (LONGEST, 1),
            (LONGEST + 1, 0),
        ] {
            let outcome = received(&header(body, fields));
            assert!(matches!(outcome, Err(Problem::Other(_))), "{body} {fields}");
        }
        let mut big_endian = header(0, 0);
        big_endian[0] = b'B';
        for message in [
            // Truncated.
            Vec::new(),
            header(0, 8),
            header(8, 0),
            header(0, 0)[..15].to_vec(),
            big_endian,
            // A field without a value, with one that is too long, or of an unknown type.
            reply_with(&[REPLY_SERIAL, 1, b'u', 0]),
            reply_with(&[PATH, 1, b'o', 0, 0xff, 0xff, 0xff, 0xff]),
            reply_with(&[PATH, 1, b'v', 0]),
            reply_with(&[PATH, 0xff]),
        ] {
            assert!(received(&message).is_err(), "{message:?}");
        }
    }

    #[test]
    fn any_input_is_an_error_at_worst() {
        let mut random = 1_u32;
        for round in 0..2000 {
            let mut bytes: Vec<u8> = (0..64)
                .map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let mask = if round % 2 == 0 { 0x0f } else { 0xff };
                    random.to_be_bytes()[0] & mask
                })
                .collect();
            bytes[0] = LITTLE_ENDIAN;
            if let Ok((_, _, mut body)) = received(&bytes) {
                let _ = (body.text(), body.texts(), body.bytes(), body.signature());
            }
        }
    }
}
