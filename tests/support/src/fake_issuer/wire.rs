//! As much of HTTP/1.1 over a TCP stream as tests need: the fake issuer reads requests with it, the test browser reads
//! responses. It is handwritten because tests have to cut connections at any point, which no HTTP server library allows.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read};
use std::time::Instant;

use serde_json::Value;

/// The longest head accepted, in bytes.
const LONGEST_HEAD: usize = 64 * 1024;
const MOST_HEADERS: usize = 64;

/// A request as received.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// The part after the question mark, still encoded; empty without one.
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// When it was completely received.
    pub at: Instant,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The parameters of a form body, decoded.
    pub fn form(&self) -> HashMap<String, String> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The parameters of the query, decoded.
    pub fn parameters(&self) -> HashMap<String, String> {
        form_urlencoded::parse(self.query.as_bytes())
            .into_owned()
            .collect()
    }

    /// Whether the connection is closed after the response.
    pub fn is_last(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A response, to send or as received.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_owned(), kind.to_owned())];
        let body = body.into();
        Self {
            status,
            headers,
            body,
        }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    pub fn html(status: u16, body: &str) -> Self {
        Self::new(status, "text/html; charset=utf-8", body)
    }

    /// Server-sent events, each named by its member `type`.
    pub fn events(events: &[Value]) -> Self {
        let event = |data: &Value| {
            let name = data["type"].as_str().unwrap_or_default();
            format!("event: {name}\ndata: {data}\n\n")
        };
        let body: String = events.iter().map(event).collect();
        Self::new(200, "text/event-stream", body)
    }

    pub fn redirect(to: &str) -> Self {
        Self::html(302, "").with("Location", to)
    }

    /// Adds a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The status line and the headers, with the length of the whole body.
    pub fn head(&self) -> String {
        let mut lines = vec![format!("HTTP/1.1 {0} Status {0}", self.status)];
        let headers = self.headers.iter();
        lines.extend(headers.map(|(name, value)| format!("{name}: {value}")));
        lines.push(format!("Content-Length: {}\r\n\r\n", self.body.len()));
        lines.join("\r\n")
    }
}

/// Reads the next request of a connection; `None` if the client has closed it.
pub fn read_request(stream: &mut BufReader<impl Read>) -> io::Result<Option<Request>> {
    let head = read_head(stream)?;
    if head.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let state = parsed.parse(&head).map_err(Error::other)?;
    if state.is_partial() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let target = parsed.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = own(parsed.headers);
    let body = read_body(stream, length(&headers)?.or(Some(0)))?;
    Ok(Some(Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body,
        at: Instant::now(),
    }))
}

/// Reads the response of a server; without a length, its body ends with the connection.
pub fn read_answer(stream: &mut BufReader<impl Read>) -> io::Result<Answer> {
    let head = read_head(stream)?;
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let state = parsed.parse(&head).map_err(Error::other)?;
    if state.is_partial() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let headers = own(parsed.headers);
    let body = read_body(stream, length(&headers)?)?;
    let status = parsed.code.unwrap_or_default();
    Ok(Answer {
        status,
        headers,
        body,
    })
}

/// The bytes up to the empty line, or to the end of the connection.
fn read_head(stream: &mut BufReader<impl Read>) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut limited = stream.take(LONGEST_HEAD as u64);
    while limited.read_until(b'\n', &mut head)? > 0 && !head.ends_with(b"\r\n\r\n") {}
    Ok(head)
}

fn read_body(stream: &mut BufReader<impl Read>, length: Option<usize>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let Some(length) = length else {
        stream.read_to_end(&mut body)?;
        return Ok(body);
    };
    body.resize(length, 0);
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn length(headers: &[(String, String)]) -> io::Result<Option<usize>> {
    if find(headers, "transfer-encoding").is_some() {
        return Err(Error::other("chunked bodies are not supported"));
    }
    find(headers, "content-length")
        .map(|value| value.parse().map_err(Error::other))
        .transpose()
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

fn own(headers: &[httparse::Header]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value).into_owned();
            (header.name.to_owned(), value)
        })
        .collect()
}
