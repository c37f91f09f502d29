//! Signing in with a code that the person types on another device: no trouble but a final answer ends the wait before
//! the code does, and a login that was interrupted is taken up again.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Error, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::error::Failure;
use crate::issuer::{Authorization, DeviceCode, Issuer, Pending, Polled};
use crate::login::qr;
use crate::store::Store;
use crate::terminal::{count_down, emphasized, has_colours, link, say, tell, width};
use crate::text::printable;
use crate::time::seconds_since_epoch;

/// The life of a user code, in seconds. The issuer does not tell it.
const LIFE: u64 = 15 * 60;
/// The seconds between two polls if the issuer names none (RFC 8628 section 3.2), and the bounds if it does.
const USUAL_INTERVAL: u64 = 5;
const SHORTEST_INTERVAL: u64 = 1;
const LONGEST_INTERVAL: u64 = 60;
/// What is added to them when the issuer asks for it (RFC 8628 section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// A device login that waits for the person. It is kept in the store: if this process is ended after the person has
/// agreed, the next one need not ask again.
struct Session {
    device: DeviceCode,
    /// When the code ends, in seconds since 1970.
    expires_at: u64,
    /// What is kept of it in the store.
    kept: Vec<u8>,
}

/// Asks the person to enter a code on another device, and waits until they have. What is kept of the session, which is
/// given too, stays in the store: only the caller knows when its authorization has been used.
pub fn authorize(
    issuer: &Issuer,
    store: &Store,
    with_qr: bool,
) -> Result<(Authorization, Vec<u8>)> {
    let (session, first) = match take_up(issuer, store) {
        Some(taken_up) => taken_up,
        None => begin(issuer, store)?,
    };
    if matches!(first, Polled::Pending(_)) {
        invite(issuer, &session, with_qr)?;
    }
    let authorization =
        wait(issuer, &session, first).inspect_err(|_| store.remove_pending(&session.kept))?;
    Ok((authorization, session.kept))
}

/// The session that another process left, or waits for too, and how it stands, if it has not ended.
fn take_up(issuer: &Issuer, store: &Store) -> Option<(Session, Polled)> {
    let kept = store.pending()?;
    let session = Session::parse(&kept, issuer).filter(|session| session.left() > 0);
    let taken_up = session.map(|session| {
        let polled = session.poll(issuer);
        (session, polled)
    });
    let taken_up = taken_up.filter(|(_, polled)| !matches!(polled, Polled::Refused(_)));
    match taken_up {
        Some(_) => tell("Taking up the login that was begun before."),
        None => store.remove_pending(&kept),
    }
    taken_up
}

/// Has the issuer give a code. If another process was faster, this one waits for its code: a profile has only one.
fn begin(issuer: &Issuer, store: &Store) -> Result<(Session, Polled)> {
    let device = issuer
        .begin_device_login()
        .context("could not sign in")?
        .context(
            "could not sign in: device login is switched off: switch it on in ChatGPT under Settings, Security (in a \
             workspace its admin does), or run codex-auth login, which over SSH or in a container says how it works there",
        )?;
    let session = Session::new(device, issuer);
    if store.keep_pending(&session.kept)? {
        return Ok((session, Polled::Pending(Pending::default())));
    }
    take_up(issuer, store)
        .context("could not sign in: another codex-auth login was in the way: try again")
}

/// Tells the person what to do on the other device.
fn invite(issuer: &Issuer, session: &Session, with_qr: bool) -> Result<()> {
    let page = issuer.device_page();
    tell(
        "Device login has to be switched on in ChatGPT first: under Settings, Security; in a workspace its admin does it.",
    );
    say("");
    tell(
        "Never share the code below, whoever asks for it. Enter it only because you started this login yourself.",
    );
    say("");
    tell("Open this page on any device:");
    say(&format!("\n{}\n", link(&page)));
    if with_qr {
        show_qr(&page)?;
    }
    let minutes = session.left().div_ceil(60);
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    tell(&format!(
        "Sign in there, and enter this code within {minutes} {unit}:"
    ));
    say(&format!(
        "\n{}\n",
        emphasized(&printable(&session.device.user_code))
    ));
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
    say("");
    Ok(())
}

/// Polls until the issuer gives a final answer, or the code has ended.
fn wait(issuer: &Issuer, session: &Session, first: Polled) -> Result<Authorization> {
    let until = Instant::now() + Duration::from_secs(session.left());
    let mut pace = Pace::new(session.device.interval, until);
    let countdown = count_down(until);
    let mut polled = first;
    loop {
        let pending = match polled {
            Polled::Approved(authorization) => return Ok(authorization),
            Polled::Refused(reason) => bail!("could not sign in: {reason}"),
            Polled::Pending(pending) => pending,
        };
        let Some(backoff) = pace.next_wait(&pending, Instant::now()) else {
            return Err(too_late(pending));
        };
        countdown.note(pending.trouble.as_deref().unwrap_or_default());
        thread::sleep(backoff);
        polled = session.poll(issuer);
    }
}

/// A wait that ended in trouble may have ended otherwise; one that did not was the person's choice.
fn too_late(pending: Pending) -> Error {
    let minutes = LIFE / 60;
    match pending.trouble {
        Some(trouble) => Failure::Temporary(format!(
            "could not sign in: no answer came within {minutes} minutes: {trouble}"
        ))
        .into(),
        None => anyhow!(
            "could not sign in: nobody entered the code within {minutes} minutes: run codex-auth login --device-code again"
        ),
    }
}

impl Session {
    fn new(device: DeviceCode, issuer: &Issuer) -> Self {
        let expires_at = seconds_since_epoch(SystemTime::now()) + LIFE;
        let document = json!({
            "issuer": issuer.url(),
            "client_id": issuer.client_id(),
            "device_auth_id": device.id,
            "user_code": device.user_code,
            "interval": device.interval,
            "expires_at": expires_at,
        });
        Self {
            device,
            expires_at,
            kept: document.to_string().into_bytes(),
        }
    }

    /// The seconds that the code still lives; 0 if it cannot be told, because the clock was set back.
    fn left(&self) -> u64 {
        let now = seconds_since_epoch(SystemTime::now());
        let left = self.expires_at.saturating_sub(now);
        if left > LIFE { 0 } else { left }
    }

    fn poll(&self, issuer: &Issuer) -> Polled {
        issuer.poll_device_login(&self.device.id, &self.device.user_code)
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
            kept: bytes.to_owned(),
        })
    }
}

/// How long to wait before the next poll.
///
/// All of it is measured on the monotonic clock, so that a wall clock that is set, or that jumps when a laptop wakes up,
/// neither ends the wait nor prolongs it. On Linux and macOS that clock stands still while the machine sleeps: what is
/// left of the 15 minutes is then waited for after it, so that the polls end in any case, and the issuer says by itself
/// if the code has expired. On Windows it goes on: then one last poll settles it. A wait is counted from the last
/// answer, so no poll has to be made up for.
struct Pace {
    interval: Duration,
    until: Instant,
}

impl Pace {
    fn new(interval: Option<u64>, until: Instant) -> Self {
        let seconds = interval.unwrap_or(USUAL_INTERVAL);
        Self {
            interval: Duration::from_secs(seconds.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)),
            until,
        }
    }

    /// At least a second, and never beyond the end: the last poll stands there. None after it.
    fn next_wait(&mut self, pending: &Pending, now: Instant) -> Option<Duration> {
        if pending.slower {
            self.interval += SLOWER;
        }
        let left = self.until.saturating_duration_since(now);
        let wait = self.interval.max(pending.retry_after.unwrap_or_default());
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
    fn a_wait_that_ends_in_trouble_may_be_worth_another_try() {
        let nobody = too_late(Pending::default());
        assert!(nobody.downcast_ref::<Failure>().is_none());
        assert!(nobody.to_string().contains("nobody entered the code"));
        let unreachable = too_late(Pending {
            trouble: Some("a.example: no answer".into()),
            ..Pending::default()
        });
        let failure = unreachable.downcast_ref();
        assert!(
            matches!(failure, Some(Failure::Temporary(words)) if words.ends_with(": a.example: no answer"))
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
        assert_eq!(seconds(pace.next_wait(&after(86_400), now)), Some(900));
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
