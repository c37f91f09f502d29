//! Copies of one login, which have the same refresh token: whoever refreshes or revokes one of them ends the others.

use std::fs;

use sha2::{Digest, Sha256};

use crate::credentials::Credentials;
use crate::settings::CODEX_PROFILE;
use crate::store;
use crate::store::Store;
use crate::store::codex_file;

/// What tells one refresh token from another, and is none itself.
pub type Fingerprint = [u8; 32];

/// Every login here that has a refresh token, by its profile: Codex's own, then ours in order. What cannot be read is
/// nobody's copy. A link to the file of another profile is no copy, but a second name.
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
        files
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

/// Of whose login here this one is a copy, which is or was that of `profile`, in words.
pub fn other_holder(credentials: &Credentials, profile: &str) -> Option<String> {
    let print = fingerprint(credentials)?;
    let mut known = known().into_iter();
    let (other, _) = known.find(|(other, known)| other != profile && *known == print)?;
    Some(whose(&other))
}

/// The login of a profile, in words.
pub fn whose(profile: &str) -> String {
    match profile {
        CODEX_PROFILE => "Codex's own login".to_owned(),
        _ => format!("the profile {profile}"),
    }
}

fn fingerprint(credentials: &Credentials) -> Option<Fingerprint> {
    Some(Sha256::digest(credentials.refresh_token()?).into())
}
