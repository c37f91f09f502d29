//! What a login is: its tokens, when they end, whose they are. No input or output; the time is a parameter.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::text::{printable, redact, text_of};
use crate::time::{seconds_since_epoch, time_of, timestamp};

/// The format of the stored document. A newer one is not touched.
const VERSION: u64 = 1;
/// The life of a token that does not tell its own, as RFC 6749 section 5.1 leaves it to us.
const ASSUMED_LIFE: Duration = Duration::from_secs(60 * 60);
/// The members of Codex's own document that concern us.
const CODEX_MEMBERS: [&str; 4] = ["auth_mode", "OPENAI_API_KEY", "tokens", "last_refresh"];
/// The claims that say whose a token is.
const AUTH_CLAIMS: &str = "https://api.openai.com/auth";
const PROFILE_CLAIMS: &str = "https://api.openai.com/profile";

/// A login, as the JSON object that is stored. Members that we do not know survive. It has no `Debug`: nothing prints it.
pub struct Credentials {
    document: Map<String, Value>,
}

/// The members that decide nearly every call, read where they stand: it takes a quarter of what a whole `Login` takes.
#[derive(Deserialize)]
pub struct Glance<'a> {
    version: u64,
    #[serde(borrow)]
    tokens: GlanceAtTokens<'a>,
    expires_at: u64,
    expires_in: u64,
}

#[derive(Deserialize)]
struct GlanceAtTokens<'a> {
    access_token: &'a str,
}

/// When an access token ends, in seconds since 1970, and how many seconds it lives in all, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetime {
    pub end: Option<u64>,
    pub whole: Option<u64>,
}

/// What a token answer granted (RFC 6749 section 5.1). At a renewal each token may be missing: the old one stays.
pub struct TokenResponse {
    pub access_token: Option<String>,
    pub refresh_token: Option<String>,
    pub id_token: Option<String>,
    expires_in: Option<Duration>,
}

/// A final refusal: until the next login the issuer will not renew this one.
pub struct Revoked {
    /// The issuer's own words, fit for one line of a terminal.
    pub reason: String,
    pub at: Option<SystemTime>,
}

/// A temporary failure, and until when the next attempt waits.
pub struct Backoff {
    /// Fit for one line of a terminal.
    pub reason: String,
    pub attempts: u32,
    pub at: SystemTime,
    pub until: SystemTime,
}

impl Backoff {
    /// Whether it holds at `now`. A clock that was set back before its start ends it.
    pub fn holds(&self, now: SystemTime) -> bool {
        self.at <= now && now < self.until
    }
}

impl<'a> Glance<'a> {
    /// None where anything is out of the ordinary: `Login::parse` has to say what.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let glance: Self = serde_json::from_str(text).ok()?;
        let is_ordinary = glance.version <= VERSION && is_token(glance.tokens.access_token);
        is_ordinary.then_some(glance)
    }

    pub fn access_token(&self) -> &'a str {
        self.tokens.access_token
    }

    pub fn lifetime(&self) -> Lifetime {
        Lifetime {
            end: Some(self.expires_at),
            whole: Some(self.expires_in),
        }
    }
}

impl TokenResponse {
    /// Reads a token answer. A member of another type counts as missing.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let answer: Map<String, Value> = serde_json::from_slice(body)
            .ok()
            .context("it is no JSON object")?;
        let token = |name| {
            answer
                .get(name)
                .and_then(Value::as_str)
                .filter(|token| is_token(token))
                .map(str::to_owned)
        };
        let seconds = answer.get("expires_in").and_then(seconds_of);
        Ok(Self {
            access_token: token("access_token"),
            refresh_token: token("refresh_token"),
            id_token: token("id_token"),
            expires_in: seconds
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
        })
    }

    /// The life of the access token from its receipt: by its own claims, else as the answer says, else an hour. The
    /// claims are compared with each other, never with our clock, which may be wrong.
    fn life(&self) -> Duration {
        let told = self.claimed_life().or(self.expires_in);
        told.unwrap_or(ASSUMED_LIFE)
    }

    fn claimed_life(&self) -> Option<Duration> {
        let claims = self.access_token.as_deref().and_then(claims);
        let claimed = claims.and_then(|claims| {
            seconds_of(&claims["exp"])?.checked_sub(seconds_of(&claims["iat"])?)
        });
        claimed
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs)
    }

    /// Whether a token that we have already lives longer than before: its own claims stay what they were.
    fn prolongs(&self) -> bool {
        self.claimed_life().is_none() && self.expires_in.is_some()
    }

    /// The ID of the ChatGPT account that these tokens are for.
    pub fn account_id(&self) -> Option<String> {
        [&self.id_token, &self.access_token]
            .into_iter()
            .flatten()
            .find_map(|token| account_of(token))
    }

    /// Refuses an ID token that is not for this client, not from this issuer, or had ended at `now` (OpenID Connect
    /// Core 3.1.3.7). The signature may go unchecked there: the token came from the issuer itself, over TLS.
    pub fn check_id_token(&self, issuer: &str, client_id: &str, now: SystemTime) -> Result<()> {
        let Some(id_token) = &self.id_token else {
            return Ok(());
        };
        let claims = claims(id_token).context("its ID token cannot be read")?;
        if claims["iss"].as_str().map(|iss| iss.trim_end_matches('/')) != Some(issuer) {
            bail!("its ID token is from another issuer");
        }
        let audience = &claims["aud"];
        if audience.as_str() != Some(client_id)
            && !audience
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one == client_id))
        {
            bail!("its ID token is for another client");
        }
        if seconds_of(&claims["exp"]).is_none_or(|end| end <= seconds_since_epoch(now)) {
            bail!("its ID token has already ended");
        }
        Ok(())
    }
}

impl Credentials {
    /// A new login from the answer to an authorization code. It needs an access token and a refresh token.
    pub fn new(
        token_response: &TokenResponse,
        issuer: &str,
        client_id: &str,
        now: SystemTime,
    ) -> Result<Self> {
        if token_response.access_token.is_none() {
            bail!("the issuer's answer has no access token");
        }
        if token_response.refresh_token.is_none() {
            bail!("the issuer's answer has no refresh token");
        }
        let document = json!({
            "version": VERSION, "auth_mode": "chatgpt", "issuer": issuer, "client_id": client_id, "tokens": {},
        });
        let mut credentials = Self::from_value(document)?;
        credentials.take(token_response, now);
        Ok(credentials)
    }

    /// Reads a stored document of ours. The error never quotes it.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::from_value(value_of(bytes)?)
    }

    /// Reads Codex's own document. It has no issuer, whatever its other members say: so nobody gets its refresh token.
    pub fn parse_codex(bytes: &[u8]) -> Result<Self> {
        let Value::Object(mut document) = value_of(bytes)? else {
            bail!("the file holds no login");
        };
        document.retain(|name, _| CODEX_MEMBERS.contains(&name.as_str()));
        Ok(Self { document })
    }

    fn from_value(value: Value) -> Result<Self> {
        let Value::Object(document) = value else {
            bail!("the file holds no login");
        };
        if document
            .get("version")
            .is_some_and(|version| version.as_u64().is_none_or(|version| version > VERSION))
        {
            bail!("the file is of a newer codex-auth: update this one");
        }
        Ok(Self { document })
    }

    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut bytes =
            serde_json::to_vec_pretty(&self.document).context("could not write JSON")?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Takes over what a renewal granted, and forgets earlier failures. An answer for another account is refused and
    /// changes nothing.
    pub fn renew(&mut self, token_response: &TokenResponse, now: SystemTime) -> Result<()> {
        if let (Some(ours), Some(theirs)) = (self.account_id(), token_response.account_id())
            && ours != theirs
        {
            bail!("the issuer answered with the tokens of another account");
        }
        self.take(token_response, now);
        Ok(())
    }

    fn take(&mut self, token_response: &TokenResponse, now: SystemTime) {
        let granted = token_response.access_token.as_deref();
        let is_another = granted.is_some() && granted != self.token("access_token");
        let mut tokens = match self.document.remove("tokens") {
            Some(Value::Object(tokens)) => tokens,
            _ => Map::new(),
        };
        for (name, token) in [
            ("access_token", &token_response.access_token),
            ("refresh_token", &token_response.refresh_token),
            ("id_token", &token_response.id_token),
            ("account_id", &token_response.account_id()),
        ] {
            if let Some(token) = token {
                tokens.insert(name.into(), json!(token));
            }
        }
        self.document.insert("tokens".into(), Value::Object(tokens));
        if is_another {
            self.document.remove("rejected_at");
        }
        if is_another || granted.is_some() && token_response.prolongs() {
            let life = token_response.life().as_secs();
            self.document.insert("expires_in".into(), json!(life));
            self.document.insert(
                "expires_at".into(),
                json!(seconds_since_epoch(now).saturating_add(life)),
            );
        }
        self.document
            .insert("last_refresh".into(), json!(timestamp(now)));
        self.document.remove("refusal");
        self.document.remove("pause");
    }

    /// The access token. One that could not stand in a header, or on one line, counts as missing.
    pub fn access_token(&self) -> Result<&str> {
        self.token("access_token")
            .filter(|token| is_token(token))
            .context("the stored login has no access token")
    }

    pub fn refresh_token(&self) -> Option<&str> {
        self.token("refresh_token").filter(|token| is_token(token))
    }

    fn token(&self, name: &str) -> Option<&str> {
        self.document
            .get("tokens")?
            .get(name)?
            .as_str()
            .filter(|token| !token.is_empty())
    }

    /// The ID of the ChatGPT account: as stored, else from the claims of a token.
    pub fn account_id(&self) -> Option<String> {
        let stored = self.token("account_id").map(str::to_owned);
        stored
            .filter(|id| is_token(id))
            .or_else(|| self.claimed(account_in))
    }

    /// Fit for one line of a terminal, as all words that a token or the file brings.
    pub fn email(&self) -> Option<String> {
        self.claimed(|claims| {
            words_of(&claims["email"]).or_else(|| words_of(&claims[PROFILE_CLAIMS]["email"]))
        })
    }

    /// `plus`, `pro`, `team` …: an open set.
    pub fn plan(&self) -> Option<String> {
        self.claimed(|claims| words_of(&claims[AUTH_CLAIMS]["chatgpt_plan_type"]))
    }

    /// The region that the workspace is pinned to, if it is.
    pub fn residency(&self) -> Option<String> {
        let pinned = |claims: &Value| {
            let auth = &claims[AUTH_CLAIMS];
            text_of(&auth["chatgpt_compute_residency"])
                .or_else(|| text_of(&auth["chatgpt_data_residency"]))
        };
        self.claimed(pinned)
            .filter(|region| region != "no_constraint" && is_token(region))
    }

    fn claimed(&self, find: impl Fn(&Value) -> Option<String>) -> Option<String> {
        ["id_token", "access_token"]
            .into_iter()
            .find_map(|name| find(&claims(self.token(name)?)?))
    }

    /// Who gave the tokens, and may have the refresh token back.
    pub fn issuer(&self) -> Option<&str> {
        self.text("issuer")
    }

    pub fn client_id(&self) -> Option<&str> {
        self.text("client_id")
    }

    /// The end of the access token in seconds since 1970: as stored, else by its claim.
    pub fn expires_at(&self) -> Option<u64> {
        let stored = self.document.get("expires_at").and_then(seconds_of);
        stored.or_else(|| seconds_of(&claims(self.access_token().ok()?)?["exp"]))
    }

    /// The whole life of the access token in seconds, from its receipt.
    pub fn expires_in(&self) -> Option<u64> {
        self.document.get("expires_in").and_then(seconds_of)
    }

    pub fn lifetime(&self) -> Lifetime {
        Lifetime {
            end: self.expires_at(),
            whole: self.expires_in(),
        }
    }

    /// When tokens were last received. It changes with each renewal, so that it also tells one from the next.
    pub fn last_refresh(&self) -> Option<&str> {
        self.text("last_refresh")
    }

    /// The same as a time, if it is one.
    pub fn received_at(&self) -> Option<SystemTime> {
        time_of(self.document.get("last_refresh")?)
    }

    /// How Codex says that it signed in: `chatgpt`, `apikey` …
    pub fn auth_mode(&self) -> Option<&str> {
        self.text("auth_mode")
    }

    /// Whether this is a login by API key, as Codex can store it (its rule: by `auth_mode`, else by a key that is there).
    pub fn is_api_key(&self) -> bool {
        match self.auth_mode() {
            Some(mode) => mode.eq_ignore_ascii_case("apikey"),
            None => self.text("OPENAI_API_KEY").is_some(),
        }
    }

    pub fn revoked(&self) -> Option<Revoked> {
        let revoked = self.document.get("refusal")?;
        Some(Revoked {
            reason: reason_of(&revoked["reason"])
                .unwrap_or_else(|| "no reason is known".to_owned()),
            at: time_of(&revoked["at"]),
        })
    }

    pub fn refuse(&mut self, reason: &str, now: SystemTime) {
        self.document.insert(
            "refusal".into(),
            json!({"reason": reason, "at": timestamp(now)}),
        );
        self.document.remove("pause");
    }

    pub fn backoff(&self) -> Option<Backoff> {
        let backoff = self.document.get("pause")?;
        Some(Backoff {
            reason: reason_of(&backoff["reason"])?,
            attempts: u32::try_from(backoff["attempts"].as_u64()?).unwrap_or(u32::MAX),
            at: time_of(&backoff["at"])?,
            until: time_of(&backoff["until"])?,
        })
    }

    pub fn set_backoff(&mut self, backoff: &Backoff) {
        let member = json!({
            "reason": backoff.reason, "attempts": backoff.attempts, "at": timestamp(backoff.at), "until": timestamp(backoff.until),
        });
        self.document.insert("pause".into(), member);
    }

    /// When the backend rejected the access token, if that was written down.
    pub fn rejected_at(&self) -> Option<SystemTime> {
        time_of(self.document.get("rejected_at")?)
    }

    pub fn reject(&mut self, now: SystemTime) {
        self.document
            .insert("rejected_at".into(), json!(timestamp(now)));
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.document
            .get(name)?
            .as_str()
            .filter(|text| !text.is_empty())
    }
}

/// The JSON in a file. The error never quotes it.
fn value_of(bytes: &[u8]) -> Result<Value> {
    if bytes.is_empty() {
        bail!("the file is empty");
    }
    serde_json::from_slice(bytes)
        .ok()
        .context("the file is damaged: it is no JSON")
}

/// A count of seconds, as servers write it: a number, with or without a fraction, or a string of digits.
fn seconds_of(value: &Value) -> Option<u64> {
    let fraction = || Duration::try_from_secs_f64(value.as_f64()?).ok();
    value
        .as_u64()
        .or_else(|| Some(fraction()?.as_secs()))
        .or_else(|| value.as_str()?.parse().ok())
}

/// A text for people.
fn words_of(value: &Value) -> Option<String> {
    value
        .as_str()
        .map(printable)
        .filter(|words| !words.is_empty())
}

/// Why a server did not renew a login: its own words.
fn reason_of(value: &Value) -> Option<String> {
    let words = value.as_str().map(redact);
    words.filter(|words| !words.is_empty())
}

/// Whether a text can stand in an HTTP header and on one line: visible ASCII only, and something of it.
pub fn is_token(text: &str) -> bool {
    // Without leaving early it takes a tenth of the instructions: tokens are long, and nearly all are good.
    let all_graphic = |all, byte: u8| all & byte.is_ascii_graphic();
    !text.is_empty() && text.bytes().fold(true, all_graphic)
}

fn account_of(token: &str) -> Option<String> {
    account_in(&claims(token)?)
}

fn account_in(claims: &Value) -> Option<String> {
    text_of(&claims[AUTH_CLAIMS]["chatgpt_account_id"]).filter(|id| is_token(id))
}

/// The claims of a JWT (RFC 7519 section 3): nothing, if it is none.
fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::time_at;

    const ISSUER: &str = "https://issuer.example";
    const NOW: u64 = 2_000_000_000;

    fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn token_response(answer: &Value) -> TokenResponse {
        TokenResponse::parse(answer.to_string().as_bytes()).unwrap()
    }

    fn auth(account: &str) -> Value {
        json!({AUTH_CLAIMS: {"chatgpt_account_id": account}})
    }

    fn login(answer: &Value) -> Credentials {
        Credentials::new(&token_response(answer), ISSUER, "client", time_at(NOW)).unwrap()
    }

    #[test]
    fn the_life_of_a_token_is_its_claims_else_the_answers_word_else_an_hour() {
        for (claims, expires_in, life) in [
            (json!({"iat": 100, "exp": 700}), json!(9), 600),
            (json!({"iat": 100.5, "exp": 700.5}), json!(9), 600),
            (json!({"exp": 700}), json!(9), 9),
            (json!({"iat": 700, "exp": 100}), json!("9"), 9),
            (json!({"iat": 7, "exp": 7}), json!(0), 3600),
            (json!({}), json!(-5), 3600),
            (json!({}), json!(null), 3600),
            (json!({}), json!("soon"), 3600),
        ] {
            let credentials = login(
                &json!({"access_token": token(&claims), "refresh_token": "r", "expires_in": expires_in}),
            );
            assert_eq!(
                credentials.expires_in(),
                Some(life),
                "{claims} {expires_in}"
            );
            assert_eq!(
                credentials.expires_at(),
                Some(NOW + life),
                "{claims} {expires_in}"
            );
        }
    }

    #[test]
    fn a_token_that_comes_again_ends_when_it_did() {
        let with_claims = token(&json!({"iat": 0, "exp": 600}));
        for (access_token, expires_in, end) in [
            (with_claims.as_str(), json!(600), NOW + 600),
            ("opaque", json!(600), NOW + 100 + 600),
            ("opaque", Value::Null, NOW + 600),
        ] {
            let answer = |expires_in: &Value| json!({"access_token": access_token, "refresh_token": "r", "expires_in": expires_in});
            let mut credentials = login(&answer(&json!(600)));
            credentials.reject(time_at(NOW));
            let again = token_response(&answer(&expires_in));
            credentials.renew(&again, time_at(NOW + 100)).unwrap();
            assert_eq!(
                credentials.expires_at(),
                Some(end),
                "{access_token} {expires_in}"
            );
            assert!(credentials.rejected_at().is_some());
        }
    }

    #[test]
    fn lives_without_measure_do_no_harm() {
        let claims = json!({"iat": 0, "exp": u64::MAX});
        let credentials = login(&json!({"access_token": token(&claims), "refresh_token": "r"}));
        assert_eq!(credentials.expires_at(), Some(u64::MAX));
        assert_eq!(timestamp(time_at(u64::MAX)), "9999-12-31T23:59:59.000000Z");
    }

    #[test]
    fn what_could_not_stand_on_one_line_is_no_token() {
        for bad in ["", "a b", "a\nb", "a\r", "ü", "a\0b", "\x1b[31m"] {
            let granted = token_response(&json!({"access_token": bad, "refresh_token": bad}));
            assert!(
                granted.access_token.is_none() && granted.refresh_token.is_none(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn an_id_token_is_for_this_client_from_this_issuer_and_alive() {
        let check = |claims: Value| {
            let granted = token_response(&json!({"id_token": token(&claims)}));
            granted
                .check_id_token(ISSUER, "client", time_at(NOW))
                .map_err(|error| error.to_string())
        };
        let good = json!({"iss": ISSUER, "aud": ["other", "client"], "exp": NOW + 1});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        assert_eq!(check(good.clone()), Ok(()));
        assert_eq!(check(with("aud", json!("client"))), Ok(()));
        assert_eq!(check(with("iss", json!("https://issuer.example/"))), Ok(()));
        for (claims, words) in [
            (
                with("iss", json!("https://evil.example")),
                "its ID token is from another issuer",
            ),
            (
                with("iss", Value::Null),
                "its ID token is from another issuer",
            ),
            (
                with("aud", json!(["other"])),
                "its ID token is for another client",
            ),
            (
                with("aud", json!("client2")),
                "its ID token is for another client",
            ),
            (
                with("aud", Value::Null),
                "its ID token is for another client",
            ),
            (with("exp", json!(NOW)), "its ID token has already ended"),
            (with("exp", Value::Null), "its ID token has already ended"),
        ] {
            assert_eq!(check(claims.clone()), Err(words.to_owned()), "{claims}");
        }
        let broken = token_response(&json!({"id_token": "a.b.c"}));
        assert!(
            broken
                .check_id_token(ISSUER, "client", time_at(NOW))
                .is_err()
        );
    }

    #[test]
    fn another_accounts_tokens_change_nothing() {
        let mut credentials =
            login(&json!({"access_token": token(&auth("mine")), "refresh_token": "r"}));
        let before = credentials.to_json().unwrap();
        let theirs =
            token_response(&json!({"access_token": token(&auth("theirs")), "refresh_token": "s"}));
        assert!(credentials.renew(&theirs, time_at(NOW)).is_err());
        assert_eq!(credentials.to_json().unwrap(), before);
    }

    #[test]
    fn the_account_is_as_stored_else_as_claimed() {
        let parse = |value: Value| {
            Credentials::parse(value.to_string().as_bytes())
                .unwrap()
                .account_id()
        };
        let (id, access) = (token(&auth("of-id")), token(&auth("of-access")));
        assert_eq!(
            parse(json!({"tokens": {"account_id": "stored", "id_token": id}})).as_deref(),
            Some("stored")
        );
        assert_eq!(
            parse(json!({"tokens": {"id_token": id, "access_token": access}})).as_deref(),
            Some("of-id")
        );
        assert_eq!(
            parse(json!({"tokens": {"id_token": "broken", "access_token": access}})).as_deref(),
            Some("of-access")
        );
        assert_eq!(parse(json!({"tokens": {"account_id": "two words"}})), None);
        let two_lines = token(&auth("two\r\nlines"));
        assert_eq!(parse(json!({"tokens": {"id_token": two_lines}})), None);
    }

    #[test]
    fn codex_means_an_api_key_by_its_mode_else_by_a_key() {
        let is_api_key = |value: Value| {
            Credentials::parse(value.to_string().as_bytes())
                .unwrap()
                .is_api_key()
        };
        assert!(is_api_key(json!({"auth_mode": "apikey"})));
        assert!(is_api_key(json!({"auth_mode": "ApiKey", "tokens": {}})));
        assert!(is_api_key(
            json!({"OPENAI_API_KEY": "sk-x", "tokens": {"access_token": "a"}})
        ));
        assert!(!is_api_key(json!({"OPENAI_API_KEY": null, "tokens": {}})));
        assert!(!is_api_key(
            json!({"auth_mode": "chatgpt", "OPENAI_API_KEY": "sk-x"})
        ));
    }

    const ORDINARY: &str = r#"{
        "version": 1, "unknown": {"tokens": [1, "x"]}, "expires_in": 100, "expires_at": 1000,
        "tokens": {"refresh_token": "r", "access_token": "a.b.c"}
    }"#;

    #[test]
    fn a_glance_sees_what_the_whole_login_says() {
        let (glance, credentials) = (
            Glance::parse(ORDINARY.as_bytes()).unwrap(),
            Credentials::parse(ORDINARY.as_bytes()).unwrap(),
        );
        assert_eq!(glance.access_token(), credentials.access_token().unwrap());
        assert_eq!(glance.lifetime(), credentials.lifetime());
    }

    #[test]
    fn a_glance_leaves_what_is_not_ordinary_to_others() {
        for (ordinary, other) in [
            (r#""version": 1"#, r#""version": 2"#),
            (r#""version": 1,"#, ""),
            (r#""expires_at": 1000"#, r#""expires_at": "1000""#),
            (r#""expires_in": 100"#, r#""expires_in": 99.5"#),
            (r#""expires_in": 100,"#, ""),
            (r#""access_token": "a.b.c""#, r#""access_token": "a b""#),
            (
                r#""access_token": "a.b.c""#,
                r#""access_token": "a\u002eb""#,
            ),
            (r#""access_token": "a.b.c""#, r#""access_token": """#),
            (r#""access_token": "a.b.c""#, r#""access_token": "ä""#),
            (r#""access_token": "a.b.c""#, r#""access_token": null"#),
            (
                r#""tokens": {"refresh"#,
                r#""tokens": {}, "tokens": {"refresh"#,
            ),
            ("{\n", ""),
        ] {
            let changed = ORDINARY.replacen(ordinary, other, 1);
            assert_ne!(changed, ORDINARY, "{ordinary}");
            assert!(Glance::parse(changed.as_bytes()).is_none(), "{other}");
        }
    }
}
