//! One machine that holds the login, and many that get their tokens from it over a real ssh (`login --from`).

use std::ffi::OsString;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt;
use serde_json::json;

use support::fake_issuer::now;
use support::process::{Output, Running};
use support::sandbox::{LIFE, Sandbox};
use support::sshd::Sshd;

use super::{Figure, REFRESH, SmallDisk, figure, fill, rounds, strict_sandbox};

const CROWD: usize = 200;
const FLEET: usize = 50;
/// How long a client waits for a connection, in seconds: all of them share one machine's processors.
const PATIENCE: u32 = 60;
/// The lifetime of tokens in seconds, short enough to fit days into minutes. Connections take as long as usual.
const SHORT_LIFE: u64 = 60;

#[test]
#[ignore = "takes minutes; run for its figures"]
fn many_machines_share_a_login() {
    let authority = strict_sandbox();
    authority.plant();
    let Some(sshd) = Sshd::start(&authority) else {
        return;
    };
    let figures = [
        connections(&authority, &sshd),
        crowd(&authority, &sshd),
        days(&authority, &sshd),
    ];
    assert!(figures.iter().all(|figure| figure.holds));
}

/// Another machine, signed in like the first one.
fn machine(authority: &Sandbox, signed_in: &str) -> Sandbox {
    let client = Sandbox::with(Arc::clone(&authority.issuer));
    client.store("default", signed_in);
    client
}

fn machines(count: usize, authority: &Sandbox, sshd: &Sshd, patience: u32) -> Vec<Sandbox> {
    let first = Sandbox::with(Arc::clone(&authority.issuer));
    let words = sshd.command(patience);
    let mut arguments = vec!["login", "--from", "--"];
    arguments.extend(words.iter().map(String::as_str));
    assert_eq!(first.run(&arguments).code, 0);
    let signed_in = fs::read_to_string(first.file("default")).unwrap();
    (0..count).map(|_| machine(authority, &signed_in)).collect()
}

/// The cost of one connection if the token is fresh: its duration, and CPU time at both ends.
fn connections(authority: &Sandbox, sshd: &Sshd) -> Figure {
    const COUNT: u32 = 20;
    let words: Vec<OsString> = sshd.command(PATIENCE).iter().map(Into::into).collect();
    let spent = || {
        [
            spent_by_children("self"),
            spent_by_children(&sshd.pid().to_string()),
        ]
    };
    let (before, begun) = (spent(), Instant::now());
    for _ in 0..COUNT {
        let output = authority.start(authority.command_of(&words)).finish();
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    let took = begun.elapsed() / COUNT;
    let [client, server] = [0, 1].map(|end| spent()[end].saturating_sub(before[end]) / COUNT);
    let outcome = format!(
        "{took:.0?} each; {client:.0?} of CPU time on the client, {server:.0?} on the machine that holds the login"
    );
    figure(
        format!("{COUNT} connections, one after the other"),
        outcome,
        true,
    )
}

/// The CPU time of a process's children that it has waited for (proc(5), `cutime` and `cstime`).
fn spent_by_children(pid: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields
        .skip(13)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    // One hundred ticks per second, on every Linux.
    Duration::from_millis(10 * ticks)
}

fn crowd(authority: &Sandbox, sshd: &Sshd) -> Figure {
    let machines = machines(CROWD, authority, sshd, PATIENCE);
    let before = authority.issuer.count(REFRESH);
    for machine in machines.iter().chain([authority]) {
        machine.age(-60);
    }
    let begun = Instant::now();
    let ask = ["token", "--timeout", "10m"];
    let callers: Vec<Running> = machines.iter().map(|machine| machine.spawn(&ask)).collect();
    let outputs: Vec<Output> = callers.into_iter().map(Running::finish).collect();
    let took = begun.elapsed().as_secs_f32();
    let newest = authority.issuer.access_tokens().pop().unwrap();
    let good = outputs
        .iter()
        .filter(|output| is_exactly(output, &newest))
        .count();
    let requests = authority.issuer.count(REFRESH) - before;
    let outcome = format!("{requests} request to the issuer, {good} good tokens, in {took:.1} s");
    let what = format!("{CROWD} machines at once over ssh, the token expired");
    figure(what, outcome, good == CROWD && requests == 1)
}

fn is_exactly(output: &Output, token: &str) -> bool {
    let is_it = output.code == 0 && output.stderr.is_empty() && output.stdout.trim_end() == token;
    show_unless(is_it, output);
    is_it
}

fn show_unless(is_good: bool, output: &Output) {
    if !is_good {
        println!("{} {}", output.code, output.stderr.trim_end());
    }
}

/// Every machine calls again and again, as its programs would, while tokens expire and are replaced.
fn days(authority: &Sandbox, sshd: &Sshd) -> Figure {
    authority.issuer.set(|its| its.access_life = SHORT_LIFE);
    authority.run(&super::FORCED).assert(0, "[TOKEN]\n", "");
    let machines = machines(FLEET, authority, sshd, PATIENCE);
    let (requests, tokens) = (
        authority.issuer.count(REFRESH),
        authority.issuer.access_tokens().len(),
    );
    let duration = Duration::from_secs(SHORT_LIFE * rounds(10) as u64);
    let begun = Instant::now();
    let [calls, bad] = [const { AtomicUsize::new(0) }; 2];
    thread::scope(|scope| {
        for machine in &machines {
            scope.spawn(|| {
                while begun.elapsed() < duration {
                    let output = machine.run(&["token"]);
                    calls.fetch_add(1, Relaxed);
                    bad.fetch_add(usize::from(!is_valid(machine, &output)), Relaxed);
                    thread::sleep(
                        rand::rng()
                            .random_range(Duration::from_millis(500)..Duration::from_millis(1500)),
                    );
                }
            });
        }
    });
    let requests = authority.issuer.count(REFRESH) - requests;
    let tokens = authority.issuer.access_tokens().len() - tokens;
    let (calls, bad) = (calls.into_inner(), bad.into_inner());
    let seconds = duration.as_secs();
    let outcome = format!(
        "{requests} requests to the issuer for {tokens} tokens, {} reuses; {calls} calls, {bad} without a valid token",
        authority.issuer.reuses()
    );
    let what = format!("{FLEET} machines over ssh for {seconds} s, tokens of {SHORT_LIFE} s");
    let holds =
        bad == 0 && requests == tokens && authority.can_refresh() && authority.issuer.reuses() == 0;
    // A token is replaced in the second half of its lifetime.
    figure(
        what,
        outcome,
        holds && requests as u64 <= 2 * seconds / SHORT_LIFE + 1,
    )
}

/// Whether the output is a token that has not expired.
fn is_valid(machine: &Sandbox, output: &Output) -> bool {
    let is_valid = output.code == 0 && machine.stored()["expires_at"].as_u64() > Some(now());
    show_unless(is_valid, output);
    is_valid
}

/// What a machine reports and does while the machine that holds the login has a problem.
#[test]
#[ignore = "stops processes and fills a disk"]
fn a_problem_at_the_other_end_is_reported() {
    if !rustix::process::geteuid().is_root() {
        return support::sandbox::skip("needs root");
    }
    let authority = strict_sandbox();
    let _disk = SmallDisk::mount(authority.home());
    authority.plant_expiring_in(3600, LIFE);
    let Some(sshd) = Sshd::start(&authority) else {
        return;
    };
    let machines = machines(4, &authority, &sshd, 5);
    for machine in machines.iter().chain([&authority]) {
        machine.age(-60);
    }
    let tell = |what: &str, machine: &Sandbox| {
        let output = machine.run(&["token", "--timeout", "1m"]);
        println!("{what}: {} {}", output.code, output.stderr.trim_end());
        output.code
    };
    let ballast = authority.home().join("ballast");
    fill(&ballast);
    assert_eq!(tell("its disk is full", &machines[0]), 75);
    fs::remove_file(ballast).unwrap();
    let pid = rustix::process::Pid::from_raw(sshd.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    assert_eq!(tell("its sshd is stopped", &machines[1]), 75);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    authority.issuer.revoke_logins();
    assert_eq!(tell("it is signed out", &machines[2]), 4);
    drop(sshd);
    assert_eq!(tell("its sshd has ended", &machines[3]), 75);
    // Nothing is lost: after a new login there, all machines get tokens again.
    authority.plant();
    let sshd = Sshd::start(&authority).unwrap();
    for machine in &machines {
        let mut stored = machine.stored();
        stored["backoff"]["until"] = stored["backoff"]["at"].clone();
        stored["source"] = json!({"command": sshd.command(5)});
        machine.store("default", &stored.to_string());
        assert_eq!(tell("it is signed in again", machine), 0);
    }
}
