//! Workload identity: the identity token of a platform (the assertion), and the strict response to its exchange.

use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::account::{Account, claims, seconds_of};
use super::{TokenResponse, token_of};
use crate::text::text_of;
use crate::time::{seconds_since_epoch, span};

/// The maximum length of an assertion, in bytes, and of an access token's lifetime, in seconds, that the official client
/// accepts.
const LONGEST_ASSERTION: usize = 16 * 1024;
const LONGEST_LIFE: u64 = 60 * 60;

/// The members that the official client requires in the response.
const REQUIRED: [&str; 8] = [
    "access_token",
    "token_type",
    "issued_token_type",
    "expires_in",
    "scope",
    "user_id",
    "chatgpt_account_id",
    "chatgpt_account_user_id",
];

/// Reads the contents of an identity token's file: an OIDC token, or a SPIFFE JWT-SVID. It is never stored, and the error
/// never quotes it.
pub fn parse_assertion(content: Vec<u8>, now: SystemTime) -> Result<String> {
    let is_small = content.len() <= LONGEST_ASSERTION;
    ensure!(is_small, "it is larger than 16 KiB");
    let text = String::from_utf8(content).ok().context("it is not UTF-8")?;
    let text = text.trim();
    ensure!(!text.is_empty(), "it is empty");
    let end = seconds_of(&claims(text)["exp"]);
    if let Some(age) = end.and_then(|end| seconds_since_epoch(now).checked_sub(end)) {
        bail!("it expired {} ago", span(age));
    }
    Ok(text.to_owned())
}

impl TokenResponse {
    /// Reads the response to an assertion as strictly as the official client: no member may be missing, and the claims of
    /// the token must agree with it.
    pub fn parse_exchanged(answer: &Value, sent_at: Option<u64>, now: SystemTime) -> Result<Self> {
        let mut response = Self::parse(answer, sent_at, now);
        for name in REQUIRED {
            let has = text_of(&answer[name]).is_some() || answer[name].is_number();
            ensure!(has, "{name} is missing");
        }
        let life = seconds_of(&answer["expires_in"]).unwrap_or_default();
        let is_short = (1..=LONGEST_LIFE).contains(&life);
        ensure!(is_short, "expires_in is not between 1 and {LONGEST_LIFE}");
        let token = response.tokens.access_token.as_deref().unwrap_or_default();
        ensure!(claims(token).is_object(), "the access token is not a JWT");
        let claimed = Account::claimed(&response.tokens);
        let is_its_account = claimed.id == token_of(&answer["chatgpt_account_id"]);
        if !is_its_account || claimed.user_id != text_of(&answer["user_id"]) {
            bail!("the access token is for another user or account than the response says");
        }
        response.account = Some(Account::of(&[answer]));
        Ok(response)
    }
}
