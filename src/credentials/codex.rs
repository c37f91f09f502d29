//! Codex's own `auth.json`, as far as its tokens concern us.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{ACCESS_TOKEN_MODE, Credentials, Tokens};
use crate::error::Failure;
use crate::text::text_of;

/// Reads Codex's own file, of any of its versions: a member of another type counts as missing. The credentials have no issuer,
/// whatever its other members say: so nobody gets the refresh token. Those of another kind are an error: an API key is no
/// ChatGPT token.
pub fn parse_codex(bytes: &[u8]) -> Result<Credentials> {
    if bytes.is_empty() {
        bail!("the file is empty");
    }
    let file: Value = serde_json::from_slice(bytes)
        .ok()
        .filter(Value::is_object)
        .context("the file is damaged: it is no JSON object")?;
    let mut credentials = Credentials::default();
    if let Some(token) = text_of(&file["personal_access_token"]) {
        credentials.auth_mode = Some(ACCESS_TOKEN_MODE.to_owned());
        credentials.tokens.access_token = Some(token);
        return Ok(credentials);
    }
    check_mode(&file)?;
    let tokens = &file["tokens"];
    credentials.tokens = Tokens {
        access_token: text_of(&tokens["access_token"]),
        refresh_token: text_of(&tokens["refresh_token"]),
        id_token: text_of(&tokens["id_token"]),
        account_id: text_of(&tokens["account_id"]),
    };
    credentials.last_refresh = text_of(&file["last_refresh"]);
    Ok(credentials)
}

/// Codex's own rule: the mode says how it is signed in, else a key that is there.
fn check_mode(file: &Value) -> Result<()> {
    let mode = text_of(&file["auth_mode"]).map(|mode| mode.to_ascii_lowercase());
    let has_key = text_of(&file["OPENAI_API_KEY"]).is_some();
    let words = match mode.as_deref() {
        Some(mode) if mode.starts_with("chatgpt") => return Ok(()),
        None if !has_key => return Ok(()),
        Some("apikey") | None => "Codex is signed in with an API key, which is no ChatGPT token",
        Some(_) => "Codex is not signed in with ChatGPT",
    };
    Err(Failure::LoginRequired(words.to_owned()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_key_is_told_by_the_mode_else_by_a_key() {
        let refused = |text: &str| {
            parse_codex(text.as_bytes())
                .err()
                .map(|error| error.to_string())
        };
        for text in [
            r#"{"auth_mode":"apikey"}"#,
            r#"{"auth_mode":"ApiKey","tokens":{}}"#,
            r#"{"OPENAI_API_KEY":"sk-x","tokens":{"access_token":"a"}}"#,
        ] {
            assert!(refused(text).unwrap().contains("an API key"), "{text}");
        }
        for text in [
            r#"{"OPENAI_API_KEY":null,"tokens":null,"last_refresh":null}"#,
            r#"{"auth_mode":"chatgpt","OPENAI_API_KEY":"sk-x","version":"any"}"#,
        ] {
            assert_eq!(refused(text), None, "{text}");
        }
    }
}
