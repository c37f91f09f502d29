//! Whose access token this is: what the issuer says of one that was made in an admin console.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::credentials::{Account, TokenResponse};
use crate::issuer::{Issuer, response};
use crate::net::http::Response;
use crate::text::text_of;

/// A person waits for it.
const LIMIT: Duration = Duration::from_secs(30);

impl Issuer {
    /// The access token, and whose it is as far as the issuer says.
    pub fn whoami(&self, access_token: &str) -> Result<TokenResponse> {
        let bearer = [("Authorization", format!("Bearer {access_token}"))];
        let path = "api/accounts/v1/user-auth-credential/whoami";
        judge(access_token, &self.http.get(path, &bearer, LIMIT)?)
    }
}

fn judge(access_token: &str, response: &Response) -> Result<TokenResponse> {
    let owner = response::value(response);
    let text = |name: &str| text_of(&owner[name]);
    match response.status {
        200 if owner.is_object() => Ok(TokenResponse {
            access_token: Some(access_token.to_owned()),
            account_id: text("chatgpt_account_id"),
            account: Some(Account {
                email: text("email"),
                plan: text("chatgpt_plan_type"),
                residency: None,
                is_fedramp: owner["chatgpt_account_is_fedramp"] == true,
            }),
            ..TokenResponse::default()
        }),
        401 => bail!(
            "the issuer rejected the access token: {}",
            response::describe("the issuer", response)
        ),
        _ => Err(response::unexpected(response)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    fn judged(status: u16, body: &str) -> Result<TokenResponse> {
        judge("at-1", &Response::of(status, body))
    }

    #[test]
    fn an_owner_may_have_any_of_its_members() {
        let body = r#"{"email":"a@b.example","chatgpt_user_id":"user-1","chatgpt_account_id":"account-1",
                       "chatgpt_plan_type":"business","chatgpt_account_is_fedramp":true,"new":[]}"#;
        for (body, wanted) in [
            (
                body,
                [Some("account-1"), Some("a@b.example"), Some("business")],
            ),
            (r#"{"email":null,"chatgpt_plan_type":7}"#, [None; 3]),
        ] {
            let owner = judged(200, body).unwrap();
            let account = owner.account.unwrap();
            let found = [&owner.account_id, &account.email, &account.plan];
            assert_eq!(found.map(|text| text.as_deref()), wanted);
            assert_eq!(account.is_fedramp, wanted[0].is_some());
            assert_eq!(owner.access_token.as_deref(), Some("at-1"));
        }
    }

    #[test]
    fn only_a_401_rejects_the_token() {
        let body = r#"{"error":{"code":"invalid_token","message":"It was revoked."}}"#;
        assert_eq!(
            judged(401, body).err().unwrap().to_string(),
            "the issuer rejected the access token: It was revoked. (invalid_token, status 401)"
        );
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
