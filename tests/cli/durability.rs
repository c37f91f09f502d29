//! What is on the disk, and not only on its way there, when a power cut comes: the order of calls is read from a trace, as no test
//! can cut the power.

use std::ffi::OsString;
use std::fs;

use support::sandbox::{LIFE, Sandbox, find_program, native_program, skip};

use crate::login::SIGNED_IN;

/// What a new file needs before it is at its path for good (fsync(2)): its bytes on the disk, then its name.
const REPLACEMENT: [&str; 4] = ["write new", "fsync new", "rename", "fsync folder"];

/// Runs the program under strace, and gives what it did to the store and the token request that it sent, in order. Repetitions
/// count once. `None`, and said so, where either cannot be had.
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

/// Room for the answer is on the disk before the request, and the answer replaces the record safely after it.
#[track_caller]
fn assert_room_before_and_replacement_after(events: &[String]) {
    let (before, after) = around_the_request(events);
    assert!(
        before.ends_with(&["write new", "fsync new", "fsync folder"].map(str::to_owned)),
        "{before:?}"
    );
    assert_eq!(after, REPLACEMENT, "{events:?}");
}

/// The answer of the issuer can be given once: its room, and the name of that, are on the disk before the request.
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

/// Otherwise a login that is revoked would be back.
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

/// Otherwise who signed out would be signed in again. What the link leads to stays.
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
