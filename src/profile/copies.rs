//! Copies of one login, which have the same refresh token: refreshing or revoking one of them invalidates the others.

use std::fs;

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::credentials::Credentials;
use crate::error;
use crate::settings::CODEX_PROFILE;
use crate::store;
use crate::store::Store;
use crate::store::codex_file;

/// Tells one refresh token from another, without being one.
type Fingerprint = [u8; 32];

/// What is known of the logins here.
#[derive(Default)]
pub struct Known {
    /// Every login that has a refresh token, by its profile: Codex's own, then ours in order.
    pub logins: Vec<(String, Fingerprint)>,
    /// The profiles whose login cannot be read now, but later: the keyring does not answer.
    pub closed: Vec<String>,
}

impl Known {
    fn take(&mut self, profile: &str, loaded: Result<Option<Credentials>>) {
        match loaded.map(|found| found.as_ref().and_then(fingerprint)) {
            Ok(found) => self
                .logins
                .extend(found.map(|print| (profile.to_owned(), print))),
            Err(error) if error::exit_code(&error) == error::TEMPORARY => {
                self.closed.push(profile.to_owned());
            }
            // What cannot be read at all is left out.
            Err(_) => {}
        }
    }
}

/// The logins here. A link to the file of another profile is a second name, not a copy.
pub fn known() -> Known {
    let profiles = store::profiles().unwrap_or_default();
    let stores = profiles
        .into_iter()
        .filter_map(|profile| Store::new(profile).ok());
    let (links, files): (Vec<Store>, Vec<Store>) =
        stores.partition(|store| store.link_target().is_some());
    let is_second_name = |link: &Store| {
        let target = link.link_target();
        target.as_deref().is_some_and(codex_file::is_it)
            || files
                .iter()
                .any(|file| fs::canonicalize(file.path()).ok() == target)
    };
    let names: Vec<Store> = links
        .into_iter()
        .filter(|link| !is_second_name(link))
        .collect();
    let mut known = Known::default();
    known.take(CODEX_PROFILE, codex_file::load());
    for store in files.iter().chain(&names) {
        known.take(store.profile(), store.load());
    }
    known
}

/// Why this login, that of `profile`, is not to be revoked: another one here is, or may be, the same.
pub fn reason_to_keep(credentials: &Credentials, profile: &str) -> Option<String> {
    let ours = fingerprint(credentials)?;
    let known = known();
    let mut logins = known.logins.iter();
    if let Some((other, _)) = logins.find(|(other, known)| other != profile && *known == ours) {
        return Some(format!("it is a copy of {}", describe_holder(other)));
    }
    let other = known.closed.iter().find(|other| *other != profile)?;
    let other = describe_holder(other);
    Some(format!(
        "it may be a copy of {other}, which cannot be read without the keyring"
    ))
}

/// The login of a profile, as messages call it.
pub fn describe_holder(profile: &str) -> String {
    match profile {
        CODEX_PROFILE => "Codex's own login".to_owned(),
        _ => format!("the profile {profile}"),
    }
}

fn fingerprint(credentials: &Credentials) -> Option<Fingerprint> {
    Some(Sha256::digest(credentials.refresh_token()?).into())
}
