//! The head of an HTTP request: read from a socket within limits, and taken apart.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Header, Status};

/// Bytes of a head. A code and a state are a few hundred; the rest is for cookies that other programs left on localhost.
pub const HEAD_LIMIT: usize = 16 * 1024;
/// A browser sends its head at once. It may also open a connection ahead of need, and never use it.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The content type of a TLS handshake (RFC 8446 section 5.1), which no HTTP request begins with.
const TLS_HANDSHAKE: u8 = 0x16;

/// What came over a connection.
pub enum Received {
    /// A head, up to its empty line or to the limit.
    Head(Vec<u8>),
    /// The first bytes of a TLS connection.
    Tls,
    /// Nothing whole in time.
    Nothing,
}

/// A request without its body, which nobody reads.
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// What stands behind the question mark.
    pub query: &'a str,
    headers: Vec<Header<'a>>,
}

/// Why a head cannot be read.
pub enum ParseError {
    TooLarge,
    NotHttp,
}

pub fn receive(mut stream: &TcpStream) -> Received {
    let deadline = Instant::now() + HEAD_TIME;
    let mut head = Vec::with_capacity(2048);
    let mut chunk = [0; 2048];
    loop {
        let Some(count) = read_before(deadline, &mut stream, &mut chunk) else {
            return Received::Nothing;
        };
        head.extend_from_slice(&chunk[..count.min(HEAD_LIMIT - head.len())]);
        if head[0] == TLS_HANDSHAKE {
            return Received::Tls;
        }
        let is_whole = head.windows(4).any(|four| four == b"\r\n\r\n");
        if is_whole || head.len() == HEAD_LIMIT {
            return Received::Head(head);
        }
    }
}

/// Reads at least one byte. None at the end of the stream, at the deadline, or after an error.
pub fn read_before(deadline: Instant, stream: &mut &TcpStream, chunk: &mut [u8]) -> Option<usize> {
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        // Fails at a limit of zero, which would mean none.
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.ok().filter(|&count| count > 0),
        }
    }
}

impl<'a> Request<'a> {
    pub fn parse(head: &'a [u8]) -> Result<Self, ParseError> {
        let mut headers = [EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(ParseError::TooLarge);
            }
            Err(_) => return Err(ParseError::NotHttp),
        }
        let target = request.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Self {
            method: request.method.unwrap_or_default(),
            path,
            query,
            headers: request.headers.to_vec(),
        })
    }

    /// Every value of a header.
    pub fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }
}
