//! Requests over bad networks: through proxies, with private certificate authorities, to servers that stall.
//!
//! The environment belongs to a whole process, so each request is made by another process of this test binary, as
//! `probe`.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make the files and variables that they need"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helpers too"
)]

mod issuer;
mod servers;

use std::io::{self, BufRead, BufReader, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{env, fs, iter, process, thread};

use codex_auth::error;
use codex_auth::net::http;
use codex_auth::url::Url;
use rustls::ServerConfig;
use servers::{
    Authority, OK, authority, closed_port, connect_proxy, encrypted, encrypted_proxy, late_proxy,
    next, plain, saying, silent, socks_proxy, trickling,
};
#[cfg(target_os = "linux")]
use support::unanswering::Unanswering;
use tempfile::TempDir;

/// Another machine to the program, but this machine to the system.
const ALIAS: &str = "0.0.0.0";
/// A host name to the program, but every resolver maps it to 127.0.0.1 without a query. No certificate is valid for it.
const NAME: &str = "127.0.0.0x1";
const HOSTS: [&str; 4] = ["issuer.test", "127.0.0.1", "192.0.2.7", ALIAS];
/// Long enough for everything that ends by itself.
const AMPLE: u64 = 30_000;

/// A request for the path `x` of a URL: `get URL`, `form URL` or `json URL`; or `stay URL`, which keeps running until its
/// stdin is closed.
struct Probe {
    request: String,
    milliseconds: u64,
    variables: Vec<(&'static str, String)>,
}

fn get(url: &str) -> Probe {
    Probe {
        request: format!("get {url}"),
        milliseconds: AMPLE,
        variables: Vec::new(),
    }
}

impl Probe {
    fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    fn within(mut self, milliseconds: u64) -> Self {
        self.milliseconds = milliseconds;
        self
    }

    /// The exit code, and the response or the error.
    fn run(self) -> (i32, String) {
        let output = self.start().wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said.trim_end().to_owned())
    }

    fn start(self) -> Child {
        self.start_by(Command::new(env::current_exe().unwrap()))
    }

    /// Starts it with a command that runs this test binary.
    fn start_by(self, mut command: Command) -> Child {
        command.args(["--exact", "probe", "--ignored", "--nocapture"]);
        for name in ["https_proxy", "http_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "CODEX_CA_CERTIFICATE"] {
            command.env_remove(name);
        }
        command
            .envs(self.variables)
            .env("PROBE", format!("{} {}", self.milliseconds, self.request))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// Makes the request in `PROBE`, and exits.
#[test]
#[ignore = "started by the other tests"]
fn probe() {
    let Ok(task) = env::var("PROBE") else {
        return;
    };
    thread::spawn(|| {
        thread::sleep(Duration::from_mins(1));
        eprintln!("the request did not end in time");
        process::exit(99)
    });
    let [limit, method, url] = task.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{task}");
    };
    let limit = Duration::from_millis(limit.parse().unwrap());
    let client = Url::parse(url).and_then(|url| http::Client::new(&url));
    let client = client.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        process::exit(error::exit_code(&error).into())
    });
    let response = match method {
        "form" => client.post("x", http::FORM, "a=b", limit),
        "json" => client.post("x", http::JSON, "{}", limit),
        _ => client.get("x", &[("X-Test", "yes".to_owned())], limit),
    };
    match response {
        Ok(response) => eprintln!("{}", shown(response)),
        Err(no) => {
            let reached = if no.reached { "" } else { "not reached: " };
            eprintln!("{reached}{}", no.reason);
            if method == "stay" {
                let _ = io::stdin().read_to_end(&mut Vec::new());
            }
            process::exit(error::exit_code(&no.into()).into());
        }
    }
    process::exit(0);
}

/// Everything known about a response, on one line.
fn shown(response: http::Response) -> String {
    let flaw = response
        .flaw
        .map_or_else(String::new, |flaw| format!(" ({flaw})"));
    if response.body.len() > 1000 {
        return format!("{} bytes{flaw}", response.body.len());
    }
    let body = String::from_utf8(response.body).unwrap();
    let (wait, date) = (response.retry_after, response.date);
    format!("{} {wait:?} {date:?} {body}{flaw}", response.status)
}

fn good(body: &str) -> (i32, String) {
    (0, format!("200 None None {body}"))
}

/// A failure after which the server may have received the request.
fn failed(message: impl Into<String>) -> (i32, String) {
    (75, message.into())
}

/// A failure before the connection to the server was established.
fn not_reached(message: &str) -> (i32, String) {
    failed(format!("not reached: {message}"))
}

fn wrong(message: impl Into<String>) -> (i32, String) {
    (1, message.into())
}

/// A certificate authority, the file with its certificate, and a server with a certificate that it issued.
struct Site {
    authority: Authority,
    file: String,
    port: u16,
    requests: mpsc::Receiver<String>,
    folder: TempDir,
}

fn site() -> Site {
    let authority = authority("Corp Proxy CA", &HOSTS, 4000);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("corp.pem");
    fs::write(&file, &authority.pem).unwrap();
    let (port, requests) = encrypted(&authority.server, OK);
    Site {
        authority,
        file: file.to_str().unwrap().to_owned(),
        port,
        requests,
        folder,
    }
}

// Requests and responses.

#[test]
fn requests_have_the_right_headers_and_bodies() {
    for (method, has, lacks) in [
        (
            "get",
            vec!["GET /x HTTP/1.1", "x-test: yes"],
            "content-type",
        ),
        (
            "form",
            vec![
                "POST /x HTTP/1.1",
                "content-type: application/x-www-form-urlencoded",
                "a=b",
            ],
            "x-test",
        ),
        (
            "json",
            vec!["POST /x HTTP/1.1", "content-type: application/json", "{}"],
            "x-test",
        ),
    ] {
        let (port, requests) = plain(OK);
        let mut probe = get("");
        probe.request = format!("{method} http://127.0.0.1:{port}/");
        assert_eq!(probe.run(), good("ok"));
        let request = next(&requests);
        let lines: Vec<_> = request.lines().collect();
        let agent = concat!("user-agent: codex-auth/", env!("CARGO_PKG_VERSION"));
        for line in has.into_iter().chain([agent, "connection: close"]) {
            assert!(lines.contains(&line), "no {line} in {request}");
        }
        assert!(!request.contains(lacks), "{lacks} in {request}");
    }
}

#[test]
fn a_response_with_any_status_is_returned() {
    for status in [201, 304, 400, 401, 403, 407, 429, 500, 503] {
        let (port, _requests) = plain(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        let answer = get(&format!("http://127.0.0.1:{port}/")).run();
        assert_eq!(answer, (0, format!("{status} None None")));
    }
}

#[test]
fn the_time_to_wait_is_measured_by_the_servers_clock() {
    let date = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n";
    for (retry, told) in [
        ("7", "7s"),
        ("Thu, 01 Jan 2026 00:01:00 GMT", "60s"),
        ("Wed, 31 Dec 2025 00:00:00 GMT", "0ns"),
        ("99999999999999", "86400s"),
    ] {
        let (port, _requests) = plain(format!("HTTP/1.1 429 X\r\nRetry-After: {retry}\r\n{date}"));
        let answer = get(&format!("http://127.0.0.1:{port}/")).run();
        assert_eq!(answer, (0, format!("429 Some({told}) Some(1767225600)")));
    }
}

#[test]
fn a_redirect_is_returned_and_not_followed() {
    let (other, requests) = plain(OK);
    let redirect = format!(
        "HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:{other}/\r\nContent-Length: 0\r\n\r\n"
    );
    for method in ["get", "form"] {
        let (port, _requests) = plain(redirect.clone());
        let mut probe = get("");
        probe.request = format!("{method} http://127.0.0.1:{port}/");
        assert_eq!(probe.run(), (0, "307 None None".to_owned()));
    }
    assert!(requests.try_recv().is_err());
}

#[test]
fn no_more_than_one_mebibyte_is_read() {
    let longest = "x".repeat(1 << 20);
    for framing in ["Content-Length: 1048576\r\n", ""] {
        let (port, _requests) = plain(format!("HTTP/1.1 200 OK\r\n{framing}\r\n{longest}"));
        let answer = get(&format!("http://127.0.0.1:{port}/")).run();
        assert_eq!(answer, (0, "1048576 bytes".to_owned()));
    }
    for framing in ["Content-Length: 1048577\r\n", ""] {
        let (port, _requests) = plain(format!("HTTP/1.1 200 OK\r\n{framing}\r\n{longest}x"));
        let (code, message) = get(&format!("http://127.0.0.1:{port}/")).run();
        assert_eq!(code, 0);
        assert!(
            message.ends_with(" bytes (response is longer than 1 MiB)"),
            "{message}"
        );
    }
}

/// Some servers send the whole response, and leave the connection open.
#[test]
fn a_complete_json_object_ends_the_wait() {
    for (head, wanted) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{\"a\":[1]}",
            "200 None None {\"a\":[1]}",
        ),
        (
            "HTTP/1.1 401 X\r\n\r\n{\"error\":\"x\"}\n",
            "401 None None {\"error\":\"x\"}",
        ),
    ] {
        let port = trickling(head);
        let probe = get(&format!("http://127.0.0.1:{port}/")).within(20_000);
        assert_eq!(probe.run(), (0, wanted.to_owned()));
    }
    // More may follow an incomplete body, or one that is not an object.
    for body in ["{\"a\":[1]", "1", "[]"] {
        let port = trickling(format!("HTTP/1.1 200 OK\r\n\r\n{body}").leak());
        let (_, message) = get(&format!("http://127.0.0.1:{port}/")).within(1000).run();
        assert!(
            message.ends_with("(request timed out after 1 s)"),
            "{message}"
        );
    }
}

/// Counts the connections that a request makes to a server, with or without TLS.
fn count_connections(host: &str, tls: Option<Arc<ServerConfig>>) -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let (heard, peers) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = heard.send(stream.peer_addr().unwrap().to_string());
            match &tls {
                Some(config) => servers::converse(servers::wrap(config, stream), OK.as_bytes()),
                None => servers::converse(stream, OK.as_bytes()),
            };
        }
    });
    get(&format!("{scheme}://{host}:{}/", address.port())).run();
    // They are accepted in order, so this one is the last.
    let last = TcpStream::connect(address).unwrap();
    last.shutdown(Shutdown::Both).unwrap();
    let last = last.local_addr().unwrap().to_string();
    iter::from_fn(|| Some(next(&peers)))
        .take_while(|peer| *peer != last)
        .count()
}

#[test]
fn each_request_connects_once() {
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(count_connections(host, None), 1, "{host}");
    }
    // Finding out who issued an untrusted certificate takes no second connection.
    let server = site().authority.server;
    assert_eq!(count_connections("127.0.0.1", Some(server)), 1);
}

// Certificate authorities.

#[test]
fn a_private_authority_is_trusted_when_it_is_named() {
    let site = site();
    let url = format!("https://127.0.0.1:{}/", site.port);
    let several = format!(
        "{0}\n{1}",
        authority("Other CA", &[], 4000).pem,
        site.authority.pem
    );
    fs::write(&site.file, several).unwrap();
    for variable in ["CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"] {
        assert_eq!(
            get(&url).with(variable, &site.file).run(),
            good("ok"),
            "{variable}"
        );
    }
    let folder = site.folder.path().to_str().unwrap();
    let folders = env::join_paths(["/nowhere", folder])
        .unwrap()
        .into_string()
        .unwrap();
    assert_eq!(get(&url).with("SSL_CERT_DIR", folders).run(), good("ok"));
}

#[test]
fn a_certificate_that_is_not_trusted_is_named_with_its_issuer() {
    let (site, other) = (site(), site());
    let url = format!("https://127.0.0.1:{}/", site.port);
    let untrusted = |source: &str| {
        not_reached(&format!(
            "127.0.0.1: certificate issued by \"Corp Proxy CA\" is not trusted (if that is your company's \
             proxy, set CODEX_CA_CERTIFICATE to the PEM file of its CA; the trusted CAs are {source})"
        ))
    };
    let source = "those of the system and those of CODEX_CA_CERTIFICATE";
    let probe = get(&url).with("CODEX_CA_CERTIFICATE", &other.file);
    assert_eq!(
        probe.run(),
        untrusted(&format!("{source} ({})", other.file))
    );
    let source = format!("those of SSL_CERT_FILE ({})", other.file);
    let probe = get(&url).with("SSL_CERT_FILE", &other.file);
    assert_eq!(probe.run(), untrusted(&source));
    // SSL_CERT_FILE replaces the system's roots, and the other variable adds to them.
    let probe = get(&url).with("SSL_CERT_FILE", &other.file);
    assert_eq!(
        probe.with("CODEX_CA_CERTIFICATE", &site.file).run(),
        good("ok")
    );
}

#[test]
fn a_file_without_certificates_is_reported_before_anything_is_sent() {
    let (port, requests) = plain(OK);
    let url = format!("https://127.0.0.1:{port}/");
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let damaged = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let strange = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, content) in [
        ("empty", ""),
        ("text", "hello\n"),
        ("damaged", damaged),
        ("strange", strange),
    ] {
        fs::write(file(name), content).unwrap();
    }
    for variable in ["CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"] {
        let said = |name: &str| get(&url).with(variable, file(name)).run();
        let (code, message) = said("missing");
        let could_not = |name: &str| format!("could not read {} (from {variable}): ", file(name));
        assert!(
            code == 1 && message.starts_with(&could_not("missing")),
            "{message}"
        );
        for (name, message) in [
            ("empty", "it contains no certificate (BEGIN CERTIFICATE)"),
            ("text", "it contains no certificate (BEGIN CERTIFICATE)"),
            ("strange", "it contains no certificate (BEGIN CERTIFICATE)"),
            ("damaged", "the file is damaged"),
            (".", "not a regular file"),
        ] {
            assert_eq!(said(name), wrong(could_not(name) + message));
        }
    }
    let message = "SSL_CERT_DIR contains no folder with certificates: correct or unset it";
    assert_eq!(
        get(&url)
            .with("SSL_CERT_DIR", folder.path().to_str().unwrap())
            .run(),
        wrong(message)
    );
    assert_eq!(
        get(&url).with("SSL_CERT_DIR", "/nowhere").run(),
        wrong(message)
    );
    assert!(requests.try_recv().is_err());
}

#[test]
fn a_variable_that_is_empty_is_unset() {
    let site = site();
    let url = format!("https://127.0.0.1:{}/", site.port);
    let probe = get(&url).with("CODEX_CA_CERTIFICATE", "");
    let (code, message) = probe
        .with("SSL_CERT_FILE", "")
        .with("SSL_CERT_DIR", "")
        .run();
    let untrusted =
        "not reached: 127.0.0.1: certificate issued by \"Corp Proxy CA\" is not trusted";
    assert!(code == 75 && message.starts_with(untrusted), "{message}");
    assert!(
        message.ends_with("the trusted CAs are those of the system)"),
        "{message}"
    );
}

/// Reading it would block forever, as nothing writes to it.
#[cfg(unix)]
#[test]
fn a_fifo_is_not_waited_for() {
    let site = site();
    let url = format!("https://127.0.0.1:{}/", site.port);
    let fifo = site.folder.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let fifo = fifo.to_str().unwrap();
    for variable in ["CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"] {
        assert_eq!(
            get(&url).with(variable, fifo).run(),
            wrong(format!(
                "could not read {fifo} (from {variable}): not a regular file"
            ))
        );
    }
    // In a folder it is ignored, like everything that is not a certificate.
    let folder = site.folder.path().to_str().unwrap();
    assert_eq!(get(&url).with("SSL_CERT_DIR", folder).run(), good("ok"));
}

#[test]
fn roots_are_not_read_for_plain_http() {
    let (port, _requests) = plain(OK);
    let probe = get(&format!("http://127.0.0.1:{port}/"));
    assert_eq!(probe.with("SSL_CERT_FILE", "/nowhere").run(), good("ok"));
}

#[test]
fn a_certificate_that_is_not_for_this_host_or_day_is_refused() {
    for (hosts, year, message) in [
        (
            ["192.0.2.1"],
            4000,
            "is for another name (a captive portal or a filter?)",
        ),
        (
            ["127.0.0.1"],
            2001,
            "has expired, or is not yet valid (is this machine's clock right?)",
        ),
    ] {
        let authority = authority("Corp Proxy CA", &hosts, year);
        let site = site();
        fs::write(&site.file, &authority.pem).unwrap();
        let (port, _requests) = encrypted(&authority.server, OK);
        let probe = get(&format!("https://127.0.0.1:{port}/")).with("SSL_CERT_FILE", &site.file);
        assert_eq!(
            probe.run(),
            not_reached(&format!("127.0.0.1: certificate {message}"))
        );
    }
}

// Choosing a proxy.

#[test]
fn a_proxy_reaches_a_host_that_only_it_knows() {
    let site = site();
    for (variable, scheme) in [
        ("https_proxy", "http://"),
        ("HTTPS_PROXY", ""),
        ("all_proxy", "http://"),
    ] {
        let (proxy, requests) = connect_proxy(site.port, None);
        let probe = get("https://issuer.test/").with("CODEX_CA_CERTIFICATE", &site.file);
        let answer = probe
            .with(variable, format!("{scheme}127.0.0.1:{proxy}"))
            .run();
        assert_eq!(answer, good("ok"));
        let request = next(&requests);
        assert!(
            request.starts_with("CONNECT issuer.test:443 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(!request.contains("Authorization"), "{request}");
    }
}

#[test]
fn a_proxy_gets_its_password_and_asks_for_it() {
    let site = site();
    // me:p@ss:word
    let (proxy, requests) = connect_proxy(site.port, Some("bWU6cEBzczp3b3Jk"));
    let through = |user: &str| {
        get("https://issuer.test/")
            .with("CODEX_CA_CERTIFICATE", &site.file)
            .with("https_proxy", format!("http://{user}127.0.0.1:{proxy}"))
            .run()
    };
    let at = format!("issuer.test through the proxy http://127.0.0.1:{proxy} (https_proxy):");
    assert_eq!(through("me:p%40ss:word@"), good("ok"));
    assert_eq!(
        through(""),
        not_reached(&format!(
            "{at} proxy authentication required: add USER:PASSWORD@ before the host in its URL"
        ))
    );
    assert_eq!(
        through("me:other@"),
        not_reached(&format!("{at} proxy rejected the user name or password"))
    );
    for _ in 0..3 {
        next(&requests);
    }
}

#[test]
fn a_proxy_without_basic_is_reported_with_a_workaround() {
    for (offers, wanted) in [
        ("Proxy-Authenticate: NTLM\r\n", "NTLM"),
        (
            "proxy-authenticate: Negotiate\r\nProxy-Authenticate: NTLM TlRMTVNTUAAC\r\n",
            "Negotiate or NTLM TlRMTVNTUAAC",
        ),
        ("Proxy-Authenticate: negotiate, ntlm\r\n", "negotiate, ntlm"),
    ] {
        for user in ["", "me:secret@"] {
            let answer = format!("HTTP/1.1 407 Sign in\r\n{offers}\r\n");
            let proxy = saying(answer.leak());
            let probe = get("https://issuer.test/");
            let (code, message) = probe
                .with("https_proxy", format!("http://{user}127.0.0.1:{proxy}"))
                .run();
            let why = format!(
                "proxy requires {wanted} authentication, but codex-auth only supports Basic: run a local relay such as \
                 px or cntlm, and use that as the proxy"
            );
            assert!(code == 75 && message.ends_with(&why), "{message}");
        }
    }
    // A proxy that also accepts Basic only needs a user name.
    let proxy = saying("HTTP/1.1 407 X\r\nProxy-Authenticate: NTLM, Basic realm=\"x\"\r\n\r\n");
    let probe = get("https://issuer.test/");
    let (_, message) = probe
        .with("https_proxy", format!("127.0.0.1:{proxy}"))
        .run();
    assert!(
        message.ends_with("add USER:PASSWORD@ before the host in its URL"),
        "{message}"
    );
}

#[test]
fn a_script_that_chooses_a_proxy_is_refused() {
    for script in ["http://wpad.test/proxy.pac", "http://127.0.0.1:1/PROXY.PAC"] {
        let probe = get("https://issuer.test/").with("https_proxy", script);
        let (code, message) = probe.run();
        let is_told = message.contains("https_proxy") && message.contains(".pac");
        assert!(code == 2 && is_told, "{message}");
    }
}

#[test]
fn a_proxy_that_refuses_is_reported() {
    let refusing = saying("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let site = site();
    let probe = get("https://issuer.test/").with("CODEX_CA_CERTIFICATE", &site.file);
    assert_eq!(
        probe
            .with("https_proxy", format!("127.0.0.1:{refusing}"))
            .run(),
        not_reached(&format!(
            "issuer.test through the proxy http://127.0.0.1:{refusing} (https_proxy): proxy refused to connect (status \
             403)"
        ))
    );
}

#[test]
fn a_proxy_with_an_https_url_is_reached_over_tls() {
    let (site, other) = (site(), site());
    let through = |proxy: u16, file: &str| {
        get("https://issuer.test/")
            .with("CODEX_CA_CERTIFICATE", file)
            .with("https_proxy", format!("https://127.0.0.1:{proxy}"))
            .run()
    };
    let proxy = encrypted_proxy(&site.authority.server);
    assert_eq!(through(proxy, &site.file), good("ok"));
    let (code, message) = through(proxy, &other.file);
    let at = format!("issuer.test through the proxy https://127.0.0.1:{proxy} (https_proxy): ");
    let whose =
        format!("not reached: {at}proxy: certificate issued by \"Corp Proxy CA\" is not trusted (");
    assert!(code == 75 && message.starts_with(&whose), "{message}");
    let proxy = saying("HTTP/1.1 400 Bad Request\r\n\r\n");
    let at = format!("issuer.test through the proxy https://127.0.0.1:{proxy} (https_proxy): ");
    let message =
        "proxy: not a TLS server (a captive portal? a proxy that needs http:// in its URL?)";
    assert_eq!(through(proxy, &site.file), not_reached(&(at + message)));
}

#[test]
fn a_name_is_resolved_here_for_socks5_and_there_for_socks5h() {
    let site = site();
    for (host, scheme, target) in [
        ("issuer.test", "socks5h", "name issuer.test"),
        ("192.0.2.7", "socks5h", "address [192, 0, 2, 7]"),
        ("192.0.2.7", "socks5", "address [192, 0, 2, 7]"),
        (NAME, "socks5", "address [127, 0, 0, 1]"),
        (NAME, "socks5h", "name 127.0.0.0x1"),
    ] {
        let (proxy, requests) = socks_proxy(site.port, None);
        let url = format!("https://{host}/");
        let probe = get(&url).with("CODEX_CA_CERTIFICATE", &site.file);
        let answer = probe
            .with("all_proxy", format!("{scheme}://127.0.0.1:{proxy}"))
            .run();
        if host != NAME {
            assert_eq!(answer, good("ok"), "{scheme} to {url}");
        }
        assert_eq!(next(&requests), target, "{scheme} to {url}");
    }
}

#[test]
fn a_socks_proxy_gets_its_password_and_asks_for_it() {
    let site = site();
    let (proxy, requests) = socks_proxy(site.port, Some(b"\x01\x02me\x04p@ss"));
    let through = |user: &str| {
        get("https://issuer.test/")
            .with("CODEX_CA_CERTIFICATE", &site.file)
            .with("https_proxy", format!("socks5h://{user}127.0.0.1:{proxy}"))
            .run()
    };
    assert_eq!(through("me:p%40ss@"), good("ok"));
    assert_eq!(next(&requests), "name issuer.test");
    for (user, why) in [
        (
            "",
            "proxy authentication required: add USER:PASSWORD@ before the host in its URL",
        ),
        ("me:evil@", "proxy rejected the user name or password"),
    ] {
        let at = format!("issuer.test through the proxy socks5h://127.0.0.1:{proxy} (https_proxy)");
        assert_eq!(through(user), not_reached(&format!("{at}: {why}")));
    }
}

#[test]
fn a_wrong_kind_of_socks_proxy_is_named() {
    let unknown = format!("{}.test", "x".repeat(70));
    let (socks, _requests) = socks_proxy(closed_port(), None);
    let proxy = format!("socks5://127.0.0.1:{socks}");
    let at = format!("{unknown} through the proxy {proxy} (all_proxy)");
    let probe = get(&format!("https://{unknown}/")).with("all_proxy", proxy);
    assert_eq!(
        probe.run(),
        not_reached(&format!(
            "{at}: could not resolve host (use socks5h:// to have the proxy resolve it)"
        ))
    );
    for (answer, why) in [
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "proxy does not speak SOCKS5 (if it is an HTTP proxy, use http:// in its URL)",
        ),
        ("", "connection closed before the response was complete"),
    ] {
        let proxy = format!("socks5h://127.0.0.1:{}", saying(answer));
        let at = format!("issuer.test through the proxy {proxy} (https_proxy)");
        let probe = get("https://issuer.test/").with("https_proxy", proxy);
        assert_eq!(probe.run(), not_reached(&format!("{at}: {why}")));
    }
}

#[test]
fn an_unreachable_proxy_is_a_failure_and_never_a_direct_connection() {
    let site = site();
    let url = format!("https://{ALIAS}:{}/", site.port);
    let to_site = || get(&url).with("CODEX_CA_CERTIFICATE", &site.file);
    assert_eq!(to_site().run(), good("ok"));
    next(&site.requests);
    let closed = closed_port();
    for variable in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        for scheme in ["http", "https", "socks5", "socks5h"] {
            let proxy = format!("{scheme}://me:secret@127.0.0.1:{closed}");
            let at =
                format!("{ALIAS} through the proxy {scheme}://127.0.0.1:{closed} ({variable})");
            let answer = to_site().with(variable, proxy).run();
            assert_eq!(answer, not_reached(&format!("{at}: connection refused")));
        }
    }
    assert!(site.requests.try_recv().is_err());
}

#[test]
fn a_value_that_cannot_be_used_is_an_error_and_never_a_direct_connection() {
    let site = site();
    let url = format!("https://{ALIAS}:{}/", site.port);
    for variable in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        for value in [
            "http://me:secret@",
            "ftp://me:secret@127.0.0.1:1",
            "http://me:secret@127.0.0.1:x",
            "secret stuff",
        ] {
            let message = "use a URL such as http://USER:PASSWORD@HOST:PORT, or one with https, socks5 or socks5h \
                         (percent-encode special characters in the password: %40 for @)";
            let probe = get(&url).with("CODEX_CA_CERTIFICATE", &site.file);
            let answer = probe.with(variable, value).run();
            assert_eq!(
                answer,
                (2, format!("invalid {variable}: {message}")),
                "{value}"
            );
        }
    }
    assert!(site.requests.try_recv().is_err());
}

#[test]
fn the_variables_have_the_order_of_curl() {
    let url = format!("https://{ALIAS}/");
    let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    // On Windows, variable names are case-insensitive.
    let names = if cfg!(windows) {
        vec!["https_proxy", "all_proxy"]
    } else {
        names.to_vec()
    };
    for (rank, first) in names.iter().enumerate() {
        let probe = get(&url)
            .with("http_proxy", "unusable:")
            .with("HTTP_PROXY", "unusable:");
        let probe = names[rank..]
            .iter()
            .fold(probe, |probe, name| probe.with(name, "ftp://x"));
        // Empty variables count as unset.
        let probe = names[..rank]
            .iter()
            .fold(probe, |probe, name| probe.with(name, ""));
        let (code, message) = probe.run();
        assert!(
            code == 2 && message.starts_with(&format!("invalid {first}")),
            "{message}"
        );
    }
}

#[test]
fn this_machine_and_what_no_proxy_covers_are_reached_directly() {
    let (port, _requests) = plain(OK);
    let site = site();
    let closed = format!("http://127.0.0.1:{}", closed_port());
    for host in ["127.0.0.1", "localhost"] {
        let probe = get(&format!("http://{host}:{port}/"));
        let probe = probe.with("all_proxy", &closed).with("http_proxy", &closed);
        assert_eq!(probe.with("https_proxy", "unusable:").run(), good("ok"));
    }
    for variable in ["no_proxy", "NO_PROXY"] {
        let probe = get(&format!("https://{ALIAS}:{}/", site.port)).with("https_proxy", &closed);
        let probe = probe.with("CODEX_CA_CERTIFICATE", &site.file);
        let hosts = format!("a.example, {ALIAS}");
        assert_eq!(probe.with(variable, hosts).run(), good("ok"));
    }
}

// Connections that break.

/// Resolvers read /etc/hosts first. Here it is a FIFO that nobody writes to, as if a name server did not answer.
#[cfg(target_os = "linux")]
#[test]
fn a_silent_resolver_takes_no_more_than_a_part_of_the_limit() {
    const HIDE: &str = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let folder = TempDir::new().unwrap();
    let fifo = folder.path().join("hosts");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let unshared = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", HIDE]);
        command.arg(&fifo);
        command
    };
    let can = unshared().arg("true").output();
    if !can.is_ok_and(|output| output.status.success()) {
        return support::sandbox::skip("no mount namespaces here");
    }
    let (socks, _requests) = socks_proxy(closed_port(), None);
    let proxy = format!("socks5://127.0.0.1:{socks}");
    let hint = "could not resolve host (use socks5h:// to have the proxy resolve it)";
    let at = format!("issuer.test through the proxy {proxy} (all_proxy): {hint}");
    let probe = get("https://issuer.test/").with("all_proxy", proxy);
    let mut command = unshared();
    command.arg(env::current_exe().unwrap());
    let begun = std::time::Instant::now();
    let output = probe.within(3000).start_by(command).wait_with_output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert_eq!(said.trim_end(), format!("not reached: {at}"));
    // A third of the limit is 1 s; a resolver without a limit would take 10 s.
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[test]
fn an_unknown_name_and_a_closed_port_are_reported() {
    // No DNS label may be that long, so no server has to be queried.
    let unknown = format!("{}.test", "x".repeat(70));
    let hint = "(is this machine online? if it is behind a proxy, is https_proxy set?)";
    let answer = get(&format!("https://{unknown}/")).run();
    assert_eq!(
        answer,
        not_reached(&format!("{unknown}: could not resolve host {hint}"))
    );
    let probe = get("https://issuer.test/").with("https_proxy", format!("http://{unknown}:80"));
    let at = format!("issuer.test through the proxy http://{unknown}:80 (https_proxy)");
    assert_eq!(
        probe.run(),
        not_reached(&format!(
            "{at}: could not resolve proxy (is this machine online?)"
        ))
    );
    let answer = get(&format!("http://127.0.0.1:{}/", closed_port())).run();
    assert_eq!(answer, not_reached("127.0.0.1: connection refused"));
}

#[test]
fn localhost_is_this_machine_in_any_spelling() {
    let (port, _requests) = plain(OK);
    for host in ["localhost", "LocalHost", "localhost."] {
        let answer = get(&format!("http://{host}:{port}/")).run();
        assert_eq!(answer, good("ok"), "{host}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_silent_route_of_one_family_costs_no_request() {
    let (port, _requests) = plain(OK);
    let _dead = Unanswering::start(&format!("[::1]:{port}"));
    let answer = get(&format!("http://localhost:{port}/")).run();
    assert_eq!(answer, good("ok"));
    let silent = Unanswering::start("127.0.0.1:0");
    let _other = Unanswering::start(&format!("[::1]:{}", silent.address.port()));
    let probe = get(&format!("http://localhost:{}/", silent.address.port()));
    assert_eq!(
        probe.within(1500).run(),
        not_reached("localhost: connection timed out")
    );
}

#[test]
fn a_dropped_connection_is_reported() {
    let port = saying("");
    let site = site();
    assert_eq!(
        get(&format!("http://127.0.0.1:{port}/")).run(),
        failed("127.0.0.1: connection closed before the response was complete")
    );
    let probe = get(&format!("https://127.0.0.1:{port}/")).with("CODEX_CA_CERTIFICATE", &site.file);
    assert_eq!(
        probe.run(),
        not_reached(
            "127.0.0.1: connection closed during the TLS handshake (is a firewall in the way?)"
        )
    );
    let (port, _requests) = plain("SSH-2.0-OpenSSH_9.9\r\n\r\n");
    let (code, message) = get(&format!("http://127.0.0.1:{port}/")).run();
    assert!(
        code == 75 && message.starts_with("127.0.0.1: invalid HTTP response: "),
        "{message}"
    );
}

#[test]
fn a_server_that_stalls_at_any_step_is_given_up_in_time() {
    let (site, silent) = (site(), silent());
    let head = trickling("HTTP/1.1 200 OK\r\nX:");
    let body = trickling("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n");
    // Connecting may take two thirds of the limit. The last third is 3 s, so that the two differ even on a slow machine.
    let late = "request timed out after 9 s";
    let handshake = "TLS handshake timed out (is a firewall in the way?)";
    let way = "connection timed out";
    let direct = [
        (
            format!("http://127.0.0.1:{silent}"),
            failed(format!("127.0.0.1: {late}")),
        ),
        (
            format!("https://127.0.0.1:{silent}"),
            not_reached(&format!("127.0.0.1: {handshake}")),
        ),
        (
            format!("http://127.0.0.1:{head}"),
            failed(format!("127.0.0.1: {late}")),
        ),
        (
            format!("http://127.0.0.1:{body}"),
            (0, format!("200 None None ({late})")),
        ),
    ]
    .map(|(url, outcome)| (get(&url), outcome));
    let proxied = [
        (format!("http://127.0.0.1:{silent}"), way.to_owned()),
        (format!("socks5h://127.0.0.1:{silent}"), way.to_owned()),
        (
            format!("https://127.0.0.1:{silent}"),
            format!("proxy: {handshake}"),
        ),
        (format!("http://127.0.0.1:{head}"), way.to_owned()),
    ]
    .map(|(proxy, message)| {
        let line = format!("issuer.test through the proxy {proxy} (https_proxy): {message}");
        (
            get("https://issuer.test/").with("https_proxy", proxy),
            not_reached(&line),
        )
    });
    thread::scope(|scope| {
        for (probe, outcome) in direct.into_iter().chain(proxied) {
            let probe = probe.with("CODEX_CA_CERTIFICATE", &site.file).within(9000);
            scope.spawn(move || {
                let (code, message) = probe.run();
                let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
                assert_eq!((code, message), outcome);
            });
        }
    });
}

#[test]
fn a_request_that_was_given_up_is_not_sent_later() {
    let site = site();
    let (proxy, finish, received) = late_proxy();
    let probe = get("https://issuer.test/").with("CODEX_CA_CERTIFICATE", &site.file);
    let mut probe = probe
        .with("https_proxy", format!("127.0.0.1:{proxy}"))
        .within(1500);
    probe.request = "stay https://issuer.test/".to_owned();
    let mut child = probe.start();
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    assert_eq!(
        line,
        format!(
            "not reached: issuer.test through the proxy http://127.0.0.1:{proxy} (https_proxy): connection timed out\n"
        )
    );
    finish.send(()).unwrap();
    assert_eq!(next(&received), "");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(75));
}
