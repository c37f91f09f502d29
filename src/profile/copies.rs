//! Copies of one login, which have the same refresh token: refreshing or revoking one of them invalidates the others.

use std::fs;

use sha2::{Digest, Sha256};

use crate::credentials::Credentials;
use crate::settings::CODEX_PROFILE;
use crate::store;
use crate::store::Store;
use crate::store::codex_file;

/// Tells one refresh token from another, without being one.
type Fingerprint = [u8; 32];

/// Every login here that has a refresh token, by its profile: Codex's own, then ours in order. What cannot be read is
/// left out. A link to the file of another profile is a second name, not a copy.
pub fn known() -> Vec<(String, Fingerprint)> {
    let codexs = codex_file::load().ok().flatten();
    let codexs = codexs.map(|credentials| (CODEX_PROFILE.to_owned(), credentials));
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
    let ours = files.iter().chain(&names);
    let ours = ours.filter_map(|store| Some((store.profile().to_owned(), store.load().ok()??)));
    let logins = codexs.into_iter().chain(ours);
    logins
        .filter_map(|(profile, credentials)| Some((profile, fingerprint(&credentials)?)))
        .collect()
}

/// Describes another login here of which this one, that of `profile`, is a copy.
pub fn other_holder(credentials: &Credentials, profile: &str) -> Option<String> {
    let ours = fingerprint(credentials)?;
    let mut known = known().into_iter();
    let (other, _) = known.find(|(other, known)| other != profile && *known == ours)?;
    Some(describe_holder(&other))
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
