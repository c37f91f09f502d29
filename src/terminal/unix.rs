//! The terminal on Unix.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcgetpgrp, tcsetattr};

/// Runs `work` while the terminal does not echo input.
pub fn without_echo<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let terminal = io::stdin();
    let shown = tcgetattr(&terminal)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
    let done = work();
    tcsetattr(&terminal, OptionalActions::Now, &shown)?;
    done
}

pub fn hold_interrupts(held: bool) {
    let interrupts = SigSet::from(Signal::SIGINT);
    // It only fails if it is called incorrectly.
    let _ = if held {
        interrupts.thread_block()
    } else {
        interrupts.thread_unblock()
    };
}

/// A process that reads from the terminal in the background is stopped, with all threads. If that signal is blocked, the
/// read fails instead (POSIX.1-2017, general terminal interface, 11.1.4).
pub fn refuse_background_stop() {
    // It only fails if it is called incorrectly.
    let _ = SigSet::from(Signal::SIGTTIN).thread_block();
}

/// Whether the shell put us into the background (`&`, `bg`). This does not happen on a terminal that is not the
/// controlling one.
pub fn is_in_background() -> bool {
    let foreground = [tcgetpgrp(io::stdin()), tcgetpgrp(io::stderr())];
    let mut foreground = foreground.into_iter().flatten();
    foreground.any(|group| group != getpgrp())
}

/// Whether the terminal accepts output at once. A stopped one (Ctrl-S) does not, and no work should wait for a status
/// line.
pub fn is_flowing() -> bool {
    let stderr = io::stderr();
    let mut terminal = [PollFd::new(&stderr, PollFlags::OUT)];
    let at_once = Timespec::default();
    poll(&mut terminal, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

pub fn enable_sequences() -> bool {
    true
}
