//! What a person sees beside the result: lines on stderr, each written at once.

use std::io::{self, IsTerminal, Write};

/// Writes a line to stderr. If that cannot be done, there is nobody to tell.
pub fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Says what went wrong, or nearly did, under the program's name.
pub fn complain(words: &str) {
    say(&format!("codex-auth: {words}"));
}

/// Whether somebody may type an answer.
pub fn can_ask() -> bool {
    io::stdin().is_terminal()
}
