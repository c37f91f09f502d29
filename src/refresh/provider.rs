//! Who gives the tokens of a profile: the issuer, for its refresh token or the identity token of a workload, or a command.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rand::RngExt;

use super::command::{self, LIMIT, Unobtained};
use super::obstacle::{failed, refused};
use super::workload::{self, Workload};
use crate::credentials::{Credentials, ForwardedRequest, Source, TokenResponse};
use crate::error::Failure;
use crate::issuer::{Issuer, RefreshOutcome};
use crate::settings::{self, login_command};
use crate::url::Url;

pub enum Provider {
    /// The issuer that gave the credentials, and the refresh token, which nobody else ever gets.
    Issuer(Box<Issuer>, String),
    Command(Source),
    Workload(Box<Workload>),
}

impl Provider {
    /// What can hang does so here: certificates, the name of a proxy.
    pub fn new(credentials: &Credentials, profile: &str) -> Result<Self> {
        match credentials.source() {
            Source::Issuer | Source::AccessToken => {}
            Source::Workload { rule, file } => {
                let issuer = stored_issuer(credentials)?;
                return Ok(Self::Workload(Box::new(Workload::new(issuer, rule, file)?)));
            }
            source => return Ok(Self::Command(source.clone())),
        }
        let (url, client_id, refresh_token) = issuer_parts(credentials, profile)?;
        let issuer = Issuer::new(url, client_id.to_owned())?;
        Ok(Self::Issuer(Box::new(issuer), refresh_token.to_owned()))
    }

    /// New tokens in the place of those of these credentials. A command may take as long as its caller waits, if that is longer
    /// than usual.
    pub fn ask(
        &self,
        credentials: &Credentials,
        request: &ForwardedRequest,
        patience: Duration,
    ) -> RefreshOutcome {
        match self {
            Self::Issuer(issuer, refresh_token) => issuer.refresh(refresh_token),
            Self::Workload(workload) => workload.exchange(Some(credentials)),
            Self::Command(source) => match obtain(source, request, patience.max(LIMIT)) {
                Ok(response) => judge(source, credentials, response, request),
                Err(Unobtained::LoginRequired(reason)) => RefreshOutcome::Unauthorized {
                    reason,
                    retry_after: None,
                },
                Err(Unobtained::Failed { reason, reached }) => RefreshOutcome::Failed {
                    reason,
                    retry_after: None,
                    reached,
                    answered: true,
                },
            },
        }
    }

    /// Revokes tokens that nobody will use. Those of a command are in use elsewhere.
    pub fn revoke_unused(&self, response: &TokenResponse) {
        match self {
            Self::Issuer(issuer, _) => issuer.revoke_unused(response),
            Self::Workload(workload) => workload.revoke_unused(response),
            Self::Command(_) => {}
        }
    }

    /// Which identity token is sent, if one is.
    pub fn assertion(&self) -> Option<String> {
        match self {
            Self::Workload(workload) => Some(workload.fingerprint()),
            Self::Issuer(..) | Self::Command(_) => None,
        }
    }
}

/// Credentials with the first token from a command or for a workload.
pub fn first_credentials(source: Source) -> Result<Credentials> {
    if let Source::Workload { rule, file } = &source {
        return workload::first_credentials(&source, rule, file);
    }
    let response = obtain(&source, &ForwardedRequest::default(), LIMIT);
    let response = response.map_err(|unobtained| match unobtained {
        Unobtained::LoginRequired(reason) => refused(&source, "", &reason),
        Unobtained::Failed { reason, .. } => failed(&source, &reason).into(),
    })?;
    let mut credentials = Credentials::new(source, &response, SystemTime::now());
    credentials.choose_refresh_window(rand::rng().random());
    Ok(credentials)
}

/// A token from a command, or a socket.
fn obtain(
    source: &Source,
    request: &ForwardedRequest,
    limit: Duration,
) -> Result<TokenResponse, Unobtained> {
    let backend = settings::backend().map_err(|error| Unobtained::Failed {
        reason: error.to_string(),
        reached: false,
    })?;
    let output = command::output(source, request, limit)?;
    let response = TokenResponse::from_command(&output, &backend, SystemTime::now());
    response.map_err(|error| error.to_string().into())
}

/// Takes a token of a command only if it is of the same account, and serves better than the one that is there.
fn judge(
    source: &Source,
    credentials: &Credentials,
    response: TokenResponse,
    request: &ForwardedRequest,
) -> RefreshOutcome {
    match (credentials.account_id(), &response.account_id) {
        (Some(ours), Some(theirs)) if ours != *theirs => {
            return unusable("it printed a token of another account");
        }
        (Some(_), None) => return unusable("it did not say whose token it printed"),
        _ => {}
    }
    let is_same = response.access_token.as_deref() == credentials.access_token().ok();
    let is_longer = credentials.is_prolonged_by(&response, SystemTime::now());
    match source {
        _ if !is_same || is_longer && !request.asks_for_another() => {
            RefreshOutcome::Tokens(response)
        }
        Source::Command(_) if request.asks_for_another() => RefreshOutcome::Unchanged(
            "it printed the same token again: the machine that refreshes it has to see CODEX_AUTH_REQUEST",
        ),
        Source::Socket(_) if request.asks_for_another() => RefreshOutcome::Unchanged(
            "it sent the same token again, and cannot be asked for another one",
        ),
        _ => RefreshOutcome::Unchanged("it printed the same token again"),
    }
}

fn unusable(reason: &str) -> RefreshOutcome {
    RefreshOutcome::Failed {
        reason: reason.to_owned(),
        retry_after: None,
        reached: true,
        answered: true,
    }
}

/// Fails if nobody can refresh these credentials. It looks at nothing but them, so that the failure is theirs.
pub fn check_refreshable(credentials: &Credentials, profile: &str) -> Result<()> {
    if credentials.source().is_stored() {
        return Ok(());
    }
    issuer_parts(credentials, profile).map(drop)
}

/// What a refresh at the issuer needs: its URL, the ID of the client, and the refresh token.
fn issuer_parts<'a>(
    credentials: &'a Credentials,
    profile: &str,
) -> Result<(Url, &'a str, &'a str)> {
    let login = login_command(profile);
    if credentials.is_access_token_only() {
        let words = format!(
            "an access token of an admin console is never refreshed: make a new one, and run {login} --with-access-token"
        );
        return Err(Failure::LoginRequired(words).into());
    }
    let issuer = credentials.issuer.as_deref();
    let parts = issuer
        .filter(|issuer| !issuer.is_empty())
        .zip(credentials.client_id.as_deref())
        .zip(credentials.refresh_token());
    let Some(((_, client_id), refresh_token)) = parts else {
        let words =
            format!("the stored credentials have no issuer or no refresh token: run {login}");
        return Err(Failure::LoginRequired(words).into());
    };
    Ok((stored_issuer(credentials)?, client_id, refresh_token))
}

fn stored_issuer(credentials: &Credentials) -> Result<Url> {
    Url::parse(credentials.issuer.as_deref().unwrap_or_default())
        .context("could not trust the issuer of the stored credentials")
}
