//! What a person sees beside the result: lines on stderr, each written at once, and what a terminal makes of them.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::settings;

/// Paragraphs are no wider than this, on terminals of any width and in logs.
const WIDEST: usize = 80;
/// The clock of a countdown shows seconds.
const TICK: Duration = Duration::from_secs(1);

/// Writes a line to stderr. If that cannot be done, there is nobody to tell.
pub fn say(line: &str) {
    write(&format!("{line}\n"));
}

/// Says a paragraph, broken between words.
pub fn tell(paragraph: &str) {
    let width = width().map_or(WIDEST, |width| width.min(WIDEST));
    say(&wrap(paragraph, width));
}

/// Says what went wrong, or nearly did, under the program's name.
pub fn complain(words: &str) {
    say(&format!("codex-auth: {words}"));
}

/// Whether somebody may type an answer.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && !is_in_background()
}

/// Whether the shell put us into the background (`&`): whoever reads from the terminal there is stopped. On a terminal
/// that is not the controlling one nobody is.
#[cfg(unix)]
fn is_in_background() -> bool {
    rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|group| group != rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn is_in_background() -> bool {
    false
}

/// The columns of the terminal on stderr, if it is one.
pub fn width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stderr())?;
    Some(usize::from(width.0))
}

/// Whether stderr shows colours, and the person wants them.
pub fn has_colours() -> bool {
    takes_sequences() && !settings::no_color()
}

/// A text that the eye should find.
pub fn emphasized(text: &str) -> String {
    if has_colours() {
        format!("\x1b[1;36m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// A URL that can be clicked as a whole, even where it is broken over lines (OSC 8,
/// <https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda>). Elsewhere it is itself.
pub fn link(url: &str) -> String {
    if takes_sequences() {
        format!("\x1b]8;;{url}\x1b\\{url}\x1b]8;;\x1b\\")
    } else {
        url.to_owned()
    }
}

/// A line at the foot of the terminal that counts the time left. It is gone when this is dropped; where stderr is no
/// terminal it never comes.
pub struct Countdown {
    /// None ends the drawing.
    notes: Option<Sender<String>>,
    drawing: Option<JoinHandle<()>>,
}

/// Starts to count down to `until`. Without a thread to do it there is no such line.
pub fn count_down(until: Instant) -> Countdown {
    let (notes, received) = mpsc::channel();
    let draw = || thread::Builder::new().spawn(move || draw(&received, until));
    Countdown {
        notes: Some(notes),
        drawing: takes_sequences().then(draw).and_then(Result::ok),
    }
}

impl Countdown {
    /// Shows these words behind the time from now on, as far as there is room.
    pub fn note(&self, words: &str) {
        if let Some(notes) = &self.notes {
            // Where nothing is drawn, nobody takes it.
            let _ = notes.send(words.to_owned());
        }
    }
}

impl Drop for Countdown {
    fn drop(&mut self) {
        self.notes = None;
        if let Some(drawing) = self.drawing.take() {
            // Its line has to be gone before anything else is said. A thread that panicked has none any more.
            let _ = drawing.join();
        }
    }
}

/// Draws the line every second until nobody can send a note any more.
fn draw(notes: &Receiver<String>, until: Instant) {
    let mut note = String::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // The last column stays empty: some terminals go to the next line when it is filled.
        let staged = width().unwrap_or(WIDEST).saturating_sub(1);
        write(&format!("\r{}\x1b[K", countdown_line(left, &note, staged)));
        match notes.recv_timeout(TICK) {
            Ok(words) => note = words,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    write("\r\x1b[K");
}

/// At most `room` columns. A note is cut to ASCII, of which each character has one column.
fn countdown_line(left: Duration, note: &str, staged: usize) -> String {
    let seconds = left.as_millis().div_ceil(1000);
    let time = format!("Waiting: {}:{:02} left", seconds / 60, seconds % 60);
    let line = if note.is_empty() {
        time
    } else {
        format!("{time} ({note})")
    };
    let one_column = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    line.chars().map(one_column).take(staged).collect()
}

/// Whether stderr is a terminal that knows escape sequences.
fn takes_sequences() -> bool {
    io::stderr().is_terminal() && !settings::has_dumb_terminal() && enable_sequences()
}

/// The console of Windows knows them when it is asked to.
#[cfg(windows)]
fn enable_sequences() -> bool {
    anstyle_query::windows::enable_ansi_colors() == Some(true)
}

#[cfg(not(windows))]
fn enable_sequences() -> bool {
    true
}

/// Breaks a paragraph into lines of at most `width` characters, those of a list's item below its first word. A word that
/// is longer stands alone.
fn wrap(paragraph: &str, width: usize) -> String {
    let indent = if paragraph.starts_with("- ") {
        "  "
    } else {
        ""
    };
    let mut words = paragraph.split(' ');
    let mut lines = words.next().unwrap_or_default().to_owned();
    let mut used = lines.chars().count();
    for word in words {
        if used + 1 + word.chars().count() > width {
            lines += "\n";
            lines += indent;
            used = indent.len();
        } else {
            lines += " ";
            used += 1;
        }
        lines += word;
        used += word.chars().count();
    }
    lines
}

fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_broken_between_words() {
        assert_eq!(wrap("one two three", 7), "one two\nthree");
        assert_eq!(wrap("one two three", 6), "one\ntwo\nthree");
        assert_eq!(wrap("a somewhat-longer b", 5), "a\nsomewhat-longer\nb");
        assert_eq!(wrap("- one two", 7), "- one\n  two");
        assert_eq!(wrap("  one  two", 20), "  one  two");
        assert_eq!(wrap("", 5), "");
    }

    #[test]
    fn a_countdown_never_fills_more_than_its_room() {
        let line = |millis, note: &str, staged| {
            countdown_line(Duration::from_millis(millis), note, staged)
        };
        assert_eq!(line(900_000, "", 79), "Waiting: 15:00 left");
        assert_eq!(line(61_001, "", 79), "Waiting: 1:02 left");
        assert_eq!(line(0, "", 79), "Waiting: 0:00 left");
        assert_eq!(
            line(5_000, "no answer", 79),
            "Waiting: 0:05 left (no answer)"
        );
        assert_eq!(line(5_000, "漢\x1b\n", 39), "Waiting: 0:05 left (???)");
        assert_eq!(line(5_000, &"x".repeat(100), 39).len(), 39);
        assert_eq!(line(5_000, "", 3), "Wai");
    }
}
