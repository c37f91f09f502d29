//! Copies of one login, which have the same refresh token: refreshing or revoking one of them invalidates the others. So a
//! login that is no longer used is revoked here, unless it has a copy.

use std::collections::HashSet;
use std::path::PathBuf;
use std::{fs, iter};

use super::stores;
use crate::credentials::{self, Credentials, Source};
use crate::error;
use crate::issuer::Issuer;
use crate::refresh::stored_issuer;
use crate::settings::CODEX_PROFILE;
use crate::store::{Store, codex_file};
use crate::terminal::awaiting;

/// The profiles with a refresh token, and its fingerprint: Codex's own, then ours. `None` if the token is unknown, because
/// the keyring does not provide its key now. A link to a file is a second name for it, not a copy.
pub fn logins() -> Vec<(String, Option<String>)> {
    let mut stores: Vec<Store> = stores().collect();
    // A link comes after its file, and is left out.
    stores.sort_by_key(|store| store.path.is_symlink());
    let mut seen: HashSet<PathBuf> = codex_file::real_path().into_iter().collect();
    stores.retain(|store| fs::canonicalize(&store.path).is_ok_and(|file| seen.insert(file)));
    let own = stores
        .iter()
        .map(|store| (store.profile.as_str(), store.load()));
    let all = iter::once((CODEX_PROFILE, codex_file::load())).chain(own);
    let known = all.filter_map(|(profile, login)| {
        let token = match login {
            Ok(login) => Some(fingerprint(&login?)?),
            Err(error) if error::exit_code(&error) == error::TEMPORARY => None,
            // Unreadable logins are left out.
            Err(_) => return None,
        };
        Some((profile.to_owned(), token))
    });
    known.collect()
}

/// Revokes a profile's former login. Returns the reason if it must not, or could not, be revoked from here.
pub fn retire(credentials: &Credentials, profile: &str) -> Option<String> {
    let source = credentials.source();
    let reason = match source {
        Source::Command(_) | Source::Socket(_) => {
            let source = source.describe();
            Some(format!("sign out where {source} gets its tokens"))
        }
        Source::Workload { .. } => {
            Some("only a workspace administrator can remove its federation rule".to_owned())
        }
        Source::AccessToken => {
            Some("revoke the access token in the workspace's admin console".to_owned())
        }
        Source::Issuer => reason_to_keep(credentials, profile),
    };
    reason.or_else(|| {
        let client_id = credentials.client_id.clone().unwrap_or_default();
        let revoked = awaiting("Revoking the login at the issuer …", || {
            Issuer::new(stored_issuer(credentials)?, client_id)?.revoke(&credentials.tokens)
        });
        let error = revoked.err()?;
        let warning = "anyone with a copy can use it until it expires";
        Some(format!("{error:#}: {warning}"))
    })
}

/// Why the login of `profile` must not be revoked: another one here is, or may be, a copy of it.
fn reason_to_keep(credentials: &Credentials, profile: &str) -> Option<String> {
    let ours = fingerprint(credentials)?;
    let mut others = logins();
    others.retain(|(other, _)| other != profile);
    let find = |token| others.iter().find(|(_, other)| *other == token);
    if let Some((other, _)) = find(Some(ours)) {
        return Some(format!("it is a copy of {}", describe_login(other)));
    }
    let other = describe_login(&find(None)?.0);
    Some(format!(
        "it may be a copy of {other}, which cannot be read without the keyring"
    ))
}

/// How messages refer to the login of a profile.
pub fn describe_login(profile: &str) -> String {
    match profile {
        CODEX_PROFILE => "Codex's own login".to_owned(),
        _ => format!("the profile {profile}"),
    }
}

fn fingerprint(credentials: &Credentials) -> Option<String> {
    let token = credentials.tokens.refresh_token.as_ref()?;
    Some(credentials::fingerprint(token))
}
