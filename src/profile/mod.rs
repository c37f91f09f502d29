//! The credentials that a command uses: those of a profile, or Codex's own.
//!
//! `Profile` provides a token to print or pass on, through `refresh` or `codex`. `status` describes the login of a
//! profile. `copies` finds profiles that share a login, and revokes one. `replacement` replaces a stored login with a
//! new one.

pub mod codex;
pub mod copies;
pub mod replacement;
pub mod status;

use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::credentials::{Credentials, TokenRequest};
use crate::error::{TEMPORARY, exit_code, usage};
use crate::refresh::{self, ValidToken, verify};
use crate::settings::{self, CODEX_PROFILE};
use crate::store::{self, Lock, Store};
use crate::terminal::say;
use crate::text::capitalized;

/// How long a user waits for a refresh in progress: longer than its request can take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a user waits before a message says for what.
const SILENCE: Duration = Duration::from_secs(1);

/// Whose credentials a command uses.
pub enum Profile {
    /// One of our profiles.
    Own(Store),
    /// Codex's own login, which codex-auth only reads.
    Codex,
}

impl Profile {
    /// The profile given by the option, or else by the environment, or else the default one.
    pub fn chosen(option: Option<String>) -> Result<Self> {
        Self::named(settings::profile(option)?)
    }

    pub fn named(name: String) -> Result<Self> {
        match name.as_str() {
            CODEX_PROFILE => Ok(Self::Codex),
            _ => Store::new(name).map(Self::Own),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Own(store) => &store.profile,
            Self::Codex => CODEX_PROFILE,
        }
    }

    /// A token that satisfies the request. Every command that prints a token or passes it on gets it here.
    pub fn valid_token(&self, request: &TokenRequest) -> Result<ValidToken> {
        match self {
            Self::Own(store) => refresh::valid_token(store, request),
            Self::Codex => {
                let credentials = codex::load()?;
                codex::check(&credentials, request, SystemTime::now())?;
                Ok(credentials.into())
            }
        }
    }

    /// The same token, after asking the backend whether it accepts it, or another one.
    pub fn verified(&self, token: ValidToken, request: &TokenRequest) -> Result<ValidToken> {
        match self {
            Self::Own(store) => verify::verified(store, token, request),
            Self::Codex => codex::verified(token, request),
        }
    }

    pub fn stored(&self) -> Result<Credentials> {
        match self {
            Self::Own(store) => refresh::load(store),
            Self::Codex => codex::load(),
        }
    }
}

/// The names of the profiles that a command is for: all stored ones, or the chosen one.
pub fn selected(option: Option<String>, all: bool) -> Result<Vec<String>> {
    match option {
        // The parser cannot declare a conflict between a global option and one of a subcommand.
        Some(_) if all => Err(usage(
            "--all cannot be used with --profile: --all means every profile",
        )),
        _ if all => store::profiles(),
        option => Ok(vec![settings::profile(option)?]),
    }
}

/// The store of one of our profiles. Codex's has none: codex-auth does not sign in to it or out of it.
pub fn store(profile: Option<String>) -> Result<Store> {
    Store::new(settings::profile(profile)?)
}

/// The stores of all stored profiles, in order; empty if the folder cannot be listed.
pub fn stores() -> impl Iterator<Item = Store> {
    let profiles = store::profiles().unwrap_or_default();
    profiles.into_iter().flat_map(Store::new)
}

/// The owner of the login: ` as someone@mail.example (Plus, workspace Lab)`; empty if nothing is known.
pub fn as_whom(credentials: &Credentials, plan: Option<String>) -> String {
    let plan = plan.map(|plan| capitalized(&plan));
    let workspace = credentials.workspace();
    let workspace = workspace.map(|name| format!("workspace {name}"));
    let more: Vec<String> = plan.into_iter().chain(workspace).collect();
    let more = (!more.is_empty()).then(|| format!(" ({})", more.join(", ")));
    let email = credentials.account().email;
    let email = email.map(|email| format!(" as {email}"));
    email.into_iter().chain(more).collect()
}

/// A problem that does not stop `token` from printing, but will show elsewhere.
pub fn note(credentials: &Credentials) -> Option<String> {
    let is_missing = !credentials.is_closed() && credentials.account_id().is_none();
    let missing = is_missing.then(|| {
        "the tokens have no ChatGPT account ID: account-id fails, and requests lack the ChatGPT-Account-Id header".to_owned()
    });
    missing.or_else(|| credentials.routing.as_ref()?.problem())
}

/// Takes the lock for a command that a user runs, with a message if that takes time.
pub fn lock(store: &Store) -> Result<Lock<'_>> {
    match store.lock(SILENCE) {
        // In a sandbox, the lock cannot be taken at all.
        Err(error) if exit_code(&error) == TEMPORARY && store.forbidden_here().is_none() => {
            say("Waiting for another process that is refreshing this token.");
            store.lock(PATIENCE)
        }
        locked => locked,
    }
}
