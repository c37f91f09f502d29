//! The real Codex CLI with our token: configured by `setup codex`, with a backend on loopback. `CODEX_AUTH_TEST_CODEX` is
//! its path; otherwise it is looked up in `PATH`. These tests are skipped if it is not installed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use support::fake_issuer::wire::{Answer, Request};
use support::fake_issuer::{Endpoint, Trouble, now};
use support::process::{Output, Running};
use support::sandbox::{LIFE, Sandbox, skip};

pub const ANSWER: &str = "Hello from the backend\n";

/// The arguments of all processes. Not every Linux has `ps`, and no other system has `/proc`.
fn argument_lists() -> String {
    if !cfg!(target_os = "linux") {
        let output = Command::new("ps")
            .args(["-A", "-ww", "-o", "args="])
            .output()
            .unwrap();
        return String::from_utf8_lossy(&output.stdout).into_owned();
    }
    let processes = fs::read_dir("/proc").unwrap().flatten();
    // A process may exit meanwhile.
    let lists = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lists = lists.map(|list| String::from_utf8_lossy(&list).into_owned());
    lists.collect::<Vec<_>>().join("\n")
}

/// A user of Codex, whose configuration is the output of `setup codex`.
pub struct Person {
    codex: PathBuf,
    pub sandbox: Sandbox,
}

/// The path of Codex, if installed.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || {
        std::env::split_paths(&path)
            .map(|folder| folder.join("codex"))
            .find(|file| file.is_file())
    };
    let named = std::env::var_os("CODEX_AUTH_TEST_CODEX").map(PathBuf::from);
    let found = named.or_else(on_path);
    if found.is_none() {
        skip("no Codex CLI here (set CODEX_AUTH_TEST_CODEX, or put codex into PATH)");
    }
    found
}

impl Person {
    /// Signed in an hour ago. `None` if Codex is not installed.
    fn new() -> Option<Self> {
        Self::in_workspace(|_| Value::Null)
    }

    /// In a workspace that the backend describes like this, as learned in the last refresh.
    fn in_workspace(told: fn(&str) -> Value) -> Option<Self> {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
        let told = told(sandbox.issuer.url());
        if !told.is_null() {
            sandbox.issuer.set(|its| its.routing = told);
            let refreshed = sandbox.run(&["token", "--force-refresh"]);
            refreshed.assert(0, "[TOKEN]\n", "");
            sandbox.await_stored(|stored| stored["routing"].is_object());
        }
        Self::with(sandbox)
    }

    /// With the login of this sandbox.
    pub fn with(mut sandbox: Sandbox) -> Option<Self> {
        let codex = find()?;
        sandbox.set("CODEX_HOME", sandbox.folder().join("codex"));
        // Requests to other hosts fail here; loopback needs no proxy.
        sandbox.set("HTTPS_PROXY", "http://127.0.0.1:9");
        sandbox.set("PATH", std::env::var_os("PATH").unwrap_or_default());
        let person = Self { codex, sandbox };
        person.configure()?;
        Some(person)
    }

    fn configure(&self) -> Option<()> {
        let installed = self.sandbox.install()?.into_os_string();
        let arguments = ["setup", "codex"].map(OsString::from);
        let command = self
            .sandbox
            .command_of(&[&[installed], &arguments[..]].concat());
        let output = self.sandbox.start(command).finish();
        output.assert(0, "...\n", "");
        fs::create_dir(self.home()).unwrap();
        fs::write(self.home().join("config.toml"), output.stdout).unwrap();
        Some(())
    }

    fn home(&self) -> PathBuf {
        self.sandbox.folder().join("codex")
    }

    /// Asks Codex something.
    pub fn ask(&self) -> Running {
        self.sandbox.start(self.command())
    }

    /// Codex with a question, configured so that unknown members of its configuration are errors.
    pub fn command(&self) -> Command {
        let arguments = [
            "exec",
            "--strict-config",
            "--skip-git-repo-check",
            "-c",
            "check_for_update_on_startup=false",
            "-c",
            "analytics.enabled=false",
            "Say hello",
        ];
        let arguments = arguments.map(OsString::from);
        let codex = self.codex.clone().into_os_string();
        self.sandbox
            .command_of(&[&[codex], &arguments[..]].concat())
    }

    /// The model requests.
    fn questions(&self) -> Vec<Request> {
        self.sandbox.issuer.requests_to(Endpoint::Responses)
    }

    fn refreshes(&self) -> usize {
        self.sandbox.issuer.count(Endpoint::Refresh)
    }

    /// Makes the access token expire, both for the backend and in the store.
    fn expire_token(&self) {
        self.sandbox.issuer.reject_access_tokens();
        let mut stored = self.sandbox.stored();
        stored["expires_at"] = json!(now() - 1);
        self.sandbox.store("default", &stored.to_string());
    }

    /// Asserts that no secret is in Codex's output, or in any file that it wrote.
    #[track_caller]
    fn assert_discreet(&self, output: &Output) {
        self.assert_no_secret("stdout", &output.stdout);
        self.assert_no_secret("stderr", &output.stderr);
        let written = files(&self.home());
        assert!(written.len() > 1, "the configuration is not all");
        for file in written {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            self.assert_no_secret(&file.display().to_string(), &text);
        }
    }

    /// Asserts that no secret is in the argument list of any running process. One of them must contain `seen`.
    #[track_caller]
    fn assert_no_argument_is_secret(&self, seen: &str) {
        let lists = argument_lists();
        assert!(lists.contains(seen), "{seen} is in no argument list");
        self.assert_no_secret("an argument list", &lists);
    }

    #[track_caller]
    fn assert_no_secret(&self, place: &str, text: &str) {
        for (secret, name) in self.sandbox.issuer.secrets() {
            assert!(!text.contains(&secret), "{name} stands in {place}");
        }
    }
}

/// All files below a folder. Codex may remove some meanwhile.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

/// A tool call, which makes Codex send another request in the same session, with the result.
fn tool_call() -> Answer {
    let call = json!({ "type": "function_call", "call_id": "call_1", "name": "no_such_tool", "arguments": "{}" });
    Answer::events(&[
        json!({ "type": "response.created", "response": { "id": "resp_0" } }),
        json!({ "type": "response.output_item.done", "item": call }),
        json!({ "type": "response.completed", "response": { "id": "resp_0" } }),
    ])
}

#[track_caller]
fn assert_sent(request: &Request, token: &str) {
    let bearer = format!("Bearer {token}");
    assert_eq!(request.header("authorization"), Some(bearer.as_str()));
    assert_eq!(request.header("chatgpt-account-id"), Some("account-1"));
}

#[test]
fn codex_gets_its_answer_with_our_token_and_account_id() {
    let Some(person) = Person::new() else { return };
    let issuer = &person.sandbox.issuer;
    let gate = issuer.hold(Endpoint::Responses);
    let running = person.ask();
    issuer.await_requests(Endpoint::Responses, 1);
    person.assert_no_argument_is_secret("--strict-config");
    gate.open();
    let output = running.finish();
    output.assert(0, ANSWER, "...\n");
    assert_eq!(person.questions().len(), 1);
    assert_sent(&person.questions()[0], &issuer.access_tokens()[0]);
    assert_eq!(person.refreshes(), 0);
    person.assert_discreet(&output);
}

/// Codex itself does not ask for the routing if a command provides the token.
#[test]
fn a_routed_workspace_gets_its_requests_at_its_own_origin_with_its_override() {
    let told = |url: &str| json!({"workspace_backend_origin": url.replace("127.0.0.1", "localhost"), "account_routing_override": "us_cr"});
    let Some(person) = Person::in_workspace(told) else {
        return;
    };
    let output = person.ask().finish();
    output.assert(0, ANSWER, "...\n");
    let issuer = &person.sandbox.issuer;
    let questions = person.questions();
    assert_eq!(questions.len(), 1);
    assert_sent(&questions[0], &issuer.access_tokens()[1]);
    let port = issuer.url().rsplit(':').next().unwrap();
    let host = format!("localhost:{port}");
    assert_eq!(questions[0].header("host"), Some(host.as_str()));
    let sent = questions[0].header("x-openai-account-routing-override");
    assert_eq!(sent, Some("us_cr"));
    assert_eq!(issuer.count(Endpoint::AccountsCheck), 1);
    person.assert_discreet(&output);
}

/// The main configuration stays as it was, and its other settings hold.
#[test]
fn what_is_printed_can_be_a_profile_of_codex() {
    let Some(person) = Person::new() else { return };
    let main = person.home().join("config.toml");
    fs::rename(&main, person.home().join("chatgpt.config.toml")).unwrap();
    let text = "model = \"main-model\"\nmodel_provider = \"main-provider\"\n\n\
                [model_providers.main-provider]\nname = \"m\"\nbase_url = \"http://127.0.0.1:9\"\nwire_api = \"responses\"\n";
    fs::write(&main, text).unwrap();
    let mut command = person.command();
    command.args(["-p", "chatgpt"]);
    let output = person.sandbox.start(command).finish();
    output.assert(0, ANSWER, "...\n");
    let questions = person.questions();
    assert_eq!(questions.len(), 1);
    assert_sent(&questions[0], &person.sandbox.issuer.access_tokens()[0]);
    assert_eq!(questions[0].json()["model"], "main-model");
    assert_eq!(fs::read_to_string(main).unwrap(), text);
    person.assert_discreet(&output);
}

#[test]
fn a_token_that_the_backend_rejects_is_replaced_within_the_same_run() {
    let Some(person) = Person::new() else { return };
    let issuer = &person.sandbox.issuer;
    let (rejection, refresh) = (issuer.gate(), issuer.gate());
    let rejected = Trouble::error(401, "token_revoked").and(Trouble::Hold(rejection.clone()));
    issuer.plan(Endpoint::Responses, rejected);
    issuer.plan(Endpoint::Refresh, Trouble::Hold(refresh.clone()));
    let running = person.ask();
    issuer.await_requests(Endpoint::Responses, 1);
    issuer.reject_access_tokens();
    rejection.open();
    issuer.await_requests(Endpoint::Refresh, 1);
    // Codex, codex-auth and its worker are all running.
    person.assert_no_argument_is_secret("refresh-worker");
    refresh.open();
    let output = running.finish();
    output.assert(0, ANSWER, "...\n");
    let questions = person.questions();
    let tokens = issuer.access_tokens();
    assert_eq!((questions.len(), tokens.len()), (2, 2));
    assert_sent(&questions[0], &tokens[0]);
    assert_sent(&questions[1], &tokens[1]);
    assert_eq!(person.refreshes(), 1);
    person.assert_discreet(&output);
}

#[test]
fn a_token_that_expires_during_a_session_is_refreshed() {
    let Some(person) = Person::new() else { return };
    let issuer = &person.sandbox.issuer;
    let gate = issuer.gate();
    let first = Trouble::Answer(tool_call()).and(Trouble::Hold(gate.clone()));
    issuer.plan(Endpoint::Responses, first);
    let running = person.ask();
    issuer.await_requests(Endpoint::Responses, 1);
    person.expire_token();
    gate.open();
    let output = running.finish();
    output.assert(0, ANSWER, "...\n");
    let (questions, tokens) = (person.questions(), issuer.access_tokens());
    assert_sent(&questions[0], &tokens[0]);
    assert_sent(questions.last().unwrap(), &tokens[1]);
    let session = |request: &Request| request.header("session-id").unwrap().to_owned();
    assert_eq!(session(&questions[0]), session(questions.last().unwrap()));
    assert_eq!((tokens.len(), person.refreshes()), (2, 1));
    person.assert_discreet(&output);
}

/// Asserts that Codex fails with this line of ours, without sending a token.
#[track_caller]
fn assert_refused(person: &Person, ours: &str) {
    let output = person.ask().finish();
    assert_ne!(output.code, 0);
    assert_eq!(output.stdout, "");
    let said: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| line.contains("codex-auth:"))
        .collect();
    assert!(
        !said.is_empty() && said.iter().all(|line| line.ends_with(ours)),
        "{said:#?}"
    );
    let sent = person.sandbox.issuer.requests();
    assert!(
        sent.iter()
            .all(|request| request.header("authorization").is_none())
    );
    person.assert_discreet(&output);
}

#[test]
fn without_a_login_the_user_sees_our_one_line() {
    let Some(person) = Person::new() else { return };
    fs::remove_file(person.sandbox.file("default")).unwrap();
    assert_refused(&person, "codex-auth: not signed in: run codex-auth login");
    assert_eq!(person.refreshes(), 0);
}

#[test]
fn after_a_revoked_login_the_user_sees_our_one_line() {
    let Some(person) = Person::new() else { return };
    person.expire_token();
    person.sandbox.issuer.revoke_logins();
    let ours = "codex-auth: the issuer refused to refresh the token: The login has ended. \
                (refresh_token_invalidated, status 401): run codex-auth login";
    assert_refused(&person, ours);
    assert_eq!(person.refreshes(), 1);
}
