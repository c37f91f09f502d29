//! Restores signals that were ignored when the tests were started, as by `nohup` and `&`. Otherwise the program under
//! test would ignore them, too.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT};

/// Gives each ignored signal a handler that does nothing. The tests notice no difference, but programs that they start do
/// not inherit a handler and begin with the default (execve(2)).
pub(crate) fn restore_in_children() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [SIGHUP, SIGINT, SIGQUIT] {
            if is_ignored(signal) {
                signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
                    .expect("no handler");
            }
        }
    });
}

/// Only Linux has /proc for this. Elsewhere, a handler would keep Ctrl-C from ending the tests.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:\t"));
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}
