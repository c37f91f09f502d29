//! Parse, run one command, turn failure into words and an exit code.

mod browser_login;
mod callback;
mod cli;
mod codex_file;
mod codex_login;
mod commands;
mod copies;
mod credentials;
mod detached;
mod device_login;
mod doctor;
mod error;
mod formats;
mod http;
mod issuer;
mod opener;
mod page;
mod permissions;
mod phrases;
mod pkce;
mod proxy;
mod qr;
mod redirect;
mod renewal;
mod report;
mod roots;
mod settings;
mod store;
mod terminal;
mod tls;
mod verification;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, TokenArgs};

/// musl's own allocator asks the system anew for nearly every size of a block: that took `token` longer than its parsing.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    permissions::forbid_core_dumps();
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match words.as_slice() {
        // By far the most frequent call, met before the parser, which costs more than all the rest of it.
        [word] if word == "token" => commands::token(None, &TokenArgs::default()),
        [word, rest @ ..] if word == renewal::WORKER => commands::work(rest),
        _ => commands::run(Cli::parse()),
    };
    outcome.unwrap_or_else(|error| {
        terminal::complain(&format!("{error:#}"));
        ExitCode::from(error::exit_code(&error))
    })
}
