//! Reads the head of a request, within a limit, and delivers the whole reply to the browser.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::login::page;
use crate::time::within;

/// In bytes. A code and a state take a few hundred; the rest is for cookies that other programs left on localhost.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long, and how many bytes, a browser may go on sending after the reply.
const DRAIN_TIME: Duration = Duration::from_secs(2);
const DRAIN_LIMIT: u64 = 1024 * 1024;

/// What a browser sent, up to an empty line or the limit. None if the connection was closed before that, or if the browser
/// begins a TLS handshake (RFC 8446 section 5.1) and would wait for our answer.
pub fn receive(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 2048];
    while head.len() < HEAD_LIMIT && !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = stream.read(&mut chunk).ok().filter(|&count| count > 0)?;
        head.extend_from_slice(&chunk[..count.min(HEAD_LIMIT - head.len())]);
        if head[0] == 0x16 {
            return None;
        }
    }
    Some(head)
}

/// Sends a page, with a status and the header lines that only this reply has, and returns when the browser has received it or
/// closed, after a few seconds at most.
pub fn send(stream: &Arc<TcpStream>, status: &str, page: &str) {
    let (length, policy) = (page.len(), page::security_policy());
    let reply = format!(
        "HTTP/1.1 {status}\r\n\
         Connection: close\r\n\
         Content-Type: text/html; charset=utf-8\r\n\
         Content-Length: {length}\r\n\
         Cache-Control: no-store\r\n\
         Content-Security-Policy: {policy}\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n\
         Referrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\n\
         \r\n\
         {page}"
    );
    let stream = Arc::clone(stream);
    // It reads on until the browser closes (RFC 9112 section 9.6): closing with unread bytes resets the connection, and the
    // browser may lose what it has not read yet.
    let _ = within(DRAIN_TIME, move || {
        (&*stream).write_all(reply.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        io::copy(&mut (&*stream).take(DRAIN_LIMIT), &mut io::sink())
    });
}
