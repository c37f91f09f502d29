//! As much of D-Bus (<https://dbus.freedesktop.org/doc/dbus-specification.html>) as some method calls on the session bus take:
//! one connection, one call after the other, no thread. Whoever uses it sets the time limit.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::settings;

/// The bus itself, by its name and by its object.
const BUS: &str = "org.freedesktop.DBus";
const BUS_OBJECT: &str = "/org/freedesktop/DBus";

/// The most that is read of one message, in bytes: what a keyring says is far shorter.
const LARGEST: usize = 1024 * 1024;
/// The most that the bus may say before the first message, in bytes.
const LONGEST_LINE: usize = 1024;
/// The most signals that are kept: of a prompt one is awaited.
const MOST_SIGNALS: usize = 8;

/// What the numbers in a header stand for (Message Format).
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

pub enum Error {
    /// There is no bus.
    Unreachable,
    /// The connection failed.
    Io(io::Error),
    /// The other side said something that could not be understood.
    Malformed,
    /// The other side answered with this error.
    Refused(String),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A method of an object of some program.
pub struct Method<'a> {
    pub destination: &'a str,
    pub object: &'a str,
    pub interface: &'a str,
    pub name: &'a str,
}

/// A connection to the session bus.
pub struct Bus {
    stream: UnixStream,
    serial: u32,
    /// The object whose signals are kept.
    watched: Option<String>,
    /// Its signals that came while a reply was awaited.
    signals: Vec<Message>,
}

impl Bus {
    pub fn session() -> Result<Self, Error> {
        let mut bus = Self {
            stream: connect()?,
            serial: 0,
            watched: None,
            signals: Vec::new(),
        };
        bus.authenticate()?;
        bus.call_bus("Hello", "", &Arguments::default())?;
        Ok(bus)
    }

    /// The bus knows from the socket who we are (EXTERNAL). It wants to hear it all the same.
    fn authenticate(&mut self) -> Result<(), Error> {
        let user = rustix::process::geteuid().as_raw().to_string();
        // Its decimal digits, in hexadecimal: `3` is 33.
        let user: String = user.chars().flat_map(|digit| ['3', digit]).collect();
        let hello = format!("\0AUTH EXTERNAL {user}\r\n");
        self.stream.write_all(hello.as_bytes())?;
        let (mut line, mut piece) = (Vec::new(), [0; 256]);
        // Nothing comes after the line before we go on.
        while !line.ends_with(b"\r\n") && line.len() < LONGEST_LINE {
            let count = self.stream.read(&mut piece)?;
            line.extend(&piece[..count]);
            if count == 0 {
                break;
            }
        }
        if !line.starts_with(b"OK ") {
            return Err(Error::Malformed);
        }
        Ok(self.stream.write_all(b"BEGIN\r\n")?)
    }

    fn call_bus(
        &mut self,
        name: &str,
        signature: &str,
        arguments: &Arguments,
    ) -> Result<Message, Error> {
        let method = Method {
            destination: BUS,
            object: BUS_OBJECT,
            interface: BUS,
            name,
        };
        self.call(&method, signature, arguments)
    }

    /// Calls a method, and waits for its reply.
    pub fn call(
        &mut self,
        method: &Method,
        signature: &str,
        arguments: &Arguments,
    ) -> Result<Message, Error> {
        self.serial += 1;
        let call = method.message(self.serial, signature, arguments)?;
        self.stream.write_all(&call)?;
        loop {
            let message = Message::read(&mut self.stream)?;
            match message.kind {
                METHOD_RETURN if message.reply_to == self.serial => return Ok(message),
                ERROR if message.reply_to == self.serial => {
                    return Err(Error::Refused(message.error));
                }
                SIGNAL => self.keep(message),
                _ => {}
            }
        }
    }

    /// Keeps a signal of the watched object. Any program may send us others.
    fn keep(&mut self, signal: Message) {
        let is_watched = self.watched.as_ref() == Some(&signal.path);
        if is_watched && self.signals.len() < MOST_SIGNALS {
            self.signals.push(signal);
        }
    }

    /// Asks to hear the signals of an object, from now on of this one alone.
    pub fn subscribe(&mut self, object: &str) -> Result<(), Error> {
        let mut rule = Arguments::default();
        rule.text(&format!("type='signal',path='{object}'"));
        self.watched = Some(object.to_owned());
        self.call_bus("AddMatch", "s", &rule).map(drop)
    }

    /// Waits for this signal of an object.
    pub fn signal(&mut self, object: &str, name: &str) -> Result<Message, Error> {
        let is_it = |message: &Message| message.path == object && message.member == name;
        if let Some(at) = self.signals.iter().position(is_it) {
            return Ok(self.signals.swap_remove(at));
        }
        loop {
            let message = Message::read(&mut self.stream)?;
            if message.kind == SIGNAL && is_it(&message) {
                return Ok(message);
            }
        }
    }
}

/// The first bus that can be reached, of those that the environment names.
fn connect() -> Result<UnixStream, Error> {
    let runtime = settings::runtime_folder();
    let Some(addresses) = settings::session_bus() else {
        return Ok(UnixStream::connect(runtime.join("bus"))?);
    };
    let mut failure = Error::Unreachable;
    for address in addresses.split(';') {
        match connect_to(address, &runtime) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Connects to `unix:path=…`, `unix:abstract=…` or `unix:runtime=yes`: others are on no desktop.
fn connect_to(address: &str, runtime: &Path) -> Result<UnixStream, Error> {
    let pairs = address.strip_prefix("unix:").ok_or(Error::Unreachable)?;
    for pair in pairs.split(',') {
        match pair.split_once('=') {
            Some(("path", path)) => return Ok(UnixStream::connect(unescaped(path))?),
            Some(("runtime", "yes")) => return Ok(UnixStream::connect(runtime.join("bus"))?),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Some(("abstract", name)) => return connect_to_abstract(name),
            _ => {}
        }
    }
    Err(Error::Unreachable)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn connect_to_abstract(name: &str) -> Result<UnixStream, Error> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::SocketAddr;
    let name = unescaped(name);
    let address = SocketAddr::from_abstract_name(name.as_os_str().as_bytes())?;
    Ok(UnixStream::connect_addr(&address)?)
}

/// The value of an address (Server Addresses): what is not plain stands there as `%` and two digits.
fn unescaped(value: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let [first, others @ ..] = rest {
        let digits = others
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let (byte, left) = match (first, escaped) {
            (b'%', Some(byte)) => (byte, &others[2..]),
            _ => (*first, others),
        };
        bytes.push(byte);
        rest = left;
    }
    std::ffi::OsString::from_vec(bytes).into()
}

impl Method<'_> {
    fn message(
        &self,
        serial: u32,
        signature: &str,
        arguments: &Arguments,
    ) -> Result<Vec<u8>, Error> {
        let mut header = Arguments(vec![b'l', METHOD_CALL, 0, 1]);
        header.number(length(&arguments.0)?);
        header.number(serial);
        header.list(8, |fields| {
            for (field, kind, value) in [
                (PATH, "o", self.object),
                (INTERFACE, "s", self.interface),
                (MEMBER, "s", self.name),
                (DESTINATION, "s", self.destination),
                (SIGNATURE, "g", signature),
            ] {
                fields.align(8);
                fields.0.push(field);
                fields.signature(kind);
                match kind {
                    "g" => fields.signature(value),
                    _ => fields.text(value),
                }
            }
        });
        header.align(8);
        header.0.extend(&arguments.0);
        Ok(header.0)
    }
}

/// The arguments of a call, as they go over the wire (Marshaling), with the least byte of a number first. All that is put into
/// it is ours, and short.
#[derive(Default)]
pub struct Arguments(Vec<u8>);

impl Arguments {
    fn align(&mut self, to: usize) {
        let padded = self.0.len().next_multiple_of(to);
        self.0.resize(padded, 0);
    }

    /// A `u`, or a `b` of 0 or 1.
    pub fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    /// An `s` or `o`.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        self.0.push(0);
    }

    /// An `ay`.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.list(1, |list| list.0.extend(bytes));
    }

    /// A `g`.
    pub fn signature(&mut self, signature: &str) {
        self.0
            .push(u8::try_from(signature.len()).unwrap_or_default());
        self.0.extend(signature.bytes());
        self.0.push(0);
    }

    /// The beginning of a struct, or of a pair in a list of pairs.
    pub fn group(&mut self) {
        self.align(8);
    }

    /// A list whose elements begin at multiples of `align`.
    pub fn list(&mut self, align: usize, fill: impl FnOnce(&mut Self)) {
        self.number(0);
        let place = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        fill(self);
        let length = u32::try_from(self.0.len() - start).unwrap_or_default();
        self.0[place..place + 4].copy_from_slice(&length.to_le_bytes());
    }
}

fn length(bytes: &[u8]) -> Result<u32, Error> {
    u32::try_from(bytes.len()).map_err(|_| Error::Malformed)
}

/// What came from the bus.
#[derive(Default)]
pub struct Message {
    kind: u8,
    reply_to: u32,
    error: String,
    path: String,
    member: String,
    is_big_endian: bool,
    body: Vec<u8>,
}

impl Message {
    fn read(stream: &mut UnixStream) -> Result<Self, Error> {
        let mut start = [0; 16];
        stream.read_exact(&mut start)?;
        let is_big_endian = start[0] == b'B';
        let mut numbers = Content::new(&start, is_big_endian);
        numbers.at = 4;
        let (body, _, fields) = (numbers.size()?, numbers.number()?, numbers.size()?);
        // Each by itself first: on 32 bits their sum, and the padding, could wrap.
        if fields > LARGEST || body > LARGEST || fields + body > LARGEST {
            return Err(Error::Malformed);
        }
        let padded = fields.next_multiple_of(8);
        let mut rest = vec![0; padded + body];
        stream.read_exact(&mut rest)?;
        let body = rest.split_off(padded);
        let mut message = Self {
            kind: start[1],
            is_big_endian,
            body,
            ..Self::default()
        };
        message.take_fields(&rest[..fields])?;
        Ok(message)
    }

    /// They begin at a multiple of 8 in the message, so that their own beginning serves as well.
    fn take_fields(&mut self, fields: &[u8]) -> Result<(), Error> {
        let mut fields = Content::new(fields, self.is_big_endian);
        while fields.at < fields.bytes.len() {
            fields.align(8);
            let field = fields.byte()?;
            let kind = fields.signature()?;
            match (field, kind.as_str()) {
                (REPLY_SERIAL, "u") => self.reply_to = fields.number()?,
                (ERROR_NAME, "s") => self.error = fields.text()?,
                (PATH, "o") => self.path = fields.text()?,
                (MEMBER, "s") => self.member = fields.text()?,
                (_, "u") => drop(fields.number()?),
                (_, "s" | "o") => drop(fields.text()?),
                (_, "g") => drop(fields.signature()?),
                _ => return Err(Error::Malformed),
            }
        }
        Ok(())
    }

    pub fn content(&self) -> Content<'_> {
        Content::new(&self.body, self.is_big_endian)
    }
}

/// What a message has in it, read from its beginning on. Whatever is not as it should be is an error.
pub struct Content<'a> {
    bytes: &'a [u8],
    at: usize,
    is_big_endian: bool,
}

impl<'a> Content<'a> {
    fn new(bytes: &'a [u8], is_big_endian: bool) -> Self {
        Self {
            bytes,
            at: 0,
            is_big_endian,
        }
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(count).ok_or(Error::Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Error::Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    /// A `u`, or a `b` of 0 or 1.
    pub fn number(&mut self) -> Result<u32, Error> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| Error::Malformed)?;
        Ok(if self.is_big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    fn size(&mut self) -> Result<usize, Error> {
        usize::try_from(self.number()?).map_err(|_| Error::Malformed)
    }

    /// An `ay`.
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let size = self.size()?;
        self.take(size)
    }

    /// An `s` or `o`.
    pub fn text(&mut self) -> Result<String, Error> {
        let text = self.bytes()?.to_vec();
        self.byte()?;
        String::from_utf8(text).map_err(|_| Error::Malformed)
    }

    /// A `g`, or the beginning of a `v`.
    pub fn signature(&mut self) -> Result<String, Error> {
        let size = self.byte()?;
        let text = self.take(size.into())?.to_vec();
        self.byte()?;
        String::from_utf8(text).map_err(|_| Error::Malformed)
    }

    /// The beginning of a struct.
    pub fn group(&mut self) {
        self.align(8);
    }

    /// An `ao`.
    pub fn texts(&mut self) -> Result<Vec<String>, Error> {
        let size = self.size()?;
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

    #[test]
    fn addresses_are_read_as_the_bus_writes_them() {
        assert_eq!(unescaped("/run/user/0/bus"), Path::new("/run/user/0/bus"));
        assert_eq!(unescaped("/a%20b%2c%"), Path::new("/a b,%"));
        let nowhere = Path::new("/no/such/folder");
        for address in [
            "",
            "tcp:host=localhost",
            "unix:",
            "unix:tmpdir=/tmp",
            "autolaunch:",
        ] {
            let outcome = connect_to(address, nowhere);
            assert!(matches!(outcome, Err(Error::Unreachable)), "{address}");
        }
        for address in ["unix:path=/no/such/bus,guid=00", "unix:runtime=yes"] {
            assert!(
                matches!(connect_to(address, nowhere), Err(Error::Io(_))),
                "{address}"
            );
        }
    }

    /// The example of a call in the specification would look like this: a header of 8-byte pieces, then the arguments.
    #[test]
    fn a_call_is_read_as_it_was_written() {
        let mut arguments = Arguments::default();
        arguments.text("name");
        arguments.list(4, |list| list.text("/object"));
        arguments.group();
        arguments.bytes(b"secret");
        let method = Method {
            destination: "org.example",
            object: "/org/example",
            interface: "org.example.Some",
            name: "Do",
        };
        let sent = method.message(7, "sao(ay)", &arguments).ok().unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(&sent).unwrap();
        let message = Message::read(&mut ours).ok().unwrap();
        assert_eq!(
            (message.kind, message.path.as_str()),
            (METHOD_CALL, "/org/example")
        );
        assert_eq!(message.member, "Do");
        let mut content = message.content();
        assert_eq!(content.text().ok().unwrap(), "name");
        assert_eq!(content.texts().ok().unwrap(), ["/object"]);
        content.group();
        assert_eq!(content.bytes().ok().unwrap(), b"secret");
        assert!(content.number().is_err());
    }

    /// A message to us: a reply to a call, or the signal `Completed` of an object, with one number in it.
    fn message_to_us(kind: u8, reply_to: u32, path: &str) -> Vec<u8> {
        let mut header = Arguments(vec![b'l', kind, 0, 1]);
        header.number(4);
        header.number(1);
        header.list(8, |fields| {
            fields.0.push(REPLY_SERIAL);
            fields.signature("u");
            fields.number(reply_to);
            for (field, kind, value) in [(PATH, "o", path), (MEMBER, "s", "Completed")] {
                fields.align(8);
                fields.0.push(field);
                fields.signature(kind);
                fields.text(value);
            }
        });
        header.align(8);
        header.number(reply_to);
        header.0
    }

    #[test]
    fn a_signal_counts_before_the_reply_and_after_it() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut bus = Bus {
            stream: ours,
            serial: 6,
            watched: Some("/prompt/1".to_owned()),
            signals: Vec::new(),
        };
        let early = message_to_us(SIGNAL, 1, "/prompt/1");
        let reply = message_to_us(METHOD_RETURN, 7, "/");
        let another = message_to_us(SIGNAL, 3, "/prompt/3");
        let late = message_to_us(SIGNAL, 2, "/prompt/2");
        let stranger = message_to_us(METHOD_RETURN, 6, "/");
        for message in [stranger, early, reply, another, late] {
            theirs.write_all(&message).unwrap();
        }
        let method = Method {
            destination: "a.b",
            object: "/prompt/1",
            interface: "a.b",
            name: "Prompt",
        };
        let reply = bus.call(&method, "", &Arguments::default()).ok().unwrap();
        assert_eq!(reply.content().number().ok().unwrap(), 7);
        for number in [2, 1] {
            let object = format!("/prompt/{number}");
            let signal = bus.signal(&object, "Completed").ok().unwrap();
            assert_eq!(signal.content().number().ok().unwrap(), number);
        }
        drop(theirs);
        assert!(matches!(
            bus.signal("/prompt/4", "Completed"),
            Err(Error::Io(_))
        ));
    }

    #[test]
    fn of_many_signals_few_are_kept_and_only_those_of_the_watched_object() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut bus = Bus {
            stream: ours,
            serial: 6,
            watched: None,
            signals: Vec::new(),
        };
        let method = Method {
            destination: "a.b",
            object: "/prompt/1",
            interface: "a.b",
            name: "Prompt",
        };
        for (watched, reply_to, kept) in [(None, 7, 0), (Some("/prompt/1"), 8, MOST_SIGNALS)] {
            bus.watched = watched.map(str::to_owned);
            for number in 0..20 {
                for path in ["/prompt/1", "/prompt/2"] {
                    let signal = message_to_us(SIGNAL, number, path);
                    theirs.write_all(&signal).unwrap();
                }
            }
            let reply = message_to_us(METHOD_RETURN, reply_to, "/");
            theirs.write_all(&reply).unwrap();
            assert!(bus.call(&method, "", &Arguments::default()).is_ok());
            assert_eq!(bus.signals.len(), kept);
        }
        assert!(bus.signals.iter().all(|signal| signal.path == "/prompt/1"));
    }

    /// What its header claims is not believed, and room for it is not made.
    #[test]
    fn a_malformed_message_is_an_error() {
        let header = |body: u32, fields: u32| {
            let mut header = Arguments(vec![b'l', METHOD_RETURN, 0, 1]);
            for number in [body, 1, fields] {
                header.number(number);
            }
            header.0
        };
        let reply_with = |field: &[u8]| {
            let length = u32::try_from(field.len()).unwrap();
            let mut message = header(0, length);
            message.extend(field);
            message.resize(message.len().next_multiple_of(8), 0);
            message
        };
        let read = |message: &[u8]| {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            (&theirs).write_all(message).unwrap();
            drop(theirs);
            Message::read(&mut ours)
        };
        let largest = u32::try_from(LARGEST).unwrap();
        for (body, fields) in [
            (0, u32::MAX),
            (u32::MAX, 0),
            (u32::MAX, u32::MAX),
            (8, u32::MAX - 6),
            (largest, 1),
            (largest + 1, 0),
        ] {
            let outcome = read(&header(body, fields));
            assert!(matches!(outcome, Err(Error::Malformed)), "{body} {fields}");
        }
        for message in [
            // Cut short.
            Vec::new(),
            header(0, 8),
            header(8, 0),
            header(0, 0)[..15].to_vec(),
            // A field without a value, with one that is too long, or of an unknown kind.
            reply_with(&[REPLY_SERIAL, 1, b'u', 0]),
            reply_with(&[PATH, 1, b'o', 0, 0xff, 0xff, 0xff, 0xff]),
            reply_with(&[PATH, 1, b'v', 0]),
            reply_with(&[PATH, 0xff]),
        ] {
            assert!(read(&message).is_err(), "{message:?}");
        }
    }

    #[test]
    fn whatever_comes_is_an_error_at_worst() {
        let mut random = 1_u32;
        for round in 0..2000 {
            let mut bytes: Vec<u8> = (0..64)
                .map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let mask = if round % 2 == 0 { 0x0f } else { 0xff };
                    random.to_be_bytes()[0] & mask
                })
                .collect();
            bytes[0] = b"lB"[round % 2];
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            (&theirs).write_all(&bytes).unwrap();
            drop(theirs);
            if let Ok(message) = Message::read(&mut ours) {
                let mut content = message.content();
                let _ = (
                    content.text(),
                    content.texts(),
                    content.bytes(),
                    content.signature(),
                );
            }
        }
    }
}
