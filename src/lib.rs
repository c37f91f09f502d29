//! `codex-auth`: sign in to ChatGPT/Codex once, then print a fresh access token on demand.
//!
//! This library is not an API. It exists for the program and its tests, and anything in it may change in any release:
//! call the program instead (`codex-auth token --format json`).
//!
//! # What `token` does
//!
//! ```text
//! run                      a bare `token` skips the parser (`cli`)
//! commands::token          the request: a `TokenRequest`
//! Profile::valid_token     whose credentials: a profile's, or Codex's own
//! refresh::valid_token     load; how fresh are they?
//!   store::Store::load       one open, one read, no lock, no network
//!   Credentials::freshness   Fresh: print
//!                            Due: refresh ahead of time, unless another process does; then print
//!                            Stale: refresh, wait, load again
//!   refresh::worker          a separate process: lock, load again, stage a file, ask the issuer, save
//!     refresh::provider        whom to ask: the issuer, with one request, or a command (`login --from`)
//! Profile::verified        with --verify: does the backend accept the token?
//! commands::token          the format to print it in, then one write to stdout
//! ```
//!
//! # Modules
//!
//! Each folder is one subject, and its `mod.rs` starts with an overview. Modules only use those below them.
//!
//! | module | what it is for |
//! | --- | --- |
//! | `cli` | the command line: every option, and the help |
//! | `commands` | one file per subcommand; only they print results |
//! | `doctor` | diagnoses login and refresh problems |
//! | `profile` | whose credentials a command uses, and the state of a login |
//! | `login` | signing in: browser, loopback callback, device code |
//! | `refresh` | when credentials are refreshed, by whom, and who waits |
//! | `store` | load, lock, save, remove: nothing else writes to the disk |
//! | `keyring` | the system's keyring, which holds the keys of sealed logins |
//! | `issuer` | requests to the issuer and to the backend, one function each |
//! | `net` | HTTP with limits on everything, proxies, TLS |
//! | `credentials` | what is stored: tokens, when they expire, who owns them. No files, no network |
//! | `sandbox` | whether a sandbox forbids something, and how messages say so |
//! | `process` | starting programs, and what others may see of this one |
//! | `terminal` | what users see besides the result |
//! | `settings` | the environment variables: nothing else reads them |
//! | `url` | the URLs that a token may be sent to |
//! | `text`, `time` | text from elsewhere made safe to show; times in words |
//! | `error` | the failures that callers act on, and the exit codes |

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
pub mod sandbox;
pub mod settings;
pub mod store;
pub mod terminal;
pub mod text;
pub mod time;
pub mod url;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::TokenArgs;

/// Runs the command given by the arguments of this process.
pub fn run() -> ExitCode {
    process::forbid_core_dumps();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match arguments.as_slice() {
        // By far the most frequent call skips the parser, which would take longer than everything else.
        [command] if command == "token" => commands::token(None, &TokenArgs::default()),
        [command, rest @ ..] if command == refresh::WORKER => refresh::work(rest),
        [first, ..] if first == "--" && settings::is_set(settings::COMPLETE) => {
            return commands::completions::complete();
        }
        [] => commands::start_page(),
        arguments => match cli::parse() {
            Ok(cli) => commands::run(cli),
            Err(error) => commands::hints::show(&error, arguments),
        },
    };
    outcome.unwrap_or_else(|error| {
        terminal::complain(&format!("{error:#}"));
        ExitCode::from(error::exit_code(&error))
    })
}
