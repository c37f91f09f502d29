//! Codex's own login: it is only ever read, and only for the profile `codex`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::credentials::Login;
use crate::{settings, store};

/// Where Codex keeps it.
pub fn path() -> Result<PathBuf> {
    Ok(settings::codex_home()?.join("auth.json"))
}

pub fn is_there() -> bool {
    path().is_ok_and(|path| path.exists())
}

/// Codex's login with ChatGPT, or none. A login of another kind is an error: an API key is no ChatGPT token.
pub fn load() -> Result<Option<Login>> {
    let path = path()?;
    let load = || {
        let login = store::read(&path)?.map(|bytes| Login::parse_codex(&bytes));
        login
            .transpose()?
            .map(|login| check(&login).map(|()| login))
            .transpose()
    };
    load().with_context(|| format!("could not use {}", path.display()))
}

fn check(login: &Login) -> Result<()> {
    if login.is_api_key() {
        bail!(
            "Codex is signed in with an API key, which is no ChatGPT token: run codex login, or sign in here with codex-auth login"
        );
    }
    let is_chatgpt = |mode: &str| mode.to_ascii_lowercase().starts_with("chatgpt");
    if !login.auth_mode().is_none_or(is_chatgpt) {
        bail!(
            "Codex is not signed in with ChatGPT: run codex login, or sign in here with codex-auth login"
        );
    }
    Ok(())
}
