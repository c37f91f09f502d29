//! Checks that no secret is on disk unsealed while a sealed login is refreshed, changed or replaced. The process is
//! killed at each call that changes files, and every write to a file is inspected.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::FORCED;
use crate::faults::{Fault, Place, inject, trace, traced};
use support::desktop::{Desktop, leaks, secrets};
use support::sandbox::{LIFE, Sandbox};

/// The calls that change files.
const CHANGES: [&str; 10] = [
    "open",
    "openat",
    "write",
    "ftruncate",
    "fsync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
];

/// Prepares a login before each run.
type Scene = fn(&Desktop);

fn expired(desktop: &Desktop) {
    desktop.plant_sealed(-60);
}

fn fresh(desktop: &Desktop) {
    desktop.plant_sealed(LIFE.cast_signed() / 2);
}

#[test]
fn a_kill_at_any_call_leaves_nothing_readable() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    sandbox.issuer.set(|its| its.reuse_revokes_family = true);
    expired(&desktop);
    let Some(mut command) = traced(sandbox, &[], &["token"]) else {
        return;
    };
    assert!(command.output().unwrap().status.success());
    let places = trace(sandbox).all_places();
    let places = places
        .iter()
        .filter(|place| CHANGES.contains(&place.call.as_str()));
    let wrong: Vec<String> = places
        .filter_map(|place| try_kill(&desktop, place))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the promise that was broken, if any.
fn try_kill(desktop: &Desktop, place: &Place) -> Option<String> {
    let sandbox = &desktop.sandbox;
    desktop.forget_keys();
    sandbox.plant_expiring_in(-60, LIFE);
    let sealed = sandbox.run(&["seal"]);
    if sealed.code != 0 {
        return Some(format!("not sealed: {}", sealed.stderr));
    }
    desktop.assert_sealed();
    let command = traced(sandbox, &[inject(place, Fault::Kill)], &["token"]).unwrap();
    let first = sandbox.start(command).finish();
    let may_be_lost = trace(sandbox).ended_in_window();
    let left = leaks(sandbox);
    let next = sandbox.run(&FORCED);
    let is_known = sandbox
        .issuer
        .access_tokens()
        .iter()
        .any(|token| next.stdout.trim_end() == token);
    let is_kept = next.code == 0 && is_known;
    if left.is_empty() && (is_kept || may_be_lost) {
        return None;
    }
    Some(format!(
        "killed at {} {}: {left:?}, {} {}, then {} {}",
        place.call, place.number, first.code, first.stderr, next.code, next.stderr
    ))
}

/// The program under strace, which records all writes and their files.
fn watched(sandbox: &Sandbox, arguments: &[&str]) -> Option<Command> {
    let options = ["trace=write,pwrite64,writev".to_owned()];
    let traced = traced(sandbox, &options, arguments)?;
    let mut command = Command::new(traced.get_program());
    command.args(["-y", "-s", "1000000"]);
    let others = traced
        .get_args()
        .filter(|word| !["-s", "8"].contains(&word.to_str().unwrap_or_default()));
    command.args(others).env_clear();
    command.envs(
        traced
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    Some(command)
}

/// Writes to files in the store that contain a secret.
fn readable_writes(sandbox: &Sandbox) -> Vec<String> {
    let text = fs::read_to_string(sandbox.folder().join("trace")).unwrap();
    let home = format!("<{}/", sandbox.home().display());
    let secrets = secrets(sandbox);
    let writes = text.lines().filter(|line| line.contains(&home));
    let mut count = 0;
    let found: Vec<String> = writes
        .inspect(|_| count += 1)
        .filter(|line| secrets.iter().any(|secret| line.contains(secret.as_str())))
        .map(str::to_owned)
        .collect();
    assert!(count > 0, "nothing was written: {text}");
    found
}

#[test]
fn nothing_readable_is_ever_written() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    let plain: Scene = |desktop| {
        desktop.sandbox.plant();
    };
    let token = sandbox.issuer.issue_personal_token();
    let runs: [(&[&str], Scene, &str); 4] = [
        (&["token"], expired, ""),
        (&["token", "--force-refresh"], fresh, ""),
        (&["seal"], plain, ""),
        (&["login", "--with-access-token", "--seal"], plain, &token),
    ];
    for (arguments, scene, stdin) in runs {
        desktop.forget_keys();
        scene(&desktop);
        let Some(mut command) = watched(sandbox, arguments) else {
            return;
        };
        command.stdin(std::process::Stdio::piped());
        let mut running = sandbox.start(command);
        if !stdin.is_empty() {
            running.write(stdin);
        }
        let output = running.finish();
        assert_eq!(output.code, 0, "{arguments:?}: {}", output.stderr);
        let written = readable_writes(sandbox);
        assert!(written.is_empty(), "{arguments:?}: {}", written.join("\n"));
        assert_eq!(leaks(sandbox), Vec::<PathBuf>::new(), "{arguments:?}");
        fs::remove_file(sandbox.file("default")).unwrap();
    }
}
