//! What a command is for goes to stdout; here, and nowhere else.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

/// Writes a result to stdout, all at once. A reader that has gone away is no failure.
pub fn print(result: &str) -> Result<ExitCode> {
    match io::stdout().write_all(result.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("could not write to stdout")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
