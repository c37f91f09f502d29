//! When a login is renewed, by whom, and who waits.
//!
//! A refresh token works once. So the decision, the request and the save stand under one lock and are done by one
//! process: the worker. It is this same binary, started by whoever needs a renewal, and it outlives its caller.

pub mod verify;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Error, Result, bail};
use rand::RngExt;

use crate::credentials::{Backoff, Credentials, Glance, Lifetime, TokenResponse};
use crate::error::{Failure, exit_code};
use crate::issuer::{Issuer, Refreshed};
use crate::store::codex_file;
use crate::store::{StagedFile, Store};
use crate::time::seconds_since_epoch;
use crate::{process, settings};

/// The first argument that makes this binary a worker. It is no command: no help and no completion names it.
pub const WORKER: &str = "renewal-worker";
/// What a worker is told that is to go on as nobody's child.
pub const APART: &str = "apart";

/// The life that a token must have left if nobody says otherwise, in seconds.
const MIN_TTL: u64 = 5 * 60;
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for a renewal while there is a token that lives. Codex gives up after 5 s.
const SHORT_TIMEOUT: Duration = Duration::from_secs(3);
/// The shortest time ahead of a token's end in which it is renewed in the background, in seconds.
const SHORTEST_WINDOW: u64 = 10 * 60;
/// What was received so many seconds ago is as good as can be had.
const NEW: u64 = 60;
/// A worker that finds another at work waits as long as that one's request can take.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A server's `Retry-After` is honoured up to this: a mistake there must not end a login.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// What leads to this program on Linux, even when its file has been replaced since.
const LINK: &str = "/proc/self/exe";

/// What a caller wants of a token.
#[derive(Default)]
pub struct TokenRequest {
    /// Life that it must have left: if it is not there, that is a failure. Without one, there is a default.
    pub min_ttl: Option<Duration>,
    /// It must be another token than the stored one.
    pub another: bool,
    /// How long to wait for a renewal.
    pub timeout: Option<Duration>,
}

/// A login whose access token can be used, and a word of warning, if there is one.
pub struct ValidToken {
    pub credentials: Credentials,
    pub warning: Option<String>,
}

/// How good a stored token is.
#[derive(PartialEq, Eq, Debug)]
pub enum Freshness {
    Fresh,
    /// It can be used, and should be renewed in the background.
    Due,
    /// It has to be renewed before it is used.
    Stale,
}

impl ValidToken {
    /// The same when the backend could not say whether it accepts the token.
    pub fn unknown(self, reason: &str) -> Self {
        self.but(format!(
            "could not find out whether the token works: {reason}"
        ))
    }

    /// The same with a warning, which joins the one that may be there: callers get one line.
    pub fn but(mut self, warning: String) -> Self {
        self.warning = Some(match self.warning {
            Some(earlier) => format!("{earlier}; {warning}"),
            None => warning,
        });
        self
    }
}

impl TokenRequest {
    /// Whether a token that merely lives does not do.
    fn is_strict(&self) -> bool {
        self.another || self.min_ttl.is_some()
    }
}

/// Whether the token of this stored login fulfils the wish, with nothing left to do. Nearly every call ends here, before
/// anything else is looked at. If not, `usable` does what has to be done.
pub fn is_fresh(glance: &Glance, request: &TokenRequest) -> bool {
    judge(glance.lifetime(), request, SystemTime::now()) == Freshness::Fresh
}

/// A login with a token that fulfils the wish; renewed, if need be.
pub fn usable(store: &Store, request: &TokenRequest) -> Result<ValidToken> {
    let now = SystemTime::now();
    let found = store.load()?.with_context(|| not_signed_in(store))?;
    found.access_token()?;
    match freshness(&found, request, now) {
        Freshness::Fresh => Ok(ValidToken {
            credentials: found,
            warning: None,
        }),
        Freshness::Due => {
            renew_ahead(store, &found, now);
            Ok(ValidToken {
                credentials: found,
                warning: None,
            })
        }
        Freshness::Stale if is_as_good_as_any(&found, request, now) => {
            fulfilling(found, request, now)
        }
        Freshness::Stale => match renew(store, &found, request, now) {
            Err(error) if !request.is_strict() && is_alive(&found, now) => Ok(ValidToken {
                credentials: found,
                warning: Some(format!("{error:#}; the token still lives")),
            }),
            renewed => renewed,
        },
    }
}

/// Whether no renewal would bring a better token for this wish: it is new, or not even a whole life is long enough.
fn is_as_good_as_any(credentials: &Credentials, request: &TokenRequest, now: SystemTime) -> bool {
    let both = request.min_ttl.zip(credentials.expires_in());
    let asks_too_much = both.is_some_and(|(ttl, life)| ttl.as_secs() > life);
    let is_usual = freshness(credentials, &TokenRequest::default(), now) == Freshness::Fresh;
    !request.another && (is_new(credentials, now) || asks_too_much && is_usual)
}

/// How good the stored token is for a wish. Its life is counted from when it was received, on this machine's clock.
pub fn freshness(credentials: &Credentials, request: &TokenRequest, now: SystemTime) -> Freshness {
    judge(credentials.lifetime(), request, now)
}

fn judge(lifetime: Lifetime, request: &TokenRequest, now: SystemTime) -> Freshness {
    let left = left(lifetime, now);
    let window = window(lifetime);
    let needed = request
        .min_ttl
        .map_or(MIN_TTL.min(window / 2), |ttl| ttl.as_secs());
    // More left than a whole life: the clock was set back since it was received, so nobody knows what is left.
    let is_from_the_future = lifetime
        .whole
        .is_some_and(|life| left > life.saturating_add(NEW));
    if request.another || is_from_the_future || left == 0 || left < needed {
        return Freshness::Stale;
    }
    if left <= window {
        Freshness::Due
    } else {
        Freshness::Fresh
    }
}

/// The last tenth of the token's life, at least ten minutes, at most half of the life; in seconds.
fn window(lifetime: Lifetime) -> u64 {
    SHORTEST_WINDOW
        .max(lifetime.whole.unwrap_or(0) / 10)
        .min(lifetime.whole.unwrap_or(u64::MAX) / 2)
}

/// Seconds until the token ends. One without a known end has none left.
fn left(lifetime: Lifetime, now: SystemTime) -> u64 {
    lifetime
        .end
        .unwrap_or(0)
        .saturating_sub(seconds_since_epoch(now))
}

pub fn is_alive(credentials: &Credentials, now: SystemTime) -> bool {
    left(credentials.lifetime(), now) > 0
}

/// Whether the token was received just now: then it is not renewed for its life's sake, however short that is.
pub fn is_new(credentials: &Credentials, now: SystemTime) -> bool {
    let age = credentials
        .received_at()
        .and_then(|received| now.duration_since(received).ok());
    let limit = NEW.min(credentials.expires_in().unwrap_or(u64::MAX) / 2);
    is_alive(credentials, now) && age.is_some_and(|age| age < Duration::from_secs(limit))
}

/// Renews in the background what nobody waits for, unless somebody is at it, or an attempt failed just now.
fn renew_ahead(store: &Store, found: &Credentials, now: SystemTime) {
    if check_earlier_failures(store, found, now).is_ok() && store.can_lock() {
        let last_refresh = found.last_refresh().unwrap_or_default();
        // Whoever needs the renewal will start it again, and hear why it failed.
        let _ = worker(store, last_refresh).and_then(|mut worker| {
            Ok(process::spawn_ourselves(silent(worker.arg(APART)))?.wait()?)
        });
    }
}

/// Starts the worker anew and leaves it alone. Its caller may become another program (`exec`), which would not know
/// whose child it has when that ends.
pub fn work_apart(store: &Store, last_refresh: &str) -> Result<()> {
    process::leave_caller();
    process::spawn_ourselves(silent(&mut worker(store, last_refresh)?))?;
    Ok(())
}

/// What it says goes into pipes that nobody reads: `/dev/null` may be missing, as in a container from scratch.
fn silent(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// Has the login renewed, and waits for it.
pub fn renew(
    store: &Store,
    found: &Credentials,
    request: &TokenRequest,
    now: SystemTime,
) -> Result<ValidToken> {
    check_earlier_failures(store, found, now)?;
    let Some(output) = run_worker(store, found, patience(found, request, now))? else {
        return stored_outcome(store, found, request);
    };
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) if !output.stdout.is_empty() => {
            let unsaved = Credentials::parse(&output.stdout)?;
            Ok(fulfilling(unsaved, request, SystemTime::now())?.but(words))
        }
        Some(0) => stored_outcome(store, found, request),
        Some(4) => Err(Failure::LoginRequired(words).into()),
        Some(75) => Err(Failure::Temporary(words).into()),
        Some(_) => Err(Error::msg(words)),
        None => Err(Failure::Temporary(
            "could not renew the login: its worker was ended".to_owned(),
        )
        .into()),
    }
}

/// How long to wait for a renewal. Programs that call us give up after some seconds: one that could have had a token that
/// still lives gets it before that.
fn patience(found: &Credentials, request: &TokenRequest, now: SystemTime) -> Duration {
    let usual = if is_alive(found, now) && !request.is_strict() {
        SHORT_TIMEOUT
    } else {
        TIMEOUT
    };
    request.timeout.unwrap_or(usual)
}

/// What a worker that has ended left on the disk: another login, or a note of its failure.
fn stored_outcome(
    store: &Store,
    found: &Credentials,
    request: &TokenRequest,
) -> Result<ValidToken> {
    let now = SystemTime::now();
    let stored = store.load()?.with_context(|| not_signed_in(store))?;
    if stored.last_refresh() == found.last_refresh() {
        check_earlier_failures(store, &stored, now)?;
        return Err(Failure::Temporary(
            "could not renew the login: its worker was ended".to_owned(),
        )
        .into());
    }
    if request.another && stored.access_token()? == found.access_token()? {
        bail!("the issuer renewed the login, but kept its access token");
    }
    fulfilling(stored, request, now)
}

/// What was renewed just now is good, however short it lives, unless a longer life was asked for.
fn fulfilling(
    credentials: Credentials,
    request: &TokenRequest,
    now: SystemTime,
) -> Result<ValidToken> {
    let left = left(credentials.lifetime(), now);
    if left == 0 {
        return Err(Failure::Temporary(
            "could not get a token that lives: the newest one has ended".to_owned(),
        )
        .into());
    }
    if let Some(min_ttl) = request.min_ttl
        && left < min_ttl.as_secs()
    {
        bail!(
            "could not get a token for {} s: the newest one lives {left} s; ask for less with --min-ttl",
            min_ttl.as_secs()
        );
    }
    Ok(ValidToken {
        credentials,
        warning: None,
    })
}

/// Fails if the issuer has refused this login for good, or if an attempt failed so lately that the next one has to wait.
fn check_earlier_failures(store: &Store, credentials: &Credentials, now: SystemTime) -> Result<()> {
    if let Some(revoked) = credentials.revoked() {
        return Err(refused(store, &revoked.reason));
    }
    if let Some(backoff) = credentials.backoff().filter(|backoff| backoff.holds(now)) {
        return Err(
            Failure::Temporary(format!("could not renew the login: {}", backoff.reason)).into(),
        );
    }
    Ok(())
}

fn refused(store: &Store, reason: &str) -> Error {
    let sign_in = sign_in(store.profile());
    Failure::LoginRequired(format!(
        "the issuer refused to renew the login: {reason}: run {sign_in}"
    ))
    .into()
}

pub fn not_signed_in(store: &Store) -> Failure {
    let codex = if codex_file::is_there() {
        ", or use --profile codex for Codex's own login"
    } else {
        ""
    };
    let sign_in = sign_in(store.profile());
    Failure::LoginRequired(format!("not signed in: run {sign_in}{codex}"))
}

/// The command with which a person signs in to a profile. It names all but the default one, and that one too where the
/// environment names another: whoever follows it must not replace a login that works.
pub fn sign_in(profile: &str) -> String {
    let unnamed = settings::profile(None).unwrap_or_default();
    match profile {
        settings::CODEX_PROFILE => "codex login".to_owned(),
        "default" if unnamed == profile => "codex-auth login".to_owned(),
        _ => format!("codex-auth --profile {profile} login"),
    }
}

/// Waits for a worker, at most for `timeout`. After that it finishes without us.
fn run_worker(store: &Store, found: &Credentials, timeout: Duration) -> Result<Option<Output>> {
    let mut worker = worker(store, found.last_refresh().unwrap_or_default())?;
    worker.stdout(Stdio::piped()).stderr(Stdio::piped());
    let worker = process::spawn_ourselves(&mut worker)
        .map_err(|error| Failure::Temporary(format!("could not start the renewal: {error}")))?;
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .spawn(move || {
            // It may outlast the time-out, and `exec` hands signals on.
            process::hear_no_signals();
            // Nobody listens after the time-out.
            let _ = sender.send(worker.wait_with_output());
        })
        .map_err(|error| Failure::Temporary(format!("could not wait for the renewal: {error}")))?;
    match receiver.recv_timeout(timeout) {
        // Where children are not waited for (SIGCHLD is ignored) nobody can tell how it ended: the disk can.
        Ok(output) => Ok(output.ok()),
        Err(_) => Err(Failure::Temporary(format!(
            "could not renew the login within {} s: the renewal goes on, try again later",
            timeout.as_secs()
        ))
        .into()),
    }
}

/// The command that renews what was received at `last_refresh`, with none of our standard streams.
fn worker(store: &Store, last_refresh: &str) -> Result<Command> {
    let program = this_program()?;
    let mut command = Command::new(&program);
    // Who looks at the processes sees whose it is. Where only a path leads to us, it has to stay.
    #[cfg(target_os = "linux")]
    if program == std::path::Path::new(LINK) {
        std::os::unix::process::CommandExt::arg0(&mut command, env!("CARGO_PKG_NAME"));
    }
    command
        .args([WORKER, store.profile(), last_refresh])
        .stdin(Stdio::piped());
    Ok(command)
}

/// On Linux the link that leads to this program even when its file has been replaced since; else its path.
fn this_program() -> Result<PathBuf> {
    let link = PathBuf::from(LINK);
    if cfg!(target_os = "linux") && link.exists() {
        return Ok(link);
    }
    let named = || env::args_os().next().map(PathBuf::from);
    env::current_exe()
        .ok()
        .or_else(named)
        .context("could not find this program's own file")
}

/// What the worker does. It tells its caller by exit code and stderr, as a command would; on stdout stands the whole
/// login if it could not be saved, so that the token that was received can still be used.
pub fn work(store: &Store, last_refresh: &str) -> ExitCode {
    process::leave_caller();
    let (code, words, unsaved) = match renew_under_lock(store, last_refresh) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Trouble::Unsaved(credentials, error)) => {
            (0, error, credentials.to_json().unwrap_or_default())
        }
        Err(Trouble::Failed(error)) => (exit_code(&error), error, Vec::new()),
    };
    // The caller may be gone: then nobody wants to know.
    let _ = io::stdout().write_all(&unsaved);
    let _ = write!(io::stderr(), "{words:#}");
    ExitCode::from(code)
}

/// Why the stored login is as it was.
enum Trouble {
    Failed(Error),
    /// The issuer renewed the login, and the disk did not take it.
    Unsaved(Credentials, Error),
}

impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Renews the login, unless somebody else has done it since `last_refresh`.
fn renew_under_lock(store: &Store, last_refresh: &str) -> Result<(), Trouble> {
    let lock = store.lock(LOCK_PATIENCE)?;
    let credentials = store.load()?.with_context(|| not_signed_in(store))?;
    if credentials.last_refresh().unwrap_or_default() != last_refresh {
        return Ok(());
    }
    check_earlier_failures(store, &credentials, SystemTime::now())?;
    let (issuer, refresh_token) = issuer_of(&credentials, store.profile())?;
    let staged = lock.reserve()?;
    process::end_in_our_own_time();
    match issuer.refresh(&refresh_token) {
        Refreshed::Granted(token_response) => save(store, staged, credentials, &token_response),
        Refreshed::Refused(reason) => Ok(believe(store, staged, credentials, &reason)?),
        Refreshed::Failed {
            reason,
            retry_after,
        } => Err(note_failure(staged, credentials, &reason, retry_after).into()),
    }
}

/// The issuer that gave this login, and the refresh token, which nobody else ever gets.
pub fn issuer_of(credentials: &Credentials, profile: &str) -> Result<(Issuer, String)> {
    let (url, client_id, refresh_token) = grantor(credentials, profile)?;
    let issuer = Issuer::new(url.to_owned(), client_id.to_owned())?;
    Ok((issuer, refresh_token.to_owned()))
}

/// What a renewal needs of a login: the URL of its issuer, the ID of the client, and the refresh token. It looks at
/// nothing but the login, so that its failure is the login's.
pub fn grantor<'a>(
    credentials: &'a Credentials,
    profile: &str,
) -> Result<(&'a str, &'a str, &'a str)> {
    let parts = credentials
        .issuer()
        .zip(credentials.client_id())
        .zip(credentials.refresh_token());
    let Some(((issuer, client_id), refresh_token)) = parts else {
        let sign_in = sign_in(profile);
        return Err(Failure::LoginRequired(format!(
            "the stored login cannot be renewed, as it lacks its issuer or its refresh token: run {sign_in}"
        ))
        .into());
    };
    settings::check_url(issuer).context("could not trust the issuer of the stored login")?;
    Ok((issuer, client_id, refresh_token))
}

fn save(
    store: &Store,
    staged: StagedFile,
    mut credentials: Credentials,
    token_response: &TokenResponse,
) -> Result<(), Trouble> {
    let (now, earlier) = (SystemTime::now(), credentials.backoff());
    if let Err(error) = credentials.renew(token_response, now) {
        credentials.refuse(&error.to_string(), now);
        staged.save(&credentials)?;
        return Err(refused(store, &error.to_string()).into());
    }
    if !is_alive(&credentials, now) {
        let words = "the issuer gave no token that lives";
        credentials.set_backoff(&next_pause(earlier, words, None));
    }
    staged.save(&credentials).map_err(|error| {
        let sign_in = sign_in(store.profile());
        let words = format!("the token was renewed, but could not be stored: mend that before it ends, or run {sign_in}");
        Trouble::Unsaved(credentials, error.context(words))
    })
}

/// Takes a refusal for final only after another look at the disk: where locks do not work, somebody else may have
/// renewed the login with the same refresh token, and saved it.
fn believe(
    store: &Store,
    staged: StagedFile,
    mut credentials: Credentials,
    reason: &str,
) -> Result<()> {
    let is_renewed = |stored: &Credentials| stored.last_refresh() != credentials.last_refresh();
    if store.load()?.as_ref().is_some_and(is_renewed) {
        return Ok(());
    }
    credentials.refuse(reason, SystemTime::now());
    staged.save(&credentials)?;
    Err(refused(store, reason))
}

/// Remembers a temporary failure. The same refresh token is tried again after the pause: if its answer was lost, it
/// may still be good.
fn note_failure(
    staged: StagedFile,
    mut credentials: Credentials,
    reason: &str,
    retry_after: Option<Duration>,
) -> Error {
    credentials.set_backoff(&next_pause(credentials.backoff(), reason, retry_after));
    // Without the note the next caller merely asks earlier.
    let _ = staged.save(&credentials);
    Failure::Temporary(format!("could not renew the login: {reason}")).into()
}

fn next_pause(earlier: Option<Backoff>, reason: &str, retry_after: Option<Duration>) -> Backoff {
    let attempts = earlier
        .map_or(0, |backoff| backoff.attempts)
        .saturating_add(1);
    let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
    let at = SystemTime::now();
    Backoff {
        reason: reason.to_owned(),
        attempts,
        at,
        until: at + asked.max(backoff(attempts)),
    }
}

/// 1 s, 2 s, 4 s … 60 s, and up to a quarter more, so that many machines do not come back at the same moment.
fn backoff(attempts: u32) -> Duration {
    let backoff = Duration::from_secs(1 << attempts.saturating_sub(1).min(6)).min(LONGEST_PAUSE);
    backoff.mul_f64(rand::rng().random_range(1.0..1.25))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::time_at;
    use serde_json::json;

    const NOW: u64 = 2_000_000_000;
    const DAY: u64 = 86400;

    fn login(left: u64, life: u64) -> Credentials {
        let document =
            json!({"tokens": {"access_token": "a"}, "expires_at": NOW + left, "expires_in": life});
        Credentials::parse(document.to_string().as_bytes()).unwrap()
    }

    fn standing_of(left: u64, life: u64, min_ttl: Option<u64>) -> Freshness {
        let request = TokenRequest {
            min_ttl: min_ttl.map(Duration::from_secs),
            ..TokenRequest::default()
        };
        freshness(&login(left, life), &request, time_at(NOW))
    }

    #[test]
    fn a_token_is_due_in_the_last_tenth_of_its_life() {
        for (life, window) in [
            (10 * DAY, DAY),
            (3600, 600),
            (1200, 600),
            (600, 300),
            (60, 30),
            (2, 1),
        ] {
            assert_eq!(
                standing_of(window + 1, life, None),
                Freshness::Fresh,
                "a life of {life}"
            );
            assert_eq!(
                standing_of(window, life, None),
                Freshness::Due,
                "a life of {life}"
            );
        }
    }

    #[test]
    fn a_token_is_stale_with_less_than_five_minutes_or_half_of_that_time() {
        for (life, needed) in [(10 * DAY, 300), (3600, 300), (600, 150), (60, 15)] {
            assert_eq!(
                standing_of(needed, life, None),
                Freshness::Due,
                "a life of {life}"
            );
            assert_eq!(
                standing_of(needed - 1, life, None),
                Freshness::Stale,
                "a life of {life}"
            );
        }
        for life in [0, 1, 10 * DAY] {
            assert_eq!(
                standing_of(0, life, None),
                Freshness::Stale,
                "a life of {life}"
            );
        }
    }

    #[test]
    fn a_life_that_is_asked_for_counts_to_the_second() {
        assert_eq!(standing_of(7200, 10 * DAY, Some(7200)), Freshness::Due);
        assert_eq!(standing_of(7199, 10 * DAY, Some(7200)), Freshness::Stale);
        assert_eq!(standing_of(1, 10 * DAY, Some(0)), Freshness::Due);
        assert_eq!(standing_of(0, 10 * DAY, Some(0)), Freshness::Stale);
    }

    #[test]
    fn more_left_than_a_whole_life_means_that_the_clock_was_set_back() {
        assert_eq!(standing_of(3600 + NEW, 3600, None), Freshness::Fresh);
        assert_eq!(standing_of(3600 + NEW + 1, 3600, None), Freshness::Stale);
        assert_eq!(
            standing_of(u64::MAX - NOW, u64::MAX, None),
            Freshness::Fresh
        );
    }

    #[test]
    fn a_token_without_a_known_end_is_never_fresh() {
        let credentials = Credentials::parse(br#"{"tokens":{"access_token":"opaque"}}"#).unwrap();
        assert_eq!(
            freshness(&credentials, &TokenRequest::default(), time_at(NOW)),
            Freshness::Stale
        );
        assert!(!is_alive(&credentials, time_at(NOW)));
    }

    #[test]
    fn pauses_double_and_stop_at_a_minute() {
        for (attempts, seconds) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (6, 32),
            (7, 60),
            (8, 60),
            (u32::MAX, 60),
        ] {
            let least = Duration::from_secs(seconds);
            for _ in 0..100 {
                assert!(
                    (least..least.mul_f64(1.25)).contains(&backoff(attempts)),
                    "after {attempts} attempts"
                );
            }
        }
    }
}
