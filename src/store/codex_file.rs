//! Codex's own login, in its file or in the keyring: it is only ever read, and only for the profile `codex`.

use std::array;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use sha2::{Digest, Sha256};

use super::read;
use crate::credentials::{Credentials, parse_codex};
use crate::error::{self, Failure};
use crate::{keyring, settings};

/// The name under which Codex stores its logins in the keyring.
const SERVICE: &str = "Codex Auth";

/// How often a file that is not whole is read again, and after which pause.
const REPEATS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(20);

/// Where Codex keeps it.
pub fn path() -> Result<PathBuf> {
    Ok(settings::codex_home()?.join("auth.json"))
}

/// Where it is, for people.
pub fn shown_place() -> Result<String> {
    let path = path()?;
    Ok(match place() {
        Place::Keyring => format!("the keyring ({SERVICE})"),
        Place::KeyringElseFile if !path.exists() => format!("the keyring ({SERVICE})"),
        _ => path.display().to_string(),
    })
}

pub fn is_there() -> bool {
    path().is_ok_and(|path| path.exists())
}

/// Where Codex keeps its login, as its configuration says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    File,
    /// In the keyring, and nowhere else.
    Keyring,
    /// In the keyring, or in the file where that fails.
    KeyringElseFile,
    /// In a file that is encrypted with a key of the keyring: what Codex does on Windows, and where it is told to.
    Encrypted,
}

/// Where Codex keeps its login.
pub fn place() -> Place {
    let path = settings::codex_home().map(|home| home.join("config.toml"));
    let text = path.ok().and_then(|path| fs::read_to_string(path).ok());
    text.map_or(Place::File, |text| place_in(&text))
}

fn place_in(configuration: &str) -> Place {
    let value = |name: &str| configuration.lines().find_map(|line| value_of(line, name));
    let is_encrypted = value("secret_auth_storage")
        .or_else(|| value("features.secret_auth_storage"))
        .map_or(cfg!(windows), |value| value.starts_with("true"));
    match value("cli_auth_credentials_store") {
        Some(store) if store.starts_with("keyring") && is_encrypted => Place::Encrypted,
        Some(store) if store.starts_with("keyring") => Place::Keyring,
        Some(store) if store.starts_with("auto") && !is_encrypted => Place::KeyringElseFile,
        _ => Place::File,
    }
}

/// The value in a line of TOML, without the quotes in front.
fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.trim_start().strip_prefix(name)?;
    let value = rest.trim_start().strip_prefix('=')?;
    Some(value.trim_start().trim_start_matches(['"', '\'']))
}

/// Whether a path without links is that of Codex's file.
pub fn is_it(target: &Path) -> bool {
    path().is_ok_and(|path| fs::canonicalize(path).is_ok_and(|real| real == target))
}

/// Codex's credentials from its login with ChatGPT, or none.
pub fn load() -> Result<Option<Credentials>> {
    match place() {
        Place::File => load_file(),
        Place::Keyring => load_from_keyring(),
        Place::Encrypted => Ok(None),
        Place::KeyringElseFile => match load_from_keyring() {
            Ok(None) => load_file(),
            // Codex does the same, and says so to nobody but its log.
            Err(error) => load_file()?.map_or(Err(error), |found| Ok(Some(found))),
            found => found,
        },
    }
}

fn load_from_keyring() -> Result<Option<Credentials>> {
    let home = settings::codex_home()?;
    let read = || -> Result<Option<Credentials>> {
        let found = keyring::read(SERVICE, &account(&home)).map_err(Failure::from)?;
        found.map(|bytes| parse_codex(&bytes)).transpose()
    };
    read().context("could not use Codex's login in the keyring")
}

/// The account under which Codex stores the login of this folder.
fn account(home: &Path) -> String {
    let home = fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
    let digest = Sha256::digest(home.to_string_lossy().as_bytes());
    let start = u64::from_be_bytes(array::from_fn(|at| digest[at]));
    format!("cli|{start:016x}")
}

fn load_file() -> Result<Option<Credentials>> {
    let path = path()?;
    load_from(&path)
        .map_err(advise)
        .with_context(|| format!("could not use {}", path.display()))
}

/// Adds what to run, where signing in helps.
fn advise(error: Error) -> Error {
    match error::exit_code(&error) {
        error::LOGIN_REQUIRED => {
            let instead = settings::instead_of_codexs();
            Failure::LoginRequired(format!("{error:#}: run codex login, or {instead}")).into()
        }
        _ => error,
    }
}

fn load_from(path: &Path) -> Result<Option<Credentials>> {
    read_whole(|| read(path)?.map(|bytes| parse_codex(&bytes)).transpose())
}

/// What can be read at last: Codex rewrites its file in place, so that for a moment it is empty, or cut short.
fn read_whole(
    mut read: impl FnMut() -> Result<Option<Credentials>>,
) -> Result<Option<Credentials>> {
    for _ in 0..REPEATS {
        if let Ok(credentials) = read() {
            return Ok(credentials);
        }
        thread::sleep(PAUSE);
    }
    read()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as `load` does, while a writer is so far each time: the last state stays.
    fn read_during(states: &[&str]) -> Result<Option<Credentials>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.json");
        let mut states = states.iter();
        read_whole(|| {
            if let Some(state) = states.next() {
                fs::write(&path, state).unwrap();
            }
            read(&path)?.map(|bytes| parse_codex(&bytes)).transpose()
        })
    }

    #[test]
    fn the_configuration_says_where_the_login_is() {
        let in_keyring = if cfg!(windows) {
            Place::Encrypted
        } else {
            Place::Keyring
        };
        let elsewhere = if cfg!(windows) {
            Place::File
        } else {
            Place::KeyringElseFile
        };
        for (text, place) in [
            ("cli_auth_credentials_store = \"keyring\"", in_keyring),
            (
                "  cli_auth_credentials_store='auto' # where there is one",
                elsewhere,
            ),
            (
                "cli_auth_credentials_store = 'keyring'\n[features]\nsecret_auth_storage = true",
                Place::Encrypted,
            ),
            (
                "cli_auth_credentials_store = 'auto'\nfeatures.secret_auth_storage = true",
                Place::File,
            ),
            (
                "cli_auth_credentials_store = 'keyring'\nfeatures.secret_auth_storage = false",
                Place::Keyring,
            ),
            ("cli_auth_credentials_store = \"file\"", Place::File),
            ("# cli_auth_credentials_store = \"keyring\"", Place::File),
            ("cli_auth_credentials_store_too = \"keyring\"", Place::File),
            ("model = \"keyring\"", Place::File),
        ] {
            assert_eq!(place_in(text), place, "{text}");
        }
    }

    /// As `printf %s /no/such/codex | sha256sum` has it.
    #[test]
    fn the_account_is_named_by_the_folder() {
        assert_eq!(account(Path::new("/no/such/codex")), "cli|254c1d770ddcdfb5");
    }

    #[test]
    fn a_file_that_is_being_rewritten_is_read_when_it_is_whole() {
        let whole = r#"{"tokens":{"access_token":"new"}}"#;
        let credentials = read_during(&["", &whole[..20], "", whole])
            .unwrap()
            .unwrap();
        assert_eq!(credentials.access_token().unwrap(), "new");
        assert!(read_during(&["", "", "", "", whole]).is_err());
    }
}
