//! Signing in with a code that the person types on another device: nothing but a final answer ends the wait before the
//! code expires, and a login that was interrupted is resumed.

use std::fs::{File, TryLockError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Error, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::error::Failure;
use crate::issuer::device::{DeviceCode, Pending, Polled};
use crate::issuer::{Authorization, Issuer};
use crate::login::qr;
use crate::store::Store;
use crate::terminal::{
    can_copy, clear_status, copy, emphasized, has_colours, link, read_lines, say, say_over_entered,
    show_countdown, tell, width,
};
use crate::text::printable;
use crate::time::seconds_since_epoch;

/// How long a user code is valid, in seconds. The issuer does not tell it.
const LIFE: u64 = 15 * 60;
/// The seconds between two polls if the issuer names none (RFC 8628 section 3.2), and the bounds if it does.
const USUAL_INTERVAL: u64 = 5;
const SHORTEST_INTERVAL: u64 = 1;
const LONGEST_INTERVAL: u64 = 60;
/// What is added to them when the issuer asks for it (RFC 8628 section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// How often the time left is shown anew.
const TICK: Duration = Duration::from_secs(1);

/// A device login that waits for the person. It is kept in the store: if this process is killed after the person has
/// agreed, the next one need not ask again.
struct Session {
    device: DeviceCode,
    /// When the code expires, in seconds since 1970.
    expires_at: u64,
    /// What is kept of it in the store, if it is.
    kept: Option<Vec<u8>>,
}

/// Whether a device login that waits is kept in the store, where its code can be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    Stored,
    /// It ends with this process.
    InMemory,
}

/// What the person has agreed to.
pub struct Approved {
    pub authorization: Authorization,
    /// What is kept of the session stays in the store: only the caller knows when the authorization has been used.
    pub kept: Option<Vec<u8>>,
    /// While this is held no other process polls for the same session, or throws it away.
    pub lock: Option<File>,
}

/// How one poll went.
enum Attempt {
    Approved(Authorization, Option<File>),
    Refused(String),
    Pending(Pending),
}

/// Asks the person to enter a code on another device, and waits until they have. `command` is the one to sign in with in
/// the browser.
pub fn authorize(
    issuer: &Issuer,
    store: &Store,
    keeping: Keeping,
    with_qr: bool,
    command: &str,
) -> Result<Approved> {
    let (session, first) = match keeping {
        Keeping::Stored => match resume(issuer, store)? {
            Some(resumed) => resumed,
            None => begin(issuer, store, command)?,
        },
        Keeping::InMemory => {
            let session = new_session(issuer, command)?;
            // The code of one that waits can be read on the disk.
            store.forget_pending();
            (session, Attempt::Pending(Pending::default()))
        }
    };
    if matches!(first, Attempt::Pending(_)) {
        invite(issuer, &session, with_qr)?;
    }
    let outcome = wait(issuer, store, &session, first, command);
    clear_status();
    let (authorization, lock) = outcome?;
    Ok(Approved {
        authorization,
        kept: session.kept,
        lock,
    })
}

/// The session that another process left, or also polls for, with the outcome of a first poll; none if it has expired or
/// was refused.
fn resume(issuer: &Issuer, store: &Store) -> Result<Option<(Session, Attempt)>> {
    let Some(kept) = store.pending() else {
        return Ok(None);
    };
    let session = Session::parse(&kept, issuer).filter(|session| session.left() > 0);
    let Some(session) = session else {
        store.remove_pending(&kept);
        return Ok(None);
    };
    let attempt = session.poll(issuer, store)?;
    if matches!(attempt, Attempt::Refused(_)) {
        return Ok(None);
    }
    tell("Resuming the sign-in that was begun before.");
    Ok(Some((session, attempt)))
}

/// Has the issuer give a code. If another process was faster, this one waits for its code: a profile has only one.
fn begin(issuer: &Issuer, store: &Store, command: &str) -> Result<(Session, Attempt)> {
    let mut session = new_session(issuer, command)?;
    let kept = session.to_json(issuer);
    if store.keep_pending(&kept)? {
        session.kept = Some(kept);
        return Ok((session, Attempt::Pending(Pending::default())));
    }
    resume(issuer, store)?.with_context(|| {
        format!("could not sign in: another codex-auth login is under way: run {command} --device-code again")
    })
}

/// Has the issuer give a code.
fn new_session(issuer: &Issuer, command: &str) -> Result<Session> {
    let device = issuer
        .begin_device_login()
        .context("could not sign in")?
        .with_context(|| {
            format!(
                "could not sign in: device login is switched off: switch it on in ChatGPT under Settings, Security (in \
                 a workspace its admin does), or sign in with the browser: {command}"
            )
        })?;
    Ok(Session {
        device,
        expires_at: seconds_since_epoch(SystemTime::now()) + LIFE,
        kept: None,
    })
}

/// Tells the person what to do on the other device.
fn invite(issuer: &Issuer, session: &Session, with_qr: bool) -> Result<()> {
    let page = issuer.device_page();
    tell("Open this page on any device, and sign in:");
    say(&format!("  {}", link(&page)));
    if with_qr {
        show_qr(&page)?;
    }
    let minutes = session.left().div_ceil(60);
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    tell(&format!("Enter this code there within {minutes} {unit}:"));
    let code = printable(&session.device.user_code);
    say(&format!("  {}", emphasized(&code)));
    tell("Never share the code. Enter it only if you started this sign-in yourself.");
    tell(
        "If the code is refused, switch on device login in ChatGPT: Settings, Security (in a workspace its admin does).",
    );
    tell(match session.kept {
        Some(_) => "Ctrl-C stops the wait. While the code is valid, the same command resumes it.",
        None => "Ctrl-C stops the wait, and the code is lost.",
    });
    if can_copy() {
        say("Press Enter to copy the code.");
        offer_copy(code)?;
    }
    Ok(())
}

/// Copies the code when the person presses Enter.
fn offer_copy(code: String) -> Result<()> {
    thread::Builder::new().spawn(move || {
        read_lines(|_| {
            copy(&code);
            say_over_entered("Copied, if your terminal allows it.");
            true
        });
    })?;
    Ok(())
}

fn show_qr(page: &str) -> Result<()> {
    let drawing = qr::draw(page, has_colours())?;
    if width().is_some_and(|width| width < drawing.width) {
        let needed = drawing.width;
        tell(&format!(
            "This terminal is too narrow for the QR code, which takes {needed} columns."
        ));
    } else {
        say(&drawing.lines);
    }
    Ok(())
}

/// Polls until the issuer gives a final answer, or the code has expired.
fn wait(
    issuer: &Issuer,
    store: &Store,
    session: &Session,
    first: Attempt,
    command: &str,
) -> Result<(Authorization, Option<File>)> {
    let end = Instant::now() + Duration::from_secs(session.left());
    let mut pace = Pace::new(session.device.interval, end);
    let mut attempt = first;
    loop {
        let pending = match attempt {
            Attempt::Approved(authorization, lock) => return Ok((authorization, lock)),
            Attempt::Refused(reason) => {
                bail!("could not sign in: {reason}: for a new code run {command} --device-code")
            }
            Attempt::Pending(pending) => pending,
        };
        let Some(interval) = pace.next_wait(&pending, Instant::now()) else {
            session.forget(store);
            return Err(too_late(pending, command));
        };
        count_down(
            interval,
            end,
            pending.problem.as_deref().unwrap_or_default(),
        );
        attempt = session.poll(issuer, store)?;
    }
}

/// Sleeps for so long, and shows the time that is left until `end`.
fn count_down(interval: Duration, end: Instant, note: &str) {
    let wake = Instant::now() + interval;
    loop {
        let now = Instant::now();
        show_countdown(end.saturating_duration_since(now), note);
        let left = wake.saturating_duration_since(now);
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(TICK));
    }
}

/// It is temporary if the last poll had no answer: the person may have entered the code.
fn too_late(pending: Pending, command: &str) -> Error {
    let minutes = LIFE / 60;
    match pending.problem {
        Some(problem) => Failure::Temporary(format!(
            "could not sign in: no answer came within {minutes} minutes: {problem}"
        ))
        .into(),
        None => anyhow!(
            "could not sign in: nobody entered the code within {minutes} minutes: run {command} --device-code again"
        ),
    }
}

impl Session {
    fn to_json(&self, issuer: &Issuer) -> Vec<u8> {
        let document = json!({
            "issuer": issuer.url(),
            "client_id": issuer.client_id(),
            "device_auth_id": self.device.id,
            "user_code": self.device.user_code,
            "interval": self.device.interval,
            "expires_at": self.expires_at,
        });
        document.to_string().into_bytes()
    }

    fn forget(&self, store: &Store) {
        if let Some(kept) = &self.kept {
            store.remove_pending(kept);
        }
    }

    /// The seconds until the code expires; 0 if it cannot be told, because the clock was set back.
    fn left(&self) -> u64 {
        let now = seconds_since_epoch(SystemTime::now());
        let left = self.expires_at.saturating_sub(now);
        if left > LIFE { 0 } else { left }
    }

    /// Asks the issuer, as the only process that does: the answer to the one that spends the approval is different from
    /// what all others hear after it. A refused session is not kept.
    fn poll(&self, issuer: &Issuer, store: &Store) -> Result<Attempt> {
        let lock = match store.lock_pending() {
            Ok(lock) => Some(lock),
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Pending(Pending::default())),
            // On a file system without locks everybody asks.
            Err(TryLockError::Error(_)) => None,
        };
        if self
            .kept
            .as_ref()
            .is_some_and(|kept| !store.is_pending(kept))
        {
            bail!(
                "could not sign in: another codex-auth command has used this code, or removed it"
            );
        }
        Ok(
            match issuer.poll_device_login(&self.device.id, &self.device.user_code) {
                Polled::Approved(authorization) => Attempt::Approved(authorization, lock),
                Polled::Refused(reason) => {
                    self.forget(store);
                    Attempt::Refused(reason)
                }
                Polled::Pending(pending) => Attempt::Pending(pending),
            },
        )
    }

    /// Reads a session that was kept, if it is one with this issuer and for this client.
    fn parse(bytes: &[u8], issuer: &Issuer) -> Option<Self> {
        let document: Value = serde_json::from_slice(bytes).ok()?;
        let is_ours =
            document["issuer"] == issuer.url() && document["client_id"] == issuer.client_id();
        let text = |name: &str| document[name].as_str().map(str::to_owned);
        let device = DeviceCode {
            id: text("device_auth_id")?,
            user_code: text("user_code")?,
            interval: document["interval"].as_u64(),
        };
        let expires_at = document["expires_at"].as_u64()?;
        is_ours.then(|| Self {
            device,
            expires_at,
            kept: Some(bytes.to_owned()),
        })
    }
}

/// How long to wait before the next poll.
///
/// All of it is measured on the monotonic clock, so that a wall clock that is set, or that jumps when a laptop wakes up,
/// neither ends the wait nor prolongs it. On Linux and macOS that clock stands still while the machine sleeps: what is
/// left of the 15 minutes is then waited for after it, so that the polls end in any case, and the issuer says whether
/// the code has expired. On Windows it goes on: then one last poll settles it. A wait is counted from the last
/// answer, so no poll has to be made up for.
struct Pace {
    interval: Duration,
    end: Instant,
}

impl Pace {
    fn new(interval: Option<u64>, end: Instant) -> Self {
        let seconds = interval.unwrap_or(USUAL_INTERVAL);
        Self {
            interval: Duration::from_secs(seconds.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)),
            end,
        }
    }

    /// At least a second, and never beyond the end, when the last poll is made. None after it.
    fn next_wait(&mut self, pending: &Pending, now: Instant) -> Option<Duration> {
        if pending.slower {
            self.interval += SLOWER;
        }
        let left = self.end.saturating_duration_since(now);
        // A person waits: a server that asks for hours is polled again all the same.
        let asked = pending.retry_after.unwrap_or_default();
        let asked = asked.min(Duration::from_secs(LONGEST_INTERVAL));
        let wait = self.interval.max(asked);
        (left >= Duration::from_secs(SHORTEST_INTERVAL)).then(|| wait.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: Duration = Duration::from_secs(15 * 60);

    fn seconds(wait: Option<Duration>) -> Option<u64> {
        wait.map(|wait| wait.as_secs())
    }

    /// The wait after a plain "not yet", with 15 minutes to go.
    fn first_wait(interval: Option<u64>) -> Option<u64> {
        let now = Instant::now();
        seconds(Pace::new(interval, now + MINUTES).next_wait(&Pending::default(), now))
    }

    #[test]
    fn the_interval_is_the_issuers_within_reason() {
        assert_eq!(first_wait(Some(7)), Some(7));
        assert_eq!(first_wait(None), Some(5));
        assert_eq!(first_wait(Some(0)), Some(1));
        assert_eq!(first_wait(Some(u64::MAX)), Some(60));
    }

    #[test]
    fn a_wait_that_ends_without_an_answer_is_a_temporary_failure() {
        let nobody = too_late(Pending::default(), "codex-auth login");
        assert!(nobody.downcast_ref::<Failure>().is_none());
        assert!(nobody.to_string().contains("nobody entered the code"));
        let unreachable = too_late(
            Pending {
                problem: Some("a.example: no answer".into()),
                ..Pending::default()
            },
            "codex-auth login",
        );
        let failure = unreachable.downcast_ref();
        assert!(
            matches!(failure, Some(Failure::Temporary(message)) if message.ends_with(": a.example: no answer"))
        );
    }

    #[test]
    fn slow_down_adds_five_seconds_for_good() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(5), now + MINUTES);
        let slower = Pending {
            slower: true,
            ..Pending::default()
        };
        assert_eq!(seconds(pace.next_wait(&slower, now)), Some(10));
        assert_eq!(seconds(pace.next_wait(&Pending::default(), now)), Some(10));
        assert_eq!(seconds(pace.next_wait(&slower, now)), Some(15));
    }

    #[test]
    fn retry_after_is_honoured_once_and_never_shortens_a_wait() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(5), now + MINUTES);
        let after = |seconds| Pending {
            retry_after: Some(Duration::from_secs(seconds)),
            ..Pending::default()
        };
        assert_eq!(seconds(pace.next_wait(&after(42), now)), Some(42));
        assert_eq!(seconds(pace.next_wait(&after(2), now)), Some(5));
        assert_eq!(seconds(pace.next_wait(&after(86_400), now)), Some(60));
    }

    #[test]
    fn the_last_poll_stands_at_the_end_and_none_comes_after_it() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(5), now + MINUTES);
        let mut wait =
            |passed| pace.next_wait(&Pending::default(), now + Duration::from_secs(passed));
        assert_eq!(seconds(wait(897)), Some(3));
        assert_eq!(wait(900), None);
        // A sleep that the clock counted.
        assert_eq!(wait(10_000), None);
    }

    #[test]
    fn a_wait_is_counted_from_the_last_answer_however_late_it_came() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(5), now + MINUTES);
        for passed in [0, 1, 600, 601] {
            let wait = pace.next_wait(&Pending::default(), now + Duration::from_secs(passed));
            assert_eq!(seconds(wait), Some(5), "{passed}");
        }
    }
}
