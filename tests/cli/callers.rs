//! The real programs that call us, configured by what `setup` prints, with a strict backend on loopback.
//! `CODEX_AUTH_TEST_CALLERS` says where `ci/callers.sh` has put them; without it these tests say that they are skipped.

use std::fs;
use std::path::PathBuf;

use support::fake_issuer::{Endpoint, Request, Trouble};
use support::process::Output;
use support::sandbox::{LIFE, Sandbox, skip};

const REVOKED: &str = "codex-auth: the issuer refused to refresh the token: The login has ended.";
const SIGNED_OUT: &str = "codex-auth: not signed in: run codex-auth login";

/// A program, and how it is made to ask the model something.
struct Caller {
    /// Its name for `setup`.
    name: &'static str,
    /// Where it reads what `setup` printed, below the home folder.
    file: &'static str,
    /// What comes behind that in the same file.
    more: &'static str,
    /// A line of a shell that runs it.
    line: &'static str,
    /// What it asks, and whether that has the account ID.
    endpoint: Endpoint,
    sends_account: bool,
    /// Whether the person sees what we say on stderr.
    shows_why: bool,
}

const PYTHON: Caller = Caller {
    name: "openai-python",
    file: "ask.py",
    more: "\
for event in client.responses.create(model='m', instructions='i', input='hello', store=False, stream=True):
    print(event.type)
",
    line: "PYTHONPATH=\"$CALLERS/python\" exec python3 ask.py",
    endpoint: Endpoint::Responses,
    sends_account: true,
    shows_why: true,
};

const NODE: Caller = Caller {
    name: "openai-node",
    file: "ask.mjs",
    more: "\
const question = { model: 'm', instructions: 'i', input: 'hello', store: false, stream: true };
for await (const event of await client.responses.create(question)) console.log(event.type);
",
    line: "exec node ask.mjs",
    endpoint: Endpoint::Responses,
    sends_account: true,
    shows_why: true,
};

const COPILOT: Caller = Caller {
    name: "copilot",
    file: "variables",
    more: "",
    line: ". ./variables; exec \"$CALLERS/node_modules/.bin/copilot\" --no-auto-update -p 'Say hello'",
    endpoint: Endpoint::Responses,
    sends_account: true,
    shows_why: false,
};

const PI: Caller = Caller {
    name: "pi",
    file: ".pi/agent/models.json",
    more: "",
    line: "exec \"$CALLERS/node_modules/.bin/pi\" -p --provider chatgpt --model MODEL 'Say hello'",
    endpoint: Endpoint::Responses,
    sends_account: true,
    shows_why: false,
};

const CLAUDE_CODE: Caller = Caller {
    name: "claude-code",
    file: ".claude/settings.json",
    more: "",
    line: "\
export DISABLE_TELEMETRY=1 DISABLE_ERROR_REPORTING=1 DISABLE_AUTOUPDATER=1
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 CLAUDE_CODE_MAX_RETRIES=1
exec \"$CALLERS/node_modules/.bin/claude\" -p 'Say hello'",
    endpoint: Endpoint::Messages,
    sends_account: false,
    shows_why: true,
};

/// It wants a package for the plugin, and goes on without: npm is told at once that there is no network.
const OPENCODE: Caller = Caller {
    name: "opencode",
    file: ".config/opencode/plugin/codex-auth.js",
    more: "",
    line: "\
export npm_config_offline=true OPENCODE_DISABLE_AUTOUPDATE=1
export OPENCODE_DISABLE_MODELS_FETCH=1 OPENCODE_DISABLE_LSP_DOWNLOAD=1
exec \"$CALLERS/node_modules/.bin/opencode\" run --model chatgpt/MODEL 'Say hello'",
    endpoint: Endpoint::Responses,
    sends_account: true,
    shows_why: true,
};

/// A person with such a program, and without a login. `None` where the programs are not here.
fn person() -> Option<Sandbox> {
    let Some(callers) = std::env::var_os("CODEX_AUTH_TEST_CALLERS").map(PathBuf::from) else {
        skip("no programs that call us (run ci/callers.sh)");
        return None;
    };
    let mut sandbox = Sandbox::new();
    let modules = sandbox.folder().join("node_modules");
    std::os::unix::fs::symlink(callers.join("node_modules"), modules).unwrap();
    sandbox.set("CALLERS", callers);
    // Whatever they may want to ask the outside ends here; loopback goes without a proxy.
    sandbox.set("HTTPS_PROXY", "http://127.0.0.1:9");
    sandbox.set("NO_PROXY", "127.0.0.1,localhost");
    Some(sandbox)
}

fn configure(sandbox: &Sandbox, caller: &Caller) {
    let url = sandbox.issuer.url();
    let arguments = match caller.endpoint {
        Endpoint::Messages => vec!["setup", caller.name, "--base-url", url],
        _ => vec!["setup", caller.name],
    };
    let text = sandbox.run(&arguments).stdout + caller.more;
    let file = sandbox.folder().join(caller.file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// Lets it ask, and gives the requests that the model got meanwhile.
fn ask(sandbox: &Sandbox, caller: &Caller) -> (Output, Vec<Request>) {
    let before = sandbox.issuer.count(caller.endpoint);
    let output = sandbox.start(sandbox.shell(caller.line)).finish();
    // Some look for other things at the backend, too.
    sandbox.issuer.take_violations();
    let questions = sandbox.issuer.requests_to(caller.endpoint);
    (output, questions[before..].to_vec())
}

fn told(output: &Output) -> String {
    format!("{}\n{}", output.stdout, output.stderr)
}

/// Each question came with the newest token of the issuer, after so many refreshes in all.
#[track_caller]
fn assert_served(sandbox: &Sandbox, caller: &Caller, refreshes: usize) {
    let (output, questions) = ask(sandbox, caller);
    let told = told(&output);
    assert_eq!(output.code, 0, "{}: {told}", caller.name);
    assert!(!questions.is_empty(), "{}: {told}", caller.name);
    for question in questions {
        assert_sent(&question, caller, &sandbox.issuer.access_tokens());
    }
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), refreshes, "{told}");
}

/// A question came with the last of these tokens.
#[track_caller]
fn assert_sent(question: &Request, caller: &Caller, tokens: &[String]) {
    let bearer = format!("Bearer {}", tokens.last().unwrap());
    assert_eq!(question.header("authorization"), Some(bearer.as_str()));
    let account = caller.sends_account.then_some("account-1");
    assert_eq!(question.header("chatgpt-account-id"), account);
}

/// It fails without having sent any token, and the person sees why, if they do there.
#[track_caller]
fn assert_refused(sandbox: &Sandbox, caller: &Caller, why: &str) {
    let (output, questions) = ask(sandbox, caller);
    let told = told(&output);
    // pi says nothing, and ends with 0.
    let fails = output.code != 0;
    assert!(fails || !caller.shows_why, "{}: {told}", caller.name);
    assert_eq!(told.contains(why), caller.shows_why, "{told}");
    let tokens = sandbox.issuer.access_tokens();
    for question in questions {
        let sent = question.header("authorization").unwrap_or_default();
        assert!(!tokens.iter().any(|token| sent.contains(token)), "{sent}");
    }
}

/// Signed in just now, expired, rejected by the backend, revoked by the issuer, and signed out: the states that a caller
/// meets.
#[track_caller]
fn assert_served_in_every_state(caller: &Caller) {
    let Some(sandbox) = person() else { return };
    let mut login = sandbox.spawn(&["login"]);
    login.sign_in();
    login.finish().assert(0, "", "...\n");
    configure(&sandbox, caller);
    assert_served(&sandbox, caller, 0);
    sandbox.plant_expiring_in(-60, LIFE);
    assert_served(&sandbox, caller, 1);
    sandbox.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
    sandbox.issuer.reject_access_tokens();
    assert_served(&sandbox, caller, 2);
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.revoke_logins();
    assert_refused(&sandbox, caller, REVOKED);
    sandbox.run(&["logout"]).assert(0, "", "...\n");
    assert_refused(&sandbox, caller, SIGNED_OUT);
}

#[test]
fn openais_sdk_for_python_is_served() {
    assert_served_in_every_state(&PYTHON);
}

#[test]
fn openais_sdk_for_node_is_served() {
    assert_served_in_every_state(&NODE);
}

#[test]
fn copilot_is_served() {
    assert_served_in_every_state(&COPILOT);
}

#[test]
fn pi_is_served() {
    assert_served_in_every_state(&PI);
}

#[test]
fn claude_code_is_served() {
    assert_served_in_every_state(&CLAUDE_CODE);
}

#[test]
fn opencode_is_served() {
    assert_served_in_every_state(&OPENCODE);
}

#[test]
fn claude_code_asks_for_another_token_when_the_gateway_rejects_its_own() {
    let Some(sandbox) = person() else { return };
    sandbox.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
    configure(&sandbox, &CLAUDE_CODE);
    let issuer = &sandbox.issuer;
    let gate = issuer.gate();
    let rejected = Trouble::error(401, "token_revoked").and(Trouble::Hold(gate.clone()));
    issuer.plan(Endpoint::Messages, rejected);
    let running = sandbox.start(sandbox.shell(CLAUDE_CODE.line));
    issuer.await_requests(Endpoint::Messages, 1);
    issuer.reject_access_tokens();
    gate.open();
    running.finish().assert(0, "Hello from the backend\n", "");
    issuer.take_violations();
    let (questions, tokens) = (
        issuer.requests_to(Endpoint::Messages),
        issuer.access_tokens(),
    );
    assert_eq!((questions.len(), tokens.len()), (2, 2));
    assert_sent(&questions[0], &CLAUDE_CODE, &tokens[..1]);
    assert_sent(&questions[1], &CLAUDE_CODE, &tokens);
}
