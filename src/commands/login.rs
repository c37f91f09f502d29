//! `login`: authorize, exchange, store, and only then tell the person and revoke the login that was there before.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Error, Result, bail};

use crate::cli::LoginArgs;
use crate::credentials::{Credentials, Source};
use crate::error::{self, Failure};
use crate::issuer::{Authorization, Issuer};
use crate::login::callback::WaitingBrowser;
use crate::login::device_code::{Approved, Keeping};
use crate::login::{access_token, browser, device_code, page};
use crate::profile::revoke::{ADMIN_CONSOLE, revoke};
use crate::profile::sealing::Sealing;
use crate::profile::{copies, lock};
use crate::refresh::first_credentials;
use crate::settings;
use crate::store::{Lock, Store};
use crate::terminal::{is_watched, say, succeed, warn};
use crate::text::{capitalized, printable};

/// The login that was there before, if there was one, or why it could not be read.
type Superseded = Result<Option<Credentials>>;
/// The new login, and the one that it superseded.
type Completed = (Credentials, Superseded);

pub fn login(store: &Store, args: &LoginArgs) -> Result<ExitCode> {
    let source = source(args)?;
    let sealing = Sealing::new(store, args.keyring());
    // Before somebody takes the trouble to sign in, find out whether the login could be stored.
    sealing.prepare().context("could not seal the login")?;
    drop(sealing.stage(&lock(store)?)?);
    let (credentials, superseded) = match source {
        Some(source) => {
            let credentials = first_credentials(source).context("could not sign in")?;
            take(store, &sealing, credentials, &args.workspace).context("could not sign in")?
        }
        None => sign_in(store, &sealing, args)?,
    };
    announce(&credentials, store.profile());
    match superseded {
        Ok(Some(superseded)) => {
            revoke_superseded(&superseded, &credentials, store.profile());
        }
        Err(error) if error::exit_code(&error) == error::TEMPORARY => warn_of_superseded(&error),
        // What nobody can read any more, nobody can revoke.
        Ok(None) | Err(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the tokens are to come from, if not from the issuer.
fn source(args: &LoginArgs) -> Result<Option<Source>> {
    let source = match (&args.from, args.command.split_first()) {
        (None, _) => return Ok(None),
        (Some(Some(socket)), None) => Source::socket(socket),
        (Some(None), Some((program, arguments))) => {
            let mut words = vec![settings::absolute_program(program)?];
            words.extend(arguments.iter().cloned());
            Some(Source::Command(words))
        }
        _ => None,
    };
    let usage = || Failure::Usage("--from takes a command after --, or unix:/PATH".to_owned());
    Ok(Some(source.ok_or_else(usage)?))
}

/// Signs a person in at the issuer.
fn sign_in(store: &Store, sealing: &Sealing, args: &LoginArgs) -> Result<Completed> {
    let issuer = Issuer::new(settings::issuer()?, settings::client_id()?)?;
    let command = command(store.profile(), &args.workspace);
    if args.with_access_token {
        let access_token = access_token::read()?;
        access_token::credentials(&issuer, &access_token)
            .and_then(|credentials| take(store, sealing, credentials, &args.workspace))
            .context("could not sign in")
    } else if args.device_code {
        let keeping = if sealing.is_wanted()? {
            Keeping::InMemory
        } else {
            Keeping::Stored
        };
        let approved = device_code::authorize(&issuer, store, keeping, args.qr, &command)?;
        complete_device_login(
            store,
            sealing,
            &issuer,
            &approved,
            &args.workspace,
            &command,
        )
    } else {
        let (authorization, browser) =
            browser::authorize(&issuer, args.no_browser, &args.workspace, &command)?;
        let outcome = complete(
            store,
            sealing,
            &issuer,
            &authorization,
            None,
            &args.workspace,
        );
        if let Some(browser) = browser {
            show_outcome(browser, &outcome);
        }
        outcome.context("could not sign in")
    }
}

/// Stores credentials that cost no code. If the earlier ones have the same access token, this is the login that it is of.
fn take(
    store: &Store,
    sealing: &Sealing,
    mut credentials: Credentials,
    workspaces: &[String],
) -> Result<Completed> {
    if let Some((actual, accepted)) = unaccepted_workspace(&credentials, workspaces) {
        bail!("the access token is of {actual}, and only {accepted} is accepted");
    }
    let lock = lock(store)?;
    let staged = sealing.stage(&lock)?;
    let token = credentials.access_token()?.to_owned();
    let is_another = |earlier: &Credentials| earlier.access_token().ok() != Some(token.as_str());
    let earlier = store.load();
    if let Ok(Some(earlier)) = &earlier
        && credentials.source().is_some()
        && earlier.refresh_token().is_some()
        && !is_another(earlier)
    {
        let (profile, call) = (store.profile(), settings::call_for(store.profile()));
        bail!(
            "the profile {profile} has the login itself that these tokens are of: choose another --profile, or run {call} logout --no-revoke first"
        );
    }
    let superseded = earlier.map(|earlier| earlier.filter(is_another));
    let seal = sealing.begin()?;
    seal.put_on(&mut credentials);
    staged.save_or_discard(&credentials)?;
    seal.end();
    Ok((credentials, superseded))
}

/// The command to sign in with again, in the same way to the same profile.
fn command(profile: &str, workspaces: &[String]) -> String {
    let workspaces = workspaces.iter().map(|id| format!(" --workspace {id}"));
    settings::login_command(profile) + &workspaces.collect::<String>()
}

fn complete_device_login(
    store: &Store,
    sealing: &Sealing,
    issuer: &Issuer,
    approved: &Approved,
    workspaces: &[String],
    command: &str,
) -> Result<Completed> {
    let (authorization, pending) = (&approved.authorization, approved.kept.as_deref());
    let outcome = complete(store, sealing, issuer, authorization, pending, workspaces);
    outcome.with_context(|| {
        if pending.is_some_and(|kept| store.is_pending(kept)) {
            format!(
                "could not sign in yet: run {command} --device-code again, the code is still good"
            )
        } else {
            "could not sign in".to_owned()
        }
    })
}

fn show_outcome(browser: WaitingBrowser, outcome: &Result<Completed>) {
    browser.show(&match outcome {
        Ok((credentials, _)) => {
            page::signed_in(credentials.email().as_deref(), plan(credentials).as_deref())
        }
        Err(error) => page::failed(&format!("{error:#}")),
    });
}

fn announce(credentials: &Credentials, profile: &str) {
    succeed(&format!("Signed in{}", as_whom(credentials)));
    if credentials.is_sealed() {
        say("The login is sealed with a key in the keyring.");
    }
    if let Some(source) = credentials.source() {
        say(&format!("  Its tokens come from {}", source.describe()));
    }
    if is_watched() {
        let program = settings::call_for(profile);
        say(&format!(
            "  Next: TOKEN=$({program} token), or {program} setup codex"
        ));
    }
}

/// Exchanges and stores, in one piece under the lock. Gives the new login, and the one that it superseded.
///
/// The device login that it came of (`pending`, as it is kept) is over then, unless the issuer may still take its code.
/// Its code must not be spent twice: the issuer could revoke the login that came of it.
fn complete(
    store: &Store,
    sealing: &Sealing,
    issuer: &Issuer,
    authorization: &Authorization,
    pending: Option<&[u8]>,
    workspaces: &[String],
) -> Result<Completed> {
    let lock = lock(store)?;
    if pending.is_some_and(|kept| !store.is_pending(kept)) {
        bail!("another codex-auth command has used this code, or removed it");
    }
    let superseded = store.load();
    let outcome = exchange(&lock, sealing, issuer, authorization, workspaces);
    if let Some(kept) = pending.filter(|_| !is_temporary(&outcome)) {
        store.remove_pending(kept);
    }
    Ok((outcome?, superseded))
}

/// Makes room for the tokens, and has a key for them, before the code is spent. A login that is not wanted, or cannot be stored, is revoked.
fn exchange(
    lock: &Lock,
    sealing: &Sealing,
    issuer: &Issuer,
    authorization: &Authorization,
    workspaces: &[String],
) -> Result<Credentials> {
    let staged = sealing.stage(lock)?;
    let seal = sealing.begin()?;
    let token_response = issuer.exchange(authorization)?;
    let now = SystemTime::now();
    let mut credentials = Credentials::new(&token_response, issuer.url(), issuer.client_id(), now)
        .inspect_err(|_| issuer.revoke_unused(&token_response))?;
    seal.put_on(&mut credentials);
    check_workspace(&credentials, workspaces)
        .and_then(|()| staged.save_or_discard(&credentials))
        // It expires by itself, some day, if that fails.
        .inspect_err(|_| drop(revoke(&credentials)))?;
    seal.end();
    Ok(credentials)
}

/// Refuses a login into another workspace than these, if there are any: the issuer was asked for them, no more.
fn check_workspace(credentials: &Credentials, workspaces: &[String]) -> Result<()> {
    match unaccepted_workspace(credentials, workspaces) {
        None => Ok(()),
        Some((actual, accepted)) => {
            bail!("you chose {actual}, and only {accepted} is accepted: choose it in the browser")
        }
    }
}

/// The workspace of a login, and those that are accepted, in words, if it is none of them.
fn unaccepted_workspace(
    credentials: &Credentials,
    workspaces: &[String],
) -> Option<(String, String)> {
    let account = credentials.account_id();
    if workspaces.is_empty() || account.as_ref().is_some_and(|id| workspaces.contains(id)) {
        return None;
    }
    let actual = account.map_or_else(
        || "a workspace without an ID".to_owned(),
        |id| format!("workspace {id}"),
    );
    Some((actual, printable(&workspaces.join(" or "))))
}

/// Whether the issuer may still take the same code.
fn is_temporary(outcome: &Result<Credentials>) -> bool {
    let failure = outcome
        .as_ref()
        .err()
        .and_then(|error| error.downcast_ref());
    matches!(failure, Some(Failure::Temporary(_)))
}

/// Revokes the login that this profile had before, unless somebody else here has it too. The person waits no longer than
/// the issuer's limit for it.
fn revoke_superseded(credentials: &Credentials, new: &Credentials, profile: &str) {
    if credentials.revoked().is_some() || credentials.source().is_some() {
        return;
    }
    if let Some(source) = new.source()
        && new.account_id() == credentials.account_id()
    {
        return say(&format!(
            "Did not revoke the earlier login, as {} may get its tokens from a copy of it.",
            source.in_brief()
        ));
    }
    if credentials.is_access_token_only() {
        return say(&format!(
            "The earlier login was not revoked: {ADMIN_CONSOLE}."
        ));
    }
    if let Some(why) = copies::reason_to_keep(credentials, profile) {
        return say(&format!("Did not revoke the earlier login, as {why}."));
    }
    if let Err(error) = revoke(credentials) {
        warn_of_superseded(&error);
    }
}

fn warn_of_superseded(error: &Error) {
    warn(&format!(
        "could not revoke the earlier login at the issuer: {error:#}"
    ));
}

fn as_whom(credentials: &Credentials) -> String {
    let email = credentials.email().map(|email| format!(" as {email}"));
    let plan = plan(credentials).map(|plan| format!(" ({plan})"));
    [email, plan].into_iter().flatten().collect()
}

/// The plan as a title: the claims have it in small letters.
fn plan(credentials: &Credentials) -> Option<String> {
    credentials.plan().as_deref().map(capitalized)
}
