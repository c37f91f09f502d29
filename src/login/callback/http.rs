//! Reads the head of a request, within a limit, and delivers the whole reply to the browser.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::login::page;

/// In bytes. A code and a state take a few hundred; the rest is for cookies that other programs left on localhost.
const HEAD_LIMIT: usize = 16 * 1024;
/// The content type of a TLS handshake (RFC 8446 section 5.1), which no HTTP request begins with.
const TLS_HANDSHAKE: u8 = 0x16;
/// How long, and how many bytes, a browser may go on sending after the reply.
const DRAIN_TIME: Duration = Duration::from_secs(2);
const DRAIN_LIMIT: usize = 1024 * 1024;

/// What a browser sent, up to an empty line or the limit. None if the connection was closed before that, or if the browser
/// speaks TLS and would wait for our answer.
pub fn receive(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::with_capacity(2048);
    let mut chunk = [0; 2048];
    while head.len() < HEAD_LIMIT && !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = stream.read(&mut chunk).ok().filter(|&count| count > 0)?;
        head.extend_from_slice(&chunk[..count.min(HEAD_LIMIT - head.len())]);
        if head[0] == TLS_HANDSHAKE {
            return None;
        }
    }
    Some(head)
}

pub struct Reply {
    /// The status, and the header lines that only this reply has.
    pub status: String,
    page: String,
}

impl Reply {
    pub fn page(page: &str) -> Self {
        Self::new("200 OK", page.to_owned())
    }

    pub fn redirect(url: &str) -> Self {
        Self::new(&format!("302 Found\r\nLocation: {url}"), String::new())
    }

    pub fn not_found() -> Self {
        Self::new("404 Not Found", page::not_found())
    }

    /// The request does not count, for this reason ("it …").
    pub fn error(status: &str, reason: &str) -> Self {
        Self::new(status, page::not_accepted(reason))
    }

    fn new(status: &str, page: String) -> Self {
        let status = status.to_owned();
        Self { status, page }
    }

    /// Sends the reply, without a body to a HEAD request, and returns when the browser has received it or closed, after a few
    /// seconds at most.
    pub fn send(&self, mut stream: &TcpStream, is_head: bool) {
        let body = if is_head { "" } else { &self.page };
        let message = self.head() + body;
        let sent = stream
            .set_write_timeout(Some(DRAIN_TIME))
            .and_then(|()| stream.write_all(message.as_bytes()))
            .and_then(|()| stream.shutdown(Shutdown::Write));
        if sent.is_ok() {
            drain(stream);
        }
    }

    fn head(&self) -> String {
        let (status, length) = (&self.status, self.page.len());
        let policy = page::security_policy();
        format!(
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
             \r\n"
        )
    }
}

/// Reads on until the browser closes (RFC 9112 section 9.6): closing with unread bytes resets the connection, and the browser
/// may lose what it has not read yet.
fn drain(mut stream: &TcpStream) {
    let deadline = Instant::now() + DRAIN_TIME;
    let mut discarded = [0; 4096];
    let mut drained = 0;
    while drained < DRAIN_LIMIT
        && let Some(left) = deadline.checked_duration_since(Instant::now())
        // Fails for zero, which would mean no limit.
        && stream.set_read_timeout(Some(left)).is_ok()
        && let Ok(count @ 1..) = stream.read(&mut discarded)
    {
        drained += count;
    }
}
