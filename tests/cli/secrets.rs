//! No secret leaks: every command fails in every way, against an issuer that repeats whatever it receives, and everything
//! visible about the run is searched for secrets.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::verify::VERIFY;
use support::browser;
use support::fake_issuer::{Answer, Endpoint, Request, Trouble};
use support::process::{Output, Running};
use support::sandbox::{LIFE, Sandbox};

/// The password of a proxy, and its form in requests: with the user name, in base64 (RFC 7617).
const PROXY_PASSWORD: &str = "proxy-password";
const PROXY_CREDENTIALS: &str = "cHJveHktdXNlcjpwcm94eS1wYXNzd29yZA==";
/// A piece of a secret this long counts as a leak, in bytes.
const PIECE: usize = 20;

/// A command that sends a request.
struct Run {
    arguments: &'static [&'static str],
    /// The request whose response repeats it.
    asks: Endpoint,
    /// Prepares the sandbox.
    prepare: fn(&mut Sandbox),
}

const fn run(arguments: &'static [&'static str], asks: Endpoint, prepare: fn(&mut Sandbox)) -> Run {
    Run {
        arguments,
        asks,
        prepare,
    }
}

const RUNS: &[Run] = &[
    run(&["token"], Endpoint::Refresh, stale),
    run(&["token"], Endpoint::Refresh, due),
    run(&["token", "--force-refresh"], Endpoint::Refresh, fresh),
    run(&["token", "--min-ttl", "6d"], Endpoint::Refresh, fresh),
    run(&["token", "--format", "json"], Endpoint::Refresh, stale),
    run(&["token", "--format", "env"], Endpoint::Refresh, stale),
    run(VERIFY, Endpoint::Usage, fresh),
    run(VERIFY, Endpoint::Refresh, rejected),
    run(VERIFY, Endpoint::Other, behind_a_proxy),
    run(&["token"], Endpoint::Other, behind_a_proxy),
    run(&["exec", "--", "no-such-command"], Endpoint::Refresh, stale),
    run(&["exec", "--", "no-such-command"], Endpoint::Refresh, due),
    run(&["status", "--verify"], Endpoint::Usage, fresh),
    run(&["status", "--verify", "--json"], Endpoint::Usage, fresh),
    run(&["doctor"], Endpoint::Other, fresh),
    run(&["doctor"], Endpoint::Other, far_away),
    run(
        &[
            "--profile",
            "codex",
            "token",
            "--verify",
            "--timeout",
            "10m",
        ],
        Endpoint::Usage,
        of_codex,
    ),
    run(
        &["--profile", "codex", "status", "--verify"],
        Endpoint::Usage,
        of_codex,
    ),
    run(&["logout"], Endpoint::Revoke, fresh),
    run(&["logout"], Endpoint::Other, behind_a_proxy),
    run(&["login"], Endpoint::Authorize, fresh),
    run(&["login"], Endpoint::Exchange, fresh),
    run(&["login"], Endpoint::Revoke, fresh),
    run(&["login", "--device-code"], Endpoint::UserCode, fresh),
    run(&["login", "--device-code"], Endpoint::DeviceToken, fresh),
    run(&["login", "--device-code"], Endpoint::Exchange, fresh),
    run(&["login", "--device-code"], Endpoint::Revoke, fresh),
    run(&["login", "--device-code"], Endpoint::Other, far_away),
];

/// Commands run afterwards, which may show what was stored.
const LATER: &[&[&str]] = &[
    &["status"],
    &["token"],
    &["token", "--force-refresh"],
    &["setup", "codex"],
    &["doctor"],
    &["--profile", "codex", "token"],
    &["logout"],
    &["status"],
];

/// Responses that repeat the request.
const ECHOES: &[fn(&Request) -> Trouble] = &[
    |asked| {
        error(
            401,
            &json!({"code": "invalid_grant", "message": values(asked)}),
        )
    },
    |asked| {
        error(
            400,
            &json!({"code": values(asked), "message": whole(asked)}),
        )
    },
    |asked| error(500, &json!(values(asked))),
    |asked| {
        let late = format!("{}{}", "x".repeat(260), values(asked));
        let body = json!({"detail": late}).to_string();
        Trouble::Answer(Answer::new(429, JSON, body).with("Retry-After", &asked.text()))
    },
    |asked| {
        let body = json!({"error": "invalid_grant", "error_description": asked.text()});
        Trouble::Answer(Answer::json(400, &body))
    },
    |asked| Trouble::Answer(Answer::new(407, "text/plain", whole(asked))),
    |asked| Trouble::body(&json!({"message": whole(asked)}).to_string()),
    |asked| {
        let page = Answer::html(403, &format!("<html>{}", whole(asked)));
        Trouble::Answer(page.with("Location", &format!("/?{}", asked.text())))
    },
    |asked| Trouble::Bytes(whole(asked).into_bytes()),
    |asked| {
        let line = values(asked).replace('\x1b', " ");
        Trouble::Bytes(format!("HTTP/1.1 400 {line}\r\nX-{line}: {line}\r\n\r\n").into_bytes())
    },
];
const JSON: &str = "application/json";

fn error(status: u16, error: &Value) -> Trouble {
    Trouble::Answer(Answer::json(status, &json!({"error": error})))
}

/// The raw request, in colour.
fn whole(asked: &Request) -> String {
    let lines = asked
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let headers: String = lines.collect();
    let (method, path, query, body) = (&asked.method, &asked.path, &asked.query, asked.text());
    format!("\x1b[31m{body}\x1b[0m\r\n{method} {path}?{query}\r\n{headers}\r\n{body}\x07")
}

/// The decoded values of the body, the query and the headers that carry a secret.
fn values(asked: &Request) -> String {
    let members = asked.json().as_object().cloned().unwrap_or_default();
    let members = members
        .values()
        .filter_map(Value::as_str)
        .map(str::to_owned);
    let headers = ["authorization", "proxy-authorization"];
    let headers = headers
        .iter()
        .filter_map(|name| asked.header(name))
        .map(str::to_owned);
    let pairs = asked
        .form()
        .into_values()
        .chain(asked.parameters().into_values());
    let values: Vec<String> = members.chain(headers).chain(pairs).collect();
    format!("\x1b[31m{}", values.join("\x1b[0m, "))
}

/// The issuer redirects the browser with its own parameters in the error.
fn refused_consent(asked: &Request) -> Trouble {
    let given = asked.parameters();
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("state", &given["state"])
        .append_pair("error", &given["state"])
        .append_pair("error_description", &whole(asked))
        .finish();
    Trouble::redirect(&format!("{}?{query}", given["redirect_uri"]))
}

fn fresh(sandbox: &mut Sandbox) {
    sandbox.plant_expiring_in(5 * 86400, LIFE);
}

fn due(sandbox: &mut Sandbox) {
    sandbox.plant_expiring_in(3600, LIFE);
}

fn stale(sandbox: &mut Sandbox) {
    sandbox.plant_expiring_in(-60, LIFE);
}

/// Makes the backend reject all tokens issued so far.
fn rejected(sandbox: &mut Sandbox) {
    fresh(sandbox);
    sandbox.issuer.reject_access_tokens();
}

fn of_codex(sandbox: &mut Sandbox) {
    sandbox.store_codex(&sandbox.codex_login(5 * 86400).to_string());
}

/// The same for future logins.
fn far_away(sandbox: &mut Sandbox) {
    behind_a_proxy(sandbox);
    sandbox.set("CODEX_AUTH_ISSUER", "https://issuer.example");
}

/// The issuer is on another host, and the fake one acts as the proxy to it.
fn behind_a_proxy(sandbox: &mut Sandbox) {
    let mut login = sandbox.plant_expiring_in(-60, LIFE);
    login["issuer"] = json!("https://issuer.example");
    sandbox.store("default", &login.to_string());
    let address = sandbox
        .issuer
        .url()
        .trim_start_matches("http://")
        .to_owned();
    sandbox.set(
        "https_proxy",
        format!("http://proxy-user:{PROXY_PASSWORD}@{address}"),
    );
}

#[test]
fn whatever_an_issuer_repeats_no_secret_gets_out() {
    let authority = rcgen::generate_simple_self_signed(["authority.example".to_owned()]);
    let roots = authority.expect("no certificate").cert.pem();
    // Some wait for a second or two.
    std::thread::scope(|scope| {
        for run in RUNS {
            scope.spawn(|| meet_every_echo(run, &roots));
        }
    });
}

fn meet_every_echo(run: &Run, roots: &str) {
    let echoes = match run.asks {
        Endpoint::Authorize => &[refused_consent as fn(&Request) -> Trouble],
        _ => ECHOES,
    };
    for (number, echo) in echoes.iter().enumerate() {
        let mut sandbox = Sandbox::new();
        let folder = sandbox.folder().to_owned();
        sandbox.set("TMPDIR", &folder);
        // Replaces the system's hundreds of certificates, which each `doctor` would read, with one.
        sandbox.set("SSL_CERT_FILE", folder.join("roots.pem"));
        fs::write(folder.join("roots.pem"), roots).expect("no file");
        (run.prepare)(&mut sandbox);
        let seen = go_wrong(&sandbox, run, Trouble::Of(*echo));
        let case = format!("{:?} at {:?} with echo {number}", run.arguments, run.asks);
        seen.assert_clean(&sandbox, &case);
        // The issuer's violations mean nothing when it acts as a proxy.
        sandbox.issuer.take_violations();
    }
}

/// Everything visible about a run, each with its source.
struct Seen {
    texts: Vec<(String, String)>,
    /// The states of logins. They are in the URL that the user opens, which is not a leak.
    states: Vec<String>,
}

/// Runs a command into its failure, inspects all processes while the response is held back, and then runs the later
/// commands.
fn go_wrong(sandbox: &Sandbox, run: &Run, echo: Trouble) -> Seen {
    let gate = sandbox.issuer.gate();
    let echo = echo.and(Trouble::Hold(gate.clone()));
    match run.asks {
        // Polls repeat until they get a final response.
        Endpoint::DeviceToken => sandbox.issuer.plan(run.asks, echo),
        _ => sandbox.issuer.plan_always(run.asks, echo),
    }
    let (mut seen, running, browser) = start(sandbox, run);
    sandbox.issuer.await_requests(run.asks, 1);
    seen.look_at_processes(sandbox);
    gate.open();
    seen.note_output(sandbox, &running.finish());
    if let Some(browser) = browser {
        seen.note("the page", browser.join().expect("no page"));
    }
    sandbox.issuer.await_answers(run.asks, 1);
    for arguments in LATER {
        seen.note_output(sandbox, &sandbox.run(arguments));
    }
    let private = [sandbox.file("default"), sandbox.codex_file()];
    seen.look_at_files(sandbox.folder(), &private);
    seen
}

/// Starts the command, and the user's browser if it needs one; a device code is entered at once.
fn start(sandbox: &Sandbox, run: &Run) -> (Seen, Running, Option<std::thread::JoinHandle<String>>) {
    let mut seen = Seen {
        texts: Vec::new(),
        states: Vec::new(),
    };
    let mut running = sandbox.spawn(run.arguments);
    if run.arguments.contains(&"--device-code") && begins_here(run) {
        running.await_text("CODE-");
        sandbox.issuer.approve();
    }
    if run.arguments != ["login"] {
        return (seen, running, None);
    }
    let address = running.address();
    let query = address.split_once('?').expect("no query").1.as_bytes();
    let state = form_urlencoded::parse(query).find(|(name, _)| name == "state");
    seen.states
        .extend(state.map(|(_, state)| state.into_owned()));
    let browser = std::thread::spawn(move || browser::visit(&address).text());
    (seen, running, Some(browser))
}

/// Whether a device login gets as far as showing its code.
fn begins_here(run: &Run) -> bool {
    !matches!(run.asks, Endpoint::UserCode | Endpoint::Other)
}

impl Seen {
    fn note(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.texts.push((place.into(), text.into()));
    }

    /// Records what a command printed, except for what it was asked to print.
    fn note_output(&mut self, sandbox: &Sandbox, output: &Output) {
        let is_address = |line: &&str| line.trim().starts_with(sandbox.issuer.url());
        let lines = output.stderr.lines().filter(|line| !is_address(line));
        self.note("stderr", lines.collect::<Vec<_>>().join("\n"));
        let tokens = sandbox.issuer.access_tokens();
        if !tokens.contains(&output.stdout.trim_end().to_owned()) {
            self.note("stdout", &output.stdout);
        }
    }

    /// Records the arguments and the environment of every readable process, except for those of other tests, which pass
    /// their tokens to commands.
    fn look_at_processes(&mut self, sandbox: &Sandbox) {
        let processes = fs::read_dir("/proc").into_iter().flatten();
        let folder = sandbox.folder().to_string_lossy();
        for process in processes.map(|entry| entry.expect("no entry").path()) {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            let is_here = String::from_utf8_lossy(&environment).contains(&*folder);
            if !is_here && !environment.is_empty() {
                continue;
            }
            let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
            for (part, bytes) in [("cmdline", arguments), ("environ", environment)] {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                // The user has set the password there.
                let found = text
                    .split('\0')
                    .filter(|word| !word.starts_with("https_proxy="));
                self.note(part, found.collect::<Vec<_>>().join("\n"));
            }
        }
        let is_there = |(_, text): &(String, String)| text.contains("codex-auth");
        let is_linux = cfg!(target_os = "linux");
        assert!(
            !is_linux || self.texts.iter().any(is_there),
            "no process of ours was seen: {}",
            sandbox.issuer.url()
        );
    }

    /// Records every file except for the logins themselves.
    fn look_at_files(&mut self, folder: &Path, logins: &[PathBuf]) {
        for entry in fs::read_dir(folder).expect("no folder") {
            let path = entry.expect("no entry").path();
            if path.is_dir() {
                self.look_at_files(&path, logins);
            } else if !logins.contains(&path) {
                let bytes = fs::read(&path).expect("could not read a file");
                self.note(path.display().to_string(), String::from_utf8_lossy(&bytes));
            }
        }
    }

    #[track_caller]
    fn assert_clean(&self, sandbox: &Sandbox, case: &str) {
        let mut secrets: Vec<String> = sandbox
            .issuer
            .secrets()
            .into_iter()
            .map(|(secret, _)| secret)
            .collect();
        secrets.extend(self.states.iter().cloned());
        secrets.extend([PROXY_PASSWORD, PROXY_CREDENTIALS].map(str::to_owned));
        for (place, text) in &self.texts {
            for secret in &secrets {
                assert!(
                    !has_piece(text, secret),
                    "{case}: {place} has {secret}:\n{text}"
                );
            }
            let is_for_people = ["stdout", "stderr"].contains(&place.as_str());
            let is_plain = |c: char| c == '\n' || !c.is_control();
            assert!(
                !is_for_people || text.chars().all(is_plain),
                "{case}: {place} has control characters:\n{text:?}"
            );
        }
    }
}

/// Whether a text contains a secret, or a useful piece of it.
fn has_piece(text: &str, secret: &str) -> bool {
    let pieces = secret.as_bytes().chunks(PIECE);
    let mut pieces = pieces.filter_map(|piece| std::str::from_utf8(piece).ok());
    pieces
        .any(|piece| (piece.len() == PIECE || piece.len() == secret.len()) && text.contains(piece))
}

#[cfg(target_os = "linux")]
#[test]
fn the_browser_inherits_no_file_and_no_socket() {
    let mut sandbox = Sandbox::new();
    let script = "/bin/ls -l /proc/$$/fd > \"$HOME/files\"; : > \"$HOME/done\"";
    sandbox.script("my-browser", script);
    sandbox.set("BROWSER", sandbox.bin().join("my-browser"));
    let mut login = sandbox.spawn(&["login"]);
    let address = login.address();
    let done = sandbox.folder().join("done");
    support::process::until("the end of the browser", || done.exists().then_some(()));
    let files = fs::read_to_string(sandbox.folder().join("files")).expect("no files");
    assert!(
        !files.contains("socket:") && !files.contains("default."),
        "{files}"
    );
    browser::visit(&address);
    login
        .finish()
        .assert(0, "", &crate::login::opening(crate::login::SIGNED_IN));
}
