//! Signing in with a code that the user enters on another device: only a final answer ends the wait before the code
//! expires, and an interrupted login is resumed.

use std::fs::File;
use std::io;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Error, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::error::temporary;
use crate::issuer::device::{DeviceCode, NotYet, Polled};
use crate::issuer::{Authorization, Issuer};
use crate::login::qr;
use crate::store::Store;
use crate::terminal::{
    awaiting, clear_status, emphasized, link, say, show_status, shows_colours, tell, width,
};
use crate::text::printable;
use crate::time::{seconds_since_epoch, span};

/// How long a user code is valid, in seconds. The issuer does not say.
const LIFE: u64 = 15 * 60;
/// With fewer seconds left, a user can hardly sign in on another device, so get a new code.
const WORTH_RESUMING: u64 = 2 * 60;
/// How often the remaining time is updated.
const TICK: Duration = Duration::from_secs(1);

const ENABLE: &str =
    "enable device login in ChatGPT under Settings > Security (in a workspace, ask its admin)";

/// A device login that waits for the user. It is kept in the store, so that if this process is killed after the user has
/// approved, the next one need not ask again.
#[derive(Serialize, Deserialize)]
struct PendingLogin {
    issuer: String,
    client_id: String,
    #[serde(flatten)]
    code: DeviceCode,
    /// When the code expires, in seconds since 1970.
    expires_at: u64,
}

/// Asks the user to enter a code on another device, and waits until they have. While the returned file is open, no other
/// process does so, or resumes it. `command` signs in with the browser instead.
///
/// With `keep`, the pending login is kept in the store, where its code is readable, until the caller has exchanged the
/// code. Otherwise, it ends with this process.
pub fn authorize(
    issuer: &Issuer,
    store: &Store,
    keep: bool,
    with_qr: bool,
    command: &str,
) -> Result<(Authorization, File)> {
    // Only the poll that uses the approval gets the code; another process would get a different answer.
    let lock = store.lock_pending()?.ok_or_else(|| {
        temporary(format!(
            "another {command} --device-code is waiting: complete that sign-in, or stop it"
        ))
    })?;
    if !keep {
        // The code of a pending login would be readable on the disk.
        store.forget_pending();
    }
    let (login, polled) = awaiting("Asking the issuer for a code …", || {
        let resumed = PendingLogin::resume(issuer, store);
        resumed.map_or_else(|| PendingLogin::begin(issuer, store, keep, command), Ok)
    })?;
    if matches!(polled, Polled::Pending(_)) {
        login.invite(issuer, keep, with_qr)?;
    }
    let approval = login.wait(issuer, polled, command);
    clear_status();
    let authorization = approval.inspect_err(|_| store.forget_pending())?;
    Ok((authorization, lock))
}

impl PendingLogin {
    /// The login that an earlier process left, and the result of a first poll. `None` if it was refused, or if the user has
    /// too little time left to enter the code.
    fn resume(issuer: &Issuer, store: &Store) -> Option<(Self, Polled)> {
        let login: Self = serde_json::from_slice(&store.pending()?).ok()?;
        if login.issuer != issuer.url.text || login.client_id != issuer.client_id {
            return None;
        }
        match issuer.poll_device_login(&login.code) {
            Polled::Refused(_) => None,
            Polled::Pending(_) if login.left() < WORTH_RESUMING => None,
            polled => {
                tell("Resuming your earlier sign-in.");
                Some((login, polled))
            }
        }
    }

    /// Gets a code from the issuer.
    fn begin(issuer: &Issuer, store: &Store, keep: bool, command: &str) -> Result<(Self, Polled)> {
        let code = issuer.begin_device_login()?.with_context(|| {
            format!("device login is disabled: {ENABLE}, or sign in with the browser: {command}")
        })?;
        let login = Self {
            issuer: issuer.url.text.clone(),
            client_id: issuer.client_id.clone(),
            code,
            expires_at: seconds_since_epoch(SystemTime::now()) + LIFE,
        };
        if keep {
            store.keep_pending(&serde_json::to_vec(&login)?)?;
        }
        Ok((login, Polled::Pending(NotYet::default())))
    }

    /// Tells the user what to do on the other device.
    fn invite(&self, issuer: &Issuer, keep: bool, with_qr: bool) -> Result<()> {
        let page = issuer.url.join("codex/device");
        tell("Open this page on any device, and sign in:");
        say(&format!("  {}", link(&page)));
        if with_qr {
            match qr::draw(&page, shows_colours(&io::stderr()))? {
                (needed, _) if needed > width() => tell(&format!(
                    "This terminal is too narrow for the QR code, which needs {needed} columns."
                )),
                (_, drawing) => say(&drawing),
            }
        }
        let left = span(self.left().next_multiple_of(60));
        tell(&format!("Enter this code there within {left}:"));
        let code = printable(&self.code.user_code);
        say(&format!("  {}", emphasized(&code)));
        tell("Never share the code. Enter it only if you started this sign-in yourself.");
        tell(&format!("If the code is refused, {ENABLE}."));
        tell(if keep {
            "Press Ctrl-C to stop waiting. While the code is valid, the same command resumes."
        } else {
            "Press Ctrl-C to stop waiting; the code is then lost."
        });
        Ok(())
    }

    /// Polls until the issuer gives a final answer, or the code has expired.
    ///
    /// The wait is measured with the monotonic clock, so that changes of the wall clock, or its jump when a laptop wakes up,
    /// neither end nor prolong it. If the monotonic clock stops during sleep (Linux, macOS), the wait continues afterwards
    /// for the rest of the 15 minutes, and the issuer says whether the code has expired.
    fn wait(&self, issuer: &Issuer, mut polled: Polled, command: &str) -> Result<Authorization> {
        let end = Instant::now() + Duration::from_secs(self.left());
        let mut interval = Duration::from_secs(self.code.interval);
        loop {
            let pending = match polled {
                Polled::Approved(authorization) => return Ok(authorization),
                Polled::Refused(reason) => {
                    bail!("{reason}: for a new code, run {command} --device-code")
                }
                Polled::Pending(pending) => pending,
            };
            let left = end.saturating_duration_since(Instant::now());
            let Some(time) = next_wait(&mut interval, &pending, left) else {
                return Err(too_late(pending, command));
            };
            count_down(time, end, pending.problem.as_deref());
            polled = issuer.poll_device_login(&self.code);
        }
    }

    /// The seconds until the code expires; 0 if unknown, because the clock was set back.
    fn left(&self) -> u64 {
        let now = seconds_since_epoch(SystemTime::now());
        let left = self.expires_at.saturating_sub(now);
        if left > LIFE { 0 } else { left }
    }
}

/// How long to wait before the next poll. The last poll is at the end of the wait; `None` after it.
fn next_wait(interval: &mut Duration, pending: &NotYet, left: Duration) -> Option<Duration> {
    if pending.slower {
        // RFC 8628 section 3.5.
        *interval += Duration::from_secs(5);
    }
    let wait = pending.retry_after.unwrap_or_default().max(*interval);
    (left >= TICK).then(|| wait.min(left))
}

/// Sleeps for this long, and shows the time left until `end`.
fn count_down(time: Duration, end: Instant, note: Option<&str>) {
    let wake = Instant::now() + time;
    while let Some(left) = wake.checked_duration_since(Instant::now()) {
        let until_end = end.saturating_duration_since(Instant::now());
        show_status(&countdown(until_end, note));
        thread::sleep(left.min(TICK));
    }
}

fn countdown(left: Duration, note: Option<&str>) -> String {
    let seconds = left.as_millis().div_ceil(1000);
    let note = note.map_or_else(String::new, |note| format!(" ({})", printable(note)));
    format!("Waiting: {}:{:02} left{note}", seconds / 60, seconds % 60)
}

/// The failure is temporary if the last poll had no answer, as the user may have entered the code.
fn too_late(pending: NotYet, command: &str) -> Error {
    let minutes = LIFE / 60;
    match pending.problem {
        Some(problem) => temporary(format!("no answer within {minutes} minutes: {problem}")),
        None => anyhow!(
            "nobody entered the code within {minutes} minutes: run {command} --device-code again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{TEMPORARY, exit_code};

    const MINUTES: Duration = Duration::from_mins(15);

    fn seconds(wait: Option<Duration>) -> Option<u64> {
        wait.map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_that_ends_without_an_answer_is_a_temporary_failure() {
        let nobody = too_late(NotYet::default(), "codex-auth login");
        assert_eq!(exit_code(&nobody), 1);
        assert!(nobody.to_string().contains("nobody entered the code"));
        let unreachable = too_late(
            NotYet {
                problem: Some("a.example: no answer".into()),
                ..NotYet::default()
            },
            "codex-auth login",
        );
        assert_eq!(exit_code(&unreachable), TEMPORARY);
        assert!(unreachable.to_string().ends_with(": a.example: no answer"));
    }

    #[test]
    fn slow_down_adds_five_seconds_for_good() {
        let mut interval = Duration::from_secs(5);
        let mut wait = |slower| {
            let pending = NotYet {
                slower,
                ..NotYet::default()
            };
            seconds(next_wait(&mut interval, &pending, MINUTES))
        };
        assert_eq!(
            [wait(true), wait(false), wait(true)],
            [Some(10), Some(10), Some(15)]
        );
    }

    #[test]
    fn retry_after_is_honoured_once_and_never_shortens_a_wait() {
        let mut interval = Duration::from_secs(5);
        for (asked, waited) in [(42, 42), (2, 5), (0, 5)] {
            let pending = NotYet {
                retry_after: Some(Duration::from_secs(asked)),
                ..NotYet::default()
            };
            assert_eq!(
                seconds(next_wait(&mut interval, &pending, MINUTES)),
                Some(waited)
            );
        }
    }

    #[test]
    fn the_last_poll_is_made_at_the_end_and_none_after_it() {
        let mut interval = Duration::from_secs(5);
        for (left, waited) in [(897, Some(5)), (3, Some(3)), (0, None)] {
            let left = Duration::from_secs(left);
            assert_eq!(
                seconds(next_wait(&mut interval, &NotYet::default(), left)),
                waited
            );
        }
    }

    #[test]
    fn the_countdown_rounds_up_and_says_what_is_wrong() {
        let line = |millis, note| countdown(Duration::from_millis(millis), note);
        assert_eq!(line(900_000, None), "Waiting: 15:00 left");
        assert_eq!(line(61_001, None), "Waiting: 1:02 left");
        assert_eq!(
            line(5_000, Some("no\nanswer")),
            "Waiting: 0:05 left (no answer)"
        );
    }
}
