//! What can be said of the credentials of a profile: above all whether a token can be had of them without a person.

use std::time::SystemTime;

use anyhow::{Context, Error, Result};

use super::codex;
use crate::credentials::{Credentials, Freshness, Revoked, TokenRequest};
use crate::error;
use crate::issuer::backend::Verdict;
use crate::refresh::{check_refreshable, not_signed_in, refused};
use crate::settings::CODEX_PROFILE;
use crate::store::{Store, codex_file};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nobody is signed in.
    None,
    Fresh,
    /// The token can be used, and is refreshed at its next use.
    Due,
    /// The token has expired. It is refreshed when the next one is asked for, if that can succeed; Codex's, when Codex runs.
    Expired,
    /// The issuer will not refresh it any more. It may still be valid.
    Revoked,
    /// The last refresh failed, and the next one has to wait. The token may still be valid.
    Backoff,
    /// What is stored cannot be read, or is not credentials.
    Unreadable,
}

pub struct Report {
    pub profile: String,
    /// The file that holds it.
    pub path: String,
    pub credentials: Option<Credentials>,
    pub state: State,
    /// Whether a token can be had without a person, now or after the backoff.
    pub usable: bool,
    /// What keeps it from being used, or refreshed.
    pub obstacle: Option<String>,
    /// Whether the obstacle is one that signing in does not remove.
    pub is_out_of_reach: bool,
    /// Temporary: the keyring may answer next time.
    pub is_temporary: bool,
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
            Self::Revoked => "revoked",
            Self::Backoff => "backoff",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Report {
    /// Fails only where the path of the profile's file is unknown.
    pub fn of(profile: &str, now: SystemTime) -> Result<Self> {
        if profile == CODEX_PROFILE {
            let path = codex_file::shown_place()?;
            let report = Self::new(profile, path, codex_file::load());
            return Ok(report.judged_as_codexs(now));
        }
        let store = Store::new(profile.to_owned())?;
        let path = store.path().display().to_string();
        let report = match store.load_closed() {
            Ok(Some(closed)) if closed.is_closed() => Self::of_sealed(&store, path, closed),
            loaded => Self::new(profile, path, loaded),
        };
        Ok(match report.state {
            State::None => report.with_obstacle(&not_signed_in(&store).into()),
            _ => report.judged(now).with_store(&store, now),
        })
    }

    /// Where the keyring does not give the key, there is what stands in the file beside the secrets.
    fn of_sealed(store: &Store, path: String, closed: Credentials) -> Self {
        let profile = store.profile();
        match store.load() {
            Err(error) => Self::new(profile, path, Ok(None)).closed(closed, &error),
            opened => Self::new(profile, path, opened),
        }
    }

    fn closed(self, credentials: Credentials, error: &Error) -> Self {
        let code = error::exit_code(error);
        Self {
            state: match code {
                error::TEMPORARY => State::Fresh,
                _ => State::Unreadable,
            },
            credentials: Some(credentials),
            ..self.with_obstacle(error)
        }
    }

    /// Whether the file has what is secret only in sealed form.
    pub fn is_sealed(&self) -> bool {
        self.credentials
            .as_ref()
            .is_some_and(Credentials::is_sealed)
    }

    fn new(profile: &str, path: String, loaded: Result<Option<Credentials>>) -> Self {
        let loaded = loaded.and_then(|credentials| {
            let token = credentials.as_ref().map(Credentials::access_token);
            token
                .transpose()
                .with_context(|| format!("could not read {path}"))?;
            Ok(credentials)
        });
        let report = Self {
            profile: profile.to_owned(),
            path,
            credentials: None,
            state: State::None,
            usable: false,
            obstacle: None,
            is_out_of_reach: false,
            is_temporary: false,
            verdict: None,
        };
        match loaded {
            Ok(Some(credentials)) => Self {
                state: State::Fresh,
                credentials: Some(credentials),
                ..report
            },
            Ok(None) => report,
            Err(error) => Self {
                state: State::Unreadable,
                ..report.with_obstacle(&error)
            },
        }
    }

    fn with_obstacle(mut self, error: &Error) -> Self {
        self.obstacle = Some(format!("{error:#}"));
        let code = error::exit_code(error);
        self.is_out_of_reach = code != error::LOGIN_REQUIRED;
        self.is_temporary = code == error::TEMPORARY;
        self
    }

    /// The state as `refresh::valid_token` would find it.
    fn judged(mut self, now: SystemTime) -> Self {
        let Some(credentials) = &self.credentials else {
            return self;
        };
        if self.state == State::Unreadable {
            return self;
        }
        let (is_valid, backoff) = (credentials.is_valid(now), credentials.backoff.as_ref());
        let revoked = credentials.revoked.as_ref().map(Revoked::reason);
        let login_required = backoff.filter(|backoff| backoff.login_required);
        let needs_refresh = !credentials.is_access_token_only() || !is_valid;
        let refused = login_required.map(|backoff| {
            refused(credentials.source(), &self.profile, &backoff.reason()).to_string()
        });
        self.obstacle = self.obstacle.or(revoked).or(refused).or_else(|| {
            let refreshable = check_refreshable(credentials, &self.profile);
            let error = refreshable.err().filter(|_| needs_refresh)?;
            Some(format!("{error:#}"))
        });
        self.usable = !credentials.is_closed() && (is_valid || self.obstacle.is_none());
        self.state = match credentials.freshness(&TokenRequest::default(), now) {
            _ if credentials.revoked.is_some() => State::Revoked,
            _ if login_required.is_some() => State::Backoff,
            _ if !self.usable && !is_valid => State::Expired,
            _ if backoff.is_some_and(|backoff| backoff.holds(now)) => State::Backoff,
            Freshness::Fresh => State::Fresh,
            Freshness::Due => State::Due,
            Freshness::Stale if is_valid => State::Due,
            Freshness::Stale => State::Expired,
        };
        self
    }

    /// What keeps the token from being refreshed may be the disk.
    fn with_store(self, store: &Store, now: SystemTime) -> Self {
        let is_refreshed = |credentials: &Credentials| !credentials.is_access_token_only();
        if self.obstacle.is_some() || !self.credentials.as_ref().is_some_and(is_refreshed) {
            return self;
        }
        match store.check_replaceable() {
            Ok(()) => self,
            Err(error) => Self {
                usable: self
                    .credentials
                    .as_ref()
                    .is_some_and(|found| found.is_valid(now)),
                ..self.with_obstacle(&error)
            },
        }
    }

    /// The state as `codex::valid_token` would find it.
    fn judged_as_codexs(mut self, now: SystemTime) -> Self {
        if self.state == State::None {
            return self.with_obstacle(&codex::not_signed_in().into());
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

    /// Adds the backend's verdict. A token that it rejects counts as expired.
    pub fn take(&mut self, verdict: Verdict) {
        if matches!(verdict, Verdict::Rejected) {
            self.obstacle = self.obstacle.take().or_else(|| self.lasting_rejection());
            self.usable = self.profile != CODEX_PROFILE && self.obstacle.is_none();
        }
        self.verdict = Some(verdict);
    }

    /// Why a token that the backend rejects is not refreshed, if it is one that never is.
    fn lasting_rejection(&self) -> Option<String> {
        let credentials = self.credentials.as_ref();
        let credentials = credentials.filter(|credentials| credentials.is_access_token_only())?;
        let error = check_refreshable(credentials, &self.profile).err()?;
        Some(format!("the backend rejects the token: {error:#}"))
    }

    /// 0 if a token can be had without a person, 4 if signing in helps, 75 if another try may, else 1.
    pub fn exit_code(&self) -> u8 {
        match (self.usable, self.is_out_of_reach) {
            (true, _) => 0,
            (false, true) if self.is_temporary => error::TEMPORARY,
            (false, true) => 1,
            (false, false) => error::LOGIN_REQUIRED,
        }
    }
}
