//! What the program costs, as ratios to the smallest C program that does the same, measured in one run on one machine.
//! This is a benchmark, not a test: `cargo bench` prints tables, and nothing fails because a machine is slow.
//!
//! It measures the release build, on Linux the static one, or the program in `CODEX_AUTH_TEST_BIN`.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make the files and variables that they need"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failed step ends the benchmark, and its tables are for stdout"
)]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{Write, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use support::desktop::Desktop;
use support::fake_issuer::{Endpoint, Trouble};
#[cfg(target_os = "linux")]
use support::sandbox::find_program;
use support::sandbox::{self, Sandbox};

/// How often each program runs. They take turns, so that a noisy moment affects all of them. Programs slower by orders of
/// magnitude run only in one round out of `SLOW_ONES`.
const ROUNDS: usize = 500;
const SLOW_ONES: usize = 20;
/// The number of simultaneous callers, and how often they start.
const CROWD: usize = 64;
const CROWDS: usize = 20;
/// The number of refreshes, and how long the issuer takes for each.
const REFRESHES: usize = 7;
const ISSUER_TAKES: Duration = Duration::from_millis(300);

/// The minimum, in C.
const LIMIT: &str = "the lower limit: a static C program";
const TOKEN: &str = "`codex-auth token`";
/// The same with the argument parser.
const PARSED: &str = "`codex-auth token --min-ttl 5m`";
const JQ: &str = "`jq -r .tokens.access_token`";

/// A program with its arguments, and the duration of each run.
struct Contender {
    name: &'static str,
    command_line: Vec<OsString>,
    times: Vec<Duration>,
}

fn main() {
    let sandbox = prepare();
    let program = install(&release_build(), &sandbox);
    let mut contenders = contenders(&sandbox, &program);
    race(&sandbox, &mut contenders);
    println!("{}\n", machine());
    print_contenders(&sandbox, &contenders);
    println!("\n| | measured | target |\n| --- | --- | --- |");
    print_ratio_to_jq(&contenders);
    print_crowds(&sandbox, &contenders);
    for callers in [1, CROWD] {
        print_refresh(&sandbox, &program, callers);
    }
    let size = fs::metadata(&program).expect("no program").len();
    println!("| size of the binary | {size} bytes | 3700000 |");
    #[cfg(target_os = "linux")]
    print_sealed(&program);
}

/// A sandbox with a login whose tokens are as long as real ones, for Codex as well.
fn prepare() -> Sandbox {
    let mut sandbox = Sandbox::new();
    plant(&sandbox);
    fs::copy(sandbox.file("default"), sandbox.home().join("auth.json")).expect("no copy");
    // Includes programs installed on this machine: a new sandbox finds none.
    sandbox.set("PATH", env::var_os("PATH").unwrap_or_default());
    sandbox.set("CODEX_HOME", sandbox.home());
    sandbox.set("GH_TOKEN", "gho_0123456789");
    sandbox
}

/// Stores a login with tokens as long as real ones.
fn plant(sandbox: &Sandbox) {
    let mut login = sandbox.plant();
    for name in ["access_token", "id_token"] {
        let token = login["tokens"][name].as_str().expect("no token");
        login["tokens"][name] = format!("{token:x<2000}").into();
    }
    let text = serde_json::to_string_pretty(&login).expect("no JSON");
    sandbox.store("default", &text);
}

/// The program as people install it: built now, unless `CODEX_AUTH_TEST_BIN` names one.
fn release_build() -> PathBuf {
    if let Some(program) = env::var_os("CODEX_AUTH_TEST_BIN") {
        return program.into();
    }
    let target = format!("{}-unknown-linux-musl", env::consts::ARCH);
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"),
        PathBuf::from,
    );
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked"]);
    let folder = if cfg!(target_os = "linux") {
        cargo.args(["--target", &target]);
        folder.join(target)
    } else {
        folder
    };
    let built = cargo.status().expect("could not start cargo").success();
    assert!(built, "could not build the program");
    let name = format!("codex-auth{}", env::consts::EXE_SUFFIX);
    folder.join("release").join(name)
}

/// Copies the program as an installation does. The system starts a file faster if it is cached in large pages, but a
/// linker or an early read leaves it in small ones. So this copy is as fresh as the C program.
fn install(built: &Path, sandbox: &Sandbox) -> PathBuf {
    let program = sandbox.bin().join(built.file_name().expect("no name"));
    fs::copy(built, &program).expect("could not copy the program");
    program
}

/// The programs that are installed and work. Each runs once to find out, which also warms the caches.
fn contenders(sandbox: &Sandbox, program: &Path) -> Vec<Contender> {
    let program = program.as_os_str().to_owned();
    let file = sandbox.file("default").into_os_string();
    let command_line = |program: OsString, arguments: &str| {
        let arguments = arguments.split_whitespace().map(OsString::from);
        [program].into_iter().chain(arguments).collect()
    };
    let mut jq: Vec<_> = command_line("jq".into(), "-r .tokens.access_token");
    jq.push(file.clone());
    let limit = compile_limit(sandbox).map(|limit| vec![limit, file]);
    let all = [
        (LIMIT, limit.unwrap_or_default()),
        (TOKEN, command_line(program.clone(), "token")),
        (PARSED, command_line(program, "token --min-ttl 5m")),
        (JQ, jq),
        (
            "`codex login status`",
            command_line("codex".into(), "login status"),
        ),
        ("`gh auth token`", command_line("gh".into(), "auth token")),
    ];
    let there = |command_line: &[OsString]| {
        !command_line.is_empty() && works(sandbox.command_of(command_line))
    };
    let contender = |(name, command_line): (_, Vec<OsString>)| Contender {
        name,
        command_line,
        times: Vec::new(),
    };
    let there = all
        .into_iter()
        .filter(|(_, command_line)| there(command_line));
    there.map(contender).collect()
}

/// Compiles the C program, statically if possible. `None` without a compiler.
fn compile_limit(sandbox: &Sandbox) -> Option<OsString> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/limit.c");
    let limit = sandbox.folder().join("limit");
    let compilers: [&[&str]; 3] = [&["musl-gcc", "-static"], &["cc", "-static"], &["cc"]];
    let compiled = compilers.iter().any(|command_line| {
        let mut command = Command::new(command_line[0]);
        command.args(&command_line[1..]).args(["-O2", "-o"]);
        command.arg(&limit).arg(source);
        works(command)
    });
    compiled.then(|| limit.into_os_string())
}

fn works(mut command: Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn race(sandbox: &Sandbox, contenders: &mut [Contender]) {
    for round in 0..ROUNDS {
        for contender in &mut *contenders {
            if contender.is_near() || round % SLOW_ONES == 0 {
                contender
                    .times
                    .push(crowd(sandbox, &contender.command_line, 1));
            }
        }
    }
}

/// The time from the first start to the last exit of this many simultaneous processes, which must all succeed.
fn crowd(sandbox: &Sandbox, command_line: &[OsString], callers: usize) -> Duration {
    let mut command = sandbox.command_of(command_line);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let start = |_| command.spawn().expect("could not start the program");
    let children: Vec<Child> = (0..callers).map(start).collect();
    for mut child in children {
        assert!(child.wait().expect("it did not end").success());
    }
    begun.elapsed()
}

fn print_contenders(sandbox: &Sandbox, contenders: &[Contender]) {
    println!("| program | median | times C | user instructions | resident |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for contender in contenders {
        let (instructions, resident) = if contender.is_near() {
            let (command_line, command) = (
                &contender.command_line,
                sandbox.command_of(&contender.command_line),
            );
            (
                user_instructions(sandbox, command_line),
                peak_resident(command),
            )
        } else {
            (None, None)
        };
        println!(
            "| {} | {:.2} ms | {} | {} | {} |",
            contender.name,
            milliseconds(contender.median()),
            or_dash(ratio(contenders, contender.name, LIMIT), |ratio| format!(
                "{ratio:.2}"
            )),
            or_dash(instructions, |count| count.to_string()),
            or_dash(resident, |kibibytes| format!("{kibibytes} KiB")),
        );
    }
}

fn print_ratio_to_jq(contenders: &[Contender]) {
    if let Some(ratio) = ratio(contenders, JQ, TOKEN) {
        println!("| faster than jq | {ratio:.0} times | 20 times |");
    }
}

/// Many callers with a fresh token, compared to as many runs of the C program.
fn print_crowds(sandbox: &Sandbox, contenders: &[Contender]) {
    let near: Vec<_> = contenders
        .iter()
        .filter(|contender| [LIMIT, TOKEN].contains(&contender.name))
        .collect();
    let mut times = vec![Vec::new(); near.len()];
    for _ in 0..CROWDS {
        for (contender, times) in near.iter().zip(&mut times) {
            times.push(crowd(sandbox, &contender.command_line, CROWD));
        }
    }
    let medians: Vec<f64> = times
        .iter()
        .map(|times| milliseconds(median(times)))
        .collect();
    if let [limit, ours] = medians[..] {
        let ratio = ours / limit;
        println!(
            "| {CROWD} callers, fresh token | {ours:.1} ms, {ratio:.2} times {CROWD} runs of the C program | 2 times |"
        );
    }
}

/// This many simultaneous callers with an expired token.
fn print_refresh(sandbox: &Sandbox, program: &Path, callers: usize) {
    let issuer = &sandbox.issuer;
    issuer.plan_always(Endpoint::Refresh, Trouble::Delay(ISSUER_TAKES));
    let before = issuer.count(Endpoint::Refresh);
    let command_line = [program.into(), "token".into()];
    let refresh = |_| {
        sandbox.plant_expiring_in(-1, sandbox::LIFE);
        crowd(sandbox, &command_line, callers)
    };
    let times: Vec<Duration> = (0..REFRESHES).map(refresh).collect();
    let requests = issuer.count(Endpoint::Refresh) - before;
    let took = milliseconds(median(&times));
    let aim = if callers == 1 { 360 } else { 500 };
    println!(
        "| callers at once, expired token: {callers}; issuer takes {} ms | {took:.0} ms, {requests} requests for {REFRESHES} refreshes | {aim} ms |",
        ISSUER_TAKES.as_millis()
    );
}

/// A sealed login, compared to other programs that use the same keyring.
#[cfg(target_os = "linux")]
fn print_sealed(program: &Path) {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let sandbox = &desktop.sandbox;
    plant(sandbox);
    let of_ours = |command: &str| vec![program.as_os_str().to_owned(), command.into()];
    assert!(works(sandbox.command_of(&of_ours("seal"))));
    desktop.keep("gh:github.com", "", "gho_0123456789");
    let gh = sandbox.folder().join(".config/gh");
    fs::create_dir_all(&gh).expect("no folder");
    fs::write(gh.join("hosts.yml"), "github.com:\n    user: someone\n").expect("no file");
    let system = |command_line: &str| -> Option<Vec<OsString>> {
        let mut words = command_line.split(' ').map(OsString::from);
        let program = find_program(words.next()?)?.into_os_string();
        Some([program].into_iter().chain(words).collect())
    };
    let all = [
        ("`codex-auth token`, sealed", Some(of_ours("token"))),
        (
            "`secret-tool lookup`",
            system("secret-tool lookup service gh:github.com"),
        ),
        ("`gh auth token`", system("gh auth token")),
    ];
    let mut contenders = Vec::new();
    for (name, command_line) in all {
        let there = command_line.filter(|line| works(sandbox.command_of(line)));
        contenders.extend(there.map(|command_line| Contender {
            name,
            command_line,
            times: Vec::new(),
        }));
    }
    for _ in 0..ROUNDS / SLOW_ONES {
        for contender in &mut contenders {
            let time = crowd(sandbox, &contender.command_line, 1);
            contender.times.push(time);
        }
    }
    println!("\n| reading a secret from the keyring | median |\n| --- | ---: |");
    for contender in &contenders {
        let median = milliseconds(contender.median());
        println!("| {} | {median:.2} ms |", contender.name);
    }
}

/// Instructions counted by callgrind, if installed, which do not vary from run to run.
fn user_instructions(sandbox: &Sandbox, command_line: &[OsString]) -> Option<u64> {
    let mut valgrind = vec!["valgrind".into(), "--tool=callgrind".into()];
    valgrind.push("--callgrind-out-file=/dev/null".into());
    valgrind.extend_from_slice(command_line);
    let output = sandbox.command_of(&valgrind).output().ok()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, count) = told.split_once("refs:")?;
    count.lines().next()?.trim().replace(',', "").parse().ok()
}

/// Peak memory in KiB, read on Linux while the program waits to write to a full pipe: by then it has done its work.
fn peak_resident(mut command: Command) -> Option<u64> {
    let (reader, mut writer) = pipe().ok()?;
    // The default capacity of a pipe.
    writer.write_all(&vec![0; 65536]).ok()?;
    let mut child = command.stdout(writer).spawn().ok()?;
    let status = format!("/proc/{}/status", child.id());
    let read = || {
        let status = fs::read_to_string(&status).ok()?;
        let is_waiting = status.contains("State:\tS");
        let (_, peak) = status.split_once("VmHWM:")?;
        let peak = peak.split_whitespace().next()?.parse().ok();
        Some(peak.filter(|_| is_waiting))
    };
    let mut peak = Some(None);
    while let Some(None) = peak {
        peak = read();
    }
    drop(reader);
    child.wait().ok()?;
    peak.flatten()
}

impl Contender {
    /// Whether this is our program or the lower limit. The others are larger by orders of magnitude, and slow to measure.
    fn is_near(&self) -> bool {
        [LIMIT, TOKEN, PARSED].contains(&self.name)
    }

    fn median(&self) -> Duration {
        median(&self.times)
    }
}

/// How many times as long the first takes, if both were measured.
fn ratio(contenders: &[Contender], name: &str, other: &str) -> Option<f64> {
    let find = |name| contenders.iter().find(|one| one.name == name);
    Some(milliseconds(find(name)?.median()) / milliseconds(find(other)?.median()))
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn or_dash<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}

/// The machine that was measured.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or(env::consts::ARCH, |model| {
        model.trim_start_matches(['\t', ':', ' '])
    });
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {count} processors, {}", env::consts::OS)
}
