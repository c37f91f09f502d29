//! Which issuer is used, and how it is reached.

use support::browser;
use support::fake_issuer::{Endpoint, Flaw, Trouble};
use support::sandbox::{LIFE, Sandbox};

use crate::login::start;

#[test]
fn an_issuer_with_an_invalid_port_is_sent_nothing() {
    for port in ["99999", "0", ""] {
        let mut sandbox = Sandbox::new();
        sandbox.set("CODEX_AUTH_ISSUER", format!("https://127.0.0.1:{port}"));
        sandbox.run(&["login"]).assert(
            2,
            "",
            &format!("codex-auth: could not sign in: invalid CODEX_AUTH_ISSUER: invalid port \"{port}\"\n"),
        );
    }
}

/// The same for variables that only a refresh needs: nothing is sent, and the caller learns what to correct.
#[test]
fn variables_that_cannot_be_used_are_wrong_usage_for_a_refresh() {
    for (name, value, why) in [
        (
            "https_proxy",
            "http://proxy.example/proxy.pac",
            "a proxy script (.pac) is not supported: use the URL of the proxy itself",
        ),
        ("https_proxy", "http://proxy.example\r", CONTROL),
        ("SSL_CERT_FILE", "/roots.pem\r", CONTROL),
        ("SSL_CERT_DIR", "/roots\n", CONTROL),
        ("CODEX_CA_CERTIFICATE", "/roots.pem\u{7f}", CONTROL),
    ] {
        let mut sandbox = Sandbox::new();
        let mut login = sandbox.plant_expiring_in(-60, LIFE);
        login["issuer"] = "https://issuer.example".into();
        sandbox.store("default", &login.to_string());
        sandbox.set(name, value);
        let stderr = format!("codex-auth: invalid {name}: {why}\n");
        sandbox.run(&["token"]).assert(2, "", &stderr);
        assert_eq!(sandbox.stored(), login);
    }
}

const CONTROL: &str = "it contains a control character";

#[cfg(target_os = "linux")]
#[test]
fn doctor_gets_past_a_silent_route_of_one_family() {
    use support::unanswering::Unanswering;

    let mut sandbox = Sandbox::new();
    let port = sandbox.issuer.url().rsplit_once(':').unwrap().1.to_owned();
    let silent = Unanswering::start(&format!("[::1]:{port}"));
    sandbox.set("CODEX_AUTH_ISSUER", format!("http://localhost:{port}"));
    sandbox.run(&["doctor", "--verbose"]).assert(
        0,
        "...\n✓ issuer        http://localhost:[..] answered in [..] ms (status 200)\n...\n",
        "",
    );
    drop(silent);
}

/// A spent refresh token must not be lost because the response is flawed.
#[test]
fn complete_tokens_are_stored_from_a_flawed_response() {
    for flaw in Flaw::EACH {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(-60, LIFE);
        let plan = |endpoint| sandbox.issuer.plan(endpoint, Trouble::Flaw(flaw));
        plan(Endpoint::Refresh);
        sandbox.run(&["token"]).assert(0, "[TOKEN]\n", "");
        assert!(sandbox.can_refresh(), "{flaw:?}");
        plan(Endpoint::Exchange);
        let (login, address) = start(&sandbox, &["login", "--no-browser"]);
        browser::visit(&address);
        let signed_in = "...\nSigned in as someone@mail.example (Plus)\n";
        login.finish().assert(0, "", signed_in);
        assert!(sandbox.can_refresh(), "{flaw:?}");
    }
}
