//! The source of a profile's tokens: the issuer, in exchange for a refresh token or a workload's identity token, or a
//! command.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use super::command::{self, LIMIT};
use crate::credentials::{
    Credentials, Source, TokenRequest, TokenResponse, fingerprint, parse_assertion,
};
use crate::error::{login_required, temporary};
use crate::issuer::{FailureKind, Issuer, RefreshFailure, RefreshOutcome};
use crate::settings::{self, login_command};
use crate::store;
use crate::url::Url;

pub enum Provider {
    /// The issuer of the credentials, and the refresh token, which is sent to no one else.
    Issuer(Box<Issuer>, String),
    /// The issuer, the federation rule, the identity token, and its context.
    Workload(Box<Issuer>, String, String, Option<String>),
    /// The command or socket, and the backend, which limits what routing is accepted from it.
    Command(Source, Url),
}

impl Provider {
    /// Does everything that can hang: loading certificates, resolving a proxy's name.
    pub fn new(credentials: &Credentials, profile: &str) -> Result<Self> {
        let parts = check_refreshable(credentials, profile)?;
        Ok(match (credentials.source(), parts) {
            (_, Some((url, client_id, refresh_token))) => {
                let issuer = Issuer::new(url, client_id.to_owned())?;
                Self::Issuer(issuer.into(), refresh_token.to_owned())
            }
            (Source::Workload { rule, file }, None) => {
                let issuer = Issuer::new(stored_issuer(credentials)?, settings::client_id()?)?;
                let context = settings::workload_context()?;
                Self::Workload(issuer.into(), rule.clone(), identity_token(file)?, context)
            }
            (source, None) => Self::Command(source.clone(), settings::backend()?),
        })
    }

    /// Gets new tokens for these credentials. A command may take as long as its caller waits, if that is longer than
    /// usual.
    pub fn ask(
        &self,
        credentials: &Credentials,
        request: &TokenRequest,
        patience: Duration,
    ) -> RefreshOutcome {
        match self {
            Self::Issuer(issuer, refresh_token) => issuer.refresh(refresh_token),
            Self::Workload(issuer, rule, assertion, context) => {
                let response = issuer.exchange_assertion(rule, assertion, context.as_deref())?;
                check_owner(issuer, credentials, response)
            }
            Self::Command(source, backend) => {
                let output = command::output(source, request, patience.max(LIMIT))?;
                let response = TokenResponse::from_command(&output, backend, SystemTime::now())
                    .map_err(|error| RefreshFailure::temporary(error.to_string()))?;
                check_usable(source, credentials, response, request)
            }
        }
    }

    /// Revokes tokens that nobody will use. A command's tokens are in use elsewhere.
    pub fn revoke_unused(&self, response: &TokenResponse) {
        if let Self::Issuer(issuer, _) | Self::Workload(issuer, ..) = self {
            let _ = issuer.revoke(&response.tokens);
        }
    }

    /// The fingerprint of the identity token that is sent, if any.
    pub fn assertion(&self) -> Option<String> {
        match self {
            Self::Workload(_, _, assertion, _) => Some(fingerprint(assertion)),
            _ => None,
        }
    }
}

/// Refuses a workload's tokens that belong to another user or account than before, and revokes them.
fn check_owner(
    issuer: &Issuer,
    credentials: &Credentials,
    response: TokenResponse,
) -> RefreshOutcome {
    if credentials.access_token().is_err() || credentials.is_owned_by(&response) {
        return Ok(response);
    }
    let _ = issuer.revoke(&response.tokens);
    let words = "it is for another user or account than before";
    Err(RefreshFailure::new(FailureKind::Revoked, words))
}

/// Fails unless a command's token belongs to the same account, and differs from the stored token or is valid for longer.
fn check_usable(
    source: &Source,
    credentials: &Credentials,
    response: TokenResponse,
    request: &TokenRequest,
) -> RefreshOutcome {
    let wrong = match (credentials.account_id(), &response.tokens.account_id) {
        (Some(ours), Some(theirs)) if ours != *theirs => "it printed a token of another account",
        (Some(_), None) => "it did not say which account its token belongs to",
        _ => "",
    };
    if !wrong.is_empty() {
        return Err(RefreshFailure::temporary(wrong));
    }
    let is_same = response.tokens.access_token == credentials.tokens.access_token;
    let asks_for_another = request.asks_for_another();
    if !is_same || !asks_for_another && credentials.is_prolonged_by(&response, SystemTime::now()) {
        return Ok(response);
    }
    let advice = match source {
        Source::Socket(_) if asks_for_another => ", and cannot be asked for another one",
        _ if asks_for_another => ": pass CODEX_AUTH_REQUEST on to the machine that refreshes it",
        _ => "",
    };
    let words = format!("it printed the same token again{advice}");
    Err(RefreshFailure::new(FailureKind::Unchanged, words))
}

/// The issuer of the credentials, the client, and the refresh token; `None` if they come from elsewhere. Fails if nobody
/// can refresh these credentials. Depends on nothing else, so that a failure is always about them.
pub fn check_refreshable<'a>(
    credentials: &'a Credentials,
    profile: &str,
) -> Result<Option<(Url, &'a str, &'a str)>> {
    if credentials.source().is_stored() {
        return Ok(None);
    }
    let login = login_command(profile);
    if credentials.is_access_token_only() {
        bail!(login_required(format!(
            "an access token from an admin console is never refreshed: create a new one, and run {login} --with-access-token"
        )));
    }
    let has_issuer = credentials.issuer.as_ref().is_some_and(|it| !it.is_empty());
    let client_id = credentials.client_id.as_deref().filter(|_| has_issuer);
    let parts = client_id.zip(credentials.tokens.refresh_token.as_deref());
    let (client_id, refresh_token) = parts.ok_or_else(|| {
        let words = "the stored credentials have no issuer or no refresh token";
        login_required(format!("{words}: run {login}"))
    })?;
    let advised = |error| login_required(format!("{error:#}: run {login}"));
    let issuer = stored_issuer(credentials).map_err(advised)?;
    Ok(Some((issuer, client_id, refresh_token)))
}

/// The issuer of the credentials.
pub fn stored_issuer(credentials: &Credentials) -> Result<Url> {
    Url::parse(credentials.issuer.as_deref().unwrap_or_default())
        .context("could not trust the issuer of the stored credentials")
}

/// Whether the identity token in the file is the one that was sent last, as it may work only once.
pub fn is_sent(credentials: &Credentials) -> bool {
    let Source::Workload { file, .. } = credentials.source() else {
        return false;
    };
    identity_token(file)
        .is_ok_and(|assertion| credentials.assertion == Some(fingerprint(&assertion)))
}

/// The current identity token in the file. The platform replaces it, so a problem with it may be temporary.
pub fn identity_token(file: &str) -> Result<String> {
    let read = || {
        let content = store::read(Path::new(file), |_| Ok(()))?.context("it does not exist")?;
        parse_assertion(content, SystemTime::now())
    };
    let words = |error| format!("could not use the identity token in {file}: {error:#}");
    read().map_err(|error| temporary(words(error)))
}
