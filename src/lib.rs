//! `codex-auth`: sign in to ChatGPT/Codex once, then print a fresh access token whenever it is asked for.
//!
//! # The walk of `token`
//!
//! ```text
//! run                      a bare `token` skips the parser (`cli`)
//! commands::token          what is asked for: a `TokenRequest`
//! Profile::valid_token     whose credentials: a profile's, or Codex's own
//! refresh::valid_token     load; how fresh are they?
//!   store::Store::load       one open, one read, no lock, no network
//!   Credentials::freshness   Fresh: print
//!                            Due: refresh ahead of time, unless another process does; then print
//!                            Stale: refresh, wait, load again
//!   refresh::worker          a process of its own: lock, load again, stage a file, ask the issuer, save
//!     refresh::provider        whom to ask: the issuer, with one request, or a command (`login --from`)
//! Profile::verified        with --verify: does the backend accept the token?
//! commands::formats        the shape to print it in, then one write to stdout
//! ```
//!
//! # Where things are
//!
//! A folder is a subject; each opens with the way through it. Arrows go down only.
//!
//! | place | its one reason |
//! | --- | --- |
//! | `cli` | the command line: every option, and every word of the help |
//! | `commands` | one file for each subcommand; the only writers to stdout |
//! | `doctor` | what stands in the way of a login or a refresh |
//! | `profile` | the credentials that a command is about, and what can be said of them |
//! | `login` | signing in: browser, loopback callback, device code |
//! | `refresh` | when credentials are refreshed, by whom, and who waits |
//! | `store` | load, lock, save, remove: the only toucher of the disk |
//! | `keyring` | the system's keyring, which holds the keys of sealed credentials |
//! | `issuer` | what is asked of the issuer and of the backend, one function for each request |
//! | `net` | HTTP with limits on everything, proxies, TLS |
//! | `credentials` | what is stored: tokens, when they expire, whose they are. No input or output |
//! | `settings` | where things are: the only reader of the environment |
//! | `url` | the URLs that a token may be sent to |
//! | `process`, `terminal`, `text`, `time`, `error` | other processes; what a person sees; what may be shown of foreign text; the clock; the failures that callers act on |

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests make the files that they need"
    )
)]

pub mod cli;
pub mod commands;
pub mod credentials;
pub mod doctor;
pub mod error;
pub mod issuer;
pub mod keyring;
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
pub mod url;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, TokenArgs};

/// Runs the command that the arguments of this process name.
pub fn run() -> ExitCode {
    process::forbid_core_dumps();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match arguments.as_slice() {
        // By far the most frequent call skips the parser, which would cost more than all the rest of it.
        [command] if command == "token" => commands::token(None, &TokenArgs::default()),
        [command, rest @ ..] if command == refresh::WORKER => refresh::work(rest),
        [first, ..] if first == "--" && settings::is_set(settings::COMPLETE) => {
            return commands::completions::complete();
        }
        [] => commands::start_page(),
        arguments => match Cli::try_parse() {
            Ok(cli) => commands::run(cli),
            Err(error) => commands::hints::show(&error, arguments),
        },
    };
    outcome.unwrap_or_else(|error| {
        terminal::complain(&format!("{error:#}"));
        ExitCode::from(error::exit_code(&error))
    })
}
