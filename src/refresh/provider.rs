//! Who gives the tokens of a profile: the issuer, for its refresh token or the identity token of a workload, or a command.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rand::RngExt;

use super::command::{self, LIMIT};
use super::failure::error_of;
use crate::credentials::{Assertion, Credentials, ForwardedRequest, Source, TokenResponse};
use crate::error::Failure;
use crate::issuer::{FailureKind, Issuer, RefreshFailure, RefreshOutcome};
use crate::settings::{self, login_command};
use crate::store;
use crate::url::Url;

pub enum Provider {
    /// The issuer that gave the credentials, and the refresh token, which nobody else ever gets.
    Issuer(Box<Issuer>, String),
    Workload {
        issuer: Box<Issuer>,
        rule: String,
        context: Option<String>,
        assertion: Assertion,
    },
    Command(Source),
}

impl Provider {
    /// What can hang does so here: certificates, the name of a proxy.
    pub fn new(credentials: &Credentials, profile: &str) -> Result<Self> {
        let issuer = |client_id| -> Result<Box<Issuer>> {
            Ok(Issuer::new(stored_issuer(credentials)?, client_id)?.into())
        };
        Ok(match credentials.source() {
            Source::Issuer | Source::AccessToken => {
                let (client_id, refresh_token) = issuer_parts(credentials, profile)?;
                Self::Issuer(issuer(client_id.to_owned())?, refresh_token.to_owned())
            }
            Source::Workload { rule, file } => Self::Workload {
                issuer: issuer(settings::client_id()?)?,
                rule: rule.clone(),
                context: settings::workload_context()?,
                assertion: identity_token(file)?,
            },
            source => Self::Command(source.clone()),
        })
    }

    /// Gets new tokens for these credentials. A command may take as long as its caller waits, if that is longer than usual.
    pub fn ask(
        &self,
        credentials: &Credentials,
        request: &ForwardedRequest,
        patience: Duration,
    ) -> RefreshOutcome {
        match self {
            Self::Issuer(issuer, refresh_token) => issuer.refresh(refresh_token),
            Self::Workload {
                issuer,
                rule,
                context,
                assertion,
            } => {
                let response = issuer.exchange_assertion(rule, assertion, context.as_deref())?;
                if credentials.access_token().is_ok() && !credentials.is_owned_by(&response) {
                    issuer.revoke_unused(&response);
                    let words = "it is for another user or account than before";
                    return Err(RefreshFailure::new(FailureKind::Revoked, words));
                }
                Ok(response)
            }
            Self::Command(source) => {
                let backend = settings::backend().map_err(|error| {
                    RefreshFailure::new(FailureKind::Unreached, error.to_string())
                })?;
                let output = command::output(source, request, patience.max(LIMIT))?;
                let response = TokenResponse::from_command(&output, &backend, SystemTime::now());
                let response =
                    response.map_err(|error| RefreshFailure::temporary(error.to_string()))?;
                check_usable(source, credentials, &response, request)?;
                Ok(response)
            }
        }
    }

    /// Revokes tokens that nobody will use. Those of a command are in use elsewhere.
    pub fn revoke_unused(&self, response: &TokenResponse) {
        match self {
            Self::Issuer(issuer, _) | Self::Workload { issuer, .. } => {
                issuer.revoke_unused(response);
            }
            Self::Command(_) => {}
        }
    }

    /// The fingerprint of the identity token that is sent, if one is.
    pub fn assertion(&self) -> Option<String> {
        match self {
            Self::Workload { assertion, .. } => Some(assertion.fingerprint()),
            Self::Issuer(..) | Self::Command(_) => None,
        }
    }
}

/// Credentials with the first token from a command or for a workload.
pub fn first_credentials(source: Source) -> Result<Credentials> {
    let mut credentials = Credentials::new(source);
    let source = credentials.source().clone();
    if !source.is_external() {
        credentials.issuer = Some(settings::issuer()?.to_string());
    }
    let provider = Provider::new(&credentials, "")?;
    let outcome = provider.ask(&credentials, &ForwardedRequest::default(), LIMIT);
    let response = outcome.map_err(|failure| error_of(&failure, &source, ""))?;
    credentials.update(&response, SystemTime::now())?;
    credentials.assertion = provider.assertion();
    if source.is_external() {
        credentials.choose_refresh_window(rand::rng().random());
    }
    Ok(credentials)
}

/// Fails unless a command's token is for the same account, and is another one than the stored token or valid for longer.
fn check_usable(
    source: &Source,
    credentials: &Credentials,
    response: &TokenResponse,
    request: &ForwardedRequest,
) -> Result<(), RefreshFailure> {
    match (credentials.account_id(), &response.tokens.account_id) {
        (Some(ours), Some(theirs)) if ours != *theirs => {
            return Err(RefreshFailure::temporary(
                "it printed a token of another account",
            ));
        }
        (Some(_), None) => {
            return Err(RefreshFailure::temporary(
                "it did not say whose token it printed",
            ));
        }
        _ => {}
    }
    let is_same = response.tokens.access_token == credentials.tokens.access_token;
    let is_longer = credentials.is_prolonged_by(response, SystemTime::now());
    let asks_for_another = request.asks_for_another();
    if !is_same || is_longer && !asks_for_another {
        return Ok(());
    }
    let words = match source {
        Source::Command(_) if asks_for_another => {
            "it printed the same token again: pass CODEX_AUTH_REQUEST on to the machine that refreshes it"
        }
        Source::Socket(_) if asks_for_another => {
            "it sent the same token again, and cannot be asked for another one"
        }
        _ => "it printed the same token again",
    };
    Err(RefreshFailure::new(FailureKind::Unchanged, words))
}

/// Fails if nobody can refresh these credentials. It looks at nothing but them, so that the failure is theirs.
pub fn check_refreshable(credentials: &Credentials, profile: &str) -> Result<()> {
    if credentials.source().is_stored() {
        return Ok(());
    }
    issuer_parts(credentials, profile)?;
    stored_issuer(credentials).map(drop)
}

/// The client, and the refresh token.
fn issuer_parts<'a>(credentials: &'a Credentials, profile: &str) -> Result<(&'a str, &'a str)> {
    let login = login_command(profile);
    if credentials.is_access_token_only() {
        let words = format!(
            "an access token from an admin console is never refreshed: create a new one, and run {login} --with-access-token"
        );
        return Err(Failure::LoginRequired(words).into());
    }
    let client_id = credentials.client_id.as_deref();
    let has_issuer = credentials.issuer.as_ref().is_some_and(|it| !it.is_empty());
    let parts = client_id.zip(credentials.tokens.refresh_token.as_deref());
    Ok(parts.filter(|_| has_issuer).ok_or_else(|| {
        let words = "the stored credentials have no issuer or no refresh token";
        Failure::LoginRequired(format!("{words}: run {login}"))
    })?)
}

/// The issuer that gave the credentials.
pub fn stored_issuer(credentials: &Credentials) -> Result<Url> {
    Url::parse(credentials.issuer.as_deref().unwrap_or_default())
        .context("could not trust the issuer of the stored credentials")
}

/// Whether the identity token in the file is the one that was sent last: it may work only once.
pub fn is_sent(credentials: &Credentials) -> bool {
    let Source::Workload { file, .. } = credentials.source() else {
        return false;
    };
    identity_token(file)
        .is_ok_and(|assertion| credentials.assertion == Some(assertion.fingerprint()))
}

/// The identity token in the file now. Its platform replaces it: what is wrong with it may pass.
pub fn identity_token(file: &str) -> Result<Assertion> {
    let read = || {
        let content = store::read_foreign(Path::new(file))?.context("it does not exist")?;
        Assertion::parse(content, SystemTime::now())
    };
    let words = |error| format!("could not use the identity token in {file}: {error:#}");
    read().map_err(|error| Failure::Temporary(words(error)).into())
}
