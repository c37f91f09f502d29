//! One function per subcommand, and the only writers to stdout.

mod exec;
mod login;
mod setup;
mod status;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::CommandFactory;

use crate::cli::{Cli, Command, CompletionsArgs, Shell, TokenArgs};
use crate::renewal::{self, Wish};
use crate::store::{Lock, Store};
use crate::terminal::{complain, say};
use crate::{error, formats, settings};

/// How long a person waits for a renewal that is under way: longer than its request can take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a person waits without being told for what.
const SILENCE: Duration = Duration::from_secs(1);

pub fn run(cli: Cli) -> Result<ExitCode> {
    let profile = cli.profile;
    match cli.command {
        Command::Login(args) => login::login(&store(profile)?, &args),
        Command::Token(args) => token(profile, &args),
        Command::AccountId => account_id(&store(profile)?),
        Command::Status => status::status(&store(profile)?),
        Command::Logout => logout(&store(profile)?),
        Command::Exec(args) => exec::exec(&store(profile)?, &args),
        Command::Setup(args) => setup::setup(&store(profile)?, &args),
        Command::Completions(args) => completions(&args),
    }
}

/// Prints an access token that lives long enough.
pub fn token(profile: Option<String>, args: &TokenArgs) -> Result<ExitCode> {
    let store = store(profile)?;
    let wish = Wish {
        min_ttl: args.min_ttl,
        another: args.force_refresh,
        timeout: args.timeout,
    };
    let mut usable = renewal::usable(&store, &wish)?;
    if args.verify {
        usable = renewal::verified(&store, usable, &wish)?;
    }
    if let Some(warning) = &usable.warning {
        complain(warning);
    }
    print(&formats::token(
        args.format,
        &usable.login,
        store.profile(),
    )?)
}

/// Renews a login for another process of this program, which gives the profile and what it knows of the login.
pub fn work(words: &[OsString]) -> Result<ExitCode> {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let [profile, last_refresh, apart @ ..] = words.as_slice() else {
        bail!("the worker is started by codex-auth itself");
    };
    let store = store(Some(profile.clone()))?;
    if apart == [renewal::APART] {
        renewal::work_apart(&store, last_refresh)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(renewal::work(&store, last_refresh))
}

fn account_id(store: &Store) -> Result<ExitCode> {
    let login = store
        .load()?
        .with_context(|| renewal::not_signed_in(store))?;
    let id = login
        .account_id()
        .context("the stored login names no ChatGPT account: run codex-auth login")?;
    print(&format!("{id}\n"))
}

/// Ends the login here in any case, and at the issuer if it can be reached.
fn logout(store: &Store) -> Result<ExitCode> {
    let lock = lock(store)?;
    let login = store.load();
    lock.remove()?;
    match login {
        Ok(None) => say("Nobody was signed in."),
        Ok(Some(login)) => {
            match renewal::issuer_of(&login).and_then(|(issuer, token)| issuer.revoke(&token)) {
                Ok(()) => say("Signed out."),
                Err(error) => complain(&format!(
                    "signed out here, but could not revoke the login at the issuer: {error:#}: until it ends by itself, whoever has a copy of it can use it"
                )),
            }
        }
        Err(error) => complain(&format!(
            "removed the login, but could not revoke it at the issuer: {error:#}"
        )),
    }
    Ok(ExitCode::SUCCESS)
}

fn completions(args: &CompletionsArgs) -> Result<ExitCode> {
    use clap_complete::{Shell as Script, generate};
    let shell = match args.shell {
        Shell::Bash => Script::Bash,
        Shell::Zsh => Script::Zsh,
        Shell::Fish => Script::Fish,
        Shell::Powershell => Script::PowerShell,
        Shell::Elvish => Script::Elvish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "codex-auth", &mut script);
    print(&String::from_utf8(script)?)
}

/// Takes the lock for a person, who is told if that takes time.
fn lock(store: &Store) -> Result<Lock<'_>> {
    match store.lock(SILENCE) {
        Err(error) if error::exit_code(&error) == error::TEMPORARY => {
            say("Waiting for another process that is renewing this login.");
            store.lock(PATIENCE)
        }
        locked => locked,
    }
}

fn store(profile: Option<String>) -> Result<Store> {
    Store::new(settings::profile(profile)?)
}

/// Writes a result to stdout, all at once. A reader that has gone away is no failure.
fn print(result: &str) -> Result<ExitCode> {
    match io::stdout().write_all(result.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("could not write to stdout")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
