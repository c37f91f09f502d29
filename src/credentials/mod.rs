//! What is stored for a profile: the tokens, when they expire, who owns them, and what went wrong with them. No files and
//! no network, and the time is a parameter.
//!
//! `Credentials` is the record, as stored in the file. `TokenResponse` brings new tokens, `freshness` says how long they
//! can be used, `account` who owns them, `routing` where requests with them go. `seal` encrypts what is secret.

mod account;
mod codex;
mod freshness;
mod request;
mod routing;
mod seal;
mod source;
mod token_response;
mod workload;

use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};

use crate::error::login_required;
use crate::text::{redact, text_of};
use crate::time::{rfc3339, seconds_since_epoch, span, time_of, timestamp};
use seal::Sealed;

pub use account::{Account, seconds_of};
pub use codex::parse_codex;
pub use freshness::Freshness;
pub use request::TokenRequest;
pub use routing::Routing;
pub use seal::{Key, Seal, random};
pub use source::Source;
pub use token_response::TokenResponse;
pub use workload::parse_assertion;

/// The format of a stored record with readable tokens.
const VERSION: u64 = 1;
/// The format of a sealed record, in which a program that only knows the other would find no tokens. Newer formats are
/// not touched.
const SEALED_VERSION: u64 = 2;

/// Codex's name for a login with an admin console's access token (`at-…`), which is never refreshed.
const ACCESS_TOKEN_MODE: &str = "personalAccessToken";

/// The credentials of a profile, and the members of the stored file. Members that Codex also has are named and formatted
/// as in its `auth.json`. There is no `Debug`, so that nothing prints them.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Credentials {
    version: Option<u64>,
    /// `chatgpt`, or what Codex writes for other ways to sign in.
    auth_mode: Option<String>,
    /// The issuer of the tokens. The refresh token is only ever sent to it.
    pub issuer: Option<String>,
    pub client_id: Option<String>,
    /// Read it with `source()`.
    source: Option<Source>,
    pub tokens: Tokens,
    /// The owner of the access token, as far as the claims do not say. Read it with `account()`.
    account: Option<Account>,
    /// Where the requests of the account's workspace go, if the backend said so.
    pub routing: Option<Routing>,
    /// The fingerprint of the last identity token that was exchanged, or, if `revoked` says so, rejected.
    pub assertion: Option<String>,
    /// When tokens were last received, in RFC 3339. Every refresh changes it, so it also tells refreshes apart.
    pub last_refresh: Option<String>,
    /// When the access token expires, in seconds since 1970 on this machine's clock. `expiry()` also looks at its claims.
    pub expires_at: Option<u64>,
    /// The seconds until then when it was received.
    pub expires_in: Option<u64>,
    /// How many seconds before expiry it is refreshed ahead of time, if not the usual number.
    pub refresh_window: Option<u64>,
    pub revoked: Option<Revoked>,
    pub backoff: Option<Backoff>,
    /// When the backend rejected the access token.
    pub rejected_at: Option<String>,
    /// The token was refreshed because the backend rejected the previous one. If this one is rejected too, the next
    /// refresh waits.
    pub rejection_backoff: Option<Backoff>,
    /// Another machine forced a refresh. The next one that it forces waits.
    pub forced_backoff: Option<Backoff>,
    /// In a staged file: when the record that it replaces was received. `None` if it replaces none.
    pub replaces: Option<String>,
    /// The secret members, until they are decrypted.
    sealed: Option<Sealed>,
    /// The JSON that they were read from, which keeps unknown members.
    #[serde(skip)]
    original: String,
    /// The key to encrypt them with when they are written, if any. Change it with `set_seal()`.
    #[serde(skip)]
    pub seal: Option<Seal>,
}

#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    #[serde(deserialize_with = "usable")]
    pub access_token: Option<String>,
    #[serde(deserialize_with = "usable")]
    pub refresh_token: Option<String>,
    pub id_token: Option<String>,
    #[serde(deserialize_with = "usable")]
    pub account_id: Option<String>,
}

impl Tokens {
    /// Reads an object that another program wrote: a member of an unexpected type counts as missing.
    fn of(object: &Value) -> Self {
        Self {
            access_token: token_of(&object["access_token"]),
            refresh_token: token_of(&object["refresh_token"]),
            id_token: token_of(&object["id_token"]),
            account_id: token_of(&object["account_id"]),
        }
    }
}

/// A value that is not allowed in a header or on one line counts as missing.
fn usable<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.filter(|text| is_token(text)))
}

/// The same for a JSON value of any type.
fn token_of(value: &Value) -> Option<String> {
    text_of(value).filter(|text| is_token(text))
}

/// A server's message, made fit for one line of a terminal, as the file may have been changed.
fn shown<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(redact(&String::deserialize(from)?))
}

/// The issuer will not refresh these credentials any more: someone has to sign in.
#[derive(Clone, Serialize, Deserialize)]
pub struct Revoked {
    #[serde(deserialize_with = "shown")]
    pub reason: String,
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
}

/// The last refresh failed, and the next one waits.
#[derive(Clone, Serialize, Deserialize)]
pub struct Backoff {
    #[serde(deserialize_with = "shown")]
    pub reason: String,
    pub attempts: u32,
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
    #[serde(with = "rfc3339")]
    pub until: SystemTime,
    /// Whether the issuer asked for a sign-in, with an error that is not known to be final.
    #[serde(default)]
    pub login_required: bool,
    /// Whether a request got no response, and so may have used up the refresh token.
    #[serde(default)]
    pub unanswered: bool,
    /// Whether nothing was sent, so that only refreshes ahead of time wait.
    #[serde(default)]
    pub unreached: bool,
}

impl Backoff {
    /// After one more failure in a row: twice as long as the last one, between these limits.
    pub fn after(last: Option<&Self>, reason: &str, range: [Duration; 2], now: SystemTime) -> Self {
        let [shortest, longest] = range;
        let attempts = last.map_or(0, |backoff| backoff.attempts);
        Self {
            reason: reason.to_owned(),
            attempts: attempts.saturating_add(1),
            at: now,
            until: now + (shortest * (1 << attempts.min(6))).min(longest),
            login_required: false,
            unanswered: last.is_some_and(|backoff| backoff.unanswered),
            unreached: false,
        }
    }

    /// Whether it is in force at `now`. It ends if the clock is set back to before its start.
    pub fn holds(&self, now: SystemTime) -> bool {
        self.at <= now && now < self.until
    }

    /// How long it still lasts, for users; `None` once it is over.
    pub fn wait(&self, now: SystemTime) -> Option<String> {
        let left = self.until.duration_since(now).ok();
        let left = left.filter(|_| self.holds(now))?;
        Some(span(left.as_secs() + 1))
    }
}

impl Credentials {
    /// New credentials, without any tokens yet.
    pub fn new(source: Source) -> Self {
        let auth_mode = match source {
            Source::AccessToken => ACCESS_TOKEN_MODE,
            _ => "chatgpt",
        };
        Self {
            version: Some(VERSION),
            auth_mode: Some(auth_mode.to_owned()),
            source: Some(source).filter(Source::is_stored),
            ..Self::default()
        }
    }

    /// Reads one of our stored records, which may be sealed. The error never quotes it. A damaged record asks for a
    /// login, which replaces it; one that a newer version wrote is left alone.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let damaged = |how: &str| login_required(format!("the file is {how}"));
        ensure!(!bytes.is_empty(), damaged("empty"));
        let original = String::from_utf8(bytes).unwrap_or_default();
        // serde would accept a list of values as an object.
        let is_object = original.trim_start().starts_with('{');
        ensure!(is_object, damaged("damaged: it is not a JSON object"));
        let parsed: Result<Self, _> = serde_json::from_str(&original);
        let any = || -> Value { serde_json::from_str(&original).unwrap_or_default() };
        let (version, newest) = match &parsed {
            Ok(record) if record.is_closed() => (record.version, SEALED_VERSION),
            Ok(record) => (record.version, VERSION),
            Err(_) => (any()["version"].as_u64(), VERSION),
        };
        if version.is_some_and(|version| version > newest) {
            bail!("the file was written by a newer codex-auth: update codex-auth");
        }
        let mut record = parsed.map_err(|error| {
            let (line, column) = (error.line(), error.column());
            damaged(&format!("damaged (line {line}, column {column})"))
        })?;
        if record.is_closed() {
            // Unencrypted members that are otherwise sealed may come from someone who can write the file but does not
            // have the key.
            record.tokens = Tokens::default();
            record.account = None;
            record.routing = None;
            record.source = None;
        }
        // No two records may look the same: without a time of receipt, the text of a record identifies it.
        let text = || fingerprint(&original);
        record.last_refresh.get_or_insert_with(text);
        Ok(Self { original, ..record })
    }

    /// The JSON to store: what was read, with the current values of the known members.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut members = merge(&self.original, &serde_json::to_string(self)?)?;
        if let Some(seal) = &self.seal {
            members = self.close(members, seal)?;
        }
        let mut bytes = serde_json::to_vec_pretty(&members)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Whether these are the same credentials, regardless of notes added since. Closed ones are compared by their time of
    /// receipt.
    pub fn are_same(&self, other: &Self) -> bool {
        match (&self.tokens.refresh_token, &other.tokens.refresh_token) {
            _ if self.is_closed() || other.is_closed() => {
                self.key_id() == other.key_id() && self.last_refresh == other.last_refresh
            }
            (None, None) => self.tokens.access_token == other.tokens.access_token,
            (ours, theirs) => ours == theirs,
        }
    }

    /// Takes over the response to a refresh, and forgets earlier failures. Tokens of another account are refused and
    /// change nothing.
    pub fn update(&mut self, response: &TokenResponse, now: SystemTime) -> Result<()> {
        let new = response.tokens.clone();
        if let (Some(ours), Some(theirs)) = (self.account_id(), &new.account_id)
            && ours != *theirs
        {
            bail!("the issuer returned the tokens of another account");
        }
        let received = new.access_token.is_some();
        let is_another = received && new.access_token != self.tokens.access_token;
        if is_another {
            self.rejected_at = None;
            self.rejection_backoff = None;
        }
        if is_another || received && response.prolongs {
            self.expires_in = response.expires_in;
            let now = seconds_since_epoch(now);
            self.expires_at = response.expires_in.map(|life| now.saturating_add(life));
        }
        let old = mem::take(&mut self.tokens);
        self.tokens = Tokens {
            access_token: new.access_token.or(old.access_token),
            refresh_token: new.refresh_token.or(old.refresh_token),
            id_token: new.id_token.or(old.id_token),
            account_id: new.account_id.or(old.account_id),
        };
        self.account = response.account.clone().or(self.account.take());
        self.last_refresh = Some(timestamp(now));
        if let Some(routing) = &response.routing {
            self.set_routing(routing.clone());
        }
        if self.source().is_external() {
            self.choose_refresh_window(rand::rng().random());
        }
        self.revoked = None;
        self.backoff = None;
        Ok(())
    }

    pub fn access_token(&self) -> Result<&str> {
        let missing = || login_required("the file has no access token");
        self.tokens.access_token.as_deref().ok_or_else(missing)
    }

    pub fn source(&self) -> &Source {
        match &self.source {
            Some(source) => source,
            None if self.auth_mode.as_deref() == Some(ACCESS_TOKEN_MODE) => &Source::AccessToken,
            None => &Source::Issuer,
        }
    }

    /// Whether the access token comes from an admin console: it is never refreshed, and its expiry is unknown.
    pub fn is_access_token_only(&self) -> bool {
        matches!(self.source(), Source::AccessToken)
    }

    pub fn received_at(&self) -> Option<SystemTime> {
        time_of(self.last_refresh.as_deref()?)
    }

    /// When the access token expires, in seconds since 1970: as stored, or else as claimed.
    pub fn expiry(&self) -> Option<u64> {
        self.expires_at.or_else(|| self.claimed_expiry())
    }

    fn claimed_expiry(&self) -> Option<u64> {
        let claims = account::claims(self.tokens.access_token.as_deref()?);
        account::seconds_of(&claims["exp"])
    }
}

/// A JSON object whose members are kept byte for byte.
type Members = BTreeMap<String, Box<RawValue>>;

/// Applies a patch to an object (RFC 7396): objects are merged, null removes a member, any other value replaces it.
fn merge(original: &str, patch: &str) -> serde_json::Result<Members> {
    let mut merged: Members = serde_json::from_str(original).unwrap_or_default();
    let patch: Members = serde_json::from_str(patch)?;
    for (name, value) in patch {
        let old = merged.remove(&name);
        if value.get().starts_with('{') {
            let members = merge(old.as_ref().map_or("", |old| old.get()), value.get())?;
            merged.insert(name, to_raw_value(&members)?);
        } else if value.get() != "null" {
            merged.insert(name, value);
        }
    }
    Ok(merged)
}

/// Identifies a token without revealing it: its SHA-256, in base64url as elsewhere in OAuth.
pub fn fingerprint(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}

/// Whether a text is allowed in an HTTP header and on one line: visible ASCII only, and not empty.
pub fn is_token(text: &str) -> bool {
    // Eight bytes at a time; one by one would take a tenth of the time of printing a token.
    const ONES: u64 = 0x0101_0101_0101_0101;
    let has_only_graphic = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        // Sets the top bit of a byte that is not ASCII, below 0x21, or 0x7f.
        let outside = word | word.wrapping_sub(0x21 * ONES) | word.wrapping_add(ONES);
        outside & (0x80 * ONES) == 0
    };
    let (words, rest) = text.as_bytes().as_chunks();
    let is_graphic = words.iter().all(has_only_graphic) && rest.iter().all(u8::is_ascii_graphic);
    is_graphic && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::time_at;
    use serde_json::{Value, json};

    const AUTH_CLAIMS: &str = "https://api.openai.com/auth";
    const NOW: u64 = 2_000_000_000;

    fn response(answer: &Value) -> TokenResponse {
        TokenResponse::parse(answer, None, time_at(NOW))
    }

    fn token_of(account: &str) -> String {
        account::tests::token(&json!({AUTH_CLAIMS: {"chatgpt_account_id": account}}))
    }

    fn credentials(answer: &Value) -> Credentials {
        let mut credentials = Credentials::new(Source::Issuer);
        credentials.update(&response(answer), time_at(NOW)).unwrap();
        credentials
    }

    fn parse(value: &Value) -> Credentials {
        Credentials::parse(value.to_string().into_bytes()).unwrap()
    }

    fn written(credentials: &Credentials) -> String {
        String::from_utf8(credentials.to_json().unwrap()).unwrap()
    }

    #[test]
    fn a_token_that_comes_again_expires_when_it_did() {
        let with_claims = account::tests::token(&json!({"iat": 0, "exp": 600}));
        for (access_token, expires_in, end) in [
            (with_claims.as_str(), json!(600), NOW + 600),
            ("opaque", json!(600), NOW + 100 + 600),
            ("opaque", Value::Null, NOW + 600),
        ] {
            let answer = |expires_in: &Value| json!({"access_token": access_token, "refresh_token": "r", "expires_in": expires_in});
            let mut credentials = credentials(&answer(&json!(600)));
            credentials.rejected_at = Some(timestamp(time_at(NOW)));
            credentials
                .update(&response(&answer(&expires_in)), time_at(NOW + 100))
                .unwrap();
            assert_eq!(
                credentials.expires_at,
                Some(end),
                "{access_token} {expires_in}"
            );
            assert!(credentials.rejected_at.is_some());
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
        let pauses = [Duration::from_secs(1), Duration::from_mins(1)];
        let backoff = Backoff::after(credentials.backoff.as_ref(), "busy", pauses, time_at(NOW));
        credentials.backoff = Some(backoff);
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
                "the file was written by a newer codex-auth: update codex-auth"
            );
            assert_eq!(crate::error::exit_code(&error), 1);
        }
    }

    #[test]
    fn a_damaged_record_asks_for_a_login_and_is_not_quoted() {
        for (damaged, how) in [
            ("", "empty"),
            ("{", "damaged (line 1, column 1)"),
            ("[]", "damaged: it is not a JSON object"),
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
    fn secret_members_are_sealed_and_the_rest_stays_readable() {
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
        assert_eq!(closed.key_id(), Some(seal.key.id.as_str()));
        assert_eq!(closed.issuer.as_deref(), Some("https://issuer.example"));
        assert_eq!(closed.expires_at, Some(NOW));
        assert!(closed.access_token().is_err() && closed.tokens.refresh_token.is_none());
        let opened = closed.open(seal).unwrap();
        assert!(!opened.is_closed() && opened.is_sealed());
        assert_eq!(opened.tokens.refresh_token.as_deref(), Some("refresh"));
        assert_eq!(
            opened.account().email.as_deref(),
            Some("somebody@example.com")
        );
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
            key: Key::new(&seal.key.id, &[0; 32]).unwrap(),
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
            r#"{"tokens":{"access_token":"planted"},"account":{"email":"x"},"source":{"command":["x"]},"#,
            1,
        );
        let closed = Credentials::parse(planted.into()).unwrap();
        assert!(closed.access_token().is_err() && closed.account().email.is_none());
        assert!(!closed.source().is_stored());
        let opened = closed.open(seal).unwrap();
        assert_eq!(opened.access_token().unwrap(), token_of("mine"));
    }

    #[test]
    fn every_byte_of_a_token_is_visible_ascii() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[at] = byte;
                let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
                assert_eq!(is_token(&text), byte.is_ascii_graphic(), "{byte} at {at}");
            }
        }
        assert!(!is_token(""));
    }
}
