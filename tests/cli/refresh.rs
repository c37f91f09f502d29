//! The renewal: many callers, killed callers, lost answers, refusals, clocks. Whatever happens, no login is lost.

use std::fs::File;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::login::SIGNED_IN;
use support::fake_issuer::{Account, Endpoint, Trouble, now};
use support::process::Running;
use support::sandbox::{LIFE, Sandbox};

const REFRESH: Endpoint = Endpoint::Refresh;
const TOKEN: &str = "[TOKEN]\n";
const STILL_ALIVE: &str = "codex-auth: could not renew the login: [..]; the token still lives\n";

/// Starts so many callers.
fn start(sandbox: &Sandbox, callers: usize, arguments: &[&str]) -> Vec<Running> {
    (0..callers).map(|_| sandbox.spawn(arguments)).collect()
}

/// Each caller gets the newest token, and nothing else.
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

/// Makes the pause after a failure as long as no test lasts: an hour.
fn prolong_pause(sandbox: &Sandbox) {
    edit(sandbox, |login| {
        let until = time_of(&login["pause"]["at"]) + Duration::from_secs(3600);
        login["pause"]["until"] = json!(humantime::format_rfc3339_micros(until).to_string());
    });
}

/// Lets the pause after a failure be over.
fn end_pause(sandbox: &Sandbox) {
    edit(sandbox, |login| {
        login["pause"]["until"] = login["pause"]["at"].clone();
    });
}

fn time_of(value: &Value) -> SystemTime {
    humantime::parse_rfc3339(value.as_str().unwrap()).unwrap()
}

/// How long the stored pause is.
fn pause(sandbox: &Sandbox) -> Duration {
    let pause = &sandbox.stored()["pause"];
    time_of(&pause["until"])
        .duration_since(time_of(&pause["at"]))
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
fn callers_that_come_while_a_renewal_is_under_way_get_its_token() {
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
fn callers_that_want_another_token_share_the_one_that_is_under_way() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let gate = sandbox.issuer.hold(REFRESH);
    let callers = start(&sandbox, 8, &["token", "--force-refresh"]);
    for caller in &callers {
        // Now it knows which token it does not want.
        await_child(caller.pid());
    }
    sandbox.issuer.await_requests(REFRESH, 1);
    gate.open();
    assert_all_get_the_newest(&sandbox, callers);
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn a_forced_renewal_gives_another_token_each_time() {
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
fn a_fast_refusal_costs_one_request_and_all_are_told() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.end_logins();
    for caller in start(&sandbox, 8, &["token"]) {
        caller.finish().assert(
            4,
            "",
            "codex-auth: the issuer refused to renew the login: [..] (refresh_token_invalidated, status 401): run \
             codex-auth login\n",
        );
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn a_fast_failure_costs_one_request_and_all_are_told() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox
        .issuer
        .plan_always(REFRESH, Trouble::retry_after(500, "30"));
    for caller in start(&sandbox, 8, &["token"]) {
        caller
            .finish()
            .assert(75, "", "codex-auth: could not renew the login: [..]\n");
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

// The worker outlives its caller.

#[test]
fn a_caller_that_is_ended_loses_nothing() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let mut caller = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    caller.kill();
    // SIGKILL, and what Windows has in its place.
    let code = if cfg!(windows) { 1 } else { -9 };
    caller.finish().assert(code, "", "");
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
fn a_caller_that_does_not_wait_for_its_children_is_told_all_the_same() {
    let sandbox = Sandbox::new();
    let ignoring = ["/bin/sh", "-c", "trap '' CHLD; exec \"$@\"", "sh"];
    let mut words = ignoring.map(std::ffi::OsString::from).to_vec();
    words.extend(support::sandbox::program());
    words.push("token".into());
    let run = || {
        sandbox.plant_expiring_in(-60, LIFE);
        sandbox.start(sandbox.command_of(&words)).finish()
    };
    run().assert(0, TOKEN, "");
    sandbox.issuer.plan(REFRESH, Trouble::status(500));
    run().assert(
        75,
        "",
        "codex-auth: could not renew the login: [..]500[..]\n",
    );
    sandbox
        .issuer
        .plan(REFRESH, Trouble::error(401, "refresh_token_expired"));
    run().assert(
        4,
        "",
        "codex-auth: the issuer refused to renew the login: [..]\n",
    );
}

#[test]
fn a_caller_waits_no_longer_than_its_timeout_and_the_renewal_goes_on() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    // `run` waits for the end of both pipes too: the worker holds neither.
    sandbox.run(&["token", "--timeout", "1s"]).assert(
        75,
        "",
        "codex-auth: could not renew the login within 1 s: the renewal goes on, try again later\n",
    );
    sandbox.issuer.await_requests(REFRESH, 1);
    gate.open();
    assert_all_get_the_newest(&sandbox, start(&sandbox, 1, &["token"]));
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn a_lock_that_is_held_for_ever_ends_in_a_temporary_failure() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let lock = File::create(sandbox.home().join("default.lock")).unwrap();
    lock.lock().unwrap();
    sandbox.run(&["token", "--timeout", "1s"]).assert(
        75,
        "",
        "codex-auth: could not renew the login within 1 s: [..]\n",
    );
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
    let worker = await_child(caller.pid());
    signal_to(worker, false, rustix::process::Signal::KILL);
    caller.finish().assert(
        75,
        "",
        "codex-auth: could not renew the login: its worker was ended\n",
    );
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

/// The worker of a caller, once it is there: nobody tells when it starts.
#[cfg(target_os = "linux")]
fn await_child(parent: u32) -> u32 {
    support::process::until("a worker of the caller", || {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        children.ok()?.split_whitespace().next()?.parse().ok()
    })
}

/// The first wait for a lock ends as if a signal had interrupted it.
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
fn a_wait_for_the_lock_that_is_interrupted_goes_on() {
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

// Ahead of time.

#[test]
fn a_token_that_is_due_is_printed_at_once_and_renewed_in_the_background() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in(3600, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    // While the renewal is held, callers get the old token, and none starts another.
    for _ in 0..3 {
        let output = sandbox.run(&["token"]);
        output.assert(0, TOKEN, "");
        assert_eq!(output.line(), planted["tokens"]["access_token"]);
        sandbox.issuer.await_requests(REFRESH, 1);
    }
    gate.open();
    // Waits for the lock, so that it comes after the one in the background.
    let output = sandbox.run(&["token", "--min-ttl", "2h"]);
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), sandbox.issuer.access_tokens().pop().unwrap());
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
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
fn what_was_renewed_just_now_is_good_however_short_it_lives() {
    for life in [60, 660, 3600, LIFE, 31 * 86400] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(-1, life);
        let renewed = sandbox.run(&["token"]);
        renewed.assert(0, TOKEN, "");
        let again = sandbox.run(&["token"]);
        again.assert(0, TOKEN, "");
        assert_eq!(again.line(), renewed.line(), "a token of {life} s");
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
            "codex-auth: could not get a token for 7200 s: the newest one lives 1[..] s; ask for less with --min-ttl\n",
        );
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox.plant_expiring_in(-60, 3600);
    sandbox.run(&["token", "--min-ttl", "2h"]).assert(
        1,
        "",
        "codex-auth: could not get a token for 7200 s: the newest one lives 3[..] s; ask for less with --min-ttl\n",
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

// A failure is remembered.

#[test]
fn a_refusal_is_final_until_the_next_login() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.end_logins();
    for _ in 0..3 {
        sandbox.run(&["token"]).assert(
            4,
            "",
            "codex-auth: the issuer refused to renew the login: [..]\n",
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
fn a_refused_login_serves_its_token_while_it_lives() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    sandbox.issuer.end_logins();
    for _ in 0..2 {
        sandbox.run(&["token"]).assert(
            0,
            TOKEN,
            "codex-auth: the issuer refused to renew the login: [..]: run codex-auth login; the token still lives\n",
        );
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn every_final_refusal_is_known() {
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
        "access_denied",
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
            let words = format!(
                "codex-auth: the issuer refused to renew the login: Words. ({code}, status {status}): run codex-auth login\n"
            );
            sandbox.run(&["token"]).assert(4, "", &words);
        }
    }
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
            .assert(75, "", "codex-auth: could not renew the login: [..]\n");
        end_pause(&sandbox);
        sandbox.run(&["token"]).assert(0, TOKEN, "");
        assert_eq!(sandbox.issuer.count(REFRESH), 2);
        assert_eq!(sandbox.stored()["pause"], Value::Null);
    }
}

#[test]
fn pauses_grow_to_a_minute() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.plan_always(REFRESH, Trouble::status(500));
    for (attempt, seconds) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
        sandbox
            .run(&["token"])
            .assert(75, "", "codex-auth: could not renew the login: [..]\n");
        let least = Duration::from_secs(seconds);
        assert!(
            (least..=least * 5 / 4).contains(&pause(&sandbox)),
            "{:?} after {attempt}",
            pause(&sandbox)
        );
        prolong_pause(&sandbox);
        sandbox
            .run(&["token"])
            .assert(75, "", "codex-auth: could not renew the login: [..]\n");
        assert_eq!(sandbox.issuer.count(REFRESH), attempt + 1);
        end_pause(&sandbox);
    }
}

#[test]
fn a_pause_that_the_issuer_asks_for_is_kept() {
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
            .assert(75, "", "codex-auth: could not renew the login: [..]\n");
        let seconds = pause(&sandbox).as_secs_f64().round();
        assert!(
            (f64::from(least)..=f64::from(most)).contains(&seconds),
            "{value}: {seconds}"
        );
        end_pause(&sandbox);
    }
}

#[test]
fn a_clock_that_was_set_back_ends_a_pause() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.plan(REFRESH, Trouble::status(500));
    sandbox
        .run(&["token"])
        .assert(75, "", "codex-auth: could not renew the login: [..]\n");
    edit(&sandbox, |login| {
        login["pause"]["at"] = json!("2100-01-01T00:00:00Z");
        login["pause"]["until"] = json!("2100-01-01T00:00:30Z");
    });
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

#[test]
fn a_login_ends_a_pause() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox
        .issuer
        .plan(REFRESH, Trouble::retry_after(503, "600"));
    sandbox
        .run(&["token"])
        .assert(75, "", "codex-auth: could not renew the login: [..]\n");
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
            .assert(75, "", "codex-auth: could not renew the login: [..]\n");
        end_pause(&sandbox);
        // The issuer has spent it, so now the login has ended.
        let words = "codex-auth: the issuer refused to renew the login: [..] (refresh_token_reused, status 401): [..]\n";
        sandbox.run(&["token"]).assert(4, "", words);
        sandbox.run(&["token"]).assert(4, "", words);
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
    // Somebody who takes no locks has renewed it meanwhile.
    let renewed = sandbox.plant();
    gate.open();
    let output = caller.finish();
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), renewed["tokens"]["access_token"]);
}

// Still alive, still served.

#[test]
fn a_token_that_lives_is_served_when_the_issuer_is_in_trouble() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    let trouble = Trouble::retry_after(503, "30");
    sandbox.issuer.plan_always(REFRESH, trouble);
    sandbox.run(&["token"]).assert(0, TOKEN, STILL_ALIVE);
    prolong_pause(&sandbox);
    sandbox.run(&["token"]).assert(0, TOKEN, STILL_ALIVE);
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    for strict in [
        &["token", "--min-ttl", "5m"][..],
        &["token", "--force-refresh"],
    ] {
        sandbox
            .run(strict)
            .assert(75, "", "codex-auth: could not renew the login: [..]\n");
    }
    sandbox
        .run(&["token", "--min-ttl", "1m"])
        .assert(0, TOKEN, "");
}

#[test]
fn a_token_that_lives_is_served_after_a_short_wait() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    sandbox.run(&["token"]).assert(
        0,
        TOKEN,
        "codex-auth: could not renew the login within 3 s: the renewal goes on, try again later; the token still lives\n",
    );
    gate.open();
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_keeps_nothing_open_that_its_caller_had_open() {
    for (left, life) in [(3600, LIFE), (200, LIFE)] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(left, life);
        let gate = sandbox.issuer.hold(REFRESH);
        let lock = sandbox.folder().join("lock");
        let mut words: Vec<std::ffi::OsString> = vec!["/bin/sh".into(), "-c".into()];
        words.extend([
            "exec 9>\"$0\"; /usr/bin/flock 9; \"$@\"".into(),
            lock.clone().into(),
        ]);
        words.extend(support::sandbox::program());
        words.push("token".into());
        let output = sandbox.start(sandbox.command_of(&words)).finish();
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
        let renewed = sandbox.run(&["token"]);
        renewed.assert(0, TOKEN, "");
        assert_eq!(sandbox.run(&["token"]).line(), renewed.line());
        assert_eq!(sandbox.issuer.count(REFRESH), 1);
        let left = sandbox.stored()["expires_at"].as_u64().unwrap() - now();
        assert!((LIFE - 60..=LIFE).contains(&left), "{left}");
    }
}

#[test]
fn a_clock_that_was_set_back_costs_one_early_renewal() {
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

// What an answer holds.

#[test]
fn what_is_missing_in_an_answer_stays_as_it_was() {
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
fn a_renewal_that_keeps_the_access_token_is_not_repeated_at_every_call() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| its.omit.push("access_token"));
    sandbox.plant_expiring_in(200, LIFE);
    for _ in 0..3 {
        sandbox.run(&["token"]).assert(0, TOKEN, "");
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
}

#[test]
fn a_renewal_without_a_token_that_lives_is_a_failure_that_pauses() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.set(|its| its.omit.push("access_token"));
    let failed = || {
        let output = sandbox.run(&["token"]);
        output.assert(75, "", "codex-auth: could not [..]\n");
    };
    failed();
    edit(&sandbox, |login| {
        login["pause"]["until"] = json!("2100-01-01T00:00:00Z");
    });
    failed();
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    assert_eq!(sandbox.stored()["pause"]["attempts"], 1);
    assert!(sandbox.can_refresh());
}

#[test]
fn an_opaque_access_token_lives_as_the_answer_says() {
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
fn unknown_members_survive_a_renewal() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    edit(&sandbox, |login| {
        login["theirs"] = json!({"kept": [1, null]});
        login["tokens"]["oauth_provenance"] = json!("kept");
    });
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert_eq!(sandbox.stored()["theirs"], json!({"kept": [1, null]}));
    assert_eq!(sandbox.stored()["tokens"]["oauth_provenance"], "kept");
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
        "codex-auth: the issuer refused to renew the login: the issuer answered with the tokens of another account: run \
         codex-auth login\n",
    );
    assert_eq!(sandbox.stored()["tokens"], planted["tokens"]);
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
            "codex-auth: the stored login cannot be renewed, [..]: run codex-auth login\n",
        );
        assert_eq!(sandbox.issuer.requests().len(), 0);
    }
}

#[test]
fn an_issuer_in_the_file_that_is_no_safe_address_gets_nothing() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    edit(&sandbox, |login| {
        login["issuer"] = json!("http://issuer.example");
    });
    sandbox.run(&["token"]).assert(
        1,
        "",
        "codex-auth: could not trust the issuer of the stored login: [..]\n",
    );
}
