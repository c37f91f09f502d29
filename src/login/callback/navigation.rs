//! Whether a request is a browser following the redirect of this login. Pure.

use httparse::{EMPTY_HEADER, Header, Request, Status};

use crate::login::page;
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

/// What a request is for; the error is the status and the page for one that does not count.
pub fn classify(
    head: &[u8],
    port: u16,
    expected: &Expectation,
) -> Result<Navigation, (&'static str, String)> {
    let refuse = |status, reason| Err((status, page::not_accepted(reason)));
    let mut headers = [EMPTY_HEADER; 100];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return refuse("431 Request Header Fields Too Large", TOO_LARGE);
        }
        Err(_) => return refuse("400 Bad Request", "it is not an HTTP request"),
    }
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let outcome = match path.strip_prefix(LINK_PATH) {
        _ if path == PATH => redirect::parse_query(query, expected).map(Navigation::Redirect),
        Some(secret) => Ok(Navigation::Link(secret.to_owned())),
        None => return Err(("404 Not Found", page::not_found())),
    };
    if request.method != Some("GET") {
        return refuse("405 Method Not Allowed\r\nAllow: GET", "it is not a GET");
    }
    // Another host name is that of a hostile page (DNS rebinding) or of a forwarded port. Only the person's browser knows the
    // state.
    if !matches!(outcome, Ok(Navigation::Redirect(_))) && !is_sent_to_us(request.headers, port) {
        return refuse("403 Forbidden", "it was sent to another host");
    }
    outcome.or_else(|reason| refuse("400 Bad Request", reason))
}

/// Whether the one host that a request names is a loopback name with our port.
fn is_sent_to_us(headers: &[Header<'_>], port: u16) -> bool {
    let ours = ["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}"));
    let mut hosts = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("Host"));
    let is_ours = |host: &Header<'_>| {
        let host = host.value.to_ascii_lowercase();
        ours.iter().any(|our| our.as_bytes() == host)
    };
    hosts.next().is_some_and(is_ours) && hosts.next().is_none()
}
