//! Where people really run the program: in containers and sandboxes that end with their script, under two names, from
//! callers with unusual signal states.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use support::fake_issuer::Trouble;
use support::process::{Output, Running};
use support::sandbox::{LIFE, Sandbox, find_program, program};

use super::{
    DELAY, FORCED, Figure, REFRESH, await_worker, figure, in_lanes, lanes, rounds, strict_sandbox,
    up_to,
};

/// Many threads, as they mostly wait.
const WAITING_LANES: u64 = 24;
/// The longest that the issuer takes, and that the caller's surroundings outlive `token`.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(2);

/// The lifetime left of the stored token, in seconds: due for replacement, about to expire, and expired.
const LEFT: [i64; 3] = [3600, 200, -60];

/// Counts the logins lost in this many rounds, each with a strict issuer. `round` returns whether everything else was
/// right.
pub fn count_lost(
    seed: u64,
    lanes: u64,
    usual: usize,
    what: &str,
    round: impl Fn(&Sandbox, &mut StdRng) -> bool + Sync,
) -> Figure {
    let rounds = rounds(usual);
    let [begun, lost, wrong] = [const { AtomicUsize::new(0) }; 3];
    in_lanes(lanes, seed, |random| {
        let sandbox = strict_sandbox();
        while begun.fetch_add(1, Relaxed) < rounds {
            let is_well = round(&sandbox, random);
            let (goes_on, is_lost) = aftermath(&sandbox);
            wrong.fetch_add(usize::from(!is_well || !goes_on), Relaxed);
            lost.fetch_add(usize::from(is_lost), Relaxed);
        }
    });
    let (lost, wrong) = (lost.into_inner(), wrong.into_inner());
    let outcome = match wrong {
        0 => format!("{lost} logins lost"),
        _ => format!("{lost} logins lost, wrong answers in {wrong}"),
    };
    figure(
        format!("{rounds} times: {what}"),
        outcome,
        lost + wrong == 0,
    )
}

/// Whether the next caller can continue with what is left, and whether the login is lost.
fn aftermath(sandbox: &Sandbox) -> (bool, bool) {
    sandbox.issuer.end_plans(REFRESH);
    drop(await_worker(sandbox));
    let goes_on = is_good(sandbox, &sandbox.run(&FORCED));
    (goes_on, !sandbox.can_refresh())
}

/// Whether a caller got a token of the issuer.
pub fn is_good(sandbox: &Sandbox, output: &Output) -> bool {
    let tokens = sandbox.issuer.access_tokens();
    let is_one = |line: &str| tokens.iter().any(|token| token == line);
    let is_good = output.code == 0 && output.stdout.strip_suffix('\n').is_some_and(is_one);
    if !is_good {
        println!("{}: {}{}", output.code, output.stdout, output.stderr);
    }
    is_good
}

/// A skipped round, which also gets a line.
fn skipped(what: &str, why: &str) -> Figure {
    figure(what, format!("skipped: {why}"), true)
}

/// The program with these arguments, started by another program of this machine.
pub fn behind(sandbox: &Sandbox, wrapper: &[&str], arguments: &[&str]) -> Command {
    let mut command_line: Vec<OsString> = wrapper.iter().map(OsString::from).collect();
    command_line[0] = find_program(wrapper[0]).unwrap().into();
    command_line.extend(program());
    command_line.extend(arguments.iter().map(OsString::from));
    sandbox.command_of(&command_line)
}

/// Whether another program works here.
fn works(command_line: &[&str]) -> bool {
    let mut command = Command::new(command_line[0]);
    command
        .args(&command_line[1..])
        .arg("true")
        .output()
        .is_ok_and(|output| output.status.success())
}

// Namespaces and sandboxes that end.

const UNSHARE: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
const BWRAP: [&str; 9] = [
    "bwrap",
    "--unshare-pid",
    "--die-with-parent",
    "--dev-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--",
];

/// Stores a token due for replacement, with a refresh that takes a random time.
pub fn plant(sandbox: &Sandbox, random: &mut StdRng, longest_delay: Duration) {
    let delay = Trouble::Delay(up_to(random, longest_delay));
    sandbox.issuer.plan_always(REFRESH, delay);
    sandbox.plant_expiring_in(*LEFT.choose(random).unwrap(), LIFE);
}

/// The script of a container or a job: prints a token, and exits after a moment.
fn script(random: &mut StdRng) -> String {
    format!(
        "\"$0\" token; sleep {:.3}",
        up_to(random, LONGEST_REST).as_secs_f64()
    )
}

/// Runs this script in another program of this machine; `$0` is the program under test.
fn script_behind(sandbox: &Sandbox, wrapper: &[&str], script: &str) -> Command {
    let mut command_line: Vec<OsString> = wrapper.iter().map(OsString::from).collect();
    command_line[0] = find_program(wrapper[0]).unwrap().into();
    command_line.extend(["/bin/sh", "-c", script].map(OsString::from));
    command_line.extend(program());
    let mut command = sandbox.command_of(&command_line);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

pub fn end_namespaces(seed: u64) -> Vec<Figure> {
    const AS_CHILD: &str = "a PID namespace torn down 0–2 s after `token`, issuer 0–5 s";
    const AS_FIRST: &str = "the same, with codex-auth as its first process";
    if !works(&UNSHARE) {
        return vec![skipped(AS_CHILD, "no PID namespaces here")];
    }
    let as_child = count_lost(seed, WAITING_LANES, 500, AS_CHILD, |sandbox, random| {
        plant(sandbox, random, LONGEST_DELAY);
        let command = script_behind(sandbox, &UNSHARE, &script(random));
        is_good(sandbox, &sandbox.start(command).finish())
    });
    let as_first = count_lost(seed, WAITING_LANES, 500, AS_FIRST, |sandbox, random| {
        plant(sandbox, random, LONGEST_DELAY);
        if random.random() {
            let command = behind(sandbox, &UNSHARE, &["token"]);
            return is_good(sandbox, &sandbox.start(command).finish());
        }
        let rest = format!("{:.3}", up_to(random, LONGEST_REST).as_secs_f64());
        let arguments = [
            "exec",
            "--",
            "/bin/sh",
            "-c",
            "echo $CODEX_AUTH_TOKEN; exec /bin/sleep $0",
            &rest,
        ];
        let command = behind(sandbox, &UNSHARE, &arguments);
        is_good(sandbox, &sandbox.start(command).finish())
    });
    vec![as_child, as_first]
}

/// Sandboxes as agents use them: they end with the process that started them.
pub fn end_sandboxes(seed: u64) -> Figure {
    const WHAT: &str = "`bwrap --unshare-pid --die-with-parent`, its parent killed 0–2 s after `token`, issuer 0–5 s";
    if !works(&BWRAP) {
        return skipped(WHAT, "no bwrap here");
    }
    count_lost(seed, WAITING_LANES, 500, WHAT, |sandbox, random| {
        plant(sandbox, random, LONGEST_DELAY);
        // The shell remains as the parent.
        let parent = format!(
            "{} /bin/sh -c '\"$0\" token && echo printed >&2; sleep 60' \"$0\"; echo ended",
            BWRAP.join(" ")
        );
        let mut parent = sandbox.start(script_behind(sandbox, &["env"], &parent));
        parent.await_text("printed");
        std::thread::sleep(up_to(random, LONGEST_REST));
        parent.kill();
        let output = parent.finish();
        let token = output.stdout.trim_end().to_owned();
        output.code == -9 && sandbox.issuer.access_tokens().contains(&token)
    })
}

// Two names for one file.

pub fn use_two_names(seed: u64) -> Figure {
    const WHAT: &str =
        "4 callers at once on two names for one file and a second home that links to it";
    count_lost(seed, lanes(), 200, WHAT, |sandbox, random| {
        sandbox.issuer.plan_always(REFRESH, Trouble::Delay(DELAY));
        sandbox.plant_expiring_in(*LEFT.choose(random).unwrap(), LIFE);
        let second = sandbox.folder().join("second");
        if !second.exists() {
            fs::create_dir(&second).unwrap();
            symlink(sandbox.file("default"), second.join("default.json")).unwrap();
            symlink("default.json", sandbox.file("work")).unwrap();
        }
        let reuses = sandbox.issuer.reuses();
        let callers: Vec<Running> = (0..4)
            .map(|number| start_by_name(sandbox, number, random))
            .collect();
        let outputs: Vec<Output> = callers.into_iter().map(Running::finish).collect();
        let are_good = outputs.iter().all(|output| is_good(sandbox, output));
        let are_links =
            second.join("default.json").is_symlink() && sandbox.file("work").is_symlink();
        are_good && are_links && sandbox.issuer.reuses() == reuses
    })
}

/// A caller that uses one of the names; each of the first three has a different one.
fn start_by_name(sandbox: &Sandbox, number: usize, random: &mut StdRng) -> Running {
    let arguments: &[&str] = if random.random() { &FORCED } else { &["token"] };
    let mut command = match number {
        1 => sandbox.command(&[&["--profile", "work"], arguments].concat()),
        _ => sandbox.command(arguments),
    };
    if number == 2 {
        command.env("CODEX_AUTH_HOME", sandbox.folder().join("second"));
    }
    sandbox.start(command)
}

// Callers with unusual signal states, or without a network.

/// How some callers are started: with signals blocked or ignored.
pub const STATES: [(&str, &[&str]); 2] = [
    ("SIGCHLD ignored", &["env", "--ignore-signal=CHLD"]),
    ("all signals blocked", &["env", "--block-signal"]),
];

/// Callers without a network, beside others that have one.
pub fn cut_off(seed: u64) -> Figure {
    const WHAT: &str = "4 callers at once, 2 of them without a network";
    const ALONE: [&str; 2] = ["unshare", "--net"];
    if !works(&ALONE) {
        return skipped(WHAT, "no network namespaces here");
    }
    count_lost(seed, lanes(), 200, WHAT, |sandbox, random| {
        sandbox
            .issuer
            .plan_always(REFRESH, Trouble::Delay(up_to(random, DELAY)));
        sandbox.plant_expiring_in(-60, LIFE);
        let start = |is_alone: bool| {
            let alone = behind(sandbox, &ALONE, &["token"]);
            sandbox.start(if is_alone {
                alone
            } else {
                sandbox.command(&["token"])
            })
        };
        let mut outputs = [true, false, true, false].map(start).map(Running::finish);
        let is_told = |output: &Output| output.code == 75 && output.stdout.is_empty();
        let healthy = outputs
            .iter()
            .skip(1)
            .step_by(2)
            .all(|output| is_good(sandbox, output));
        let alone = outputs
            .iter_mut()
            .step_by(2)
            .all(|output| is_told(output) || is_good(sandbox, output));
        healthy && alone
    })
}

/// A caller that stops, and continues after another one has run.
pub fn stop_callers(seed: u64) -> Figure {
    use rustix::process::Signal;
    const WHAT: &str = "a caller stopped at a random moment while another one runs";
    count_lost(seed, lanes(), 200, WHAT, |sandbox, random| {
        sandbox.issuer.plan_always(REFRESH, Trouble::Delay(DELAY));
        sandbox.plant_expiring_in(-60, LIFE);
        let stopped = sandbox.spawn(&FORCED);
        std::thread::sleep(up_to(random, DELAY * 3 / 2));
        stopped.signal(Signal::STOP);
        let other = sandbox.run(&FORCED);
        stopped.signal(Signal::CONT);
        is_good(sandbox, &other) && is_good(sandbox, &stopped.finish())
    })
}
