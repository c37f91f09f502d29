//! The result of a command. Nothing else is written to stdout, except a worker's report and completions.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::process::stdout;
use crate::terminal::styled;

/// The styles of a result (ECMA-48, SGR), for `painted`.
pub const HEADING: &str = "1";
pub const BAD: &str = "31";
pub const GOOD: &str = "32";
pub const WARNING: &str = "33";

/// Prints a result in colour, if stdout supports it.
pub fn print_coloured(result: &str) -> Result<ExitCode> {
    print(&styled(result, &io::stdout()))
}

/// Writes a result to stdout in one piece. It is not an error if the reader has closed the pipe.
pub fn print(result: &str) -> Result<ExitCode> {
    match stdout().and_then(|mut stdout| stdout.write_all(result.as_bytes())) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("could not write to stdout")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
