//! The shapes in which a token is printed, and the quoting that they need. No input or output.
//!
//! Tokens and account IDs are single words of visible characters (`credentials`), so that none can break a line or a
//! header in two.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::cli::Format;
use crate::credentials::Credentials;
use crate::time::time_at;

/// The version of the JSON shape. Members may be added under the same number.
const VERSION: u64 = 1;

/// The access token of a login in a shape, line end included.
pub fn token(format: Format, credentials: &Credentials, profile: &str) -> Result<String> {
    match format {
        Format::Plain => Ok(plain(credentials.access_token()?)),
        Format::Json => json(credentials, profile),
        Format::Headers => lines(credentials, |name, value| format!("{name}: {value}\n")),
        Format::HeadersJson => headers_json(credentials),
        Format::Curl => lines(credentials, |name, value| {
            format!("header = {}\n", curl_word(&format!("{name}: {value}")))
        }),
        Format::Env => env(credentials),
    }
}

/// The access token on a line of its own.
pub fn plain(access_token: &str) -> String {
    let mut line = String::with_capacity(access_token.len() + 1);
    line += access_token;
    line + "\n"
}

/// One object; what is not known is null.
fn json(credentials: &Credentials, profile: &str) -> Result<String> {
    let end = credentials.expires_at();
    let date = end.map(|end| humantime::format_rfc3339_seconds(time_at(end)).to_string());
    let object = json!({
        "version": VERSION,
        "token": credentials.access_token()?,
        "token_type": "Bearer",
        "expires_at": date,
        "expires_at_epoch": end,
        "account_id": credentials.account_id(),
        "plan": credentials.plan(),
        "profile": profile,
    });
    Ok(format!("{object}\n"))
}

fn headers_json(credentials: &Credentials) -> Result<String> {
    Ok(format!("{}\n", object_of(&headers(credentials)?)))
}

/// Headers as a JSON object.
pub fn object_of(headers: &[(&str, String)]) -> Value {
    let members = headers.iter();
    let members: Map<String, Value> = members
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    Value::Object(members)
}

fn lines(credentials: &Credentials, line: impl Fn(&str, &str) -> String) -> Result<String> {
    let headers = headers(credentials)?;
    Ok(headers
        .iter()
        .map(|(name, value)| line(name, value))
        .collect())
}

/// Shell assignments. They are not exported, so that the token does not reach every program that the shell starts.
fn env(credentials: &Credentials) -> Result<String> {
    let token = quoted(credentials.access_token()?);
    let id = credentials
        .account_id()
        .map(|id| format!("CODEX_AUTH_ACCOUNT_ID={}\n", quoted(&id)));
    Ok(format!(
        "CODEX_AUTH_TOKEN={token}\n{}",
        id.unwrap_or_default()
    ))
}

/// What a request to the backend carries: the token, and the headers that go with it.
fn headers(credentials: &Credentials) -> Result<Vec<(&'static str, String)>> {
    let authorization = format!("Bearer {}", credentials.access_token()?);
    let mut headers = vec![("Authorization", authorization)];
    headers.extend(account_headers(credentials));
    Ok(headers)
}

/// The headers that do not change with the token: whose it is, and the region that a workspace is pinned to. A login
/// that names no account has none.
pub fn account_headers(credentials: &Credentials) -> Vec<(&'static str, String)> {
    let id = credentials
        .account_id()
        .map(|id| ("ChatGPT-Account-Id", id));
    let region = credentials
        .residency()
        .map(|region| ("x-openai-internal-codex-residency", region));
    id.into_iter().chain(region).collect()
}

/// A word of a POSIX shell line that stands for exactly this text; bare where that is safe. On Windows it is a word of
/// `cmd` as well, as far as paths go.
pub fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    if cfg!(windows) && !text.contains(['"', '$', '`', '%']) {
        return format!("\"{text}\"");
    }
    quoted(text)
}

/// Within single quotes a POSIX shell takes everything as it is, but for the quote itself.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A double-quoted word of a curl configuration file, for visible characters and blanks.
fn curl_word(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#))
}

/// A basic string of TOML (1.0, "String"). JSON's escapes are all among its own; of what has to be escaped, JSON leaves
/// only DEL alone.
pub fn toml_string(text: &str) -> Result<String> {
    let quoted = serde_json::to_string(text).context("could not write TOML")?;
    Ok(quoted.replace('\u{7f}', r"\u007f"))
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
        Credentials::parse(document.to_string().as_bytes()).unwrap()
    }

    fn usual() -> Credentials {
        let auth = json!({
            "chatgpt_account_id": "acc-1",
            "chatgpt_plan_type": "plus",
            "chatgpt_data_residency": "eu",
        });
        login("tok", &auth)
    }

    #[test]
    fn each_format_has_its_shape() {
        let print = |format| token(format, &usual(), "work").unwrap();
        assert_eq!(print(Format::Plain), "tok\n");
        assert_eq!(
            print(Format::Headers),
            "Authorization: Bearer tok\nChatGPT-Account-Id: acc-1\nx-openai-internal-codex-residency: eu\n"
        );
        assert_eq!(
            print(Format::HeadersJson),
            "{\"Authorization\":\"Bearer tok\",\"ChatGPT-Account-Id\":\"acc-1\",\"x-openai-internal-codex-residency\":\"eu\"}\n"
        );
        assert_eq!(
            print(Format::Curl),
            "header = \"Authorization: Bearer tok\"\nheader = \"ChatGPT-Account-Id: acc-1\"\nheader = \"x-openai-internal-codex-residency: eu\"\n"
        );
        assert_eq!(
            print(Format::Env),
            "CODEX_AUTH_TOKEN='tok'\nCODEX_AUTH_ACCOUNT_ID='acc-1'\n"
        );
        let object: Value = serde_json::from_str(&print(Format::Json)).unwrap();
        let expected = json!({
            "version": 1, "token": "tok", "token_type": "Bearer", "account_id": "acc-1", "plan": "plus",
            "expires_at": "2027-01-15T08:00:00Z", "expires_at_epoch": 1_800_000_000, "profile": "work",
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn without_an_account_id_its_header_and_its_variable_are_missing() {
        let credentials = login("tok", &json!({ "chatgpt_data_residency": "no_constraint" }));
        let print = |format| token(format, &credentials, "default").unwrap();
        assert_eq!(print(Format::Headers), "Authorization: Bearer tok\n");
        assert_eq!(print(Format::Env), "CODEX_AUTH_TOKEN='tok'\n");
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
                let text = token(format, &credentials, "default").unwrap();
                assert!(!text.to_lowercase().contains("account"), "{text}");
            }
        }
    }

    #[test]
    fn a_token_that_would_break_the_line_is_none() {
        for broken in ["a\nb", "a b", "ä", ""] {
            let credentials = login(broken, &json!({}));
            assert!(token(Format::Plain, &credentials, "default").is_err());
        }
    }

    #[test]
    fn words_are_quoted_where_they_need_it() {
        assert_eq!(shell_word("/usr/bin/codex-auth"), "/usr/bin/codex-auth");
        assert_eq!(quoted("a'b $c"), r"'a'\''b $c'");
        assert_eq!(curl_word(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(
            toml_string("a\"b\\c\n\u{7f}ä").unwrap(),
            "\"a\\\"b\\\\c\\n\\u007fä\""
        );
    }
}
