//! Who holds a lock, and who waits for it, according to Linux's /proc/locks (proc(5)). Workers are not children of their
//! caller, so this is how tests find them.

use std::fs::{self, metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The processes that hold the lock on a file, and those that wait for it.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Users {
    pub holding: Vec<u32>,
    pub waiting: Vec<u32>,
}

impl Users {
    fn all(self) -> impl Iterator<Item = u32> {
        self.holding.into_iter().chain(self.waiting)
    }
}

/// The users of the lock on a file; none if the file does not exist.
pub fn users(file: &Path) -> Users {
    let mut users = Users::default();
    let Ok(inode) = metadata(file).map(|found| found.ino()) else {
        return users;
    };
    let locks = fs::read_to_string("/proc/locks").expect("no /proc/locks");
    for line in locks.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (is_waiting, fields) = match fields.as_slice() {
            [_, "->", rest @ ..] => (true, rest),
            [_, rest @ ..] => (false, rest),
            [] => continue,
        };
        let ["FLOCK", _, "WRITE", pid, place, ..] = fields else {
            continue;
        };
        if place.ends_with(&format!(":{inode}")) {
            let pid = pid.parse().expect("no process");
            if is_waiting {
                &mut users.waiting
            } else {
                &mut users.holding
            }
            .push(pid);
        }
    }
    users
}

/// The same processes as pidfds, because process IDs can be reused. Only those that still use the lock once their pidfd
/// is open.
pub fn handles(file: &Path) -> Vec<OwnedFd> {
    let held = users(file).all().filter_map(|pid| {
        let process = Pid::from_raw(pid.cast_signed())?;
        Some((pid, pidfd_open(process, PidfdFlags::empty()).ok()?))
    });
    let held: Vec<(u32, OwnedFd)> = held.collect();
    let still: Vec<u32> = users(file).all().collect();
    let are_still = held.into_iter().filter(|(pid, _)| still.contains(pid));
    are_still.map(|(_, handle)| handle).collect()
}
