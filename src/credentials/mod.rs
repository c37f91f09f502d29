//! What is stored for one profile: the tokens, when they expire, whose they are, and what went wrong with them. No input or
//! output; the time is a parameter.
//!
//! `Credentials` is the record, as it stands in the file. `TokenResponse` brings new tokens into it, `freshness` judges how
//! long they still serve, `jwt` reads what they say of themselves, `routing` tells where requests with them go. `seal` encrypts what is secret in the file.

mod codex;
mod command_output;
mod freshness;
mod jwt;
mod routing;
mod seal;
mod source;
mod token_response;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::error::Failure;
use crate::text::{printable, redact, text_of};
use crate::time::{rfc3339, seconds_since_epoch, time_of, timestamp};
use seal::Sealed;

pub use codex::parse_codex;
pub use freshness::{Freshness, TokenRequest};
pub use routing::Routing;
pub use seal::{Key, Seal};
pub use source::Source;
pub use token_response::TokenResponse;

/// The format of a stored record whose tokens can be read.
const VERSION: u64 = 1;
/// The format of one that is sealed: what knows only the other would take it for one without tokens. A newer one is not
/// touched.
const SEALED_VERSION: u64 = 2;
/// The members of a sealed record that stay readable: they say how things stand. Whatever else there is, known or not, may be
/// secret.
const READABLE: [&str; 11] = [
    "version",
    "auth_mode",
    "issuer",
    "client_id",
    "last_refresh",
    "expires_at",
    "expires_in",
    "revoked",
    "backoff",
    "rejected_at",
    "rejection_backoff",
];
/// The claims that say whose a token is.
const AUTH_CLAIMS: &str = "https://api.openai.com/auth";
const PROFILE_CLAIMS: &str = "https://api.openai.com/profile";

/// What Codex calls an access token of an admin console (`at-…`), which is never refreshed, in its file.
const ACCESS_TOKEN_MODE: &str = "personalAccessToken";

/// The credentials of one profile. They have no `Debug`: nothing prints them.
#[derive(Default)]
pub struct Credentials {
    record: Record,
    /// The JSON that they were read from: members that we do not know survive a rewrite.
    original: String,
    /// What they are sealed with when they are written, if they are.
    seal: Option<Seal>,
}

/// The members of the stored file. Those that Codex has too are called and shaped as in its `auth.json`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// `chatgpt`, or what Codex writes for its other ways to sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_mode: Option<String>,
    /// Who gave the tokens, and may have the refresh token back.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// Where the tokens come from, if not from the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    tokens: Tokens,
    /// Whose the access token is, where it has no claims that say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    /// Where the requests of the account's workspace go, if the backend has told.
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<Routing>,
    /// When tokens were last received, in RFC 3339. It changes with each refresh, so that it also tells one from the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refresh: Option<String>,
    /// When the access token expires, in seconds since 1970 on this machine's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    /// The seconds that it had left when it was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    /// The seconds before that in which it is refreshed ahead of time, where they are not the usual ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<Revoked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff: Option<Backoff>,
    /// When the backend rejected the access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_at: Option<String>,
    /// The token was refreshed because the backend rejected the one before. If it rejects this one too, the next refresh waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejection_backoff: Option<Backoff>,
    /// The members that are secret, until they are opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Tokens {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
}

/// What the issuer, or a command, says of an access token beside its claims.
#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    pub email: Option<String>,
    pub plan: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residency: Option<String>,
    pub is_fedramp: bool,
}

/// The issuer will not refresh these credentials any more: a person has to sign in.
#[derive(Clone, Serialize, Deserialize)]
pub struct Revoked {
    reason: String,
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
}

/// The last refresh failed, and the next one waits.
#[derive(Clone, Serialize, Deserialize)]
pub struct Backoff {
    reason: String,
    pub attempts: u32,
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
    #[serde(with = "rfc3339")]
    pub until: SystemTime,
    /// Whether the issuer asked for a sign-in, in words that are not known to be final.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub login_required: bool,
}

impl Revoked {
    /// The issuer's own words, fit for one line of a terminal.
    pub fn reason(&self) -> String {
        redact(&self.reason)
    }
}

impl Backoff {
    pub fn new(reason: &str, attempts: u32, at: SystemTime, pause: Duration) -> Self {
        Self {
            reason: reason.to_owned(),
            attempts,
            at,
            until: at + pause,
            login_required: false,
        }
    }

    /// Why the refresh failed, fit for one line of a terminal.
    pub fn reason(&self) -> String {
        redact(&self.reason)
    }

    /// Whether it holds at `now`. A clock that was set back before its start ends it.
    pub fn holds(&self, now: SystemTime) -> bool {
        self.at <= now && now < self.until
    }
}

impl Credentials {
    /// New credentials from the response to an authorization code. They need an access token and a refresh token.
    pub fn new(
        response: &TokenResponse,
        issuer: &str,
        client_id: &str,
        now: SystemTime,
    ) -> Result<Self> {
        if response.access_token.is_none() {
            bail!("the issuer's answer has no access token");
        }
        if response.refresh_token.is_none() {
            bail!("the issuer's answer has no refresh token");
        }
        let mut credentials = Self::default();
        credentials.record.version = Some(VERSION);
        credentials.record.auth_mode = Some("chatgpt".to_owned());
        credentials.record.issuer = Some(issuer.to_owned());
        credentials.record.client_id = Some(client_id.to_owned());
        credentials.take(response, now);
        Ok(credentials)
    }

    /// Credentials from an access token of an admin console, which tells nothing by itself and is never refreshed.
    pub fn from_access_token(
        access_token: &str,
        account_id: Option<String>,
        account: Account,
        issuer: &str,
        now: SystemTime,
    ) -> Self {
        let mut credentials = Self::default();
        let record = &mut credentials.record;
        record.version = Some(VERSION);
        record.auth_mode = Some(ACCESS_TOKEN_MODE.to_owned());
        record.issuer = Some(issuer.to_owned());
        record.tokens.access_token = Some(access_token.to_owned());
        record.tokens.account_id = account_id;
        record.account = Some(account);
        record.last_refresh = Some(timestamp(now));
        credentials
    }

    /// Credentials of which each token comes from a command: they have no refresh token, and never will.
    pub fn from_source(source: Source, response: &TokenResponse, now: SystemTime) -> Self {
        let mut credentials = Self::default();
        credentials.record.version = Some(VERSION);
        credentials.record.auth_mode = Some("chatgpt".to_owned());
        credentials.record.source = Some(source);
        credentials.take(response, now);
        credentials
    }

    /// Reads a stored record of ours, which may be sealed. The error never quotes it. A damaged one asks for a login, which
    /// replaces it; one that a newer version wrote is left alone.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let damaged = |how: &str| Failure::LoginRequired(format!("the file is {how}"));
        if bytes.is_empty() {
            return Err(damaged("empty").into());
        }
        let original = String::from_utf8(bytes).ok();
        // To serde, a list of values is an object, too.
        let original = original
            .filter(|text| text.trim_start().starts_with('{'))
            .ok_or_else(|| damaged("damaged: it is no JSON object"))?;
        let parsed: Result<Record, _> = serde_json::from_str(&original);
        let (version, newest) = match &parsed {
            Ok(record) if record.sealed.is_some() => (record.version, SEALED_VERSION),
            Ok(record) => (record.version, VERSION),
            Err(_) => (version_of(&original), VERSION),
        };
        if version.is_some_and(|version| version > newest) {
            bail!("the file was written by a newer codex-auth: update this one");
        }
        let mut record = parsed.map_err(|error| {
            let (line, column) = (error.line(), error.column());
            damaged(&format!("damaged (line {line}, column {column})"))
        })?;
        if record.sealed.is_some() {
            // Whoever can write the file, but has not the key, must not put other tokens beside those that are sealed.
            record.tokens = Tokens::default();
            record.account = None;
            record.routing = None;
        }
        Ok(Self {
            record,
            original,
            seal: None,
        })
    }

    /// Whether the file has what is secret only in sealed form.
    pub fn is_sealed(&self) -> bool {
        self.key_id().is_some()
    }

    /// Whether they are sealed, and have not been opened: then they have no tokens.
    pub fn is_closed(&self) -> bool {
        self.record.sealed.is_some()
    }

    /// The name of the key that they are sealed with, if they are.
    pub fn key_id(&self) -> Option<&str> {
        let closed = self
            .record
            .sealed
            .as_ref()
            .map(|sealed| sealed.key.as_str());
        let opened = self.seal.as_ref().map(|seal| seal.key.id());
        opened.or(closed)
    }

    /// Whether these are the same credentials, whatever has been noted in them since. Those that are closed tell it by the time
    /// of their receipt.
    pub fn are_same(&self, other: &Self) -> bool {
        if self.is_closed() || other.is_closed() {
            return self.key_id() == other.key_id() && self.last_refresh() == other.last_refresh();
        }
        match (self.refresh_token(), other.refresh_token()) {
            (None, None) => self.record.tokens.access_token == other.record.tokens.access_token,
            (ours, theirs) => ours == theirs,
        }
    }

    /// Opens sealed credentials. They are sealed again in the same way when they are written.
    pub fn open(self, seal: Seal) -> Result<Self> {
        let damaged = || {
            let words = "it is sealed, and does not open: it was changed, or renamed after that";
            Failure::LoginRequired(words.to_owned())
        };
        let sealed = self.record.sealed.as_ref().context("it is not sealed")?;
        let secret = seal.open(sealed, &self.bound(&seal)?);
        let secret: Members = serde_json::from_str(&secret.ok_or_else(damaged)?)?;
        let mut members: Members = serde_json::from_str(&self.original)?;
        members.retain(|name, _| is_readable(name));
        members.extend(secret.into_iter().filter(|(name, _)| !is_readable(name)));
        let original = serde_json::to_string(&members)?;
        Ok(Self {
            record: serde_json::from_str(&original)?,
            original,
            seal: Some(seal),
        })
    }

    /// Has them sealed when they are written, or not any more.
    pub fn set_seal(&mut self, seal: Option<Seal>) {
        self.record.version = Some(match seal {
            Some(_) => SEALED_VERSION,
            None => VERSION,
        });
        // Nobody can read it off the token then.
        self.record.expires_at = self.expires_at();
        self.seal = seal;
    }

    /// What a seal authenticates besides the secrets: the format, the file and the key, and whoever gets the refresh token.
    fn bound(&self, seal: &Seal) -> serde_json::Result<String> {
        let record = &self.record;
        serde_json::to_string(&(
            SEALED_VERSION,
            &seal.name,
            seal.key.id(),
            &record.auth_mode,
            &record.issuer,
            &record.client_id,
        ))
    }

    /// The JSON to store: what was read, with the members that we know as they are now.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let known = serde_json::to_string(&self.record)?;
        let mut merged = merge(&self.original, &known)?;
        if let Some(seal) = &self.seal {
            self.close(&mut merged, seal)?;
        }
        let mut bytes = serde_json::to_vec_pretty(&merged)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Puts one member that is sealed in the place of all that may be secret.
    fn close(&self, members: &mut Members, seal: &Seal) -> Result<()> {
        let (readable, secret): (Members, Members) = std::mem::take(members)
            .into_iter()
            .partition(|(name, _)| is_readable(name));
        let sealed = seal.close(serde_json::to_string(&secret)?, &self.bound(seal)?)?;
        *members = readable;
        let sealed = serde_json::value::to_raw_value(&sealed)?;
        members.insert("sealed".to_owned(), sealed);
        Ok(())
    }

    /// Takes over what a refresh brought, and forgets earlier failures. Tokens of another account are refused and change
    /// nothing.
    pub fn update(&mut self, response: &TokenResponse, now: SystemTime) -> Result<()> {
        if let (Some(ours), Some(theirs)) = (self.account_id(), response.account_id())
            && ours != theirs
        {
            bail!("the issuer answered with the tokens of another account");
        }
        self.take(response, now);
        Ok(())
    }

    /// Whether a response says that its token is valid for longer than ours, by a minute at least.
    pub fn is_prolonged_by(&self, response: &TokenResponse, now: SystemTime) -> bool {
        let end = seconds_since_epoch(now).saturating_add(response.life(now).as_secs());
        let known = self.expires_at().unwrap_or_default();
        end > known.saturating_add(freshness::NEW)
    }

    fn take(&mut self, response: &TokenResponse, now: SystemTime) {
        let record = &mut self.record;
        let received = response.access_token.as_ref();
        let is_another = received.is_some() && received != record.tokens.access_token.as_ref();
        if is_another {
            record.rejected_at = None;
            record.rejection_backoff = None;
        }
        if is_another || received.is_some() && response.prolongs() {
            let life = response.life(now).as_secs();
            record.expires_in = Some(life);
            record.expires_at = Some(seconds_since_epoch(now).saturating_add(life));
        }
        let account_id = response.account_id();
        for (stored, new) in [
            (&mut record.tokens.access_token, &response.access_token),
            (&mut record.tokens.refresh_token, &response.refresh_token),
            (&mut record.tokens.id_token, &response.id_token),
            (&mut record.tokens.account_id, &account_id),
        ] {
            if new.is_some() {
                stored.clone_from(new);
            }
        }
        if let Some(told) = &response.told {
            record.account = Some(told.account.clone());
        }
        record.last_refresh = Some(timestamp(now));
        record.revoked = None;
        record.backoff = None;
    }

    /// The access token. One that could not stand in a header, or on one line, counts as missing.
    pub fn access_token(&self) -> Result<&str> {
        match token(self.record.tokens.access_token.as_deref()) {
            Some(token) => Ok(token),
            None => Err(Failure::LoginRequired("the file has no access token".to_owned()).into()),
        }
    }

    /// Whether the access token is one of an admin console: it is never refreshed, and does not tell when it expires.
    pub fn is_access_token_only(&self) -> bool {
        self.record.auth_mode.as_deref() == Some(ACCESS_TOKEN_MODE)
    }

    /// Tells the access token from another, without being one: its SHA-256, in base64url as elsewhere in OAuth.
    pub fn fingerprint(&self) -> Result<String> {
        Ok(URL_SAFE_NO_PAD.encode(Sha256::digest(self.access_token()?)))
    }

    /// Where the tokens come from, if not from the issuer.
    pub fn source(&self) -> Option<&Source> {
        self.record.source.as_ref()
    }

    pub fn refresh_token(&self) -> Option<&str> {
        token(self.record.tokens.refresh_token.as_deref())
    }

    /// The ID of the ChatGPT account: as stored, else from the claims of a token.
    pub fn account_id(&self) -> Option<String> {
        token(self.record.tokens.account_id.as_deref())
            .map(str::to_owned)
            .or_else(|| self.claimed(account_in))
    }

    /// Fit for one line of a terminal, as all that a token or the file brings.
    pub fn email(&self) -> Option<String> {
        let told = self.account().and_then(|account| account.email.as_deref());
        let claimed = |claims: &Value| {
            shown(&claims["email"]).or_else(|| shown(&claims[PROFILE_CLAIMS]["email"]))
        };
        told.map(printable).or_else(|| self.claimed(claimed))
    }

    /// `plus`, `pro`, `team` …: an open set.
    pub fn plan(&self) -> Option<String> {
        let told = self.account().and_then(|account| account.plan.as_deref());
        told.map(printable)
            .or_else(|| self.claimed(|claims| shown(&claims[AUTH_CLAIMS]["chatgpt_plan_type"])))
    }

    /// The region that the workspace is pinned to, if it is.
    pub fn residency(&self) -> Option<String> {
        let pinned = |claims: &Value| {
            let auth = &claims[AUTH_CLAIMS];
            text_of(&auth["chatgpt_compute_residency"])
                .or_else(|| text_of(&auth["chatgpt_data_residency"]))
        };
        let told = self.account().and_then(|account| account.residency.clone());
        told.or_else(|| self.claimed(pinned))
            .filter(|region| region != "no_constraint" && is_token(region))
    }

    /// Whether the account is one of a `FedRAMP` workspace, whose requests say so.
    pub fn is_fedramp(&self) -> bool {
        let claimed = |claims: &Value| claims[AUTH_CLAIMS]["chatgpt_account_is_fedramp"].as_bool();
        let is_told = self.account().is_some_and(|account| account.is_fedramp);
        is_told || self.claimed(claimed).unwrap_or(false)
    }

    fn account(&self) -> Option<&Account> {
        self.record.account.as_ref()
    }

    fn claimed<T>(&self, find: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let tokens = [
            &self.record.tokens.id_token,
            &self.record.tokens.access_token,
        ];
        let mut tokens = tokens.into_iter().flatten();
        tokens.find_map(|token| find(&jwt::claims(token)?))
    }

    /// Who gave the tokens, and may have the refresh token back.
    pub fn issuer(&self) -> Option<&str> {
        present(self.record.issuer.as_deref())
    }

    pub fn client_id(&self) -> Option<&str> {
        present(self.record.client_id.as_deref())
    }

    /// When the access token expires, in seconds since 1970: as stored, else by its claim.
    pub fn expires_at(&self) -> Option<u64> {
        self.record.expires_at.or_else(|| {
            let claims = jwt::claims(self.record.tokens.access_token.as_deref()?)?;
            jwt::seconds_of(&claims["exp"])
        })
    }

    /// The seconds that the access token had left when it was received.
    pub fn expires_in(&self) -> Option<u64> {
        self.record.expires_in
    }

    /// When tokens were last received, as it is stored.
    pub fn last_refresh(&self) -> Option<&str> {
        present(self.record.last_refresh.as_deref())
    }

    /// The same as a time, if it is one.
    pub fn received_at(&self) -> Option<SystemTime> {
        time_of(self.last_refresh()?)
    }

    pub fn revoked(&self) -> Option<&Revoked> {
        self.record.revoked.as_ref()
    }

    pub fn set_revoked(&mut self, reason: &str, now: SystemTime) {
        self.record.revoked = Some(Revoked {
            reason: reason.to_owned(),
            at: now,
        });
        self.record.backoff = None;
    }

    pub fn backoff(&self) -> Option<&Backoff> {
        self.record.backoff.as_ref()
    }

    pub fn set_backoff(&mut self, backoff: Backoff) {
        self.record.backoff = Some(backoff);
    }

    /// When the backend rejected the access token, if that was noted.
    pub fn rejected_at(&self) -> Option<SystemTime> {
        time_of(self.record.rejected_at.as_deref()?)
    }

    pub fn set_rejected(&mut self, now: SystemTime) {
        self.record.rejected_at = Some(timestamp(now));
    }

    pub fn rejection_backoff(&self) -> Option<&Backoff> {
        self.record.rejection_backoff.as_ref()
    }

    pub fn set_rejection_backoff(&mut self, backoff: Option<Backoff>) {
        self.record.rejection_backoff = backoff;
    }
}

/// The version of a record that cannot be read otherwise.
fn version_of(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    let found: Version = serde_json::from_str(text).ok()?;
    Some(found.version)
}

/// A JSON object whose members are kept to the letter.
type Members = BTreeMap<String, Box<RawValue>>;

/// The names of the members of a record, and of the objects in it, that are ours: one that is not there any more is removed.
const OURS: [&str; 7] = [
    "revoked",
    "backoff",
    "rejected_at",
    "rejection_backoff",
    "login_required",
    "expires_at",
    "expires_in",
];

/// An object with the members of another put over its own, at every level.
fn merge(original: &str, known: &str) -> serde_json::Result<Members> {
    let mut merged: Members = serde_json::from_str(original).unwrap_or_default();
    let known: Members = serde_json::from_str(known)?;
    merged.retain(|name, _| known.contains_key(name) || !OURS.contains(&name.as_str()));
    for (name, value) in known {
        let value = match merged.get(&name) {
            Some(old) if value.get().starts_with('{') => {
                serde_json::value::to_raw_value(&merge(old.get(), value.get())?)?
            }
            _ => value,
        };
        merged.insert(name, value);
    }
    Ok(merged)
}

fn is_readable(member: &str) -> bool {
    READABLE.contains(&member)
}

/// A text that says something.
fn present(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn token(text: Option<&str>) -> Option<&str> {
    text.filter(|text| is_token(text))
}

/// Whether a text can stand in an HTTP header and on one line: visible ASCII only, and something of it.
pub fn is_token(text: &str) -> bool {
    // Without leaving early it takes a tenth of the instructions: tokens are long, and nearly all are good.
    let all_graphic = |all, byte: u8| all & byte.is_ascii_graphic();
    !text.is_empty() && text.bytes().fold(true, all_graphic)
}

/// A text for people.
fn shown(value: &Value) -> Option<String> {
    value
        .as_str()
        .map(printable)
        .filter(|text| !text.is_empty())
}

fn account_in(claims: &Value) -> Option<String> {
    text_of(&claims[AUTH_CLAIMS]["chatgpt_account_id"]).filter(|id| is_token(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::time_at;
    use serde_json::json;

    const NOW: u64 = 2_000_000_000;

    fn response(answer: &Value) -> TokenResponse {
        TokenResponse::parse(answer.to_string().as_bytes(), None).unwrap()
    }

    fn token_of(account: &str) -> String {
        jwt::tests::token(&json!({AUTH_CLAIMS: {"chatgpt_account_id": account}}))
    }

    fn credentials(answer: &Value) -> Credentials {
        Credentials::new(
            &response(answer),
            "https://issuer.example",
            "client",
            time_at(NOW),
        )
        .unwrap()
    }

    fn parse(value: &Value) -> Credentials {
        Credentials::parse(value.to_string().into_bytes()).unwrap()
    }

    fn written(credentials: &Credentials) -> String {
        String::from_utf8(credentials.to_json().unwrap()).unwrap()
    }

    #[test]
    fn a_token_that_comes_again_expires_when_it_did() {
        let with_claims = jwt::tests::token(&json!({"iat": 0, "exp": 600}));
        for (access_token, expires_in, end) in [
            (with_claims.as_str(), json!(600), NOW + 600),
            ("opaque", json!(600), NOW + 100 + 600),
            ("opaque", Value::Null, NOW + 600),
        ] {
            let answer = |expires_in: &Value| json!({"access_token": access_token, "refresh_token": "r", "expires_in": expires_in});
            let mut credentials = credentials(&answer(&json!(600)));
            credentials.set_rejected(time_at(NOW));
            credentials
                .update(&response(&answer(&expires_in)), time_at(NOW + 100))
                .unwrap();
            assert_eq!(
                credentials.expires_at(),
                Some(end),
                "{access_token} {expires_in}"
            );
            assert!(credentials.rejected_at().is_some());
        }
    }

    #[test]
    fn another_accounts_tokens_change_nothing() {
        let mut credentials =
            credentials(&json!({"access_token": token_of("mine"), "refresh_token": "r"}));
        let before = written(&credentials);
        let theirs = response(&json!({"access_token": token_of("theirs"), "refresh_token": "s"}));
        assert!(credentials.update(&theirs, time_at(NOW)).is_err());
        assert_eq!(written(&credentials), before);
    }

    #[test]
    fn the_account_is_as_stored_else_as_claimed() {
        let account = |value: Value| parse(&value).account_id();
        let (id, access) = (token_of("of-id"), token_of("of-access"));
        let stored = json!({"tokens": {"account_id": "stored", "id_token": id}});
        assert_eq!(account(stored).as_deref(), Some("stored"));
        let both = json!({"tokens": {"id_token": id, "access_token": access}});
        assert_eq!(account(both).as_deref(), Some("of-id"));
        let broken = json!({"tokens": {"id_token": "broken", "access_token": access}});
        assert_eq!(account(broken).as_deref(), Some("of-access"));
        assert_eq!(
            account(json!({"tokens": {"account_id": "two words"}})),
            None
        );
        let two_lines = token_of("two\r\nlines");
        assert_eq!(account(json!({"tokens": {"id_token": two_lines}})), None);
    }

    #[test]
    fn unknown_members_survive_a_refresh_at_every_level_to_the_letter() {
        let text = r#"{
            "future": {"number": 123456789012345678901234567890, "float": 0.10, "text": "\u00e4"},
            "tokens": {"access_token": "a", "future": [1e400]}, "backoff": {
                "reason": "busy", "attempts": 2, "at": "2033-05-18T03:33:20Z", "until": "2033-05-18T03:33:22Z", "more": 1
            }
        }"#;
        let mut credentials = Credentials::parse(text.into()).unwrap();
        let backoff = Backoff::new("busy", 3, time_at(NOW), Duration::from_secs(4));
        credentials.set_backoff(backoff);
        let once = written(&credentials);
        for kept in [
            r#"{"number": 123456789012345678901234567890, "float": 0.10, "text": "\u00e4"}"#,
            "[1e400]",
            r#""more":1"#,
            r#""attempts":3"#,
        ] {
            assert!(once.contains(kept), "{kept} is not in {once}");
        }
        let answer = json!({"access_token": "b", "refresh_token": "r"});
        credentials
            .update(&response(&answer), time_at(NOW))
            .unwrap();
        let twice = written(&credentials);
        assert!(twice.contains("123456789012345678901234567890") && twice.contains("[1e400]"));
        assert!(
            !twice.contains("backoff") && twice.contains(r#""access_token":"b""#),
            "{twice}"
        );
    }

    #[test]
    fn a_newer_record_is_refused_as_such_whatever_its_shape() {
        for newer in [
            r#"{"version":2}"#,
            r#"{"version":2,"tokens":[]}"#,
            r#"{"version":3,"sealed":{"key":"","nonce":"","data":""}}"#,
        ] {
            let error = Credentials::parse(newer.into()).err().unwrap();
            assert_eq!(
                error.to_string(),
                "the file was written by a newer codex-auth: update this one"
            );
            assert_eq!(crate::error::exit_code(&error), 1);
        }
    }

    #[test]
    fn a_damaged_record_asks_for_a_login_and_is_not_quoted() {
        for (damaged, how) in [
            ("", "empty"),
            ("{", "damaged (line 1, column 1)"),
            ("[]", "damaged: it is no JSON object"),
            (r#"{"expires_at":"secret"}"#, "damaged (line 1, column 22)"),
            (
                r#"{"tokens":{},"tokens":{}}"#,
                "damaged (line 1, column 21)",
            ),
        ] {
            let error = Credentials::parse(damaged.into()).err().unwrap();
            assert_eq!(error.to_string(), format!("the file is {how}"));
            assert_eq!(crate::error::exit_code(&error), 4);
        }
    }

    fn seal(name: &str) -> Seal {
        Seal {
            key: Key::generate().unwrap(),
            name: name.to_owned(),
        }
    }

    fn sealed(seal: &Seal) -> Credentials {
        let access_token = token_of("mine");
        let mut credentials = parse(&json!({
            "version": 1, "auth_mode": "chatgpt", "issuer": "https://issuer.example", "client_id": "client",
            "tokens": {"access_token": access_token, "refresh_token": "refresh", "future": "unknown"},
            "account": {"email": "somebody@example.com"}, "future": {"secret": "unknown"},
            "last_refresh": "2033-05-18T03:33:20Z", "expires_at": NOW,
        }));
        credentials.set_seal(Some(seal.clone()));
        credentials
    }

    #[test]
    fn what_may_be_secret_is_sealed_and_the_rest_stays_readable() {
        let seal = seal("default");
        let credentials = sealed(&seal);
        let text = written(&credentials);
        for secret in ["refresh", "unknown", "somebody", "future", "tokens", "mine"] {
            assert!(
                !text.replace("last_refresh", "").contains(secret),
                "{secret} in {text}"
            );
        }
        let closed = Credentials::parse(text.clone().into_bytes()).unwrap();
        assert!(closed.is_closed() && closed.is_sealed());
        assert_eq!(closed.key_id(), Some(seal.key.id()));
        assert_eq!(closed.issuer(), Some("https://issuer.example"));
        assert_eq!(closed.expires_at(), Some(NOW));
        assert!(closed.access_token().is_err() && closed.refresh_token().is_none());
        let opened = closed.open(seal).unwrap();
        assert!(!opened.is_closed() && opened.is_sealed());
        assert_eq!(opened.refresh_token(), Some("refresh"));
        assert_eq!(opened.email().as_deref(), Some("somebody@example.com"));
        let mut plain = opened;
        plain.set_seal(None);
        let plain = written(&plain);
        assert!(
            plain.contains(r#""future": {"secret":"unknown"}"#),
            "{plain}"
        );
        assert!(
            plain.contains(r#""version": 1"#) && !plain.contains("sealed"),
            "{plain}"
        );
        assert!(text.contains(r#""version": 2"#), "{text}");
    }

    #[test]
    fn no_two_writes_look_alike() {
        let credentials = sealed(&seal("default"));
        assert_ne!(written(&credentials), written(&credentials));
    }

    #[test]
    fn whatever_is_changed_or_put_elsewhere_does_not_open() {
        let seal = seal("default");
        let text = written(&sealed(&seal));
        let open = |text: &str, seal: &Seal| {
            let closed = Credentials::parse(text.into()).unwrap();
            closed.open(seal.clone())
        };
        assert!(open(&text, &seal).is_ok());
        let stranger = text.replace("https://issuer.example", "https://stranger.example");
        let client = text.replace(r#""client""#, r#""another""#);
        let mode = text.replace("chatgpt", "personalAccessToken");
        let data = text.replace(r#""data":""#, r#""data":"AAAA"#);
        for changed in [stranger, client, mode, data] {
            assert_ne!(changed, text);
            let error = open(&changed, &seal).err().unwrap();
            assert_eq!(crate::error::exit_code(&error), 4);
        }
        let renamed = Seal {
            name: "work".to_owned(),
            ..seal.clone()
        };
        let other_key = Seal {
            key: Key::new(seal.key.id(), &[0; 32]).unwrap(),
            ..seal
        };
        assert!(open(&text, &renamed).is_err() && open(&text, &other_key).is_err());
    }

    #[test]
    fn tokens_beside_those_that_are_sealed_do_not_count() {
        let seal = seal("default");
        let text = written(&sealed(&seal));
        let planted = text.replacen(
            '{',
            r#"{"tokens":{"access_token":"planted"},"account":{"email":"x"},"#,
            1,
        );
        let closed = Credentials::parse(planted.into()).unwrap();
        assert!(closed.access_token().is_err() && closed.email().is_none());
        let opened = closed.open(seal).unwrap();
        assert_eq!(opened.access_token().unwrap(), token_of("mine"));
    }
}
