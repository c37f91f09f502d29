//! Copies of one login, which have the same refresh token: refreshing or revoking one of them invalidates the others.

use std::fs;

use sha2::{Digest, Sha256};

use crate::credentials::Credentials;
use crate::error;
use crate::settings::CODEX_PROFILE;
use crate::store::{self, Store, codex_file};

/// Tells one refresh token from another, without being one.
type Fingerprint = [u8; 32];

/// What is known of the logins here.
#[derive(Default)]
pub struct Known {
    /// Every login that has a refresh token, by its profile: Codex's own, then ours in order.
    pub logins: Vec<(String, Fingerprint)>,
    /// The profiles whose login may be readable later: the keyring does not answer.
    pub closed: Vec<String>,
}

/// The logins here. A link to a file is a second name for it, not a copy.
pub fn known() -> Known {
    let profiles = store::profiles().unwrap_or_default().into_iter();
    let stores = profiles.filter_map(|profile| Store::new(profile).ok());
    // Of two names for one file that of the file itself counts.
    let (links, files): (Vec<Store>, Vec<Store>) =
        stores.partition(|store| store.path().is_symlink());
    let mut known = Known::default();
    let mut seen = vec![
        codex_file::path()
            .and_then(|path| Ok(fs::canonicalize(path)?))
            .ok(),
    ];
    let mut loaded = vec![(CODEX_PROFILE.to_owned(), codex_file::load())];
    for store in files.into_iter().chain(links) {
        let file = fs::canonicalize(store.path()).ok();
        if !seen.contains(&file) {
            loaded.push((store.profile().to_owned(), store.load()));
            seen.push(file);
        }
    }
    for (profile, login) in loaded {
        match login.map(|login| login.as_ref().and_then(fingerprint)) {
            Ok(found) => known.logins.extend(found.map(|found| (profile, found))),
            Err(error) if error::exit_code(&error) == error::TEMPORARY => {
                known.closed.push(profile);
            }
            // What cannot be read at all is left out.
            Err(_) => {}
        }
    }
    known
}

/// Why this login, that of `profile`, is not to be revoked: another one here is, or may be, the same.
pub fn reason_to_keep(credentials: &Credentials, profile: &str) -> Option<String> {
    let ours = fingerprint(credentials)?;
    let known = known();
    let mut others = known.logins.iter().filter(|(other, _)| other != profile);
    if let Some((other, _)) = others.find(|(_, theirs)| *theirs == ours) {
        return Some(format!("it is a copy of {}", describe_login(other)));
    }
    let other = describe_login(known.closed.iter().find(|other| *other != profile)?);
    Some(format!(
        "it may be a copy of {other}, which cannot be read without the keyring"
    ))
}

/// The login of a profile, as messages call it.
pub fn describe_login(profile: &str) -> String {
    match profile {
        CODEX_PROFILE => "Codex's own login".to_owned(),
        _ => format!("the profile {profile}"),
    }
}

fn fingerprint(credentials: &Credentials) -> Option<Fingerprint> {
    Some(Sha256::digest(credentials.refresh_token()?).into())
}
