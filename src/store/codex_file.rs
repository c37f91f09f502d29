//! Codex's own login, in its file or in the keyring. It is never written, and only read for the profile `codex`.

use std::array;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::DeTable;

use super::disk::read;
use super::permissions::check_trusted;
use crate::credentials::{Credentials, parse_codex};
use crate::{keyring, settings};

/// The service under which Codex stores its logins in the keyring.
const SERVICE: &str = "Codex Auth";

/// How often, and after which pause, an incomplete file is read again.
const REPEATS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(20);

/// The file that Codex keeps its login in, unless configured otherwise.
fn path() -> Result<PathBuf> {
    Ok(settings::codex_home()?.join("auth.json"))
}

/// The same with links resolved, if it exists.
pub fn real_path() -> Option<PathBuf> {
    fs::canonicalize(path().ok()?).ok()
}

/// Its location, for users.
pub fn shown_place() -> Result<String> {
    let path = path()?;
    let in_keyring = |store: &str| store == "keyring" || store == "auto" && !path.exists();
    Ok(match place() {
        Ok(it) if !it.is_encrypted && in_keyring(&it.store) => format!("the keyring ({SERVICE})"),
        _ => path.display().to_string(),
    })
}

/// Where Codex keeps its login, according to its configuration files. Later ones override earlier ones.
pub struct Place {
    /// `file`, `keyring`, or `auto`: in the file only if the keyring fails.
    store: String,
    /// Whether it is in an encrypted file, whose key is in the keyring: the default on Windows, and an option elsewhere.
    is_encrypted: bool,
}

pub fn place() -> Result<Place> {
    let mut place = Place {
        store: "file".to_owned(),
        is_encrypted: cfg!(windows),
    };
    for path in settings::codex_configurations()? {
        let mut configure = || place.configure(&read(&path, |_| Ok(()))?.unwrap_or_default());
        configure().with_context(|| format!("could not read {}", path.display()))?;
    }
    Ok(place)
}

impl Place {
    fn configure(&mut self, bytes: &[u8]) -> Result<()> {
        // The parser's message would quote a line, which may contain an API key.
        let table = DeTable::parse(str::from_utf8(bytes)?);
        let table = table.ok().context("it is not valid TOML")?.into_inner();
        if let Some(store) = table.get("cli_auth_credentials_store") {
            self.store = store.get_ref().as_str().unwrap_or_default().into();
        }
        let features = table.get("features").map(Spanned::get_ref);
        if let Some(feature) = features.and_then(|table| table.get("secret_auth_storage")) {
            self.is_encrypted = feature.get_ref().as_bool() == Some(true);
        }
        Ok(())
    }

    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted && matches!(self.store.as_str(), "keyring" | "auto")
    }
}

/// Codex's credentials from its login with ChatGPT, if any.
pub fn load() -> Result<Option<Credentials>> {
    let place = place().context("could not use Codex's login")?;
    let home = settings::codex_home()?;
    match (place.store.as_str(), place.is_encrypted) {
        ("auto", true) if !home.join("secrets/codex_auth.age").exists() => load_file(),
        ("keyring" | "auto", true) => Ok(None),
        ("keyring", false) => load_from_keyring(&home),
        ("auto", false) => match load_from_keyring(&home) {
            Ok(None) => load_file(),
            // Codex does the same, and only logs it.
            Err(error) => load_file()?.map_or(Err(error), |found| Ok(Some(found))),
            found => found,
        },
        _ => load_file(),
    }
}

fn load_from_keyring(home: &Path) -> Result<Option<Credentials>> {
    let read = || parse(keyring::read(SERVICE, &account(home))?);
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
    let load = || parse(read(&path, check_trusted)?);
    retry(load).with_context(|| format!("could not use {}", path.display()))
}

fn parse(found: Option<Vec<u8>>) -> Result<Option<Credentials>> {
    found.map(|bytes| parse_codex(&bytes)).transpose()
}

/// Reads an unusable file again: Codex rewrites it in place, so that for a moment it is empty or truncated.
fn retry(mut read: impl FnMut() -> Result<Option<Credentials>>) -> Result<Option<Credentials>> {
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

    /// Reads like `load` while a writer has got this far on each attempt; the last state stays.
    fn read_during(states: &[&str]) -> Result<Option<Credentials>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.json");
        let mut states = states.iter();
        retry(|| {
            if let Some(state) = states.next() {
                fs::write(&path, state).unwrap();
            }
            parse(read(&path, check_trusted)?)
        })
    }

    /// The place that these configurations name, with the default of Linux and macOS.
    fn place_in<T: AsRef<[u8]>>(texts: &[T]) -> Result<Place> {
        let mut place = Place {
            store: "file".to_owned(),
            is_encrypted: false,
        };
        for text in texts {
            place.configure(text.as_ref())?;
        }
        Ok(place)
    }

    #[test]
    fn the_configuration_says_where_the_login_is() {
        const KEYRING: &str = "cli_auth_credentials_store = \"keyring\"\n";
        const AUTO: &str = "  cli_auth_credentials_store='auto' # where there is one\n";
        const FILE: &str = "cli_auth_credentials_store = \"file\"";
        for (texts, place) in [
            (&[""][..], ("file", false)),
            (&[KEYRING], ("keyring", false)),
            (&[AUTO], ("auto", false)),
            (&[FILE], ("file", false)),
            // The user's configuration overrides the system's.
            (&[KEYRING, FILE], ("file", false)),
            (&[KEYRING, "model = 'x'"], ("keyring", false)),
            (
                &[KEYRING, "[features]\nsecret_auth_storage = true"],
                ("keyring", true),
            ),
            (
                &[
                    KEYRING,
                    "features = { a = [{ b = 1 }], secret_auth_storage = true }",
                ],
                ("keyring", true),
            ),
            (
                &[AUTO, "features.secret_auth_storage = true"],
                ("auto", true),
            ),
            // A byte order mark, and a quoted key with an escape.
            (
                &["\u{feff}\"cli_auth_credentials_\\u0073tore\" = '''keyring'''"],
                ("keyring", false),
            ),
            // Not at the top level, or another key.
            (
                &["# cli_auth_credentials_store = \"keyring\""],
                ("file", false),
            ),
            (
                &["cli_auth_credentials_store_too = \"keyring\""],
                ("file", false),
            ),
            (
                &["[profiles.x]\ncli_auth_credentials_store = \"keyring\""],
                ("file", false),
            ),
            (
                &["[[x]]\n[x.y]\ncli_auth_credentials_store = \"keyring\""],
                ("file", false),
            ),
            (
                &["x = [{ cli_auth_credentials_store = \"keyring\" }]"],
                ("file", false),
            ),
            (
                &["x = \"\"\"\ncli_auth_credentials_store = 'keyring'\n\"\"\""],
                ("file", false),
            ),
            (&[KEYRING, "secret_auth_storage = true"], ("keyring", false)),
            (
                &[KEYRING, "\"features.secret_auth_storage\" = true"],
                ("keyring", false),
            ),
        ] {
            let found = place_in(texts).ok().unwrap();
            let found = (found.store.as_str(), found.is_encrypted);
            assert_eq!(found, place, "{texts:?}");
        }
        let deep = format!("a = {}", "[".repeat(100_000));
        for text in [
            "cli_auth_credentials_store = keyring",
            "[",
            "a = \"\\q\"",
            &deep,
        ] {
            assert!(place_in(&[text]).is_err(), "{text:.40}");
        }
        assert!(place_in(&[b"a = \"\xff\""]).is_err());
    }

    /// The output of `printf %s /no/such/codex | sha256sum`.
    #[test]
    fn the_account_is_named_by_the_folder() {
        assert_eq!(account(Path::new("/no/such/codex")), "cli|254c1d770ddcdfb5");
    }

    #[test]
    fn a_file_that_is_being_rewritten_is_read_once_complete() {
        let whole = r#"{"tokens":{"access_token":"new"}}"#;
        let credentials = read_during(&["", &whole[..20], "", whole])
            .unwrap()
            .unwrap();
        assert_eq!(credentials.access_token().unwrap(), "new");
        assert!(read_during(&["", "", "", "", whole]).is_err());
    }
}
