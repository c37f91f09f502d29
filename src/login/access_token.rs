//! Signing in with an access token from an admin console: it is read from stdin, and the issuer says who owns it.

use std::io::{IsTerminal, Read, read_to_string, stdin};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::credentials::{Credentials, Source, is_token};
use crate::error::usage;
use crate::issuer::Issuer;
use crate::terminal::read_hidden;

/// The maximum length of an access token, in bytes.
const LONGEST: usize = 64 * 1024;

/// Reads the access token from stdin, without echo on a terminal. Anything that cannot be one is refused, and never
/// quoted.
pub fn read() -> Result<String> {
    let stdin = stdin();
    let text = if stdin.is_terminal() {
        read_hidden("Paste the access token (it is not shown), then press Enter.")
    } else {
        read_to_string(stdin.lock().take(LONGEST as u64 + 1))
    };
    let text = text.context("could not read the access token from stdin")?;
    let token = text.trim();
    let found = match token {
        "" => "nothing",
        _ if text.len() > LONGEST => "more than 64 KiB",
        _ if token.starts_with("at-") && is_token(token) => return Ok(token.to_owned()),
        _ if token.starts_with("at-") => "one with invalid characters",
        // Other services' secrets are not sent to the issuer.
        _ if token.starts_with("sk-") => "an API key",
        _ if token.starts_with("eyJ") => "a JWT",
        _ if token.starts_with("ghp_") || token.starts_with("github_pat_") => "a GitHub token",
        _ => "other text",
    };
    let words = format!("expected an access token (at-…) on stdin, found {found}");
    Err(usage(words))
}

/// Credentials for an access token, once the issuer has said who owns it.
pub fn credentials(issuer: &Issuer, access_token: &str) -> Result<Credentials> {
    let response = issuer.whoami(access_token)?;
    let mut credentials = Credentials::new(Source::AccessToken);
    credentials.update(&response, SystemTime::now())?;
    credentials.issuer = Some(issuer.url.text.clone());
    Ok(credentials)
}
