//! `doctor`: each of its lines, with the fault that it detects.

use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use support::expect::{self, word};
use support::fake_issuer::wire::Answer;
use support::fake_issuer::{Endpoint, Trouble, now};
#[cfg(unix)]
use support::sandbox::skip;
use support::sandbox::{LIFE, Sandbox};

#[cfg(unix)]
use crate::terminal::Terminal;

/// Why a folder is no login. Windows refuses to open it.
const NOT_A_FILE: &str = if cfg!(windows) {
    "[..] (os error 5)"
} else {
    "it is not a regular file"
};

/// A login, a browser and an issuer, all without problems.
fn healthy() -> Sandbox {
    let sandbox = without_login();
    sandbox.plant();
    sandbox
}

fn without_login() -> Sandbox {
    let mut sandbox = Sandbox::new();
    #[cfg(unix)]
    sandbox.script("browser", "");
    sandbox.set("BROWSER", "browser");
    sandbox
}

/// Asserts the exit code and all findings: a line for each, `problem  check: what was found: what to do`.
#[track_caller]
fn assert_report(sandbox: &Sandbox, arguments: &[&str], code: i32, lines: &str) {
    let output = sandbox.run(&[arguments, &["doctor", "--verbose"]].concat());
    let report = output.named(&in_lines(&output.stdout));
    let (found, stderr) = (output.code, output.stderr.as_str());
    let difference = expect::difference("findings", lines, &report);
    assert_eq!((found, stderr), (code, ""), "{difference}");
    assert!(expect::matches(lines, &report), "{difference}");
}

/// The findings, without the lines above and below them.
fn in_lines(stdout: &str) -> String {
    let mut report = String::new();
    for line in stdout.lines().skip(1) {
        for (mark, level) in [("✓ ", "ok"), ("! ", "warning"), ("✗ ", "problem")] {
            if let Some((check, found)) = line
                .strip_prefix(mark)
                .and_then(|line| line.split_once(' '))
            {
                writeln!(report, "{level:<8} {check}: {}", found.trim_start()).unwrap();
            }
        }
    }
    report
}

/// Asserts the exit code and one of the findings.
#[track_caller]
fn assert_finds(sandbox: &Sandbox, code: i32, line: &str) {
    assert_report(sandbox, &[], code, &format!("...\n{line}\n...\n"));
}

/// A local port that nothing listens on.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn without_problems_every_check_passes() {
    let sandbox = healthy();
    sandbox.issuer.plan_always(Endpoint::Other, dated(0));
    assert_report(
        &sandbox,
        &[],
        0,
        "ok       login: default: valid for 10 days, then refreshed automatically\n\
         ok       sharing: no two profiles have the same login\n\
         ok       store: logins can be stored in [HOME]\n\
         ok       file: [HOME]/default.json is private\n\
         ok       port: [..] is free\n\
         ok       browser: opened with browser\n\
         ok       certificates: [..] trusted CA certificates: [..]\n\
         ok       issuer: [ISSUER] answered in [..] ms (status 200)\n\
         ok       clock: the same as the issuer's\n",
    );
    let left: Vec<_> = fs::read_dir(sandbox.home()).unwrap().collect();
    assert_eq!(left.len(), 1, "the trial left something behind: {left:?}");
}

#[cfg(unix)]
#[test]
fn a_link_is_a_second_name_and_no_copy() {
    let sandbox = healthy();
    std::os::unix::fs::symlink("default.json", sandbox.file("work")).unwrap();
    assert_finds(
        &sandbox,
        0,
        "ok       sharing: no two profiles have the same login",
    );
}

#[cfg(unix)]
#[test]
fn another_program_of_the_same_name_is_found() {
    let mut sandbox = healthy();
    let other = sandbox.folder().join("other");
    fs::create_dir(&other).unwrap();
    sandbox.script("codex-auth", "exit 1");
    fs::copy(sandbox.bin().join("codex-auth"), other.join("codex-auth")).unwrap();
    std::os::unix::fs::symlink(&other, sandbox.folder().join("again")).unwrap();
    let folders = ["bin", "other", "again"].map(|name| sandbox.folder().join(name));
    sandbox.set("PATH", std::env::join_paths(folders).unwrap());
    assert_finds(
        &sandbox,
        0,
        "warning  program: several programs of this name are in PATH, of which the first is run: [FOLDER]/bin/codex-auth, [FOLDER]/other/codex-auth: remove the ones you do not want, or change PATH",
    );
}

#[test]
fn the_json_has_stable_names() {
    let mut sandbox = healthy();
    sandbox.set("CODEX_AUTH_PORT", "none");
    let output = sandbox.run(&["doctor", "--json"]);
    assert_eq!((output.code, output.stderr.as_str()), (1, ""));
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["version"], 1);
    assert_eq!(report["program"], env!("CARGO_PKG_VERSION"));
    assert!(
        report["system"]
            .as_str()
            .unwrap()
            .ends_with(std::env::consts::ARCH)
    );
    assert_eq!(report["variables"][0], "CODEX_AUTH_HOME");
    let login = json!({
        "check": "login",
        "level": "ok",
        "found": "default: valid for 10 days, then refreshed automatically",
    });
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.contains(&login), "{findings:?}");
    let port = json!({
        "check": "port",
        "level": "problem",
        "found": "invalid value \"none\" for CODEX_AUTH_PORT: use 0 to 65535",
    });
    assert!(findings.contains(&port), "{findings:?}");
}

#[test]
fn before_the_first_login_that_is_said_first_and_nothing_is_created() {
    let mut sandbox = without_login();
    assert_report(
        &sandbox,
        &[],
        0,
        "warning  login: default: not signed in: run codex-auth login\n\
         ok       sharing: [..]\n\
         ok       store: logins can be stored in [HOME]\n\
         ok       port: [..]\n...\n",
    );
    sandbox.run(&["doctor"]).assert(
        0,
        "codex-auth [..]\n! login         default: not signed in: run codex-auth login\n0 problems, 1 warning, [..] checks passed (see --verbose)\n",
        "",
    );
    sandbox.set("CODEX_SANDBOX_NETWORK_DISABLED", "1");
    sandbox.run(&["doctor"]).assert(
        0,
        "codex-auth [..]\n! login [..]\n! sandbox [..]\n0 problems, 2 warnings, 1 check passed (see --verbose)\n",
        "",
    );
    assert!(!sandbox.home().exists());
}

#[test]
fn a_store_that_is_not_a_folder_is_found() {
    let mut sandbox = without_login();
    fs::write(sandbox.home(), "").unwrap();
    // Windows says that there is no such file.
    let login = if cfg!(windows) {
        "warning  login: default: not signed in: [..]"
    } else {
        "problem  login: default: could not read [HOME]/default.json: [..]"
    };
    let store = "problem  store: could not lock [HOME]/.doctor.json: [..]";
    let report = format!("{login}\nok       sharing: [..]\n{store}\n...\n");
    assert_report(&sandbox, &[], 1, &report);
    sandbox.set("CODEX_AUTH_HOME", "relative");
    assert_report(
        &sandbox,
        &[],
        1,
        "problem  store: invalid value \"relative\" for CODEX_AUTH_HOME: use an absolute path\n...\n",
    );
}

#[test]
fn a_file_system_without_locks_is_found() {
    let sandbox = healthy();
    fs::create_dir(sandbox.home().join(".doctor.lock")).unwrap();
    assert_finds(
        &sandbox,
        1,
        &format!(
            "problem  store: could not lock [HOME]/.doctor.json: [HOME]/.doctor.lock is not a regular file: run rm -r {}",
            word("[HOME]/.doctor.lock")
        ),
    );
}

#[test]
fn a_login_that_could_not_be_replaced_is_found() {
    let sandbox = healthy();
    fs::create_dir(sandbox.home().join(".doctor.json")).unwrap();
    assert_finds(
        &sandbox,
        1,
        &format!("problem  store: could not replace [HOME]/.doctor.json: {NOT_A_FILE}"),
    );
    assert!(sandbox.can_refresh());
}

#[test]
fn a_login_that_is_not_a_file_or_read_only_is_found() {
    let sandbox = healthy();
    fs::create_dir(sandbox.file("folder")).unwrap();
    assert_finds(
        &sandbox,
        1,
        &format!("problem  login: folder: could not read [HOME]/folder.json: {NOT_A_FILE}"),
    );
    let sandbox = healthy();
    fs::create_dir(sandbox.home().join("default.lock")).unwrap();
    assert_finds(
        &sandbox,
        1,
        &format!(
            "problem  login: default: valid for 10 days, cannot be refreshed: could not replace [HOME]/default.json: [HOME]/default.lock is not a regular file: run rm -r {}",
            word("[HOME]/default.lock")
        ),
    );
    let sandbox = healthy();
    let mut permissions = fs::metadata(sandbox.file("default")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(sandbox.file("default"), permissions).unwrap();
    let fix = if cfg!(windows) {
        "attrib -r"
    } else {
        "chmod 600"
    };
    assert_finds(
        &sandbox,
        1,
        &format!(
            "problem  login: default: valid for 10 days, cannot be refreshed: could not replace [HOME]/default.json: the file is read-only: run {fix} {}",
            word("[HOME]/default.json")
        ),
    );
}

#[test]
fn the_state_of_each_login_is_reported() {
    let far = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(now() + 3630));
    let past = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(now() - 5));
    let revoked = json!({ "reason": "It was used before.", "at": past.to_string() });
    let backoff = json!({
        "reason": "the issuer has trouble", "attempts": 1, "at": past.to_string(), "until": far.to_string(),
    });
    let sandbox = without_login();
    for (profile, member, value) in [
        ("revoked", "revoked", revoked),
        ("waiting", "backoff", backoff),
        ("incomplete", "issuer", Value::Null),
    ] {
        let mut login = sandbox.plant_as(profile, -60, LIFE);
        login[member] = value;
        sandbox.store(profile, &login.to_string());
    }
    sandbox.plant_as("expired", -60, LIFE);
    let mut expiring = sandbox.plant_as("expiring", LIFE.cast_signed(), LIFE);
    expiring["tokens"]["refresh_token"] = Value::Null;
    sandbox.store("expiring", &expiring.to_string());
    sandbox.store("damaged", "{");
    sandbox.store_codex(&sandbox.codex_login(0).to_string());
    assert_report(
        &sandbox,
        &["--profile", "codex"],
        1,
        "problem  login: codex: Codex's token [..]: run codex to refresh it\n\
         problem  login: damaged: could not read [HOME]/damaged.json: the file is damaged (line 1, column 1): run codex-auth --profile damaged login\n\
         ok       login: expired: expired 1 minute ago, refreshed at its next use\n\
         problem  login: expiring: valid for 10 days, cannot be refreshed: [..]\n\
         problem  login: incomplete: [..]: run codex-auth --profile incomplete login\n\
         problem  login: revoked: the issuer refused to refresh the token: It was used before.: run codex-auth --profile revoked login\n\
         warning  login: waiting: expired 1 minute ago, next refresh in 1 hour: the issuer has trouble\n\
         ...\n",
    );
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 0);
}

#[test]
fn a_bad_profile_name_is_wrong_usage() {
    let sandbox = healthy();
    sandbox.run(&["--profile", "a/b", "doctor"]).assert(
        2,
        "",
        "codex-auth: invalid value \"a/b\" for --profile: use [..]\n",
    );
}

#[test]
fn passed_checks_are_only_counted_unless_requested() {
    let mut sandbox = healthy();
    sandbox.set("https_proxy", "");
    sandbox.set("no_proxy", "internal.example");
    sandbox.issuer.plan_always(Endpoint::Other, dated(0));
    let header = format!(
        "codex-auth {}, [..]; set: CODEX_AUTH_HOME, CODEX_AUTH_ISSUER, CODEX_AUTH_PORT, CODEX_AUTH_CHATGPT_URL, CODEX_HOME, BROWSER, no_proxy{}\n",
        env!("CARGO_PKG_VERSION"),
        // Names of variables have no case there.
        if cfg!(windows) { ", NO_PROXY" } else { "" },
    );
    let passed = format!("{header}0 problems, 0 warnings, 9 checks passed (see --verbose)\n");
    sandbox.run(&["doctor"]).assert(0, &passed, "");
    #[cfg(unix)]
    {
        let (_, screen) = Terminal::of(sandbox.command(&["doctor"]), 39).finish();
        let passed = "\n0 problems, 0 warnings, 9 checks passed\n(see --verbose)\n";
        assert!(screen.ends_with(passed), "{screen}");
    }
    sandbox.set("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22");
    sandbox.unset("BROWSER");
    sandbox.set("CODEX_AUTH_PORT", "none");
    sandbox.run(&["doctor"]).assert(
        1,
        "codex-auth [..] over SSH; set: [..]\n\
         ✗ port          invalid value \"none\" for CODEX_AUTH_PORT: use 0 to 65535\n\
         ! browser       no browser can be opened over SSH ([..]): set BROWSER, use codex-auth login --device-code, or open the URL elsewhere and paste the one you end up at\n\
         1 problem, 1 warning, 7 checks passed (see --verbose)\n",
        "",
    );
    sandbox.run(&["doctor", "--verbose"]).assert(
        1,
        "codex-auth [..]\n...\n✓ store         logins can be stored in [HOME]\n...\n✗ port          [..]\n...\n1 problem, 1 warning, 7 checks passed\n",
        "",
    );
}

/// Single files are often mounted into containers.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_a_mount_is_found() {
    let sandbox = healthy();
    let spaced = sandbox.folder().join("a store");
    fs::rename(sandbox.home(), &spaced).unwrap();
    let file = spaced.join("default.json");
    let wrapper = [
        "unshare",
        "--mount",
        "--",
        "sh",
        "-c",
        "mount --bind \"$1\" \"$1\" && shift && exec \"$@\"",
        "sh",
    ];
    let wrapper = wrapper
        .into_iter()
        .map(std::ffi::OsString::from)
        .chain([file.into()]);
    let within = |command: &[&str]| {
        let program = support::sandbox::program().into_iter();
        let arguments = command.iter().map(std::ffi::OsString::from);
        let tried = command.is_empty().then(|| "true".into());
        let called: Vec<_> = wrapper
            .clone()
            .chain(tried.into_iter().chain(program.chain(arguments)))
            .collect();
        let mut command = sandbox.command_of(&called);
        command.env("CODEX_AUTH_HOME", &spaced);
        command.env("PATH", std::env::var_os("PATH").unwrap());
        sandbox.start(command).finish()
    };
    if within(&[]).code != 0 {
        skip("no mount can be made here");
        return;
    }
    let output = within(&["doctor"]);
    output.assert(
        1,
        "...\n✗ file          [FOLDER]/a store/default.json is a mount point, so no refresh can be stored: mount its folder instead\n...\n",
        "",
    );
}

#[test]
fn a_login_that_was_copied_is_found_by_its_fingerprint() {
    let sandbox = without_login();
    let login = sandbox.codex_login(LIFE);
    sandbox.store_codex(&login.to_string());
    let mut copy = sandbox.plant();
    copy["tokens"] = login["tokens"].clone();
    sandbox.store("default", &copy.to_string());
    assert_finds(
        &sandbox,
        1,
        "problem  sharing: default is a copy of Codex's own login: whichever is refreshed first invalidates the other: run codex-auth --profile default logout --no-revoke, then codex-auth login",
    );
    fs::remove_file(sandbox.codex_file()).unwrap();
    sandbox.store("work", &copy.to_string());
    assert_finds(
        &sandbox,
        1,
        "problem  sharing: work is a copy of the profile default: whichever is refreshed first invalidates the other: run codex-auth --profile work logout --no-revoke, then codex-auth --profile work login",
    );
}

#[test]
fn a_busy_port_is_found() {
    let mut sandbox = healthy();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    sandbox.set("CODEX_AUTH_PORT", port.to_string());
    assert_finds(
        &sandbox,
        1,
        &format!(
            "problem  port: {}",
            crate::login::in_use(&port.to_string(), "codex-auth login")
        ),
    );
    drop(holder);
    assert_finds(&sandbox, 0, &format!("ok       port: {port} is free"));
    sandbox.set("CODEX_AUTH_PORT", "none");
    assert_finds(
        &sandbox,
        1,
        "problem  port: invalid value \"none\" for CODEX_AUTH_PORT: use 0 to 65535",
    );
}

#[test]
fn a_browser_that_cannot_be_opened_is_found() {
    let mut sandbox = healthy();
    sandbox.set("BROWSER", "/nowhere/browser:/nowhere/other");
    if cfg!(unix) {
        assert_finds(
            &sandbox,
            0,
            "warning  browser: no browser can be opened[..] (/nowhere/browser, /nowhere/other): set BROWSER, use codex-auth login --device-code, or open the URL elsewhere and paste the one you end up at",
        );
    }
    sandbox.set("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22");
    let usual = match std::env::consts::OS {
        "macos" => "open",
        "windows" => "rundll32.exe",
        _ => "xdg-open, [..]",
    };
    // A list without any browser is none.
    for browsers in ["", " : "] {
        sandbox.set("BROWSER", browsers);
        assert_finds(
            &sandbox,
            0,
            &format!(
                "warning  browser: no browser can be opened over SSH ({usual}): set BROWSER, use codex-auth login --device-code, or open the URL elsewhere and paste the one you end up at"
            ),
        );
    }
}

#[test]
fn certificates_that_cannot_be_read_are_found() {
    for variable in ["SSL_CERT_FILE", "CODEX_CA_CERTIFICATE"] {
        let mut sandbox = healthy();
        let file = sandbox.folder().join("roots.pem");
        sandbox.set(variable, &file);
        let line = format!(
            "problem  certificates: could not read [FOLDER]/roots.pem (from {variable}): [..]"
        );
        assert_finds(&sandbox, 1, &line);
        fs::write(&file, "nothing").unwrap();
        let line = format!(
            "problem  certificates: could not read [FOLDER]/roots.pem (from {variable}): it contains no certificate (BEGIN CERTIFICATE)"
        );
        assert_finds(&sandbox, 1, &line);
    }
}

#[test]
fn an_issuer_that_no_token_must_be_sent_to_is_found() {
    let mut sandbox = without_login();
    sandbox.set("CODEX_AUTH_ISSUER", "http://issuer.example");
    assert_report(
        &sandbox,
        &[],
        1,
        "...\nproblem  issuer: invalid CODEX_AUTH_ISSUER: plain http is only allowed to a loopback address\n",
    );
}

/// The variable only matters for the next sign-in.
#[test]
fn the_issuer_that_a_login_came_from_is_asked() {
    let mut sandbox = healthy();
    sandbox.set("CODEX_AUTH_ISSUER", "http://127.0.0.1:9");
    let line = "ok       issuer: [ISSUER] answered in [..] ms (status 200)";
    assert_finds(&sandbox, 0, line);
}

#[test]
fn an_invalid_or_silent_proxy_is_found() {
    let mut sandbox = without_login();
    sandbox.set("CODEX_AUTH_ISSUER", "https://issuer.example");
    sandbox.set("https_proxy", "http://me:s3cret@:1");
    assert_report(
        &sandbox,
        &[],
        1,
        "...\nproblem  issuer: invalid https_proxy: use a URL such as [..]\n",
    );
    let port = closed_port();
    sandbox.set("https_proxy", format!("http://me:s3cret@127.0.0.1:{port}"));
    let refused = "...\nproblem  issuer: [..](https_proxy)[..]connection refused[..]\n";
    assert_report(&sandbox, &[], 1, refused);
}

/// No name server is queried, because a label of the name is too long.
#[test]
fn a_name_that_is_not_found_is_found_out() {
    let mut sandbox = without_login();
    let name = "x".repeat(64);
    sandbox.set("CODEX_AUTH_ISSUER", format!("https://{name}.example"));
    let stdout = format!("...\nproblem  issuer: {name}.example: could not resolve host ([..])\n");
    assert_report(&sandbox, &[], 1, &stdout);
}

#[test]
fn an_issuer_that_is_not_reached_is_found() {
    let mut sandbox = without_login();
    let port = closed_port();
    sandbox.set("CODEX_AUTH_ISSUER", format!("http://127.0.0.1:{port}"));
    let refused = "...\nproblem  issuer: 127.0.0.1: connection refused\n";
    assert_report(&sandbox, &[], 1, refused);
}

#[test]
fn an_untrusted_certificate_is_found() {
    let mut sandbox = without_login();
    let server = untrusted_server();
    sandbox.set("CODEX_AUTH_ISSUER", format!("https://{server}"));
    assert_report(
        &sandbox,
        &[],
        1,
        "...\nproblem  issuer: 127.0.0.1: [..]certificate[..]\n",
    );
}

/// Serves one TLS handshake with a self-signed certificate, and returns its address.
fn untrusted_server() -> std::net::SocketAddr {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::new(config);
    thread::spawn(move || {
        // The first connection only tests TCP, and ends at once.
        for stream in listener.incoming().take(2) {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream.unwrap());
            tls.read_exact(&mut [0]).ok();
        }
    });
    address
}

#[test]
fn an_issuer_that_does_not_answer_properly_is_found() {
    let sandbox = without_login();
    let plan = |trouble| sandbox.issuer.plan(Endpoint::Other, trouble);
    plan(Trouble::DropBefore);
    assert_finds_last(
        &sandbox,
        1,
        "problem  issuer: 127.0.0.1: connection closed [..]\n",
    );
    let again = "try again later, or from another network";
    plan(Trouble::redirect("/portal"));
    assert_finds_last(
        &sandbox,
        0,
        &format!(
            "warning  issuer: the issuer redirected the request [..] (status 302): {again}\nok       clock: [..]\n"
        ),
    );
    plan(Trouble::status(503));
    assert_finds_last(
        &sandbox,
        0,
        &format!(
            "warning  issuer: server error at the issuer, or at a proxy in front of it (status 503): {again}\nok       clock: [..]\n"
        ),
    );
}

#[track_caller]
fn assert_finds_last(sandbox: &Sandbox, code: i32, lines: &str) {
    assert_report(sandbox, &[], code, &format!("...\n{lines}"));
}

/// A response from an issuer whose clock is ahead by this many seconds.
fn dated(ahead: i64) -> Trouble {
    let time = UNIX_EPOCH + Duration::from_secs(now().saturating_add_signed(ahead));
    Trouble::Answer(Answer::json(200, &json!({})).with("Date", &httpdate::fmt_http_date(time)))
}

#[test]
fn a_clock_that_is_wrong_is_found() {
    let sandbox = without_login();
    for (ahead, found) in [
        (
            7230,
            "this machine's clock is 2 hours behind the issuer's: set it",
        ),
        (
            -7230,
            "this machine's clock is 2 hours ahead of the issuer's: set it",
        ),
    ] {
        sandbox.issuer.plan(Endpoint::Other, dated(ahead));
        assert_finds_last(&sandbox, 0, &format!("warning  clock: {found}\n"));
    }
    let undated = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    sandbox
        .issuer
        .plan(Endpoint::Other, Trouble::Bytes(undated.to_vec()));
    assert_finds_last(
        &sandbox,
        0,
        "ok       issuer: [ISSUER] answered in [..] ms (status 404)\n",
    );
}

/// Its output is meant to be pasted in public.
#[test]
fn no_secret_is_printed() {
    let mut sandbox = healthy();
    sandbox.store_codex(&sandbox.codex_login(LIFE).to_string());
    sandbox.set("https_proxy", "http://me:s3cret@127.0.0.1:1");
    sandbox.set("CODEX_AUTH_TOKEN", "s3cret");
    for arguments in [
        &["doctor"][..],
        &["doctor", "--verbose"],
        &["doctor", "--json"],
    ] {
        let output = sandbox.run(arguments);
        let shown = output.named(&format!("{}{}", output.stdout, output.stderr));
        for secret in ["TOKEN]", "s3cret", "someone@mail.example", "account-1"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    let token = sandbox.stored()["tokens"]["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(sandbox.issuer.would_refresh(&token));
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 0);
}

#[cfg(unix)]
mod with_modes_and_owners {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::Path;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_store_that_others_can_enter_is_found() {
        let sandbox = healthy();
        set_mode(&sandbox.home(), 0o770);
        assert_finds_first(
            &sandbox,
            1,
            "problem  store: could not lock [HOME]/.doctor.json: other users can write to its folder: run chmod 700 [HOME]",
        );
        set_mode(&sandbox.home(), 0o755);
        assert_finds_first(
            &sandbox,
            0,
            "warning  store: other users can read [HOME] (mode 755): run chmod 700 [HOME], and sign in again if someone may have copied a login",
        );
    }

    #[track_caller]
    fn assert_finds_first(sandbox: &Sandbox, code: i32, line: &str) {
        let login = "[..]  login: [..]\nok       sharing: [..]\n";
        assert_report(sandbox, &[], code, &format!("{login}{line}\n...\n"));
    }

    #[test]
    fn a_login_that_others_can_read_is_found() {
        let sandbox = healthy();
        set_mode(&sandbox.file("default"), 0o644);
        assert_finds(
            &sandbox,
            0,
            "warning  file: other users can read [HOME]/default.json (mode 644): run chmod 600 [HOME]/default.json, and sign in again if someone may have copied a login",
        );
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let sandbox = healthy();
        symlink("/nowhere", sandbox.file("work")).unwrap();
        assert_finds(
            &sandbox,
            1,
            "problem  login: work: could not read [HOME]/work.json: it is a dangling link: remove it",
        );
    }

    #[test]
    fn another_users_store_or_login_is_found() {
        let sandbox = healthy();
        if chown(sandbox.file("default"), Some(1), None).is_err() {
            skip("only root can give a file away");
            return;
        }
        let user = "it belongs to user 1, but this is user 0";
        assert_finds(
            &sandbox,
            1,
            &format!(
                "problem  login: default: valid for 10 days, cannot be refreshed: could not replace [HOME]/default.json: {user}"
            ),
        );
        chown(sandbox.home(), Some(1), None).unwrap();
        assert_finds_first(
            &sandbox,
            1,
            &format!("problem  store: could not lock [HOME]/.doctor.json: {user}"),
        );
    }
}
