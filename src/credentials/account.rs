//! Whose the tokens are, by what is stored beside them, else by their claims.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Credentials, TokenResponse, is_token, jwt};
use crate::text::{printable, text_of};

/// The claims that say whose a token is.
const AUTH_CLAIMS: &str = "https://api.openai.com/auth";
const PROFILE_CLAIMS: &str = "https://api.openai.com/profile";

/// What the issuer or a command says about an access token in addition to its claims.
#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    pub email: Option<String>,
    pub plan: Option<String>,
    pub residency: Option<String>,
    pub is_fedramp: bool,
}

impl Credentials {
    /// The ID of the ChatGPT account: as stored, else from the claims of a token.
    pub fn account_id(&self) -> Option<String> {
        let stored = self.tokens.account_id.clone();
        stored.or_else(|| self.claimed(account_id_in))
    }

    /// Whether new tokens are for the same user and account.
    pub fn is_owned_by(&self, response: &TokenResponse) -> bool {
        let claims = response.access_token.as_deref().and_then(jwt::claims);
        self.account_id() == response.account_id
            && self.claimed(user_id_in) == claims.as_ref().and_then(user_id_in)
    }

    /// Fit for one line of a terminal, as all that a token or the file brings.
    pub fn email(&self) -> Option<String> {
        let stored = self.account.as_ref().and_then(|it| it.email.as_deref());
        stored.map(printable).or_else(|| {
            self.claimed(|claims| {
                shown(&claims["email"]).or_else(|| shown(&claims[PROFILE_CLAIMS]["email"]))
            })
        })
    }

    /// The plan when the token was made.
    pub fn claimed_plan(&self) -> Option<String> {
        let stored = self.account.as_ref().and_then(|it| it.plan.as_deref());
        stored
            .map(printable)
            .or_else(|| self.claimed(|claims| shown(&claims[AUTH_CLAIMS]["chatgpt_plan_type"])))
    }

    /// The region that the workspace is pinned to, if it is.
    pub fn residency(&self) -> Option<String> {
        let pinned = |claims: &Value| {
            let auth = &claims[AUTH_CLAIMS];
            text_of(&auth["chatgpt_compute_residency"])
                .or_else(|| text_of(&auth["chatgpt_data_residency"]))
        };
        let stored = self.account.as_ref().and_then(|it| it.residency.clone());
        stored
            .or_else(|| self.claimed(pinned))
            .filter(|region| region != "no_constraint" && is_token(region))
    }

    /// Whether the account is one of a `FedRAMP` workspace, whose requests say so.
    pub fn is_fedramp(&self) -> bool {
        let claimed = |claims: &Value| claims[AUTH_CLAIMS]["chatgpt_account_is_fedramp"].as_bool();
        self.account.as_ref().is_some_and(|it| it.is_fedramp)
            || self.claimed(claimed).unwrap_or(false)
    }

    fn claimed<T>(&self, find: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let tokens = [&self.tokens.id_token, &self.tokens.access_token];
        let mut tokens = tokens.into_iter().flatten();
        tokens.find_map(|token| find(&jwt::claims(token)?))
    }
}

/// A text for people.
fn shown(value: &Value) -> Option<String> {
    value
        .as_str()
        .map(printable)
        .filter(|text| !text.is_empty())
}

/// The ID of the user that the claims of a token name.
pub(super) fn user_id_in(claims: &Value) -> Option<String> {
    text_of(&claims[AUTH_CLAIMS]["chatgpt_user_id"])
}

/// The ID of the ChatGPT account that the claims of a token name.
pub(super) fn account_id_in(claims: &Value) -> Option<String> {
    text_of(&claims[AUTH_CLAIMS]["chatgpt_account_id"]).filter(|id| is_token(id))
}
