//! The owner of the tokens: as stored with them, or else as they claim (RFC 7519). Signatures are not verified, because
//! tokens come directly from the issuer over TLS (OpenID Connect Core 3.1.3.7).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Credentials, TokenResponse, Tokens, is_token};
use crate::text::{printable, text_of};

/// The claims that identify the owner of a token.
const AUTH: &str = "https://api.openai.com/auth";
const PROFILE: &str = "https://api.openai.com/profile";

/// The owner of an access token. What the issuer or a command says beyond the token's claims is stored.
#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// The ID of the ChatGPT account, which is stored with the tokens.
    #[serde(skip)]
    pub id: Option<String>,
    #[serde(skip)]
    pub user_id: Option<String>,
    pub email: Option<String>,
    /// The plan when the token was issued.
    pub plan: Option<String>,
    /// The region that the workspace is pinned to, if any.
    pub residency: Option<String>,
    /// Whether it belongs to a `FedRAMP` workspace, whose requests need a header.
    pub is_fedramp: bool,
}

impl Account {
    /// Reads objects from the issuer, such as claims. For each member, the first object that has it counts.
    pub fn of(objects: &[&Value]) -> Self {
        let text = |name| objects.iter().find_map(|object| text_of(&object[name]));
        let compute = text("chatgpt_compute_residency");
        let is_fedramp = |object: &&Value| object["chatgpt_account_is_fedramp"] == true;
        Self {
            id: text("chatgpt_account_id").filter(|id| is_token(id)),
            user_id: text("chatgpt_user_id"),
            email: text("email"),
            plan: text("chatgpt_plan_type"),
            residency: compute.or_else(|| text("chatgpt_data_residency")),
            is_fedramp: objects.iter().any(is_fedramp),
        }
    }

    /// According to the claims of the ID token, or else of the access token.
    pub(super) fn claimed(tokens: &Tokens) -> Self {
        let tokens = [&tokens.id_token, &tokens.access_token].into_iter();
        let claims: Vec<Value> = tokens.flatten().map(|token| claims(token)).collect();
        let objects = claims.iter().flat_map(|it| [&it[AUTH], it, &it[PROFILE]]);
        Self::of(&objects.collect::<Vec<_>>())
    }
}

impl Credentials {
    /// The owner: as stored, or else as claimed. Texts fit on one line of a terminal, the ID and the region in a header.
    pub fn account(&self) -> Account {
        let stored = self.account.clone().unwrap_or_default();
        let claimed = Account::claimed(&self.tokens);
        let is_region = |text: &String| text != "no_constraint" && is_token(text);
        Account {
            id: self.tokens.account_id.clone().or(claimed.id),
            user_id: claimed.user_id,
            email: stored.email.or(claimed.email).map(|it| printable(&it)),
            plan: stored.plan.or(claimed.plan).map(|it| printable(&it)),
            residency: stored.residency.or(claimed.residency).filter(is_region),
            is_fedramp: stored.is_fedramp || claimed.is_fedramp,
        }
    }

    pub fn account_id(&self) -> Option<String> {
        self.account().id
    }

    /// Whether new tokens are for the same user and account.
    pub fn is_owned_by(&self, response: &TokenResponse) -> bool {
        let (ours, theirs) = (self.account(), Account::claimed(&response.tokens));
        ours.id == response.tokens.account_id && ours.user_id == theirs.user_id
    }
}

/// The claims of a JWT (RFC 7519 section 3); null if it is not a JWT.
pub(super) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('='));
    serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or_default()
}

/// A number of seconds, as servers write it: a number, or a string with one. Fractions are dropped.
pub fn seconds_of(value: &Value) -> Option<u64> {
    let text = || value.as_str()?.trim().parse().ok();
    let seconds = Duration::try_from_secs_f64(value.as_f64().or_else(text)?).ok()?;
    Some(seconds.as_secs())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An unsigned token with these claims.
    pub fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }
}
