//! `cargo run --example demo`: shows the whole life of a login, with the real program and a fake issuer on this
//! machine. It needs no account and no network, leaves nothing behind, and exits with 1 if a step fails.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make the files and variables that they need"
)]
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "its job is to print, and a failed step ends it with a message"
)]

use std::ffi::OsString;
use std::panic;
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Value, json};

use support::fake_issuer::{Endpoint, now};
use support::process::{Output, Running};
use support::sandbox::Sandbox;

fn main() -> ExitCode {
    panic::set_hook(Box::new(|why| {
        let message = why.payload().downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| why.payload().downcast_ref::<&str>().copied());
        let message = message.unwrap_or("unknown error");
        eprintln!("\nThe demo failed: {message}");
    }));
    match panic::catch_unwind(show) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn show() {
    let (program, sandbox) = (build(), Sandbox::new());
    let demo = Demo { program, sandbox };
    tell("This runs codex-auth in an empty home folder, with a fake issuer instead of OpenAI's.");
    println!("The tokens are fake, too, but still shortened, as real ones should be.");
    sign_in(&demo);
    ask(&demo);
    refresh_expired_token(&demo);
    refresh_for_eight(&demo);
    sign_out(&demo);
    tell(
        "That is all. To sign in yourself, and to set up Codex CLI as the first program to use your login:",
    );
    println!("  $ codex-auth login\n  $ codex-auth setup codex");
}

fn sign_in(demo: &Demo) {
    tell("Sign in. codex-auth waits for the browser, which this demo simulates.");
    let mut login = demo.type_in(&["login", "--no-browser"]);
    let page = login.sign_in();
    assert!(page.status == 200, "the browser shows an error");
    end(login);
}

fn ask(demo: &Demo) {
    tell(
        "Any script can now get an access token, on one line and nothing else, and the account ID.",
    );
    let token = good_token(demo.type_in(&["token"]));
    assert!(token == demo.newest(), "it is the wrong token");
    end(demo.type_in(&["account-id"]));
    tell("Who is signed in, and for how long? The answer contains no token.");
    end(demo.type_in(&["status"]));
}

fn refresh_expired_token(demo: &Demo) {
    tell(
        "Ten days later the token expires. The next call refreshes it, with no need to sign in again.",
    );
    let before = demo.newest();
    demo.expire_token();
    let after = good_token(demo.type_in(&["token"]));
    assert!(after != before, "the token was not refreshed");
    assert!(after == demo.newest(), "it is the wrong token");
}

fn refresh_for_eight(demo: &Demo) {
    tell(
        "It expires again, and eight programs ask at once. Using the same refresh token twice would revoke the login.",
    );
    let (before, earlier) = (demo.newest(), demo.refreshes());
    demo.expire_token();
    println!("  $ for i in 1 2 3 4 5 6 7 8; do codex-auth token & done; wait");
    let callers: Vec<Running> = (0..8).map(|_| demo.start(&["token"])).collect();
    let outputs = callers.into_iter().map(Running::finish);
    let tokens: Vec<String> = outputs.map(|output| output.line().to_owned()).collect();
    let (newest, requests) = (demo.newest(), demo.refreshes() - earlier);
    assert!(newest != before, "the token was not refreshed");
    let all_have_it = tokens.iter().all(|token| *token == newest);
    assert!(all_have_it, "not all eight got the new token");
    assert!(requests == 1, "the issuer was asked {requests} times");
    println!(
        "  {}\n  (All eight got this new token, from a single request to the issuer.)",
        shortened(&newest)
    );
}

fn sign_out(demo: &Demo) {
    tell("Signing out also revokes the login at the issuer, so any copy of it is useless.");
    end(demo.type_in(&["logout"]));
    let revoked = demo.sandbox.issuer.revoked();
    assert!(!revoked.is_empty(), "the issuer was not told");
    tell("Now there is no token, and exit code 4 says that a person has to sign in.");
    let output = demo.type_in(&["token"]).finish();
    show_lines(&output);
    assert!(output.code == 4, "the exit code is {}", output.code);
}

/// The program, and the sandbox it runs in.
struct Demo {
    program: OsString,
    sandbox: Sandbox,
}

impl Demo {
    /// Prints the command as a user would type it, and starts it.
    fn type_in(&self, arguments: &[&str]) -> Running {
        println!("  $ codex-auth {}", arguments.join(" "));
        self.start(arguments)
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let mut command_line = vec![self.program.clone()];
        command_line.extend(arguments.iter().map(OsString::from));
        self.sandbox.start(self.sandbox.command_of(&command_line))
    }

    /// Makes the stored access token look as if it expired a minute ago.
    fn expire_token(&self) {
        let mut login = self.sandbox.stored();
        login["expires_at"] = json!(now() - 60);
        self.sandbox.store("default", &login.to_string());
    }

    fn newest(&self) -> String {
        let issued = self.sandbox.issuer.access_tokens();
        issued.last().expect("no token was issued").clone()
    }

    fn refreshes(&self) -> usize {
        self.sandbox.issuer.count(Endpoint::Refresh)
    }
}

/// Announces the next step.
fn tell(text: &str) {
    println!("\n{text}");
}

/// Waits for a command that must succeed, and shows its output.
fn end(running: Running) -> Output {
    let output = running.finish();
    show_lines(&output);
    assert!(output.code == 0, "the exit code is {}", output.code);
    output
}

fn good_token(running: Running) -> String {
    end(running).line().to_owned()
}

fn show_lines(output: &Output) {
    let lines = output.stderr.lines().chain(output.stdout.lines());
    for line in lines.filter(|line| !line.is_empty()) {
        println!("  {}", shortened(line));
    }
}

/// Tokens start alike and differ at the end. URLs are shortened, too.
fn shortened(line: &str) -> String {
    const LONGEST: usize = 120;
    if line.len() <= LONGEST || !line.is_ascii() {
        return line.to_owned();
    }
    format!("{}…{}", &line[..32], &line[line.len() - 8..])
}

/// Builds the program in the demo's profile, because `cargo run --example` builds only the example. Naming both shares
/// the build of their dependencies.
fn build() -> OsString {
    if let Some(program) = std::env::var_os("CODEX_AUTH_TEST_BIN") {
        return program;
    }
    println!("Building codex-auth …");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args("build --quiet --bin codex-auth --example demo".split(' '));
    cargo.arg("--message-format=json-render-diagnostics");
    cargo.args((!cfg!(debug_assertions)).then_some("--release"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit());
    let built = cargo.output().expect("could not run Cargo");
    assert!(built.status.success(), "could not build codex-auth");
    let messages = serde_json::Deserializer::from_slice(&built.stdout).into_iter::<Value>();
    let mut messages = messages.map_while(Result::ok);
    let is_program = |message: &Value| message["target"]["kind"] == json!(["bin"]);
    let program = messages.find(|message| is_program(message) && message["executable"].is_string());
    let program = program.expect("Cargo did not say where codex-auth is");
    program["executable"].as_str().unwrap_or_default().into()
}
