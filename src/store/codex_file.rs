//! Codex's own login: it is only ever read, and only for the profile `codex`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result};

use super::read;
use crate::credentials::{Credentials, parse_codex};
use crate::error::{self, Failure};
use crate::settings;

/// How often a file that is not whole is read again, and after which pause.
const REPEATS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(20);

/// Where Codex keeps it.
pub fn path() -> Result<PathBuf> {
    Ok(settings::codex_home()?.join("auth.json"))
}

pub fn is_there() -> bool {
    path().is_ok_and(|path| path.exists())
}

/// Whether Codex's configuration says that it keeps its login in the system's keyring (`auto`: where there is one).
pub fn is_in_keyring() -> bool {
    let path = settings::codex_home().map(|home| home.join("config.toml"));
    let text = path.ok().and_then(|path| fs::read_to_string(path).ok());
    text.is_some_and(|text| text.lines().any(names_keyring))
}

fn names_keyring(line: &str) -> bool {
    let rest = line.trim_start().strip_prefix("cli_auth_credentials_store");
    let value = rest.and_then(|rest| rest.trim_start().strip_prefix('='));
    let word = value.map(|value| value.trim_start().trim_start_matches(['"', '\'']));
    word.is_some_and(|word| word.starts_with("keyring") || word.starts_with("auto"))
}

/// Whether a path without links is that of Codex's file.
pub fn is_it(target: &Path) -> bool {
    path().is_ok_and(|path| fs::canonicalize(path).is_ok_and(|real| real == target))
}

/// Codex's credentials from its login with ChatGPT, or none.
pub fn load() -> Result<Option<Credentials>> {
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
    fn a_line_of_the_configuration_names_the_keyring() {
        for line in [
            r#"cli_auth_credentials_store = "keyring""#,
            "  cli_auth_credentials_store='auto' # where there is one",
        ] {
            assert!(names_keyring(line), "{line}");
        }
        for line in [
            r#"cli_auth_credentials_store = "file""#,
            r#"# cli_auth_credentials_store = "keyring""#,
            r#"cli_auth_credentials_store_too = "keyring""#,
            r#"model = "keyring""#,
        ] {
            assert!(!names_keyring(line), "{line}");
        }
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
