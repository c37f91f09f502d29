//! The signals blocked and ignored in a command run by `exec`: the same as without codex-auth, even after a refresh. The
//! command is `grep` on its own status, as a shell would change them.

use std::ffi::OsString;
use std::process::Command;
use std::thread;

use support::fake_issuer::Endpoint;
use support::process::Output;
use support::sandbox::{LIFE, Sandbox, find_program, program, skip};

const REFRESH: Endpoint = Endpoint::Refresh;
const TELL: [&str; 3] = ["/bin/grep", "^Sig[BI]", "/proc/self/status"];

/// Signal states for the callers of `exec`, as options of env(1).
const STATES: [&[&str]; 6] = [
    &[],
    &["--block-signal"],
    &["--block-signal=INT,TERM,HUP,QUIT"],
    &["--ignore-signal=CHLD"],
    &["--ignore-signal=INT,QUIT,HUP,TERM"],
    &["--ignore-signal=CHLD,USR1", "--block-signal=CHLD,ALRM"],
];

/// Runs this command line in such a state.
fn in_state(sandbox: &Sandbox, state: &[&str], command_line: Vec<OsString>) -> Command {
    let mut all = vec![OsString::from("/usr/bin/env")];
    all.extend(state.iter().map(OsString::from));
    all.extend(command_line);
    sandbox.command_of(&all)
}

fn tell() -> Vec<OsString> {
    TELL.map(OsString::from).into()
}

/// The same through `exec`.
fn tell_by_exec() -> Vec<OsString> {
    let exec = ["exec", "--"].map(OsString::from);
    program().into_iter().chain(exec).chain(tell()).collect()
}

/// Whether env(1) supports this here; says so if not.
fn can_set_signals() -> bool {
    let mut env = Command::new("/usr/bin/env");
    let can = env
        .args(["--block-signal", "--ignore-signal=CHLD", "true"])
        .output();
    let can = can.is_ok_and(|output| output.status.success()) && find_program("grep").is_some();
    if !can {
        skip("env cannot set signals here");
    }
    can
}

/// Signals reserved by the C library (signal(7)): their disposition changes with its first thread, and no program can use
/// them.
const OF_THE_C_LIBRARY: u64 = 0b111 << 31;

/// The blocked and the ignored signals that a run reported.
#[track_caller]
fn told(output: &Output) -> [u64; 2] {
    let lines: Vec<&str> = output.stdout.lines().collect();
    let [blocked, ignored] = lines.as_slice() else {
        panic!("it told something else: {}", output.stdout);
    };
    [("SigBlk:\t", blocked), ("SigIgn:\t", ignored)].map(|(name, line)| {
        let digits = line.strip_prefix(name).unwrap();
        u64::from_str_radix(digits, 16).unwrap() & !OF_THE_C_LIBRARY
    })
}

/// Tests every state once, with a token that expires in this many seconds and an issuer prepared by `prepare`.
fn assert_unchanged(left: i64, prepare: impl Fn(&Sandbox) + Sync) {
    if !can_set_signals() {
        return;
    }
    thread::scope(|scope| {
        for state in STATES {
            let prepare = &prepare;
            scope.spawn(move || {
                let sandbox = Sandbox::new();
                sandbox.plant_expiring_in(left, LIFE);
                prepare(&sandbox);
                assert_same(&sandbox, state, state);
            });
        }
    });
}

/// Asserts that `exec` in one state gives its command the same signals as another state without `exec`.
#[track_caller]
fn assert_same(sandbox: &Sandbox, state: &[&str], alone: &[&str]) {
    let alone = sandbox.start(in_state(sandbox, alone, tell())).finish();
    let ours = sandbox
        .start(in_state(sandbox, state, tell_by_exec()))
        .finish();
    ours.assert(0, "SigBlk:[..]\nSigIgn:[..]\n", "");
    assert_eq!(told(&ours), told(&alone), "{state:?}");
}

#[test]
fn a_command_has_the_signals_of_its_caller() {
    assert_unchanged(LIFE.cast_signed() / 2, |_| {});
}

#[test]
fn a_command_has_the_signals_of_its_caller_after_a_refresh() {
    assert_unchanged(-60, |_| {});
}

#[test]
fn a_command_has_the_signals_of_its_caller_while_a_refresh_goes_on() {
    if support::sandbox::callers_stay() {
        return;
    }
    assert_unchanged(3600, |sandbox| {
        sandbox.issuer.hold(REFRESH);
    });
}

/// The caller's SIGPIPE disposition is unknown, because Rust ignores the signal before `main`.
#[test]
fn a_command_ends_by_a_closed_pipe_even_if_its_caller_does_not() {
    if !can_set_signals() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant();
    assert_same(&sandbox, &["--ignore-signal=PIPE"], &[]);
}
