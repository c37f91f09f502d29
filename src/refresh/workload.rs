//! Tokens for a workload: reads the identity token that its platform wrote to a file, and has the issuer exchange it.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::obstacle::{failed, refused};
use crate::credentials::{Assertion, Credentials, Source, TokenResponse};
use crate::error::Failure;
use crate::issuer::{Issuer, RefreshOutcome};
use crate::settings;
use crate::store;
use crate::url::Url;

/// All that one exchange needs.
pub struct Workload {
    issuer: Issuer,
    rule: String,
    context: Option<String>,
    assertion: Assertion,
}

impl Workload {
    pub fn new(issuer: Url, rule: &str, file: &str) -> Result<Self> {
        Ok(Self {
            issuer: Issuer::new(issuer, settings::client_id()?)?,
            rule: rule.to_owned(),
            context: settings::workload_context()?,
            assertion: identity_token(file)?,
        })
    }

    /// An access token, for the same user and account as that of `earlier` credentials, if there are any.
    pub fn exchange(&self, earlier: Option<&Credentials>) -> RefreshOutcome {
        let context = self.context.as_deref();
        let outcome = self
            .issuer
            .exchange_assertion(&self.rule, &self.assertion, context);
        match (&outcome, earlier) {
            (RefreshOutcome::Tokens(response), Some(earlier)) if !earlier.is_owned_by(response) => {
                self.revoke_unused(response);
                let words = "it is for another user or account than before";
                RefreshOutcome::Revoked(words.to_owned())
            }
            _ => outcome,
        }
    }

    /// Which identity token was exchanged.
    pub fn fingerprint(&self) -> String {
        self.assertion.fingerprint()
    }

    pub fn revoke_unused(&self, response: &TokenResponse) {
        self.issuer.revoke_unused(response);
    }
}

/// Credentials with the first token of a workload.
pub fn first_credentials(source: &Source, rule: &str, file: &str) -> Result<Credentials> {
    let workload = Workload::new(settings::issuer()?, rule, file)?;
    let response = match workload.exchange(None) {
        RefreshOutcome::Tokens(response) => response,
        RefreshOutcome::Revoked(reason) => return Err(refused(source, "", &reason)),
        RefreshOutcome::Failed { reason, .. } | RefreshOutcome::Unauthorized { reason, .. } => {
            return Err(failed(source, &reason).into());
        }
        RefreshOutcome::Unchanged(reason) => return Err(failed(source, reason).into()),
    };
    let mut credentials = Credentials::new(source.clone(), &response, SystemTime::now());
    credentials.issuer = Some(workload.issuer.url().to_owned());
    credentials.assertion = Some(workload.fingerprint());
    Ok(credentials)
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
