//! The terminal on Unix.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcgetpgrp, tcsetattr};

/// Runs `work` while the terminal does not show what is typed.
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
    // It fails only if it is called wrongly.
    let _ = if held {
        interrupts.thread_block()
    } else {
        interrupts.thread_unblock()
    };
}

/// A process that reads from the terminal in the background is stopped, with all threads. Where that signal is blocked, the
/// read fails instead (POSIX.1-2017, general terminal interface, 11.1.4).
pub fn refuse_background_stop() {
    // It fails only if it is called wrongly.
    let _ = SigSet::from(Signal::SIGTTIN).thread_block();
}

/// Whether the shell put us into the background (`&`, `bg`). On a terminal that is not the controlling one nobody is.
pub fn is_in_background() -> bool {
    let foreground = [tcgetpgrp(io::stdin()), tcgetpgrp(io::stderr())];
    foreground
        .into_iter()
        .flatten()
        .any(|group| group != getpgrp())
}

/// Whether the terminal takes what is written at once. One that is stopped (Ctrl-S) does not, and no work waits for a status.
pub fn is_flowing() -> bool {
    let stderr = io::stderr();
    let mut terminal = [PollFd::new(&stderr, PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut terminal, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

pub fn enable_sequences() -> bool {
    true
}
