//! Codex's own login: it is only ever read, and only for the profile `codex`.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::credentials::Credentials;
use crate::{settings, store};

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

/// Codex's login with ChatGPT, or none. A login of another kind is an error: an API key is no ChatGPT token.
pub fn load() -> Result<Option<Credentials>> {
    let path = path()?;
    let load = || -> Result<Option<Credentials>> {
        let credentials = read_whole(|| parse(store::read(&path)?))?;
        credentials.as_ref().map_or(Ok(()), check)?;
        Ok(credentials)
    };
    load().with_context(|| format!("could not use {}", path.display()))
}

fn parse(bytes: Option<Vec<u8>>) -> Result<Option<Credentials>> {
    bytes
        .map(|bytes| Credentials::parse_codex(&bytes))
        .transpose()
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

fn check(credentials: &Credentials) -> Result<()> {
    if credentials.is_api_key() {
        bail!(
            "Codex is signed in with an API key, which is no ChatGPT token: run codex login, or sign in here with codex-auth login"
        );
    }
    let is_chatgpt = |mode: &str| mode.to_ascii_lowercase().starts_with("chatgpt");
    if !credentials.auth_mode().is_none_or(is_chatgpt) {
        bail!(
            "Codex is not signed in with ChatGPT: run codex login, or sign in here with codex-auth login"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Reads as `load` does, while a writer is so far each time: the last state stays.
    fn read_during(states: &[&str]) -> Result<Option<Credentials>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.json");
        let mut states = states.iter();
        read_whole(|| {
            if let Some(state) = states.next() {
                fs::write(&path, state).unwrap();
            }
            parse(store::read(&path)?)
        })
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
