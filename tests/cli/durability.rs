//! What is already on disk, not just on its way there, if the power fails. As no test can cut the power, these check the
//! order of system calls in a trace.

use std::ffi::OsString;
use std::fs;

use support::sandbox::{LIFE, Sandbox, find_program, native_program, skip};

use crate::login::SIGNED_IN;

/// The steps that make a new file durable at its path (fsync(2)): first its content, then its name.
const REPLACEMENT: [&str; 4] = ["write new", "fsync new", "rename", "fsync folder"];

/// Runs the program under strace, and returns its operations on the store and its token request, in order and without
/// repetitions. Returns `None`, and says why, if strace does not work here.
fn events_of(sandbox: &Sandbox, arguments: &[&str], expected: (&str, &str)) -> Option<Vec<String>> {
    let program = native_program()?;
    let Some(strace) = find_program("strace") else {
        skip("no strace here");
        return None;
    };
    let trace = sandbox.folder().join("trace");
    let calls = "trace=write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,sendto";
    let options = ["-f", "-qq", "-y", "-s", "20", "-e", calls, "-o"];
    let mut command_line: Vec<OsString> = vec![strace.into()];
    command_line.extend(options.map(OsString::from));
    command_line.extend([trace.clone().into(), program.into()]);
    command_line.extend(arguments.iter().map(OsString::from));
    let mut running = sandbox.start(sandbox.command_of(&command_line));
    if arguments.contains(&"login") {
        running.sign_in();
    }
    running.finish().assert(0, expected.0, expected.1);
    let trace = fs::read_to_string(trace).unwrap();
    let mut events: Vec<String> = trace
        .lines()
        .filter_map(|line| event(sandbox, line))
        .collect();
    events.dedup();
    Some(events)
}

fn event(sandbox: &Sandbox, line: &str) -> Option<String> {
    let (_, call) = line.split_once(' ')?;
    let (name, rest) = call.trim_start().split_once('(')?;
    let file = sandbox.file("default").display().to_string();
    let home = sandbox.home().display().to_string();
    let what = if name == "sendto" {
        return rest
            .contains("\"POST /oauth/token")
            .then(|| "request".to_owned());
    } else if rest.contains(&format!("{file}.new")) {
        "new"
    } else if rest.contains(&file) {
        "login"
    } else if rest.contains(&format!("<{home}>")) {
        "folder"
    } else {
        return None;
    };
    Some(match name {
        "rename" | "renameat" | "renameat2" => "rename".to_owned(),
        "unlink" | "unlinkat" => format!("unlink {what}"),
        "fdatasync" => format!("fsync {what}"),
        _ => format!("{name} {what}"),
    })
}

/// The events before the token request, and those after it.
fn around_the_request(events: &[String]) -> (&[String], &[String]) {
    let request = events.iter().position(|event| event == "request");
    let (before, after) = events.split_at(request.expect("no request"));
    (before, &after[1..])
}

/// Asserts that space for the response is on disk before the request, and that the response safely replaces the record
/// after it.
#[track_caller]
fn assert_room_before_and_replacement_after(events: &[String]) {
    let (before, after) = around_the_request(events);
    assert!(
        before.ends_with(&["write new", "fsync new", "fsync folder"].map(str::to_owned)),
        "{before:?}"
    );
    assert_eq!(after, REPLACEMENT, "{events:?}");
}

/// The issuer may send its response only once, so space for it, under a durable name, must be on disk before the request.
#[test]
fn a_refresh_is_safe_from_a_power_cut() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let Some(events) = events_of(&sandbox, &["token"], ("[TOKEN]\n", "")) else {
        return;
    };
    assert_room_before_and_replacement_after(&events);
}

#[test]
fn a_login_is_safe_from_a_power_cut() {
    let sandbox = Sandbox::new();
    let Some(events) = events_of(&sandbox, &["login"], ("", SIGNED_IN)) else {
        return;
    };
    assert_room_before_and_replacement_after(&events);
}

/// Otherwise a revoked login could come back.
#[test]
fn a_logout_is_safe_from_a_power_cut() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let Some(events) = events_of(
        &sandbox,
        &["logout"],
        ("", "Signed out (profile default).\n"),
    ) else {
        return;
    };
    assert!(events.contains(&"unlink login".to_owned()), "{events:?}");
    assert_eq!(events.last().unwrap(), "fsync folder", "{events:?}");
}

/// Otherwise the user could be signed in again. The target of the link stays.
#[test]
fn the_removal_of_a_link_is_safe_from_a_power_cut() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let real = sandbox.home().join("real");
    fs::rename(sandbox.file("default"), &real).unwrap();
    std::os::unix::fs::symlink(&real, sandbox.file("default")).unwrap();
    let stderr = "Removed the link to [HOME]/real (profile default). Nothing was revoked.\n";
    let Some(events) = events_of(&sandbox, &["logout"], ("", stderr)) else {
        return;
    };
    assert_eq!(events, ["unlink login", "fsync folder"]);
}
