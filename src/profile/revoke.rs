//! Revokes credentials that nobody uses any more, at the issuer that gave them.

use anyhow::{Context, Result};

use crate::credentials::Credentials;
use crate::issuer::{Issuer, TokenKind};
use crate::url::Url;

/// Where an access token of an admin console is revoked: nobody else can do it.
pub const ADMIN_CONSOLE: &str = "revoke the access token in the admin console of the workspace";

/// Revokes the refresh token, and with it the login; where there is none, the access token (RFC 7009 section 2.1).
pub fn revoke(credentials: &Credentials) -> Result<()> {
    let (token, kind) = match credentials.refresh_token() {
        Some(refresh_token) => (refresh_token, TokenKind::Refresh),
        None => (credentials.access_token()?, TokenKind::Access),
    };
    let (issuer, client_id) = credentials
        .issuer()
        .zip(credentials.client_id())
        .context("the stored credentials have no issuer")?;
    let issuer =
        Url::parse(issuer).context("could not trust the issuer of the stored credentials")?;
    Issuer::new(issuer, client_id.to_owned())?.revoke(token, kind)
}
