//! Responses that a keyring may give, but GNOME Keyring does not give on demand: a bus with a keyring that answers as
//! told.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use support::sandbox::Sandbox;

const KEEPS_NOTHING: &str =
    "codex-auth: could not seal the login: the keyring did not keep the key\n";
const NO_COLLECTION: &str = "codex-auth: could not seal the login: the keyring failed: it has no default collection: try again later\n";

/// A sandbox with a keyring that stores nothing. It reports no default collection for the first `unknown` requests of
/// each client.
fn with_keyring(unknown: usize) -> Sandbox {
    let mut sandbox = Sandbox::new();
    let socket = sandbox.folder().join("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    let address = format!("unix:path={}", socket.display());
    sandbox.set("DBUS_SESSION_BUS_ADDRESS", address);
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client disconnects when it has what it needs.
            let _ = serve(stream.unwrap(), unknown);
        }
    });
    sandbox
}

fn serve(mut stream: UnixStream, mut unknown: usize) -> std::io::Result<()> {
    await_line(&mut stream)?;
    stream.write_all(b"OK 0\r\n")?;
    await_line(&mut stream)?;
    loop {
        let mut start = [0; 16];
        stream.read_exact(&mut start)?;
        let number = |at: usize| u32::from_le_bytes(start[at..at + 4].try_into().unwrap());
        let (body, serial, fields) = (number(4), number(8), number(12));
        let mut rest = vec![0; (fields.next_multiple_of(8) + body) as usize];
        stream.read_exact(&mut rest)?;
        let text = String::from_utf8_lossy(&rest);
        let is = |method: &str| text.contains(&format!("{method}\0"));
        let mut reply = Vec::new();
        if is("Hello") {
            put_text(&mut reply, ":1.1");
        } else if is("ReadAlias") {
            put_text(&mut reply, if unknown > 0 { "/" } else { "/default" });
            unknown = unknown.saturating_sub(1);
        } else if is("Get") {
            // Not locked: a variant with a boolean.
            reply.extend(b"\x01b\0\0\0\0\0\0");
        } else if is("OpenSession") {
            // A variant with an empty string, and the session.
            reply.extend(b"\x01s\0\0\0\0\0\0\0");
            put_text(&mut reply, "/session");
        } else if is("CreateItem") {
            // The item, and no prompt.
            put_text(&mut reply, "/item");
            put_text(&mut reply, "/");
        } else {
            assert!(is("SearchItems"), "{text}");
            reply.extend([0; 8]);
        }
        let length = u32::try_from(reply.len()).unwrap();
        let mut message = b"l\x02\0\x01".to_vec();
        for number in [length, 1, 8] {
            message.extend(number.to_le_bytes());
        }
        message.extend(b"\x05\x01u\0");
        message.extend(serial.to_le_bytes());
        message.extend(reply);
        stream.write_all(&message)?;
    }
}

fn await_line(stream: &mut UnixStream) -> std::io::Result<()> {
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
    }
    Ok(())
}

fn put_text(reply: &mut Vec<u8>, text: &str) {
    reply.resize(reply.len().next_multiple_of(4), 0);
    reply.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    reply.extend(text.bytes());
    reply.push(0);
}

/// A login sealed with a lost key could never be opened again.
#[test]
fn a_keyring_that_forgets_gets_no_login_sealed() {
    let sandbox = with_keyring(0);
    let planted = sandbox.plant();
    sandbox.run(&["seal"]).assert(1, "", KEEPS_NOTHING);
    let login = sandbox.run(&["login", "--seal", "--no-browser"]);
    login.assert(1, "", KEEPS_NOTHING);
    assert_eq!(sandbox.stored(), planted);
    assert!(sandbox.issuer.requests().is_empty());
}

/// GNOME Keyring answers like this before it has registered its client.
#[test]
fn a_keyring_without_a_default_collection_is_asked_a_second_time() {
    for (unknown, code, stderr) in [(1, 1, KEEPS_NOTHING), (2, 75, NO_COLLECTION)] {
        let sandbox = with_keyring(unknown);
        sandbox.plant();
        sandbox.run(&["seal"]).assert(code, "", stderr);
    }
}
