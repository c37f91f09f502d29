//! Times as seconds since 1970, as RFC 3339 and in words; and time limits.

use std::cmp::Ordering;
use std::io::{self, ErrorKind};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, SystemTime};

use ::time::UtcOffset;

/// 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

pub fn seconds_since_epoch(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The time this many seconds after 1970. Times beyond the year 9999, which RFC 3339 cannot express, become its last
/// second.
pub fn time_at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND))
}

/// RFC 3339 in UTC, to the second, as shown to others.
pub fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(writable(time)).to_string()
}

/// The same with microseconds, to tell two refreshes apart.
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(writable(time)).to_string()
}

/// The nearest time that RFC 3339 can express.
fn writable(time: SystemTime) -> SystemTime {
    time.clamp(SystemTime::UNIX_EPOCH, time_at(LAST_SECOND))
}

pub fn time_of(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

/// Runs something that may hang, in a separate thread. After the limit (`ErrorKind::TimedOut`) it continues, and its
/// result is dropped.
pub fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let outcome = start(work)?.recv_timeout(limit);
    outcome.map_err(|_| ErrorKind::TimedOut.into())
}

/// Runs something in a separate thread. Callers may wait for its outcome, or not.
pub fn start<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Receiver<T>> {
    let (sender, receiver) = mpsc::channel();
    // After a limit, nothing receives it.
    let work = move || drop(sender.send(work()));
    thread::Builder::new().spawn(work)?;
    Ok(receiver)
}

/// A time as a member of a stored record.
pub mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::timestamp(*time))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        super::time_of(&text).ok_or_else(|| D::Error::custom("not a time"))
    }
}

/// A time in seconds since 1970, relative to `now`: `in 9 days (2026-12-01 05:02:23 UTC)`, `2 hours ago (…)`, `just now
/// (…)`.
pub fn moment(seconds: u64, now: SystemTime) -> String {
    let now = seconds_since_epoch(now);
    let distance = rounded_span(seconds.abs_diff(now));
    let stamp = stamp(seconds);
    match seconds.cmp(&now) {
        Ordering::Greater => format!("in {distance} ({stamp})"),
        Ordering::Equal => format!("just now ({stamp})"),
        Ordering::Less => format!("{distance} ago ({stamp})"),
    }
}

/// A time in seconds since 1970 in local time, with the offset from UTC. If that is unknown, in UTC.
pub fn stamp(seconds: u64) -> String {
    let time = time_at(seconds);
    let offset = UtcOffset::local_offset_at(time.into()).unwrap_or(UtcOffset::UTC);
    let shifted = seconds_since_epoch(time).saturating_add_signed(offset.whole_seconds().into());
    let clock = date(time_at(shifted)).replace('T', " ").replace('Z', "");
    match offset.as_hms() {
        (0, 0, _) => format!("{clock} UTC"),
        (hours, minutes, _) => format!("{clock} {hours:+03}:{:02}", minutes.abs()),
    }
}

/// Parses a duration such as `90s`, `5m`, `2h` or `1d`; a bare number is in seconds. The limit is ten years, so that
/// adding it to the clock does not overflow.
pub fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);
    let length = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| "write it as 90s, 5m, 2h or 1d".to_owned())?,
    };
    if length > LONGEST {
        return Err("it is more than ten years".to_owned());
    }
    Ok(length)
}

/// A duration as it was given: `8 seconds`, `2 hours`, `1 hour 30 minutes`.
pub fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds % unit(seconds).0 {
        0 => span(seconds),
        rest => format!("{} {}", span(seconds), length(Duration::from_secs(rest))),
    }
}

/// A duration in its largest unit, rounded down.
pub fn span(seconds: u64) -> String {
    let (unit, name) = unit(seconds);
    match seconds / unit {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    }
}

/// The largest unit that fits, in seconds.
fn unit(seconds: u64) -> (u64, &'static str) {
    match seconds {
        0..60 => (1, "second"),
        60..3600 => (60, "minute"),
        3600..86400 => (3600, "hour"),
        _ => (86400, "day"),
    }
}

/// A duration in its largest unit, rounded to the nearest.
pub fn rounded_span(seconds: u64) -> String {
    let half = match seconds {
        0..60 => 0,
        60..3570 => 30,
        3570..84_600 => 1800,
        _ => 43_200,
    };
    span(seconds + half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_beyond_its_limit_is_abandoned() {
        let (_sender, never) = mpsc::channel::<()>();
        let hangs = within(Duration::from_millis(1), move || never.recv());
        assert_eq!(hangs.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(within(Duration::from_hours(1), || 7).unwrap(), 7);
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("2h", 7200),
            ("1d", 86400),
            ("7", 7),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "-1",
            "5mm",
            "soon",
            "٣s",
            "99999999999999999999d",
            "4000d",
            "400000000",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_read_as_they_were_asked_for() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (8, "8 seconds"),
            (90, "1 minute 30 seconds"),
            (7200, "2 hours"),
            (86400 * 20, "20 days"),
            (5400, "1 hour 30 minutes"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_is_its_last_second() {
        assert_eq!(date(time_at(u64::MAX)), "9999-12-31T23:59:59Z");
        assert_eq!(date(time_at(1_000_000_000)), "2001-09-09T01:46:40Z");
    }

    #[test]
    fn times_read_as_people_say_them() {
        let now = 1_000_000_000;
        for (seconds, expected) in [
            (now + 863_999, "in 10 days (2001-09-19 01:46:39 UTC)"),
            (now + 86_400, "in 1 day (2001-09-10 01:46:40 UTC)"),
            (now + 86_399, "in 1 day (2001-09-10 01:46:39 UTC)"),
            (now + 1, "in 1 second (2001-09-09 01:46:41 UTC)"),
            (now, "just now (2001-09-09 01:46:40 UTC)"),
            (now - 60, "1 minute ago (2001-09-09 01:45:40 UTC)"),
            (now - 7200, "2 hours ago (2001-09-08 23:46:40 UTC)"),
        ] {
            assert_eq!(moment(seconds, time_at(now)), expected);
        }
    }
}
