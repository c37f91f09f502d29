//! One function per subcommand, and the only writers to stdout.

mod doctor;
mod exec;
pub mod formats;
mod login;
mod logout;
mod output;
mod setup;
mod status;
mod token;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::CommandFactory;

use crate::cli::{Cli, Command, CompletionsArgs, Shell};
use crate::{refresh, settings};

use crate::profile::{store, stored};
use output::print;
pub use token::token;

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
    if apart == [refresh::APART] {
        refresh::work_apart(&store, last_refresh)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(refresh::work(&store, last_refresh))
}

fn account_id(profile: Option<String>) -> Result<ExitCode> {
    let profile = settings::profile(profile)?;
    let id = stored(&profile)?.account_id().with_context(|| {
        let sign_in = refresh::sign_in(&profile);
        format!("the stored login names no ChatGPT account: run {sign_in}")
    })?;
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
