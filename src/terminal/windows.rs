//! The terminal on Windows.

use std::io;

pub fn without_echo<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    work()
}

pub fn hold_interrupts(_held: bool) {}

pub fn refuse_background_stop() {}

pub fn is_in_background() -> bool {
    false
}

pub fn is_flowing() -> bool {
    true
}

/// The console supports escape sequences if asked to.
pub fn enable_sequences() -> bool {
    anstyle_query::windows::enable_ansi_colors() == Some(true)
}
