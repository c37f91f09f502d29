//! The refresh: many callers, killed callers, lost responses, rejections, clocks. None of it may lose a login.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::login::SIGNED_IN;
use support::fake_issuer::{Account, Endpoint, Trouble, now};
use support::process::{Running, until};
use support::sandbox::{LIFE, Sandbox};

const REFRESH: Endpoint = Endpoint::Refresh;
const TOKEN: &str = "[TOKEN]\n";
const STILL_ALIVE: &str =
    "codex-auth: warning: could not refresh the token: [..]; the current token expires in [..]\n";
/// A caller waits as long as its worker waits for the lock, so either may give up first.
const TIMED_OUT: &str = "codex-auth: could not [..] try again later\n";

/// Starts this many callers.
fn start(sandbox: &Sandbox, callers: usize, arguments: &[&str]) -> Vec<Running> {
    (0..callers).map(|_| sandbox.spawn(arguments)).collect()
}

/// Asserts that each caller gets the newest token, and nothing else.
#[track_caller]
fn assert_all_get_the_newest(sandbox: &Sandbox, callers: Vec<Running>) {
    let newest = |sandbox: &Sandbox| sandbox.issuer.access_tokens().pop().unwrap();
    for caller in callers {
        let output = caller.finish();
        output.assert(0, TOKEN, "");
        assert_eq!(output.line(), newest(sandbox));
    }
}

/// Changes the stored login.
fn edit(sandbox: &Sandbox, change: impl FnOnce(&mut Value)) {
    let mut login = sandbox.stored();
    change(&mut login);
    sandbox.store("default", &login.to_string());
}

/// Extends the backoff to an hour, longer than any test.
fn prolong_backoff(sandbox: &Sandbox) {
    edit(sandbox, |login| {
        let until = time_of(&login["backoff"]["at"]) + Duration::from_hours(1);
        login["backoff"]["until"] = json!(humantime::format_rfc3339_micros(until).to_string());
    });
}

/// Ends the backoff.
fn end_backoff(sandbox: &Sandbox) {
    edit(sandbox, |login| {
        login["backoff"]["until"] = login["backoff"]["at"].clone();
    });
}

fn time_of(value: &Value) -> SystemTime {
    humantime::parse_rfc3339(value.as_str().unwrap()).unwrap()
}

/// The length of the stored backoff.
fn backoff(sandbox: &Sandbox) -> Duration {
    let backoff = &sandbox.stored()["backoff"];
    time_of(&backoff["until"])
        .duration_since(time_of(&backoff["at"]))
        .unwrap()
}

// Single flight.

#[test]
fn of_many_callers_one_refreshes() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let callers = start(&sandbox, 16, &["token"]);
    assert_all_get_the_newest(&sandbox, callers);
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn callers_that_come_during_a_refresh_get_its_token() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let mut callers = start(&sandbox, 4, &["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    callers.extend(start(&sandbox, 4, &["token"]));
    gate.open();
    assert_all_get_the_newest(&sandbox, callers);
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn callers_that_want_another_token_share_a_refresh_in_progress() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let gate = sandbox.issuer.hold(REFRESH);
    let callers = start(&sandbox, 8, &["token", "--force-refresh"]);
    // By now each caller knows which token it does not want.
    sandbox.await_lock_users(callers.len());
    gate.open();
    assert_all_get_the_newest(&sandbox, callers);
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn a_forced_refresh_gives_another_token_each_time() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant();
    let first = sandbox.run(&["token", "--force-refresh"]);
    first.assert(0, TOKEN, "");
    assert_ne!(first.line(), planted["tokens"]["access_token"]);
    let second = sandbox.run(&["token", "--force-refresh"]);
    second.assert(0, TOKEN, "");
    assert_ne!(second.line(), first.line());
    assert_eq!(sandbox.issuer.count(REFRESH), 2);
}

#[test]
fn a_fast_rejection_costs_one_request_and_all_callers_report_it() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.revoke_logins();
    for caller in start(&sandbox, 8, &["token"]) {
        caller.finish().assert(
            4,
            "",
            "codex-auth: the issuer refused to refresh the token: [..] (refresh_token_invalidated, status 401): run \
             codex-auth login\n",
        );
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn a_fast_failure_costs_one_request_and_all_callers_report_it() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox
        .issuer
        .plan_always(REFRESH, Trouble::retry_after(500, "30"));
    for caller in start(&sandbox, 8, &["token"]) {
        caller
            .finish()
            .assert(75, "", "codex-auth: could not refresh the token: [..]\n");
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

// The worker outlives its caller.

#[cfg(windows)]
#[test]
fn a_terminated_caller_loses_nothing() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let mut caller = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    caller.kill();
    caller.finish().assert(1, "", "");
    gate.open();
    assert_all_get_the_newest(&sandbox, start(&sandbox, 1, &["token"]));
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    assert!(sandbox.can_refresh());
}

#[cfg(unix)]
#[test]
fn a_killed_caller_loses_nothing() {
    use rustix::process::Signal;
    for signal in [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP] {
        for whole_group in [false, true] {
            let sandbox = Sandbox::new();
            sandbox.plant_expiring_in(-60, LIFE);
            let gate = sandbox.issuer.hold(REFRESH);
            let mut command = sandbox.command(&["token"]);
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            let caller = sandbox.start(command);
            sandbox.issuer.await_requests(REFRESH, 1);
            signal_to(caller.pid(), whole_group, signal);
            caller.finish().assert(-signal.as_raw(), "", "");
            gate.open();
            assert_all_get_the_newest(&sandbox, start(&sandbox, 1, &["token"]));
            assert_eq!(sandbox.issuer.count(REFRESH), 1);
            assert!(sandbox.can_refresh());
        }
    }
}

#[cfg(unix)]
fn signal_to(pid: u32, whole_group: bool, signal: rustix::process::Signal) {
    use rustix::process::{Pid, kill_process, kill_process_group};
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    if whole_group {
        kill_process_group(pid, signal).unwrap();
    } else {
        kill_process(pid, signal).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_caller_that_ignores_sigchld_still_gets_the_result() {
    let sandbox = Sandbox::new();
    let ignoring = ["/bin/sh", "-c", "trap '' CHLD; exec \"$@\"", "sh"];
    let mut command_line = ignoring.map(std::ffi::OsString::from).to_vec();
    command_line.extend(support::sandbox::program());
    command_line.push("token".into());
    let run = || {
        sandbox.plant_expiring_in(-60, LIFE);
        sandbox.start(sandbox.command_of(&command_line)).finish()
    };
    run().assert(0, TOKEN, "");
    sandbox.issuer.plan(REFRESH, Trouble::status(500));
    run().assert(
        75,
        "",
        "codex-auth: could not refresh the token: [..]500[..]\n",
    );
    sandbox
        .issuer
        .plan(REFRESH, Trouble::error(401, "refresh_token_expired"));
    run().assert(
        4,
        "",
        "codex-auth: the issuer refused to refresh the token: [..]\n",
    );
}

#[test]
fn a_caller_waits_no_longer_than_its_timeout_and_the_refresh_continues() {
    if support::sandbox::callers_stay() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    // `run` also waits until both pipes are closed, so the worker holds neither.
    sandbox.run(&["token", "--timeout", "1s"]).assert(
        75,
        "",
        "codex-auth: could not refresh the token within 1 second: the refresh continues, try again later\n",
    );
    sandbox.issuer.await_requests(REFRESH, 1);
    gate.open();
    assert_all_get_the_newest(&sandbox, start(&sandbox, 1, &["token"]));
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn a_lock_that_is_never_released_ends_in_a_temporary_failure() {
    if support::sandbox::callers_stay() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let lock = File::create(sandbox.home().join("default.lock")).unwrap();
    lock.lock().unwrap();
    sandbox
        .run(&["token", "--timeout", "1s"])
        .assert(75, "", TIMED_OUT);
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
    drop(lock);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_that_is_killed_blocks_nobody() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.gate();
    let unanswered = Trouble::DropBefore.and(Trouble::Hold(gate));
    sandbox.issuer.plan(REFRESH, unanswered);
    let caller = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    let worker = sandbox.await_worker();
    signal_to(worker, false, rustix::process::Signal::KILL);
    caller.finish().assert(
        75,
        "",
        "codex-auth: could not refresh the token: the worker was killed\n",
    );
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

/// The first wait for a lock ends as if interrupted by a signal.
#[cfg(target_os = "linux")]
const INTERRUPTED: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>
int flock(int file, int operation) {
    if (!(operation & LOCK_NB) && open(getenv("MARK"), O_CREAT | O_EXCL | O_CLOEXEC, 0600) >= 0) {
        errno = EINTR;
        return -1;
    }
    return syscall(SYS_flock, file, operation);
}
"#;

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_wait_for_the_lock_continues() {
    let sandbox = Sandbox::new();
    let Some(shim) = sandbox.shim(INTERRUPTED) else {
        return;
    };
    sandbox.plant_expiring_in(-60, LIFE);
    let lock = File::create(sandbox.home().join("default.lock")).unwrap();
    lock.lock().unwrap();
    let mark = sandbox.folder().join("interrupted");
    let mut command = sandbox.command(&["token"]);
    command.env("LD_PRELOAD", shim).env("MARK", &mark);
    let caller = sandbox.start(command);
    support::process::until("an interrupted wait", || mark.exists().then_some(()));
    lock.unlock().unwrap();
    caller.finish().assert(0, TOKEN, "");
}

/// Each stat of a file returns another inode number, as on a file system that makes them up.
#[cfg(target_os = "linux")]
const UNSTEADY: &str = r"
#define _GNU_SOURCE
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
int statx(int folder, const char *path, int flags, unsigned mask, struct statx *found) {
    static unsigned long inode;
    int failed = syscall(SYS_statx, folder, path, flags, mask, found);
    found->stx_ino = ++inode;
    return failed;
}
";

#[cfg(target_os = "linux")]
#[test]
fn where_locks_do_not_last_the_wait_ends() {
    let sandbox = Sandbox::new();
    let Some(shim) = sandbox.shim(UNSTEADY) else {
        return;
    };
    sandbox.plant_expiring_in(-60, LIFE);
    let mut command = sandbox.command(&["token", "--timeout", "2s"]);
    command.env("LD_PRELOAD", shim);
    sandbox.start(command).finish().assert(
        75,
        "",
        "codex-auth: could not lock [HOME]/default.json: its files are replaced again and again: try again later\n",
    );
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
}

/// Neither login says when it was received.
#[cfg(target_os = "linux")]
#[test]
fn a_login_that_is_replaced_while_a_worker_waits_for_the_lock_is_the_one_that_is_refreshed() {
    let sandbox = Sandbox::new();
    let plant = || {
        let login = sandbox.plant_expiring_in(-60, LIFE);
        edit(&sandbox, |login| login["last_refresh"] = Value::Null);
        login
    };
    let older = plant();
    let lock = File::create(sandbox.lock_file()).unwrap();
    lock.lock().unwrap();
    let caller = sandbox.spawn(&["token"]);
    sandbox.await_lock_users(2);
    plant();
    lock.unlock().unwrap();
    caller.finish().assert(0, TOKEN, "");
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    let older = older["tokens"]["refresh_token"].as_str().unwrap();
    assert!(sandbox.issuer.would_refresh(older) && sandbox.can_refresh());
}

// Ahead of time.

#[test]
fn the_call_that_finds_a_token_due_refreshes_it_and_prints_the_new_one() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(3600, LIFE);
    let output = sandbox.run(&["token"]);
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), sandbox.issuer.access_tokens().pop().unwrap());
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn while_a_token_that_is_due_is_refreshed_all_others_print_it() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in(3600, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let starter = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    for _ in 0..3 {
        let output = sandbox.run(&["token"]);
        output.assert(0, TOKEN, "");
        assert_eq!(output.line(), planted["tokens"]["access_token"]);
    }
    gate.open();
    let output = starter.finish();
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), sandbox.issuer.access_tokens().pop().unwrap());
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn the_call_that_refreshes_a_due_token_waits_a_few_seconds_at_most() {
    if support::sandbox::callers_stay() {
        return;
    }
    let sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in(3600, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let output = sandbox.run(&["token"]);
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), planted["tokens"]["access_token"]);
    gate.open();
    let output = sandbox.run(&["token", "--min-ttl", "2h"]);
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), sandbox.issuer.access_tokens().pop().unwrap());
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn a_due_token_that_cannot_be_refreshed_is_printed_with_a_warning() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(3600, LIFE);
    sandbox.issuer.revoke_logins();
    let warning = "codex-auth: warning: the issuer refused to refresh the token: [..]: run codex-auth login; the current token expires in [..]\n";
    sandbox.run(&["token"]).assert(0, TOKEN, warning);
    sandbox.run(&["token"]).assert(0, TOKEN, warning);
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    // Even long before the token is due: someone has to sign in.
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(LIFE.cast_signed() - 3600, LIFE);
    sandbox.issuer.revoke_logins();
    let refused =
        "codex-auth: the issuer refused to refresh the token: [..]: run codex-auth login\n";
    let arguments = ["token", "--force-refresh"];
    sandbox.run(&arguments).assert(4, "", refused);
    sandbox.run(&["token"]).assert(0, TOKEN, warning);
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    // Failures that need no user are reported once.
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(3600, LIFE);
    sandbox
        .issuer
        .plan_always(REFRESH, Trouble::retry_after(500, "30"));
    let warning = "codex-auth: warning: could not refresh the token: [..]; the current token expires in [..]\n";
    sandbox.run(&["token"]).assert(0, TOKEN, warning);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

/// As with `podman run --pid=host`, which still kills everything in the container.
#[cfg(target_os = "linux")]
#[test]
fn in_a_container_that_shares_the_namespace_of_its_host_the_caller_waits_too() {
    let mut sandbox = Sandbox::new();
    sandbox.set("container", "podman");
    sandbox.plant_expiring_in(3600, LIFE);
    // Elsewhere, the caller prints the old token after 3 seconds.
    let delay = Trouble::Delay(Duration::from_secs(4));
    sandbox.issuer.plan(REFRESH, delay);
    let output = sandbox.run(&["token"]);
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), sandbox.issuer.access_tokens().pop().unwrap());
}

/// The caller runs in a PID namespace that ends with it, as in a container.
#[cfg(target_os = "linux")]
#[test]
fn where_a_worker_does_not_outlive_its_caller_the_caller_waits_for_it() {
    for (left, arguments) in [
        (3600, &["token"][..]),
        (200, &["token"]),
        (-60, &["token", "--timeout", "1s"]),
    ] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(left, LIFE);
        let delay = Trouble::Delay(Duration::from_secs(4));
        sandbox.issuer.plan(REFRESH, delay);
        let command_line = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
        let mut command = command_line.map(std::ffi::OsString::from).to_vec();
        command[0] = "/usr/bin/unshare".into();
        command.extend(support::sandbox::program());
        command.extend(arguments.iter().map(std::ffi::OsString::from));
        let output = sandbox.start(sandbox.command_of(&command)).finish();
        if output.stderr.contains("unshare") {
            return support::sandbox::skip("no PID namespaces here");
        }
        output.assert(0, TOKEN, "");
        assert_eq!(output.line(), sandbox.issuer.access_tokens().pop().unwrap());
        assert!(sandbox.can_refresh());
    }
}

#[test]
fn a_token_that_expires_while_its_refresh_hangs_is_not_printed() {
    if support::sandbox::callers_stay() {
        return;
    }
    for life in [4, 5] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(2, life);
        let gate = sandbox.issuer.hold(REFRESH);
        // 3 seconds; or 30, if the program started so slowly that the token had expired by then.
        let message = "codex-auth: could not refresh the token within [..] seconds: the refresh continues, try again later\n";
        sandbox.run(&["token"]).assert(75, "", message);
        gate.open();
        sandbox.issuer.await_answers(REFRESH, 1);
    }
}

/// Workers wait for the lock no longer than their callers.
#[cfg(target_os = "linux")]
#[test]
fn callers_that_give_up_leave_no_crowd_of_workers_behind() {
    if support::sandbox::callers_stay() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    for _ in 0..8 {
        sandbox
            .run(&["token", "--timeout", "0s"])
            .assert(75, "", TIMED_OUT);
    }
    sandbox.issuer.await_requests(REFRESH, 1);
    sandbox.await_lock_users(1);
    gate.open();
    assert_all_get_the_newest(&sandbox, start(&sandbox, 1, &["token"]));
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn the_seconds_since_a_refresh_do_not_count_if_a_full_lifetime_is_requested() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-1, 3600);
    let ask = || sandbox.run(&["token", "--min-ttl", "1h"]);
    ask().assert(0, TOKEN, "");
    let pass = |seconds: u64| {
        edit(&sandbox, |stored| {
            let received = stored["last_refresh"].as_str().unwrap();
            let received =
                humantime::parse_rfc3339(received).unwrap() - Duration::from_secs(seconds);
            stored["last_refresh"] = json!(humantime::format_rfc3339_micros(received).to_string());
            stored["expires_at"] = json!(stored["expires_at"].as_u64().unwrap() - seconds);
        });
    };
    pass(1);
    ask().assert(0, TOKEN, "");
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    pass(60);
    ask().assert(0, TOKEN, "");
    assert_eq!(sandbox.issuer.count(REFRESH), 2);
}

#[test]
fn a_token_that_is_fresh_is_left_alone() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in(LIFE.cast_signed() / 2, LIFE);
    let output = sandbox.run(&["token"]);
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), planted["tokens"]["access_token"]);
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
    assert!(
        !sandbox.home().join("default.lock").exists(),
        "it took the lock"
    );
}

#[test]
fn a_token_just_refreshed_is_good_however_soon_it_expires() {
    for life in [60, 660, 3600, LIFE, 31 * 86400] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(-1, life);
        let refreshed = sandbox.run(&["token"]);
        refreshed.assert(0, TOKEN, "");
        let again = sandbox.run(&["token"]);
        again.assert(0, TOKEN, "");
        assert_eq!(again.line(), refreshed.line(), "a token of {life} s");
        assert_eq!(sandbox.issuer.count(REFRESH), 1, "a token of {life} s");
    }
}

#[test]
fn a_life_that_no_new_token_has_is_a_failure_that_spends_no_refresh_token() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(1800, 3600);
    for _ in 0..3 {
        sandbox.run(&["token", "--min-ttl", "2h"]).assert(
            1,
            "",
            "codex-auth: could not get a token that is valid for 2 hours: the newest one expires in [..]: use a smaller --min-ttl\n",
        );
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox.plant_expiring_in(-60, 3600);
    sandbox.run(&["token", "--min-ttl", "2h"]).assert(
        1,
        "",
        "codex-auth: could not get a token that is valid for 2 hours: the newest one expires in [..]: use a smaller --min-ttl\n",
    );
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn a_longer_life_can_be_asked_for() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in(86400 * 5, LIFE);
    let output = sandbox.run(&["token", "--min-ttl", "6d"]);
    output.assert(0, TOKEN, "");
    assert_ne!(output.line(), planted["tokens"]["access_token"]);
}

// Remembered failures.

#[test]
fn a_revocation_is_final_until_the_next_login() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.revoke_logins();
    for _ in 0..3 {
        sandbox.run(&["token"]).assert(
            4,
            "",
            "codex-auth: the issuer refused to refresh the token: [..]\n",
        );
    }
    sandbox.run(&["token", "--force-refresh"]).assert(
        4,
        "",
        "codex-auth: the issuer refused [..]\n",
    );
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    let mut login = sandbox.spawn(&["login"]);
    login.sign_in();
    login.finish().assert(0, "", SIGNED_IN);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
}

#[test]
fn a_revoked_login_still_provides_a_valid_token() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    sandbox.issuer.revoke_logins();
    for _ in 0..2 {
        sandbox.run(&["token"]).assert(
            0,
            TOKEN,
            "codex-auth: warning: the issuer refused to refresh the token: [..]: run codex-auth login; the current token expires in [..]\n",
        );
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn an_error_that_requires_a_login_exits_with_4_and_is_retried_later() {
    for code in ["interaction_required", "login_required"] {
        for status in [400, 401] {
            let sandbox = Sandbox::new();
            sandbox.plant_expiring_in(-60, LIFE);
            sandbox.issuer.plan(REFRESH, Trouble::error(status, code));
            let message = format!(
                "codex-auth: the issuer refused to refresh the token: [..] ({code}, status {status}): run codex-auth login\n"
            );
            sandbox.run(&["token"]).assert(4, "", &message);
            sandbox.run(&["token"]).assert(4, "", &message);
            assert_eq!(sandbox.issuer.count(REFRESH), 1);
            end_backoff(&sandbox);
            sandbox.run(&["token"]).assert(0, TOKEN, "");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_lock_that_somebody_else_holds_is_named() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let lock = File::create(sandbox.lock_file()).unwrap();
    lock.lock().unwrap();
    sandbox.run(&["token", "--timeout", "2s"]).assert(
        75,
        "",
        "codex-auth: could not lock [HOME]/default.json: [..] is using it: try again later\n",
    );
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
}

/// A gateway may keep a connection open indefinitely.
#[test]
fn a_complete_response_is_accepted_on_an_open_connection() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    edit(&sandbox, |stored| stored["issuer"] = json!(issuer));
    let caller = sandbox.spawn(&["token"]);
    let mut stream = listener.accept().unwrap().0;
    // Ignores connections that send nothing: they only looked for the fastest address.
    while stream.read(&mut [0; 4096]).unwrap() == 0 {
        stream = listener.accept().unwrap().0;
    }
    let body = r#"{"access_token":"opaque","refresh_token":"next","expires_in":3600}"#;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{body}"
    )
    .unwrap();
    caller.finish().assert(0, "opaque\n", "");
    drop(stream);
}

#[test]
fn every_final_error_code_is_known() {
    for code in [
        "refresh_token_expired",
        "refresh_token_reused",
        "refresh_token_invalidated",
        "invalid_grant",
        "invalid_refresh_token",
        "token_expired",
        "app_session_terminated",
        "invalid_client",
        "unauthorized_client",
        "account_deactivated",
        "account_suspended",
        "account_deleted",
    ] {
        for (status, body) in [
            (400, json!({"error": {"code": code, "message": "Words."}})),
            (401, json!({"error": code, "error_description": "Words."})),
            (400, json!({"code": code, "detail": "Words."})),
        ] {
            let sandbox = Sandbox::new();
            sandbox.plant_expiring_in(-60, LIFE);
            sandbox.issuer.plan(
                REFRESH,
                Trouble::Answer(support::fake_issuer::Answer::json(status, &body)),
            );
            let message = format!(
                "codex-auth: the issuer refused to refresh the token: Words. ({code}, status {status}): run codex-auth login\n"
            );
            sandbox.run(&["token"]).assert(4, "", &message);
        }
    }
}

#[test]
fn an_unknown_401_asks_for_a_login_but_may_pass() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let refusal = Trouble::error(401, "something_new");
    sandbox.issuer.plan(REFRESH, refusal);
    let words = "the issuer refused to refresh the token: [..] (something_new, status 401): run codex-auth login";
    for _ in 0..2 {
        sandbox
            .run(&["token"])
            .assert(4, "", &format!("codex-auth: {words}\n"));
        prolong_backoff(&sandbox);
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    let status = sandbox.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (&status["state"], &status["usable"]),
        (&json!("backoff"), &json!(false))
    );
    let doctor = sandbox.run(&["doctor"]).stdout;
    assert!(doctor.contains("(something_new, status 401)"), "{doctor}");
    end_backoff(&sandbox);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

#[test]
fn everything_else_is_temporary() {
    for trouble in [
        Trouble::error(403, "invalid_grant"),
        Trouble::error(404, "invalid_grant"),
        Trouble::error(400, "something_else"),
        Trouble::status(401),
        Trouble::status(408),
        Trouble::status(429),
        Trouble::status(500),
        Trouble::status(502),
        Trouble::body(""),
        Trouble::body("<html>"),
        Trouble::body("{}"),
        Trouble::body("[1]"),
        Trouble::body("{\"access_token\":"),
        Trouble::redirect("/oauth/token"),
        Trouble::megabytes(2),
        Trouble::DropBefore,
        Trouble::Bytes(b"no HTTP at all\r\n\r\n".to_vec()),
    ] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(-60, LIFE);
        sandbox.issuer.plan(REFRESH, trouble);
        sandbox
            .run(&["token"])
            .assert(75, "", "codex-auth: could not refresh the token: [..]\n");
        end_backoff(&sandbox);
        sandbox.run(&["token"]).assert(0, TOKEN, "");
        assert_eq!(sandbox.issuer.count(REFRESH), 2);
        assert_eq!(sandbox.stored()["backoff"], Value::Null);
    }
}

#[test]
fn the_backoff_grows_to_a_minute() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.plan_always(REFRESH, Trouble::status(500));
    for (attempt, seconds) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
        sandbox
            .run(&["token"])
            .assert(75, "", "codex-auth: could not refresh the token: [..]\n");
        let least = Duration::from_secs(seconds);
        assert!(
            (least..=least * 5 / 4).contains(&backoff(&sandbox)),
            "{:?} after {attempt}",
            backoff(&sandbox)
        );
        prolong_backoff(&sandbox);
        sandbox
            .run(&["token"])
            .assert(75, "", "codex-auth: could not refresh the token: [..]\n");
        assert_eq!(sandbox.issuer.count(REFRESH), attempt + 1);
        end_backoff(&sandbox);
    }
}

#[test]
fn a_retry_after_of_the_issuer_is_kept() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    for (value, least, most) in [
        ("120", 120, 120),
        ("0", 2, 3),
        ("99999999", 3600, 3600),
        ("nonsense", 8, 10),
    ] {
        sandbox
            .issuer
            .plan(REFRESH, Trouble::retry_after(429, value));
        sandbox
            .run(&["token"])
            .assert(75, "", "codex-auth: could not refresh the token: [..]\n");
        let seconds = backoff(&sandbox).as_secs_f64().round();
        assert!(
            (f64::from(least)..=f64::from(most)).contains(&seconds),
            "{value}: {seconds}"
        );
        end_backoff(&sandbox);
    }
}

#[test]
fn a_clock_that_was_set_back_ends_the_backoff() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.plan(REFRESH, Trouble::status(500));
    sandbox
        .run(&["token"])
        .assert(75, "", "codex-auth: could not refresh the token: [..]\n");
    edit(&sandbox, |login| {
        login["backoff"]["at"] = json!("2100-01-01T00:00:00Z");
        login["backoff"]["until"] = json!("2100-01-01T00:00:30Z");
    });
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

#[test]
fn a_login_ends_the_backoff() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox
        .issuer
        .plan(REFRESH, Trouble::retry_after(503, "600"));
    sandbox
        .run(&["token"])
        .assert(75, "", "codex-auth: could not refresh the token: [..]\n");
    let mut login = sandbox.spawn(&["login"]);
    login.sign_in();
    login.finish().assert(0, "", SIGNED_IN);
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
}

#[test]
fn after_a_lost_answer_the_same_refresh_token_is_tried_once_more() {
    for trouble in [Trouble::DropAfter, Trouble::Truncate] {
        let sandbox = Sandbox::new();
        let planted = sandbox.plant_expiring_in(-60, LIFE);
        sandbox.issuer.plan(REFRESH, trouble);
        sandbox
            .run(&["token"])
            .assert(75, "", "codex-auth: could not refresh the token: [..]\n");
        end_backoff(&sandbox);
        // The issuer has spent it, so the login is now lost.
        let message = "codex-auth: the issuer refused to refresh the token: [..] (refresh_token_reused, status 401); an earlier refresh got no answer, and may have used up the refresh token: run codex-auth login\n";
        sandbox.run(&["token"]).assert(4, "", message);
        sandbox.run(&["token"]).assert(4, "", message);
        let requests = sandbox.issuer.requests_to(REFRESH);
        assert_eq!(requests.len(), 2);
        for request in requests {
            assert_eq!(
                request.form()["refresh_token"],
                planted["tokens"]["refresh_token"].as_str().unwrap()
            );
        }
    }
}

#[test]
fn a_reused_token_is_believed_only_after_another_look_at_the_disk() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.gate();
    let reused = Trouble::error(401, "refresh_token_reused").and(Trouble::Hold(gate.clone()));
    sandbox.issuer.plan(REFRESH, reused);
    let caller = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    // A program that takes no locks has refreshed it meanwhile.
    let refreshed = sandbox.plant();
    gate.open();
    let output = caller.finish();
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), refreshed["tokens"]["access_token"]);
}

// Valid tokens despite failures.

#[test]
fn a_valid_token_is_served_when_the_issuer_fails() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    let trouble = Trouble::retry_after(503, "30");
    sandbox.issuer.plan_always(REFRESH, trouble);
    sandbox.run(&["token"]).assert(0, TOKEN, STILL_ALIVE);
    prolong_backoff(&sandbox);
    sandbox.run(&["token"]).assert(0, TOKEN, STILL_ALIVE);
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    for strict in [
        &["token", "--min-ttl", "5m"][..],
        &["token", "--force-refresh"],
    ] {
        sandbox
            .run(strict)
            .assert(75, "", "codex-auth: could not refresh the token: [..]\n");
    }
    sandbox
        .run(&["token", "--min-ttl", "1m"])
        .assert(0, TOKEN, "");
}

#[test]
fn a_valid_token_is_served_after_a_short_wait() {
    if support::sandbox::callers_stay() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    sandbox.run(&["token"]).assert(
        0,
        TOKEN,
        "codex-auth: warning: could not refresh the token within 3 seconds: the refresh continues, try again later; the current token expires in [..]\n",
    );
    gate.open();
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_keeps_nothing_open_that_its_caller_had_open() {
    if support::sandbox::callers_stay() {
        return;
    }
    for (left, life) in [(3600, LIFE), (200, LIFE)] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(left, life);
        let gate = sandbox.issuer.hold(REFRESH);
        let lock = sandbox.folder().join("lock");
        let mut command_line: Vec<std::ffi::OsString> = vec!["/bin/sh".into(), "-c".into()];
        command_line.extend([
            "exec 9>\"$0\"; /usr/bin/flock 9; \"$@\"".into(),
            lock.clone().into(),
        ]);
        command_line.extend(support::sandbox::program());
        command_line.push("token".into());
        let output = sandbox.start(sandbox.command_of(&command_line)).finish();
        assert_eq!((output.code, output.stdout.is_empty()), (0, false));
        sandbox.issuer.await_requests(REFRESH, 1);
        assert!(
            File::open(&lock).unwrap().try_lock().is_ok(),
            "{left} s left"
        );
        gate.open();
    }
}

// Clocks.

#[test]
fn a_clock_that_is_days_off_does_no_harm() {
    for ahead in [-20 * 86400, 20 * 86400] {
        let sandbox = Sandbox::new();
        sandbox.issuer.set(|its| its.clock_ahead = ahead);
        sandbox.plant_expiring_in(-60, LIFE);
        let refreshed = sandbox.run(&["token"]);
        refreshed.assert(0, TOKEN, "");
        assert_eq!(sandbox.run(&["token"]).line(), refreshed.line());
        assert_eq!(sandbox.issuer.count(REFRESH), 1);
        let left = sandbox.stored()["expires_at"].as_u64().unwrap() - now();
        assert!((LIFE - 60..=LIFE).contains(&left), "{left}");
    }
}

#[test]
fn a_clock_that_was_set_back_costs_one_early_refresh() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    edit(&sandbox, |login| {
        login["expires_at"] = json!(now() + 3 * LIFE);
        login["last_refresh"] = json!("2100-01-01T00:00:00Z");
    });
    for _ in 0..3 {
        sandbox.run(&["token"]).assert(0, TOKEN, "");
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

/// The clock was corrected after the token was received.
#[test]
fn a_clock_that_was_set_back_makes_no_expired_token_valid() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    edit(&sandbox, |login| {
        login["expires_at"] = json!(now() + 3 * LIFE);
    });
    sandbox.issuer.plan_always(REFRESH, Trouble::status(500));
    for _ in 0..2 {
        sandbox
            .run(&["token"])
            .assert(75, "", "codex-auth: could not refresh the token: [..]\n");
    }
}

// The contents of responses.

#[test]
fn members_missing_from_a_response_stay_unchanged() {
    for missing in ["access_token", "refresh_token", "id_token"] {
        for null in [false, true] {
            let sandbox = Sandbox::new();
            sandbox.issuer.set(|its| {
                if null {
                    its.null.push(missing);
                } else {
                    its.omit.push(missing);
                }
            });
            let planted = sandbox.plant_expiring_in(200, LIFE);
            sandbox.run(&["token"]).assert(0, TOKEN, "");
            let stored = sandbox.stored();
            for name in ["access_token", "refresh_token", "id_token", "account_id"] {
                let kept = stored["tokens"][name] == planted["tokens"][name];
                assert_eq!(
                    kept,
                    name == missing || name == "account_id",
                    "{name} without {missing}"
                );
            }
            assert_ne!(stored["last_refresh"], planted["last_refresh"]);
        }
    }
}

#[test]
fn a_refresh_that_keeps_the_access_token_is_not_repeated_at_every_call() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| its.omit.push("access_token"));
    sandbox.plant_expiring_in(200, LIFE);
    for _ in 0..3 {
        sandbox.run(&["token"]).assert(0, TOKEN, "");
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn a_refresh_that_brings_an_expired_token_is_a_failure_with_a_backoff() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.set(|its| its.omit.push("access_token"));
    let failed = || {
        let output = sandbox.run(&["token"]);
        output.assert(75, "", "codex-auth: could not [..]\n");
    };
    failed();
    edit(&sandbox, |login| {
        login["backoff"]["until"] = json!("2100-01-01T00:00:00Z");
    });
    failed();
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    assert_eq!(sandbox.stored()["backoff"]["attempts"], 1);
    assert!(sandbox.can_refresh());
}

#[test]
fn an_opaque_access_token_expires_as_the_response_says() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| its.opaque_access_token = true);
    sandbox.plant_expiring_in(-60, 7200);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert_eq!(sandbox.stored()["expires_in"], 7200);
    sandbox.issuer.set(|its| its.omit.push("expires_in"));
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
    assert_eq!(sandbox.stored()["expires_in"], 3600);
}

#[test]
fn the_tokens_of_another_account_are_not_stored_over_a_login() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in(-60, LIFE);
    sandbox
        .issuer
        .set(|its| its.account_at_refresh = Some(Account::new("account-2", "other@mail.example")));
    sandbox.run(&["token"]).assert(
        4,
        "",
        "codex-auth: the issuer refused to refresh the token: the issuer returned the tokens of another account: run \
         codex-auth login\n",
    );
    assert_eq!(sandbox.stored()["tokens"], planted["tokens"]);
    // Otherwise nobody would ever revoke them.
    let theirs = sandbox.issuer.refresh_tokens().pop().unwrap();
    assert_eq!(sandbox.issuer.revoked(), [theirs]);
}

/// A failure before a connection says nothing about the issuer, so a caller without a network delays no caller that needs
/// a token.
#[test]
fn a_failure_before_the_connection_delays_no_later_call() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in(-60, LIFE);
    let issuer = planted["issuer"].clone();
    for url in ["http://127.0.0.1:9", "https://no-such-host.invalid"] {
        edit(&sandbox, |stored| stored["issuer"] = json!(url));
        sandbox
            .run(&["token"])
            .assert(75, "", "codex-auth: could not refresh the token: [..]\n");
        assert!(sandbox.stored()["backoff"].is_null(), "{url}");
    }
    edit(&sandbox, |stored| stored["issuer"] = issuer);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

/// If a connection takes long to fail, not every call waits for it. A call that needs a token still tries.
#[test]
fn a_refresh_ahead_of_time_waits_after_a_slow_failure_to_connect() {
    let mut sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in(3600, LIFE);
    edit(&sandbox, |stored| {
        stored["issuer"] = json!("https://issuer.invalid");
    });
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    sandbox.set(
        "HTTPS_PROXY",
        format!("http://{}", proxy.local_addr().unwrap()),
    );
    let refuse_after = |delay| {
        let mut stream = proxy.accept().unwrap().0;
        thread::sleep(delay);
        stream
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            .unwrap();
    };
    let caller = sandbox.spawn(&["token"]);
    refuse_after(Duration::from_millis(1100));
    // With a warning, if the caller was still waiting.
    caller.finish().assert(0, TOKEN, "...\n");
    until("the end of the refresh", || {
        sandbox.stored()["backoff"].is_object().then_some(())
    });
    let output = sandbox.run(&["token"]);
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), planted["tokens"]["access_token"]);
    let caller = sandbox.spawn(&["token", "--min-ttl", "2h"]);
    refuse_after(Duration::ZERO);
    let failed = "codex-auth: could not refresh the token: [..]\n";
    caller.finish().assert(75, "", failed);
}

#[cfg(unix)]
#[test]
fn a_due_token_that_could_not_be_stored_starts_no_worker() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(3600, LIFE);
    let read_only = std::fs::Permissions::from_mode(0o400);
    std::fs::set_permissions(sandbox.file("default"), read_only).unwrap();
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert!(!sandbox.lock_file().exists(), "a worker took the lock");
}

/// A program that waits for the end of a pipe inherited by the caller must not wait for the worker.
#[cfg(target_os = "linux")]
#[test]
fn a_worker_leaves_the_callers_pipes_even_without_proc() {
    if !rustix::process::geteuid().is_root() {
        return support::sandbox::skip("only root can unmount /proc");
    }
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let script = "umount -l /proc && exec 9>&1 && exec \"$@\" token";
    let words = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh"];
    let mut command = words.map(std::ffi::OsString::from).to_vec();
    command.extend(support::sandbox::program());
    let mut command = sandbox.command_of(&command);
    command.env("PATH", "/usr/bin:/bin");
    let mut caller = sandbox.start(command);
    sandbox.issuer.await_requests(REFRESH, 1);
    caller.kill();
    // It only returns after all processes with its pipes have exited, and the worker is still held.
    caller.finish().assert(-9, "", "");
    gate.open();
    assert_all_get_the_newest(&sandbox, start(&sandbox, 1, &["token"]));
}

#[test]
fn a_login_without_its_issuer_is_sent_nowhere() {
    for missing in ["issuer", "client_id"] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(-60, LIFE);
        edit(&sandbox, |login| {
            login.as_object_mut().unwrap().remove(missing);
        });
        sandbox.run(&["token"]).assert(
            4,
            "",
            "codex-auth: the stored credentials have no issuer or no refresh token: run codex-auth login\n",
        );
        assert_eq!(sandbox.issuer.requests().len(), 0);
    }
}

#[test]
fn an_unsafe_issuer_in_the_file_is_sent_nothing() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    edit(&sandbox, |login| {
        login["issuer"] = json!("http://issuer.example");
    });
    sandbox.run(&["token"]).assert(
        4,
        "",
        "codex-auth: could not trust the issuer of the stored credentials: [..]: run codex-auth login\n",
    );
}

/// Only on a terminal.
#[cfg(unix)]
#[test]
fn a_user_is_told_what_takes_time() {
    use crate::terminal::Terminal;
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let terminal = Terminal::start(&sandbox, &["token"], 80);
    terminal.await_text("Refreshing the token …", 1);
    gate.open();
    let (code, screen) = terminal.finish();
    let token = sandbox.issuer.access_tokens().pop().unwrap();
    assert_eq!(code, 0);
    let wiped = format!("\r\u{1b}[K{token}\n");
    assert!(screen.ends_with(&wiped), "{screen:?}");
}
