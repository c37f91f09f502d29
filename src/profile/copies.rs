//! Copies of one login, which have the same refresh token: refreshing or revoking one of them invalidates the others.

use std::collections::HashSet;
use std::path::PathBuf;
use std::{fs, iter};

use super::stores;
use crate::credentials::Credentials;
use crate::error;
use crate::settings::CODEX_PROFILE;
use crate::store::{Store, codex_file};

/// The logins here that can be compared, and those that cannot.
#[derive(Default)]
pub struct Known {
    /// Every login that has a refresh token, by its profile: Codex's own, then ours in order.
    pub logins: Vec<(String, Credentials)>,
    /// The profiles whose login cannot be read now, but later: the keyring does not give its key.
    pub closed: Vec<String>,
}

/// The logins here. A link to a file is a second name for it, not a copy.
pub fn known() -> Known {
    let mut stores: Vec<Store> = stores().collect();
    // A link comes after its file, and is left out.
    stores.sort_by_key(|store| store.path().is_symlink());
    let codex = codex_file::path().and_then(|path| Ok(fs::canonicalize(path)?));
    let mut seen: HashSet<PathBuf> = codex.into_iter().collect();
    stores.retain(|store| fs::canonicalize(store.path()).is_ok_and(|file| seen.insert(file)));
    let own = stores.iter().map(|store| (store.profile(), store.load()));
    let mut known = Known::default();
    for (profile, login) in iter::once((CODEX_PROFILE, codex_file::load())).chain(own) {
        let profile = profile.to_owned();
        match login {
            Ok(Some(login)) if login.tokens.refresh_token.is_some() => {
                known.logins.push((profile, login));
            }
            Err(error) if error::exit_code(&error) == error::TEMPORARY => {
                known.closed.push(profile);
            }
            // What cannot be read at all is left out.
            Ok(_) | Err(_) => {}
        }
    }
    known
}

/// Why the login of `profile` must not be revoked: another one here is, or may be, a copy of it.
pub fn reason_to_keep(credentials: &Credentials, profile: &str) -> Option<String> {
    let token = credentials.tokens.refresh_token.as_ref()?;
    let known = known();
    let mut others = known.logins.iter().filter(|(other, _)| other != profile);
    if let Some((other, _)) =
        others.find(|(_, login)| login.tokens.refresh_token.as_ref() == Some(token))
    {
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
