//! An issuer on a free loopback port, as strict as the real one is said to be. It remembers what it was asked, can be
//! told to go wrong, and complains when it is dropped if a client broke the protocol. It knows of no test framework.

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

/// How long an event is awaited before the test is given up. It is only reached when something is broken.
const PATIENCE: Duration = Duration::from_mins(1);

#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
/// How the issuer serves while nothing else is planned. `FakeIssuer::set` changes it at any time.
pub struct Manners {
    /// The client that it knows.
    pub client_id: String,
    /// Whose login the next one is.
    pub account: Account,
    /// Whose a login becomes when it is refreshed; `None`: it stays whose it was.
    pub account_at_refresh: Option<Account>,
    /// Whether it keeps to `allowed_workspace_id`.
    pub honours_workspace: bool,
    /// How long new access tokens and ID tokens are valid, in seconds.
    pub access_life: u64,
    pub id_life: u64,
    /// Seconds that its clock is ahead of this machine's; negative: behind.
    pub clock_ahead: i64,
    pub opaque_access_token: bool,
    /// `iss` and `aud` of new id tokens; `None`: as they should be.
    pub id_issuer: Option<Value>,
    pub id_audience: Option<Value>,
    /// Members that are missing from, or null in, an answer of the token endpoint. A refresh token that is not given
    /// out anew is not spent either.
    pub omit: Vec<&'static str>,
    pub null: Vec<&'static str>,
    /// Whether a refresh token that comes a second time revokes the whole login.
    pub reuse_revokes_family: bool,
    /// The federation rule of workloads, and whether it takes an identity token once only.
    pub federation_rule: String,
    pub assertions_work_once: bool,
    /// Whether it refuses to revoke what does not come as a form (RFC 7009 section 2.1).
    pub revokes_forms_only: bool,
    /// The status of a final error: 400 or 401.
    pub final_error_status: u16,
    pub consent: Consent,
    /// The `iss` of the redirect (RFC 9207), if it sends one.
    pub iss: Option<String>,
    /// Whether device login is switched on.
    pub device_login: bool,
    /// The `interval` of the device flow: a string, a number, or missing.
    pub interval: Option<Value>,
    /// How the user code's member is spelled.
    pub user_code_member: &'static str,
    /// The status that means "not yet" in the device flow: 403 or 404.
    pub pending_status: u16,
    /// What `accounts/check` says of the account: more members of its entry, such as `workspace_backend_origin`. Null: it is
    /// not served, so that no worker changes what is stored after its caller has ended.
    pub routing: Value,
    /// Whether it answers with a map, as it once did, and not with a list.
    pub accounts_as_map: bool,
    /// Whether the account is not among those that it lists.
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

/// The running issuer. Dropped, it is stopped, and panics if there are violations that nobody took.
pub struct FakeIssuer {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    /// Without a slash at the end.
    url: String,
    state: Mutex<State>,
    /// Anything in `state` has changed.
    changed: Condvar,
}

struct State {
    url: String,
    manners: Manners,
    books: tokens::Books,
    /// Those that a workload's platform has made.
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

/// Keeps answers back until the test opens it.
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

/// Start, orders to it, and stop.
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

    /// The address, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Changes how it serves: `issuer.set(|its| its.access_life = 60)`.
    pub fn set(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.shared.lock().manners);
    }

    /// Plans the next answer of an endpoint, after those that are planned already.
    pub fn plan(&self, endpoint: Endpoint, trouble: Trouble) {
        let mut state = self.shared.lock();
        state.plans.entry(endpoint).or_default().push_back(trouble);
    }

    /// Plans every answer of an endpoint for which no other is planned, until `end_plans`.
    pub fn plan_always(&self, endpoint: Endpoint, trouble: Trouble) {
        self.shared.lock().lasting_plans.insert(endpoint, trouble);
    }

    /// Goes back to normal service.
    pub fn end_plans(&self, endpoint: Endpoint) {
        let mut state = self.shared.lock();
        state.plans.remove(&endpoint);
        state.lasting_plans.remove(&endpoint);
    }

    /// A new gate, shut, for `Trouble::Hold`.
    pub fn gate(&self) -> Gate {
        let mut state = self.shared.lock();
        state.gates += 1;
        let number = state.gates;
        drop(state);
        let shared = Arc::clone(&self.shared);
        Gate { shared, number }
    }

    /// Keeps the next answer of an endpoint back, until the gate is opened.
    pub fn hold(&self, endpoint: Endpoint) -> Gate {
        let gate = self.gate();
        self.plan(endpoint, Trouble::Hold(gate.clone()));
        gate
    }

    /// Makes a login without any request, its tokens `age` seconds old, in the shape of the member `tokens` of a
    /// stored login.
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

    /// Makes an access token as an admin console does (`at-…`): it is never refreshed.
    pub fn issue_personal_token(&self) -> String {
        let mut state = self.shared.lock();
        let account = state.manners.account.clone();
        state.books.issue_personal(account).to_owned()
    }

    /// Makes an identity token of a workload, as its platform does, for so many seconds from now.
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

    /// Revokes every login: no refresh token works any more (`refresh_token_invalidated`).
    pub fn revoke_logins(&self) {
        self.shared.lock().books.revoke_all();
    }

    /// Makes the backend reject every access token that was given so far.
    pub fn reject_access_tokens(&self) {
        self.shared.lock().books.reject_access_tokens();
    }

    /// The person enters the user code on another device, and agrees.
    pub fn approve(&self) {
        self.shared.lock().decide(endpoints::Verdict::approved());
    }

    /// The person declines (`access_denied`).
    pub fn deny(&self) {
        let verdict = endpoints::Verdict::Refused("access_denied", "The person said no.");
        self.shared.lock().decide(verdict);
    }

    /// The user code expires (`expired_token`).
    pub fn expire(&self) {
        let verdict = endpoints::Verdict::Refused("expired_token", "The code has expired.");
        self.shared.lock().decide(verdict);
    }
}

/// What it saw.
impl FakeIssuer {
    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        let state = self.shared.lock();
        state
            .requests
            .iter()
            .map(|(_, request)| request.clone())
            .collect()
    }

    /// The requests of one endpoint so far.
    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<Request> {
        let state = self.shared.lock();
        let wanted = state.requests.iter().filter(|(to, _)| *to == endpoint);
        wanted.map(|(_, request)| request.clone()).collect()
    }

    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.shared.lock().count(endpoint)
    }

    /// Waits until an endpoint has had `count` requests in all.
    #[track_caller]
    pub fn await_requests(&self, endpoint: Endpoint, count: usize) {
        let enough = |state: &State| state.count(endpoint) >= count;
        assert!(
            self.shared.wait_until(PATIENCE, enough),
            "{count} requests of {endpoint:?} were awaited, {} came",
            self.count(endpoint)
        );
    }

    /// Waits until `count` requests of an endpoint have been answered, or their connections ended, in all.
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

    /// When each answer of an endpoint had been sent, or its connection ended.
    pub fn answers(&self, endpoint: Endpoint) -> Vec<Instant> {
        let state = self.shared.lock();
        state.answered.get(&endpoint).cloned().unwrap_or_default()
    }

    /// How often a refresh token came a second time.
    pub fn reuses(&self) -> usize {
        self.shared.lock().reuses
    }

    /// The tokens that were revoked, in order.
    pub fn revoked(&self) -> Vec<String> {
        self.shared.lock().revoked.clone()
    }

    /// Every access token that was given, the newest last.
    pub fn access_tokens(&self) -> Vec<String> {
        let state = self.shared.lock();
        let issued = state.books.issued.iter();
        issued.map(|set| set.access.clone()).collect()
    }

    /// Every refresh token that was given, the newest last.
    pub fn refresh_tokens(&self) -> Vec<String> {
        let state = self.shared.lock();
        let issued = state.books.issued.iter();
        issued.map(|set| set.refresh.clone()).collect()
    }

    /// Every secret that was given or that came, each with what it is.
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

    /// Whether it would take this refresh token now: the login is not lost.
    pub fn would_refresh(&self, refresh_token: &str) -> bool {
        let state = self.shared.lock();
        matches!(
            state.books.look_up(refresh_token),
            tokens::Presented::Good { .. }
        )
    }

    /// The complaints so far, for a test that expects them: they are forgotten.
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

    /// Waits for something to become true, at most for `limit`; says whether it did.
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
        // A planned gate refers back to here: neither would ever be freed.
        state.plans.clear();
        state.lasting_plans.clear();
        for stream in state.connections.values() {
            stream.shutdown(Shutdown::Both).ok();
        }
        drop(state);
        self.changed.notify_all();
        // Accept returns only for a connection.
        TcpStream::connect(self.url.trim_start_matches("http://")).ok();
    }

    /// Writes a request down, and says what is planned for it.
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

    /// Waits as planned. False if the issuer was stopped meanwhile.
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

/// Takes connections until the issuer is stopped, each with a thread of its own: none waits for another.
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

/// Serves one connection to its end. A connection that breaks off is the client's to handle.
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

/// Serves one request as planned. False if the connection is to end.
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

/// Sends an answer, or as much of it as planned. False if the connection is to end.
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
