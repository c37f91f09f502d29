//! The tokens that the fake issuer issues: who may use them, and JSON Web Tokens that look like the real ones, but with
//! random signatures.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The account of a login.
#[derive(Clone, Debug)]
pub struct Account {
    /// The account ID; `None` omits the claim.
    pub id: Option<String>,
    pub user_id: String,
    pub email: String,
    pub plan: String,
    /// More members of the claim `https://api.openai.com/auth`, such as `chatgpt_data_residency`.
    pub claims: Map<String, Value>,
}

impl Account {
    pub fn new(id: &str, email: &str) -> Self {
        Self {
            id: Some(id.to_owned()),
            user_id: format!("user-of-{email}"),
            email: email.to_owned(),
            plan: "plus".to_owned(),
            claims: Map::new(),
        }
    }

    pub fn is_fedramp(&self) -> bool {
        self.claims.get("chatgpt_account_is_fedramp") == Some(&json!(true))
    }

    /// The region that the workspace is pinned to.
    pub fn residency(&self) -> Option<&str> {
        ["chatgpt_compute_residency", "chatgpt_data_residency"]
            .iter()
            .find_map(|name| self.claims.get(*name)?.as_str())
            .filter(|region| *region != "no_constraint")
    }

    fn claims(&self) -> Value {
        let mut claims = self.claims.clone();
        claims.insert("chatgpt_user_id".to_owned(), json!(self.user_id));
        claims.insert("chatgpt_plan_type".to_owned(), json!(self.plan));
        if let Some(id) = &self.id {
            claims.insert("chatgpt_account_id".to_owned(), json!(id));
        }
        Value::Object(claims)
    }
}

/// A login: all tokens that descend from one code exchange.
struct Family {
    account: Account,
    /// None of its refresh tokens works any more.
    revoked: bool,
}

struct RefreshToken {
    family: usize,
    spent: bool,
}

struct AccessToken {
    account: Account,
    /// Seconds since 1970, by the issuer's clock.
    expires_at: u64,
    rejected: bool,
}

/// The state of a refresh token that a client presents.
pub(super) enum Presented {
    Good { family: usize },
    Reused { family: usize },
    Revoked,
    Unknown,
}

/// How to create a set of tokens.
pub(super) struct Order<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    /// `iss` and `aud` of the ID token.
    pub id_issuer: Value,
    pub id_audience: Value,
    /// Their time of issue, in seconds since 1970.
    pub issued: u64,
    /// The lifetimes of the access token and the ID token, in seconds.
    pub lifetimes: (u64, u64),
    pub opaque: bool,
}

/// One set of tokens.
pub(super) struct Issued {
    pub access: String,
    pub refresh: String,
    pub id: String,
}

/// Every token ever issued.
#[derive(Default)]
pub(super) struct Books {
    families: Vec<Family>,
    refresh: HashMap<String, RefreshToken>,
    access: HashMap<String, AccessToken>,
    /// All sets, the newest last.
    pub issued: Vec<Issued>,
    /// Tokens that belong to no login.
    pub personal: Vec<String>,
}

impl Books {
    pub fn open_family(&mut self, account: Account) -> usize {
        let revoked = false;
        self.families.push(Family { account, revoked });
        self.families.len() - 1
    }

    pub fn set_account(&mut self, family: usize, account: Account) {
        self.families[family].account = account;
    }

    pub fn revoke_family(&mut self, family: usize) {
        self.families[family].revoked = true;
    }

    pub fn revoke_all(&mut self) {
        self.families
            .iter_mut()
            .for_each(|family| family.revoked = true);
    }

    pub fn look_up(&self, refresh: &str) -> Presented {
        let Some(known) = self.refresh.get(refresh) else {
            return Presented::Unknown;
        };
        let family = known.family;
        match known.spent {
            _ if self.families[family].revoked => Presented::Revoked,
            true => Presented::Reused { family },
            false => Presented::Good { family },
        }
    }

    pub fn spend(&mut self, refresh: &str) {
        if let Some(known) = self.refresh.get_mut(refresh) {
            known.spent = true;
        }
    }

    pub fn family_of(&self, refresh: &str) -> Option<usize> {
        self.refresh.get(refresh).map(|known| known.family)
    }

    pub fn reject_access_tokens(&mut self) {
        self.access
            .values_mut()
            .for_each(|token| token.rejected = true);
    }

    pub fn reject_access_token(&mut self, access: &str) {
        if let Some(token) = self.access.get_mut(access) {
            token.rejected = true;
        }
    }

    /// Creates an access token without a login, as an admin console does.
    pub fn issue_personal(&mut self, account: Account) -> &str {
        let token = AccessToken {
            account,
            expires_at: u64::MAX,
            rejected: false,
        };
        let access = format!("at-{}", unique());
        self.access.insert(access.clone(), token);
        self.personal.push(access);
        &self.personal[self.personal.len() - 1]
    }

    /// The account of this access token, if it is still valid at `now`.
    pub fn holder(&self, access: &str, now: u64) -> Option<&Account> {
        self.access
            .get(access)
            .filter(|token| !token.rejected && token.expires_at > now)
            .map(|token| &token.account)
    }

    /// Creates a new set of tokens for a login.
    pub fn issue(&mut self, family: usize, order: &Order) -> &Issued {
        let account = self.families[family].account.clone();
        let access = if order.opaque {
            format!("opaque-{}", unique())
        } else {
            json_web_token(&access_claims(&account, order))
        };
        let refresh = format!("rt_{}", unique());
        let id = json_web_token(&id_claims(&account, order));
        let spent = false;
        self.refresh
            .insert(refresh.clone(), RefreshToken { family, spent });
        let token = AccessToken {
            account,
            expires_at: order.issued + order.lifetimes.0,
            rejected: false,
        };
        self.access.insert(access.clone(), token);
        self.issued.push(Issued {
            access,
            refresh,
            id,
        });
        &self.issued[self.issued.len() - 1]
    }
}

fn access_claims(account: &Account, order: &Order) -> Value {
    json!({
        "iss": order.issuer,
        "aud": ["https://api.openai.com/v1"],
        "client_id": order.client_id,
        "sub": account.user_id,
        "iat": order.issued,
        "exp": order.issued + order.lifetimes.0,
        "jti": unique(),
        "https://api.openai.com/auth": account.claims(),
        "https://api.openai.com/profile": { "email": account.email, "email_verified": true },
    })
}

fn id_claims(account: &Account, order: &Order) -> Value {
    json!({
        "iss": order.id_issuer,
        "aud": order.id_audience,
        "sub": account.user_id,
        "email": account.email,
        "email_verified": true,
        "iat": order.issued,
        "exp": order.issued + order.lifetimes.1,
        "jti": unique(),
        "https://api.openai.com/auth": account.claims(),
    })
}

/// A JSON Web Token with these claims and a signature of the usual length.
pub fn json_web_token(claims: &Value) -> String {
    let header = json!({ "alg": "RS256", "kid": "fake", "typ": "JWT" });
    let signature: Vec<u8> = unique().bytes().cycle().take(256).collect();
    [
        header.to_string().into_bytes(),
        claims.to_string().into_bytes(),
        signature,
    ]
    .map(|part| URL_SAFE_NO_PAD.encode(part))
    .join(".")
}

/// The S256 challenge of a verifier (RFC 7636 section 4.2).
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// 43 random characters of base64url.
pub fn unique() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
