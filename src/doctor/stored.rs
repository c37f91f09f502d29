//! Findings about what is stored: the state of each login, which ones are copies of each other, and whether a refresh
//! could be stored.

use std::path::Path;
use std::time::{Duration, SystemTime};
use std::{fs, iter};

use anyhow::{Result, bail};

use super::{Finding, Level};
use crate::credentials::Credentials;
use crate::profile::status::LoginStatus;
use crate::profile::{Profile, copies, stores};
use crate::sandbox::mount_options;
use crate::settings::{self, call_for};
use crate::store::{self, Lock, Store, permissions::mode};
use crate::text::shell_path;

/// How long to wait for another `doctor` in the same folder.
const PATIENCE: Duration = Duration::from_secs(10);

/// Findings about the requested profile, then about each stored one.
pub fn logins(asked: Profile) -> Vec<Finding> {
    // A folder that cannot be listed has a separate finding.
    let mut others = store::profiles().unwrap_or_default();
    others.retain(|name| name != asked.name());
    let others = others.into_iter().flat_map(Profile::named);
    let now = SystemTime::now();
    let logins = iter::once(asked).chain(others);
    let logins = logins.map(|profile| match LoginStatus::of(profile, now) {
        Ok(login) => of_login(&login),
        Err(error) => Finding::of("login", Err(error)),
    });
    logins.chain(of_copies()).collect()
}

fn of_login(login: &LoginStatus) -> Finding {
    let (profile, cell) = (login.profile.name(), login.cell());
    let (level, found) = match login.problem() {
        None => (Level::Ok, cell),
        Some(_) if login.is_absent => (Level::Warning, cell),
        Some(_) if !login.is_usable => (Level::Problem, cell),
        // The token is valid, but it cannot be replaced.
        Some(reason) if login.obstacle.is_some() => (Level::Problem, format!("{cell}: {reason}")),
        Some(reason) => (Level::Warning, format!("{cell}: {reason}")),
    };
    Finding::new(level, "login", format!("{profile}: {found}"))
}

/// Each profile with the same refresh token as one before it.
fn of_copies() -> Vec<Finding> {
    let logins = copies::logins();
    let unreadable = logins.iter().filter(|(_, token)| token.is_none());
    let unreadable = unreadable.map(|(profile, _)| {
        let login = copies::describe_login(profile);
        Finding::new(Level::Warning, "sharing", format!(
            "cannot tell whether {login} is a copy of another: it cannot be read without the keyring"
        ))
    });
    let copied = logins.iter().enumerate().filter_map(|(number, (profile, token))| {
        let mut before = logins[..number].iter();
        let (other, _) = before.find(|(_, other)| token.is_some() && other == token)?;
        let other = copies::describe_login(other);
        let login = settings::login_command(profile);
        Some(Finding::new(Level::Problem, "sharing", format!(
            "{profile} is a copy of {other}: whichever is refreshed first invalidates the other: run codex-auth --profile {profile} logout --no-revoke, then {login}"
        )))
    });
    let mut findings: Vec<Finding> = unreadable.chain(copied).collect();
    if findings.is_empty() {
        let found = "no two profiles have the same login".to_owned();
        findings.push(Finding::of("sharing", Ok(found)));
    }
    findings
}

/// Findings about the folder of the store, then about the files in it.
pub fn disk() -> Vec<Finding> {
    let was_there = settings::home().is_ok_and(|folder| folder.exists());
    let store = try_out().unwrap_or_else(|error| Finding::of("store", Err(error)));
    if !was_there {
        // The next login creates it again.
        store::remove_empty_folder();
    }
    let files = stores().flat_map(|store| of_files(&store));
    iter::once(store).chain(files).collect()
}

/// Goes through the disk operations of a refresh, with a file that belongs to no profile.
fn try_out() -> Result<Finding> {
    let folder = settings::home()?;
    // No profile can have this name.
    let trial = Store::new(".doctor".to_owned())?;
    let lock = trial.lock(PATIENCE)?;
    if !trial.is_locked() {
        bail!(
            "the file system does not support locks, so that two programs could spend the same refresh token: set CODEX_AUTH_HOME to a folder on a local disk"
        );
    }
    let mut nothing = Credentials::parse(b"{}".to_vec())?;
    let mut save = |lock: Lock| lock.stage(false)?.save_or_discard(&mut nothing);
    let replaced = save(lock).and_then(|()| save(trial.lock(PATIENCE)?));
    let removed = trial.lock(PATIENCE).and_then(|lock| lock.remove());
    trial.end_trial();
    replaced.and(removed)?;
    let found = format!("logins can be stored in {}", folder.display());
    let exposed = others_can_read("store", &folder);
    Ok(exposed.unwrap_or_else(|| Finding::of("store", Ok(found))))
}

/// Findings about the files of a profile. Whatever prevents their replacement is reported as an obstacle of the login.
fn of_files(store: &Store) -> Vec<Finding> {
    let path = &store.path;
    let shown = path.display();
    let left = store.unsealed_leftover().map(|left| {
        let (left, call) = (left.display(), call_for(&store.profile));
        Finding::new(Level::Warning, "file", format!(
            "{left} was left behind by a killed command, and may contain unencrypted tokens: run {call} seal"
        ))
    });
    let mount = mount_options(path).map(|_| {
        let found = format!(
            "{shown} is a mount point, so no refresh can be stored: mount its folder instead"
        );
        Finding::new(Level::Problem, "file", found)
    });
    let exposed = others_can_read("file", path);
    let findings: Vec<Finding> = left.into_iter().chain(mount).chain(exposed).collect();
    if findings.is_empty() {
        return vec![Finding::of("file", Ok(format!("{shown} is private")))];
    }
    findings
}

/// A file or folder that others can read. Windows has no modes: there, the user's own folder keeps others out.
fn others_can_read(check: &'static str, path: &Path) -> Option<Finding> {
    let metadata = fs::metadata(path).ok()?;
    let mode = mode(&metadata).filter(|mode| mode & 0o077 != 0)?;
    let private = if metadata.is_dir() { 700 } else { 600 };
    let (shown, word) = (path.display(), shell_path(path));
    let found = format!(
        "other users can read {shown} (mode {mode:o}): run chmod {private} {word}, and sign in again if someone may have copied a login"
    );
    Some(Finding::new(Level::Warning, check, found))
}
