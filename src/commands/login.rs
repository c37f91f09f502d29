//! `login`: authorize, exchange, store, and only then tell the person and end the login that was there before.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::cli::LoginArgs;
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::issuer::{Authorization, Issuer};
use crate::login::{browser, device_code, page};
use crate::profile::copies;
use crate::profile::lock;
use crate::store::{Lock, Store};
use crate::terminal::say;
use crate::text::printable;
use crate::{refresh, settings};

pub fn login(store: &Store, args: &LoginArgs) -> Result<ExitCode> {
    let issuer = Issuer::new(settings::issuer()?, settings::client_id()?)?;
    // Before somebody takes the trouble to sign in, find out whether the login could be stored.
    drop(lock(store)?.reserve()?);
    let (authorization, browser, pending) = if args.device_code {
        let (authorization, kept) = device_code::authorize(&issuer, store, args.qr)?;
        (authorization, None, Some(kept))
    } else {
        let (authorization, browser) =
            browser::authorize(&issuer, args.no_browser, &args.workspace)?;
        (authorization, browser, None)
    };
    let pending = pending.as_deref();
    let outcome = complete(store, &issuer, &authorization, pending, &args.workspace);
    let outcome = outcome.context(if pending.is_some_and(|kept| store.is_pending(kept)) {
        "could not sign in yet, but the code is not lost: run the same command again"
    } else {
        "could not sign in"
    });
    if let Some(browser) = browser {
        browser.show(&match &outcome {
            Ok((credentials, _)) => page::signed_in(
                credentials.email().as_deref(),
                credentials.plan().as_deref(),
            ),
            Err(error) => page::failed(&format!("{error:#}")),
        });
    }
    let (credentials, superseded) = outcome?;
    say(&format!("Signed in{}.", as_whom(&credentials)));
    if let Some(superseded) = superseded {
        end_superseded(&superseded, store.profile());
    }
    Ok(ExitCode::SUCCESS)
}

/// Exchanges and stores, in one piece under the lock. Gives the new login, and the one that it superseded.
///
/// The device login that it came of (`pending`, as it is kept) is over then, unless the issuer may still take its code.
/// Its code must not be spent twice: the issuer could end the login that came of it.
fn complete(
    store: &Store,
    issuer: &Issuer,
    authorization: &Authorization,
    pending: Option<&[u8]>,
    workspaces: &[String],
) -> Result<(Credentials, Option<Credentials>)> {
    let lock = lock(store)?;
    if pending.is_some_and(|kept| !store.is_pending(kept)) {
        bail!("another codex-auth login has used this code");
    }
    // A login that cannot be read cannot be ended either.
    let superseded = store.load().ok().flatten();
    let outcome = exchange(store, &lock, issuer, authorization, workspaces);
    if let Some(kept) = pending.filter(|_| !is_temporary(&outcome)) {
        store.remove_pending(kept);
    }
    Ok((outcome?, superseded))
}

/// Makes room for the tokens before the code is spent. A login that is not wanted, or cannot be stored, is not left alive
/// at the issuer.
fn exchange(
    store: &Store,
    lock: &Lock,
    issuer: &Issuer,
    authorization: &Authorization,
    workspaces: &[String],
) -> Result<Credentials> {
    let staged = lock.reserve()?;
    let token_response = issuer.exchange(authorization)?;
    let now = SystemTime::now();
    let credentials = Credentials::new(&token_response, issuer.url(), issuer.client_id(), now)
        .inspect_err(|_| issuer.disown(&token_response))?;
    check_workspace(&credentials, workspaces)
        .and_then(|()| staged.save_or_discard(&credentials))
        .inspect_err(|_| end(&credentials, store.profile()))?;
    Ok(credentials)
}

/// Refuses a login into another workspace than these, if there are any: the issuer was asked for them, no more.
fn check_workspace(credentials: &Credentials, workspaces: &[String]) -> Result<()> {
    let account = credentials.account_id();
    if workspaces.is_empty() || account.as_ref().is_some_and(|id| workspaces.contains(id)) {
        return Ok(());
    }
    bail!(
        "the login is for the workspace {}, and only {} is accepted: choose it in the browser",
        account.as_deref().unwrap_or("without an ID"),
        printable(&workspaces.join(" or "))
    );
}

/// Whether the issuer may still take the same code.
fn is_temporary(outcome: &Result<Credentials>) -> bool {
    let failure = outcome
        .as_ref()
        .err()
        .and_then(|error| error.downcast_ref());
    matches!(failure, Some(Failure::Temporary(_)))
}

/// Ends the login that this profile had before, unless somebody else here has it too.
fn end_superseded(credentials: &Credentials, profile: &str) {
    match copies::other_holder(credentials, profile) {
        Some(other) => say(&format!(
            "Did not revoke the login that was here before, as it is a copy of {other}."
        )),
        None => end(credentials, profile),
    }
}

/// Revokes a login that nobody uses any more. If that fails it ends by itself, some day.
fn end(credentials: &Credentials, profile: &str) {
    if credentials.revoked().is_none() {
        let _ = refresh::issuer_of(credentials, profile)
            .and_then(|(issuer, refresh_token)| issuer.revoke(&refresh_token));
    }
}

fn as_whom(credentials: &Credentials) -> String {
    let email = credentials.email().map(|email| format!(" as {email}"));
    let plan = credentials.plan().map(|plan| format!(" ({plan})"));
    [email, plan].into_iter().flatten().collect()
}
