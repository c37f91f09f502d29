//! `login`: authorize, exchange, store, and only then tell the person and end the login that was there before.

use std::process::ExitCode;

use anyhow::{Context, Result};

use super::lock;
use crate::cli::LoginArgs;
use crate::credentials::Login;
use crate::error::tame;
use crate::issuer::{Authorization, Issuer};
use crate::store::Store;
use crate::terminal::say;
use crate::{browser_login, page, renewal, settings};

pub fn login(store: &Store, args: &LoginArgs) -> Result<ExitCode> {
    let issuer = Issuer::new(settings::issuer()?, settings::client_id()?)?;
    // Before somebody takes the trouble to sign in, find out whether the login could be stored.
    drop(lock(store)?.reserve()?);
    let (authorization, browser) = browser_login::authorize(&issuer, args.no_browser, &[])?;
    let outcome = complete(store, &issuer, &authorization).context("could not sign in");
    if let Some(browser) = browser {
        browser.show(&match &outcome {
            Ok((login, _)) => page::signed_in(login.email().as_deref(), login.plan().as_deref()),
            Err(error) => page::failed(&format!("{error:#}")),
        });
    }
    let (login, superseded) = outcome?;
    say(&format!("Signed in{}.", as_whom(&login)));
    if let Some(superseded) = superseded {
        end(&superseded);
    }
    Ok(ExitCode::SUCCESS)
}

/// Exchanges and stores, in one piece under the lock: with room for the tokens before the code is spent. A login that
/// cannot be stored is not left alive at the issuer. Gives the new login, and the one that it superseded.
fn complete(
    store: &Store,
    issuer: &Issuer,
    authorization: &Authorization,
) -> Result<(Login, Option<Login>)> {
    let lock = lock(store)?;
    let room = lock.reserve()?;
    // A login that cannot be read cannot be ended either.
    let superseded = store.load().ok().flatten();
    let grant = issuer.exchange(authorization)?;
    let login = Login::new(
        &grant,
        issuer.url(),
        issuer.client_id(),
        std::time::SystemTime::now(),
    )?;
    room.save(&login).inspect_err(|_| end(&login))?;
    Ok((login, superseded))
}

/// Revokes a login that nobody uses any more. If that fails it ends by itself, some day.
fn end(login: &Login) {
    if login.refusal().is_none() {
        let _ = renewal::issuer_of(login)
            .and_then(|(issuer, refresh_token)| issuer.revoke(&refresh_token));
    }
}

fn as_whom(login: &Login) -> String {
    let email = login.email().map(|email| format!(" as {}", tame(&email)));
    let plan = login.plan().map(|plan| format!(" ({})", tame(&plan)));
    [email, plan].into_iter().flatten().collect()
}
