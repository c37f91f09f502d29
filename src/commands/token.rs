//! `token`: prints an access token that is valid for long enough, in one of several formats.
//!
//! Tokens and account IDs are single words of visible characters (`credentials`), so they cannot break a line or a header
//! in two.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use serde_json::json;

use super::output::print;
use crate::cli::{Format, RequestArgs, TokenArgs};
use crate::credentials::{Credentials, TokenRequest, fingerprint};
use crate::profile::Profile;
use crate::settings::{self, REQUEST};
use crate::terminal::warn;
use crate::text::shell_quoted;
use crate::time::{date, seconds_since_epoch, time_at};

pub fn token(profile: Option<String>, args: &TokenArgs) -> Result<ExitCode> {
    let profile = Profile::chosen(profile)?;
    // The process is about to exit, so freeing this would only take time.
    let found = ManuallyDrop::new(obtain(&profile, &args.request)?);
    let now = SystemTime::now();
    print(&formatted(args.format, &found, profile.name(), now)?)
}

/// Returns credentials with a token that satisfies the options, or the request of another machine that runs this as its
/// command. Shows any warning about it.
pub fn obtain(profile: &Profile, args: &RequestArgs) -> Result<Credentials> {
    let forwarded = settings::text(REQUEST)?.map(|text| {
        TokenRequest::parse(&text).map_err(|why| settings::invalid_value(REQUEST, &text, why))
    });
    let forwarded = forwarded.transpose()?.unwrap_or_default();
    let request = TokenRequest {
        min_ttl: args.min_ttl.or(forwarded.min_ttl),
        force_refresh: args.force_refresh || forwarded.force_refresh,
        is_forwarded: forwarded.asks_for_another() && !args.force_refresh,
        timeout: args.timeout,
        rejected: forwarded.rejected,
    };
    let mut token = profile.valid_token(&request)?;
    // A report from another machine is only a hint: the backend decides.
    let is_reported = match &request.rejected {
        Some(rejected) => *rejected == fingerprint(token.credentials.access_token()?),
        None => false,
    };
    if args.verify || is_reported {
        token = profile.verified(token, &request)?;
    }
    if let Some(warning) = &token.warning {
        warn(warning);
    }
    Ok(token.credentials)
}

/// The access token in a format, including the line end, as printed at `now`.
fn formatted(
    format: Format,
    credentials: &Credentials,
    profile: &str,
    now: SystemTime,
) -> Result<String> {
    let token = credentials.access_token()?;
    let lines = |line: fn(String) -> String| -> Result<String> {
        let headers = credentials.headers()?.into_iter();
        let lines = headers.map(|(name, value)| line(format!("{name}: {value}")) + "\n");
        Ok(lines.collect())
    };
    let headers = || -> Result<BTreeMap<_, _>> { Ok(credentials.headers()?.into_iter().collect()) };
    Ok(match format {
        Format::Plain => format!("{token}\n"),
        Format::Json => {
            let account = credentials.account();
            let end = credentials.expiry();
            // Has this program's names, and those of a token response (RFC 6749 section 5.1). Members may be added
            // without a new version.
            let object = json!({
                "version": 1,
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
                "base_url": credentials.base_url(&settings::backend()?).text,
                "headers": headers()?,
                "profile": profile,
            });
            format!("{object}\n")
        }
        Format::Headers => lines(|line| line)?,
        Format::HeadersJson => format!("{}\n", json!(headers()?)),
        Format::Curl => lines(|line| {
            // curl's syntax for visible characters and spaces.
            let line = line.replace('\\', r"\\").replace('"', r#"\""#);
            format!("header = \"{line}\"")
        })?,
        // Not exported, so that the token does not reach every program that the shell starts.
        Format::Env => {
            let id = match credentials.account_id() {
                Some(id) => format!("CODEX_AUTH_ACCOUNT_ID={}", shell_quoted(&id)),
                // An existing one belongs to another account.
                None => "unset CODEX_AUTH_ACCOUNT_ID".to_owned(),
            };
            let base_url = credentials.base_url(&settings::backend()?);
            let [token, base_url] = [token, &base_url.text].map(shell_quoted);
            format!("CODEX_AUTH_TOKEN={token}\n{id}\nCODEX_AUTH_BASE_URL={base_url}\n")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    /// A login with this access token, and these claims in addition.
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
        formatted(format, credentials, "default", time_at(0))
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
}
