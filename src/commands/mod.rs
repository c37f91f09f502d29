//! One file per subcommand: only they print results.
//!
//! `run` hands each parsed command to its function, which returns the exit code; `output` prints the result.

pub mod completions;
mod doctor;
mod exec;
pub mod hints;
mod login;
mod logout;
mod output;
mod seal;
mod setup;
mod status;
mod token;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cli::{Cli, Command};
use crate::profile::{Profile, store};

use output::print;
pub use token::token;

/// Says what to do first, for a call without any arguments. All lines fit a narrow terminal.
pub fn start_page() -> Result<ExitCode> {
    print(include_str!("../help/start_page.txt"))
}

pub fn run(cli: Cli) -> Result<ExitCode> {
    let profile = cli.profile;
    match cli.command {
        Command::Login(args) => login::login(&store(profile)?, &args),
        Command::Token(args) => token(profile, &args),
        Command::AccountId => account_id(profile),
        Command::Status(args) => status::status(profile, &args),
        Command::Logout { no_revoke, all } => logout::logout(profile, no_revoke, all),
        Command::Seal => seal::seal(&store(profile)?, true),
        Command::Unseal => seal::seal(&store(profile)?, false),
        Command::Doctor { json, verbose } => doctor::doctor(profile, json, verbose),
        Command::Exec(args) => exec::exec(profile, &args),
        Command::Setup(args) => setup::setup(profile, &args),
        Command::Completions { shell } => print(&completions::script(shell)?),
        Command::Man => print(include_str!("../../man/codex-auth.1")),
    }
}

fn account_id(profile: Option<String>) -> Result<ExitCode> {
    let id = Profile::chosen(profile)?.stored()?.account_id();
    let id = id.context("the stored credentials have no ChatGPT account ID")?;
    print(&format!("{id}\n"))
}
