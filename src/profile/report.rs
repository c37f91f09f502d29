//! What can be said of the login of a profile: above all whether a token can be had of it without a person.

use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::credentials::Credentials;
use crate::issuer::Verdict;
use crate::profile::codex;
use crate::refresh::{Freshness, TokenRequest, freshness, grantor, is_alive, not_signed_in};
use crate::settings::CODEX_PROFILE;
use crate::store::Store;
use crate::store::codex_file;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nobody is signed in.
    None,
    Fresh,
    /// The token can be used, and is renewed at its next use.
    Due,
    /// The token has ended, and is renewed when the next one is asked for; Codex's, when Codex runs.
    Expired,
    /// The token has ended, and cannot be renewed.
    Ended,
    /// The issuer will not renew the login. Its token may still live.
    Refused,
    /// The last renewal failed, and the next one has to wait. The token may still live.
    Paused,
    /// What is stored is no login, or cannot be read.
    Unreadable,
}

pub struct Report {
    pub profile: String,
    /// The file that holds it.
    pub place: String,
    pub credentials: Option<Credentials>,
    pub state: State,
    /// Whether a token can be had without a person, now or after a pause.
    pub usable: bool,
    /// What keeps it from being used, or renewed.
    pub obstacle: Option<String>,
    /// What the backend says of the token, if it was asked.
    pub verdict: Option<Verdict>,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fresh => "fresh",
            Self::Due => "due",
            Self::Expired => "expired",
            Self::Ended => "ended",
            Self::Refused => "refused",
            Self::Paused => "paused",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Report {
    /// Fails only where it cannot be said what the profile's file is.
    pub fn of(profile: &str, now: SystemTime) -> Result<Self> {
        if profile == CODEX_PROFILE {
            let place = codex_file::path()?.display().to_string();
            let report = Self::new(profile, place, codex_file::load());
            return Ok(report.judged_as_codexs(now));
        }
        let store = Store::new(profile.to_owned())?;
        let report = Self::new(profile, store.path().display().to_string(), store.load());
        Ok(match report.state {
            State::None => report.with_obstacle(not_signed_in(&store).to_string()),
            _ => report.judged(now),
        })
    }

    fn new(profile: &str, place: String, loaded: Result<Option<Credentials>>) -> Self {
        let loaded = loaded.and_then(|credentials| {
            if let Some(credentials) = &credentials {
                credentials
                    .access_token()
                    .with_context(|| format!("could not use {place}"))?;
            }
            Ok(credentials)
        });
        let (state, credentials, obstacle) = match loaded {
            Ok(Some(credentials)) => (State::Fresh, Some(credentials), None),
            Ok(None) => (State::None, None, None),
            Err(error) => (State::Unreadable, None, Some(format!("{error:#}"))),
        };
        Self {
            profile: profile.to_owned(),
            place,
            credentials,
            state,
            usable: false,
            obstacle,
            verdict: None,
        }
    }

    fn with_obstacle(mut self, words: String) -> Self {
        self.obstacle = Some(words);
        self
    }

    /// What `renewal::usable` would make of it.
    fn judged(mut self, now: SystemTime) -> Self {
        let Some(credentials) = &self.credentials else {
            return self;
        };
        let (lives, revoked) = (is_alive(credentials, now), credentials.revoked());
        self.obstacle = match &revoked {
            Some(revoked) => Some(revoked.reason.clone()),
            None => grantor(credentials, &self.profile)
                .err()
                .map(|error| format!("{error:#}")),
        };
        self.usable = lives || self.obstacle.is_none();
        self.state = match freshness(credentials, &TokenRequest::default(), now) {
            _ if revoked.is_some() => State::Refused,
            _ if !self.usable => State::Ended,
            _ if credentials
                .backoff()
                .is_some_and(|backoff| backoff.holds(now)) =>
            {
                State::Paused
            }
            Freshness::Fresh => State::Fresh,
            Freshness::Due => State::Due,
            Freshness::Stale if lives => State::Due,
            Freshness::Stale => State::Expired,
        };
        self
    }

    /// What `codex_login::usable` would make of it.
    fn judged_as_codexs(mut self, now: SystemTime) -> Self {
        if self.state == State::None {
            return self.with_obstacle(codex::not_signed_in().to_string());
        }
        let Some(credentials) = &self.credentials else {
            return self;
        };
        match codex::check(credentials, &TokenRequest::default(), now) {
            Ok(()) => self.usable = true,
            Err(failure) => {
                self.state = State::Expired;
                self.obstacle = Some(failure.to_string());
            }
        }
        self
    }

    /// Takes in what the backend says of the token. A token that it rejects is as good as ended.
    pub fn take(&mut self, verdict: Verdict) {
        if matches!(verdict, Verdict::Rejected) {
            self.usable = self.profile != CODEX_PROFILE && self.obstacle.is_none();
        }
        self.verdict = Some(verdict);
    }
}
