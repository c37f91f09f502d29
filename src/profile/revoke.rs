//! Revokes a login that is no longer used, at its own issuer.

use super::copies;
use crate::credentials::{Credentials, Source};
use crate::issuer::Issuer;
use crate::refresh::stored_issuer;
use crate::terminal::awaiting;

/// Revokes a profile's former login. Returns the reason if it must not, or could not, be revoked from here.
pub fn retire(credentials: &Credentials, profile: &str) -> Option<String> {
    let source = credentials.source();
    let reason = match source {
        Source::Command(_) | Source::Socket(_) => {
            let source = source.describe();
            Some(format!("it is held where {source} gets its tokens"))
        }
        Source::Workload { .. } => {
            Some("only a workspace administrator can remove its federation rule".to_owned())
        }
        Source::AccessToken => {
            Some("revoke the access token in the workspace's admin console".to_owned())
        }
        Source::Issuer => copies::reason_to_keep(credentials, profile),
    };
    if reason.is_some() {
        return reason;
    }
    let client_id = credentials.client_id.clone().unwrap_or_default();
    let revoked = awaiting("Revoking the login at the issuer …", || {
        Issuer::new(stored_issuer(credentials)?, client_id)?.revoke(&credentials.tokens)
    });
    let error = revoked.err()?;
    Some(format!(
        "{error:#}: anyone with a copy can use it until it expires"
    ))
}
