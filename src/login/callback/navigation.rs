//! Whether a request is a browser following the redirect of this login. Pure.

use httparse::{EMPTY_HEADER, Status};

use super::http::Reply;
use crate::login::redirect::{self, AuthorizationResponse, Expectation};

/// The registered path of the redirect URI.
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

/// What a request is for; the error is the reply to one that does not count.
pub fn classify(head: &[u8], port: u16, expected: &Expectation) -> Result<Navigation, Reply> {
    let error = |status, reason| Err(Reply::error(status, reason));
    let mut headers = [EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return error("431 Request Header Fields Too Large", TOO_LARGE);
        }
        Err(_) => return error("400 Bad Request", "it is not an HTTP request"),
    }
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let secret = path.strip_prefix(LINK_PATH);
    if path != PATH && secret.is_none() {
        return Err(Reply::not_found());
    }
    check_tab(&request, &expected.issuer)?;
    let outcome = match secret {
        Some(secret) => Ok(Navigation::Link(secret.to_owned())),
        None => redirect::parse_query(query, expected).map(Navigation::Redirect),
    };
    // Another host name is that of a hostile page (DNS rebinding) or of a forwarded port. Only the person's browser knows the
    // state.
    if !matches!(outcome, Ok(Navigation::Redirect(_))) && !is_sent_to_us(&request, port) {
        return error("403 Forbidden", "it was sent to another host");
    }
    outcome.or_else(|reason| error("400 Bad Request", reason))
}

/// Refuses what no browser sends when it follows the redirect.
fn check_tab(request: &httparse::Request<'_, '_>, issuer: &str) -> Result<(), Reply> {
    if request.method != Some("GET") {
        let status = "405 Method Not Allowed\r\nAllow: GET";
        return Err(Reply::error(status, "it is not a GET"));
    }
    // Older browsers do not send these two. In newer ones scripts, images and frames identify themselves.
    let is_navigation = values(request, "Sec-Fetch-Mode").all(|v| v == b"navigate")
        && values(request, "Sec-Fetch-Dest").all(|v| v == b"document");
    if !is_navigation {
        let reason = "it was not opened in a browser tab";
        return Err(Reply::error("403 Forbidden", reason));
    }
    // Following a link sends no origin; following a form does.
    let is_issuer = |origin: &[u8]| origin == b"null" || origin == origin_of(issuer).as_bytes();
    if !values(request, "Origin").all(is_issuer) {
        return Err(Reply::error("403 Forbidden", "it was sent by another site"));
    }
    Ok(())
}

/// Whether the one host that a request names is a loopback name with our port.
fn is_sent_to_us(request: &httparse::Request<'_, '_>, port: u16) -> bool {
    let ours = ["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}"));
    let is_ours = |host: &[u8]| {
        ours.iter()
            .any(|our| host.eq_ignore_ascii_case(our.as_bytes()))
    };
    let mut hosts = values(request, "Host");
    hosts.next().is_some_and(is_ours) && hosts.next().is_none()
}

/// Every value of a header.
fn values<'a>(
    request: &'a httparse::Request<'_, '_>,
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    let headers = request.headers.iter();
    headers
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// Scheme, host and port of a URL.
fn origin_of(url: &str) -> String {
    url.split('/').take(3).collect::<Vec<_>>().join("/")
}
