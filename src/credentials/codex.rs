//! Codex's own `auth.json`, as far as its tokens matter to us.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::{ACCESS_TOKEN_MODE, Credentials, Tokens, token_of};
use crate::error::login_required;
use crate::settings::login_command;
use crate::text::{printable, text_of};

/// Reads Codex's own file, of any version: a member of an unexpected type counts as missing. The credentials never have
/// an issuer, whatever the other members say, so nobody gets the refresh token. Another kind of login, such as an API
/// key, is an error.
pub fn parse_codex(bytes: &[u8]) -> Result<Credentials> {
    ensure!(!bytes.is_empty(), "the file is empty");
    let file: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let is_object = file.is_object();
    ensure!(is_object, "the file is damaged: it is not a JSON object");
    let mut credentials = Credentials::default();
    let kind = match mode(&file).as_str() {
        "chatgpt" | "chatgptauthtokens" => {
            credentials.tokens = Tokens::of(&file["tokens"]);
            credentials.last_refresh = text_of(&file["last_refresh"]);
            return Ok(credentials);
        }
        "personalaccesstoken" => {
            credentials.auth_mode = Some(ACCESS_TOKEN_MODE.to_owned());
            credentials.tokens.access_token = token_of(&file["personal_access_token"]);
            return Ok(credentials);
        }
        "apikey" => "an API key",
        "headers" => "its own HTTP headers",
        "agentidentity" => "an agent identity",
        "bedrockapikey" | "bedrockaccesskeys" => "Amazon Bedrock",
        other => &printable(other),
    };
    let login = login_command("default");
    bail!(login_required(format!(
        "Codex is signed in with {kind}, not with ChatGPT: use the profile default instead: run {login}"
    )))
}

/// How Codex is signed in, by its own rule: according to its mode, or else to the credentials present.
fn mode(file: &Value) -> String {
    let has = |member: &str| text_of(&file[member]).is_some();
    match text_of(&file["auth_mode"]) {
        Some(mode) => mode.replace('_', "").to_ascii_lowercase(),
        None if has("personal_access_token") => "personalaccesstoken".to_owned(),
        None if has("OPENAI_API_KEY") => "apikey".to_owned(),
        None => "chatgpt".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_key_is_recognized_by_the_mode_or_else_by_a_key() {
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
