//! The one question to the backend: whether it accepts an access token.

use std::time::Duration;

use anyhow::Result;

use crate::issuer::response;
use crate::net::http::{Client, Response};
use crate::url::Url;

/// What the backend says of an access token.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Rejected,
    /// It could not be found out, and why.
    Unknown(String),
}

/// Asks the backend whether it accepts the access token in `headers`, which are all those that the account needs. It is given
/// up after `limit`.
pub fn check(backend: &Url, headers: &[(&str, String)], limit: Duration) -> Result<Verdict> {
    let client = Client::new(backend)?;
    Ok(match client.get("wham/usage", headers, limit) {
        Ok(response) => verdict(&response),
        Err(error) => Verdict::Unknown(error.reason),
    })
}

/// What a response to a request with the token says of it.
pub(super) fn verdict(response: &Response) -> Verdict {
    match response.status {
        200 => Verdict::Accepted,
        401 if !is_about_location(response) => Verdict::Rejected,
        _ => Verdict::Unknown(response::describe("the backend", response)),
    }
}

/// Whether a 401 is about where the request came from or went to: then another token would not help.
fn is_about_location(response: &Response) -> bool {
    let (code, message) = response::error_of(&response.body);
    let error = [code, message].into_iter().flatten();
    let error = error.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    ["region", "residency", "workspace"]
        .iter()
        .any(|word| error.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Verdict {
        verdict(&Response {
            status,
            body: body.into(),
            ..Response::default()
        })
    }

    #[test]
    fn a_token_is_rejected_only_where_the_token_is_to_blame() {
        assert_eq!(judged(200, "{}"), Verdict::Accepted);
        for body in ["", "<html>", r#"{"detail":"Token expired."}"#] {
            assert_eq!(judged(401, body), Verdict::Rejected, "{body}");
        }
        for (body, reason) in [
            (
                r#"{"error":{"code":"wrong_region","message":"No."}}"#,
                "No. (wrong_region, status 401)",
            ),
            (
                r#"{"detail":"The Residency header is missing."}"#,
                "The Residency header is missing. (status 401)",
            ),
            (
                r#"{"error":"workspace_mismatch"}"#,
                "workspace_mismatch (status 401)",
            ),
        ] {
            assert_eq!(judged(401, body), Verdict::Unknown(reason.to_owned()));
        }
        for status in [302, 400, 403, 404, 429, 500] {
            assert!(
                matches!(judged(status, ""), Verdict::Unknown(_)),
                "{status}"
            );
        }
    }
}
