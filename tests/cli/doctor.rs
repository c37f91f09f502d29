//! `doctor`: each of its lines, with the fault that it is there to find.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use support::fake_issuer::wire::Answer;
use support::fake_issuer::{Endpoint, Trouble, now};
use support::sandbox::{LIFE, Sandbox, skip};

/// A login, a browser, and an issuer: nothing stands in the way.
fn healthy() -> Sandbox {
    let sandbox = without_login();
    sandbox.plant();
    sandbox
}

fn without_login() -> Sandbox {
    let mut sandbox = Sandbox::new();
    fs::write(sandbox.bin().join("browser"), "").unwrap();
    sandbox.set("BROWSER", "browser");
    sandbox
}

/// States the exit code and one line among the others.
#[track_caller]
fn assert_finds(sandbox: &Sandbox, code: i32, line: &str) {
    let output = sandbox.run(&["doctor"]);
    output.assert(code, &format!("...\n{line}\n...\n"), "");
}

/// A port of this machine on which nobody listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn where_nothing_stands_in_the_way_every_line_says_so() {
    let sandbox = healthy();
    sandbox.issuer.plan_always(Endpoint::Other, dated(0));
    sandbox.run(&["doctor"]).assert(
        0,
        "ok       store: [HOME] is yours alone\n\
         ok       file: [HOME]/default.json is yours alone\n\
         ok       lock: the file system locks\n\
         ok       replace: a login can be replaced at once and as a whole\n\
         ok       login: default: fresh\n\
         ok       sharing: no login is a copy of another one here, or of Codex's\n\
         ok       port: a free one can be had\n\
         ok       browser: browser opens it\n\
         ok       certificates: [..] are trusted: [..]\n\
         ok       issuer: [ISSUER]\n\
         ok       proxy: none, the issuer is reached directly\n\
         ok       dns: 127.0.0.1 has one address in [..] ms\n\
         ok       tcp: 127.0.0.1 port [..] was reached in [..] ms\n\
         ok       http: the issuer answered in [..] ms (status 200)\n\
         ok       clock: as the issuer's\n",
        "",
    );
    let left: Vec<_> = fs::read_dir(sandbox.home()).unwrap().collect();
    assert_eq!(left.len(), 1, "the trial left something behind: {left:?}");
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
    let lock = json!({
        "check": "lock", "level": "ok", "found": "the file system locks", "advice": null,
    });
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.contains(&lock), "{findings:?}");
    let port = json!({
        "check": "port",
        "level": "problem",
        "found": "CODEX_AUTH_PORT is \"none\": use 0 to 65535",
        "advice": "correct the variable",
    });
    assert!(findings.contains(&port), "{findings:?}");
}

#[test]
fn before_the_first_login_nothing_is_wrong_and_nothing_is_left() {
    let sandbox = without_login();
    sandbox.run(&["doctor"]).assert(
        0,
        "ok       store: [HOME] is not there yet: the first login creates it\n\
         ok       lock: [..]\n\
         ok       replace: [..]\n\
         ok       login: default: not signed in: run codex-auth login\n...\n",
        "",
    );
    assert!(!sandbox.home().exists());
}

#[test]
fn a_store_that_is_no_folder_is_found() {
    let mut sandbox = without_login();
    fs::write(sandbox.home(), "").unwrap();
    sandbox.run(&["doctor"]).assert(
        1,
        "problem  store: [HOME] is no folder: move it away, or set CODEX_AUTH_HOME to a folder\n...\n",
        "",
    );
    sandbox.set("CODEX_AUTH_HOME", "relative");
    sandbox.run(&["doctor"]).assert(
        1,
        "problem  store: CODEX_AUTH_HOME is relative: use an absolute path: correct the variable\n...\n",
        "",
    );
}

#[test]
fn a_file_system_that_gives_no_lock_is_found() {
    let sandbox = healthy();
    fs::create_dir(sandbox.home().join(".doctor.lock")).unwrap();
    assert_finds(
        &sandbox,
        1,
        "problem  lock: could not lock [HOME]/.doctor.json: [..]: make room, or set CODEX_AUTH_HOME to a folder on a local disk that can be written to",
    );
}

#[test]
fn a_login_that_could_not_be_replaced_is_found() {
    let sandbox = healthy();
    fs::create_dir(sandbox.home().join(".doctor.json")).unwrap();
    assert_finds(
        &sandbox,
        1,
        "problem  replace: could not make room for [HOME]/.doctor.json: [..]: make room, or set CODEX_AUTH_HOME to a folder on a local disk that can be written to",
    );
    assert!(sandbox.can_refresh());
}

#[test]
fn a_login_that_is_no_file_or_only_to_be_read_is_found() {
    let sandbox = healthy();
    fs::create_dir(sandbox.file("folder")).unwrap();
    assert_finds(
        &sandbox,
        1,
        "problem  file: [HOME]/folder.json is no regular file: move it away",
    );
    let sandbox = healthy();
    fs::create_dir(sandbox.home().join("default.lock")).unwrap();
    assert_finds(
        &sandbox,
        1,
        "problem  file: [HOME]/default.lock is no regular file: move it away",
    );
    let sandbox = healthy();
    let mut permissions = fs::metadata(sandbox.file("default")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(sandbox.file("default"), permissions).unwrap();
    assert_finds(
        &sandbox,
        1,
        "problem  file: [HOME]/default.json is read-only: run chmod 600 '[HOME]/default.json'",
    );
}

#[test]
fn a_login_with_two_names_is_found() {
    let sandbox = healthy();
    fs::hard_link(sandbox.file("default"), sandbox.folder().join("copy")).unwrap();
    if cfg!(windows) {
        skip("Windows does not tell how many names a file has");
        return;
    }
    assert_finds(
        &sandbox,
        0,
        "warning  file: [HOME]/default.json has another name (a hard link), which a renewal leaves with a used-up login: remove the other name",
    );
}

#[test]
fn what_is_remembered_of_a_login_is_told() {
    let far = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(now() + 3030));
    let past = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(now() - 5));
    let refusal = json!({ "reason": "It was used before.", "at": past.to_string() });
    let pause = json!({
        "reason": "the issuer has trouble", "attempts": 1, "at": past.to_string(), "until": far.to_string(),
    });
    let sandbox = without_login();
    for (profile, member, value) in [
        ("refused", "refusal", refusal),
        ("paused", "pause", pause),
        ("ended", "issuer", Value::Null),
    ] {
        let mut login = sandbox.plant_as(profile, -60, LIFE);
        login[member] = value;
        sandbox.store(profile, &login.to_string());
    }
    sandbox.plant_as("expired", -60, LIFE);
    let mut ending = sandbox.plant_as("ending", LIFE.cast_signed(), LIFE);
    ending["tokens"]["refresh_token"] = Value::Null;
    sandbox.store("ending", &ending.to_string());
    sandbox.store("damaged", "{");
    sandbox.store_codex(&sandbox.codex_login(0).to_string());
    sandbox.run(&["--profile", "codex", "doctor"]).assert(
        1,
        "...\n\
         problem  login: damaged: could not read [HOME]/damaged.json: the file is damaged: it is no JSON: run codex-auth --profile damaged login\n\
         problem  login: ended: no token can be had: the stored login cannot be renewed, as it lacks its issuer or its refresh token: run codex-auth --profile ended login\n\
         warning  login: ending: a token can be had, but not be renewed: the stored login cannot be renewed, [..]\n\
         ok       login: expired: expired\n\
         warning  login: paused: the last renewal failed (the issuer has trouble), the next one is tried in 50 minutes ([..]): wait, and see the lines of the network\n\
         problem  login: refused: the issuer refused to renew it: It was used before.: run codex-auth --profile refused login\n\
         problem  login: codex: no token can be had: Codex's token has ended: run codex, which alone renews it, or sign in here with codex-auth login\n\
         ...\n",
        "",
    );
    assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 0);
}

#[test]
fn a_name_that_is_none_is_found() {
    let sandbox = healthy();
    sandbox.run(&["--profile", "a/b", "doctor"]).assert(
        1,
        "...\nproblem  login: \"a/b\" is no profile name: [..]: choose another name\n...\n",
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
        "problem  sharing: default: it is a copy of Codex's own login: the first to be renewed ends the other: run codex-auth --profile default logout --no-revoke, then codex-auth login",
    );
    fs::remove_file(sandbox.codex_file()).unwrap();
    sandbox.store("work", &copy.to_string());
    assert_finds(
        &sandbox,
        1,
        "problem  sharing: work: it is a copy of the profile default: the first to be renewed ends the other: run codex-auth --profile work logout --no-revoke, then codex-auth --profile work login",
    );
}

#[test]
fn a_port_that_is_taken_is_found_with_its_holder() {
    let mut sandbox = healthy();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    sandbox.set("CODEX_AUTH_PORT", port.to_string());
    let who = if cfg!(target_os = "linux") {
        format!("[..] (process {})", std::process::id())
    } else {
        "another program".to_owned()
    };
    assert_finds(
        &sandbox,
        1,
        &format!("problem  port: {port} is held by {who}: end it, or sign in with --device-code"),
    );
    drop(holder);
    assert_finds(&sandbox, 0, &format!("ok       port: {port} is free"));
    sandbox.set("CODEX_AUTH_PORT", "none");
    assert_finds(
        &sandbox,
        1,
        "problem  port: CODEX_AUTH_PORT is \"none\": use 0 to 65535: correct the variable",
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
            "warning  browser: none of these programs is there to open one: /nowhere/browser, /nowhere/other: set BROWSER, or open the printed address yourself and paste where it ends, or sign in with --device-code",
        );
    }
    sandbox.unset("BROWSER");
    sandbox.set("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22");
    assert_finds(
        &sandbox,
        0,
        "warning  browser: none is opened at the far end of an SSH connection: open the printed address yourself and paste where it ends, or sign in with --device-code",
    );
}

#[test]
fn certificates_that_cannot_be_read_are_found() {
    for variable in ["SSL_CERT_FILE", "CODEX_CA_CERTIFICATE"] {
        let mut sandbox = healthy();
        let file = sandbox.folder().join("roots.pem");
        sandbox.set(variable, &file);
        let line = format!(
            "problem  certificates: could not read [FOLDER]/roots.pem, which {variable} names: [..]: correct the variable, or unset it"
        );
        assert_finds(&sandbox, 1, &line);
        fs::write(&file, "nothing").unwrap();
        let line = format!(
            "problem  certificates: [FOLDER]/roots.pem, which {variable} names, has no certificate in it (BEGIN CERTIFICATE): correct the variable, or unset it"
        );
        assert_finds(&sandbox, 1, &line);
    }
}

#[test]
fn an_issuer_that_no_token_must_be_sent_to_is_found() {
    let mut sandbox = without_login();
    sandbox.set("CODEX_AUTH_ISSUER", "http://issuer.example");
    sandbox.run(&["doctor"]).assert(
        1,
        "...\nproblem  issuer: CODEX_AUTH_ISSUER cannot be used: it is plain http, and issuer.example is not this machine: correct the variable\n",
        "",
    );
}

#[test]
fn a_proxy_that_is_none_or_does_not_answer_is_found() {
    let mut sandbox = without_login();
    sandbox.set("CODEX_AUTH_ISSUER", "https://issuer.example");
    sandbox.set("https_proxy", "http://me:s3cret@:1");
    sandbox.run(&["doctor"]).assert(
        1,
        "...\nproblem  proxy: https_proxy cannot be used: give a URL [..]: correct the variable\n",
        "",
    );
    let port = closed_port();
    sandbox.set("https_proxy", format!("http://me:s3cret@127.0.0.1:{port}"));
    let stdout = format!(
        "...\n\
         ok       proxy: http://127.0.0.1:{port} (https_proxy)\n\
         ok       dns: 127.0.0.1 has one address in [..] ms\n\
         problem  tcp: 127.0.0.1 port {port} was not reached: the connection was refused: check the network [..]\n"
    );
    sandbox.run(&["doctor"]).assert(1, &stdout, "");
}

/// No name server is asked: the name has a longer part than any name may have.
#[test]
fn a_name_that_is_not_found_is_found_out() {
    let mut sandbox = without_login();
    let name = "x".repeat(64);
    sandbox.set("CODEX_AUTH_ISSUER", format!("https://{name}.example"));
    let stdout = format!(
        "...\nproblem  dns: {name}.example was not found ([..]): check that this machine is online; behind a company proxy, set https_proxy\n"
    );
    sandbox.run(&["doctor"]).assert(1, &stdout, "");
}

#[test]
fn an_issuer_that_is_not_reached_is_found() {
    let mut sandbox = without_login();
    let port = closed_port();
    sandbox.set("CODEX_AUTH_ISSUER", format!("http://127.0.0.1:{port}"));
    let stdout = format!(
        "...\nproblem  tcp: 127.0.0.1 port {port} was not reached: the connection was refused: check the network and its firewall, and whether a proxy has to be used or not\n"
    );
    sandbox.run(&["doctor"]).assert(1, &stdout, "");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_found() {
    let mut sandbox = without_login();
    let server = untrusted_server();
    sandbox.set("CODEX_AUTH_ISSUER", format!("https://{server}"));
    sandbox.run(&["doctor"]).assert(
        1,
        "...\nok       tcp: [..]\nproblem  http: 127.0.0.1: [..]certificate[..]: see the lines of the proxy and of the certificates\n",
        "",
    );
}

/// Serves one TLS handshake with a certificate of its own making, and gives its address.
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
        // The first connection is the one that tries out TCP; it ends at once.
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
        "problem  http: 127.0.0.1: the connection was closed [..]: see the lines of the proxy and of the certificates\n",
    );
    let again = "try it again later, or from another network";
    plan(Trouble::redirect("/portal"));
    assert_finds_last(
        &sandbox,
        0,
        &format!(
            "warning  http: the issuer redirected us [..] (status 302): {again}\nok       clock: [..]\n"
        ),
    );
    plan(Trouble::status(503));
    assert_finds_last(
        &sandbox,
        0,
        &format!(
            "warning  http: the issuer has trouble itself, [..] (status 503): {again}\nok       clock: [..]\n"
        ),
    );
}

#[track_caller]
fn assert_finds_last(sandbox: &Sandbox, code: i32, lines: &str) {
    let output = sandbox.run(&["doctor"]);
    output.assert(code, &format!("...\n{lines}"), "");
}

/// An answer of an issuer whose clock is ahead by so many seconds.
fn dated(ahead: i64) -> Trouble {
    let time = UNIX_EPOCH + Duration::from_secs(now().saturating_add_signed(ahead));
    Trouble::Answer(Answer::json(200, &json!({})).with("Date", &httpdate::fmt_http_date(time)))
}

#[test]
fn a_clock_that_is_wrong_is_found() {
    let sandbox = without_login();
    for (ahead, words) in [
        (7230, "this machine is 2 hours behind the issuer"),
        (-7230, "this machine is 2 hours ahead of the issuer"),
    ] {
        sandbox.issuer.plan(Endpoint::Other, dated(ahead));
        assert_finds_last(
            &sandbox,
            0,
            &format!("warning  clock: {words}: set the clock\n"),
        );
    }
    let undated = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    sandbox
        .issuer
        .plan(Endpoint::Other, Trouble::Bytes(undated.to_vec()));
    assert_finds_last(
        &sandbox,
        0,
        "ok       clock: not compared, as the issuer's answer has no date\n",
    );
}

/// It is meant to be pasted where everybody can read it.
#[test]
fn no_secret_is_printed() {
    let mut sandbox = healthy();
    sandbox.store_codex(&sandbox.codex_login(LIFE).to_string());
    sandbox.set("https_proxy", "http://me:s3cret@127.0.0.1:1");
    sandbox.set("CODEX_AUTH_TOKEN", "s3cret");
    for arguments in [&["doctor"][..], &["doctor", "--json"]] {
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
            "problem  store: others can write to [HOME] (mode 770): run chmod 700 '[HOME]'",
        );
        set_mode(&sandbox.home(), 0o755);
        assert_finds_first(
            &sandbox,
            0,
            "warning  store: others can look into [HOME] (mode 755): run chmod 700 '[HOME]'",
        );
    }

    #[track_caller]
    fn assert_finds_first(sandbox: &Sandbox, code: i32, line: &str) {
        let output = sandbox.run(&["doctor"]);
        output.assert(code, &format!("{line}\n...\n"), "");
    }

    #[test]
    fn a_login_that_others_can_read_is_found() {
        let sandbox = healthy();
        set_mode(&sandbox.file("default"), 0o644);
        assert_finds(
            &sandbox,
            0,
            "warning  file: others can read [HOME]/default.json (mode 644): run chmod 600 '[HOME]/default.json', and sign in anew if somebody may have copied it",
        );
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let sandbox = healthy();
        symlink("/nowhere", sandbox.file("work")).unwrap();
        assert_finds(
            &sandbox,
            1,
            "problem  file: [HOME]/work.json is a link that leads nowhere: remove the link",
        );
    }

    #[test]
    fn a_store_or_a_login_of_somebody_else_is_found() {
        let sandbox = healthy();
        if chown(sandbox.file("default"), Some(1), None).is_err() {
            skip("only root can give a file away");
            return;
        }
        let user = "it belongs to user 1, and this is user 0";
        assert_finds(
            &sandbox,
            1,
            &format!("problem  file: [HOME]/default.json cannot be used: {user}: run chown"),
        );
        chown(sandbox.home(), Some(1), None).unwrap();
        assert_finds_first(
            &sandbox,
            1,
            &format!(
                "problem  store: [HOME] cannot be trusted: {user}: run chown, or set CODEX_AUTH_HOME to a folder of your own"
            ),
        );
    }
}
