//! One function per subcommand, and the only writers to stdout.

mod login;
mod status;

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::cli::{Cli, Command, CompletionsArgs, Shell, TokenArgs};
use crate::renewal::{self, Wish};
use crate::settings;
use crate::store::Store;
use crate::terminal::{complain, say};

/// How long a person waits for a renewal that is under way.
const PATIENCE: Duration = Duration::from_secs(90);

pub fn run(cli: Cli) -> Result<ExitCode> {
    let profile = cli.profile;
    match cli.command {
        Command::Login(args) => login::login(&store(profile)?, &args),
        Command::Token(args) => token(profile, &args),
        Command::AccountId => account_id(&store(profile)?),
        Command::Status => status::status(&store(profile)?),
        Command::Logout => logout(&store(profile)?),
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
    let usable = renewal::usable(&store, &wish)?;
    if let Some(warning) = &usable.warning {
        complain(warning);
    }
    print(&format!("{}\n", usable.login.access_token()?))
}

/// Renews a login for another process of this program.
pub fn work(profile: &OsStr, last_refresh: &OsStr) -> ExitCode {
    let text = |word: &OsStr| word.to_str().map(str::to_owned);
    match (store(text(profile)), text(last_refresh)) {
        (Ok(store), Some(last_refresh)) => renewal::work(&store, &last_refresh),
        _ => ExitCode::FAILURE,
    }
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
    let lock = store.lock(PATIENCE)?;
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
