//! The result of a command: written to stdout here, and nowhere else.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::process::stdout;
use crate::terminal;

/// What a colour says about a part of the result.
#[derive(Clone, Copy)]
pub enum Colour {
    Good,
    Warning,
    Bad,
    Heading,
}

/// Writes a result to stdout, all at once. A reader that has gone away is no failure.
pub fn print(result: &str) -> Result<ExitCode> {
    match stdout().write_all(result.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("could not write to stdout")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A text in its colour, where stdout is a terminal that shows colours and the person wants them.
pub fn coloured(text: &str, colour: Colour) -> String {
    let code = match colour {
        Colour::Good => "32",
        Colour::Warning => "33",
        Colour::Bad => "31",
        Colour::Heading => "1",
    };
    terminal::painted(text, code, has_colours())
}

/// Whether stdout shows colours, and the person wants them.
pub fn has_colours() -> bool {
    terminal::shows_colours(&io::stdout())
}

/// Whether a person looks at stdout.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}
