//! How a worker that is stuck before its request is ended, as it holds the lock.

use std::mem;
use std::process;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::report::{Report, send};
use crate::error::temporary;
use crate::time;

/// The time by which the worker must have begun its request. The mutex decides which of the two comes first.
pub struct Deadline(Arc<Mutex<()>>);

impl Deadline {
    /// Makes this process exit after this time, unless the deadline is lifted by then.
    pub fn start(limit: Duration) -> Self {
        let undecided = Arc::new(Mutex::new(()));
        let late = Arc::clone(&undecided);
        // If the thread cannot be started, there is no deadline.
        let _ = time::start(move || {
            thread::sleep(limit);
            if let Ok(_decided) = late.try_lock() {
                send(&Report::of(&temporary(
                    "could not refresh the token: the preparation timed out",
                )));
                process::exit(0);
            }
        });
        Self(undecided)
    }

    /// From here on nothing gives up. This blocks if the process is about to exit.
    pub fn lift(&self) {
        mem::forget(self.0.lock());
    }
}
