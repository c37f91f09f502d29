//! Whose access token this is: what the issuer says of one that was made in an admin console.

use std::time::Duration;

use anyhow::Result;

use crate::issuer::{Issuer, response};
use crate::net::http::Response;
use crate::text::text_of;

/// A person waits for it.
const LIMIT: Duration = Duration::from_secs(30);

/// What the issuer says of an access token.
pub enum Whoami {
    Owner(TokenOwner),
    /// The issuer does not accept the token, for this reason.
    Rejected(String),
}

/// Whose an access token is. A member that the issuer leaves out is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TokenOwner {
    pub email: Option<String>,
    pub account_id: Option<String>,
    pub plan: Option<String>,
    pub is_fedramp: bool,
}

impl Issuer {
    /// Asks whose an access token is.
    pub fn whoami(&self, access_token: &str) -> Result<Whoami> {
        let bearer = [("Authorization", format!("Bearer {access_token}"))];
        let path = "api/accounts/v1/user-auth-credential/whoami";
        judge(&self.http.get(path, &bearer, LIMIT)?)
    }
}

fn judge(response: &Response) -> Result<Whoami> {
    let owner = response::value(response);
    match response.status {
        200 if owner.is_object() => {
            let text = |name: &str| text_of(&owner[name]);
            Ok(Whoami::Owner(TokenOwner {
                email: text("email"),
                account_id: text("chatgpt_account_id"),
                plan: text("chatgpt_plan_type"),
                is_fedramp: owner["chatgpt_account_is_fedramp"] == true,
            }))
        }
        401 => Ok(Whoami::Rejected(response::describe("the issuer", response))),
        _ => Err(response::unexpected(response)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    fn judged(status: u16, body: &str) -> Result<Whoami> {
        judge(&Response {
            status,
            body: body.into(),
            ..Response::default()
        })
    }

    #[test]
    fn an_owner_may_have_any_of_its_members() {
        let body = r#"{"email":"a@b.example","chatgpt_user_id":"user-1","chatgpt_account_id":"account-1",
                       "chatgpt_plan_type":"business","chatgpt_account_is_fedramp":true,"new":[]}"#;
        for (body, wanted) in [
            (
                body,
                TokenOwner {
                    email: Some("a@b.example".to_owned()),
                    account_id: Some("account-1".to_owned()),
                    plan: Some("business".to_owned()),
                    is_fedramp: true,
                },
            ),
            (
                r#"{"email":null,"chatgpt_plan_type":7}"#,
                TokenOwner::default(),
            ),
        ] {
            let Ok(Whoami::Owner(owner)) = judged(200, body) else {
                panic!("no owner in {body}");
            };
            assert_eq!(owner, wanted);
        }
    }

    #[test]
    fn only_a_401_rejects_the_token() {
        let body = r#"{"error":{"code":"invalid_token","message":"It was revoked."}}"#;
        assert!(matches!(
            judged(401, body),
            Ok(Whoami::Rejected(reason)) if reason == "It was revoked. (invalid_token, status 401)"
        ));
        for (status, body, is_temporary) in [
            (200, "[]", false),
            (200, "<html>", false),
            (403, "", false),
            (404, "", false),
            (429, "", true),
            (503, "", true),
        ] {
            let error = judged(status, body).err().unwrap();
            let failure = error.downcast_ref();
            let found = matches!(failure, Some(Failure::Temporary(_)));
            assert_eq!(found, is_temporary, "{status} {body}");
        }
    }
}
