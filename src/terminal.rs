//! What users see besides the result: lines on stderr, each written at once, and how a terminal shows them.

use std::borrow::Cow;
use std::io::{self, BufRead, IsTerminal, Write};
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anstream::adapter::strip_str;
use terminal_size::terminal_size_of;
use textwrap::{Options, WordSeparator, WordSplitter, fill};

use crate::settings;
use crate::text::on_one_line;

#[cfg_attr(unix, path = "terminal/unix.rs")]
#[cfg_attr(windows, path = "terminal/windows.rs")]
mod system;

/// The maximum width of paragraphs, on terminals of any width and in logs.
const WIDEST: usize = 80;
/// How often a background job checks whether it is in the foreground again, as no signal says so.
const FOREGROUND_CHECK: Duration = Duration::from_secs(1);

/// The status line at the bottom of the terminal, below all messages.
static STATUS: Mutex<String> = Mutex::new(String::new());

/// Writes a line to stderr, with its style if it can be shown. If that fails, there is nobody to tell.
pub fn say(line: &str) {
    let line = styled(line, &io::stderr());
    let status = STATUS.lock().unwrap_or_else(PoisonError::into_inner);
    write(&if status.is_empty() {
        format!("{line}\n")
    } else {
        format!("\r\x1b[K{line}\n{status}")
    });
}

/// Prints a paragraph, wrapped between words. An indented one is a command, and stays whole.
pub fn tell(paragraph: &str) {
    if paragraph.starts_with("  ") {
        return say(paragraph);
    }
    let indent = if paragraph.starts_with("- ") { 2 } else { 0 };
    say(&wrap(paragraph, width().min(WIDEST), indent));
}

/// Reports that something is done, on a terminal with a check mark.
pub fn succeed(line: &str) {
    if knows_sequences(&io::stderr()) {
        let line = format!("{} {line}", painted("✓", "32"));
        say(&wrap(&line, width(), 2));
    } else {
        say(line);
    }
}

/// Reports an error, under the program's name and on one line, as a path in it may contain any characters.
pub fn complain(message: &str) {
    say_under("codex-auth:", "1;31", message);
}

/// Reports a problem without failing the command.
pub fn warn(message: &str) {
    say_under("codex-auth: warning:", "1;33", message);
}

/// Prints one line, but wraps it between words on a terminal, which would wrap it anywhere.
fn say_under(label: &str, style: &str, message: &str) {
    let line = format!("{} {}", painted(label, style), on_one_line(message));
    say(&wrap(&line, width(), 0));
}

/// Adds a style (ECMA-48, SGR), which is removed again for streams that cannot show it.
pub fn painted(text: &str, style: &str) -> String {
    format!("\x1b[{style}m{text}\x1b[0m")
}

/// Prepares a text for a stream: keeps escape sequences only if it is a terminal that supports them, and the user wants
/// colours.
pub fn styled<'a>(text: &'a str, stream: &impl IsTerminal) -> Cow<'a, str> {
    if text.contains('\x1b') && !shows_colours(stream) {
        strip_str(text).to_string().into()
    } else {
        text.into()
    }
}

/// Whether the user can be asked: stdin is a terminal, and we are in the foreground.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && !system::is_in_background()
}

/// Whether stderr is a terminal.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Passes each line that the user types to `wants_more`, until it returns false or the input ends. Invalid UTF-8 is
/// replaced. A job that is put into the background continues, and reads again in the foreground.
pub fn read_lines(mut wants_more: impl FnMut(&str) -> bool) {
    system::refuse_background_stop();
    let mut line = Vec::new();
    loop {
        match io::stdin().lock().read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                if !wants_more(&text) {
                    return;
                }
                line.clear();
            }
            // In the background, a terminal refuses to be read.
            Err(_) if io::stdin().is_terminal() => thread::sleep(FOREGROUND_CHECK),
            Err(_) => return,
        }
    }
}

/// Asks for a line that the user types or pastes, and reads it without echo. Ctrl-C ends the program, but only after echo
/// is restored.
pub fn read_hidden(prompt: &str) -> io::Result<String> {
    let config = rpassword::ConfigBuilder::new()
        .password_feedback_hide()
        .build();
    system::hold_interrupts(true);
    // Echo is off even before the prompt, as the user may paste immediately.
    let line = system::without_echo(|| {
        say(prompt);
        rpassword::read_password_with_config(config)
    });
    system::hold_interrupts(false);
    line
}

/// The columns of the terminal on stderr; unlimited without one.
pub fn width() -> usize {
    terminal_size_of(io::stderr()).map_or(usize::MAX, |(width, _)| width.0.into())
}

/// The same for stdout.
pub fn result_width() -> usize {
    terminal_size_of(io::stdout()).map_or(usize::MAX, |(width, _)| width.0.into())
}

/// An indented part of the result, wrapped between words if stdout is a terminal; otherwise it stays on one line for
/// other programs.
pub fn fitted(text: &str, indent: usize) -> String {
    let filled = " ".repeat(indent) + text;
    let lines = wrap(&filled, result_width(), indent);
    lines.trim_start_matches(' ').to_owned()
}

/// Whether a stream shows colours, and the user wants them.
pub fn shows_colours(stream: &impl IsTerminal) -> bool {
    knows_sequences(stream) && !settings::is_set(settings::NO_COLOR)
}

/// Highlighted text.
pub fn emphasized(text: &str) -> String {
    painted(text, "1;36")
}

/// A URL that can be clicked even if it is wrapped (OSC 8,
/// <https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda>).
pub fn link(url: &str) -> String {
    format!("\x1b]8;;{url}\x1b\\{url}\x1b]8;;\x1b\\")
}

/// Replaces the status line at the bottom of the terminal. Does nothing if stderr is not a terminal, or another job uses
/// it.
pub fn show_status(text: &str) {
    let stderr = io::stderr();
    if knows_sequences(&stderr) && !system::is_in_background() && system::is_flowing() {
        let mut status = STATUS.lock().unwrap_or_else(PoisonError::into_inner);
        // The last column stays empty, because some terminals move to the next line when it is filled.
        *status = text.chars().take(width() - 1).collect();
        write(&format!("\r{status}\x1b[K"));
    }
}

/// Removes that line.
pub fn clear_status() {
    let mut status = STATUS.lock().unwrap_or_else(PoisonError::into_inner);
    if !mem::take(&mut *status).is_empty() && system::is_flowing() {
        write("\r\x1b[K");
    }
}

/// Shows in the status line what we are waiting for, while `work` runs.
pub fn awaiting<T>(what: &str, work: impl FnOnce() -> T) -> T {
    show_status(what);
    let done = work();
    clear_status();
    done
}

/// Whether a stream is a terminal that supports escape sequences.
fn knows_sequences(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && !settings::has_dumb_terminal() && system::enable_sequences()
}

/// Wraps a paragraph between words into lines of at most `width` columns, not counting styles; all but the first are
/// indented.
fn wrap(paragraph: &str, width: usize, indent: usize) -> String {
    let indent = " ".repeat(indent);
    let options = Options::new(width).subsequent_indent(&indent);
    let options = options.word_separator(WordSeparator::AsciiSpace);
    let whole_words = options
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    fill(paragraph, whole_words)
}

fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_broken_between_words() {
        assert_eq!(wrap("one two three", 7, 0), "one two\nthree");
        assert_eq!(wrap("one two three", 6, 0), "one\ntwo\nthree");
        assert_eq!(wrap("a somewhat-longer b", 5, 0), "a\nsomewhat-longer\nb");
        assert_eq!(wrap("- one two", 7, 2), "- one\n  two");
        assert_eq!(wrap("  one  two", 20, 0), "  one  two");
        assert_eq!(wrap("", 5, 0), "");
        assert_eq!(
            wrap("\x1b[32mone\x1b[0m two three", 7, 0),
            "\x1b[32mone\x1b[0m two\nthree"
        );
    }

    #[test]
    fn a_stream_without_styles_gets_plain_text() {
        let text = painted("one", "1;31") + &link("http://two.example/%7E;a") + "\r\n✓";
        let file = std::fs::File::open(file!()).unwrap();
        assert_eq!(styled(&text, &file), "onehttp://two.example/%7E;a\r\n✓");
    }
}
