//! The state of a profile's login, and how it is shown: as a headline, in a table, as JSON, as an exit code. `status`
//! shows it, `doctor` turns it into findings.

use std::time::SystemTime;

use anyhow::{Error, Result, anyhow};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Profile, as_whom, codex, note};
use crate::credentials::{Backoff, Credentials, Freshness, Source, TokenRequest};
use crate::error;
use crate::issuer::backend::{self, Usage, Verdict, Window};
use crate::refresh;
use crate::sandbox::SANDBOX;
use crate::settings;
use crate::store::codex_file;
use crate::text::{capitalized, printable};
use crate::time::{date, rounded_span, seconds_since_epoch, stamp, time_at};

#[derive(PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    None,
    Fresh,
    /// The token is valid, and refreshed on its next use.
    Due,
    Expired,
    /// The issuer does not refresh it any more. It may still be valid.
    Revoked,
    /// The last refresh failed, and the next one has to wait. The token may still be valid.
    Backoff,
    /// The stored file cannot be read, or is not a login.
    Unreadable,
}

pub struct LoginStatus {
    pub profile: Profile,
    pub now: SystemTime,
    /// Whether nothing is stored.
    pub is_absent: bool,
    /// The file of the login, or another place.
    pub place: String,
    /// The login, as far as it can be read: without its key, only the readable part of a sealed one.
    pub credentials: Option<Credentials>,
    /// Why `token` fails, now or once the stored token has expired. A backoff is not an obstacle, as it ends by itself.
    pub obstacle: Option<Error>,
    /// Whether a token is available without a sign-in, now or after a backoff.
    pub is_usable: bool,
    /// What the backend says about the token and about the plan's limits, if it was asked.
    pub verdict: Option<Verdict>,
    pub usage: Option<Result<Usage>>,
}

impl LoginStatus {
    /// Only fails if the location of the login is unknown.
    pub fn of(profile: Profile, now: SystemTime) -> Result<Self> {
        let (place, kept) = match &profile {
            Profile::Own(store) => (store.path.display().to_string(), store.load_closed()),
            Profile::Codex => (codex_file::shown_place()?, codex_file::load()),
        };
        let is_absent = matches!(kept, Ok(None));
        let stored = profile.stored();
        let obstacle = stored.as_ref().ok().and_then(|found| match &profile {
            Profile::Own(store) => refresh::obstacle_to_refresh(store, found, now),
            Profile::Codex => codex::check(found, &TokenRequest::default(), now).err(),
        });
        let closed = kept.ok().flatten().filter(Credentials::is_closed);
        let (credentials, obstacle) = match stored {
            Ok(found) => (Some(found), obstacle),
            Err(error) => (closed, Some(error)),
        };
        let is_valid = credentials.as_ref().is_some_and(|it| it.is_valid(now));
        // Codex's is not printed shortly before it expires.
        let is_printed = matches!(profile, Profile::Own(_)) && is_valid;
        Ok(Self {
            profile,
            now,
            is_absent,
            place,
            credentials,
            is_usable: obstacle.is_none() || is_printed,
            obstacle,
            verdict: None,
            usage: None,
        })
    }

    /// Asks the backend about a valid token. If it rejects the token, that counts as expired.
    pub fn ask(&mut self, verify: bool, usage: bool) -> Result<()> {
        let found = self.credentials.as_ref();
        let Some(valid) = found.filter(|found| found.is_valid(self.now)) else {
            self.usage = usage.then(|| Err(anyhow!("there is no valid token")));
            return Ok(());
        };
        let backend = settings::backend()?;
        let usage = usage.then(|| backend::usage(&backend, valid));
        let verdict = verify.then(|| backend::check(&backend, valid, backend::PATIENCE));
        if verdict == Some(Verdict::Rejected) {
            let reason = match &self.profile {
                Profile::Own(store) => refresh::check_refreshable(valid, &store.profile)
                    .err()
                    .map(|error| error.context("the backend rejects the token")),
                Profile::Codex => Some(codex::rejected(valid)),
            };
            self.obstacle = self.obstacle.take().or(reason);
            self.is_usable = self.obstacle.is_none();
        }
        (self.verdict, self.usage) = (verdict, usage);
        Ok(())
    }

    fn state(&self) -> State {
        let code = self.obstacle.as_ref().map(error::exit_code);
        let freshness = |found: &Credentials| found.freshness(&TokenRequest::default(), self.now);
        match &self.credentials {
            None if self.is_absent => State::None,
            None => State::Unreadable,
            Some(it) if it.is_closed() && code != Some(error::TEMPORARY) => State::Unreadable,
            // Without an obstacle, there is a newer identity token by now.
            Some(it) if it.revoked.is_some() && code.is_some() => State::Revoked,
            Some(_) if self.backoff().is_some() => State::Backoff,
            Some(it) if it.seconds_left(self.now) == 0 => State::Expired,
            Some(it) if freshness(it) == Freshness::Fresh => State::Fresh,
            Some(_) => State::Due,
        }
    }

    /// 0 if a token is available without a sign-in, or else the exit code of `token`.
    pub fn exit_code(&self) -> u8 {
        let obstacle = self.obstacle.as_ref().filter(|_| !self.is_usable);
        obstacle.map_or(0, error::exit_code)
    }

    /// The backoff, if in force.
    pub fn backoff(&self) -> Option<&Backoff> {
        let backoff = self.credentials.as_ref()?.backoff.as_ref();
        backoff.filter(|backoff| backoff.holds(self.now))
    }

    /// Any problem: the obstacle, or else the reason for a backoff, or else a problem that shows elsewhere.
    pub fn problem(&self) -> Option<String> {
        let obstacle = self.obstacle.as_ref().map(|error| format!("{error:#}"));
        let reason = obstacle.or_else(|| self.backoff().map(|backoff| backoff.reason.clone()));
        reason.or_else(|| note(self.credentials.as_ref()?))
    }

    /// The headline, which says whether the user has to do anything.
    pub fn headline(&self) -> String {
        let found = self.credentials.as_ref();
        let who = found.map_or_else(String::new, |found| as_whom(found, self.plan()));
        match &self.obstacle {
            None => format!("Signed in{who}"),
            Some(obstacle) if self.is_usable => {
                format!("Signed in{who} until the token expires: {obstacle:#}")
            }
            Some(obstacle) if self.is_absent => capitalized(&format!("{obstacle:#}")),
            Some(obstacle) => format!("No token: {obstacle:#}"),
        }
    }

    /// How long the token is valid and what happens then; in a table, what prevents its use.
    pub fn cell(&self) -> String {
        match &self.obstacle {
            Some(obstacle) if !self.is_usable => format!("{obstacle:#}"),
            _ => self.token(|_, _| String::new()).unwrap_or_default(),
        }
    }

    /// The same with the time.
    pub fn token_line(&self) -> Option<String> {
        self.token(|until, end| format!(" ({until}{})", stamp(end)))
    }

    fn token(&self, dated: impl Fn(&str, u64) -> String) -> Option<String> {
        let found = self.credentials.as_ref()?;
        let now = seconds_since_epoch(self.now);
        let span = |end: u64| rounded_span(end.abs_diff(now));
        let valid = match found.expiry() {
            None if found.is_access_token_only() => "valid until it is revoked".to_owned(),
            None => "expiry unknown".to_owned(),
            Some(end) if end == now => format!("expired just now{}", dated("", end)),
            Some(end) if end > now => format!("valid for {}{}", span(end), dated("until ", end)),
            Some(end) => format!("expired {} ago{}", span(end), dated("", end)),
        };
        Some(format!("{valid}, {}", self.next_refresh(found)))
    }

    /// When the next token is expected, if at all.
    fn next_refresh(&self, found: &Credentials) -> String {
        let words = match (&self.profile, self.backoff()) {
            _ if self.verdict == Some(Verdict::Rejected) => "rejected by the backend",
            _ if found.is_access_token_only() => "never refreshed",
            (Profile::Codex, _) => "refreshed by Codex",
            _ if self.state() == State::Revoked => "cannot be refreshed",
            (Profile::Own(store), _) if refresh::forbidden_here(store, found).is_some() => {
                return format!("not refreshed in {SANDBOX}");
            }
            _ if self.obstacle.is_some() => "cannot be refreshed",
            (_, Some(backoff)) => {
                let wait = backoff.until.duration_since(self.now).unwrap_or_default();
                return format!("next refresh in {}", rounded_span(wait.as_secs()));
            }
            _ if self.state() == State::Fresh => "then refreshed automatically",
            _ => "refreshed at its next use",
        };
        words.to_owned()
    }

    pub fn backend_line(&self) -> Option<String> {
        Some(match self.verdict.as_ref()? {
            Verdict::Accepted => "accepts the token".to_owned(),
            Verdict::Rejected if self.is_usable => {
                let call = settings::call_for(self.profile.name());
                format!("rejects the token: run {call} token --force-refresh")
            }
            Verdict::Rejected => "rejects the token".to_owned(),
            Verdict::Unknown(reason) => format!("unknown: {reason}"),
        })
    }

    /// The plan: according to the backend, now or when the token was received, or else to the token's claim.
    pub fn plan(&self) -> Option<String> {
        let usage = self.usage.as_ref().and_then(|usage| usage.as_ref().ok());
        let current = usage.and_then(|usage| usage.plan.as_deref().map(printable));
        current.or_else(|| self.credentials.as_ref()?.plan())
    }

    /// If the token claims another plan than the account's: after an upgrade it does for days.
    pub fn plan_line(&self) -> Option<String> {
        let credentials = self.credentials.as_ref()?;
        let [plan, claimed] =
            [self.plan()?, credentials.account().plan?].map(|it| capitalized(&it));
        let advice = match &self.profile {
            Profile::Own(store) if !credentials.is_access_token_only() => {
                let call = settings::call_for(&store.profile);
                format!(": run {call} token --force-refresh")
            }
            _ => String::new(),
        };
        (plan != claimed).then(|| format!("{plan}; the token still says {claimed}{advice}"))
    }

    /// An object of `status --json`. The man page describes its members, none of which is ever missing.
    pub fn to_json(&self) -> Value {
        let found = self.credentials.as_ref();
        json!({
            "profile": self.profile.name(),
            "state": self.state(),
            "usable": self.is_usable,
            "obstacle": self.obstacle.as_ref().map(|error| format!("{error:#}")),
            "email": found.and_then(|found| found.account().email),
            "plan": self.plan(),
            "workspace": found.and_then(Credentials::workspace),
            "note": found.and_then(note),
            "account_id": found.and_then(Credentials::account_id),
            "issuer": found.and_then(|found| found.issuer.as_deref()),
            "source": found.map(Credentials::source).filter(|it| it.is_stored()).map(Source::describe),
            "store": self.place,
            "sealed": found.is_some_and(Credentials::is_sealed),
            "expires_at": found.and_then(Credentials::expiry).map(|end| date(time_at(end))),
            "last_refresh": found.and_then(Credentials::received_at).map(date),
            "revoked": found.and_then(|found| found.revoked.as_ref()).map(|revoked| {
                json!({"reason": revoked.reason, "at": date(revoked.at)})
            }),
            "backoff": self.backoff().map(|backoff| {
                json!({"reason": backoff.reason, "attempts": backoff.attempts, "until": date(backoff.until)})
            }),
            "verify": self.verdict.as_ref().map(|verdict| match verdict {
                Verdict::Accepted => json!({"verdict": "accepted", "reason": null}),
                Verdict::Rejected => json!({"verdict": "rejected", "reason": null}),
                Verdict::Unknown(reason) => json!({"verdict": "unknown", "reason": reason}),
            }),
            "usage": self.usage.as_ref().map(usage_to_json),
        })
    }
}

fn usage_to_json(usage: &Result<Usage>) -> Value {
    let window = |window: &Window| {
        json!({
            "limit": window.limit,
            "window_seconds": window.length,
            "used_percent": window.used_percent,
            "resets_at": window.reset_at.map(|at| date(time_at(at))),
        })
    };
    let known = usage.as_ref().ok();
    let windows = known.map_or(&[][..], |usage| &usage.windows).iter();
    json!({
        "limit_reached": known.and_then(|usage| usage.limit_reached),
        "windows": windows.map(window).collect::<Vec<_>>(),
        "credits": known.and_then(|usage| usage.credits.as_deref()),
        "error": usage.as_ref().err().map(|error| format!("{error:#}")),
    })
}
