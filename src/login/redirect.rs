//! What comes back from the issuer, by redirect or by paste, and whether it answers the login that is under way. Pure.

use std::borrow::Cow;

use subtle::ConstantTimeEq;

use crate::issuer::response::ACCESS_DENIED;
use crate::text;

/// Bytes of a pasted text. A code and a state are a few hundred.
const PASTE_LIMIT: usize = 16 * 1024;

/// Why a response with a foreign state does not count.
pub const OTHER_SIGN_IN: &str = "it is from another sign-in";

/// What a response must fit to count for this login.
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

/// Reads the response from the query of the redirect. An error says why it does not count ("it …"), and repeats nothing
/// of it.
pub fn parse_query(
    query: &str,
    expected: &Expectation,
) -> Result<AuthorizationResponse, &'static str> {
    let state = only_value("state", query)?.ok_or("it has no state")?;
    // In constant time, or a local program could find it out byte by byte.
    if !bool::from(state.as_bytes().ct_eq(expected.state.as_bytes())) {
        return Err(OTHER_SIGN_IN);
    }
    let issuer = only_value("iss", query)?;
    // RFC 9207 section 2.4: a response of another issuer must not be used.
    if issuer.is_some_and(|issuer| issuer.trim_end_matches('/') != expected.issuer) {
        return Err("it is from another issuer");
    }
    let description = only_value("error_description", query)?;
    match (only_value("code", query)?, only_value("error", query)?) {
        (Some(_), Some(_)) => Err("it has both a code and an error"),
        (Some(code), None) if code.bytes().all(is_visible) => Ok(AuthorizationResponse::Code(code)),
        (Some(_), None) => Err("it has an invalid code"),
        (None, Some(error)) => Ok(AuthorizationResponse::Error(describe_error(
            &error,
            description.as_deref(),
        ))),
        (None, None) => Err("it has no code"),
    }
}

/// The one value of a parameter; an empty one counts as none (RFC 6749 section 3.1). Twice the same parameter is an
/// error: two readers could take it for two different things.
fn only_value(name: &str, query: &str) -> Result<Option<String>, &'static str> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    match values.next() {
        Some(_) => Err("it has a parameter twice"),
        None => Ok(value.filter(|value| !value.is_empty())),
    }
}

/// What a code is made of (VSCHAR of RFC 6749 appendix A.11).
fn is_visible(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn describe_error(error: &str, description: Option<&str>) -> String {
    match (error, description) {
        (_, Some(description)) => {
            format!("{} ({})", text::redact(description), text::redact(error))
        }
        ("access_denied", None) => ACCESS_DENIED.to_owned(),
        (_, None) => text::redact(error),
    }
}

/// Reads the response from what a person pasted: the address that the browser ended on, its query, or `code#state`. The
/// error says what is wrong with the text ("it …"), and repeats nothing of it.
pub fn parse_pasted(
    text: &str,
    expected: &Expectation,
) -> Result<AuthorizationResponse, &'static str> {
    let text = without_wrapping(text);
    parse_query(&query_of(&text)?, expected)
}

/// The text without what a terminal, a mail or a sentence puts around an address, or HTML into it.
fn without_wrapping(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    let mut text = visible.trim();
    // Bracketed paste, of which a terminal or a line editor may swallow the escape character.
    for (start, end) in [("^[[200~", "^[[201~"), ("[200~", "[201~"), ("200~", "201~")] {
        text = text.strip_prefix(start).unwrap_or(text);
        text = text.strip_suffix(end).unwrap_or(text);
    }
    let text = text
        .trim()
        .trim_start_matches(['<', '(', '[', '{', '"', '\'', '`', '“', '‘', '«'])
        .trim_end_matches([
            '>', ')', ']', '}', '"', '\'', '`', '”', '’', '»', '.', ',', ';', ':', '…',
        ]);
    text.replace("&amp;", "&")
}

/// Control characters, the soft hyphen, and what has no width.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
        )
}

fn query_of(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if text.len() > PASTE_LIMIT {
        return Err("it is too long");
    }
    let (before_fragment, fragment) = text.split_once('#').unwrap_or((text, ""));
    let query = match before_fragment.split_once('?') {
        Some((_, query)) => query,
        None if before_fragment.contains("://") => "",
        None if before_fragment.contains('&') => before_fragment,
        None if !fragment.is_empty() => {
            return Ok(Cow::Owned(query_with(before_fragment, fragment)));
        }
        None => return Err("it is not the address of the page that did not load"),
    };
    if query.contains("code_challenge=") {
        return Err("it is the address to open, not the one that the browser ends on");
    }
    Ok(Cow::Borrowed(query))
}

fn query_with(code: &str, state: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("code", code)
        .append_pair("state", state)
        .finish()
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
            ("", "it has no state"),
            ("code=c", "it has no state"),
            ("code=c&state=", "it has no state"),
            ("code=c&STATE=right-state", "it has no state"),
            (
                "code=c&state=right-state&state=right-state",
                "it has a parameter twice",
            ),
            (
                "code=c&state=right-state&code=d",
                "it has a parameter twice",
            ),
            (
                "code=c&state=right-state&c%6Fde=c",
                "it has a parameter twice",
            ),
            (
                "error=e&state=right-state&error=f",
                "it has a parameter twice",
            ),
            (
                "code=c&state=right-state&iss=https://issuer.example&iss=x",
                "it has a parameter twice",
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
    fn a_paste_may_be_an_address_a_query_or_code_and_state() {
        for text in [
            "http://localhost:1455/auth/callback?code=c&state=right-state",
            "  'https://127.0.0.1/x?code=c&state=right-state#'\r\n",
            "<http://localhost:1457/auth/callback?scope=x&code=c&state=right-state#_>",
            "?code=c&state=right-state",
            "state=right-state&code=c",
            "c#right-state",
        ] {
            assert_eq!(told(parse_pasted(text, &expectation())), "code c", "{text}");
        }
        assert_eq!(
            told(parse_pasted("a+%&==#right-state", &expectation())),
            "it has no state"
        );
        assert_eq!(
            told(parse_pasted("a+%==#right-state", &expectation())),
            "code a+%=="
        );
    }

    #[test]
    fn a_paste_is_taken_for_what_was_meant() {
        let address = "http://localhost:1455/auth/callback?code=c&state=right-state";
        for (before, after) in [
            ("\x1b[200~", "\x1b[201~"),
            ("[200~", "[201~"),
            ("200~", "201~"),
            ("^[[200~", "^[[201~\n"),
            ("\x1b[200~", ""),
            ("", "."),
            ("(", ")."),
            ("[", "]"),
            ("“", "”,"),
            ("\u{feff}", "\u{200b}"),
            ("<", ">:"),
        ] {
            let text = format!("{before}{address}{after}");
            assert_eq!(
                told(parse_pasted(&text, &expectation())),
                "code c",
                "{text:?}"
            );
        }
        for text in [
            "http://localhost:1455/auth/callback?code=c&amp;state=right-state",
            "code=c&amp;state=right-state.",
            "\x1b[200~code=c&state=right-state\x1b[201~",
            "200~c#right-state201~",
            "c#right-\u{200b}state\u{200b}",
        ] {
            assert_eq!(
                told(parse_pasted(text, &expectation())),
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
        let other = "it is not the address of the page that did not load";
        for (text, wanted) in [
            ("", other),
            ("yes", other),
            ("c#", other),
            ("http://localhost:1455/auth/callback", "it has no state"),
            ("c#wrong", "it is from another sign-in"),
            ("#right-state", "it has no code"),
            (
                "https://issuer.example/oauth/authorize?state=right-state&code_challenge=x",
                "it is the address to open, not the one that the browser ends on",
            ),
            (&"x".repeat(PASTE_LIMIT + 1), "it is too long"),
            ("?error=e&state=right-state", "error e"),
        ] {
            assert_eq!(told(parse_pasted(text, &expectation())), wanted, "{text}");
        }
    }
}
