//! The real programs that call us, configured by what `setup` prints, with a strict backend on loopback.
//! `CODEX_AUTH_TEST_CALLERS` says where `ci/callers.sh` has put them; without it these tests say that they are skipped.

use std::fs;
use std::path::PathBuf;

use support::fake_issuer::{Endpoint, Request};
use support::process::Output;
use support::sandbox::{LIFE, Sandbox, skip};

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
}

const PYTHON: Caller = Caller {
    name: "openai-python",
    file: "ask.py",
    more: "\
for event in client.responses.create(model='m', instructions='i', input='hello', store=False, stream=True):
    print(event.type)
",
    line: "PYTHONPATH=\"$CALLERS/python\" exec python3 ask.py",
};

const NODE: Caller = Caller {
    name: "openai-node",
    file: "ask.mjs",
    more: "\
const question = { model: 'm', instructions: 'i', input: 'hello', store: false, stream: true };
for await (const event of await client.responses.create(question)) console.log(event.type);
",
    line: "exec node ask.mjs",
};

const COPILOT: Caller = Caller {
    name: "copilot",
    file: "variables",
    more: "",
    line: ". ./variables; exec \"$CALLERS/node_modules/.bin/copilot\" --no-auto-update -p 'Say hello'",
};

const PI: Caller = Caller {
    name: "pi",
    file: ".pi/agent/models.json",
    more: "",
    line: "exec \"$CALLERS/node_modules/.bin/pi\" -p --provider chatgpt --model MODEL 'Say hello'",
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
    let text = sandbox.run(&["setup", caller.name]).stdout + caller.more;
    let file = sandbox.folder().join(caller.file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// Lets it ask, and gives the requests that the model got meanwhile.
fn ask(sandbox: &Sandbox, caller: &Caller) -> (Output, Vec<Request>) {
    let before = sandbox.issuer.count(Endpoint::Responses);
    let output = sandbox.start(sandbox.shell(caller.line)).finish();
    // Some look for other things at the backend, too.
    sandbox.issuer.take_violations();
    let questions = sandbox.issuer.requests_to(Endpoint::Responses);
    (output, questions[before..].to_vec())
}

/// Each question came with the newest token of the issuer.
#[track_caller]
fn assert_asked_with_newest_token(sandbox: &Sandbox, caller: &Caller) {
    let (output, questions) = ask(sandbox, caller);
    let newest = sandbox.issuer.access_tokens().pop().unwrap();
    let bearer = format!("Bearer {newest}");
    let told = format!("{}\n{}", output.stdout, output.stderr);
    assert!(!questions.is_empty(), "{}: {told}", caller.name);
    for question in questions {
        assert_eq!(
            question.header("authorization"),
            Some(bearer.as_str()),
            "{told}"
        );
        assert_eq!(
            question.header("chatgpt-account-id"),
            Some("account-1"),
            "{told}"
        );
    }
}

/// Fresh, expired, rejected by the backend, and signed out: the four states that a caller meets.
#[track_caller]
fn assert_served_in_every_state(caller: &Caller) {
    let Some(sandbox) = person() else { return };
    sandbox.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
    configure(&sandbox, caller);
    assert_asked_with_newest_token(&sandbox, caller);
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 0);
    sandbox.plant_expiring_in(-60, LIFE);
    assert_asked_with_newest_token(&sandbox, caller);
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 1);
    sandbox.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
    sandbox.issuer.reject_access_tokens();
    assert_asked_with_newest_token(&sandbox, caller);
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 2);
    fs::remove_file(sandbox.file("default")).unwrap();
    let (_, questions) = ask(&sandbox, caller);
    let secrets = sandbox.issuer.access_tokens();
    for question in questions {
        let sent = question.header("authorization").unwrap_or_default();
        assert!(!secrets.iter().any(|token| sent.contains(token)), "{sent}");
    }
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
