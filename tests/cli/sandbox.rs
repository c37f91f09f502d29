//! Inside the sandboxes that agents use for commands: Codex's own, if Codex is installed, and bubblewrap. A valid token
//! is printed. What the sandbox forbids is reported in one line that says what to run outside, and is not recorded.

use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;

use serde_json::Value;

use crate::codex;
use support::fake_issuer::{Endpoint, Trouble};
use support::process::Output;
use support::sandbox::{LIFE, Sandbox, program, skip};

const TOKEN: &str = "[TOKEN]\n";
const DAY: u64 = 24 * 3600;
const CANNOT_WRITE: &str = "this sandbox cannot write to [HOME]";
const NO_NETWORK: &str = "127.0.0.1: no network in this sandbox";

/// What a sandbox allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rules {
    network: bool,
    store: bool,
}

/// Every combination.
const ALL: [Rules; 4] = [
    READ_ONLY,
    Rules {
        network: true,
        store: false,
    },
    NO_INTERNET,
    Rules {
        network: true,
        store: true,
    },
];
const READ_ONLY: Rules = Rules {
    network: false,
    store: false,
};
const NO_INTERNET: Rules = Rules {
    network: false,
    store: true,
};

/// The program that creates the sandbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Maker {
    Codex,
    /// Sets no variable; without a network, connections are refused.
    Bubblewrap,
}

/// The programs that work here.
fn makers() -> Vec<Maker> {
    let works = |maker: &Maker| {
        let sandbox = Sandbox::new();
        let works = maker.command(&sandbox, READ_ONLY, &["/bin/true".into()]);
        let works = works.is_some_and(|command| sandbox.start(command).finish().code == 0);
        if !works {
            skip(&format!("no sandbox of {maker:?} can be made here"));
        }
        works
    };
    [Maker::Codex, Maker::Bubblewrap]
        .into_iter()
        .filter(works)
        .collect()
}

impl Maker {
    /// `None` if Codex is not installed.
    fn command(self, sandbox: &Sandbox, rules: Rules, words: &[OsString]) -> Option<Command> {
        let home = sandbox.home().display().to_string();
        let mut line: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| line.extend(words.iter().map(OsString::from));
        match self {
            Self::Codex => {
                let codex = codex::find()?.display().to_string();
                let mode = if rules == READ_ONLY {
                    "read-only"
                } else {
                    "workspace-write"
                };
                add(&[&codex, "sandbox", "-c", &format!("sandbox_mode=\"{mode}\"")]);
                let table = "sandbox_workspace_write";
                // The folder of the test is in there.
                for member in ["exclude_slash_tmp", "exclude_tmpdir_env_var"] {
                    add(&["-c", &format!("{table}.{member}=true")]);
                }
                add(&["-c", &format!("{table}.network_access={}", rules.network)]);
                if rules.store {
                    add(&["-c", &format!("{table}.writable_roots=[\"{home}\"]")]);
                }
                add(&["--"]);
            }
            Self::Bubblewrap => {
                add(&[
                    "bwrap",
                    "--ro-bind",
                    "/",
                    "/",
                    "--dev",
                    "/dev",
                    "--proc",
                    "/proc",
                ]);
                add(&["--unshare-pid", "--die-with-parent"]);
                if rules.store {
                    add(&["--bind", &home, &home]);
                }
                if !rules.network {
                    add(&["--unshare-net"]);
                }
            }
        }
        line.extend(words.iter().cloned());
        // Codex needs a home folder that is not among temporary files, and a working folder.
        let mut command = sandbox.command_of(&line);
        for name in ["codex-auth", "temporary", "of-codex", "work"] {
            fs::create_dir_all(sandbox.folder().join(name)).unwrap();
        }
        command.env("TMPDIR", sandbox.folder().join("temporary"));
        command.env("CODEX_HOME", sandbox.folder().join("of-codex"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(sandbox.folder().join("work"));
        Some(command)
    }

    #[track_caller]
    fn run(self, sandbox: &Sandbox, rules: Rules, arguments: &[&str]) -> Output {
        let mut words = program();
        words.extend(arguments.iter().map(OsString::from));
        let command = self.command(sandbox, rules, &words).unwrap();
        sandbox.start(command).finish()
    }

    /// The message if there is no network.
    fn offline(self) -> &'static str {
        match self {
            Self::Codex => NO_NETWORK,
            Self::Bubblewrap => "127.0.0.1: connection refused",
        }
    }
}

/// Runs `token` with these arguments in every sandbox, each time with a login made by `prepare`. `expected` returns the
/// expected code, stdout and stderr, or `None` where the token can be replaced. A failure must not change anything.
#[track_caller]
fn try_all(
    arguments: &[&str],
    prepare: impl Fn(&Sandbox),
    expected: impl Fn(Maker, Rules) -> Option<(i32, &'static str, String)>,
) {
    for maker in makers() {
        for rules in ALL {
            let sandbox = Sandbox::new();
            prepare(&sandbox);
            let before = fs::read(sandbox.file("default")).ok();
            let output = maker.run(&sandbox, rules, arguments);
            let after = fs::read(sandbox.file("default")).ok();
            eprintln!("{maker:?} {rules:?}");
            let Some((code, stdout, stderr)) = expected(maker, rules) else {
                output.assert(0, TOKEN, "");
                let tokens = sandbox.issuer.access_tokens();
                assert_eq!((tokens.len(), output.line()), (2, tokens[1].as_str()));
                continue;
            };
            output.assert(code, stdout, &stderr);
            assert_eq!(before, after, "something was noted");
            assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 0);
            if let Some(first) = sandbox.issuer.access_tokens().first().filter(|_| code == 0) {
                assert_eq!(output.line(), first);
            }
        }
    }
}

fn can_refresh(rules: Rules) -> bool {
    rules.network && rules.store
}

#[test]
fn a_fresh_token_is_printed_in_every_sandbox() {
    let prepare = |sandbox: &Sandbox| drop(sandbox.plant());
    try_all(&["token"], prepare, |_, _| Some((0, TOKEN, String::new())));
}

#[test]
fn a_due_token_is_printed_silently_or_refreshed() {
    let prepare = |sandbox: &Sandbox| drop(sandbox.plant_expiring_in(7200, LIFE));
    try_all(&["token"], prepare, |maker, rules| {
        let warning = "codex-auth: warning: could not refresh the token: 127.0.0.1: connection refused; the current token expires in \
                       [..]\n";
        // It looks like any machine without a network.
        let is_unknown = maker == Maker::Bubblewrap && rules == NO_INTERNET;
        let stderr = if is_unknown { warning } else { "" };
        (!can_refresh(rules)).then(|| (0, TOKEN, stderr.to_owned()))
    });
}

#[test]
fn with_less_than_an_hour_left_there_is_a_warning() {
    let prepare = |sandbox: &Sandbox| drop(sandbox.plant_expiring_in(3500, LIFE));
    try_all(&["token"], prepare, |maker, rules| {
        let why = failure(maker, rules, "token");
        let stderr =
            format!("codex-auth: warning: {why}; the current token expires in 58 minutes\n");
        (!can_refresh(rules)).then_some((0, TOKEN, stderr))
    });
}

#[test]
fn an_expired_token_is_a_temporary_failure_that_says_what_to_run_outside() {
    let prepare = |sandbox: &Sandbox| drop(sandbox.plant_expiring_in(-60, LIFE));
    try_all(&["token"], prepare, |maker, rules| {
        let stderr = format!("codex-auth: {}\n", failure(maker, rules, "token"));
        (!can_refresh(rules)).then_some((75, "", stderr))
    });
}

#[test]
fn a_longer_life_than_available_is_a_temporary_failure_too() {
    let prepare =
        |sandbox: &Sandbox| drop(sandbox.plant_expiring_in((2 * DAY).cast_signed(), LIFE));
    try_all(&["token", "--min-ttl", "3d"], prepare, |maker, rules| {
        let why = failure(maker, rules, "token --force-refresh");
        (!can_refresh(rules)).then(|| (75, "", format!("codex-auth: {why}\n")))
    });
}

/// Why nothing is refreshed there.
fn failure(maker: Maker, rules: Rules, call: &str) -> String {
    match (rules.store, maker) {
        (false, _) => format!("{CANNOT_WRITE}: run codex-auth {call} outside it"),
        (true, Maker::Codex) => {
            format!("could not refresh the token: {NO_NETWORK}: run codex-auth {call} outside it")
        }
        (true, Maker::Bubblewrap) => format!("could not refresh the token: {}", maker.offline()),
    }
}

#[test]
fn a_rejected_token_is_replaced_where_possible() {
    let prepare = |sandbox: &Sandbox| {
        sandbox.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
        sandbox.issuer.reject_access_tokens();
    };
    try_all(&["token", "--verify"], prepare, |maker, rules| {
        let unknown = format!(
            "codex-auth: warning: could not check the token with the backend: {}\n",
            maker.offline()
        );
        let rejected = format!(
            "codex-auth: the backend rejects the token: {CANNOT_WRITE}: run codex-auth token --force-refresh outside it\n"
        );
        match (rules.network, rules.store) {
            (false, _) => Some((0, TOKEN, unknown)),
            (true, false) => Some((75, "", rejected)),
            (true, true) => None,
        }
    });
}

#[test]
fn a_required_sign_in_is_reported_in_every_sandbox() {
    let login = "run codex-auth login\n";
    try_all(
        &["token"],
        |_| (),
        |_, _| Some((4, "", format!("codex-auth: not signed in: {login}"))),
    );
    let prepare = |sandbox: &Sandbox| {
        sandbox.plant_expiring_in(-60, LIFE);
        let mut stored = sandbox.stored();
        stored["revoked"] = serde_json::json!({"reason": "it ended", "at": "2026-01-01T00:00:00Z"});
        sandbox.store("default", &stored.to_string());
    };
    let refused = format!("codex-auth: the issuer refused to refresh the token: it ended: {login}");
    try_all(&["token"], prepare, |_, _| Some((4, "", refused.clone())));
}

#[test]
fn status_and_doctor_report_the_sandbox() {
    for maker in makers() {
        let sandbox = Sandbox::new();
        let signed_in = |rest: &str| {
            format!(
                "Signed in as someone@mail.example (Plus)\n...\n  Token:      valid for [..], {rest}\n...\n"
            )
        };
        sandbox.plant();
        let here = signed_in("not refreshed in this sandbox");
        for rules in [READ_ONLY, NO_INTERNET] {
            let is_known = !rules.store || maker == Maker::Codex;
            let usual = signed_in("then refreshed automatically");
            let status = maker.run(&sandbox, rules, &["status"]);
            status.assert(0, if is_known { &here } else { &usual }, "");
        }
        let report = format!(
            "codex-auth [..]\n\
             ! sandbox       {CANNOT_WRITE}: a valid token is printed, but not refreshed here: to refresh it from outside, see \
             codex-auth setup systemd, cron or launchd\n\
             0 problems, 1 warning, 2 checks passed (see --verbose)\n"
        );
        maker
            .run(&sandbox, READ_ONLY, &["doctor"])
            .assert(0, &report, "");
        sandbox.plant_expiring_in(-60, LIFE);
        let no_token = format!("{CANNOT_WRITE}: run codex-auth token outside it\n");
        let status = maker.run(&sandbox, READ_ONLY, &["status"]);
        status.assert(75, &format!("No token: {no_token}...\n"), "");
        let doctor = maker.run(&sandbox, READ_ONLY, &["doctor"]);
        doctor.assert(
            1,
            &format!("...\n✗ login         default: {no_token}...\n"),
            "",
        );
    }
}

/// Nobody is refreshing, so there is nothing to wait for.
#[test]
fn what_cannot_be_stored_is_said_at_once() {
    for maker in makers() {
        let sandbox = Sandbox::new();
        sandbox.plant();
        for command in [&["login", "--device-code"][..], &["logout"]] {
            let output = maker.run(&sandbox, READ_ONLY, command);
            let stderr = format!("codex-auth: [..]: {CANNOT_WRITE}\n");
            output.assert(75, "", &stderr);
        }
    }
}

#[test]
fn a_source_that_fails_in_a_sandbox_is_not_recorded() {
    if !makers().contains(&Maker::Codex) {
        return;
    }
    let authority = Sandbox::new();
    authority.plant();
    let json = authority.run(&["token", "--format", "json"]).stdout;
    let sandbox = Sandbox::with(std::sync::Arc::clone(&authority.issuer));
    let path = sandbox.folder().join("socket");
    let answer = json.clone();
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::io::Write::write_all(&mut stream.unwrap(), answer.as_bytes()).unwrap();
        }
    });
    let path = path.display().to_string();
    let fails = sandbox.folder().join("fails");
    let script = format!(
        "test ! -e '{}' || exec /bin/cat /no-network\n/bin/cat <<'END'\n{json}END",
        fails.display()
    );
    sandbox.script("remote", &script);
    let remote = sandbox.bin().join("remote").display().to_string();
    for (source, failure) in [
        (
            vec!["--from-socket", &path],
            "[..]: this sandbox refuses the connection",
        ),
        (
            vec!["--from", "--", &remote],
            "[..]No such file or directory, in this sandbox",
        ),
    ] {
        sandbox
            .run(&[&["login"], &source[..]].concat())
            .assert(0, "", "...\n");
        fs::write(&fails, "").unwrap();
        sandbox.age(-60);
        let before: Value = sandbox.stored();
        let stderr = format!(
            "codex-auth: could not get a token from {failure}: run codex-auth token outside it\n"
        );
        Maker::Codex
            .run(&sandbox, NO_INTERNET, &["token"])
            .assert(75, "", &stderr);
        assert_eq!(sandbox.stored(), before);
        fs::remove_file(&fails).unwrap();
        sandbox.run(&["token"]).assert(0, TOKEN, "");
    }
}

/// An error from the issuer is not caused by the sandbox, and is recorded.
#[test]
fn a_failure_of_the_issuer_is_recorded_in_a_sandbox_too() {
    for maker in makers() {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(-60, LIFE);
        sandbox
            .issuer
            .plan(Endpoint::Refresh, Trouble::error(500, "server_error"));
        let rules = Rules {
            network: true,
            store: true,
        };
        let output = maker.run(&sandbox, rules, &["token"]);
        output.assert(
            75,
            "",
            "codex-auth: could not refresh the token: planned by the test (server_error, status 500)\n",
        );
        assert_eq!(sandbox.stored()["backoff"]["attempts"], 1);
    }
}
