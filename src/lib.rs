//! Parse, run one command, turn failure into words and an exit code.

pub mod cli;
pub mod commands;
pub mod credentials;
pub mod doctor;
pub mod error;
pub mod issuer;
pub mod login;
pub mod net;
pub mod process;
pub mod profile;
pub mod refresh;
pub mod settings;
pub mod store;
pub mod terminal;
pub mod text;
pub mod time;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, TokenArgs};

/// Runs the command that the arguments of this process name.
pub fn run() -> ExitCode {
    store::permissions::forbid_core_dumps();
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match words.as_slice() {
        // By far the most frequent call, met before the parser, which costs more than all the rest of it.
        [word] if word == "token" => commands::token(None, &TokenArgs::default()),
        [word, rest @ ..] if word == refresh::WORKER => commands::work(rest),
        _ => commands::run(Cli::parse()),
    };
    outcome.unwrap_or_else(|error| {
        terminal::complain(&format!("{error:#}"));
        ExitCode::from(error::exit_code(&error))
    })
}
