//! An issuer on a free loopback port, as strict as the real one is said to be. It records requests, can be told to
//! misbehave, and panics on drop if a client violated the protocol. It depends on no test framework.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step of a test ends the test"
)]

mod endpoints;
mod gateway;
mod tokens;
mod trouble;
pub mod wire;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};

pub use endpoints::{Consent, Endpoint};
pub use tokens::{Account, challenge, json_web_token, now, unique};
use trouble::{Course, Delivery, Instead};
pub use trouble::{Flaw, Trouble};
pub use wire::{Answer, Request};

/// The public client of Codex CLI.
pub const CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";

/// How long to wait for an event before a test fails. Only reached if something is broken.
const PATIENCE: Duration = Duration::from_mins(1);

#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an independent switch"
)]
/// How the issuer behaves unless something else is planned. `FakeIssuer::set` changes it at any time.
pub struct Manners {
    /// The client that it accepts.
    pub client_id: String,
    /// The account of the next login.
    pub account: Account,
    /// The account that a login belongs to after its next refresh; `None`: unchanged.
    pub account_at_refresh: Option<Account>,
    /// Whether it enforces `allowed_workspace_id`.
    pub honours_workspace: bool,
    /// How long new access tokens and ID tokens are valid, in seconds.
    pub access_life: u64,
    pub id_life: u64,
    /// How many seconds its clock is ahead of this machine's; negative: behind.
    pub clock_ahead: i64,
    pub opaque_access_token: bool,
    /// `iss` and `aud` of new ID tokens; `None`: the correct ones.
    pub id_issuer: Option<Value>,
    pub id_audience: Option<Value>,
    /// Members that are missing from, or null in, token responses. A refresh token that would not be replaced is not
    /// spent either.
    pub omit: Vec<&'static str>,
    pub null: Vec<&'static str>,
    /// Whether reusing a refresh token revokes the whole login.
    pub reuse_revokes_family: bool,
    /// The federation rule of workloads, and whether each identity token is accepted only once.
    pub federation_rule: String,
    pub assertions_work_once: bool,
    /// Whether it only accepts revocations sent as a form (RFC 7009 section 2.1).
    pub revokes_forms_only: bool,
    /// The status of a final error: 400 or 401.
    pub final_error_status: u16,
    pub consent: Consent,
    /// The `iss` of the redirect (RFC 9207), if it sends one.
    pub iss: Option<String>,
    /// Whether device login is enabled.
    pub device_login: bool,
    /// The `interval` of the device flow: a string, a number, or missing.
    pub interval: Option<Value>,
    /// How the member of the user code is spelled.
    pub user_code_member: &'static str,
    /// The status that means "not yet" in the device flow: 403 or 404.
    pub pending_status: u16,
    /// More members of the account's entry in `accounts/check`, such as `workspace_backend_origin`. Null: it is not
    /// served, so that no worker changes the stored login after its caller has exited.
    pub routing: Value,
    /// Whether it lists accounts as a map, as it once did, instead of a list.
    pub accounts_as_map: bool,
    /// Whether the account is missing from the accounts that it lists.
    pub account_is_missing: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            client_id: CLIENT_ID.to_owned(),
            account: Account::new("account-1", "someone@mail.example"),
            account_at_refresh: None,
            honours_workspace: true,
            access_life: 864_000,
            id_life: 3600,
            clock_ahead: 0,
            opaque_access_token: false,
            id_issuer: None,
            id_audience: None,
            omit: Vec::new(),
            null: Vec::new(),
            reuse_revokes_family: false,
            federation_rule: "rule-1".to_owned(),
            assertions_work_once: true,
            revokes_forms_only: false,
            final_error_status: 401,
            consent: Consent::Grant,
            iss: None,
            device_login: true,
            interval: Some(json!("1")),
            user_code_member: "user_code",
            pending_status: 403,
            routing: Value::Null,
            accounts_as_map: false,
            account_is_missing: false,
        }
    }
}

/// The running issuer. Dropping it stops it, and panics if there are violations that no test has taken.
pub struct FakeIssuer {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    /// Without a trailing slash.
    url: String,
    state: Mutex<State>,
    /// Signals any change of `state`.
    changed: Condvar,
}

struct State {
    url: String,
    manners: Manners,
    books: tokens::Books,
    /// Identity tokens made by a workload's platform.
    identity_tokens: HashMap<String, IdentityToken>,
    codes: HashMap<String, endpoints::Code>,
    devices: Vec<endpoints::Device>,
    revoked: Vec<String>,
    reuses: usize,
    requests: Vec<(Endpoint, Request)>,
    answered: HashMap<Endpoint, Vec<Instant>>,
    plans: HashMap<Endpoint, VecDeque<Trouble>>,
    lasting_plans: HashMap<Endpoint, Trouble>,
    open_gates: HashSet<usize>,
    gates: usize,
    violations: Vec<String>,
    connections: HashMap<usize, TcpStream>,
    stopped: bool,
}

struct IdentityToken {
    /// Seconds since 1970.
    expires_at: u64,
    used: bool,
}

/// Holds responses back until the test opens it.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
    number: usize,
}

impl Gate {
    pub fn open(&self) {
        self.shared.lock().open_gates.insert(self.number);
        self.shared.changed.notify_all();
    }
}

/// Starting, controlling and stopping it.
impl FakeIssuer {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("no free port");
        let url = format!("http://{}", listener.local_addr().expect("no address"));
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(&url)),
            changed: Condvar::new(),
            url,
        });
        let served = Arc::clone(&shared);
        let acceptor = Some(thread::spawn(move || accept(&served, &listener)));
        Self { shared, acceptor }
    }

    /// Its URL, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Changes its behaviour: `issuer.set(|its| its.access_life = 60)`.
    pub fn set(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.shared.lock().manners);
    }

    /// Plans the next response of an endpoint, after those already planned.
    pub fn plan(&self, endpoint: Endpoint, trouble: Trouble) {
        let mut state = self.shared.lock();
        state.plans.entry(endpoint).or_default().push_back(trouble);
    }

    /// Plans all responses of an endpoint that have no other plan, until `end_plans`.
    pub fn plan_always(&self, endpoint: Endpoint, trouble: Trouble) {
        self.shared.lock().lasting_plans.insert(endpoint, trouble);
    }

    /// Returns to normal service.
    pub fn end_plans(&self, endpoint: Endpoint) {
        let mut state = self.shared.lock();
        state.plans.remove(&endpoint);
        state.lasting_plans.remove(&endpoint);
    }

    /// A new, closed gate for `Trouble::Hold`.
    pub fn gate(&self) -> Gate {
        let mut state = self.shared.lock();
        state.gates += 1;
        let number = state.gates;
        drop(state);
        let shared = Arc::clone(&self.shared);
        Gate { shared, number }
    }

    /// Holds back the next response of an endpoint until the gate opens.
    pub fn hold(&self, endpoint: Endpoint) -> Gate {
        let gate = self.gate();
        self.plan(endpoint, Trouble::Hold(gate.clone()));
        gate
    }

    /// Creates a login without any request, with tokens `age` seconds old. Returns it in the form of the member `tokens`
    /// of a stored login.
    pub fn issue_tokens(&self, age: u64) -> Value {
        let mut state = self.shared.lock();
        let account = state.manners.account.clone();
        let account_id = account.id.clone();
        let family = state.books.open_family(account);
        let issued = state.issue(family, age);
        json!({
            "id_token": issued["id_token"],
            "access_token": issued["access_token"],
            "refresh_token": issued["refresh_token"],
            "account_id": account_id,
        })
    }

    /// Creates an access token as an admin console does (`at-…`): it is never refreshed.
    pub fn issue_personal_token(&self) -> String {
        let mut state = self.shared.lock();
        let account = state.manners.account.clone();
        state.books.issue_personal(account).to_owned()
    }

    /// Creates a workload's identity token, as its platform does, valid for `life` seconds.
    pub fn issue_identity_token(&self, life: i64) -> String {
        let expires_at = now().saturating_add_signed(life);
        let claims = json!({
            "iss": "https://platform.example",
            "sub": "repo:example/project",
            "jti": unique(),
            "exp": expires_at,
        });
        let token = json_web_token(&claims);
        let known = IdentityToken {
            expires_at,
            used: false,
        };
        let mut state = self.shared.lock();
        state.identity_tokens.insert(token.clone(), known);
        token
    }

    /// Revokes every login, so that no refresh token works any more (`refresh_token_invalidated`).
    pub fn revoke_logins(&self) {
        self.shared.lock().books.revoke_all();
    }

    /// Makes the backend reject every access token issued so far.
    pub fn reject_access_tokens(&self) {
        self.shared.lock().books.reject_access_tokens();
    }

    /// The user enters the code on another device, and approves.
    pub fn approve(&self) {
        self.shared.lock().decide(endpoints::Verdict::approved());
    }

    /// The user declines (`access_denied`).
    pub fn deny(&self) {
        let verdict = endpoints::Verdict::Refused("access_denied", "The user declined.");
        self.shared.lock().decide(verdict);
    }

    /// The user code expires (`expired_token`).
    pub fn expire(&self) {
        let verdict = endpoints::Verdict::Refused("expired_token", "The code has expired.");
        self.shared.lock().decide(verdict);
    }
}

/// What it recorded.
impl FakeIssuer {
    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        let state = self.shared.lock();
        state
            .requests
            .iter()
            .map(|(_, request)| request.clone())
            .collect()
    }

    /// The requests to one endpoint so far.
    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<Request> {
        let state = self.shared.lock();
        let wanted = state.requests.iter().filter(|(to, _)| *to == endpoint);
        wanted.map(|(_, request)| request.clone()).collect()
    }

    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.shared.lock().count(endpoint)
    }

    /// Waits until an endpoint has received `count` requests in total.
    #[track_caller]
    pub fn await_requests(&self, endpoint: Endpoint, count: usize) {
        let enough = |state: &State| state.count(endpoint) >= count;
        assert!(
            self.shared.wait_until(PATIENCE, enough),
            "{count} requests of {endpoint:?} were awaited, {} came",
            self.count(endpoint)
        );
    }

    /// Waits until `count` requests to an endpoint have been answered, or their connections closed.
    #[track_caller]
    pub fn await_answers(&self, endpoint: Endpoint, count: usize) {
        let answered = |state: &State| state.answered.get(&endpoint).map_or(0, Vec::len);
        assert!(
            self.shared
                .wait_until(PATIENCE, |state| answered(state) >= count),
            "{count} answers of {endpoint:?} were awaited, {} were given",
            answered(&self.shared.lock())
        );
    }

    /// When each response of an endpoint had been sent, or its connection closed.
    pub fn answers(&self, endpoint: Endpoint) -> Vec<Instant> {
        let state = self.shared.lock();
        state.answered.get(&endpoint).cloned().unwrap_or_default()
    }

    /// How often a refresh token was reused.
    pub fn reuses(&self) -> usize {
        self.shared.lock().reuses
    }

    /// The tokens that were revoked, in order.
    pub fn revoked(&self) -> Vec<String> {
        self.shared.lock().revoked.clone()
    }

    /// Every access token issued so far, the newest last.
    pub fn access_tokens(&self) -> Vec<String> {
        let state = self.shared.lock();
        let issued = state.books.issued.iter();
        issued.map(|set| set.access.clone()).collect()
    }

    /// Every refresh token issued so far, the newest last.
    pub fn refresh_tokens(&self) -> Vec<String> {
        let state = self.shared.lock();
        let issued = state.books.issued.iter();
        issued.map(|set| set.refresh.clone()).collect()
    }

    /// Every secret issued or received, each with a description.
    pub fn secrets(&self) -> Vec<(String, &'static str)> {
        let state = self.shared.lock();
        let named = |set: &tokens::Issued| {
            [
                (set.access.clone(), "[TOKEN]"),
                (set.refresh.clone(), "[REFRESH TOKEN]"),
                (set.id.clone(), "[ID TOKEN]"),
            ]
        };
        let codes = state.codes.keys().map(|code| (code.clone(), "[CODE]"));
        let exchanges = state
            .requests
            .iter()
            .filter(|(to, _)| *to == Endpoint::Exchange);
        let verifiers = exchanges
            .filter_map(|(_, request)| request.form().remove("code_verifier"))
            .map(|verifier| (verifier, "[VERIFIER]"));
        let devices = state.devices.iter();
        let devices = devices.map(|device| (device.id.clone(), "[DEVICE ID]"));
        let issued = state.books.issued.iter().flat_map(named);
        let personal = state.books.personal.iter();
        let identities = state.identity_tokens.keys();
        issued
            .chain(identities.map(|token| (token.clone(), "[IDENTITY TOKEN]")))
            .chain(personal.map(|token| (token.clone(), "[TOKEN]")))
            .chain(codes)
            .chain(verifiers)
            .chain(devices)
            .collect()
    }

    /// Whether it would accept this refresh token now, so that the login is not lost.
    pub fn would_refresh(&self, refresh_token: &str) -> bool {
        let state = self.shared.lock();
        matches!(
            state.books.look_up(refresh_token),
            tokens::Presented::Good { .. }
        )
    }

    /// Takes the violations so far, for a test that expects them.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().violations)
    }
}

impl Drop for FakeIssuer {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().ok();
        }
        let idle = |state: &State| state.connections.is_empty();
        let ended = self.shared.wait_until(PATIENCE, idle);
        let violations = self.take_violations();
        if !thread::panicking() {
            assert!(ended, "a connection of the fake issuer did not end");
            assert!(violations.is_empty(), "{}", violations.join("\n"));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a condition holds, at most for `limit`. Returns whether it did.
    fn wait_until(&self, limit: Duration, holds: impl Fn(&State) -> bool) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), limit, |state| !holds(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        holds(&state)
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        // Planned gates refer back to this, a cycle that would never be freed.
        state.plans.clear();
        state.lasting_plans.clear();
        for stream in state.connections.values() {
            stream.shutdown(Shutdown::Both).ok();
        }
        drop(state);
        self.changed.notify_all();
        // `accept` only returns when a client connects.
        TcpStream::connect(self.url.trim_start_matches("http://")).ok();
    }

    /// Records a request, and returns what is planned for it.
    fn receive(&self, endpoint: Endpoint, request: &Request) -> Course {
        let mut state = self.lock();
        state.requests.push((endpoint, request.clone()));
        let planned = state
            .plans
            .get_mut(&endpoint)
            .and_then(VecDeque::pop_front)
            .or_else(|| state.lasting_plans.get(&endpoint).cloned());
        drop(state);
        self.changed.notify_all();
        let mut course = Course::default();
        if let Some(trouble) = planned {
            course.take(trouble, request);
        }
        course
    }

    fn note_answer(&self, endpoint: Endpoint) {
        let now = Instant::now();
        self.lock().answered.entry(endpoint).or_default().push(now);
        self.changed.notify_all();
    }

    /// Waits as planned. Returns false if the issuer was stopped meanwhile.
    fn hold_back(&self, course: &Course) -> bool {
        let opened = |state: &State| {
            let mut gates = course.gates.iter();
            state.stopped || gates.all(|gate| state.open_gates.contains(&gate.number))
        };
        let delayed = course.delay.is_zero() || !self.wait_until(course.delay, |s| s.stopped);
        delayed && self.wait_until(Duration::MAX, opened) && !self.lock().stopped
    }
}

impl State {
    fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            manners: Manners::default(),
            books: tokens::Books::default(),
            identity_tokens: HashMap::new(),
            codes: HashMap::new(),
            devices: Vec::new(),
            revoked: Vec::new(),
            reuses: 0,
            requests: Vec::new(),
            answered: HashMap::new(),
            plans: HashMap::new(),
            lasting_plans: HashMap::new(),
            open_gates: HashSet::new(),
            gates: 0,
            violations: Vec::new(),
            connections: HashMap::new(),
            stopped: false,
        }
    }

    fn count(&self, endpoint: Endpoint) -> usize {
        let of_it = self.requests.iter().filter(|(to, _)| *to == endpoint);
        of_it.count()
    }
}

/// Accepts connections until the issuer is stopped. Each has its own thread, so that none blocks another.
fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for (number, stream) in listener.incoming().enumerate() {
        let mut state = shared.lock();
        if state.stopped {
            return;
        }
        let Some((stream, second)) = stream.ok().and_then(|s| Some((s.try_clone().ok()?, s)))
        else {
            continue;
        };
        state.connections.insert(number, second);
        drop(state);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let served = catch_unwind(AssertUnwindSafe(|| converse(&shared, &stream)));
            stream.shutdown(Shutdown::Both).ok();
            let mut state = shared.lock();
            state.connections.remove(&number);
            if served.is_err() {
                state.violations.push("the fake issuer panicked".to_owned());
            }
            drop(state);
            shared.changed.notify_all();
        });
    }
}

/// Serves one connection to its end. Handling a broken connection is up to the client.
fn converse(shared: &Shared, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = wire::read_request(&mut reader)? {
        let endpoint = Endpoint::of(&request);
        let course = shared.receive(endpoint, &request);
        let served = serve(shared, stream, endpoint, &request, course);
        let goes_on = matches!(served, Ok(true)) && !request.is_last();
        if !goes_on {
            stream.shutdown(Shutdown::Both).ok();
        }
        shared.note_answer(endpoint);
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// Serves one request as planned. Returns false if the connection has to be closed.
fn serve(
    shared: &Shared,
    mut stream: &TcpStream,
    endpoint: Endpoint,
    request: &Request,
    mut course: Course,
) -> io::Result<bool> {
    let instead = course.instead.take();
    let answer = match &instead {
        Some(Instead::Answer(answer)) => answer.clone(),
        Some(Instead::Bytes(_)) => Answer::html(200, ""),
        None => endpoints::answer(&mut shared.lock(), endpoint, request),
    };
    if !shared.hold_back(&course) {
        return Ok(false);
    }
    if let Some(Instead::Bytes(bytes)) = instead {
        stream.write_all(&bytes)?;
        return Ok(false);
    }
    let clock = UNIX_EPOCH + Duration::from_secs(shared.lock().clock());
    let answer = answer.with("Date", &httpdate::fmt_http_date(clock));
    deliver(shared, stream, &answer, &course.delivery)
}

/// Sends a response, or as much of it as planned. Returns false if the connection has to be closed.
fn deliver(
    shared: &Shared,
    mut stream: &TcpStream,
    answer: &Answer,
    delivery: &Delivery,
) -> io::Result<bool> {
    let whole = [answer.head().as_bytes(), &answer.body].concat();
    match delivery {
        Delivery::Nothing => return Ok(false),
        Delivery::Half => {
            stream.write_all(&whole[..whole.len() - answer.body.len() / 2])?;
            return Ok(false);
        }
        Delivery::Flawed(flaw) => {
            stream.write_all(&flaw.spoil(answer.clone()))?;
            return Ok(false);
        }
        Delivery::Whole => stream.write_all(&whole)?,
        Delivery::Drip(interval) => {
            for byte in &whole {
                stream.write_all(&[*byte])?;
                shared.wait_until(*interval, |state| state.stopped);
            }
        }
    }
    Ok(true)
}
