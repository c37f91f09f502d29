//! `login --workload-identity`: exchanges the platform's identity token for access tokens, without a user.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use support::fake_issuer::{Account, Answer, Endpoint, Trouble};
use support::process::Output;
use support::sandbox::Sandbox;

const ASSERTION: Endpoint = Endpoint::Assertion;
const TOKEN: &str = "[TOKEN]\n";
const LOGIN: [&str; 2] = ["login", "--workload-identity"];
const SIGNED_IN: &str = "Signed in as someone@mail.example (Plus)\n  Its tokens come from workload identity (rule rule-1, identity token [FOLDER]/identity)\n";
pub const RULE: &str = "OPENAI_FEDERATION_RULE_ID";
pub const FILE: &str = "OPENAI_IDENTITY_TOKEN_FILE";

/// A job whose platform writes identity tokens to a file.
pub struct Job(pub Sandbox);

impl Job {
    fn new() -> Self {
        let mut sandbox = Sandbox::new();
        sandbox.issuer.set(|its| its.access_life = 600);
        sandbox.set(RULE, "rule-1");
        sandbox.set(FILE, sandbox.folder().join("identity"));
        let job = Self(sandbox);
        job.rotate();
        job
    }

    /// A job that has signed in and no longer needs the variables.
    #[track_caller]
    pub fn signed_in() -> Self {
        let mut job = Self::new();
        job.0.run(&LOGIN).assert(0, "", SIGNED_IN);
        job.0.unset(RULE);
        job.0.unset(FILE);
        job
    }

    fn file(&self) -> PathBuf {
        self.0.folder().join("identity")
    }

    /// The platform writes a new identity token.
    pub fn rotate(&self) {
        self.write(&format!("{}\n", self.0.issuer.issue_identity_token(300)));
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    /// Ends the pause after a failure.
    fn end_backoff(&self) {
        let mut stored = self.0.stored();
        stored["backoff"]["until"] = json!("2020-01-01T00:00:00Z");
        self.0.store("default", &stored.to_string());
    }

    fn exchanges(&self) -> usize {
        self.0.issuer.count(ASSERTION)
    }

    #[track_caller]
    fn token(&self) -> Output {
        self.0.run(&["token"])
    }
}

#[test]
fn a_workload_signs_in_without_a_user_and_needs_no_variable_afterwards() {
    let Job(sandbox) = &Job::signed_in();
    let printed = sandbox.run(&["token"]);
    printed.assert(0, TOKEN, "");
    sandbox.run(&["account-id"]).assert(0, "account-1\n", "");
    assert_eq!(sandbox.issuer.count(ASSERTION), 1);
    let stored = sandbox.stored();
    let file = sandbox.folder().join("identity");
    let source = json!({"workload_identity": {"rule": "rule-1", "file": file}});
    assert_eq!(stored["source"], source);
    assert_eq!(stored["tokens"]["refresh_token"], Value::Null);
    let identity_token = fs::read_to_string(file).unwrap();
    assert!(!stored.to_string().contains(identity_token.trim()));
    sandbox.run(&["logout"]).assert(
        0,
        "",
        "Signed out (profile default). The login was not revoked: only a workspace administrator can remove its federation rule.\n",
    );
    assert!(!sandbox.file("default").exists());
}

#[test]
fn the_options_do_without_the_variables() {
    let mut job = Job::new();
    let file = job.file().display().to_string();
    job.0.unset(RULE);
    job.0.unset(FILE);
    let options = [
        &LOGIN[..],
        &["--federation-rule", "rule-1", "--identity-token", &file],
    ]
    .concat();
    job.0.run(&options).assert(0, "", SIGNED_IN);
    job.token().assert(0, TOKEN, "");
}

#[test]
fn an_incomplete_request_is_wrong_usage() {
    let mut job = Job::new();
    job.0.unset(FILE);
    for (variables, options, words) in [
        (
            vec![],
            vec![],
            "--workload-identity needs OPENAI_FEDERATION_RULE_ID or --federation-rule",
        ),
        (
            vec![(RULE, "rule-1")],
            vec![],
            "--workload-identity needs OPENAI_IDENTITY_TOKEN_FILE or --identity-token",
        ),
        (
            vec![(FILE, "/identity")],
            vec![],
            "--workload-identity needs OPENAI_FEDERATION_RULE_ID or --federation-rule",
        ),
        (
            vec![(FILE, "/identity")],
            vec!["--federation-rule", ""],
            "--workload-identity needs OPENAI_FEDERATION_RULE_ID or --federation-rule",
        ),
        (
            vec![(RULE, "rule-1"), (FILE, "identity")],
            vec![],
            "invalid value \"identity\" for OPENAI_IDENTITY_TOKEN_FILE: use an absolute path",
        ),
        (
            vec![(RULE, "rule-1")],
            vec!["--identity-token", "identity"],
            "invalid value \"identity\" for --identity-token: use an absolute path",
        ),
    ] {
        job.0.unset(RULE);
        job.0.unset(FILE);
        for (name, value) in variables {
            job.0.set(name, value);
        }
        let output = job.0.run(&[&LOGIN[..], &options].concat());
        output.assert(2, "", &format!("codex-auth: {words}\n"));
    }
    for other in [
        &["--device-code"][..],
        &["--with-access-token"],
        &["--no-browser"],
        &["--switch-account"],
        &["--from-socket", "/s"],
        &["--from", "--", "remote"],
    ] {
        let output = job.0.run(&[&LOGIN[..], other].concat());
        assert_eq!(output.code, 2, "{other:?}: {}", output.stderr);
    }
    assert_eq!(job.exchanges(), 0);
    assert!(!job.0.home().join("default.json").exists());
}

#[test]
fn the_variables_alone_never_sign_in() {
    let job = Job::new();
    let words = "codex-auth: not signed in: run codex-auth login --workload-identity\n";
    job.token().assert(4, "", words);
    assert_eq!(job.exchanges(), 0);
}

#[test]
fn of_many_callers_one_exchanges() {
    let job = Job::signed_in();
    job.0.age(-60);
    job.rotate();
    let callers: Vec<_> = (0..64).map(|_| job.0.spawn(&["token"])).collect();
    for caller in callers {
        caller.finish().assert(0, TOKEN, "");
    }
    assert_eq!(job.exchanges(), 2);
    assert_eq!(job.0.issuer.reuses(), 0);
}

#[test]
fn of_many_callers_one_sends_what_is_rejected() {
    let job = Job::signed_in();
    job.0.age(-60);
    job.write("eyJub25l.e30.x");
    let callers: Vec<_> = (0..64).map(|_| job.0.spawn(&["token"])).collect();
    let words = "codex-auth: could not use the identity token in [FOLDER]/identity: The identity token does not match the rule. (invalid_grant, status 400)\n";
    for caller in callers {
        caller.finish().assert(1, "", words);
    }
    assert_eq!(job.exchanges(), 2);
}

/// A due token is replaced ahead of time only with an unused identity token, as each may work only once.
#[test]
fn an_identity_token_is_used_again_only_when_there_is_no_other_way() {
    let job = Job::signed_in();
    job.0.issuer.set(|its| its.assertions_work_once = false);
    job.0.age(200);
    job.token().assert(0, TOKEN, "");
    assert_eq!(job.exchanges(), 1);
    job.rotate();
    job.token().assert(0, TOKEN, "");
    assert_eq!(job.exchanges(), 2);
    job.0.age(-1);
    job.token().assert(0, TOKEN, "");
    assert_eq!(job.exchanges(), 3);
}

#[test]
fn an_unusable_identity_token_is_tried_again_once_replaced() {
    let job = Job::signed_in();
    job.0.age(-60);
    let expired = job.0.issuer.issue_identity_token(-180);
    for (text, words) in [
        (None, "it does not exist"),
        (Some(String::new()), "it is empty"),
        (Some(" \n".to_owned()), "it is empty"),
        (Some("x".repeat(20_000)), "it is larger than 16 KiB"),
        (Some("x".repeat(16 * 1024 + 1)), "it is larger than 16 KiB"),
        (Some(expired), "it expired 3 minutes ago"),
    ] {
        match text {
            Some(text) => job.write(&text),
            None => fs::remove_file(job.file()).unwrap(),
        }
        let words =
            format!("codex-auth: could not use the identity token in [FOLDER]/identity: {words}\n");
        job.token().assert(75, "", &words);
        job.token().assert(75, "", &words);
    }
    fs::write(job.file(), [0xff, 0xfe]).unwrap();
    let words =
        "codex-auth: could not use the identity token in [FOLDER]/identity: it is not UTF-8\n";
    job.token().assert(75, "", words);
    assert_eq!(job.exchanges(), 1);
    // Exactly 16 KiB.
    job.write(&format!("{:16384}", job.0.issuer.issue_identity_token(300)));
    job.token().assert(0, TOKEN, "");
    assert_eq!(job.exchanges(), 2);
}

/// As in Kubernetes: the file is a link through a folder that is also a link, and is replaced.
#[cfg(unix)]
#[test]
fn a_link_to_the_identity_token_is_followed_at_each_exchange() {
    use std::os::unix::fs::symlink;

    let job = Job::signed_in();
    let (folder, current) = (job.0.folder(), job.0.folder().join("..data"));
    fs::remove_file(job.file()).unwrap();
    symlink("..data/token", job.file()).unwrap();
    for (count, name) in [(2, "..1"), (3, "..2")] {
        fs::create_dir(folder.join(name)).unwrap();
        let identity = job.0.issuer.issue_identity_token(300);
        fs::write(folder.join(name).join("token"), identity).unwrap();
        symlink(name, folder.join("..new")).unwrap();
        fs::rename(folder.join("..new"), &current).unwrap();
        job.0.age(-60);
        job.token().assert(0, TOKEN, "");
        assert_eq!(job.exchanges(), count);
    }
}

#[cfg(unix)]
#[test]
fn a_fifo_is_not_an_identity_token() {
    let job = Job::signed_in();
    job.0.age(-60);
    fs::remove_file(job.file()).unwrap();
    let mkfifo = std::process::Command::new("mkfifo")
        .arg(job.file())
        .status();
    assert!(mkfifo.unwrap().success());
    let words = "codex-auth: could not use the identity token in [FOLDER]/identity: it is not a regular file\n";
    job.token().assert(75, "", words);
}

#[test]
fn a_refused_identity_token_is_not_sent_again() {
    let job = Job::signed_in();
    job.0.age(-60);
    let spent = fs::read_to_string(job.file()).unwrap();
    let words = "codex-auth: could not use the identity token in [FOLDER]/identity: The identity token was used before. (invalid_grant, status 400)\n";
    for _ in 0..3 {
        job.token().assert(1, "", words);
    }
    assert_eq!(job.exchanges(), 2);
    // When the file changes, it is tried at once: a refusal is remembered only for the token that was refused.
    job.write("eyJub25l.e30.x");
    let other = "codex-auth: could not use the identity token in [FOLDER]/identity: The identity token does not match the rule. (invalid_grant, status 400)\n";
    job.token().assert(1, "", other);
    job.write(&spent);
    job.rotate();
    job.0
        .issuer
        .plan(ASSERTION, Trouble::error(401, "invalid_token"));
    let words = "codex-auth: could not use the identity token in [FOLDER]/identity: planned by the test (invalid_token, status 401)\n";
    for _ in 0..2 {
        job.token().assert(1, "", words);
    }
    job.rotate();
    job.token().assert(0, TOKEN, "");
    assert_eq!(job.exchanges(), 5);
}

#[test]
fn a_deleted_rule_is_reported_in_the_issuers_words() {
    let job = Job::signed_in();
    job.0.age(-60);
    job.rotate();
    job.0
        .issuer
        .set(|its| its.federation_rule = "rule-2".to_owned());
    let words = "codex-auth: could not use the identity token in [FOLDER]/identity: No such federation rule. (access_denied, status 403)\n";
    job.token().assert(1, "", words);
    job.token().assert(1, "", words);
    assert_eq!(job.exchanges(), 2);
}

/// The issuer's message may repeat what it received.
#[test]
fn an_issuer_that_repeats_the_identity_token_does_not_give_it_away() {
    let job = Job::signed_in();
    job.0.age(-60);
    job.rotate();
    let repeat = Trouble::Of(|request| {
        let message = format!("Not {} again", request.form()["assertion"]);
        let error = json!({"error": {"code": "invalid_grant", "message": message}});
        Trouble::Answer(Answer::json(400, &error))
    });
    job.0.issuer.plan(ASSERTION, repeat);
    let words = "codex-auth: could not use the identity token in [FOLDER]/identity: Not … again (invalid_grant, status 400)\n";
    job.token().assert(1, "", words);
    let stored = job.0.stored().to_string();
    let identity_token = fs::read_to_string(job.file()).unwrap();
    assert!(stored.contains("Not … again") && !stored.contains(identity_token.trim()));
}

/// Nothing was sent, so no later call has to wait.
#[test]
fn an_issuer_that_cannot_be_reached_uses_up_nothing() {
    let job = Job::signed_in();
    job.0.age(-60);
    job.rotate();
    let issuer = job.0.stored()["issuer"].clone();
    let set_issuer = |url: &Value| {
        let mut stored = job.0.stored();
        stored["issuer"] = url.clone();
        job.0.store("default", &stored.to_string());
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    set_issuer(&json!(closed));
    let words =
        "codex-auth: could not exchange the identity token: 127.0.0.1: connection refused\n";
    job.token().assert(75, "", words);
    assert_eq!(job.0.stored()["backoff"], Value::Null);
    set_issuer(&issuer);
    job.token().assert(0, TOKEN, "");
    assert_eq!(job.exchanges(), 2);
}

#[test]
fn an_answer_that_is_lost_may_have_used_up_the_identity_token() {
    let job = Job::signed_in();
    job.0.age(-60);
    job.rotate();
    job.0.issuer.plan(ASSERTION, Trouble::DropAfter);
    let words = "codex-auth: could not exchange the identity token: 127.0.0.1: connection closed before the response was complete\n";
    job.token().assert(75, "", words);
    job.end_backoff();
    let words = "codex-auth: could not use the identity token in [FOLDER]/identity: The identity token was used before. (invalid_grant, status 400); an earlier refresh got no answer, and may have used up the identity token\n";
    job.token().assert(1, "", words);
    job.rotate();
    job.token().assert(0, TOKEN, "");
    assert_eq!(job.exchanges(), 4);
}

#[test]
fn temporary_failures_pause_and_pass() {
    let job = Job::signed_in();
    for status in [408, 429, 500, 503] {
        job.0.age(-60);
        job.rotate();
        job.0.issuer.plan(ASSERTION, Trouble::status(status));
        assert_eq!(job.token().code, 75, "{status}");
        assert_eq!(job.token().code, 75, "{status}");
        let before = job.exchanges();
        job.end_backoff();
        job.token().assert(0, TOKEN, "");
        assert_eq!(job.exchanges(), before + 1, "{status}");
    }
}

/// A page from a proxy or a portal says nothing about the identity token.
#[test]
fn a_page_instead_of_an_answer_is_temporary() {
    let job = Job::signed_in();
    for status in [302, 403, 404] {
        job.0.age(-60);
        job.rotate();
        job.0.issuer.plan(ASSERTION, Trouble::status(status));
        assert_eq!(job.token().code, 75, "{status}");
        assert_eq!(job.0.stored()["revoked"], Value::Null, "{status}");
        job.end_backoff();
        job.token().assert(0, TOKEN, "");
    }
}

#[test]
fn an_answer_that_the_official_client_refuses_is_refused() {
    let job = Job::new();
    for member in [
        "access_token",
        "token_type",
        "issued_token_type",
        "expires_in",
        "scope",
        "user_id",
        "chatgpt_account_id",
        "chatgpt_account_user_id",
    ] {
        job.rotate();
        job.0.issuer.set(|its| its.omit = vec![member]);
        let words = format!(
            "codex-auth: could not sign in: could not exchange the identity token: the issuer's response cannot be used: {member} is missing\n"
        );
        job.0.run(&LOGIN).assert(75, "", &words);
        job.rotate();
        job.0.issuer.set(|its| {
            its.omit = Vec::new();
            its.null = vec![member];
        });
        job.0.run(&LOGIN).assert(75, "", &words);
        job.0.issuer.set(|its| its.null = Vec::new());
    }
    job.0.issuer.set(|its| its.omit = vec!["chatgpt_plan_type"]);
    for (life, words) in [
        (0, "expires_in is not between 1 and 3600"),
        (3601, "expires_in is not between 1 and 3600"),
    ] {
        job.rotate();
        job.0.issuer.set(|its| its.access_life = life);
        let words = format!(
            "codex-auth: could not sign in: could not exchange the identity token: the issuer's response cannot be used: {words}\n"
        );
        job.0.run(&LOGIN).assert(75, "", &words);
    }
    job.0.issuer.set(|its| {
        its.access_life = 600;
        its.opaque_access_token = true;
    });
    job.rotate();
    let words = "codex-auth: could not sign in: could not exchange the identity token: the issuer's response cannot be used: the access token is not a JWT\n";
    job.0.run(&LOGIN).assert(75, "", words);
    job.0.issuer.set(|its| its.opaque_access_token = false);
    job.rotate();
    job.0.run(&LOGIN).assert(0, "", SIGNED_IN);
}

/// The claims of the token must agree with the response.
#[test]
fn an_answer_that_contradicts_its_token_is_refused() {
    let job = Job::new();
    let token = job.0.issuer.issue_tokens(0)["access_token"].clone();
    let answer = json!({
        "access_token": token,
        "token_type": "Bearer",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "expires_in": 600,
        "scope": "openid",
        "user_id": "user-of-someone@mail.example",
        "chatgpt_account_id": "account-1",
        "chatgpt_account_user_id": "user-of-someone@mail.example__account-1",
    });
    for member in ["user_id", "chatgpt_account_id"] {
        let mut wrong = answer.clone();
        wrong[member] = json!("another");
        job.0
            .issuer
            .plan(ASSERTION, Trouble::body(&wrong.to_string()));
        let words = "codex-auth: could not sign in: could not exchange the identity token: the issuer's response cannot be used: the access token is for another user or account than the response says\n";
        job.0.run(&LOGIN).assert(75, "", words);
    }
    job.0
        .issuer
        .plan(ASSERTION, Trouble::body(&answer.to_string()));
    let login = job.0.run(&LOGIN);
    login.assert(0, "", SIGNED_IN);
}

#[test]
fn another_users_token_is_refused() {
    let job = Job::signed_in();
    for account in [
        Account::new("account-2", "someone@mail.example"),
        Account::new("account-1", "else@mail.example"),
    ] {
        job.0.age(-60);
        job.rotate();
        job.0.issuer.set(|its| its.account = account);
        let words = "codex-auth: could not use the identity token in [FOLDER]/identity: it is for another user or account than before\n";
        job.token().assert(1, "", words);
    }
}

#[test]
fn a_longer_life_than_an_hour_is_not_available() {
    let job = Job::signed_in();
    // As if it had been received later, so that the seconds of this test do not count.
    job.0.age(630);
    let output = job.0.run(&["token", "--min-ttl", "2h"]);
    let words = "codex-auth: could not get a token that is valid for 2 hours: the newest one expires in 10 minutes (workload identity tokens are valid for an hour at most): use a smaller --min-ttl\n";
    output.assert(1, "", words);
    assert_eq!(job.exchanges(), 1);
}

#[test]
fn the_context_of_the_audit_log_is_sent_along_and_has_to_be_an_object() {
    let mut job = Job::signed_in();
    job.0
        .set("OPENAI_WORKLOAD_IDENTITY_CONTEXT", r#"{"run":"7"}"#);
    job.0.age(-60);
    job.rotate();
    job.token().assert(0, TOKEN, "");
    let requests = job.0.issuer.requests_to(ASSERTION);
    assert_eq!(requests[0].form().get("workload_identity_context"), None);
    assert_eq!(
        requests[1].form()["workload_identity_context"],
        r#"{"run":"7"}"#
    );
    job.0.set(RULE, "rule-1");
    job.0.set(FILE, job.file());
    job.rotate();
    job.0.run(&LOGIN).assert(0, "", SIGNED_IN);
    let requests = job.0.issuer.requests_to(ASSERTION);
    assert_eq!(
        requests[2].form()["workload_identity_context"],
        r#"{"run":"7"}"#
    );
    job.0.set("OPENAI_WORKLOAD_IDENTITY_CONTEXT", "[]");
    job.0.age(-60);
    job.rotate();
    let words = "invalid OPENAI_WORKLOAD_IDENTITY_CONTEXT: use a JSON object\n";
    job.token().assert(2, "", &format!("codex-auth: {words}"));
    let output = job.0.run(&LOGIN);
    output.assert(2, "", &format!("codex-auth: could not sign in: {words}"));
    assert_eq!(job.exchanges(), 3);
}

/// The official client hides them from its commands, too.
#[cfg(unix)]
#[test]
fn a_command_does_not_see_the_variables() {
    let mut job = Job::signed_in();
    job.0.set(RULE, "rule-1");
    job.0.set(FILE, "/identity");
    job.0.set("OPENAI_WORKLOAD_IDENTITY_CONTEXT", "{}");
    let script = "echo \"$OPENAI_FEDERATION_RULE_ID,$OPENAI_IDENTITY_TOKEN_FILE,$OPENAI_WORKLOAD_IDENTITY_CONTEXT\"";
    job.0
        .run(&["exec", "--", "/bin/sh", "-c", script])
        .assert(0, ",,\n", "");
    let source = format!("{script} >&2; exit 1");
    job.0.script("remote", &source);
    let output = job
        .0
        .run(&["--profile", "other", "login", "--from", "--", "remote"]);
    output.assert(
        75,
        "",
        "codex-auth: could not sign in: could not get a token from remote: ,,\n",
    );
}

/// A day in steps of 200 s, a third of a lifetime; the platform writes a new identity token at each step. A token is
/// exchanged ahead of time in the second half of its lifetime, which is at every other step.
#[test]
fn a_day_costs_one_exchange_for_each_life_of_a_token() {
    let job = Job::signed_in();
    let steps: usize = 24 * 60 * 60 / 200;
    for step in 0..steps {
        job.rotate();
        job.0.age(if step % 2 == 0 { 400 } else { 200 });
        job.token().assert(0, TOKEN, "");
        assert_eq!(job.exchanges(), 1 + step.div_ceil(2));
    }
    assert_eq!(job.exchanges(), 1 + steps / 2);
    assert_eq!(job.0.issuer.reuses(), 0);
}

/// What `status` says in its first line and about the token, its exit code, and what `doctor` says about the login.
#[test]
fn status_and_doctor_say_what_is_wrong_with_the_identity_token() {
    const WHO: &str = "Signed in as someone@mail.example (Plus)";
    const WHAT: &str = "could not use the identity token in [FOLDER]/identity";

    let job = Job::signed_in();
    let assert_told = |code, headline: &str, token: &str, state: &str| {
        let source = "workload identity (rule rule-1, identity token [FOLDER]/identity)";
        let words =
            format!("{headline}\n...\n  Token:      [..]{token}\n...\n  Source:     {source}\n");
        job.0.run(&["status"]).assert(code, &words, "");
        let status = job.0.run(&["status", "--json"]);
        assert_eq!(status.code, code);
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        assert_eq!(status["state"], state);
        let doctor = job.0.run(&["doctor", "--json"]);
        let obstacle = headline.split_once(": ").map(|(_, words)| words);
        assert_eq!(doctor.code, i32::from(obstacle.is_some()));
        let report: Value = serde_json::from_str(&doctor.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let of = |check: &str| findings.iter().find(|one| one["check"] == check);
        let login = doctor.named(of("login").unwrap()["found"].as_str().unwrap());
        assert!(login.contains(obstacle.unwrap_or(token)), "{login}");
        let problems = findings.iter().filter(|one| one["level"] == "problem");
        assert_eq!(problems.count(), usize::from(obstacle.is_some()));
        // The issuer only provides tokens, so no browser is checked.
        assert!(of("issuer").is_some() && of("port").is_none(), "{report}");
    };
    assert_told(0, WHO, "then refreshed automatically", "fresh");
    fs::remove_file(job.file()).unwrap();
    let missing = format!("{WHO} until the token expires: {WHAT}: it does not exist");
    assert_told(0, &missing, "cannot be refreshed", "fresh");
    job.0.age(-60);
    let missing = format!("No token: {WHAT}: it does not exist");
    assert_told(75, &missing, "cannot be refreshed", "expired");
    job.write(&job.0.issuer.issue_identity_token(-180));
    let expired = format!("No token: {WHAT}: it expired 3 minutes ago");
    assert_told(75, &expired, "cannot be refreshed", "expired");
    job.write("eyJub25l.e30.x");
    assert_told(0, WHO, "refreshed at its next use", "expired");
    assert_eq!(job.token().code, 1);
    let refused = format!(
        "No token: {WHAT}: The identity token does not match the rule. (invalid_grant, status 400)"
    );
    assert_told(1, &refused, "cannot be refreshed", "revoked");
    job.rotate();
    assert_told(0, WHO, "refreshed at its next use", "expired");
    // None of that used it up.
    job.token().assert(0, TOKEN, "");
    assert_eq!(job.exchanges(), 3);
}

#[test]
fn a_token_that_the_backend_rejects_is_replaced() {
    let job = Job::signed_in();
    job.0.run(&["token", "--verify"]).assert(0, TOKEN, "");
    job.0.issuer.reject_access_tokens();
    job.rotate();
    job.0.age(400);
    job.0.run(&["token", "--verify"]).assert(0, TOKEN, "");
    assert_eq!(job.exchanges(), 2);
}

/// Each call of the caller and its worker is in turn the last one of its process. An exchange is only repeated if its
/// response was not stored, as the identity token may work only once.
#[cfg(target_os = "linux")]
#[test]
fn killed_at_any_call_it_exchanges_again_only_what_was_not_stored() {
    use crate::faults::{Fault, inject, trace, traced};

    let job = Job::signed_in();
    let run = |options: &[String]| {
        job.rotate();
        job.0.age(-60);
        let mut command = traced(&job.0, options, &["token"])?;
        Some(command.output().unwrap())
    };
    if run(&[]).is_none() {
        return;
    }
    let places = trace(&job.0).all_places();
    assert!(places.len() > 50, "{}", places.len());
    for place in places {
        let before = job.exchanges();
        run(&[inject(&place, Fault::Kill)]);
        let sent = job.exchanges() - before;
        // A completely written file replaces the record at the next call.
        let is_to_do = sent == 0 || trace(&job.0).ended_in_window();
        job.rotate();
        job.token().assert(0, TOKEN, "");
        assert_eq!(
            job.exchanges() - before - sent,
            usize::from(is_to_do),
            "{place:?}"
        );
    }
    assert_eq!(job.0.issuer.reuses(), 0);
}
