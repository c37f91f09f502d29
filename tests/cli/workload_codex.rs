//! The real Codex CLI with its own workload identity, compared to the same program with our token. On its own it only
//! contacts `auth.openai.com` and `chatgpt.com`, over TLS; here a proxy on loopback acts as both.

use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, thread};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use support::browser;
use support::fake_issuer::wire::{Answer, Request, read_request};
use support::fake_issuer::{Endpoint, Trouble};
use support::process::{Output, Running};

use crate::codex::{ANSWER, Person};
use crate::workload::{FILE, Job, RULE};

const EACH: usize = 8;

/// A user of Codex, who also lets Codex itself exchange identity tokens.
struct Pair {
    person: Person,
    proxy: String,
}

impl Pair {
    /// Our token has expired, and each side has a new identity token. `None` if Codex is not installed.
    fn new() -> Option<Self> {
        let job = Job::signed_in();
        job.0.age(-60);
        job.rotate();
        let Job(sandbox) = job;
        let made = rcgen::generate_simple_self_signed(
            ["auth.openai.com", "chatgpt.com"].map(str::to_owned),
        );
        let made = made.unwrap();
        fs::write(sandbox.folder().join("ca.pem"), made.cert.pem()).unwrap();
        let proxy = official_hosts(&made, sandbox.issuer.url());
        let home = sandbox.folder().join("official");
        fs::create_dir(&home).unwrap();
        // The backend that our own configuration names, with Codex's own tokens.
        let configuration = format!(
            "model_provider = \"official\"\n[model_providers.official]\nname = \"Official\"\nwire_api = \"responses\"\n\
             base_url = \"{}/backend-api/codex\"\nrequires_openai_auth = true\n",
            sandbox.issuer.url()
        );
        fs::write(home.join("config.toml"), configuration).unwrap();
        let identity = sandbox.issuer.issue_identity_token(300);
        fs::write(home.join("identity"), identity).unwrap();
        Some(Self {
            person: Person::with(sandbox)?,
            proxy,
        })
    }

    fn home(&self) -> PathBuf {
        self.person.sandbox.folder().join("official")
    }

    /// Asks a Codex that gets its token itself.
    fn ask_official(&self) -> Running {
        let mut command = self.person.command();
        command.env("CODEX_HOME", self.home());
        command.env("HTTPS_PROXY", &self.proxy);
        command.env(
            "CODEX_CA_CERTIFICATE",
            self.person.sandbox.folder().join("ca.pem"),
        );
        command
            .env(RULE, "rule-1")
            .env(FILE, self.home().join("identity"));
        self.person.sandbox.start(command)
    }

    /// How often the identity token in this file was sent to the issuer.
    fn exchanges_of(&self, file: PathBuf) -> usize {
        let identity = fs::read_to_string(file).unwrap();
        let requests = self.person.sandbox.issuer.requests_to(Endpoint::Assertion);
        requests
            .iter()
            .filter(|request| request.form()["assertion"] == identity.trim())
            .count()
    }
}

/// Eight of each kind at once: each official one sends the identity token, ours send it once for all. If it works only
/// once, a single official one gets its answer.
#[test]
fn eight_of_the_official_client_exchange_eight_times_and_eight_with_our_token_once() {
    for (work_once, answered) in [(false, EACH), (true, 1)] {
        let Some(pair) = Pair::new() else { return };
        let issuer = Arc::clone(&pair.person.sandbox.issuer);
        issuer.set(|its| its.assertions_work_once = work_once);
        let gate = issuer.gate();
        issuer.plan_always(Endpoint::Responses, Trouble::Hold(gate.clone()));
        let official: Vec<_> = (0..EACH).map(|_| pair.ask_official()).collect();
        let ours: Vec<_> = (0..EACH).map(|_| pair.person.ask()).collect();
        // All of them are running now, with a token.
        issuer.await_requests(Endpoint::Responses, answered + EACH);
        gate.open();
        let outputs: Vec<Output> = official.into_iter().map(Running::finish).collect();
        let (good, refused): (Vec<_>, Vec<_>) = outputs.iter().partition(|one| one.code == 0);
        assert_eq!(good.len(), answered);
        for output in good {
            output.assert(0, ANSWER, "...\n");
        }
        for output in refused {
            output.assert(1, "", "...\nError: [..] rejected with HTTP 400\n...\n");
        }
        for running in ours {
            running.finish().assert(0, ANSWER, "...\n");
        }
        assert_eq!(pair.exchanges_of(pair.home().join("identity")), EACH);
        let identity = pair.person.sandbox.folder().join("identity");
        assert_eq!(pair.exchanges_of(identity), 1);
        assert_eq!(issuer.count(Endpoint::Responses), answered + EACH);
        // Including the exchange at login.
        assert_eq!(issuer.count(Endpoint::Assertion), EACH + 2);
        assert_eq!(issuer.reuses(), EACH - answered);
    }
}

/// A proxy for the hosts that Codex contacts. Returns its URL, and runs as long as the test binary.
fn official_hosts(made: &rcgen::CertifiedKey<rcgen::KeyPair>, issuer: &str) -> String {
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let (config, issuer) = (Arc::new(config.unwrap()), issuer.to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (config, issuer) = (Arc::clone(&config), issuer.clone());
            // A client disconnects when it has what it needs.
            thread::spawn(move || serve(stream, &config, &issuer).ok());
        }
    });
    url
}

/// Serves one request through one tunnel.
fn serve(stream: TcpStream, config: &Arc<ServerConfig>, issuer: &str) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let Some(tunnel) = read_request(&mut stream)? else {
        return Ok(());
    };
    stream
        .get_mut()
        .write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let connection = ServerConnection::new(Arc::clone(config)).unwrap();
    let mut stream = BufReader::new(StreamOwned::new(connection, stream.into_inner()));
    let Some(request) = read_request(&mut stream)? else {
        return Ok(());
    };
    let answer = official_answer(&tunnel.path, &request, issuer).with("Connection", "close");
    let stream = stream.get_mut();
    stream.write_all(answer.head().as_bytes())?;
    stream.write_all(&answer.body)?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// Uses the fake issuer's token endpoint. There is no administrator's configuration, and Codex works without the rest.
fn official_answer(host: &str, request: &Request, issuer: &str) -> Answer {
    match (host, request.path.as_str()) {
        ("auth.openai.com:443", "/oauth/token") => {
            let kind = request.header("content-type").unwrap_or_default();
            let answer = browser::post(&format!("{issuer}/oauth/token"), kind, &request.text());
            Answer::new(answer.status, "application/json", answer.body)
        }
        ("chatgpt.com:443", "/backend-api/wham/config/bundle") => Answer::json(200, &json!({})),
        _ => Answer::json(404, &json!({ "detail": "Not Found" })),
    }
}
