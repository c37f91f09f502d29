//! What a shell, a terminal and a kernel can do to the program: closed, full or stopped streams, signals, and a crash
//! that would leave its memory behind. The login survives, and no other process is blocked.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::login::SIGNED_IN;
use crate::terminal::Terminal;
use support::browser;
use support::fake_issuer::{Endpoint, Gate, Trouble};
use support::process::Running;
use support::sandbox::{LIFE, Sandbox, copy_program, native_program, program, skip};

const REFRESH: Endpoint = Endpoint::Refresh;
const TOKEN: &str = "[TOKEN]\n";
const REFUSED: &str = "codex-auth: the issuer refused to refresh the token: [..]\n";
/// A user other than root.
const STRANGER: u32 = 1234;

/// Runs the program under a shell that does something before it execs the program.
fn under_shell(sandbox: &Sandbox, before: &str, arguments: &[&str]) -> Command {
    let line = format!("{before}; exec \"$@\"");
    let mut command_line: Vec<OsString> = ["/bin/sh", "-c", &line, "sh"].map(OsString::from).into();
    command_line.extend(program());
    command_line.extend(arguments.iter().map(OsString::from));
    sandbox.command_of(&command_line)
}

/// Starts a caller whose refresh is held at a gate.
fn hold(sandbox: &Sandbox, command: Command) -> (Running, Gate) {
    let gate = sandbox.issuer.hold(REFRESH);
    let running = sandbox.start(command);
    sandbox.issuer.await_requests(REFRESH, 1);
    (running, gate)
}

/// The running worker of a sandbox.
fn worker_of(sandbox: &Sandbox) -> Pid {
    Pid::from_raw(sandbox.await_worker().cast_signed()).unwrap()
}

#[track_caller]
fn assert_well(sandbox: &Sandbox) {
    assert!(sandbox.can_refresh());
    assert_eq!(fs::read(sandbox.home().join("default.lock")).unwrap(), b"");
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
}

/// A service manager signals every process that a service leaves behind, and which signal is configurable.
#[test]
fn no_signal_ends_a_worker_before_it_saves() {
    for signal in [
        Signal::TERM,
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::XCPU,
        Signal::PIPE,
        Signal::TSTP,
    ] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(-60, LIFE);
        let (caller, gate) = hold(&sandbox, sandbox.command(&["token"]));
        kill_process(worker_of(&sandbox), signal).unwrap();
        gate.open();
        caller.finish().assert(0, TOKEN, "");
        assert_well(&sandbox);
    }
}

// Streams.

#[test]
fn a_closed_stream_does_no_harm() {
    for (closed, stdout) in [
        ("exec <&-", TOKEN),
        ("exec 2>&-", TOKEN),
        ("exec >&-", ""),
        ("exec <&- >&- 2>&-", ""),
    ] {
        let sandbox = Sandbox::new();
        // The refresh opens files, none of which may get the number of a closed stream.
        sandbox.plant_expiring_in(-60, LIFE);
        let command = under_shell(&sandbox, closed, &["token"]);
        sandbox.start(command).finish().assert(0, stdout, "");
        assert_well(&sandbox);
        sandbox.issuer.revoke_logins();
        let command = under_shell(&sandbox, closed, &["token", "--force-refresh"]);
        let stderr = match closed {
            "exec 2>&-" | "exec <&- >&- 2>&-" => "",
            _ => REFUSED,
        };
        sandbox.start(command).finish().assert(4, "", stderr);
    }
}

#[test]
fn a_login_with_closed_streams_is_stored() {
    for closed in ["exec <&-", "exec >&-", "exec <&- >&-"] {
        let sandbox = Sandbox::new();
        let mut login = sandbox.start(under_shell(&sandbox, closed, &["login"]));
        login.sign_in();
        login.finish().assert(0, "", SIGNED_IN);
        assert_well(&sandbox);
    }
}

#[test]
fn a_reader_that_exits_early_is_not_a_failure() {
    for arguments in [
        &["token"][..],
        &["account-id"],
        &["status"],
        &["completions", "zsh"],
    ] {
        let sandbox = Sandbox::new();
        sandbox.plant();
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = sandbox.command(arguments);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!(
            (output.status.code(), output.stderr),
            (Some(0), Vec::new()),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_full_disk_under_stdout_is_a_failure_with_a_message() {
    for arguments in [
        &["token"][..],
        &["account-id"],
        &["status"],
        &["completions", "zsh"],
    ] {
        let sandbox = Sandbox::new();
        sandbox.plant();
        let command = under_shell(&sandbox, "exec >/dev/full", arguments);
        sandbox.start(command).finish().assert(
            1,
            "",
            "codex-auth: could not write to stdout: No space left on device (os error 28)\n",
        );
    }
}

#[test]
fn a_full_disk_under_stderr_changes_no_exit_code() {
    let sandbox = Sandbox::new();
    let command = under_shell(&sandbox, "exec 2>/dev/full", &["token"]);
    sandbox.start(command).finish().assert(4, "", "");
}

/// A full pipe, and its content.
fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    let mut filled = 0;
    loop {
        match writer.write(&[b'.'; 4096]) {
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer, filled)
}

#[test]
fn a_caller_that_cannot_write_blocks_nobody_and_exits_when_it_can() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let (mut reader, writer, filled) = full_pipe();
    let mut command = sandbox.command(&["token"]);
    let mut caller = command.stdout(writer).spawn().unwrap();
    // It holds the other end, too.
    drop(command);
    sandbox.issuer.await_answers(REFRESH, 1);
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
    assert!(
        caller.try_wait().unwrap().is_none(),
        "it did not wait for its reader"
    );
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(caller.wait().unwrap().code(), Some(0));
    let token = text[filled..].trim_end().to_owned();
    assert!(sandbox.issuer.access_tokens().contains(&token), "{token}");
}

// Signals, and a stopped terminal.

#[test]
fn a_signal_during_a_login_leaves_the_old_one_as_it_was() {
    for signal in [Signal::HUP, Signal::INT, Signal::TERM, Signal::QUIT] {
        let sandbox = Sandbox::new();
        let planted: Value = sandbox.plant();
        let gate = sandbox.issuer.gate();
        let unanswered = Trouble::DropBefore.and(Trouble::Hold(gate));
        sandbox.issuer.plan(Endpoint::Exchange, unanswered);
        let mut login = sandbox.spawn(&["login"]);
        let address = login.address();
        let browser = std::thread::spawn(move || browser::try_visit(&address).is_ok());
        sandbox.issuer.await_requests(Endpoint::Exchange, 1);
        login.signal(signal);
        let begun = SIGNED_IN.replace("Signed in as someone@mail.example (Plus)\n", "");
        login.finish().assert(-signal.as_raw(), "", &begun);
        assert!(!browser.join().unwrap(), "it was told something");
        assert_eq!(sandbox.stored(), planted);
        assert_well(&sandbox);
    }
}

#[test]
fn a_caller_that_is_stopped_does_not_stop_its_refresh() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in(-60, LIFE);
    let (caller, gate) = hold(&sandbox, sandbox.command(&["token"]));
    caller.signal(Signal::STOP);
    gate.open();
    sandbox.await_stored(|stored| stored["last_refresh"] != planted["last_refresh"]);
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
    caller.signal(Signal::CONT);
    caller.finish().assert(0, TOKEN, "");
}

#[test]
fn a_stopped_terminal_blocks_nobody() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::start(&sandbox, &["login"], 80);
    let address = terminal.address();
    terminal.await_text("Waiting for up to 15 minutes …", 1);
    terminal.press("\x13");
    assert_eq!(browser::visit(&address).status, 200);
    assert_well(&sandbox);
    terminal.press("\x11");
    let (code, screen) = terminal.finish();
    assert!(
        code == 0 && screen.contains("Signed in as someone@mail.example (Plus)\n"),
        "{screen}"
    );
}

// Memory.

/// Whether the kernel reports that a process dumped core, to a file or to a program (core(5)).
fn left_core(process: &mut Child) -> bool {
    let status = process.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::QUIT.as_raw()));
    status.core_dumped()
}

#[test]
fn a_crash_leaves_no_core() {
    let sandbox = Sandbox::new();
    let unlimited = "ulimit -c unlimited && kill -QUIT $$";
    let mut shell = sandbox.command_of(&["/bin/sh", "-c", unlimited].map(OsString::from));
    if !left_core(&mut shell.spawn().unwrap()) {
        skip("no process leaves a core here");
        return;
    }
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let mut command = under_shell(&sandbox, "ulimit -c unlimited", &["token"]);
    let mut caller = command.spawn().unwrap();
    sandbox.issuer.await_requests(REFRESH, 1);
    kill_process(Pid::from_child(&caller), Signal::QUIT).unwrap();
    assert!(!left_core(&mut caller));
    gate.open();
    sandbox.issuer.await_answers(REFRESH, 1);
}

/// If a process is not dumpable, root owns its files in /proc, so that other processes of its user can neither read its
/// environment and memory nor trace it (proc(5)).
#[test]
fn other_processes_of_the_user_cannot_look_into_caller_and_worker() {
    let Some(program) = native_program() else {
        return;
    };
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let binary = sandbox.bin().join("codex-auth");
    copy_program(&program, &binary);
    // As root, they belong to root in any case.
    let user = rustix::process::geteuid();
    let user = if user.is_root() {
        STRANGER
    } else {
        user.as_raw()
    };
    for path in [
        sandbox.folder(),
        &sandbox.home(),
        &sandbox.file("default"),
        &binary,
    ] {
        chown(path, Some(user), None).unwrap();
    }
    let mut command = sandbox.command_of(&[binary.into(), "token".into()]);
    command.uid(user);
    let (caller, gate) = hold(&sandbox, command);
    for pid in [caller.pid().to_string(), worker_of(&sandbox).to_string()] {
        let owner = |part: &str| fs::metadata(format!("/proc/{pid}/{part}")).unwrap().uid();
        assert_eq!((owner("mem"), owner("environ")), (0, 0));
    }
    gate.open();
    caller.finish().assert(0, TOKEN, "");
    let mut stranger = sandbox.command_of(&["/bin/sh".into(), "-c".into(), "read x".into()]);
    let mut stranger = stranger
        .uid(user)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let environ = fs::metadata(format!("/proc/{}/environ", stranger.id())).unwrap();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(environ.uid(), user, "nothing can be seen here");
}
