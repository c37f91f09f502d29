//! `login --from`: one machine holds the login, and others get access tokens from it through a command or a socket,
//! without ever seeing a refresh token.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[cfg(target_os = "linux")]
use crate::terminal::Terminal;
use support::fake_issuer::{Endpoint, Trouble};
use support::process::{Output, Running};
use support::sandbox::{LIFE, Sandbox, program_line};
#[cfg(target_os = "linux")]
use support::sandbox::{find_program, program, skip};
#[cfg(target_os = "linux")]
use support::socket::Socket;
use support::sshd::Sshd;

const REFRESH: Endpoint = Endpoint::Refresh;
const TOKEN: &str = "[TOKEN]\n";
const SIGNED_IN: &str = "Signed in as someone@mail.example (Plus)\n  Its tokens come from remote\n";
const SAME: &str = "it printed the same token again";

/// A machine that holds the login, and one that gets its tokens from there.
struct Machines {
    authority: Sandbox,
    client: Sandbox,
}

impl Machines {
    /// The client signs in with the script `remote`, which records each of its runs.
    #[track_caller]
    fn new() -> Self {
        let authority = Sandbox::new();
        authority.plant();
        let machines = Self {
            client: Self::client(&authority),
            authority,
        };
        machines.sign_in();
        machines
    }

    /// Another machine with that script.
    fn client(authority: &Sandbox) -> Sandbox {
        let client = Sandbox::with(std::sync::Arc::clone(&authority.issuer));
        let script = format!(
            "echo \"$CODEX_AUTH_REQUEST\" >>'{}'\nCODEX_AUTH_HOME='{}' exec {} token --format json",
            client.folder().join("runs").display(),
            authority.home().display(),
            program_line(),
        );
        client.script("remote", &script);
        client
    }

    #[track_caller]
    fn sign_in(&self) {
        let output = self.client.run(&["login", "--from", "--", "remote"]);
        output.assert(0, "", SIGNED_IN);
        fs::remove_file(self.client.folder().join("runs")).unwrap();
    }

    /// What each run of the command was asked for: lifetime, another token, rejected token.
    fn runs(&self) -> Vec<String> {
        runs(&self.client)
    }

    /// Makes the stored tokens of both expire in this many seconds.
    fn age(&self, left: i64) {
        self.authority.age(left);
        self.client.age(left);
    }
}

fn runs(client: &Sandbox) -> Vec<String> {
    let text = fs::read_to_string(client.folder().join("runs")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Runs the client with a different script instead of `remote`.
#[track_caller]
fn run_with(client: &Sandbox, script: &str, arguments: &[&str]) -> Output {
    client.script("remote", script);
    client.run(arguments)
}

#[test]
fn a_client_has_the_token_and_nothing_else() {
    let Machines { authority, client } = &Machines::new();
    let printed = client.run(&["token"]);
    printed.assert(0, TOKEN, "");
    assert_eq!(printed.line(), authority.run(&["token"]).line());
    client.run(&["account-id"]).assert(0, "account-1\n", "");
    client
        .run(&["exec", "--", "/bin/sh", "-c", "echo $CODEX_AUTH_TOKEN"])
        .assert(0, TOKEN, "");
    assert_eq!(runs(client).len(), 0);
    let stored = client.stored();
    assert_eq!(stored["source"], json!({"command": ["remote"]}));
    assert_eq!(stored["tokens"]["refresh_token"], Value::Null);
    assert_eq!(stored["tokens"]["id_token"], Value::Null);
    let headers = client.run(&["token", "--format", "headers"]);
    assert_eq!(
        headers.stdout,
        authority.run(&["token", "--format", "headers"]).stdout
    );
    assert_eq!(client.issuer.count(Endpoint::AccountsCheck), 1);
    assert_eq!(client.issuer.requests().len(), 1);
}

#[test]
fn the_headers_of_a_workspace_come_with_its_token() {
    let authority = Sandbox::new();
    authority.issuer.set(|its| {
        let claims = json!({"chatgpt_account_is_fedramp": true, "chatgpt_data_residency": "eu"});
        its.account.claims.clone_from(claims.as_object().unwrap());
    });
    authority.plant();
    let client = Machines::client(&authority);
    // As if the access token had no claims.
    let mut stored = authority.stored();
    stored["tokens"]["access_token"] = json!("opaque");
    authority.store("default", &stored.to_string());
    client
        .run(&["login", "--from", "--", "remote"])
        .assert(0, "", SIGNED_IN);
    client.run(&["token", "--format", "headers"]).assert(
        0,
        "Authorization: Bearer opaque\nChatGPT-Account-Id: account-1\nx-openai-internal-codex-residency: eu\nX-OpenAI-Fedramp: true\n",
        "",
    );
}

#[test]
fn of_many_callers_one_runs_the_command() {
    for left in [-60, 7200] {
        let machines = Machines::new();
        machines.age(left);
        let callers: Vec<Running> = (0..16).map(|_| machines.client.spawn(&["token"])).collect();
        for caller in callers {
            caller.finish().assert(0, TOKEN, "");
        }
        machines
            .client
            .await_stored(|stored| stored["expires_in"].as_u64() > Some(LIFE - 60));
        assert_eq!(machines.runs(), [""]);
        assert_eq!(machines.authority.issuer.count(REFRESH), 1);
        let newest = machines.authority.issuer.access_tokens().pop().unwrap();
        assert_eq!(machines.client.run(&["token"]).line(), newest);
    }
}

#[test]
fn many_machines_cost_one_refresh() {
    let Machines { authority, client } = &Machines::new();
    let mut clients: Vec<Sandbox> = (0..8).map(|_| Machines::client(authority)).collect();
    for client in &clients {
        client
            .run(&["login", "--from", "--", "remote"])
            .assert(0, "", SIGNED_IN);
    }
    authority.age(-60);
    for client in clients.iter().chain([client]) {
        client.age(-60);
    }
    let callers: Vec<Running> = clients
        .iter()
        .map(|client| client.spawn(&["token"]))
        .collect();
    for caller in callers {
        caller.finish().assert(0, TOKEN, "");
    }
    assert_eq!(authority.issuer.count(REFRESH), 1);
    // Each client has chosen its own time for the next one.
    let mut windows: Vec<u64> = clients
        .drain(..)
        .map(|client| client.stored()["refresh_window"].as_u64().unwrap())
        .collect();
    windows.sort_unstable();
    windows.dedup();
    assert!(windows.len() > 4, "{windows:?}");
    let (least, most) = (windows[0], windows[windows.len() - 1]);
    assert!(LIFE / 20 - 60 <= least && most <= LIFE / 10, "{windows:?}");
}

#[test]
fn options_are_passed_on() {
    let machines = Machines::new();
    machines.age(7200);
    machines
        .client
        .run(&["token", "--min-ttl", "5d"])
        .assert(0, TOKEN, "");
    assert_eq!(machines.runs(), ["min-ttl=432000"]);
    assert_eq!(machines.authority.issuer.count(REFRESH), 1);
    machines
        .client
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
    assert_eq!(machines.runs()[1..], ["force-refresh"]);
    assert_eq!(machines.authority.issuer.count(REFRESH), 2);
}

#[test]
fn the_options_of_another_machine_are_not_passed_on() {
    let machines = Machines::new();
    machines.age(-60);
    let mut command = machines.client.command(&["token"]);
    command.env("CODEX_AUTH_REQUEST", "rejected=f00");
    machines.client.start(command).finish().assert(0, TOKEN, "");
    assert_eq!(machines.runs(), [""]);
}

#[test]
fn a_rejected_token_is_replaced_once_for_all_machines_that_report_it() {
    let machines = Machines::new();
    let Machines { authority, client } = &machines;
    let second = Machines::client(authority);
    second
        .run(&["login", "--from", "--", "remote"])
        .assert(0, "", SIGNED_IN);
    authority.issuer.reject_access_tokens();
    // Received a while ago.
    let mut stored = authority.stored();
    stored["last_refresh"] = json!("2026-01-01T00:00:00Z");
    authority.store("default", &stored.to_string());
    let verify = ["token", "--verify", "--timeout", "10m"];
    let callers = [client.spawn(&verify), second.spawn(&verify)];
    let newest: Vec<String> = callers
        .into_iter()
        .map(|caller| {
            let output = caller.finish();
            output.assert(0, TOKEN, "");
            output.line().to_owned()
        })
        .collect();
    assert_eq!(newest[0], newest[1]);
    assert_eq!(authority.issuer.count(REFRESH), 1);
    let [run] = &machines.runs()[..] else {
        panic!("{:?}", machines.runs());
    };
    // The environment contains no token.
    assert_eq!(run.len(), "rejected=".len() + 43, "{run}");
}

#[test]
fn a_report_about_another_token_is_ignored() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let run = |request: &str| {
        let mut command = sandbox.command(&["token"]);
        command.env("CODEX_AUTH_REQUEST", request);
        sandbox.start(command).finish()
    };
    for nothing in ["rejected=f00", "min-ttl=5m", ""] {
        run(nothing).assert(0, TOKEN, "");
    }
    for unknown in ["1", "force-refresh=false", "no", "min-ttl=soon"] {
        let message =
            format!("codex-auth: invalid value \"{unknown}\" for CODEX_AUTH_REQUEST: [..]\n");
        run(unknown).assert(2, "", &message);
    }
    assert_eq!(sandbox.issuer.requests().len(), 0);
}

/// Runs the program with a request from another machine.
fn run_asked(sandbox: &Sandbox, request: &str, arguments: &[&str]) -> Output {
    let mut command = sandbox.command(arguments);
    command.env("CODEX_AUTH_REQUEST", request);
    sandbox.start(command).finish()
}

#[test]
fn a_rejection_that_the_backend_does_not_confirm_changes_nothing() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
    let token = planted["tokens"]["access_token"].as_str().unwrap();
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
    let lie = format!("rejected={hash}");
    for _ in 0..3 {
        run_asked(&sandbox, &lie, &["token"]).assert(0, TOKEN, "");
    }
    assert_eq!(sandbox.issuer.count(Endpoint::Usage), 3);
    sandbox
        .run(&["token", "--verify", "--timeout", "10m"])
        .assert(0, TOKEN, "");
    // Nor does a rejection that cannot be checked.
    sandbox
        .issuer
        .plan_always(Endpoint::Usage, Trouble::status(503));
    let words = "codex-auth: warning: could not check the token with the backend: [..]\n";
    run_asked(&sandbox, &lie, &["token"]).assert(0, TOKEN, words);
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
    assert_eq!(sandbox.stored(), planted);
}

#[test]
fn refreshes_forced_by_other_machines_become_less_frequent() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let force = || run_asked(&sandbox, "force-refresh", &["token"]);
    let words = "codex-auth: another machine forced a refresh just now: the next one can be forced in [..]\n";
    for attempts in 1..3 {
        force().assert(0, TOKEN, "");
        for _ in 0..5 {
            force().assert(75, "", words);
        }
        assert_eq!(sandbox.issuer.count(REFRESH), attempts);
        let mut stored = sandbox.stored();
        assert_eq!(stored["forced_backoff"]["attempts"], attempts);
        stored["forced_backoff"]["until"] = stored["forced_backoff"]["at"].clone();
        sandbox.store("default", &stored.to_string());
    }
    force().assert(0, TOKEN, "");
    // A user here does not have to wait, and neither do callers that accept any valid token.
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
    force().assert(75, "", words);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert_eq!(sandbox.issuer.count(REFRESH), 4);
}

#[test]
fn a_token_of_another_account_is_refused_whatever_the_output_claims() {
    let machines = Machines::new();
    machines.client.age(-60);
    let claims = json!({"https://api.openai.com/auth": {"chatgpt_account_id": "account-2"}});
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let output = json!({"token": token, "account_id": "account-1", "expires_in": 3600});
    run_with(&machines.client, &format!("echo '{output}'"), &["token"]).assert(
        75,
        "",
        "codex-auth: could not get a token from remote: it printed a token of another account\n",
    );
}

#[test]
fn a_complete_token_ends_the_wait_for_a_command_whose_daemon_keeps_stdout() {
    let machines = Machines::new();
    machines.client.age(-60);
    let output = json!({"token": "opaque", "account_id": "account-1", "expires_in": 3600});
    let pid = machines.client.folder().join("daemon");
    let script = format!(
        "echo '{output}'; /bin/sleep 300 & echo $! >'{}'",
        pid.display()
    );
    run_with(&machines.client, &script, &["token"]).assert(0, "opaque\n", "");
    let pid = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    let daemon = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_complete_token_ends_the_wait_for_a_socket_that_stays_open() {
    let machines = Machines::new();
    let client = &machines.client;
    let path = client.folder().join("open");
    let listener = UnixListener::bind(&path).unwrap();
    let mut stored = client.stored();
    stored["source"] = json!({ "socket": path });
    client.store("default", &stored.to_string());
    client.age(-60);
    let caller = client.spawn(&["token"]);
    let (mut stream, _) = listener.accept().unwrap();
    let output = json!({"token": "opaque", "account_id": "account-1", "expires_in": 3600});
    // In one write, as the caller may close the connection as soon as the object is complete.
    stream.write_all(output.to_string().as_bytes()).unwrap();
    caller.finish().assert(0, "opaque\n", "");
    drop(stream);
}

#[test]
fn an_unreachable_source_delays_no_later_call() {
    let machines = Machines::new();
    let client = &machines.client;
    let mut stored = client.stored();
    stored["source"] = json!({ "socket": client.folder().join("none") });
    client.store("default", &stored.to_string());
    client.age(-60);
    let words = "codex-auth: could not get a token from unix:[..]/none: [..]\n";
    client.run(&["token"]).assert(75, "", words);
    assert!(client.stored()["backoff"].is_null());
}

#[test]
fn a_command_without_the_request_gets_a_hint() {
    let machines = Machines::new();
    let token = machines.client.run(&["token"]).line().to_owned();
    let script = format!(
        "echo '{}'",
        json!({"token": token, "account_id": "account-1"})
    );
    let output = run_with(&machines.client, &script, &["token", "--force-refresh"]);
    output.assert(
        75,
        "",
        &format!("codex-auth: could not get a token from remote: {SAME}: pass CODEX_AUTH_REQUEST on to the machine that refreshes it\n"),
    );
    machines.client.run(&["token"]).assert(0, TOKEN, "");
}

/// As long as there is no newer token, the old one is printed, and not every call runs the command.
#[test]
fn the_same_token_again_is_served_and_asked_for_less_and_less_often() {
    let machines = Machines::new();
    let token = machines.client.run(&["token"]).line().to_owned();
    fs::write(machines.client.folder().join("runs"), "").unwrap();
    let script = format!(
        "echo x >>'{}'; echo '{}'",
        machines.client.folder().join("runs").display(),
        json!({"token": token, "account_id": "account-1", "expires_in": 100})
    );
    machines.client.script("remote", &script);
    let warning = format!(
        "codex-auth: warning: could not get a token from remote: {SAME}; the current token expires in [..]\n"
    );
    machines.age(120);
    machines.client.run(&["token"]).assert(0, TOKEN, &warning);
    let mut stored = machines.client.stored();
    assert_eq!(stored["backoff"]["attempts"], 1);
    stored["backoff"]["until"] = json!("2999-01-01T00:00:00Z");
    machines.client.store("default", &stored.to_string());
    machines.client.run(&["token"]).assert(0, TOKEN, &warning);
    assert_eq!(machines.runs().len(), 1);
}

#[test]
fn a_failure_of_the_command_is_reported_in_one_line_and_costs_nothing() {
    let megabyte = "head -c 1100000 /dev/zero | tr '\\0' x";
    let other = r#"echo '{"token":"a","account_id":"account-2"}'"#;
    for (script, reason) in [
        ("exit 0", "it printed nothing"),
        (
            "echo rubbish",
            "it printed no JSON object like that of codex-auth token --format json",
        ),
        ("echo '{}'", "it printed no access token"),
        (
            r#"echo '{"token":"a","expires_in":0}'"#,
            "it printed a token that has expired",
        ),
        (
            r#"echo '{"token":"a","refresh_token":"r"}'"#,
            "it printed a refresh token, which must stay on one machine",
        ),
        (other, "it printed a token of another account"),
        (
            r#"echo '{"token":"a"}'"#,
            "it did not say which account its token belongs to",
        ),
        (megabyte, "it printed more than 1 MiB"),
        ("exit 7", "it failed (exit status: 7)"),
        ("kill -9 $$", "it failed (signal: 9 (SIGKILL)[..])"),
        (
            "echo Welcome >&2; printf 'ssh: \\033[31mno route\\n' >&2; exit 255",
            "ssh:  [31mno route",
        ),
        (
            "echo 'codex-auth: could not refresh' >&2; exit 75",
            "could not refresh",
        ),
        (
            "echo 'Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6ImZha2UiLCJ0eXAi' >&2; exit 1",
            "Bearer …",
        ),
    ] {
        let machines = Machines::new();
        machines.age(-60);
        let before = machines.client.stored();
        let mut command = machines.client.command(&["token"]);
        command.env(
            "PATH",
            format!("{}:/usr/bin:/bin", machines.client.bin().display()),
        );
        machines.client.script("remote", script);
        let output = machines.client.start(command).finish();
        let message = format!("codex-auth: could not get a token from remote: {reason}\n");
        output.assert(75, "", &message);
        let after = machines.client.stored();
        assert_eq!(after["tokens"], before["tokens"], "{script}");
        assert_eq!(after["backoff"]["attempts"], 1, "{script}");
        // The second call reports the same without another run.
        let output = run_with(&machines.client, "exit 3", &["token"]);
        output.assert(75, "", &message);
        machines.client.run(&["login", "--from", "--", "remote"]).assert(
            75,
            "",
            "codex-auth: could not sign in: could not get a token from remote: it failed (exit status: 3)\n",
        );
    }
}

#[test]
fn a_missing_command_is_reported_too() {
    let machines = Machines::new();
    machines.age(-60);
    fs::remove_file(machines.client.bin().join("remote")).unwrap();
    machines.client.run(&["token"]).assert(
        75,
        "",
        "codex-auth: could not get a token from remote: command not found\n",
    );
}

#[test]
fn a_login_required_at_the_other_end_is_reported_as_such() {
    let machines = Machines::new();
    machines.authority.issuer.revoke_logins();
    machines.age(-60);
    let message = "codex-auth: could not get a token from remote: sign in there: the issuer refused to refresh the token: [..]: run codex-auth login\n";
    machines.client.run(&["token"]).assert(4, "", message);
    machines.client.run(&["token"]).assert(4, "", message);
    assert_eq!(machines.runs().len(), 1);
    machines.client.run(&["status"]).assert(
        4,
        "No token: could not get a token from remote: sign in there: [..]\n...\n",
        "",
    );
    machines.client.run(&["status", "--all"]).assert(
        4,
        "PROFILE[..]\ndefault  [..]  could not get a token from remote: sign in there: [..]\n",
        "",
    );
    // After a new login there:
    machines.authority.plant();
    let mut stored = machines.client.stored();
    stored["backoff"]["until"] = json!("2026-01-01T00:00:00Z");
    machines.client.store("default", &stored.to_string());
    machines.client.run(&["token"]).assert(0, TOKEN, "");
}

#[test]
fn a_command_that_hangs_delays_no_call_beyond_its_limit() {
    if support::sandbox::callers_stay() {
        return;
    }
    let machines = Machines::new();
    machines.age(-60);
    let fifo = machines.client.folder().join("fifo");
    let mkfifo = machines
        .client
        .shell(&format!("mkfifo '{}'", fifo.display()));
    machines.client.start(mkfifo).finish().assert(0, "", "");
    // It blocks until the other end is opened.
    let script = format!(
        "read line <'{}'; CODEX_AUTH_HOME='{}' exec {} token --format json",
        fifo.display(),
        machines.authority.home().display(),
        program_line()
    );
    run_with(&machines.client, &script, &["token", "--timeout", "1s"]).assert(
        75,
        "",
        "codex-auth: could not refresh the token within 1 second: the refresh continues, try again later\n",
    );
    let waiting = machines.client.spawn(&["token"]);
    fs::write(&fifo, "\n").unwrap();
    waiting.finish().assert(0, TOKEN, "");
}

/// A shell would clear the mask.
#[cfg(target_os = "linux")]
#[test]
fn a_command_inherits_no_blocked_signals() {
    let machines = Machines::new();
    machines.client.age(-60);
    let mut stored = machines.client.stored();
    let status = machines.client.folder().join("status");
    stored["source"] = json!({"command": ["/bin/cp", "/proc/self/status", status]});
    machines.client.store("default", &stored.to_string());
    let message = "codex-auth: could not get a token from /bin/cp [..]: it printed nothing\n";
    machines.client.run(&["token"]).assert(75, "", message);
    let status = fs::read_to_string(status).unwrap();
    let mask = status.lines().find(|line| line.starts_with("SigBlk"));
    assert_eq!(mask, Some("SigBlk:\t0000000000000000"));
}

/// It runs the same way if the caller has a terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_command_has_an_empty_stdin_and_no_terminal() {
    let machines = Machines::new();
    let seen = machines.client.folder().join("seen");
    let script = format!(
        "exec 3>'{}'; cat >&3; (: </dev/tty) 2>/dev/null && echo terminal >&3; CODEX_AUTH_HOME='{}' exec {} token --force-refresh --format json",
        seen.display(),
        machines.authority.home().display(),
        program_line()
    );
    machines.client.script("remote", &script);
    // If SIGCHLD is ignored, the exit code of the command is not available.
    for caller in ["exec \"$0\" token", "trap '' CHLD; exec \"$0\" token"] {
        machines.client.age(-60);
        let Some(terminal) = Terminal::shell(&machines.client, caller, 80) else {
            return;
        };
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
        let seen = fs::read_to_string(&seen).unwrap();
        assert_eq!(seen, "", "{caller}");
    }
}

#[test]
fn a_socket_gives_tokens_as_a_command_does() {
    let authority = Sandbox::new();
    authority.plant();
    let client = Sandbox::with(std::sync::Arc::clone(&authority.issuer));
    let path = client.folder().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let answer = authority.run(&["token", "--format", "json"]).stdout;
    let serve = thread::spawn(move || {
        for answer in [answer, String::new()] {
            let mut stream = listener.accept().unwrap().0;
            let mut request = String::new();
            stream.read_to_string(&mut request).unwrap();
            assert_eq!(request, "");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let address = path.display().to_string();
    client.run(&["login", "--from-socket", &address]).assert(
        0,
        "",
        "Signed in as someone@mail.example (Plus)\n  Its tokens come from unix:[..]/socket\n",
    );
    client.run(&["token"]).assert(0, TOKEN, "");
    assert_eq!(client.stored()["source"], json!({"socket": path}));
    client.age(-60);
    client.run(&["token"]).assert(
        75,
        "",
        "codex-auth: could not get a token from unix:[..]/socket: it printed nothing\n",
    );
    serve.join().unwrap();
    client.run(&["login", "--from-socket", &address]).assert(75, "", "codex-auth: could not sign in: could not get a token from unix:[..]/socket: Connection refused (os error 111)\n");
    fs::remove_file(path).unwrap();
    client.run(&["login", "--from-socket", &address]).assert(75, "", "codex-auth: could not sign in: could not get a token from unix:[..]/socket: No such file or directory (os error 2)\n");
}

#[test]
fn an_invalid_source_is_wrong_usage() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["login", "--from"][..],
        &["login", "--from", "remote"],
        &["login", "--from-socket"],
        &["login", "--from-socket", "/a", "--", "remote"],
        &["login", "--from", "--from-socket", "/a", "--", "remote"],
        &["login", "--from-socket", "/a", "--no-browser"],
        &["login", "--", "remote"],
        &["login", "--from", "--device-code", "--", "remote"],
        &["login", "--no-browser", "--from", "--", "remote"],
    ] {
        sandbox.run(arguments).assert(2, "", "codex-auth: [..]\n");
    }
    assert!(!sandbox.home().exists());
}

#[test]
fn a_path_of_a_command_leads_to_it_from_everywhere() {
    let machines = Machines::new();
    let client = &machines.client;
    client.run(&["login", "--from", "--", "bin/remote", "a b"]).assert(
        0,
        "",
        "Signed in as someone@mail.example (Plus)\n  Its tokens come from [..]/bin/remote 'a b'\n",
    );
    let path = client.bin().join("remote");
    assert_eq!(client.stored()["source"]["command"], json!([path, "a b"]));
}

#[test]
fn a_workspace_is_checked() {
    let machines = Machines::new();
    let arguments = [
        "login",
        "--from",
        "--workspace",
        "account-2",
        "--",
        "remote",
    ];
    machines.client.run(&arguments).assert(
        1,
        "",
        "codex-auth: could not sign in: the login is for workspace account-1, but only account-2 is accepted\n",
    );
}

#[test]
fn a_missing_command_is_not_a_temporary_failure() {
    let sandbox = Sandbox::new();
    let script = sandbox.folder().join("script");
    fs::write(&script, "").unwrap();
    let not_executable = script.to_str().unwrap();
    for (command, failure) in [
        ("nosuchcommand", "nosuchcommand: command not found"),
        ("./nosuchcommand", "./nosuchcommand: no such file"),
        ("", "'': command not found"),
        (not_executable, "[FOLDER]/script: permission denied"),
    ] {
        let login = sandbox.run(&["login", "--from", "--", command]);
        let stderr = format!("codex-auth: could not sign in: {failure}\n");
        login.assert(1, "", &stderr);
    }
    assert!(!sandbox.home().exists());
}

#[test]
fn status_and_doctor_say_where_the_tokens_come_from() {
    let machines = Machines::new();
    let client = &machines.client;
    client.run(&["status"]).assert(
        0,
        "Signed in as someone@mail.example (Plus)\n...\n  Source:     remote\n",
        "",
    );
    let shown: Value = serde_json::from_str(&client.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(
        (&shown["source"], &shown["issuer"]),
        (&json!("remote"), &Value::Null)
    );
    client.run(&["doctor", "--verbose"]).assert(
        0,
        "...\n✓ source        remote: its token expires in [..]\n...\n",
        "",
    );
    let failing = run_with(client, "exit 3", &["doctor"]);
    failing.assert(
        1,
        "...\n✗ source        could not get a token from remote: it failed (exit status: 3)\n...\n",
        "",
    );
    let other = r#"echo '{"token":"a","account_id":"account-2"}'"#;
    let failing = run_with(client, other, &["doctor"]);
    failing.assert(
        1,
        "...\n✗ source        remote: its token is for another account: run codex-auth login --from again\n...\n",
        "",
    );
}

#[test]
fn signing_out_revokes_nothing() {
    let machines = Machines::new();
    machines.client.run(&["logout"]).assert(
        0,
        "",
        "Signed out (profile default). The login was not revoked: sign out where remote gets its tokens.\n",
    );
    assert!(!machines.client.file("default").exists());
    assert!(machines.authority.can_refresh());
    assert_eq!(machines.client.issuer.revoked(), [""; 0]);
}

#[test]
fn a_source_replaces_a_login_and_a_login_replaces_a_source() {
    let machines = Machines::new();
    let client = &machines.client;
    client
        .issuer
        .set(|its| its.account.id = Some("account-2".to_owned()));
    let own = client.plant();
    client
        .run(&["login", "--from", "--", "remote"])
        .assert(0, "", SIGNED_IN);
    let revoked = client.issuer.revoked();
    assert_eq!(revoked, [own["tokens"]["refresh_token"].as_str().unwrap()]);
    let mut login = client.spawn(&["login", "--no-browser"]);
    login.sign_in();
    login.finish().assert(0, "", crate::login::SIGNED_IN);
    assert_eq!(client.stored()["source"], Value::Null);
    assert_eq!(client.issuer.revoked().len(), 1);
}

/// The client has a copy of the login, which was refreshed since at the source of its tokens.
#[test]
fn a_copy_of_the_login_is_not_revoked() {
    let machines = Machines::new();
    let Machines { authority, client } = &machines;
    client.store("default", &authority.stored().to_string());
    authority
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
    client.run(&["login", "--from", "--", "remote"]).assert(
        0,
        "",
        &format!("{SIGNED_IN}The earlier login was not revoked: remote may get its tokens from a copy of it.\n"),
    );
    assert!(authority.can_refresh());
}

#[test]
fn the_login_itself_is_not_replaced_by_its_own_tokens() {
    let machines = Machines::new();
    let Machines { authority, client } = &machines;
    let held = authority.stored().to_string();
    client.store("default", &held);
    client.run(&["login", "--from", "--", "remote"]).assert(
        1,
        "",
        "codex-auth: could not sign in: the profile default is the login that these tokens come from: choose another --profile, or run codex-auth logout --no-revoke first\n",
    );
    assert_eq!(client.stored().to_string(), held);
}

/// Losing this worker loses nothing, so callers need not wait for it even if the system kills it along with its caller.
#[cfg(target_os = "linux")]
#[test]
fn nobody_waits_longer_for_a_command_in_a_container() {
    let machines = Machines::new();
    machines.age(-60);
    machines
        .client
        .script("remote", "while :; do /bin/sleep 1; done");
    let mut command = machines.client.shell("exec unshare --user --map-root-user --pid --fork --mount-proc --kill-child \"$0\" token --timeout 1s");
    command.arg(&program()[0]);
    let output = machines.client.start(command).finish();
    if output.stderr.contains("unshare") {
        return skip("no PID namespaces here");
    }
    output.assert(75, "", "codex-auth: could not refresh the token within 1 second: the refresh continues, try again later\n");
}

/// There may be no newer token yet.
#[test]
fn the_same_token_ahead_of_time_is_not_a_failure() {
    let machines = Machines::new();
    machines.age(3600);
    let token = machines.client.run(&["token"]).line().to_owned();
    machines.age(3600);
    let script = format!(
        "echo '{}'",
        json!({"token": token, "account_id": "account-1", "expires_in": 3600})
    );
    run_with(&machines.client, &script, &["token"]).assert(0, TOKEN, "");
    assert_eq!(machines.client.stored()["backoff"]["attempts"], 1);
    // The same token with a longer lifetime is still the same token.
    let script = format!(
        "echo '{}'",
        json!({"token": "opaque", "account_id": "account-1"})
    );
    machines.client.script("remote", &script);
    let mut stored = machines.client.stored();
    stored["tokens"]["access_token"] = json!("opaque");
    stored["backoff"] = Value::Null;
    machines.client.store("default", &stored.to_string());
    machines.client.age(60);
    machines.client.run(&["token", "--force-refresh"]).assert(
        75,
        "",
        &format!("codex-auth: could not get a token from remote: {SAME}: [..]\n"),
    );
    let mut stored = machines.client.stored();
    stored["backoff"] = Value::Null;
    machines.client.store("default", &stored.to_string());
    machines.client.run(&["token"]).assert(0, "opaque\n", "");
    assert!(machines.client.stored()["expires_in"].as_u64() > Some(3500));
}

/// The same over a real ssh, with a key restricted to this command.
#[test]
fn ssh_gives_tokens_and_nothing_else() {
    let authority = Sandbox::new();
    authority.plant();
    let Some(sshd) = Sshd::start(&authority) else {
        return;
    };
    let words = sshd.command(10);
    let client = Sandbox::with(std::sync::Arc::clone(&authority.issuer));
    let login = |client: &Sandbox| {
        let mut arguments = vec!["login", "--from", "--"];
        arguments.extend(words.iter().map(String::as_str));
        client.run(&arguments)
    };
    login(&client).assert(
        0,
        "",
        "Signed in as someone@mail.example (Plus)\n  Its tokens come from [..]\n",
    );
    client
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
    assert_eq!(authority.issuer.count(REFRESH), 1);
    assert_eq!(
        client.run(&["token"]).line(),
        authority.run(&["token"]).line()
    );
    // Whatever the client asks for, the key prints the token.
    let mut asked: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
    asked.extend(["cat", "/etc/passwd"].map(Into::into));
    let printed = client.start(client.command_of(&asked)).finish();
    assert!(
        printed.stdout.starts_with("{\"access_token\":"),
        "{}",
        printed.stdout
    );
    assert_eq!(printed.stdout.lines().count(), 1);
    authority.issuer.revoke_logins();
    authority.age(-60);
    client.age(-60);
    client.run(&["token"]).assert(4, "", "codex-auth: could not get a token from [..]: sign in there: the issuer refused to refresh the token: [..]: run codex-auth login\n");
    drop(sshd);
    login(&client).assert(75, "", "codex-auth: could not sign in: could not get a token from [..]: ssh: connect to host 127.0.0.1 port [..]: Connection refused\n");
}

/// The recipe for containers and sandboxes on one host: a socket opened by systemd, used in a sandbox without a network.
#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_systemd_opens_gives_tokens_in_a_sandbox() {
    let Some(bwrap) = find_program("bwrap") else {
        return skip("no bwrap here");
    };
    let authority = Sandbox::new();
    authority.plant();
    let Some(socket) = Socket::start(&authority) else {
        return;
    };
    let client = Sandbox::with(std::sync::Arc::clone(&authority.issuer));
    let sandboxed = |arguments: &[&str]| {
        let mut command_line: Vec<std::ffi::OsString> = vec![bwrap.clone().into()];
        command_line.extend(
            [
                "--unshare-net",
                "--unshare-pid",
                "--dev-bind",
                "/",
                "/",
                "--",
            ]
            .map(Into::into),
        );
        command_line.extend(program());
        command_line.extend(arguments.iter().map(Into::into));
        client.start(client.command_of(&command_line)).finish()
    };
    let address = socket.path().display().to_string();
    let login = sandboxed(&["login", "--from-socket", &address]);
    if login.stderr.starts_with("bwrap:") {
        return skip("bwrap does not work here");
    }
    login.assert(
        0,
        "",
        "Signed in as someone@mail.example (Plus)\n  Its tokens come from unix:[..]/socket\n",
    );
    authority.age(-60);
    client.age(-60);
    sandboxed(&["token"]).assert(0, TOKEN, "");
    assert_eq!(client.issuer.count(REFRESH), 1);
}
