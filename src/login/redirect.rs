//! The authorization response, redirected or pasted, and whether it belongs to the current login. Pure.

use subtle::ConstantTimeEq;

use crate::issuer::response::ACCESS_DENIED;
use crate::text::redact;

const INCOMPLETE: &str = "it is incomplete: copy the whole address";

/// What a response has to match to count for this login.
#[derive(Clone)]
pub struct Expectation {
    pub state: String,
    /// As in the settings: without a slash at the end.
    pub issuer: String,
}

/// The authorization response (RFC 6749 sections 4.1.2 and 4.1.2.1).
pub enum AuthorizationResponse {
    /// The authorization code. It is a secret until it is exchanged.
    Code(String),
    /// No code: the issuer's reason, fit for one line of a terminal.
    Error(String),
}

/// The response, or why what came does not count ("it …"), without repeating any of it.
pub type Parsed = Result<AuthorizationResponse, &'static str>;

/// Reads the response from the query of the redirect.
pub fn parse_query(query: &str, expected: &Expectation) -> Parsed {
    let state = only_value("state", query)?.ok_or(INCOMPLETE)?;
    // In constant time, or a local program could guess it byte by byte.
    if !bool::from(state.as_bytes().ct_eq(expected.state.as_bytes())) {
        return Err("it is from another sign-in");
    }
    let issuer = only_value("iss", query)?;
    // RFC 9207 section 2.4: a response of another issuer must not be used.
    if issuer.is_some_and(|issuer| issuer.trim_end_matches('/') != expected.issuer) {
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

/// The only value of a parameter; an empty one counts as none (RFC 6749 section 3.1). A repeated parameter is an error: two
/// readers could pick different values.
fn only_value(name: &str, query: &str) -> Result<Option<String>, &'static str> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    match values.next() {
        Some(_) => Err("it has a duplicate parameter"),
        None => Ok(value.filter(|value| !value.is_empty())),
    }
}

/// Reads the response from what a person pasted: the address that the browser ended on, or its query.
pub fn parse_pasted(text: &str, expected: &Expectation) -> Parsed {
    // What an e-mail or a sentence puts around an address.
    let text = text.trim_matches(|c: char| c.is_whitespace() || "<>()\"'`“”.,;".contains(c));
    let address = text.split('#').next().unwrap_or_default();
    let query = match address.split_once('?') {
        Some((_, query)) => query,
        None if address.contains('&') => address,
        None if address.contains("://") => "",
        None => return Err("it is not an address"),
    };
    if query.contains("code_challenge=") {
        return Err("it is the address to open, not the one that the browser ends on");
    }
    parse_query(query, expected)
}

/// What tests of the ways back share.
#[cfg(test)]
pub mod testing {
    use super::{AuthorizationResponse, Expectation};

    pub const STATE: &str = "right-state";

    pub fn expectation() -> Expectation {
        Expectation {
            state: STATE.to_owned(),
            issuer: "https://issuer.example".to_owned(),
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
    fn a_paste_may_be_an_address_or_a_query() {
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
    fn a_paste_is_taken_for_what_was_meant() {
        let address = "http://localhost:1455/auth/callback?code=c&state=right-state";
        for (before, after) in [("", "."), ("(", ")."), ("“", "”,")] {
            let text = format!("{before}{address}{after}");
            assert_eq!(
                told(parse_pasted(&text, &expectation())),
                "code c",
                "{text:?}"
            );
        }
        // These belong to a code.
        let kept = "code=-a.b~%3D_&state=right-state";
        assert_eq!(told(parse_pasted(kept, &expectation())), "code -a.b~=_");
    }

    #[test]
    fn a_wrong_paste_is_told_what_is_wrong() {
        let other = "it is not an address";
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
                "it is the address to open, not the one that the browser ends on",
            ),
            ("?error=e&state=right-state", "error e"),
        ] {
            assert_eq!(told(parse_pasted(text, &expectation())), wanted, "{text}");
        }
    }
}
