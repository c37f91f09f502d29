//! What happens to the login if a file-changing call of the worker fails, or is its last one: tests each call (strace(1),
//! fault injection). The only window is from sending the refresh token until its response is written, and only a kill
//! opens it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::login::SIGNED_IN;
use support::fake_issuer::{Endpoint, Trouble};
use support::locks;
use support::process::{Output, until};
use support::sandbox::{LIFE, Sandbox, find_program, native_program, skip};

const REFRESH: Endpoint = Endpoint::Refresh;
const TOKEN: &str = "[TOKEN]\n";
const FORCED: [&str; 2] = ["token", "--force-refresh"];
const UNSAVED: &str =
    "codex-auth: warning: the token was refreshed, but could not be stored yet: [..]\n";

/// The calls that change files, or depend on them, under all names that they have on some processor.
const CALLS: &str = "?open,openat,write,pwrite64,writev,lseek,ftruncate,fallocate,fsync,fdatasync,?rename,?renameat,\
    renameat2,?unlink,unlinkat,?chmod,fchmod,fchmodat,?mkdir,mkdirat,flock,?stat,?lstat,fstat,?newfstatat,statx";

/// A call as shown by strace.
#[derive(Debug)]
struct Call {
    pid: String,
    name: String,
    text: String,
    /// Whether it returned, with or without an error.
    has_returned: bool,
}

/// What one or more processes did, in order.
pub struct Trace(Vec<Call>);

impl Trace {
    fn parse(text: &str) -> Self {
        let mut calls: Vec<Call> = Vec::new();
        for line in text.lines() {
            let Some((pid, rest)) = line.split_once(' ') else {
                continue;
            };
            let rest = rest.trim_start();
            if let Some(resumed) = rest.strip_prefix("<... ") {
                let of_it = |call: &&mut Call| call.pid == pid && resumed.starts_with(&call.name);
                if let Some(call) = calls.iter_mut().rev().find(of_it) {
                    call.has_returned = has_result(rest);
                    call.text.push_str(rest);
                }
            } else if let Some((name, _)) = rest.split_once('(') {
                calls.push(Call {
                    pid: pid.to_owned(),
                    name: name.to_owned(),
                    text: rest.to_owned(),
                    has_returned: has_result(rest),
                });
            }
        }
        Self(calls)
    }

    /// The index of the call that sent the refresh token.
    fn request(&self) -> Option<usize> {
        // Requests to the keyring do not count.
        let is_it = |call: &Call| call.name == "sendto" && call.text.contains("\"POST ");
        self.0.iter().position(is_it)
    }

    /// The index of the call that stored the response: writes credentials after the request.
    fn saved(&self) -> Option<usize> {
        let is_it = |call: &Call| {
            call.name == "write" && call.text.contains(", \"{\\n") && call.has_returned
        };
        let request = self.request()?;
        self.0
            .iter()
            .skip(request)
            .position(is_it)
            .map(|found| found + request)
    }

    /// Whether the call at this place failed, or was the last one.
    fn was_hit(&self, place: &Place, fault: Fault) -> bool {
        let mut of_it = self.0.iter().filter(|call| call.name == place.call);
        of_it.any(|call| match fault {
            Fault::Error(_) => call.text.contains("(INJECTED)"),
            Fault::Kill => !call.has_returned,
        })
    }

    /// Every call of every process by its name and number, from the process with most calls of that name.
    pub fn all_places(&self) -> Vec<Place> {
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for call in self.0.iter().filter(|call| call.name != "sendto") {
            *counts.entry((&call.name, &call.pid)).or_default() += 1;
        }
        let mut longest: BTreeMap<&str, usize> = BTreeMap::new();
        for ((name, _), count) in counts {
            let known = longest.entry(name).or_default();
            *known = count.max(*known);
        }
        let place = |call: &str, number| Place {
            call: call.to_owned(),
            number,
        };
        longest
            .into_iter()
            .flat_map(|(call, count)| (1..=count).map(move |number| place(call, number)))
            .collect()
    }

    /// Whether the trace ended between the request and storing its response.
    pub fn ended_in_window(&self) -> bool {
        self.request().is_some() && self.saved().is_none()
    }

    /// The worker's calls from its first access to the store on, each by name and number, and whether it comes after the
    /// request.
    fn places(&self, home: &str) -> Vec<(Place, bool)> {
        let worker = &self.0[0].pid;
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let (mut places, mut is_store) = (Vec::new(), false);
        for (at, call) in self
            .0
            .iter()
            .enumerate()
            .filter(|(_, call)| &call.pid == worker)
        {
            let count = counts.entry(&call.name).or_default();
            *count += 1;
            is_store |= call.text.contains(home);
            if is_store && call.name != "sendto" {
                let is_late = self.request().is_some_and(|request| at > request);
                places.push((
                    Place {
                        call: call.name.clone(),
                        number: *count,
                    },
                    is_late,
                ));
            }
        }
        places
    }
}

/// `= 3` and `= -1 ENOSPC (…)`, but not `= ?`.
fn has_result(line: &str) -> bool {
    let result = line.rsplit_once(" = ").map_or("", |(_, result)| result);
    result.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// A call of a process, such as its second `write`.
#[derive(Clone, Debug)]
pub struct Place {
    pub call: String,
    pub number: usize,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    Error(&'static str),
    Kill,
}

const FAULTS: [Fault; 3] = [Fault::Error("EIO"), Fault::Error("ENOSPC"), Fault::Kill];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => write!(f, "error={error}"),
            Self::Kill => f.write_str("signal=KILL"),
        }
    }
}

/// The strace option for a fault at one place.
pub fn inject(place: &Place, fault: Fault) -> String {
    format!("inject={}:{fault}:when={}", place.call, place.number)
}

/// The program under strace, with these `-e` options. Returns `None`, and says why, if strace does not work here.
pub fn traced(sandbox: &Sandbox, options: &[String], arguments: &[&str]) -> Option<Command> {
    let program = native_program()?;
    let Some(strace) = find_program("strace") else {
        skip("no strace here");
        return None;
    };
    let mut command_line: Vec<OsString> = vec![strace.into()];
    // On a signal to exit, strace detaches from the program.
    command_line.extend(["-I", "waiting", "-f", "-qq", "-s", "8", "-o"].map(OsString::from));
    command_line.push(trace_file(sandbox).into());
    command_line.extend(["-e".into(), format!("trace={CALLS},sendto").into()]);
    for option in options {
        command_line.extend(["-e".into(), option.into()]);
    }
    command_line.push(program.into());
    command_line.extend(arguments.iter().map(OsString::from));
    Some(sandbox.command_of(&command_line))
}

fn trace_file(sandbox: &Sandbox) -> PathBuf {
    sandbox.folder().join("trace")
}

/// The last trace.
pub fn trace(sandbox: &Sandbox) -> Trace {
    Trace::parse(&fs::read_to_string(trace_file(sandbox)).unwrap())
}

// Every call, one after the other.

/// The state of the store and the issuer when a worker starts.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Scene {
    /// The token has expired. There are remains of an earlier worker that was killed too early.
    Expired,
    /// The same, but the issuer answers 500.
    Refused,
    /// The token has expired, and the issuer's response cannot be written to the staged file.
    Unsaved,
    /// An earlier worker completely wrote the new credentials, and was killed before they replaced the spent ones.
    Recovered,
}

/// The first `lseek` comes before the request, as a rehearsal.
const UNSAVED_BY: &str = "inject=lseek:error=EIO:when=2";

const SCENES: [(Scene, &str); 4] = [
    (Scene::Expired, "a refresh"),
    (
        Scene::Refused,
        "a refresh that is answered with 500, after its request",
    ),
    (
        Scene::Unsaved,
        "a refresh whose answer cannot be written at first, after its request",
    ),
    (
        Scene::Recovered,
        "the recovery of what a killed worker wrote",
    ),
];

impl Scene {
    /// Sets up the scene, and returns the task of the worker.
    fn set(self, sandbox: &Sandbox, task: &Value) -> Value {
        sandbox.await_end_of_workers();
        sandbox.issuer.end_plans(REFRESH);
        let spent = sandbox.plant_expiring_in(-60, LIFE);
        fs::write(sandbox.lock_file(), "").unwrap();
        fs::set_permissions(sandbox.lock_file(), Permissions::from_mode(0o644)).unwrap();
        fs::write(sandbox.home().join("default.json.new"), [0; 100]).unwrap();
        match self {
            Self::Expired | Self::Unsaved => {}
            Self::Refused => sandbox.issuer.plan(REFRESH, Trouble::status(500)),
            Self::Recovered => {
                sandbox.issuer.revoke_logins();
                let mut newer = sandbox.plant();
                newer["replaces"] = spent["last_refresh"].clone();
                let beside = sandbox.home().join("default.json.new");
                fs::write(beside, newer.to_string()).unwrap();
                sandbox.store("default", &spent.to_string());
            }
        }
        let mut task = task.clone();
        task["Refresh"]["last_refresh"] = spent["last_refresh"].clone();
        task
    }
}

/// The task that a caller gives its worker, captured from a running one.
fn any_task() -> Value {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let caller = sandbox.spawn(&["token"]);
    let arguments = fs::read(format!("/proc/{}/cmdline", sandbox.await_worker())).unwrap();
    gate.open();
    caller.finish().assert(0, TOKEN, "");
    serde_json::from_slice(arguments.split(|byte| *byte == 0).nth(2).unwrap()).unwrap()
}

/// Runs a worker under strace, with a fault if given, and returns its report; `None` if strace does not work here. The
/// test acts as the caller.
fn run_worker(
    sandbox: &Sandbox,
    scene: Scene,
    task: &Value,
    fault: Option<String>,
) -> Option<String> {
    let unsaved = (scene == Scene::Unsaved).then(|| UNSAVED_BY.to_owned());
    let options: Vec<String> = unsaved.into_iter().chain(fault).collect();
    let mut command = traced(sandbox, &options, &["refresh-worker", &task.to_string()])?;
    let output = command.output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A fault and its outcome.
struct Trial {
    scene: Scene,
    place: Place,
    fault: Fault,
    was_hit: bool,
    in_window: bool,
    is_lost: bool,
    /// The promise that was broken, if any.
    wrong: Option<String>,
}

fn try_fault(
    sandbox: &Sandbox,
    task: &Value,
    (scene, place, fault): (Scene, Place, Fault),
) -> Trial {
    let task = scene.set(sandbox, task);
    let report = run_worker(sandbox, scene, &task, Some(inject(&place, fault))).unwrap();
    let trace = trace(sandbox);
    let mut wrong = check_report(sandbox, &task, &report);
    sandbox.issuer.end_plans(REFRESH);
    let next = sandbox.run(&FORCED);
    let is_lost = !sandbox.can_refresh();
    let is_expected = match next.code {
        0 => sandbox
            .issuer
            .access_tokens()
            .contains(&next.line().to_owned()),
        4 => is_lost,
        75 => scene == Scene::Refused,
        _ => false,
    };
    if !is_expected {
        wrong = Some(format!(
            "the next caller got {}: {}{}",
            next.code, next.stdout, next.stderr
        ));
    }
    Trial {
        in_window: fault == Fault::Kill && trace.ended_in_window(),
        was_hit: trace.was_hit(&place, fault),
        scene,
        place,
        fault,
        is_lost,
        wrong,
    }
}

/// A worker that reports success must have stored a token of the issuer, or handed it over.
fn check_report(sandbox: &Sandbox, task: &Value, report: &str) -> Option<String> {
    let report: Value = serde_json::from_str(report).ok()?;
    if report["Failed"].is_array() {
        return None;
    }
    let handed = report["Unsaved"][0]
        .as_str()
        .map(|text| serde_json::from_str(text).unwrap());
    let credentials: Value = handed.unwrap_or_else(|| sandbox.stored());
    let newest = sandbox.issuer.access_tokens().pop();
    let is_new = credentials["last_refresh"] != task["Refresh"]["last_refresh"];
    let is_good = is_new && credentials["tokens"]["access_token"].as_str() == newest.as_deref();
    (!is_good).then(|| format!("it reported {report}"))
}

/// A sandbox whose issuer revokes a login as soon as a refresh token is reused. Its backend has routing for the
/// workspace, which the worker stores after its report.
fn strict_sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| {
        its.reuse_revokes_family = true;
        its.routing = json!({});
    });
    sandbox
}

/// All faults to try: one at each call that the worker makes if nothing fails.
fn plan(task: &Value) -> Option<Vec<(Scene, Place, Fault)>> {
    let mut plan = Vec::new();
    for (scene, _) in SCENES {
        let sandbox = strict_sandbox();
        let task = scene.set(&sandbox, task);
        run_worker(&sandbox, scene, &task, None)?;
        let places = trace(&sandbox).places(sandbox.home().to_str().unwrap());
        // Until the request, the calls are the same as in any refresh.
        let is_new = |is_late: bool| is_late || matches!(scene, Scene::Expired | Scene::Recovered);
        let is_free = |place: &Place| scene != Scene::Unsaved || place.call != "lseek";
        let places = places
            .into_iter()
            .filter(|(place, is_late)| is_new(*is_late) && is_free(place));
        for (place, _) in places {
            plan.extend(FAULTS.map(|fault| (scene, place.clone(), fault)));
        }
    }
    Some(plan)
}

#[test]
#[allow(clippy::print_stdout, reason = "its figures are worth reading")]
fn a_fault_in_any_call_of_a_worker_loses_no_login() {
    let task = any_task();
    let Some(plan) = plan(&task) else { return };
    let trials = in_lanes(&plan, |sandbox, one| try_fault(sandbox, &task, one.clone()));
    let table = table(&trials);
    println!("{table}");
    let is_wrong = |trial: &&Trial| {
        trial.wrong.is_some() || !trial.was_hit || trial.is_lost && !trial.in_window
    };
    let wrong: Vec<String> = trials
        .iter()
        .filter(is_wrong)
        .map(Trial::to_string)
        .collect();
    assert!(wrong.is_empty(), "{table}\n{}", wrong.join("\n"));
    // Without these the test would have tried nothing: the worker writes twice, and stores the routing after its report.
    let writes = |trial: &&Trial| trial.place.call == "ftruncate" && trial.scene == Scene::Expired;
    let numbers = trials.iter().filter(writes).map(|trial| trial.place.number);
    assert!(numbers.max() >= Some(4), "the routing is not written");
    for call in ["write", "ftruncate", "fsync", "flock"] {
        assert!(
            trials.iter().any(|trial| trial.place.call == call),
            "no {call}"
        );
    }
    assert!(
        trials.iter().any(|trial| trial.in_window),
        "no kill hit the window"
    );
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scene,
            place,
            fault,
            was_hit,
            in_window,
            is_lost,
            wrong,
        } = self;
        let wrong = wrong.as_deref().unwrap_or_default();
        write!(
            f,
            "{scene:?}, {} {}, {fault}: hit {was_hit}, in the window {in_window}, lost {is_lost} {wrong}",
            place.call, place.number
        )
    }
}

/// Runs `work` on all of them, with as many threads as keep the processors busy.
fn in_lanes<T: Sync, R: Send>(all: &[T], work: impl Fn(&Sandbox, &T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let lanes = 2 * thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                let sandbox = strict_sandbox();
                while let Some(one) = all.get(next.fetch_add(1, Relaxed)) {
                    let result = work(&sandbox, one);
                    done.lock().unwrap().push(result);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

/// The number of each kind, and what happened to the logins.
fn table(trials: &[Trial]) -> String {
    let mut table =
        "| Where | Fault | Calls | Kept | Lost | In the window: kept | Lost |\n".to_owned();
    table.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for (scene, description) in SCENES {
        for fault in FAULTS {
            let these = trials
                .iter()
                .filter(|trial| trial.scene == scene && trial.fault == fault);
            let count = |in_window: bool, is_lost: bool| {
                let fits =
                    |trial: &&Trial| trial.in_window == in_window && trial.is_lost == is_lost;
                these.clone().filter(fits).count()
            };
            let calls = these.clone().count();
            let outcomes = [
                count(false, false),
                count(false, true),
                count(true, false),
                count(true, true),
            ];
            let outcomes = outcomes.map(|count| count.to_string()).join(" | ");
            writeln!(table, "| {description} | {fault} | {calls} | {outcomes} |").unwrap();
        }
    }
    table
}

/// Makes the same call fail in the caller, in the process that starts the worker, and in the worker. Returns the promise
/// that was broken, if any.
fn try_all(sandbox: &Sandbox, place: &Place, fault: Fault) -> Option<String> {
    sandbox.await_end_of_workers();
    sandbox.plant_expiring_in(-60, LIFE);
    let command = traced(sandbox, &[inject(place, fault)], &["token"]).unwrap();
    let first = sandbox.start(command).finish();
    let may_be_lost = fault == Fault::Kill && trace(sandbox).ended_in_window();
    let next = sandbox.run(&FORCED);
    let known = sandbox.issuer.access_tokens();
    let is_known = |output: &Output| known.contains(&output.line().to_owned());
    let is_kept = next.code == 0 && is_known(&next) && sandbox.can_refresh();
    if (is_kept || may_be_lost) && (first.code != 0 || is_known(&first)) {
        return None;
    }
    let outputs =
        [first, next].map(|output| format!("{} {}{}", output.code, output.stdout, output.stderr));
    Some(format!(
        "{fault} at {} {}: {}",
        place.call,
        place.number,
        outputs.join(", then ")
    ))
}

#[test]
fn a_caller_that_succeeds_in_spite_of_a_fault_has_a_token_of_the_issuer() {
    let sandbox = strict_sandbox();
    sandbox.plant_expiring_in(-60, LIFE);
    let Some(mut command) = traced(&sandbox, &[], &["token"]) else {
        return;
    };
    assert!(command.status().unwrap().success());
    let places = trace(&sandbox).all_places();
    let faults = [Fault::Error("EIO"), Fault::Kill];
    let wrong = in_lanes(&places, |sandbox, place| {
        faults.map(|fault| try_all(sandbox, place, fault))
    });
    let wrong: Vec<String> = wrong.into_iter().flatten().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// Single faults.

/// As on a network file system without locks.
#[test]
fn without_locks_nothing_is_refreshed() {
    const WORDS: &str = "could not lock [HOME]/default.json: the file system does not support locks: set CODEX_AUTH_HOME to a folder on a local disk";
    let no_locks = ["inject=flock:error=EOPNOTSUPP".to_owned()];
    let sandbox = Sandbox::new();
    let warned = format!("codex-auth: warning: {WORDS}; the current token expires in [..]\n");
    let refused = format!("codex-auth: {WORDS}\n");
    for (command, left, code, stdout, stderr) in [
        ("token", LIFE.cast_signed() / 2, 0, TOKEN, ""),
        ("token", 3600, 0, TOKEN, &*warned),
        ("token", -60, 1, "", &refused),
        ("login", -60, 1, "", &refused),
        ("logout", -60, 1, "", &refused),
    ] {
        let planted = sandbox.plant_expiring_in(left, LIFE);
        let Some(command) = traced(&sandbox, &no_locks, &[command]) else {
            return;
        };
        sandbox.start(command).finish().assert(code, stdout, stderr);
        assert_eq!(sandbox.stored(), planted);
    }
    assert!(sandbox.issuer.requests().is_empty());
}

/// The last call of this name before the response was stored: it comes after the response, and only the worker makes so
/// many.
fn place_after_answer(sandbox: &Sandbox, call: &str) -> Option<Place> {
    sandbox.plant_expiring_in(-60, LIFE);
    assert!(
        traced(sandbox, &[], &["token"])?
            .status()
            .unwrap()
            .success()
    );
    let trace = trace(sandbox);
    let saved = trace.saved().unwrap();
    let of_it = |one: &&Call| one.pid == trace.0[saved].pid && one.name == call;
    let number = trace.0[..=saved].iter().filter(of_it).count();
    Some(Place {
        call: call.to_owned(),
        number,
    })
}

#[test]
fn a_write_that_fails_once_after_the_answer_costs_a_warning() {
    for (call, error) in [("write", "ENOSPC"), ("ftruncate", "EIO"), ("lseek", "EIO")] {
        let sandbox = strict_sandbox();
        let Some(place) = place_after_answer(&sandbox, call) else {
            return;
        };
        let planted = sandbox.plant_expiring_in(-60, LIFE);
        let fault = [inject(&place, Fault::Error(error))];
        let output = sandbox
            .start(traced(&sandbox, &fault, &["token"]).unwrap())
            .finish();
        output.assert(0, TOKEN, UNSAVED);
        assert_ne!(sandbox.stored()["last_refresh"], planted["last_refresh"]);
        assert_eq!(
            sandbox.run(&["token"]).assert(0, TOKEN, "").line(),
            output.line()
        );
        sandbox.run(&FORCED).assert(0, TOKEN, "");
        assert!(sandbox.can_refresh());
    }
}

#[test]
fn the_same_token_again_is_not_a_new_one_if_it_cannot_be_saved() {
    let sandbox = strict_sandbox();
    let Some(place) = place_after_answer(&sandbox, "write") else {
        return;
    };
    sandbox.plant();
    sandbox.issuer.set(|its| its.omit.push("access_token"));
    let fault = [inject(&place, Fault::Error("ENOSPC"))];
    sandbox
        .start(traced(&sandbox, &fault, &FORCED).unwrap())
        .finish()
        .assert(
            1,
            "",
            "codex-auth: could not get another token: the issuer sent the same one again\n",
        );
    assert!(sandbox.can_refresh());
}

/// A worker whose renames fail only holds the lock during each attempt.
#[test]
fn a_new_login_wins_over_a_worker_that_cannot_save() {
    let sandbox = strict_sandbox();
    let Some(place) = place_after_answer(&sandbox, "rename") else {
        return;
    };
    let planted = sandbox.plant_expiring_in(-60, LIFE);
    // The one before that was the rehearsal.
    let fault = format!("inject=rename:error=EIO:when={}+", place.number + 1);
    let mut caller = sandbox.start(traced(&sandbox, &[fault], &["token"]).unwrap());
    caller.await_text("could not be stored yet");
    assert_eq!(sandbox.stored(), planted);
    let mut login = sandbox.spawn(&["login", "--no-browser"]);
    login.sign_in();
    login.finish().assert(0, "", SIGNED_IN);
    let newer = sandbox.stored();
    // strace runs until the worker has exited.
    let output = caller.finish();
    output.assert(0, TOKEN, UNSAVED);
    assert_eq!(sandbox.stored(), newer);
    assert_ne!(
        newer["tokens"]["refresh_token"],
        planted["tokens"]["refresh_token"]
    );
    assert!(sandbox.can_refresh());
}

#[test]
fn credentials_are_saved_once_the_disk_allows_it() {
    let sandbox = strict_sandbox();
    let places = ["ftruncate", "fsync"].map(|call| place_after_answer(&sandbox, call));
    let [Some(place), Some(synced)] = places else {
        return;
    };
    let planted = sandbox.plant_expiring_in(-60, LIFE);
    // From the response on, no file can be written until strace detaches from the worker.
    let faults = [
        inject(&place, Fault::Error("EIO")),
        format!("inject=fsync:error=ENOSPC:when={}+", synced.number + 1),
    ];
    let mut caller = sandbox.start(traced(&sandbox, &faults, &["token"]).unwrap());
    caller.await_text("could not be stored yet");
    let children = format!("/proc/{0}/task/{0}/children", caller.pid());
    until("the end of the caller", || {
        fs::read_to_string(&children)
            .unwrap()
            .is_empty()
            .then_some(())
    });
    assert_eq!(sandbox.stored(), planted);
    let worker = sandbox.await_worker();
    caller.signal(Signal::TERM);
    let output = caller.finish();
    output.assert(-Signal::TERM.as_raw(), TOKEN, UNSAVED);
    sandbox.await_stored(|stored| stored["last_refresh"] != planted["last_refresh"]);
    assert_eq!(
        sandbox.run(&["token"]).assert(0, TOKEN, "").line(),
        output.line()
    );
    sandbox.run(&FORCED).assert(0, TOKEN, "");
    assert!(!locks::users(&sandbox.lock_file()).holding.contains(&worker));
    assert!(sandbox.can_refresh());
}
