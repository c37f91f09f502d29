//! How long a worker, its caller and a command may take, tested without waiting that long: the test controls when time
//! passes, or reads the length of a wait from a trace.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use support::fake_issuer::{Endpoint, Trouble};
use support::process::until;
use support::sandbox::{LIFE, Sandbox, find_program, native_program, skip};

const REFRESH: Endpoint = Endpoint::Refresh;
const TOKEN: &str = "[TOKEN]\n";

/// A long sleep lasts while the file `LONG` exists, and the file `SLEEPER` names the sleeping thread. Calls that sync a
/// file to disk hang while the file `STUCK` exists.
const PASSING: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static void wait_for_end_of(const char *name) {
    while (access(getenv(name), F_OK) == 0) poll(NULL, 0, 1);
}
static int lasts(const struct timespec *time) {
    if (time->tv_sec < 20) return 0;
    int file = open(getenv("SLEEPER"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    dprintf(file, "%ld\n", syscall(SYS_gettid));
    close(file);
    wait_for_end_of("LONG");
    return 1;
}
int nanosleep(const struct timespec *time, struct timespec *rest) {
    return lasts(time) ? 0 : syscall(SYS_nanosleep, time, rest);
}
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *rest) {
    if (flags == 0 && lasts(time)) return 0;
    return syscall(SYS_clock_nanosleep, clock, flags, time, rest) ? errno : 0;
}
int fsync(int file) {
    wait_for_end_of("STUCK");
    return syscall(SYS_fsync, file);
}
"#;

/// The program, with long sleeps that end when `LONG` is removed.
fn timed(sandbox: &Sandbox, arguments: &[&str]) -> Option<Command> {
    let shim = sandbox.shim(PASSING)?;
    let mut command = sandbox.command(arguments);
    command.env("LD_PRELOAD", shim);
    for name in ["LONG", "SLEEPER", "STUCK"] {
        command.env(name, sandbox.folder().join(name));
    }
    fs::write(sandbox.folder().join("LONG"), "").unwrap();
    Some(command)
}

/// The folder in /proc of the thread in a long sleep.
fn sleeper(sandbox: &Sandbox, worker: u32) -> PathBuf {
    let thread = until("a thread with the limit", || {
        let thread = fs::read_to_string(sandbox.folder().join("SLEEPER")).ok();
        thread.filter(|text| text.ends_with('\n'))
    });
    Path::new("/proc").join(format!("{worker}/task/{}", thread.trim()))
}

/// The issuer may have spent the refresh token already.
#[test]
fn a_worker_whose_request_is_under_way_does_not_give_up() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let Some(command) = timed(&sandbox, &["token"]) else {
        return;
    };
    let gate = sandbox.issuer.hold(REFRESH);
    let caller = sandbox.start(command);
    sandbox.issuer.await_requests(REFRESH, 1);
    let thread = sleeper(&sandbox, sandbox.await_worker());
    fs::remove_file(sandbox.folder().join("LONG")).unwrap();
    until("the end of the limit", || (!thread.exists()).then_some(()));
    gate.open();
    caller.finish().assert(0, TOKEN, "");
    assert!(sandbox.can_refresh());
}

/// It would block everybody else from the login.
#[test]
fn a_worker_that_cannot_start_its_request_gives_up() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let Some(command) = timed(&sandbox, &["token", "--timeout", "10s"]) else {
        return;
    };
    fs::write(sandbox.folder().join("STUCK"), "").unwrap();
    let caller = sandbox.start(command);
    sleeper(&sandbox, sandbox.await_worker());
    fs::remove_file(sandbox.folder().join("LONG")).unwrap();
    let words = "codex-auth: could not refresh the token: the preparation timed out\n";
    caller.finish().assert(75, "", words);
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

/// The program under strace, which records how long each process waits. It is started by the command `before`.
fn traced(sandbox: &Sandbox, before: &[&str], arguments: &[&str]) -> Option<Command> {
    let program = native_program()?;
    let Some(strace) = find_program("strace") else {
        skip("no strace here");
        return None;
    };
    let mut command_line: Vec<OsString> = vec![strace.into()];
    let options = ["-f", "-qq", "-ttt", "-s", "16", "-e", "trace=futex,execve"];
    command_line.extend(options.map(OsString::from));
    command_line.extend(["-o".into(), sandbox.folder().join("trace").into()]);
    command_line.extend(before.iter().map(OsString::from));
    command_line.push(program.into());
    command_line.extend(arguments.iter().map(OsString::from));
    Some(sandbox.command_of(&command_line))
}

const CALLER: &str = r#", "token""#;
const WORKER: &str = r#", "refresh-worker", "{"#;

/// The longest time, within a second or two, that a process was willing to wait for another thread. The last process with
/// these arguments counts, as the command that starts it has them, too.
fn longest_wait(sandbox: &Sandbox, arguments: &str) -> i64 {
    let trace = fs::read_to_string(sandbox.folder().join("trace")).unwrap();
    let is_start = |line: &&str| line.contains(" execve(") && line.contains(arguments);
    let start = trace.lines().rfind(is_start).expect("no such process");
    let process = start.split_whitespace().next();
    // strace shows the time of day, but waits end at a time since boot.
    let seconds = |clock| clock_gettime(clock).tv_sec;
    let started = seconds(ClockId::Realtime) - seconds(ClockId::Monotonic);
    let waits = trace.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let is_its = words.next() == process;
        let (_, wait) = line.split_once(" futex(")?;
        let (_, end) = wait.split_once("{tv_sec=")?;
        let whole = |text: &str| text.split(['.', ',']).next()?.parse::<i64>().ok();
        is_its.then_some(whole(end)? - (whole(words.next()?)? - started))
    });
    waits.max().expect("no wait with a limit")
}

/// If the worker ends with its caller, as in a container, the caller waits as long as the worker may need.
#[test]
fn where_a_worker_ends_with_its_caller_it_gets_the_time_it_may_need() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    // Longer than a caller waits silently: only then does its long wait begin.
    let delay = Trouble::Delay(Duration::from_millis(1500));
    sandbox.issuer.plan(REFRESH, delay);
    let namespace = "/usr/bin/unshare --pid --fork --mount-proc --kill-child";
    let namespace: Vec<&str> = namespace.split(' ').collect();
    let Some(command) = traced(&sandbox, &namespace, &["token", "--timeout", "1s"]) else {
        return;
    };
    let output = sandbox.start(command).finish();
    if output.stderr.contains("unshare") {
        return skip("no PID namespaces here");
    }
    output.assert(0, TOKEN, "");
    // Preparation and request.
    assert!(longest_wait(&sandbox, CALLER) >= 30 + 60);
}

#[test]
fn a_command_gets_the_time_that_its_caller_has() {
    let sandbox = Sandbox::new();
    // Prints a different token each time, after a moment, so that callers have to wait.
    let script =
        r#"/bin/sleep 0.2; echo '{"token":"'$$'","account_id":"account-1","expires_in":3600}'"#;
    sandbox.script("remote", script);
    let login = sandbox.run(&["login", "--from", "--", "remote"]);
    assert_eq!(login.code, 0, "{}", login.stderr);
    for (timeout, limit) in [("30s", 60), ("10m", 600)] {
        sandbox.age(-60);
        let Some(command) = traced(&sandbox, &[], &["token", "--timeout", timeout]) else {
            return;
        };
        sandbox.start(command).finish().assert(0, "[..]\n", "");
        let wait = longest_wait(&sandbox, WORKER);
        assert!(
            (limit - 5..limit + 5).contains(&wait),
            "{timeout}: {wait} s"
        );
    }
}
