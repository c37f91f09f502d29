//! Whether a request is a browser's navigation that answers this login. Pure.

use super::reply::Reply;
use super::request::{ParseError, Request};
use crate::login::redirect::{self, AuthorizationResponse, Expectation};

/// The path of the redirect URI, as it is registered.
pub const PATH: &str = "/auth/callback";
/// The path of the one-time link, before its secret.
pub const LINK_PATH: &str = "/sign-in/";

const TOO_LARGE: &str = "it came with too much data: clear the cookies of localhost, or paste the address of this page \
    in the terminal";

/// What a request that counts is for.
pub enum Navigation {
    /// The one-time link, with this secret.
    Link(String),
    Redirect(AuthorizationResponse),
}

/// What the head of a request asks for; the error is the reply to one that does not count.
pub fn classify(head: &[u8], port: u16, expected: &Expectation) -> Result<Navigation, Reply> {
    let request = Request::parse(head).map_err(|error| match error {
        ParseError::TooLarge => Reply::error("431 Request Header Fields Too Large", TOO_LARGE),
        ParseError::NotHttp => Reply::error("400 Bad Request", "it is not an HTTP request"),
    })?;
    let secret = request.path.strip_prefix(LINK_PATH);
    if request.path != PATH && secret.is_none() {
        return Err(Reply::not_found());
    }
    check_sender(&request, port, &expected.issuer)?;
    match secret {
        Some(secret) => Ok(Navigation::Link(secret.to_owned())),
        None => redirect::parse_query(request.query, expected)
            .map(Navigation::Redirect)
            .map_err(|reason| Reply::error("400 Bad Request", reason)),
    }
}

/// Refuses a request that no browser makes when it follows the redirect, or that was not made to us.
fn check_sender(request: &Request<'_>, port: u16, issuer: &str) -> Result<(), Reply> {
    let forbidden = |reason| Err(Reply::error("403 Forbidden", reason));
    if request.method != "GET" {
        return Err(Reply::error("405 Method Not Allowed", "it is not a GET"));
    }
    let hosts: Vec<_> = request.values("Host").collect();
    // Another name that leads to this machine is that of a hostile page (DNS rebinding).
    if hosts.len() != 1 || !is_our_host(hosts[0], port) {
        return forbidden("it was sent to another host");
    }
    // Older browsers do not send these two. Scripts, images and frames do say what they are.
    let is_navigation = request.values("Sec-Fetch-Mode").all(|v| v == b"navigate")
        && request.values("Sec-Fetch-Dest").all(|v| v == b"document");
    if !is_navigation {
        return forbidden("it was not opened in a browser tab");
    }
    // Following a link sends no origin; following a form does.
    let is_issuer = |origin: &[u8]| origin == b"null" || origin == origin_of(issuer).as_bytes();
    if !request.values("Origin").all(is_issuer) {
        return forbidden("it was sent by another site");
    }
    Ok(())
}

fn is_our_host(host: &[u8], port: u16) -> bool {
    let host = String::from_utf8_lossy(host).to_ascii_lowercase();
    let name = match host.strip_suffix(&format!(":{port}")) {
        Some(name) => name,
        // The default port of http is not named.
        None if port == 80 => &host,
        None => return false,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// Scheme, host and port of a URL.
fn origin_of(url: &str) -> String {
    url.split('/').take(3).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::redirect::testing::{STATE, expectation, told};

    #[test]
    fn each_loopback_name_and_a_friendly_origin_will_do() {
        for headers in [
            "Host: LOCALHOST:7",
            "Host: 127.0.0.1:7",
            "host: [::1]:7",
            "Host: localhost:7\r\nOrigin: null",
            "Host: localhost:7\r\nOrigin: https://issuer.example",
        ] {
            let head = format!("GET {PATH}?code=c&state={STATE} HTTP/1.1\r\n{headers}\r\n\r\n");
            let response = match classify(head.as_bytes(), 7, &expectation()) {
                Ok(Navigation::Redirect(response)) => Ok(response),
                Ok(Navigation::Link(_)) => Err("the link"),
                Err(reply) => Err(reply.status),
            };
            assert_eq!(told(response), "code c", "{headers}");
        }
        let head = format!("GET {PATH}?code=c&state={STATE} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(classify(head.as_bytes(), 80, &expectation()).is_ok());
    }
}
