//! Responses of the issuer and the backend: JSON, even from damaged responses, and errors in several forms.

use std::time::SystemTime;

use serde_json::{Deserializer, Value};

use crate::credentials::TokenResponse;
use crate::error::temporary;
use crate::net::http::{self, Response};
use crate::text::{redact, text_of};

/// The tokens of a successful response, if it has any. They are accepted whatever else is wrong with it, because the
/// refresh token that they replace has been used up.
pub fn tokens(response: &Response) -> Option<TokenResponse> {
    if !(200..=299).contains(&response.status) {
        return None;
    }
    let answer = value(&response.body);
    let read = TokenResponse::parse(&answer, response.date, SystemTime::now());
    let new = &read.tokens;
    let all = [&new.access_token, &new.refresh_token, &new.id_token];
    all.iter().any(|it| it.is_some()).then_some(read)
}

/// The first JSON value of a body, after a byte order mark and before anything else; null if there is none.
pub fn value(body: &[u8]) -> Value {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let first = Deserializer::from_slice(body).into_iter().next();
    first.and_then(Result::ok).unwrap_or_default()
}

/// The error for a response that cannot be used. It is temporary if the server is overloaded or failing.
pub fn unexpected(response: &Response) -> anyhow::Error {
    let reason = describe("the issuer", response);
    match response.status {
        408 | 429 | 500.. => temporary(reason),
        200..=299 if response.flaw.is_some() => temporary(reason),
        _ => anyhow::Error::msg(reason),
    }
}

/// What `access_denied` means without a description (RFC 6749 section 4.1.2.1, RFC 8628 section 3.5).
pub const ACCESS_DENIED: &str =
    "access denied: the sign-in was cancelled, or your account is not allowed to use it";

/// Describes a response, with the server's own error first, if it has one.
pub fn describe(who: &str, response: &Response) -> String {
    let status = response.status;
    let words = error_of(&response.body).map(|it| it.map(|it| redact(&it)));
    match words {
        [Some(code), Some(message)] => format!("{message} ({code}, status {status})"),
        [Some(error), None] | [None, Some(error)] => format!("{error} (status {status})"),
        [None, None] => http::describe_unexpected(who, response),
    }
}

/// Whether the body has an error code or a message, like the issuer's own errors.
pub fn has_error(response: &Response) -> bool {
    error_of(&response.body) != [None, None]
}

/// The error code and the message of a body, in any form that the issuer uses.
pub fn error_of(body: &[u8]) -> [Option<String>; 2] {
    let body = value(body);
    let error = &body["error"];
    let codes = [&error["code"], error, &body["code"], &error["type"]];
    let code = codes.into_iter().find_map(text_of);
    let names = ["error_description", "detail", "message"];
    let message = || names.iter().find_map(|name| text_of(&body[name]));
    [code, text_of(&error["message"]).or_else(message)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{TEMPORARY, exit_code};

    #[test]
    fn complete_tokens_are_accepted_whatever_surrounds_them() {
        let whole = r#"{"refresh_token":"rt_1","more":{"a":[1]}}"#;
        for body in [
            whole.to_owned(),
            format!("\u{feff}{whole}"),
            format!("  {whole}\r\n"),
            format!("{whole}{whole}"),
            format!("{whole}\0\0\0"),
            format!("{whole}<html>"),
        ] {
            for status in [200, 201, 203] {
                let tokens = tokens(&Response::of(status, &body)).unwrap();
                assert_eq!(
                    tokens.tokens.refresh_token.as_deref(),
                    Some("rt_1"),
                    "{body}"
                );
            }
            for status in [199, 300, 400, 500] {
                assert!(tokens(&Response::of(status, &body)).is_none(), "{status}");
            }
        }
        for body in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"refresh_token":"rt_1""#,
            r#"x{"refresh_token":"rt_1"}"#,
        ] {
            assert!(tokens(&Response::of(200, body)).is_none(), "{body}");
        }
    }

    #[test]
    fn a_cut_off_response_is_worth_another_try() {
        for (flaw, is_temporary) in [(Some("cut off".to_owned()), true), (None, false)] {
            let error = unexpected(&Response {
                flaw,
                ..Response::of(200, "")
            });
            assert_eq!(exit_code(&error) == TEMPORARY, is_temporary);
        }
    }
}
