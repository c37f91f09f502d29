//! `login`: authorizes, exchanges, stores, and only then tells the user and revokes the earlier login.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::cli::LoginArgs;
use crate::credentials::{Credentials, Source};
use crate::error::{TEMPORARY, exit_code, from_code};
use crate::issuer::{Authorization, Issuer};
use crate::login::{access_token, browser, device_code, page};
use crate::process::describe_start;
use crate::profile::copies::retire;
use crate::profile::replacement::{Earlier, Replacement, will_be_sealed};
use crate::profile::{as_whom, lock, note};
use crate::refresh::{first_credentials, learn_routing};
use crate::settings;
use crate::store::Store;
use crate::terminal::{awaiting, is_watched, say, succeed, tell, warn};
use crate::text::{printable, shell_word};

const FAILED: &str = "could not sign in";

/// How a new login is obtained and stored.
struct Login<'a> {
    store: &'a Store,
    args: &'a LoginArgs,
    /// Whether to seal it, if an option says so.
    sealed: Option<bool>,
    /// The command that repeats this sign-in.
    command: String,
}

/// The new login, and the earlier one.
type Completed = (Credentials, Earlier);

pub fn login(store: &Store, args: &LoginArgs) -> Result<ExitCode> {
    let source = source(args)?;
    let options = args.workspace.iter().map(|id| format!(" --workspace {id}"));
    let options = options.chain(args.seal.then(|| " --seal".to_owned()));
    let login = Login {
        store,
        args,
        sealed: args.seal.then_some(true),
        command: settings::login_command(&store.profile) + &options.collect::<String>(),
    };
    let current = Replacement::check_possible(store, login.sealed)?;
    if let Some(current) = current.filter(|_| is_watched()) {
        let who = as_whom(&current, current.plan());
        let current = format!("You are signed in{who} until the new login is stored.");
        tell(&current);
    }
    let (mut credentials, earlier) = login.sign_in(source).context(FAILED)?;
    awaiting("Asking about the workspace …", || {
        learn_routing(store, &mut credentials);
    });
    announce(&credentials, &store.profile);
    retire_earlier(earlier, &credentials, &store.profile);
    Ok(ExitCode::SUCCESS)
}

/// The source of the tokens, if it is not the issuer.
fn source(args: &LoginArgs) -> Result<Option<Source>> {
    if let Some(path) = &args.from_socket {
        return Ok(Some(Source::Socket(settings::absolute(path)?)));
    }
    if args.workload_identity {
        let [rule, file] = [&args.federation_rule, &args.identity_token].map(Option::as_deref);
        let (rule, file) = settings::workload(rule, file)?;
        return Ok(Some(Source::Workload { rule, file }));
    }
    let mut words = args.command.clone();
    let Some(program) = words.first_mut() else {
        return Ok(None);
    };
    if !settings::is_installed(program) {
        let why = describe_start(&ErrorKind::NotFound.into(), program.as_ref());
        bail!("{FAILED}: {}: {why}", shell_word(&printable(program)));
    }
    // A command without a path is looked up in `PATH` for each run.
    if settings::has_path(program.as_ref()) {
        *program = settings::absolute(program)?;
    }
    Ok(Some(Source::Command(words)))
}

impl Login<'_> {
    /// Gets the first token from its source, or signs the user in at the issuer.
    fn sign_in(&self, source: Option<Source>) -> Result<Completed> {
        if let Some(source) = source {
            let first = || first_credentials(source);
            return self.store(awaiting("Waiting for the first token …", first)?);
        }
        let issuer = Issuer::new(settings::issuer()?, settings::client_id()?)?;
        if self.args.with_access_token {
            let access_token = access_token::read()?;
            let ask = || access_token::credentials(&issuer, &access_token);
            return self.store(awaiting("Looking up the owner of the token …", ask)?);
        }
        if self.args.device_code {
            return self.sign_in_with_code(&issuer);
        }
        let (args, command) = (self.args, &self.command);
        let (no_browser, switch) = (args.no_browser, args.switch_account);
        let (authorization, callback) =
            browser::authorize(&issuer, no_browser, switch, &args.workspace, command)?;
        let completed =
            authorization.and_then(|authorization| self.complete(&issuer, &authorization, false));
        callback.show(match &completed {
            Ok((credentials, _)) => page::signed_in(&as_whom(credentials, credentials.plan())),
            Err(error) => page::failed(&format!("{error:#}")),
        });
        completed
    }

    fn sign_in_with_code(&self, issuer: &Issuer) -> Result<Completed> {
        let (store, command) = (self.store, &self.command);
        let keep = !will_be_sealed(store, self.sealed)?;
        let (authorization, _lock) =
            device_code::authorize(issuer, store, keep, self.args.qr, command)?;
        match self.complete(issuer, &authorization, keep) {
            Err(error) if store.pending().is_some() => {
                let advice = "again, as the code may still be valid";
                let words = format!("{error:#}: run {command} --device-code {advice}");
                Err(from_code(exit_code(&error), words))
            }
            completed => completed,
        }
    }

    /// Exchanges the code and stores the tokens, all under the lock.
    ///
    /// If the code is from a device login kept in the store, that one is removed, unless the issuer may still accept the
    /// code. A code must not be used twice: the issuer could revoke the login that resulted from it.
    fn complete(
        &self,
        issuer: &Issuer,
        authorization: &Authorization,
        is_kept: bool,
    ) -> Result<Completed> {
        let lock = lock(self.store)?;
        if is_kept && self.store.pending().is_none() {
            bail!("another codex-auth command has used this code, or removed it");
        }
        let replacement = Replacement::prepare(self.store, lock, self.sealed)?;
        let exchange = || issuer.exchange(authorization);
        let exchanged = awaiting("Completing the sign-in …", exchange);
        let code = exchanged.as_ref().map_or_else(exit_code, |_| 0);
        if is_kept && code != TEMPORARY {
            self.store.forget_pending();
        }
        let response = exchanged?;
        let mut new = Credentials::new(Source::Issuer);
        new.issuer = Some(issuer.url.text.clone());
        new.client_id = Some(issuer.client_id.clone());
        new.update(&response, SystemTime::now())
            .and_then(|()| self.replace(replacement, new))
            // A login that is not accepted or cannot be stored is revoked. If that fails, it expires by itself.
            .inspect_err(|_| drop(issuer.revoke(&response.tokens)))
    }

    /// Stores credentials that did not use a code.
    fn store(&self, new: Credentials) -> Result<Completed> {
        let lock = lock(self.store)?;
        self.replace(Replacement::prepare(self.store, lock, self.sealed)?, new)
    }

    /// Replaces the earlier credentials, unless the new ones are for a workspace that is not accepted. If both have the same
    /// access token, the new ones come from the earlier login.
    fn replace(&self, replacement: Replacement, mut new: Credentials) -> Result<Completed> {
        // The issuer was only asked for these workspaces, and may have ignored it.
        let id = new.account_id().unwrap_or_else(|| "(none)".to_owned());
        let accepted = &self.args.workspace;
        if !accepted.is_empty() && !accepted.contains(&id) {
            let accepted = accepted.join(" or ");
            bail!("the login is for workspace {id}, but only {accepted} is accepted");
        }
        let same = replacement.earlier();
        let same = same.filter(|same| same.access_token().ok() == new.access_token().ok());
        let is_origin = same.is_some_and(|same| same.tokens.refresh_token.is_some());
        if is_origin && new.source().is_external() {
            let profile = &self.store.profile;
            let call = settings::call_for(profile);
            bail!(
                "the profile {profile} is the login that these tokens come from: choose another --profile, or run {call} logout --no-revoke first"
            );
        }
        let is_same = same.is_some();
        let earlier = replacement.save(&mut new)?;
        Ok((new, earlier.map(|earlier| earlier.filter(|_| !is_same))))
    }
}

fn announce(credentials: &Credentials, profile: &str) {
    let who = as_whom(credentials, credentials.plan());
    succeed(&format!("Signed in{who}"));
    if credentials.is_sealed() {
        say("The login is sealed with a key in the keyring.");
    }
    let source = credentials.source();
    if source.is_stored() {
        say(&format!("  Its tokens come from {}", source.describe()));
    }
    if let Some(note) = note(credentials) {
        warn(&note);
    }
    if is_watched() {
        let program = settings::call_for(profile);
        let next = format!("  Next: TOKEN=$({program} token), or {program} setup codex");
        say(&next);
    }
}

/// Revokes the profile's earlier login, unless it is already revoked.
fn retire_earlier(earlier: Earlier, new: &Credentials, profile: &str) {
    let source = Some(new.source()).filter(|source| source.is_external());
    let not_revoked = match earlier {
        Err(error) if exit_code(&error) == TEMPORARY => Some(format!("{error:#}")),
        // A login that can no longer be read cannot be revoked either.
        Err(_) | Ok(None) => None,
        Ok(Some(earlier)) if earlier.revoked.is_some() || earlier.source().is_stored() => None,
        Ok(Some(earlier)) => match source.filter(|_| new.account_id() == earlier.account_id()) {
            Some(source) => Some(source.describe() + " may get its tokens from a copy of it"),
            None => retire(&earlier, profile),
        },
    };
    if let Some(why) = not_revoked {
        say(&format!("The earlier login was not revoked: {why}."));
    }
}
