//! The profile `codex`: Codex's own login, as far as its token serves. Nobody but Codex renews it.

use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::codex_file;
use crate::credentials::Login;
use crate::error::Failure;
use crate::renewal::{Standing, Usable, Wish, is_alive, standing};

/// Codex's login, if its token fulfils the wish. Nobody but Codex renews it.
pub fn usable(wish: &Wish) -> Result<Usable> {
    let login = codex_file::load()?.ok_or_else(not_signed_in)?;
    login
        .access_token()
        .context("could not use Codex's own login")?;
    check(&login, wish, SystemTime::now())?;
    Ok(Usable {
        login,
        warning: None,
    })
}

/// Fails if Codex has to renew its token before it fulfils the wish.
pub fn check(login: &Login, wish: &Wish, now: SystemTime) -> Result<(), Failure> {
    if standing(login, wish, now) != Standing::Stale {
        return Ok(());
    }
    let words = match is_alive(login, now) {
        _ if wish.another => "Codex's token cannot be renewed from here",
        true => "Codex's token ends too soon",
        false => "Codex's token has ended",
    };
    Err(refused(words))
}

/// The failure that only Codex, or a login of our own, can mend.
pub fn refused(words: &str) -> Failure {
    Failure::LoginRequired(format!(
        "{words}: run codex, which alone renews it, or sign in here with codex-auth login"
    ))
}

pub fn not_signed_in() -> Failure {
    let words = "Codex is not signed in: run codex login, or sign in here with codex-auth login";
    Failure::LoginRequired(words.to_owned())
}
