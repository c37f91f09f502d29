//! Exchanges the identity token of a workload, which its platform made, for an access token: the JWT bearer grant of RFC 7523
//! section 2.1 with the federation rule that an administrator made. There is no refresh token.

use std::time::SystemTime;

use form_urlencoded::Serializer;

use super::{FailureKind, Issuer, REFRESH_LIMIT, RefreshFailure, RefreshOutcome, TOKEN, response};
use crate::credentials::{Assertion, TokenResponse};
use crate::net::http::{self, Response};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

impl Issuer {
    /// Exchanges an identity token (the assertion). It may be accepted only once. `context` is a JSON object for the audit log.
    pub fn exchange_assertion(
        &self,
        rule: &str,
        assertion: &Assertion,
        context: Option<&str>,
    ) -> RefreshOutcome {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", GRANT_TYPE)
            .append_pair("assertion", assertion.as_str())
            .append_pair("federation_rule_id", rule);
        if let Some(context) = context {
            form.append_pair("workload_identity_context", context);
        }
        let form = form.finish();
        judge(&self.http.post(TOKEN, http::FORM, &form, REFRESH_LIMIT)?)
    }
}

/// Final is what is said of this assertion: the next one may be accepted.
fn judge(response: &Response) -> RefreshOutcome {
    let said = || response::describe("the issuer", response);
    let (kind, reason) = match response.status {
        200..=299 => {
            let body = response::json(&response.body);
            match TokenResponse::parse_exchanged(body, response.date, SystemTime::now()) {
                Ok(tokens) => return Ok(tokens),
                Err(flaw) => (
                    FailureKind::Temporary,
                    format!("the issuer's response cannot be used: {flaw}"),
                ),
            }
        }
        // Without an error of the issuer's it may be the page of a proxy.
        400 | 401 | 403 if response::has_error(response) => (FailureKind::Revoked, said()),
        _ => (FailureKind::Temporary, said()),
    };
    Err(RefreshFailure {
        retry_after: response.retry_after,
        ..RefreshFailure::new(kind, reason)
    })
}
