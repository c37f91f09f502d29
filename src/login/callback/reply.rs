//! What a request is answered with, and how the answer gets to the browser whole.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::request::read_before;
use crate::login::page;

/// How long, and for how many bytes, a browser that has its answer may go on sending.
const DRAIN_TIME: Duration = Duration::from_secs(2);
const DRAIN_LIMIT: usize = 1024 * 1024;

pub struct Reply {
    pub status: &'static str,
    /// Where the browser is to go.
    location: Option<String>,
    page: String,
}

impl Reply {
    pub fn page(page: &str) -> Self {
        Self {
            status: "200 OK",
            location: None,
            page: page.to_owned(),
        }
    }

    pub fn redirect(url: String) -> Self {
        Self {
            status: "302 Found",
            location: Some(url),
            page: String::new(),
        }
    }

    /// The request does not count, for this reason ("it …").
    pub fn error(status: &'static str, reason: &str) -> Self {
        Self {
            status,
            location: None,
            page: page::not_accepted(reason),
        }
    }

    pub fn not_found() -> Self {
        Self {
            status: "404 Not Found",
            location: None,
            page: page::not_found(),
        }
    }

    /// Sends the reply, without its body where the request was a HEAD, and returns when the browser has taken it or gone,
    /// a few seconds later at most.
    pub fn send(&self, mut stream: &TcpStream, is_head: bool) {
        let mut message = self.head();
        if !is_head {
            message.push_str(&self.page);
        }
        let sent = stream
            .set_write_timeout(Some(DRAIN_TIME))
            .and_then(|()| stream.write_all(message.as_bytes()))
            .and_then(|()| stream.shutdown(Shutdown::Write));
        if sent.is_ok() {
            drain(stream);
        }
    }

    fn head(&self) -> String {
        let (status, length, policy) = (self.status, self.page.len(), page::security_policy());
        let special = match &self.location {
            Some(location) => format!("Location: {location}\r\n"),
            None if status.starts_with("405") => "Allow: GET\r\n".to_owned(),
            None => String::new(),
        };
        format!(
            "HTTP/1.1 {status}\r\n\
             {special}\
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

/// Reads on until the browser closes (RFC 9112 section 9.6): a connection that is closed on unread bytes is reset, and
/// the browser may lose the answer that it has not read yet.
fn drain(mut stream: &TcpStream) {
    let deadline = Instant::now() + DRAIN_TIME;
    let mut discarded = [0; 4096];
    let mut drained = 0;
    while drained < DRAIN_LIMIT {
        match read_before(deadline, &mut stream, &mut discarded) {
            Some(count) => drained += count,
            None => return,
        }
    }
}
