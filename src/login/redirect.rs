//! What comes back from the issuer, by redirect or by paste: the one judgement whether it answers the login that is
//! under way. Pure.

use std::borrow::Cow;

use subtle::ConstantTimeEq;

use crate::text;

/// Bytes of a pasted text. A code and a state are a few hundred.
const PASTE_LIMIT: usize = 16 * 1024;

/// What an answer must fit to count for this login.
#[derive(Clone)]
pub struct Expectation {
    pub state: String,
    /// As in the settings: without a slash at the end.
    pub issuer: String,
}

/// What the issuer answered to this login.
pub enum Answer {
    /// The authorization code. It is a secret until it is exchanged.
    Code(String),
    /// No code: the issuer's own words why not, fit for one line of a terminal.
    Refused(String),
}

/// What the parameters of a redirect (RFC 6749 sections 4.1.2 and 4.1.2.1) answer to this login. An error says why
/// they do not count ("it …"), and repeats nothing of them.
pub fn judge(query: &str, expected: &Expectation) -> Result<Answer, &'static str> {
    let state = only("state", query)?.ok_or("it carries no state")?;
    // In constant time, or a local program could find it out byte by byte.
    if !bool::from(state.as_bytes().ct_eq(expected.state.as_bytes())) {
        return Err("it belongs to another sign-in (its state is a different one)");
    }
    // RFC 9207 section 2.4: an answer of another issuer must not be used.
    if only("iss", query)?.is_some_and(|issuer| issuer.trim_end_matches('/') != expected.issuer) {
        return Err("it comes from another issuer");
    }
    let description = only("error_description", query)?;
    match (only("code", query)?, only("error", query)?) {
        (Some(_), Some(_)) => Err("it carries both a code and an error"),
        (Some(code), None) if code.bytes().all(is_visible) => Ok(Answer::Code(code)),
        (Some(_), None) => Err("its code has characters that no code has"),
        (None, Some(error)) => Ok(Answer::Refused(words(&error, description.as_deref()))),
        (None, None) => Err("it carries no code"),
    }
}

/// The one value of a parameter; an empty one counts as none (RFC 6749 section 3.1). Twice the same parameter is an
/// error: two readers could take it for two different things.
fn only(name: &str, query: &str) -> Result<Option<String>, &'static str> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    match values.next() {
        Some(_) => Err("it carries a parameter twice"),
        None => Ok(value.filter(|value| !value.is_empty())),
    }
}

/// What a code is made of (VSCHAR of RFC 6749 appendix A.11).
fn is_visible(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn words(error: &str, description: Option<&str>) -> String {
    match description {
        Some(description) => format!("{} ({})", text::redact(description), text::redact(error)),
        None => text::redact(error),
    }
}

/// What a text that a person pasted answers to this login: the address that the browser ended on, its query, or
/// `code#state`. The error says what is wrong with the text ("it …"), and repeats nothing of it.
pub fn judge_pasted(text: &str, expected: &Expectation) -> Result<Answer, &'static str> {
    judge(&query_of(text)?, expected)
}

fn query_of(text: &str) -> Result<Cow<'_, str>, &'static str> {
    // A mail or a shell puts such marks around an address.
    let text = text.trim().trim_matches(['<', '>', '"', '\'']);
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
        None => return Err("it is neither the address that the browser ended on nor code#state"),
    };
    if query.contains("code_challenge=") {
        return Err("it is the address to sign in at: paste the one that the browser ends on");
    }
    Ok(Cow::Borrowed(query))
}

fn query_with(code: &str, state: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("code", code)
        .append_pair("state", state)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation() -> Expectation {
        Expectation {
            state: "right-state".to_owned(),
            issuer: "https://issuer.example".to_owned(),
        }
    }

    fn told(answer: Result<Answer, &'static str>) -> String {
        match answer {
            Ok(Answer::Code(code)) => format!("code {code}"),
            Ok(Answer::Refused(words)) => format!("refused {words}"),
            Err(why) => why.to_owned(),
        }
    }

    #[test]
    fn an_answer_counts_only_with_the_right_state_and_issuer_and_with_nothing_twice() {
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
                "refused access_denied",
            ),
            (
                "error=e%00%0a&error_description=%3Cb%3E%FF&state=right-state",
                "refused <b>\u{fffd} (e)",
            ),
            ("", "it carries no state"),
            ("code=c", "it carries no state"),
            ("code=c&state=", "it carries no state"),
            ("code=c&STATE=right-state", "it carries no state"),
            (
                "code=c&state=right-state&state=right-state",
                "it carries a parameter twice",
            ),
            (
                "code=c&state=right-state&code=d",
                "it carries a parameter twice",
            ),
            (
                "code=c&state=right-state&c%6Fde=c",
                "it carries a parameter twice",
            ),
            (
                "error=e&state=right-state&error=f",
                "it carries a parameter twice",
            ),
            (
                "code=c&state=right-state&iss=https://issuer.example&iss=x",
                "it carries a parameter twice",
            ),
            (
                "code=c&state=right-state&error=e",
                "it carries both a code and an error",
            ),
            ("state=right-state", "it carries no code"),
            ("code=&state=right-state", "it carries no code"),
            (
                "code=a%00b&state=right-state",
                "its code has characters that no code has",
            ),
            (
                "code=a%0d%0ab&state=right-state",
                "its code has characters that no code has",
            ),
            (
                "code=%C3%A4&state=right-state",
                "its code has characters that no code has",
            ),
            (
                "code=%FF&state=right-state",
                "its code has characters that no code has",
            ),
            (
                "code=c&state=right-state&iss=https://evil.example",
                "it comes from another issuer",
            ),
            (
                "error=e&state=right-state&iss=https://evil.example",
                "it comes from another issuer",
            ),
        ] {
            assert_eq!(told(judge(query, &expectation())), wanted, "{query}");
        }
        for state in [
            "wrong-state",
            "right-stat",
            "right-state+",
            "right-state%00",
            "RIGHT-STATE",
            "right-state%2500",
        ] {
            let told = told(judge(&format!("code=c&state={state}"), &expectation()));
            assert_eq!(
                told, "it belongs to another sign-in (its state is a different one)",
                "{state}"
            );
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
            assert_eq!(told(judge_pasted(text, &expectation())), "code c", "{text}");
        }
        assert_eq!(
            told(judge_pasted("a+%&==#right-state", &expectation())),
            "it carries no state"
        );
        assert_eq!(
            told(judge_pasted("a+%==#right-state", &expectation())),
            "code a+%=="
        );
    }

    #[test]
    fn a_wrong_paste_is_told_what_is_wrong() {
        let neither = "it is neither the address that the browser ended on nor code#state";
        for (text, wanted) in [
            ("", neither),
            ("yes", neither),
            ("c#", neither),
            ("http://localhost:1455/auth/callback", "it carries no state"),
            (
                "c#wrong",
                "it belongs to another sign-in (its state is a different one)",
            ),
            ("#right-state", "it carries no code"),
            (
                "https://issuer.example/oauth/authorize?state=right-state&code_challenge=x",
                "it is the address to sign in at: paste the one that the browser ends on",
            ),
            (&"x".repeat(PASTE_LIMIT + 1), "it is too long"),
            ("?error=e&state=right-state", "refused e"),
        ] {
            assert_eq!(told(judge_pasted(text, &expectation())), wanted, "{text}");
        }
    }
}
