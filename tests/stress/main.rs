//! The stress run: refreshes logins while processes are killed, crowds call, the issuer fails and the disk fills up, and
//! in places that may end at any time (`places`). It prints the figures in the README.
//!
//! `cargo test --release --test stress -- --ignored --nocapture` takes a few minutes. The moments are random:
//! `CODEX_AUTH_TEST_SEED` repeats those of an earlier run, and `CODEX_AUTH_TEST_ROUNDS=5` runs 5 percent of the rounds.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make the files and variables that they need"
)]
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step of a test ends the test"
)]
#![allow(clippy::print_stdout, reason = "it prints figures")]

mod containers;
mod hostile;
mod machines;
mod places;
mod sandboxes;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal};

use support::browser;
use support::fake_issuer::{Endpoint, Trouble};
use support::locks;
use support::process::{self, Running, until};
use support::sandbox::{LIFE, Sandbox};

const REFRESH: Endpoint = Endpoint::Refresh;
const FORCED: [&str; 2] = ["token", "--force-refresh"];
/// How long the issuer takes: realistic for one nearby, and long compared to the program's own time.
const DELAY: Duration = Duration::from_millis(40);

/// A line of the table.
struct Figure {
    what: String,
    outcome: String,
    holds: bool,
}

fn figure(what: impl Into<String>, outcome: String, holds: bool) -> Figure {
    let what = what.into();
    println!("{what}: {outcome}");
    Figure {
        what,
        outcome,
        holds,
    }
}

#[test]
#[ignore = "takes minutes; run for its figures"]
fn no_refresh_loses_a_login() {
    let seed = std::env::var("CODEX_AUTH_TEST_SEED").map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(|_| rand::random());
    println!("CODEX_AUTH_TEST_SEED={seed}");
    let mut figures = vec![
        kill_callers(seed, 1000, "caller", &[]),
        kill_callers(seed, 1000, GROUP, &[]),
    ];
    for (state, wrapper) in places::STATES {
        figures.push(kill_callers(
            seed,
            500,
            &format!("caller, with {state},"),
            wrapper,
        ));
    }
    figures.extend(places::end_namespaces(seed));
    figures.extend([
        places::end_sandboxes(seed),
        places::use_two_names(seed),
        places::cut_off(seed),
        places::stop_callers(seed),
    ]);
    for arguments in [&["token"][..], &FORCED] {
        figures.extend([64, 256].map(|callers| crowd(callers, arguments)));
    }
    figures.extend([
        mix(seed, 20),
        storm(seed, 1000),
        fill_disks(seed, 300),
        kill_workers(seed, 500, Aim::AnyMoment),
        kill_workers(seed, 500, Aim::AfterTheAnswer),
    ]);
    println!("\n| test | result |\n| --- | --- |");
    for figure in &figures {
        println!("| {} | {} |", figure.what, figure.outcome);
    }
    let broken = figures.iter().filter(|figure| !figure.holds);
    let broken: Vec<&str> = broken.map(|figure| figure.what.as_str()).collect();
    assert!(broken.is_empty(), "broken promises: {broken:?}");
}

/// The number of rounds to run, given the usual number.
fn rounds(usual: usize) -> usize {
    let percent = std::env::var("CODEX_AUTH_TEST_ROUNDS").map(|percent| percent.parse().unwrap());
    (usual * percent.unwrap_or(100) / 100).max(1)
}

/// The number of threads that keeps the processors busy.
fn lanes() -> u64 {
    2 * thread::available_parallelism().map_or(1, usize::from) as u64
}

/// Runs `work` on this many threads, each with its own random moments.
fn in_lanes(lanes: u64, seed: u64, work: impl Fn(&mut StdRng) + Sync) {
    thread::scope(|scope| {
        for lane in 0..lanes {
            let work = &work;
            scope.spawn(move || work(&mut StdRng::seed_from_u64(seed ^ lane)));
        }
    });
}

/// A sandbox whose issuer is slow, and revokes a login as soon as a refresh token is reused.
fn strict_sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| its.reuse_revokes_family = true);
    sandbox.issuer.plan_always(REFRESH, Trouble::Delay(DELAY));
    sandbox
}

/// Locks the login as soon as no worker holds the lock. While it is held, the disk does not change.
fn await_worker(sandbox: &Sandbox) -> File {
    let mut options = File::options();
    let lock = options.create(true).append(true);
    let lock = lock.open(sandbox.lock_file()).unwrap();
    lock.lock().unwrap();
    lock
}

/// A caller in its own process group, whose output is not read, started by another program if `wrapper` has one.
fn spawn_behind(sandbox: &Sandbox, wrapper: &[&str]) -> Child {
    let mut command = match wrapper {
        [] => sandbox.command(&FORCED),
        _ => places::behind(sandbox, wrapper, &FORCED),
    };
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn().unwrap()
}

fn spawn(sandbox: &Sandbox) -> Child {
    spawn_behind(sandbox, &[])
}

fn up_to(random: &mut StdRng, longest: Duration) -> Duration {
    longest.mul_f64(random.random_range(0.0..1.0))
}

// Killed callers.

/// What to kill if not the caller alone.
const GROUP: &str = "whole process group";

/// Kills callers, or their groups, until the given number of refreshes was made.
fn kill_callers(seed: u64, usual: usize, who: &str, wrapper: &[&str]) -> Figure {
    let refreshes = rounds(usual);
    let [made, killed, lost, wrong] = [const { AtomicUsize::new(0) }; 4];
    in_lanes(lanes(), seed, |random| {
        let sandbox = strict_sandbox();
        sandbox.plant();
        while made.load(Relaxed) < refreshes {
            let before = sandbox.issuer.count(REFRESH);
            let code = kill_caller(&sandbox, random, wrapper, who == GROUP);
            killed.fetch_add(usize::from(code == KILLED), Relaxed);
            wrong.fetch_add(usize::from(code != KILLED && code != 0), Relaxed);
            let lock = await_worker(&sandbox);
            let is_lost = !sandbox.can_refresh();
            drop(lock);
            if is_lost {
                lost.fetch_add(1, Relaxed);
                sandbox.plant();
            }
            made.fetch_add(sandbox.issuer.count(REFRESH) - before, Relaxed);
        }
        let goes_on = sandbox.run(&FORCED).code == 0 && sandbox.issuer.reuses() == 0;
        lost.fetch_add(usize::from(!goes_on), Relaxed);
    });
    let [made, killed, lost, wrong] = [made, killed, lost, wrong].map(AtomicUsize::into_inner);
    figure(
        format!("{made} refreshes, the {who} killed at a random moment ({killed} kills hit)"),
        format!("{lost} logins lost"),
        lost + wrong == 0,
    )
}

const KILLED: i32 = -Signal::KILL.as_raw();

/// Starts a caller, kills it at some moment of its life or just after, and returns its exit code.
fn kill_caller(sandbox: &Sandbox, random: &mut StdRng, wrapper: &[&str], whole_group: bool) -> i32 {
    let mut caller = spawn_behind(sandbox, wrapper);
    thread::sleep(up_to(random, DELAY * 3 / 2));
    let pid = Pid::from_child(&caller);
    // After it exits, its process ID is not reused until we wait for it.
    if whole_group {
        rustix::process::kill_process_group(pid, Signal::KILL).unwrap();
    } else {
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
    process::code(caller.wait().unwrap())
}

// Crowds.

/// Makes this many callers find the same token before any of them may refresh it.
fn crowd(callers: usize, arguments: &[&str]) -> Figure {
    let sandbox = strict_sandbox();
    sandbox.plant_expiring_in(-60, LIFE);
    let lock = await_worker(&sandbox);
    let arguments = [arguments, &["--timeout", "10m"]].concat();
    let crowd: Vec<Running> = (0..callers).map(|_| sandbox.spawn(&arguments)).collect();
    // We hold the lock, and a worker of each caller waits for it.
    sandbox.await_lock_users(callers + 1);
    drop(lock);
    let outputs: Vec<_> = crowd.into_iter().map(Running::finish).collect();
    let newest = sandbox.issuer.access_tokens().pop().unwrap() + "\n";
    let good = outputs
        .iter()
        .filter(|output| output.code == 0 && output.stdout == newest && output.stderr.is_empty())
        .count();
    let requests = sandbox.issuer.count(REFRESH);
    figure(
        format!(
            "{callers} callers at once: `{}`",
            arguments[..arguments.len() - 2].join(" ")
        ),
        format!("{requests} request, {good} good tokens"),
        requests == 1 && good == callers,
    )
}

// Everything at once.

/// The calls of all kinds: some wait, some do not, some need a longer lifetime or a replaced token.
const CALLS: [&[&str]; 7] = [
    &["token"],
    &["token", "--timeout", "0s"],
    &["token", "--min-ttl", "10m"],
    &["token", "--min-ttl", "1d"],
    &FORCED,
    &["token", "--force-refresh", "--timeout", "0s"],
    &["--profile", "other", "token", "--force-refresh"],
];

/// 64 callers of all kinds on two logins, while someone signs in again and workers are stopped for a while.
fn mix(seed: u64, usual: usize) -> Figure {
    let rounds = rounds(usual);
    let random = &mut StdRng::seed_from_u64(seed);
    let sandbox = strict_sandbox();
    let mut wrong = 0;
    for _ in 0..rounds {
        sandbox.plant_as("default", 200, 900);
        sandbox.plant_as("other", 200, 900);
        let mut login = sandbox.spawn(&["login", "--no-browser"]);
        let address = login.address();
        let mut callers = mixed_callers(&sandbox, random, 32);
        stop_for_a_moment(&sandbox, random);
        browser::visit(&address);
        callers.extend(mixed_callers(&sandbox, random, 32));
        stop_for_a_moment(&sandbox, random);
        wrong += usize::from(login.finish().code != 0);
        for caller in callers {
            wrong += usize::from(is_wrong(&sandbox, caller));
        }
        for again in [CALLS[4], CALLS[6]] {
            wrong += usize::from(sandbox.run(again).code != 0);
        }
    }
    wrong += sandbox.issuer.reuses();
    figure(
        format!("{rounds} times: 64 mixed callers, two logins, a new sign-in, stopped workers"),
        format!("{wrong} wrong answers or lost logins"),
        wrong == 0,
    )
}

fn mixed_callers(sandbox: &Sandbox, random: &mut StdRng, count: usize) -> Vec<Running> {
    (0..count)
        .map(|_| sandbox.spawn(CALLS.choose(random).unwrap()))
        .collect()
}

/// Stops the workers that hold a lock or wait for one, and continues them later.
fn stop_for_a_moment(sandbox: &Sandbox, random: &mut StdRng) {
    thread::sleep(up_to(random, DELAY));
    let locks = ["default.lock", "other.lock"].map(|name| sandbox.home().join(name));
    let workers: Vec<OwnedFd> = locks.iter().flat_map(|lock| locks::handles(lock)).collect();
    for signal in [Signal::STOP, Signal::CONT] {
        for worker in &workers {
            // It may have exited.
            rustix::process::pidfd_send_signal(worker, signal).ok();
        }
        thread::sleep(up_to(random, DELAY * 2));
    }
}

/// Whether a caller printed something that is not a token of this issuer, or failed when it should not have.
fn is_wrong(sandbox: &Sandbox, caller: Running) -> bool {
    let output = caller.finish();
    let is_wrong = match output.code {
        0 => !sandbox
            .issuer
            .access_tokens()
            .contains(&output.line().to_owned()),
        1 => !output.stderr.contains("use a smaller --min-ttl"),
        75 => !["within 0 seconds", "is using it: try again later"]
            .iter()
            .any(|message| output.stderr.contains(message)),
        _ => true,
    };
    if is_wrong {
        println!("{}: {}", output.code, output.stderr);
    }
    is_wrong
}

// An issuer that fails.

/// Many calls, spread over several backoffs, while the issuer answers every request with 500.
fn storm(seed: u64, usual: usize) -> Figure {
    let calls = rounds(usual);
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.plan_always(REFRESH, Trouble::status(500));
    let (called, told) = (AtomicUsize::new(0), AtomicUsize::new(0));
    in_lanes(lanes(), seed, |random| {
        while called.fetch_add(1, Relaxed) < calls {
            let output = sandbox.run(&["token"]);
            let is_told = output.code == 75 && output.stdout.is_empty();
            told.fetch_add(usize::from(is_told), Relaxed);
            // The storm must last for several backoffs.
            thread::sleep(up_to(random, Duration::from_millis(150)));
        }
    });
    let arrivals: Vec<Instant> = sandbox
        .issuer
        .requests_to(REFRESH)
        .iter()
        .map(|r| r.at)
        .collect();
    let gaps: Vec<f64> = arrivals
        .windows(2)
        .map(|two| (two[1] - two[0]).as_secs_f64())
        .collect();
    let backoffs = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
        .into_iter()
        .chain(std::iter::repeat(60.0));
    let are_kept = gaps
        .iter()
        .zip(backoffs)
        .all(|(gap, backoff)| *gap >= backoff);
    let told = told.into_inner();
    let gaps: Vec<String> = gaps.iter().map(|gap| format!("{gap:.1}")).collect();
    figure(
        format!("{calls} calls while the issuer answers 500"),
        format!(
            "{} requests, {} s apart; {told} calls told to try again later",
            arrivals.len(),
            gaps.join(", ")
        ),
        are_kept && told == calls && sandbox.can_refresh(),
    )
}

// A disk that fills up.

/// A small disk mounted on a folder. Dropping it unmounts it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=128k,mode=700", "tmpfs"]);
        assert!(
            mount.arg(&folder).status().unwrap().success(),
            "could not mount"
        );
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().ok();
    }
}

/// Fills the disk at a random moment of each refresh.
fn fill_disks(seed: u64, usual: usize) -> Figure {
    let refreshes = rounds(usual);
    let what = format!("{refreshes} refreshes, the disk filled up at a random moment");
    if !rustix::process::geteuid().is_root() {
        return figure(what, "skipped: it needs root".to_owned(), true);
    }
    let (begun, refused, lost) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    in_lanes(lanes(), seed, |random| {
        let sandbox = strict_sandbox();
        let _disk = SmallDisk::mount(sandbox.home());
        sandbox.plant();
        while begun.fetch_add(1, Relaxed) < refreshes {
            let caller = sandbox.spawn(&FORCED);
            thread::sleep(up_to(random, DELAY * 3 / 2));
            let ballast = sandbox.home().join("ballast");
            fill(&ballast);
            let code = caller.finish().code;
            let is_lost = !matches!(code, 0 | 1) || !sandbox.can_refresh();
            fs::remove_file(ballast).unwrap();
            refused.fetch_add(usize::from(code == 1), Relaxed);
            lost.fetch_add(usize::from(is_lost), Relaxed);
        }
        lost.fetch_add(usize::from(sandbox.run(&FORCED).code != 0), Relaxed);
    });
    let (refused, lost) = (refused.into_inner(), lost.into_inner());
    figure(
        what,
        format!("{lost} logins lost ({refused} refreshes not started: no space left)"),
        lost == 0,
    )
}

/// Writes until the disk is full.
fn fill(path: &Path) {
    let mut ballast = File::create(path).unwrap();
    std::io::copy(&mut std::io::repeat(1), &mut ballast).unwrap_err();
}

// Stopped workers.

/// A worker that was stopped, and whose caller has exited, finds its response when it continues, however late.
#[test]
#[ignore = "takes longer than a request may"]
fn a_worker_that_is_stopped_longer_than_its_limit_loses_nothing() {
    let sandbox = strict_sandbox();
    sandbox.plant();
    let mut caller = spawn(&sandbox);
    let worker = await_worker_of(&sandbox, &mut caller).unwrap();
    sandbox.issuer.await_requests(REFRESH, 1);
    rustix::process::pidfd_send_signal(&worker, Signal::STOP).unwrap();
    caller.kill().unwrap();
    caller.wait().unwrap();
    thread::sleep(Duration::from_secs(65));
    rustix::process::pidfd_send_signal(&worker, Signal::CONT).unwrap();
    drop(await_worker(&sandbox));
    assert!(sandbox.can_refresh());
    assert_eq!(sandbox.run(&FORCED).code, 0);
}

// Killed workers: the one remaining window.

#[derive(Clone, Copy, PartialEq)]
enum Aim {
    /// Any time after it got the lock.
    AnyMoment,
    /// The first milliseconds after the response was sent.
    AfterTheAnswer,
}

/// The latest kill after the response, with that aim.
const AFTERWARDS: Duration = Duration::from_millis(10);

/// A worker that was killed.
struct Killed {
    /// How long before the kill the response was sent, if it was.
    after_answer: Option<Duration>,
    /// The refresh token that it had, and the one stored after another try.
    had: String,
    left: String,
}

/// The outcome, once the last late request has reached the issuer.
struct Aftermath {
    after_answer: Option<Duration>,
    lost: bool,
    /// Whether the killed worker had sent its refresh token, so that the second try reused it.
    was_sent: bool,
}

fn kill_workers(seed: u64, usual: usize, aim: Aim) -> Figure {
    let kills = rounds(usual);
    let (hits, killed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    in_lanes(lanes(), seed, |random| {
        let sandbox = strict_sandbox();
        let mut ours = Vec::new();
        while hits.load(Relaxed) < kills {
            let hit = kill_worker(&sandbox, random, aim);
            hits.fetch_add(usize::from(hit.is_some()), Relaxed);
            ours.extend(hit);
        }
        let aftermath = ours.iter().map(|one| aftermath(&sandbox, one));
        killed.lock().unwrap().extend(aftermath);
    });
    let killed = killed.into_inner().unwrap();
    let lost: Vec<&Aftermath> = killed.iter().filter(|one| one.lost).collect();
    let after: Vec<Duration> = lost.iter().filter_map(|one| one.after_answer).collect();
    let when = match aim {
        Aim::AnyMoment => "at a random moment".to_owned(),
        Aim::AfterTheAnswer => format!("or done within {AFTERWARDS:?} of the answer"),
    };
    figure(
        format!("{} workers killed {when}", killed.len()),
        format!(
            "{} logins lost: {}",
            lost.len(),
            losses(aim, &killed, lost.len(), &after)
        ),
        // A login may only have been revoked because its refresh token was reused.
        lost.iter().all(|one| one.was_sent),
    )
}

/// When logins were lost: before the response, or how long `after` it.
fn losses(aim: Aim, killed: &[Aftermath], lost: usize, after: &[Duration]) -> String {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let latest = milliseconds(after.iter().max().copied().unwrap_or_default());
    let after = after.len();
    if aim == Aim::AnyMoment {
        let before = lost - after;
        return format!(
            "{before} during the {DELAY:?} that the issuer took to answer, {after} up to {latest:.1} ms later"
        );
    }
    // As the moments are evenly distributed, this share of the time falls into the window.
    let counted = |count: usize| u32::try_from(count).map_or(f64::INFINITY, f64::from);
    let mean = milliseconds(AFTERWARDS) * counted(lost) / counted(killed.len());
    format!(
        "the answer was on disk {mean:.1} ms after it was sent on average, {latest:.1} ms at most"
    )
}

fn aftermath(sandbox: &Sandbox, killed: &Killed) -> Aftermath {
    let requests = sandbox.issuer.requests_to(REFRESH);
    let sent = requests
        .iter()
        .filter(|request| request.form()["refresh_token"] == killed.had);
    Aftermath {
        after_answer: killed.after_answer,
        lost: !sandbox.issuer.would_refresh(&killed.left),
        was_sent: sent.count() > 1,
    }
}

/// Kills the worker that refreshes a new login at some moment, and tries again; `None` if it had exited before.
fn kill_worker(sandbox: &Sandbox, random: &mut StdRng, aim: Aim) -> Option<Killed> {
    sandbox.plant();
    let had = refresh_token(sandbox);
    let before = sandbox.issuer.count(REFRESH);
    let mut caller = spawn(sandbox);
    let worker = await_worker_of(sandbox, &mut caller)?;
    if aim == Aim::AfterTheAnswer {
        sandbox.issuer.await_answers(REFRESH, before + 1);
        thread::sleep(up_to(random, AFTERWARDS));
    } else {
        thread::sleep(up_to(random, DELAY * 3 / 2));
    }
    let answers = sandbox.issuer.answers(REFRESH);
    let after_answer = answers.get(before).map(Instant::elapsed);
    rustix::process::pidfd_send_signal(&worker, Signal::KILL).ok();
    let is_hit = caller.wait().unwrap().code() == Some(75);
    drop(await_worker(sandbox));
    sandbox.run(&FORCED);
    // Workers that had finished count too, as the window is measured by its share of all moments.
    (is_hit || aim == Aim::AfterTheAnswer).then(|| Killed {
        after_answer,
        had,
        left: refresh_token(sandbox),
    })
}

fn refresh_token(sandbox: &Sandbox) -> String {
    let stored = sandbox.stored();
    stored["tokens"]["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Waits for the worker that holds the lock; `None` if the caller exits before one is seen.
fn await_worker_of(sandbox: &Sandbox, caller: &mut Child) -> Option<OwnedFd> {
    until("the caller's worker or exit", || {
        let worker = locks::handles(&sandbox.lock_file()).pop();
        let has_ended = worker.is_none() && caller.try_wait().unwrap().is_some();
        (has_ended || worker.is_some()).then_some(worker)
    })
}
