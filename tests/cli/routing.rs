//! Where a workspace's requests are sent: what a login and a refresh ask the backend, and what every format and
//! configuration then uses. The backend has two origins here, `127.0.0.1` and `localhost`, and accepts requests of a
//! routed workspace only at its own origin, with its own override.

use serde_json::{Map, Value, json};

use support::fake_issuer::{Answer, Endpoint, Trouble};
use support::process::Output;
use support::sandbox::{LIFE, Sandbox};

use crate::login::SIGNED_IN;

const CHECK: Endpoint = Endpoint::AccountsCheck;
const TOKEN: &str = "[TOKEN]\n";
const OVERRIDE: &str = "X-OpenAI-Account-Routing-Override";
const RESIDENCY: &str = "x-openai-internal-codex-residency";
const DEACTIVATED: &str = "workspace Lab is deactivated";
const MISSING: &str = "this account does not belong to the login";
const WARNED: &str = "codex-auth: warning: ";

/// The other origin of the backend.
fn other_origin(sandbox: &Sandbox) -> String {
    sandbox.issuer.url().replace("127.0.0.1", "localhost")
}

#[track_caller]
fn sign_in(sandbox: &Sandbox) -> Output {
    let mut login = sandbox.spawn(&["login", "--no-browser"]);
    login.sign_in();
    let output = login.finish();
    assert_eq!(output.code, 0, "{}", output.stderr);
    output
}

/// Signed in to a workspace with this routing at the backend.
#[cfg(unix)]
#[track_caller]
fn signed_in(told: &Value) -> Sandbox {
    let sandbox = Sandbox::new();
    route(&sandbox, told);
    sign_in(&sandbox);
    sandbox
}

/// Sets the routing; `ORIGIN` stands for the other origin.
fn route(sandbox: &Sandbox, told: &Value) {
    let told = told.to_string().replace("ORIGIN", &other_origin(sandbox));
    let told = serde_json::from_str(&told).unwrap();
    sandbox.issuer.set(|its| its.routing = told);
}

fn us_cr() -> Value {
    json!({"workspace_backend_origin": "ORIGIN", "account_routing_override": "us_cr", "name": "Lab"})
}

/// The programs whose `setup` output sends requests to the backend, and the path below its base URL there.
const PROGRAMS: [(&str, &str); 11] = [
    ("codex", "/codex"),
    ("copilot", "/codex"),
    ("opencode", "/codex"),
    ("vtcode", "/codex"),
    ("hermes", "/codex"),
    ("openai-python", "/codex"),
    ("openai-node", "/codex"),
    ("openai-agents", "/codex"),
    ("ai-sdk", "/codex"),
    ("litellm", "/codex"),
    ("curl", "/wham/usage"),
];
/// Programs that get their headers from `token --format curl`, or send none of their own.
const WITHOUT_HEADERS: [&str; 2] = ["curl", "vtcode"];

/// Asserts that every format, `exec` and every configuration have these headers beside the token, and this base URL.
#[track_caller]
fn assert_told(sandbox: &Sandbox, base_url: &str, headers: &[(&str, &str)]) {
    let token = sandbox
        .run(&["token"])
        .assert(0, TOKEN, "")
        .line()
        .to_owned();
    let bearer = format!("Bearer {token}");
    let all = [&[("Authorization", bearer.as_str())], headers].concat();
    let lines = |line: &dyn Fn(&str, &str) -> String| {
        all.iter()
            .map(|(name, value)| line(name, value))
            .collect::<String>()
    };
    let object: Map<String, Value> = all
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let print = |format: &str| sandbox.run(&["token", "--format", format]).stdout;
    assert_eq!(
        print("headers"),
        lines(&|name, value| format!("{name}: {value}\n"))
    );
    let option = |name: &str, value: &str| format!("header = \"{name}: {value}\"\n");
    assert_eq!(print("curl"), lines(&option));
    let printed: Value = serde_json::from_str(&print("headers-json")).unwrap();
    assert_eq!(printed, json!(object));
    let printed: Value = serde_json::from_str(&print("json")).unwrap();
    assert_eq!(
        (&printed["base_url"], &printed["headers"]),
        (&json!(base_url), &json!(object))
    );
    let line = format!("\nCODEX_AUTH_BASE_URL='{base_url}'\n");
    assert!(print("env").ends_with(&line), "{}", print("env"));
    for (program, path) in PROGRAMS {
        let text = sandbox.run(&["setup", program]).stdout;
        let url = format!("{base_url}{path}");
        assert!(text.contains(&url), "{program}: {url} is not in {text}");
        for (name, value) in headers {
            let is_there = text.contains(name) && text.contains(value);
            assert!(
                is_there || WITHOUT_HEADERS.contains(&program),
                "{program}: {name} is not in {text}"
            );
        }
        for name in [OVERRIDE, RESIDENCY, "X-OpenAI-Fedramp"] {
            let is_needed = headers.iter().any(|(needed, _)| *needed == name);
            assert!(
                is_needed || !text.contains(name),
                "{program}: {name} in {text}"
            );
        }
    }
    #[cfg(unix)]
    {
        let script = "echo $CODEX_AUTH_BASE_URL $OPENAI_BASE_URL";
        let output = sandbox.run(&["exec", "--openai", "--", "/bin/sh", "-c", script]);
        output.assert(
            0,
            &format!("{base_url} {base_url}/codex\n").replace(sandbox.issuer.url(), "[ISSUER]"),
            "",
        );
    }
}

#[test]
fn each_kind_of_workspace_is_used_as_the_backend_says() {
    let account = ("ChatGPT-Account-Id", "account-1");
    let fedramp = ("X-OpenAI-Fedramp", "true");
    let residency = (RESIDENCY, "us_cr");
    let none = json!("NO_CONSTRAINT");
    for (told, as_map, is_other, headers) in [
        // Not in the backend's response, so the claims decide.
        (json!({}), false, false, vec![account, residency, fedramp]),
        (
            json!({"workspace_backend_origin": null, "account_routing_override": null}),
            true,
            false,
            vec![account, residency, fedramp],
        ),
        (
            json!({"workspace_backend_origin": none, "account_routing_override": none}),
            false,
            false,
            vec![account, fedramp],
        ),
        (
            json!({"account_routing_override": "us"}),
            false,
            false,
            vec![account, (OVERRIDE, "us"), fedramp],
        ),
        (
            us_cr(),
            false,
            true,
            vec![account, (OVERRIDE, "us_cr"), fedramp],
        ),
        (
            us_cr(),
            true,
            true,
            vec![account, (OVERRIDE, "us_cr"), fedramp],
        ),
        // As in a government workspace.
        (
            json!({"workspace_backend_origin": "ORIGIN/", "account_routing_override": none}),
            false,
            true,
            vec![account, fedramp],
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.issuer.set(|its| {
            let claims =
                json!({"chatgpt_account_is_fedramp": true, "chatgpt_compute_residency": "us_cr"});
            its.account.claims = claims.as_object().unwrap().clone();
            its.accounts_as_map = as_map;
        });
        route(&sandbox, &told);
        sign_in(&sandbox);
        let asked = sandbox.issuer.requests_to(CHECK);
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].header("chatgpt-account-id"), Some("account-1"));
        let origin = if is_other {
            other_origin(&sandbox)
        } else {
            sandbox.issuer.url().to_owned()
        };
        assert_told(&sandbox, &format!("{origin}/backend-api"), &headers);
        // A stored token causes no further requests.
        assert_eq!(sandbox.issuer.count(CHECK), 1);
        // Requests to the backend use that origin, too.
        sandbox.run(&["token", "--verify"]).assert(0, TOKEN, "");
        assert_eq!(sandbox.run(&["status", "--usage"]).code, 0);
        let asked = sandbox.issuer.requests_to(Endpoint::Usage);
        assert_eq!(asked.len(), 2);
        for request in asked {
            assert_eq!(request.header("host"), origin.strip_prefix("http://"));
            let wanted = headers.iter().find(|(name, _)| *name == OVERRIDE);
            assert_eq!(
                request.header(&OVERRIDE.to_ascii_lowercase()),
                wanted.map(|(_, value)| *value)
            );
        }
    }
}

#[test]
fn a_silent_backend_costs_no_login_and_keeps_the_known_routing() {
    let page = || Trouble::Answer(Answer::html(200, "<html>Welcome"));
    for trouble in [
        Trouble::error(401, "token_expired"),
        Trouble::status(500),
        Trouble::status(404),
        page(),
        Trouble::DropAfter,
        Trouble::body("{\"accounts\": 7}"),
    ]
    .map(Some)
    .into_iter()
    .chain([None])
    {
        let sandbox = Sandbox::new();
        sandbox.issuer.set(|its| {
            its.account.claims = json!({"chatgpt_data_residency": "eu"})
                .as_object()
                .unwrap()
                .clone();
        });
        route(&sandbox, &us_cr());
        let hang = || Trouble::Hold(sandbox.issuer.gate());
        sandbox.issuer.plan(CHECK, trouble.unwrap_or_else(hang));
        let mut login = sandbox.spawn(&["login", "--no-browser"]);
        login.sign_in();
        login.finish().assert(0, "", SIGNED_IN);
        let headers = [("ChatGPT-Account-Id", "account-1"), (RESIDENCY, "eu")];
        assert_told(
            &sandbox,
            &format!("{}/backend-api", sandbox.issuer.url()),
            &headers,
        );
    }
}

#[test]
fn a_refresh_learns_and_keeps_where_requests_go() {
    let sandbox = Sandbox::new();
    route(&sandbox, &us_cr());
    let planted = sandbox.plant_expiring_in(-60, LIFE);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    let origin = other_origin(&sandbox);
    let is_told = |stored: &Value| stored["routing"]["origin"] == origin.as_str();
    let stored = sandbox.await_stored(is_told);
    assert_ne!(stored["last_refresh"], planted["last_refresh"]);
    let headers = [("ChatGPT-Account-Id", "account-1"), (OVERRIDE, "us_cr")];
    assert_told(&sandbox, &format!("{origin}/backend-api"), &headers);
    // A refresh that learns nothing leaves it unchanged.
    sandbox.issuer.set(|its| its.routing = Value::Null);
    sandbox.age(-60);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox.issuer.await_answers(CHECK, 2);
    assert_told(&sandbox, &format!("{origin}/backend-api"), &headers);
}

/// Callers that wait for a token do not wait for the routing, and neither does a refresh, a logout or a login.
#[test]
fn nobody_waits_for_a_backend_that_hangs() {
    let sandbox = Sandbox::new();
    route(&sandbox, &us_cr());
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(CHECK);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert!(sandbox.stored()["routing"].is_null());
    // If the caller had waited, the request would have timed out by now.
    gate.open();
    sandbox.await_stored(|stored| stored["routing"].is_object());
    let gates = [sandbox.issuer.hold(CHECK), sandbox.issuer.hold(CHECK)];
    for asked in [2, 3] {
        sandbox
            .run(&["token", "--force-refresh"])
            .assert(0, TOKEN, "");
        sandbox.issuer.await_requests(CHECK, asked);
    }
    sandbox
        .run(&["logout"])
        .assert(0, "", "Signed out (profile default).\n");
    for gate in gates {
        gate.open();
    }
    sandbox.issuer.await_answers(CHECK, 3);
    // A worker that is still running would restore it.
    #[cfg(target_os = "linux")]
    sandbox.await_end_of_workers();
    assert!(!sandbox.file("default").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn late_routing_does_not_change_a_newer_login() {
    let sandbox = Sandbox::new();
    route(&sandbox, &us_cr());
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(CHECK);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox.issuer.await_requests(CHECK, 1);
    sandbox.issuer.set(|its| its.routing = Value::Null);
    sign_in(&sandbox);
    let newer = sandbox.stored();
    route(&sandbox, &us_cr());
    gate.open();
    sandbox.await_end_of_workers();
    assert_eq!(sandbox.stored(), newer);
}

#[test]
fn an_unusable_account_is_reported_and_the_token_still_printed() {
    for (told, is_missing, words) in [
        (
            json!({"name": "Lab", "is_deactivated": true}),
            false,
            DEACTIVATED,
        ),
        (
            json!({"is_deactivated": true}),
            false,
            "this workspace is deactivated",
        ),
        (json!({}), true, MISSING),
        (
            json!({"workspace_backend_origin": "https://evil.example"}),
            false,
            "ignored the backend's routing for this workspace: it is outside chatgpt.com",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox
            .issuer
            .set(|its| its.account_is_missing = is_missing);
        route(&sandbox, &told);
        let login = sign_in(&sandbox);
        assert!(
            login.stderr.ends_with(&format!("{WARNED}{words}\n")),
            "{}",
            login.stderr
        );
        sandbox.run(&["token"]).assert(0, TOKEN, "");
        sandbox.run(&["account-id"]).assert(0, "account-1\n", "");
        let status = sandbox.run(&["status"]);
        let note = format!("\n  Note:       {words}");
        assert!(
            status.code == 0
                && status
                    .stdout
                    .replace("\n              ", " ")
                    .contains(&note),
            "{}",
            status.stdout
        );
        let status: Value =
            serde_json::from_str(&sandbox.run(&["status", "--json"]).stdout).unwrap();
        assert_eq!(status["note"], words);
        let doctor = sandbox.run(&["doctor", "--json"]);
        assert!(doctor.stdout.contains(words), "{}", doctor.stdout);
        assert!(!format!("{status}{}", doctor.stdout).contains("evil"));
    }
}

#[test]
fn tokens_without_an_account_are_reported_and_no_account_is_guessed() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| {
        its.account.id = None;
        let claims = json!({"organizations": [{"id": "org-1", "is_default": true}]});
        its.account.claims = claims.as_object().unwrap().clone();
    });
    let words = "the tokens have no ChatGPT account ID: account-id fails, and requests lack the ChatGPT-Account-Id header";
    let login = sign_in(&sandbox);
    assert!(
        login.stderr.ends_with(&format!("{WARNED}{words}\n")),
        "{}",
        login.stderr
    );
    assert_eq!(sandbox.issuer.count(CHECK), 0);
    assert_eq!(sandbox.run(&["account-id"]).code, 1);
    sandbox
        .run(&["token", "--format", "headers"])
        .assert(0, "Authorization: Bearer [TOKEN]\n", "");
    for command in [&["status", "--json"], &["doctor", "--json"]] {
        let output = sandbox.run(command);
        assert!(output.stdout.contains(words), "{}", output.stdout);
    }
}

#[test]
fn the_workspace_and_the_plan_of_the_backend_are_shown() {
    let sandbox = Sandbox::new();
    sandbox
        .issuer
        .set(|its| its.account.plan = "free".to_owned());
    route(
        &sandbox,
        &json!({"name": "Lab \u{1b}[31m", "plan_type": "pro"}),
    );
    let login = sign_in(&sandbox);
    let who = "Signed in as someone@mail.example (Pro, workspace Lab  [31m)\n";
    assert!(login.stderr.ends_with(who), "{}", login.stderr);
    let line =
        "  Plan:       Pro; the token still says Free: run codex-auth token --force-refresh\n";
    sandbox
        .run(&["status"])
        .assert(0, &format!("{who}...\n{line}...\n"), "");
    let row = "default  someone@mail.example (Lab  [31m)  Pro   valid [..]\n";
    sandbox
        .run(&["status", "--all"])
        .assert(0, &format!("PROFILE  ACCOUNT  [..]\n{row}"), "");
    let printed: Value =
        serde_json::from_str(&sandbox.run(&["token", "--format", "json"]).stdout).unwrap();
    assert_eq!(
        (&printed["plan"], &printed["workspace"]),
        (&json!("pro"), &json!("Lab  [31m"))
    );
    // The next token says so itself, and the backend is not asked.
    sandbox.issuer.set(|its| {
        its.account_at_refresh = Some(its.account.clone());
        its.account_at_refresh.as_mut().unwrap().plan = "team".to_owned();
        its.routing = Value::Null;
    });
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
    let status = sandbox.run(&["status"]);
    assert!(
        status
            .stdout
            .starts_with("Signed in as someone@mail.example (Team, workspace Lab"),
        "{}",
        status.stdout
    );
    assert!(!status.stdout.contains("Plan:"), "{}", status.stdout);
    // The backend's latest answer is newer than either.
    let usage = Trouble::body("{\"plan_type\": \"enterprise\"}");
    sandbox.issuer.plan(Endpoint::Usage, usage);
    sandbox.run(&["status", "--usage"]).assert(
        0,
        "Signed in as someone@mail.example (Enterprise, [..]\n...\n  Plan:       Enterprise; the token still says Team: run codex-auth token --force-refresh\n...\n",
        "",
    );
}

#[test]
fn usage_has_the_limits_of_single_models_and_credits() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let window = |percent| json!({"used_percent": percent, "limit_window_seconds": 18_000});
    let answer = json!({"plan_type": "plus", "rate_limit": {"primary_window": window(37)}, "credits": {"has_credits": true, "balance": "12.50"},
        "additional_rate_limits": [{"limit_name": "Spark\u{7}", "rate_limit": {"primary_window": window(90)}}]});
    sandbox
        .issuer
        .plan_always(Endpoint::Usage, Trouble::Answer(Answer::json(200, &answer)));
    sandbox.run(&["status", "--usage"]).assert(
        0,
        "...\n  5 hours:    37% used\n  5 hours:    90% used (Spark)\n  Credits:    12.50\n",
        "",
    );
    let status: Value =
        serde_json::from_str(&sandbox.run(&["status", "--usage", "--json"]).stdout).unwrap();
    assert_eq!(status["usage"]["credits"], "12.50");
    let limits = status["usage"]["windows"].as_array().unwrap().iter();
    let limits: Vec<_> = limits
        .map(|window| (&window["limit"], &window["used_percent"]))
        .collect();
    assert_eq!(
        limits,
        [
            (&Value::Null, &json!(37.0)),
            (&json!("Spark\u{7}"), &json!(90.0))
        ]
    );
    // Without a token there is nothing to ask with.
    sandbox.plant_expiring_in(-60, LIFE);
    let line = "  Usage:      unknown: there is no valid token\n";
    sandbox
        .run(&["status", "--usage"])
        .assert(0, &format!("...\n{line}"), "");
}

#[test]
fn every_other_kind_of_login_asks_too() {
    let sandbox = Sandbox::new();
    route(&sandbox, &us_cr());
    let headers = [("ChatGPT-Account-Id", "account-1"), (OVERRIDE, "us_cr")];
    let base_url = format!("{}/backend-api", other_origin(&sandbox));
    let token = sandbox.issuer.issue_personal_token();
    let output = sandbox.run_with_stdin(&["login", "--with-access-token"], &token);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_told(&sandbox, &base_url, &headers);
    assert_eq!(sandbox.issuer.count(CHECK), 1);
    let mut login = sandbox.spawn(&["login", "--device-code"]);
    login.await_text("CODE-");
    sandbox.issuer.approve();
    assert_eq!(login.finish().code, 0);
    assert_told(&sandbox, &base_url, &headers);
    assert_eq!(sandbox.issuer.count(CHECK), 2);
}

/// There is no ID token, so the access token's claims decide what the backend does not say.
#[test]
fn a_workload_asks_at_its_login_and_at_each_exchange() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| {
        its.access_life = 600;
        let claims = json!({"chatgpt_account_is_fedramp": true, "chatgpt_compute_residency": "us"});
        its.account.claims = claims.as_object().unwrap().clone();
    });
    let identity = sandbox.folder().join("identity");
    let rotate = || std::fs::write(&identity, sandbox.issuer.issue_identity_token(300)).unwrap();
    route(&sandbox, &json!({}));
    rotate();
    let login = [
        "login",
        "--workload-identity",
        "--federation-rule",
        "rule-1",
    ];
    let path = identity.to_str().unwrap();
    let login = [&login[..], &["--identity-token", path]].concat();
    assert_eq!(sandbox.run(&login).code, 0);
    let (account, fedramp) = (
        ("ChatGPT-Account-Id", "account-1"),
        ("X-OpenAI-Fedramp", "true"),
    );
    let base_url = format!("{}/backend-api", sandbox.issuer.url());
    assert_told(&sandbox, &base_url, &[account, (RESIDENCY, "us"), fedramp]);
    assert_eq!(sandbox.issuer.count(CHECK), 1);
    route(&sandbox, &us_cr());
    sandbox.age(-60);
    rotate();
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    let origin = other_origin(&sandbox);
    sandbox.await_stored(|stored| stored["routing"]["origin"] == origin.as_str());
    let base_url = format!("{origin}/backend-api");
    assert_told(
        &sandbox,
        &base_url,
        &[account, (OVERRIDE, "us_cr"), fedramp],
    );
    let status = sandbox.run(&["status"]);
    let words = "Signed in as someone@mail.example (Plus, workspace Lab)\n...\n";
    status.assert(0, words, "");
    sandbox.run(&["token", "--verify"]).assert(0, TOKEN, "");
    let asked = sandbox.issuer.requests_to(Endpoint::Usage);
    assert_eq!(asked[0].header("host"), origin.strip_prefix("http://"));
    assert_eq!(
        (
            sandbox.issuer.count(CHECK),
            sandbox.issuer.count(Endpoint::Assertion)
        ),
        (2, 2)
    );
}

#[cfg(unix)]
mod from_a_command {
    use super::*;
    use support::sandbox::program_line;

    /// A machine whose tokens come from that one.
    fn client(authority: &Sandbox) -> Sandbox {
        let client = Sandbox::with(std::sync::Arc::clone(&authority.issuer));
        let home = authority.home();
        let script = format!(
            "CODEX_AUTH_HOME='{}' exec {} token --format json",
            home.display(),
            program_line()
        );
        client.script("remote", &script);
        client
    }

    #[test]
    fn routing_is_passed_on_with_the_token() {
        let authority = signed_in(&us_cr());
        let client = client(&authority);
        assert_eq!(client.run(&["login", "--from", "--", "remote"]).code, 0);
        // The command provides it, so the backend is not asked.
        assert_eq!(client.issuer.count(CHECK), 1);
        let (base_url, headers) = (
            format!("{}/backend-api", other_origin(&client)),
            [("ChatGPT-Account-Id", "account-1"), (OVERRIDE, "us_cr")],
        );
        assert_told(&client, &base_url, &headers);
        let status = client.run(&["status"]);
        assert!(
            status
                .stdout
                .starts_with("Signed in as someone@mail.example (Plus, workspace Lab)\n"),
            "{}",
            status.stdout
        );
        // It is updated with each token.
        route(
            &authority,
            &json!({"workspace_backend_origin": "NO_CONSTRAINT", "account_routing_override": "us"}),
        );
        authority
            .run(&["token", "--force-refresh"])
            .assert(0, TOKEN, "");
        authority.await_stored(|stored| stored["routing"]["override"] == "us");
        client.age(-60);
        client.run(&["token"]).assert(0, TOKEN, "");
        let headers = [headers[0], (OVERRIDE, "us")];
        assert_told(
            &client,
            &format!("{}/backend-api", client.issuer.url()),
            &headers,
        );
    }

    #[test]
    fn routing_missing_from_the_command_comes_from_the_backend() {
        let authority = Sandbox::new();
        authority.plant();
        route(&authority, &us_cr());
        let client = client(&authority);
        assert_eq!(client.run(&["login", "--from", "--", "remote"]).code, 0);
        assert_eq!(client.issuer.count(CHECK), 1);
        let headers = [("ChatGPT-Account-Id", "account-1"), (OVERRIDE, "us_cr")];
        assert_told(
            &client,
            &format!("{}/backend-api", other_origin(&client)),
            &headers,
        );
    }

    #[test]
    fn a_command_sends_no_token_elsewhere() {
        let authority = Sandbox::new();
        let token = authority.plant()["tokens"]["access_token"].clone();
        for base_url in [
            "https://evil.example/backend-api",
            "https://us.chatgpt.com.evil.example",
            "https://us.chatgpt.com:8443/x",
        ] {
            let output = json!({"token": token, "base_url": base_url, "headers": {OVERRIDE: "us"}});
            let client = Sandbox::with(std::sync::Arc::clone(&authority.issuer));
            client.script("remote", &format!("echo '{output}'"));
            assert_eq!(client.run(&["login", "--from", "--", "remote"]).code, 0);
            let headers = [("ChatGPT-Account-Id", "account-1")];
            assert_told(
                &client,
                &format!("{}/backend-api", client.issuer.url()),
                &headers,
            );
        }
    }
}
