//! The authorization response, from a redirect or pasted, and whether it belongs to the current login: did a browser tab
//! follow the redirect, with the right state? No I/O.

use httparse::{EMPTY_HEADER, Header, Request, Status};
use subtle::ConstantTimeEq;

use crate::issuer::response::ACCESS_DENIED;
use crate::login::page;
use crate::text::redact;
use crate::url::Url;

/// The registered path of the redirect URI.
pub const PATH: &str = "/auth/callback";
/// The path of the one-time link, before its secret.
pub const LINK_PATH: &str = "/sign-in/";

const INCOMPLETE: &str = "it is incomplete: copy the whole URL";

/// What a response must match to count for this login.
#[derive(Clone)]
pub struct Expectation {
    pub state: String,
    pub issuer: Url,
}

/// The authorization response (RFC 6749 sections 4.1.2 and 4.1.2.1).
pub enum AuthorizationResponse {
    /// The authorization code. It is a secret until it is exchanged.
    Code(String),
    /// No code: the issuer's reason, fit for one line of a terminal.
    Error(String),
}

/// The response, or why the input is ignored ("it …"), without repeating any of it.
pub type Parsed = Result<AuthorizationResponse, &'static str>;

/// The purpose of an accepted request.
pub enum Navigation {
    /// The one-time link, with this secret.
    Link(String),
    Redirect(AuthorizationResponse),
}

/// The purpose of a request, or the status and the page for an ignored one.
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
            let advice =
                "it is too large: clear the cookies of localhost, or paste its URL in the terminal";
            return refuse("431 Request Header Fields Too Large", advice);
        }
        Err(_) => return refuse("400 Bad Request", "it is not an HTTP request"),
    }
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let outcome = match path.strip_prefix(LINK_PATH) {
        _ if path == PATH => parse_query(query, expected).map(Navigation::Redirect),
        Some(secret) => Ok(Navigation::Link(secret.to_owned())),
        None => return Err(("404 Not Found", page::not_found())),
    };
    if request.method != Some("GET") {
        return refuse("405 Method Not Allowed\r\nAllow: GET", "it is not a GET");
    }
    if !is_from_tab(request.headers, expected.issuer.origin()) {
        return refuse("403 Forbidden", "it was not opened in a browser tab");
    }
    // Another host name belongs to a hostile page (DNS rebinding) or to a forwarded port. Only the user's browser knows
    // the state.
    if !matches!(outcome, Ok(Navigation::Redirect(_))) && !is_sent_to_us(request.headers, port) {
        return refuse("403 Forbidden", "it was sent to another host");
    }
    outcome.or_else(|reason| refuse("400 Bad Request", reason))
}

/// Whether a browser tab follows a link, or a form of the issuer. Older browsers do not send these headers; in newer ones
/// scripts, images, frames and the forms of other sites identify themselves.
fn is_from_tab(headers: &[Header<'_>], origin: &str) -> bool {
    let has_only =
        |name, allowed: &[&[u8]]| values(headers, name).iter().all(|it| allowed.contains(it));
    has_only("Sec-Fetch-Mode", &[b"navigate"])
        && has_only("Sec-Fetch-Dest", &[b"document"])
        && has_only("Origin", &[b"null", origin.as_bytes()])
}

/// Whether a request names a single host, which is a loopback name with our port.
fn is_sent_to_us(headers: &[Header<'_>], port: u16) -> bool {
    let ours = ["localhost", "127.0.0.1", "[::1]"];
    let ours = ours.map(|name| format!("{name}:{port}").into_bytes());
    matches!(values(headers, "Host")[..], [host] if ours.contains(&host.to_ascii_lowercase()))
}

fn values<'a>(headers: &[Header<'a>], name: &str) -> Vec<&'a [u8]> {
    let mut headers = headers.to_vec();
    headers.retain(|header| header.name.eq_ignore_ascii_case(name));
    headers.iter().map(|header| header.value).collect()
}

/// Reads the response from the query of the redirect.
pub fn parse_query(query: &str, expected: &Expectation) -> Parsed {
    let state = only_value("state", query)?.ok_or(INCOMPLETE)?;
    // In constant time, or a local program could guess it byte by byte.
    if !bool::from(state.as_bytes().ct_eq(expected.state.as_bytes())) {
        return Err("it is from another sign-in");
    }
    let issuer = only_value("iss", query)?;
    // RFC 9207 section 2.4: a response from another issuer must not be used.
    if issuer.is_some_and(|issuer| issuer.trim_end_matches('/') != expected.issuer.text) {
        return Err("it is from another issuer");
    }
    // VSCHAR of RFC 6749 appendix A.11.
    let is_visible = |code: &String| code.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let description = only_value("error_description", query)?;
    match (only_value("code", query)?, only_value("error", query)?) {
        (Some(_), Some(_)) => Err("it has both a code and an error"),
        (Some(code), None) if is_visible(&code) => Ok(AuthorizationResponse::Code(code)),
        (Some(_), None) => Err("it has an invalid code"),
        (None, Some(error)) => Ok(AuthorizationResponse::Error(match description {
            Some(description) => format!("{} ({})", redact(&description), redact(&error)),
            None if error == "access_denied" => ACCESS_DENIED.to_owned(),
            None => redact(&error),
        })),
        (None, None) => Err("it has no code"),
    }
}

/// The only value of a parameter; an empty one counts as none (RFC 6749 section 3.1). A repeated parameter is an error:
/// two readers could pick different values.
fn only_value(name: &str, query: &str) -> Result<Option<String>, &'static str> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    match values.next() {
        Some(_) => Err("it has a duplicate parameter"),
        None => Ok(value.filter(|value| !value.is_empty())),
    }
}

/// Reads the response from pasted text: the URL that the browser ended up at, or its query.
pub fn parse_pasted(text: &str, expected: &Expectation) -> Parsed {
    // Characters that an e-mail or a sentence puts around a URL.
    let text = text.trim_matches(|c: char| c.is_whitespace() || "<>()\"'`“”.,;".contains(c));
    let address = text.split('#').next().unwrap_or_default();
    let query = match address.split_once('?') {
        Some((_, query)) => query,
        None if address.contains('&') => address,
        None if address.contains("://") => "",
        None => return Err("it is not a URL"),
    };
    if query.contains("code_challenge=") {
        return Err("it is the URL to open, not the one you end up at");
    }
    parse_query(query, expected)
}

/// Shared by the tests of the redirect and of pasting.
#[cfg(test)]
pub mod testing {
    use super::{AuthorizationResponse, Expectation, Url};

    pub const STATE: &str = "right-state";

    pub fn expectation() -> Expectation {
        Expectation {
            state: STATE.to_owned(),
            issuer: Url::parse("https://issuer.example").unwrap(),
        }
    }

    pub fn told(response: Result<AuthorizationResponse, &'static str>) -> String {
        match response {
            Ok(AuthorizationResponse::Code(code)) => format!("code {code}"),
            Ok(AuthorizationResponse::Error(reason)) => format!("error {reason}"),
            Err(reason) => reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{expectation, told};
    use super::*;

    #[test]
    fn a_response_counts_only_with_the_right_state_and_issuer_and_with_nothing_twice() {
        for (query, wanted) in [
            ("code=c&state=right-state", "code c"),
            (
                "state=right-state&scope=openid&code=a%2Db%7E&unknown=1&unknown=2",
                "code a-b~",
            ),
            (
                "code=c&state=right%2Dstate&iss=https%3A%2F%2Fissuer.example",
                "code c",
            ),
            (
                "code=c&state=right-state&iss=https://issuer.example/&error=",
                "code c",
            ),
            (
                "error=access_denied&state=right-state",
                "error access denied: the sign-in was cancelled, or your account is not allowed to use it",
            ),
            (
                "error=e%00%0a&error_description=%3Cb%3E%FF&state=right-state",
                "error <b>\u{fffd} (e)",
            ),
            ("", INCOMPLETE),
            ("code=c", INCOMPLETE),
            ("code=c&state=", INCOMPLETE),
            ("code=c&STATE=right-state", INCOMPLETE),
            (
                "code=c&state=right-state&state=right-state",
                "it has a duplicate parameter",
            ),
            (
                "code=c&state=right-state&code=d",
                "it has a duplicate parameter",
            ),
            (
                "code=c&state=right-state&c%6Fde=c",
                "it has a duplicate parameter",
            ),
            (
                "error=e&state=right-state&error=f",
                "it has a duplicate parameter",
            ),
            (
                "code=c&state=right-state&iss=https://issuer.example&iss=x",
                "it has a duplicate parameter",
            ),
            (
                "code=c&state=right-state&error=e",
                "it has both a code and an error",
            ),
            ("state=right-state", "it has no code"),
            ("code=&state=right-state", "it has no code"),
            ("code=a%00b&state=right-state", "it has an invalid code"),
            ("code=a%0d%0ab&state=right-state", "it has an invalid code"),
            ("code=%C3%A4&state=right-state", "it has an invalid code"),
            ("code=%FF&state=right-state", "it has an invalid code"),
            (
                "code=c&state=right-state&iss=https://evil.example",
                "it is from another issuer",
            ),
            (
                "error=e&state=right-state&iss=https://evil.example",
                "it is from another issuer",
            ),
        ] {
            assert_eq!(told(parse_query(query, &expectation())), wanted, "{query}");
        }
        for state in [
            "wrong-state",
            "right-stat",
            "right-state+",
            "right-state%00",
            "RIGHT-STATE",
            "right-state%2500",
        ] {
            let told = told(parse_query(
                &format!("code=c&state={state}"),
                &expectation(),
            ));
            assert_eq!(told, "it is from another sign-in", "{state}");
        }
    }

    #[test]
    fn a_paste_may_be_a_url_or_a_query() {
        for text in [
            "http://localhost:1455/auth/callback?code=c&state=right-state",
            "  'https://127.0.0.1/x?code=c&state=right-state#'\r\n",
            "<http://localhost:1457/auth/callback?scope=x&code=c&state=right-state#_>",
            "?code=c&state=right-state",
            "state=right-state&code=c",
        ] {
            assert_eq!(told(parse_pasted(text, &expectation())), "code c", "{text}");
        }
    }

    #[test]
    fn a_paste_is_understood_as_it_was_meant() {
        let address = "http://localhost:1455/auth/callback?code=c&state=right-state";
        for (before, after) in [("", "."), ("(", ")."), ("“", "”,")] {
            let text = format!("{before}{address}{after}");
            assert_eq!(
                told(parse_pasted(&text, &expectation())),
                "code c",
                "{text:?}"
            );
        }
        // These are parts of a code.
        let kept = "code=-a.b~%3D_&state=right-state";
        assert_eq!(told(parse_pasted(kept, &expectation())), "code -a.b~=_");
    }

    #[test]
    fn a_wrong_paste_is_explained() {
        let other = "it is not a URL";
        for (text, wanted) in [
            ("", other),
            ("yes", other),
            ("c#", other),
            ("c#right-state", other),
            ("http://localhost:1455/auth/callback", INCOMPLETE),
            (
                "http://localhost:1455/?code=c&state=wrong",
                "it is from another sign-in",
            ),
            (
                "https://issuer.example/oauth/authorize?state=right-state&code_challenge=x",
                "it is the URL to open, not the one you end up at",
            ),
            ("?error=e&state=right-state", "error e"),
        ] {
            assert_eq!(told(parse_pasted(text, &expectation())), wanted, "{text}");
        }
    }
}
