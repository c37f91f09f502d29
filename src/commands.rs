//! One function per subcommand, and the only writers to stdout.

mod doctor;
mod exec;
mod login;
mod logout;
mod setup;
mod status;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::CommandFactory;

use crate::cli::{Cli, Command, CompletionsArgs, Format, Shell, TokenArgs};
use crate::credentials::{Glance, Login};
use crate::renewal::{self, Usable, Wish};
use crate::settings::{self, CODEX_PROFILE};
use crate::store::{Lock, Store};
use crate::terminal::{complain, say};
use crate::{codex_file, codex_login, error, formats, verification};

/// How long a person waits for a renewal that is under way: longer than its request can take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a person waits without being told for what.
const SILENCE: Duration = Duration::from_secs(1);

pub fn run(cli: Cli) -> Result<ExitCode> {
    let profile = cli.profile;
    match cli.command {
        Command::Login(args) => login::login(&store(profile)?, &args),
        Command::Token(args) => token(profile, &args),
        Command::AccountId => account_id(profile),
        Command::Status(args) => status::status(profile, &args),
        Command::Logout(args) => logout::logout(profile, &args),
        Command::Doctor(args) => doctor::doctor(profile, &args),
        Command::Exec(args) => exec::exec(profile, &args),
        Command::Setup(args) => setup::setup(profile, &args),
        Command::Completions(args) => completions(&args),
    }
}

/// Prints an access token that lives long enough.
pub fn token(profile: Option<String>, args: &TokenArgs) -> Result<ExitCode> {
    let wish = Wish {
        min_ttl: args.min_ttl,
        another: args.force_refresh,
        timeout: args.timeout,
    };
    let profile = settings::profile(profile)?;
    if let Some(line) = at_a_glance(&profile, &wish, args)? {
        return print(&line);
    }
    let mut usable = usable(&profile, &wish)?;
    if args.verify {
        usable = verified(&profile, usable, &wish)?;
    }
    if let Some(warning) = &usable.warning {
        complain(warning);
    }
    print(&formats::token(args.format, &usable.login, &profile)?)
}

/// What is printed in the case of nearly every call: the token is fresh, and nothing else was asked for. The rest of the
/// program says the same, and takes twice as long.
fn at_a_glance(profile: &str, wish: &Wish, args: &TokenArgs) -> Result<Option<String>> {
    if profile == CODEX_PROFILE || args.verify || args.format != Format::Plain {
        return Ok(None);
    }
    let stored = Store::new(profile.to_owned())?.bytes()?.unwrap_or_default();
    let glance = Glance::parse(&stored).filter(|glance| renewal::is_fresh(glance, wish));
    Ok(glance.map(|glance| formats::plain(glance.access_token())))
}

/// A login of this profile with a token that fulfils the wish: the one way to a token for all who print or pass it on.
fn usable(profile: &str, wish: &Wish) -> Result<Usable> {
    match profile {
        CODEX_PROFILE => codex_login::usable(wish),
        _ => renewal::usable(&Store::new(profile.to_owned())?, wish),
    }
}

/// The same, after the backend was asked whether it accepts the token.
fn verified(profile: &str, usable: Usable, wish: &Wish) -> Result<Usable> {
    match profile {
        CODEX_PROFILE => verification::verified_of_codex(usable),
        _ => verification::verified(&Store::new(profile.to_owned())?, usable, wish),
    }
}

/// The login of this profile as it is stored.
fn stored(profile: &str) -> Result<Login> {
    if profile == CODEX_PROFILE {
        return Ok(codex_file::load()?.ok_or_else(codex_login::not_signed_in)?);
    }
    let store = Store::new(profile.to_owned())?;
    Ok(store
        .load()?
        .ok_or_else(|| renewal::not_signed_in(&store))?)
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

fn account_id(profile: Option<String>) -> Result<ExitCode> {
    let login = stored(&settings::profile(profile)?)?;
    let id = login
        .account_id()
        .context("the stored login names no ChatGPT account: run codex-auth login")?;
    print(&format!("{id}\n"))
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
