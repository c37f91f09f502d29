//! The shapes in which a token is printed, and the quoting that they need. No input or output.
//!
//! Tokens and account IDs are single words of visible characters (`credentials`), so that none can break a line or a
//! header in two.

use std::time::SystemTime;

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::Format;
use crate::credentials::Credentials;
use crate::settings;
use crate::text::shell_quoted;
use crate::time::{date, seconds_since_epoch, time_at};

/// The version of the JSON shape. Members may be added under the same number.
const VERSION: u64 = 1;

/// The access token in a format, line end included, as it is printed at `now`.
pub fn token(
    format: Format,
    credentials: &Credentials,
    profile: &str,
    now: SystemTime,
) -> Result<String> {
    let lines = |line: fn(String) -> String| -> Result<String> {
        let headers = credentials.headers()?.into_iter();
        let lines = headers.map(|(name, value)| line(format!("{name}: {value}")) + "\n");
        Ok(lines.collect())
    };
    Ok(match format {
        Format::Plain => plain(credentials.access_token()?),
        Format::Json => {
            let token = credentials.access_token()?;
            let end = credentials.expiry();
            let account = credentials.account();
            // The names are those of this program, and those of a token response (RFC 6749 section 5.1).
            let object = json!({
                "version": VERSION,
                "token": token,
                "access_token": token,
                "token_type": "Bearer",
                "expires_at": end.map(|end| date(time_at(end))),
                "expires_at_epoch": end,
                "expires_in": end.map(|end| end.saturating_sub(seconds_since_epoch(now))),
                "account_id": account.id,
                "email": account.email,
                "plan": credentials.plan(),
                "workspace": credentials.workspace(),
                "residency": account.residency,
                "fedramp": account.is_fedramp,
                "base_url": credentials.base_url(&settings::backend()?).as_str(),
                "headers": headers_of(credentials)?,
                "profile": profile,
            });
            format!("{object}\n")
        }
        Format::Headers => lines(|line| line)?,
        Format::HeadersJson => format!("{}\n", headers_of(credentials)?),
        Format::Curl => lines(|line| format!("header = {}", curl_word(&line)))?,
        Format::Env => env(credentials)?,
    })
}

/// The access token on one line.
pub fn plain(access_token: &str) -> String {
    let mut line = String::with_capacity(access_token.len() + 1);
    line += access_token;
    line + "\n"
}

fn headers_of(credentials: &Credentials) -> Result<Value> {
    let headers = credentials.headers()?.into_iter();
    Ok(headers
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect())
}

/// Shell assignments. They are not exported, so that the token does not reach every program that the shell starts. An
/// account ID that was there before is of another account.
fn env(credentials: &Credentials) -> Result<String> {
    let token = shell_quoted(credentials.access_token()?);
    let id = match credentials.account_id() {
        Some(id) => format!("CODEX_AUTH_ACCOUNT_ID={}", shell_quoted(&id)),
        None => "unset CODEX_AUTH_ACCOUNT_ID".to_owned(),
    };
    let base_url = credentials.base_url(&settings::backend()?);
    let base_url = shell_quoted(base_url.as_str());
    Ok(format!(
        "CODEX_AUTH_TOKEN={token}\n{id}\nCODEX_AUTH_BASE_URL={base_url}\n"
    ))
}

/// A double-quoted word of a curl configuration file, for visible characters and blanks.
fn curl_word(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#))
}

#[cfg(test)]
mod tests {
    use super::*;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    /// A login with this access token, and these claims beside it.
    fn login(token: &str, auth: &Value) -> Credentials {
        let claims = json!({ "https://api.openai.com/auth": auth });
        let id_token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let document = json!({
            "tokens": { "access_token": token, "id_token": id_token },
            "expires_at": 1_800_000_000,
        });
        Credentials::parse(document.to_string().into_bytes()).unwrap()
    }

    fn print(format: Format, credentials: &Credentials) -> Result<String> {
        token(format, credentials, "default", time_at(0))
    }

    #[test]
    fn without_an_account_id_its_header_and_its_variable_are_missing() {
        let credentials = login("tok", &json!({ "chatgpt_data_residency": "no_constraint" }));
        let print = |format| print(format, &credentials).unwrap();
        assert_eq!(print(Format::Headers), "Authorization: Bearer tok\n");
        assert_eq!(
            print(Format::Env),
            "CODEX_AUTH_TOKEN='tok'\nunset CODEX_AUTH_ACCOUNT_ID\nCODEX_AUTH_BASE_URL='https://chatgpt.com/backend-api'\n"
        );
        let object: Value = serde_json::from_str(&print(Format::Json)).unwrap();
        assert!(object["account_id"].is_null() && object["plan"].is_null());
    }

    #[test]
    fn an_account_id_that_would_break_a_header_is_left_out() {
        for id in ["a\r\nX-Evil: 1", "a b", "ä", "a\0", ""] {
            let credentials = login("tok", &json!({ "chatgpt_account_id": id }));
            for format in [
                Format::Headers,
                Format::HeadersJson,
                Format::Curl,
                Format::Env,
            ] {
                let text = print(format, &credentials).unwrap();
                let id = ["ChatGPT-Account-Id", "CODEX_AUTH_ACCOUNT_ID="];
                assert!(!id.iter().any(|name| text.contains(name)), "{text}");
            }
        }
    }

    #[test]
    fn a_token_that_would_break_the_line_counts_as_missing() {
        for broken in ["a\nb", "a b", "ä", ""] {
            let credentials = login(broken, &json!({}));
            assert!(print(Format::Plain, &credentials).is_err());
        }
    }

    #[test]
    fn words_are_quoted_where_they_need_it() {
        assert_eq!(curl_word(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
