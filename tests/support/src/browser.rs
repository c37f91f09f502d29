//! A stand-in for the user's browser: makes the requests that a browser makes, and some that no browser should make.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use http::Uri;

pub use crate::fake_issuer::wire::Answer;
use crate::fake_issuer::wire::read_answer;

/// How long a server may stay silent. Only reached if something is broken.
const PATIENCE: Duration = Duration::from_mins(1);

/// Opens a URL like a browser, follows redirects, and returns the final page.
#[track_caller]
pub fn visit(url: &str) -> Answer {
    let mut page = get(url);
    for _ in 0..5 {
        let Some(next) = page.header("location").map(str::to_owned) else {
            return page;
        };
        page = get(&next);
    }
    panic!("more than five redirects");
}

/// Like `visit`, for a page that may get no response.
pub fn try_visit(url: &str) -> std::io::Result<Answer> {
    let redirect = get(url);
    let back = redirect.header("location").expect("no redirect");
    try_send("GET", back, &[], "")
}

/// Sends one GET without following redirects.
#[track_caller]
pub fn get(url: &str) -> Answer {
    send("GET", url, &[], "")
}

#[track_caller]
pub fn post(url: &str, kind: &str, body: &str) -> Answer {
    send("POST", url, &[("Content-Type", kind)], body)
}

/// Sends one request. `Host` is taken from the URL unless `headers` has one.
#[track_caller]
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    try_send(method, url, headers, body).expect("no valid response")
}

/// Like `send`, for a server that may drop the connection.
pub fn try_send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let uri: Uri = url.parse().expect("not a URL");
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let host = uri.authority().expect("no host").as_str();
    let mut lines = vec![format!("{method} {target} HTTP/1.1")];
    let names_host = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("host");
    if !headers.iter().any(names_host) {
        lines.push(format!("Host: {host}"));
    }
    lines.extend(
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    lines.push(format!("Content-Length: {}", body.len()));
    lines.push("Connection: close".to_owned());
    let message = format!("{}\r\n\r\n{body}", lines.join("\r\n"));
    let mut stream = connect(url);
    stream.write_all(message.as_bytes())?;
    read_answer(&mut BufReader::new(stream))
}

/// Connects to the server of a URL, without sending anything yet.
#[track_caller]
pub fn connect(url: &str) -> TcpStream {
    let uri: Uri = url.parse().expect("not a URL");
    let authority = uri.authority().expect("no host");
    let stream = TcpStream::connect(authority.as_str()).expect("could not connect");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("could not set the timeout");
    stream
}

/// Sends raw bytes, and returns everything received until the server closes the connection.
#[track_caller]
pub fn raw(url: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(url);
    stream.write_all(bytes).expect("could not send");
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => answer,
        // The server closed the connection without reading all we sent, which also counts as its end.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("the server did not close: {error}"),
    }
}
