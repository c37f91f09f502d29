//! Signing in with the browser: over real HTTP, with the test acting as the browser, and once with a real one.

#[cfg(unix)]
use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use support::browser::{self, Answer};
use support::fake_issuer::{Account, Consent, Endpoint, Trouble};
use support::process::Running;
use support::sandbox::{LIFE, Sandbox, program};

const TOKEN: &str = "[TOKEN]\n";
// The part in between depends on where the tests run: with or without a display, in a container.
pub const SIGNED_IN: &str = "Open this URL in your browser:\n  [ISSUER]/oauth/authorize?[..]\n...\nSigned in as \
                         someone@mail.example (Plus)\n";

/// A sandbox with a login that must survive.
fn signed_in() -> (Sandbox, Value) {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant();
    (sandbox, planted)
}

#[track_caller]
fn assert_untouched(sandbox: &Sandbox, planted: &Value) {
    assert_eq!(&sandbox.stored(), planted);
    assert!(sandbox.can_refresh(), "the old login was revoked");
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}

/// The redirect URI that the login waits on.
fn redirect_uri(address: &str) -> String {
    parameter(address, "redirect_uri")
}

fn parameter(address: &str, name: &str) -> String {
    let query = address.split_once('?').unwrap().1;
    let mut pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
    pairs.find(|(known, _)| known == name).unwrap().1
}

/// The URL that the issuer redirects the browser to, without opening it.
#[cfg(unix)]
fn redirect(address: &str) -> String {
    browser::get(address).header("location").unwrap().to_owned()
}

/// Starts a login, and returns it with its URL.
pub fn start(sandbox: &Sandbox, arguments: &[&str]) -> (Running, String) {
    let mut login = sandbox.spawn(arguments);
    let address = login.address();
    (login, address)
}

/// Asserts that the login is still waiting, and then succeeds.
#[track_caller]
fn assert_goes_on(login: Running, address: &str) {
    assert_eq!(browser::visit(address).status, 200);
    login.finish().assert(0, "", SIGNED_IN);
}

#[track_caller]
fn assert_safe_page(page: &Answer) {
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("connection", "close"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    let text = page.text();
    assert!(
        !text.contains("<script") && !text.contains("http://") && !text.contains("https://"),
        "{text}"
    );
}

#[test]
fn a_user_signs_in_once_and_gets_tokens_from_then_on() {
    let sandbox = Sandbox::new();
    let mut login = sandbox.spawn(&["login"]);
    let page = login.sign_in();
    assert_eq!(page.status, 200);
    assert_safe_page(&page);
    assert!(page.text().contains("You are signed in"), "{}", page.text());
    assert!(
        page.text().contains("someone@mail.example"),
        "{}",
        page.text()
    );
    login.finish().assert(0, "", SIGNED_IN);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox.run(&["account-id"]).assert(0, "account-1\n", "");
    let others = sandbox.issuer.count(Endpoint::Revoke) + sandbox.issuer.count(Endpoint::Refresh);
    assert_eq!((sandbox.issuer.count(Endpoint::Exchange), others), (1, 0));
}

#[test]
fn the_page_comes_only_after_the_login_is_stored() {
    let sandbox = Sandbox::new();
    let gate = sandbox.issuer.hold(Endpoint::Exchange);
    let (login, address) = start(&sandbox, &["login"]);
    let file = sandbox.file("default");
    let browser = std::thread::spawn(move || {
        let page = browser::visit(&address);
        (page.status, file.exists())
    });
    sandbox.issuer.await_requests(Endpoint::Exchange, 1);
    assert!(!sandbox.file("default").exists());
    assert!(!browser.is_finished());
    gate.open();
    assert_eq!(browser.join().unwrap(), (200, true));
    login.finish().assert(0, "", SIGNED_IN);
}

#[test]
fn the_url_has_everything_the_issuer_requires() {
    let mut sandbox = Sandbox::new();
    sandbox.set("CODEX_AUTH_REDIRECT_HOST", "127.0.0.1");
    sandbox.set("CODEX_AUTH_CLIENT_ID", "another-client");
    sandbox
        .issuer
        .set(|its| its.client_id = "another-client".to_owned());
    let (login, address) = start(&sandbox, &["login"]);
    assert!(
        redirect_uri(&address).starts_with("http://127.0.0.1:"),
        "{address}"
    );
    assert_eq!(parameter(&address, "client_id"), "another-client");
    assert_eq!(parameter(&address, "originator"), "codex-auth");
    assert_goes_on(login, &address);
}

// The user's browser.

/// The same if a browser is opened.
pub fn opening(message: &str) -> String {
    message.replace(
        "Open this URL in your browser:",
        "Opening your browser. If nothing happens, open:",
    )
}

#[cfg(unix)]
#[test]
fn the_users_browser_is_started_and_its_output_is_discarded() {
    let mut sandbox = Sandbox::new();
    sandbox.script(
        "my-browser",
        "echo noise; echo noise >&2; echo \"$2\" > \"$HOME/opened\"",
    );
    sandbox.set(
        "BROWSER",
        format!("{} --new %s", sandbox.bin().join("my-browser").display()),
    );
    let (login, address) = start(&sandbox, &["login"]);
    let opened = sandbox.folder().join("opened");
    let entrance = support::process::until("a line of the browser", || {
        let text = std::fs::read_to_string(&opened).ok()?;
        text.strip_suffix('\n').map(str::to_owned)
    });
    // Every user of the machine can see arguments, so the state is not among them.
    assert!(
        !entrance.contains(&parameter(&address, "state")),
        "{entrance}"
    );
    for wrong in [
        format!("{entrance}x"),
        entrance.replace("/sign-in/", "/sign-in/x"),
    ] {
        assert_eq!(browser::get(&wrong).status, 404);
    }
    assert_eq!(redirect(&entrance), address);
    assert_eq!(browser::get(&entrance).status, 404);
    assert_eq!(browser::visit(&address).status, 200);
    login.finish().assert(0, "", &opening(SIGNED_IN));
}

#[cfg(unix)]
#[test]
fn no_browser_is_started_when_none_is_wanted() {
    let mut sandbox = Sandbox::new();
    sandbox.script("my-browser", "touch \"$HOME/opened\"");
    sandbox.set("BROWSER", sandbox.bin().join("my-browser"));
    let (login, address) = start(&sandbox, &["login", "--no-browser"]);
    assert_goes_on(login, &address);
    assert!(!sandbox.folder().join("opened").exists());
}

#[test]
fn a_browser_that_cannot_be_opened_is_reported_but_not_a_failure() {
    for (browsers, reasons) in [
        ("/nonexistent/browser", "/nonexistent/browser: no such file"),
        ("nosuchbrowser", "nosuchbrowser: command not found"),
        #[cfg(unix)]
        (
            "/bin/false:nosuchbrowser",
            "/bin/false: exit status 1, nosuchbrowser: command not found",
        ),
    ] {
        let mut sandbox = Sandbox::new();
        sandbox.set("BROWSER", browsers);
        let (mut login, address) = start(&sandbox, &["login"]);
        login.await_text("yourself.");
        assert_eq!(browser::visit(&address).status, 200);
        let output = login.finish();
        output.assert(0, "", &opening(SIGNED_IN));
        let told = output.stderr.replace('\n', " ");
        let expected =
            format!("Could not open your browser ({reasons}): open the URL above yourself. ");
        assert!(told.contains(&expected), "{told}");
    }
}

#[test]
fn ssh_counts_before_a_container_and_a_container_before_wsl() {
    let ssh = "Running over SSH, out of your browser's reach. What works:";
    let container = "Running in a container, out of your browser's reach. What works:";
    for (variables, told) in [
        (
            vec!["SSH_TTY", "container", "WSL_DISTRO_NAME", "DISPLAY"],
            ssh,
        ),
        (vec!["container", "WSL_DISTRO_NAME", "DISPLAY"], container),
    ] {
        let mut sandbox = Sandbox::new();
        for variable in variables {
            sandbox.set(variable, "x");
        }
        let (mut login, _) = start(&sandbox, &["login"]);
        login.await_text("Waiting for up to");
        assert!(login.stderr().contains(told), "{}", login.stderr());
        assert!(login.stderr().contains("codex-auth login --device-code"));
        // A port of a container cannot be forwarded to its loopback.
        let forwards = login.stderr().contains("ssh -L ");
        assert_eq!(forwards, told == ssh, "{}", login.stderr());
    }
}

#[test]
fn in_a_container_a_configured_browser_is_the_only_way_mentioned() {
    let mut sandbox = Sandbox::new();
    sandbox.set("BROWSER", "/nonexistent/browser");
    sandbox.set("container", "podman");
    let (mut login, address) = start(&sandbox, &["login"]);
    login.await_text("yourself.");
    assert_eq!(browser::visit(&address).status, 200);
    login.finish().assert(
        0,
        "",
        "Opening your browser. If nothing happens, open:\n  [ISSUER]/oauth/authorize?[..]\n\
         Waiting for up to 15 minutes …\n\
         Could not open your browser (/nonexistent/browser: no such file): open the URL\nabove yourself.\n\
         Signed in as someone@mail.example (Plus)\n",
    );
}

// Requests to the callback that are ignored.

#[test]
fn https_is_closed_at_once() {
    let sandbox = Sandbox::new();
    let (login, address) = start(&sandbox, &["login"]);
    let back = redirect_uri(&address);
    for _ in 0..2 {
        assert!(browser::raw(&back, b"\x16\x03\x01\x02\x00\x01").is_empty());
    }
    assert_goes_on(login, &address);
}

#[test]
fn strange_requests_are_answered_and_the_login_continues() {
    let sandbox = Sandbox::new();
    let (login, address) = start(&sandbox, &["login"]);
    let back = redirect_uri(&address);
    let base = back.strip_suffix("/auth/callback").unwrap();
    let state = parameter(&address, "state");
    for (method, url, headers, status) in [
        ("GET", format!("{base}/favicon.ico"), vec![], 404),
        ("GET", format!("{base}/"), vec![], 404),
        ("GET", format!("{base}/cancel"), vec![], 404),
        ("GET", format!("{base}/auth/callback/"), vec![], 404),
        (
            "GET",
            format!("{base}/success?code=x&state={state}"),
            vec![],
            404,
        ),
        ("POST", format!("{back}?code=x&state={state}"), vec![], 405),
        ("GET", back.clone(), vec![], 400),
        ("GET", format!("{back}?code=x"), vec![], 400),
        ("GET", format!("{back}?code=x&state=wrong"), vec![], 400),
        ("GET", format!("{back}?code=x&state={state}x"), vec![], 400),
        (
            "GET",
            format!("{back}?code=x&code=y&state={state}"),
            vec![],
            400,
        ),
        (
            "GET",
            format!("{back}?error=access_denied&state=wrong"),
            vec![],
            400,
        ),
        (
            "GET",
            format!("{back}?code=x&state={state}&iss=https%3A%2F%2Fother.example"),
            vec![],
            400,
        ),
        (
            "GET",
            format!("{base}/auth%2fcallback?code=x&state={state}"),
            vec![],
            404,
        ),
        (
            "OPTIONS",
            format!("{back}?code=x&state={state}"),
            vec![],
            405,
        ),
    ] {
        let page = browser::send(method, &url, &headers, "");
        assert_eq!(page.status, status, "{method} {url} {headers:?}");
        assert_safe_page(&page);
        assert!(!page.text().contains(&state), "{url}");
        let comfort = "<p>Your own sign-in is not affected.</p>";
        assert!(status == 404 || page.text().contains(comfort), "{url}");
    }
    // A HEAD request does not spend the code, and gets no body.
    let look =
        format!("HEAD /auth/callback?code=x&state={state} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = String::from_utf8(browser::raw(&back, look.as_bytes())).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nAllow: GET\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    assert_goes_on(login, &address);
}

#[test]
fn requests_that_no_browser_tab_sends_are_refused() {
    let sandbox = Sandbox::new();
    let (login, address) = start(&sandbox, &["login"]);
    let back = redirect_uri(&address);
    let state = parameter(&address, "state");
    let right = format!("{back}?code=x&state={state}");
    let ours = back.split('/').nth(2).unwrap();
    for headers in [
        "Sec-Fetch-Mode: no-cors",
        "Sec-Fetch-Mode: navigate\r\nsec-fetch-mode: cors",
        "Sec-Fetch-Dest: iframe",
        "Origin: https://evil.example",
        &format!("Origin: {}.evil.example", sandbox.issuer.url()),
    ] {
        let (_, target) = right.split_once(ours).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\n{headers}\r\n\r\n");
        let answer = String::from_utf8(browser::raw(&back, request.as_bytes())).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{headers}: {answer}");
    }
    for (headers, status) in [
        // Without the right state, only requests to a loopback name with our port get past this check.
        (&*format!("Host: {ours}"), 400),
        (&format!("Host: {}", ours.to_uppercase()), 400),
        (&format!("Host: {ours}\r\nHost: {ours}"), 403),
        ("Host: localhost", 403),
        ("Host: localhost:1", 403),
        (&format!("Host: rebound.example:{}", &ours[10..]), 403),
        (
            &format!("Host: localhost.rebound.example:{}", &ours[10..]),
            403,
        ),
        ("Accept: */*", 403),
    ] {
        let request =
            format!("GET /auth/callback?code=x&state=wrong HTTP/1.1\r\n{headers}\r\n\r\n");
        let answer = String::from_utf8(browser::raw(&back, request.as_bytes())).unwrap();
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{headers}: {answer}");
    }
    let long = "a".repeat(16 << 10);
    let many = "x: y\r\n".repeat(200);
    for (request, status) in [
        (
            format!("GET /auth/callback?state={state}&code=a\0b HTTP/1.1\r\n\r\n"),
            400,
        ),
        ("\0\r\n\r\n".to_owned(), 400),
        (format!("GET {right} HTTP/1.1\r\n\r\n"), 404),
        (format!("GET /auth/callback?{long}"), 431),
        (
            format!("GET /auth/callback HTTP/1.1\r\nCookie: {long}"),
            431,
        ),
        (format!("GET /auth/callback HTTP/1.1\r\n{many}\r\n"), 431),
    ] {
        let answer = String::from_utf8(browser::raw(&back, request.as_bytes())).unwrap();
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{expected}: {answer}");
    }
    assert_goes_on(login, &address);
}

#[cfg(unix)]
#[test]
fn lingering_connections_do_not_block_the_browser() {
    let sandbox = Sandbox::new();
    let gate = sandbox.issuer.hold(Endpoint::Exchange);
    // Fewer file descriptors than connections.
    let mut login = sandbox.shell(r#"ulimit -n 128; exec "$@" login --no-browser"#);
    login.arg("sh").args(program());
    let mut login = sandbox.start(login);
    let address = login.address();
    let back = redirect_uri(&address);
    let crowd = |request: &[u8]| -> Vec<_> {
        let connect = |_| {
            let mut connection = browser::connect(&back);
            connection.write_all(request).unwrap();
            connection
        };
        (0..100).map(connect).collect()
    };
    let silent = crowd(b"");
    let half = crowd(b"GET /auth/callback?code=x");
    let page = std::thread::spawn(move || browser::visit(&address));
    sandbox.issuer.await_requests(Endpoint::Exchange, 1);
    // The browser waits for its page, and later connections do not displace it.
    let answered = crowd(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(browser::get(&back).status, 400);
    gate.open();
    assert_eq!(page.join().unwrap().status, 200);
    login.finish().assert(0, "", SIGNED_IN);
    drop((silent, half, answered));
}

#[cfg(unix)]
#[test]
fn the_state_proves_a_redirect_that_came_through_a_forwarded_port() {
    for host in ["localhost:49152", "x-1455.app.github.dev", "[::1]:9"] {
        let sandbox = Sandbox::new();
        let (login, address) = start(&sandbox, &["login"]);
        let page = browser::send("GET", &redirect(&address), &[("Host", host)], "");
        assert_eq!(page.status, 200, "{host}");
        login.finish().assert(0, "", SIGNED_IN);
    }
}

#[cfg(unix)]
#[test]
fn the_redirect_arrives_in_both_families_and_in_pieces() {
    for host in ["127.0.0.1", "[::1]"] {
        if TcpListener::bind(format!("{host}:0")).is_err() {
            support::sandbox::skip("this machine has no IPv6");
            continue;
        }
        let sandbox = Sandbox::new();
        let (login, address) = start(&sandbox, &["login"]);
        let back = redirect(&address).replace("localhost", host);
        let target = back.split_once("/auth").unwrap().1;
        let mut connection = browser::connect(&back);
        connection.set_nodelay(true).unwrap();
        for byte in format!("GET /auth{target} HTTP/1.1\r\n\r\n").bytes() {
            connection.write_all(&[byte]).unwrap();
        }
        let mut page = String::new();
        connection.read_to_string(&mut page).unwrap();
        assert!(page.contains("You are signed in"), "{page}");
        login.finish().assert(0, "", SIGNED_IN);
    }
}

#[cfg(unix)]
#[test]
fn a_redirect_that_comes_again_gets_the_same_page() {
    let (sandbox, _) = signed_in();
    let exchange = sandbox.issuer.hold(Endpoint::Exchange);
    // The earlier login is revoked after the page is shown, which keeps the program running.
    let revoke = sandbox.issuer.hold(Endpoint::Revoke);
    let (login, address) = start(&sandbox, &["login"]);
    let back = redirect(&address);
    let get = || {
        let back = back.clone();
        std::thread::spawn(move || browser::get(&back))
    };
    let early = [get(), get()];
    sandbox.issuer.await_requests(Endpoint::Exchange, 1);
    exchange.open();
    let [first, second] = early.map(|page| page.join().unwrap());
    let third = get().join().unwrap();
    for page in [&first, &second, &third] {
        assert_eq!(page.status, 200, "{}", page.text());
        assert_eq!(page.text(), first.text());
    }
    assert!(
        first.text().contains("You are signed in"),
        "{}",
        first.text()
    );
    revoke.open();
    login.finish().assert(0, "", SIGNED_IN);
    assert_eq!(sandbox.issuer.count(Endpoint::Exchange), 1);
}

#[test]
fn an_answer_that_names_its_issuer_counts() {
    let sandbox = Sandbox::new();
    let url = sandbox.issuer.url().to_owned();
    sandbox.issuer.set(|its| its.iss = Some(url));
    let (login, address) = start(&sandbox, &["login"]);
    assert_goes_on(login, &address);
}

#[test]
fn a_bare_access_denied_is_explained() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| {
        its.consent = Consent::Refuse {
            error: "access_denied".to_owned(),
            description: None,
        };
    });
    let (login, address) = start(&sandbox, &["login"]);
    let page = browser::visit(&address).text();
    let reason =
        "ccess denied: the sign-in was cancelled, or your account is not allowed to use it";
    assert!(page.contains(&format!(">A{reason}.</p>")), "{page}");
    login.finish().assert(
        1,
        "",
        &format!("...\ncodex-auth: could not sign in: a{reason}\n"),
    );
}

#[test]
fn an_error_of_the_issuer_ends_the_login_with_its_message() {
    let (sandbox, planted) = signed_in();
    sandbox.issuer.set(|its| {
        its.consent = Consent::Refuse {
            error: "access_denied".to_owned(),
            description: Some("Ask <b>your</b> admin\x1b[31m.".to_owned()),
        };
    });
    let (login, address) = start(&sandbox, &["login"]);
    let page = browser::visit(&address);
    assert!(
        page.text()
            .contains("Ask &#60;b&#62;your&#60;/b&#62; admin"),
        "{}",
        page.text()
    );
    assert_safe_page(&page);
    login.finish().assert(
        1,
        "",
        "...\ncodex-auth: could not sign in: Ask <b>your</b> admin [31m. (access_denied)\n",
    );
    assert_untouched(&sandbox, &planted);
}

// Failures after the redirect: the old login stays.

#[test]
fn an_exchange_that_fails_leaves_the_old_login_as_it_was() {
    for (trouble, code, message) in [
        (
            Trouble::error(400, "invalid_grant"),
            1,
            "[..] (invalid_grant, status 400)",
        ),
        (
            Trouble::error(403, "forbidden"),
            1,
            "[..] (forbidden, status 403)",
        ),
        (Trouble::status(502), 75, "[..] (status 502)"),
        (Trouble::body("<html>"), 1, "[..]"),
        (Trouble::body(""), 1, "[..]"),
        (Trouble::body("{\"access_token\":"), 1, "[..]"),
        (
            Trouble::body("{}"),
            1,
            "unexpected response from the issuer (status 200)",
        ),
        (
            Trouble::body("{\"access_token\":\"a\"}"),
            1,
            "could not trust the issuer's response: it has no refresh token",
        ),
        (Trouble::redirect("/elsewhere"), 1, "[..]"),
        (Trouble::megabytes(2), 75, "[..]"),
        (Trouble::DropAfter, 75, "[..]"),
        (Trouble::Truncate, 75, "[..]"),
    ] {
        let (sandbox, planted) = signed_in();
        sandbox.issuer.plan(Endpoint::Exchange, trouble);
        let (login, address) = start(&sandbox, &["login"]);
        let page = browser::visit(&address);
        let text = page.text();
        assert!(text.contains("Sign-in failed"), "{text}");
        assert!(!text.contains("ould not sign in"), "{text}");
        assert!(
            text.contains("<p>If you were signed in before, you still are. "),
            "{text}"
        );
        assert_safe_page(&page);
        login.finish().assert(
            code,
            "",
            &format!("...\ncodex-auth: could not sign in: {message}\n"),
        );
        assert_untouched(&sandbox, &planted);
    }
}

#[test]
fn a_login_whose_id_token_is_not_for_us_is_refused_and_revoked() {
    type Change = fn(&mut support::fake_issuer::Manners);
    let changes: [(Change, &str); 6] = [
        (|its| its.id_life = 0, "its ID token has already expired"),
        (
            |its| its.id_audience = Some(json!(["another-client"])),
            "its ID token is for another client",
        ),
        (
            |its| its.id_audience = Some(json!(null)),
            "its ID token is for another client",
        ),
        (
            |its| its.id_issuer = Some(json!("https://evil.example")),
            "its ID token is from another issuer",
        ),
        (
            |its| its.id_issuer = Some(json!(format!("{}.evil.example", "http://127.0.0.1"))),
            "its ID token is from another issuer",
        ),
        (
            |its| its.id_issuer = Some(json!(null)),
            "its ID token is from another issuer",
        ),
    ];
    for (change, message) in changes {
        let (sandbox, planted) = signed_in();
        sandbox.issuer.set(change);
        let (login, address) = start(&sandbox, &["login"]);
        assert!(browser::visit(&address).text().contains("Sign-in failed"));
        login.finish().assert(
            1,
            "",
            &format!(
                "...\ncodex-auth: could not sign in: could not trust the issuer's response: {message}\n"
            ),
        );
        assert_untouched(&sandbox, &planted);
        assert_eq!(
            sandbox.issuer.revoked(),
            [sandbox.issuer.refresh_tokens().pop().unwrap()]
        );
    }
}

#[test]
fn a_login_without_an_access_token_is_revoked() {
    let (sandbox, planted) = signed_in();
    sandbox.issuer.set(|its| its.omit.push("access_token"));
    let (login, address) = start(&sandbox, &["login"]);
    browser::visit(&address);
    login.finish().assert(
        1,
        "",
        "...\ncodex-auth: could not sign in: could not trust the issuer's response: it has no access token\n",
    );
    assert_untouched(&sandbox, &planted);
    assert_eq!(
        sandbox.issuer.revoked(),
        [sandbox.issuer.refresh_tokens().pop().unwrap()]
    );
}

#[test]
fn a_login_that_could_not_be_stored_after_all_leaves_nothing_behind() {
    let (sandbox, planted) = signed_in();
    let gate = sandbox.issuer.hold(Endpoint::Exchange);
    let (login, address) = start(&sandbox, &["login"]);
    let browser = std::thread::spawn(move || browser::visit(&address));
    sandbox.issuer.await_requests(Endpoint::Exchange, 1);
    // A folder that is not empty cannot be replaced.
    let (place, aside) = (sandbox.file("default"), sandbox.folder().join("aside"));
    std::fs::rename(&place, &aside).unwrap();
    std::fs::create_dir_all(place.join("full")).unwrap();
    gate.open();
    assert!(browser.join().unwrap().text().contains("Sign-in failed"));
    login.finish().assert(
        1,
        "",
        "...\ncodex-auth: could not sign in: could not save [HOME]/default.json: [..]\n",
    );
    assert_eq!(
        sandbox.issuer.revoked(),
        [sandbox.issuer.refresh_tokens().pop().unwrap()]
    );
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::rename(&aside, &place).unwrap();
    assert_untouched(&sandbox, &planted);
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
    assert!(sandbox.can_refresh(), "the discarded login took its place");
}

#[test]
fn a_clock_that_is_days_off_does_not_prevent_a_login() {
    for ahead in [-20 * 86400, 20 * 86400] {
        let sandbox = Sandbox::new();
        sandbox.issuer.set(|its| its.clock_ahead = ahead);
        let (login, address) = start(&sandbox, &["login"]);
        assert_goes_on(login, &address);
        sandbox.run(&["token"]).assert(0, TOKEN, "");
        assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_login_that_could_not_be_stored_does_not_begin() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.home(), "a file in place of the folder").unwrap();
    sandbox.run(&["login"]).assert(
        1,
        "",
        "codex-auth: could not lock [HOME]/default.json: [..]\n",
    );
    assert_eq!(sandbox.issuer.requests().len(), 0);
}

#[cfg(unix)]
#[test]
fn a_login_that_can_no_longer_be_stored_spends_no_code() {
    use std::os::unix::fs::PermissionsExt;
    let (sandbox, planted) = signed_in();
    let (login, address) = start(&sandbox, &["login"]);
    let mode = |bits| {
        std::fs::set_permissions(
            sandbox.file("default"),
            std::fs::Permissions::from_mode(bits),
        )
        .unwrap();
    };
    mode(0o400);
    let page = browser::visit(&address);
    assert!(
        page.text().contains("the file is read-only"),
        "{}",
        page.text()
    );
    login.finish().assert(
        1,
        "",
        "...\ncodex-auth: could not sign in: could not replace [HOME]/default.json: the file is read-only: run chmod 600 [HOME]/default.json\n",
    );
    mode(0o600);
    assert_eq!(sandbox.issuer.count(Endpoint::Exchange), 0);
    assert_untouched(&sandbox, &planted);
}

#[test]
fn a_new_login_replaces_the_old_one_and_then_revokes_it() {
    let (sandbox, planted) = signed_in();
    sandbox
        .issuer
        .set(|its| its.account = Account::new("account-2", "other@mail.example"));
    let (login, address) = start(&sandbox, &["login"]);
    assert_eq!(browser::visit(&address).status, 200);
    login
        .finish()
        .assert(0, "", "...\nSigned in as other@mail.example (Plus)\n");
    sandbox.run(&["account-id"]).assert(0, "account-2\n", "");
    let old = planted["tokens"]["refresh_token"].as_str().unwrap();
    assert_eq!(sandbox.issuer.revoked(), [old]);
    assert!(sandbox.can_refresh());
}

#[test]
fn an_old_login_without_a_refresh_token_is_revoked_too() {
    let (sandbox, mut planted) = signed_in();
    planted["tokens"]
        .as_object_mut()
        .unwrap()
        .remove("refresh_token");
    sandbox.store("default", &planted.to_string());
    let (login, address) = start(&sandbox, &["login"]);
    assert_goes_on(login, &address);
    let old = planted["tokens"]["access_token"].as_str().unwrap();
    assert_eq!(sandbox.issuer.revoked(), [old]);
}

#[test]
fn an_old_login_that_the_issuer_has_revoked_is_not_revoked_again() {
    let (sandbox, mut planted) = signed_in();
    planted["revoked"] = json!({ "reason": "It was used before.", "at": "2026-01-02T03:04:05Z" });
    sandbox.store("default", &planted.to_string());
    let (login, address) = start(&sandbox, &["login"]);
    assert_goes_on(login, &address);
    assert_eq!(sandbox.issuer.count(Endpoint::Revoke), 0);
}

#[test]
fn an_old_login_that_another_profile_shares_is_not_revoked() {
    let (sandbox, planted) = signed_in();
    sandbox.store("work", &planted.to_string());
    let (login, address) = start(&sandbox, &["login"]);
    browser::visit(&address);
    login.finish().assert(
        0,
        "",
        "...\nSigned in as someone@mail.example (Plus)\n\
         The earlier login was not revoked: it is a copy of the profile work.\n",
    );
    assert!(sandbox.issuer.revoked().is_empty());
}

#[test]
fn a_new_login_counts_even_if_the_old_one_cannot_be_revoked() {
    let (sandbox, _) = signed_in();
    sandbox
        .issuer
        .plan_always(Endpoint::Revoke, Trouble::status(500));
    let (login, address) = start(&sandbox, &["login"]);
    assert_eq!(browser::visit(&address).status, 200);
    let warning = "The earlier login was not revoked: [..] (status 500): anyone with a copy can use it until it expires.\n";
    login
        .finish()
        .assert(0, "", &format!("{SIGNED_IN}{warning}"));
    assert!(sandbox.can_refresh());
}

#[test]
fn a_login_during_a_refresh_waits_for_it_and_then_replaces_it() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.gate();
    let (mut login, address) = start(&sandbox, &["login"]);
    sandbox
        .issuer
        .plan(Endpoint::Refresh, Trouble::Hold(gate.clone()));
    let caller = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(Endpoint::Refresh, 1);
    sandbox
        .issuer
        .set(|its| its.account = Account::new("account-2", "other@mail.example"));
    let browser = std::thread::spawn(move || browser::visit(&address).status);
    login.await_text("Waiting for another process that is refreshing this token.");
    gate.open();
    assert_eq!(browser.join().unwrap(), 200);
    let waiting = "\n...\nWaiting for another process that is refreshing this token.\n";
    let message = SIGNED_IN.replace("\n...\n", waiting);
    login
        .finish()
        .assert(0, "", &message.replace("someone@", "other@"));
    caller.finish().assert(0, TOKEN, "");
    sandbox.run(&["account-id"]).assert(0, "account-2\n", "");
    assert!(sandbox.can_refresh());
}

#[test]
fn a_login_without_an_account_only_fails_calls_that_need_one() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| its.account.id = None);
    let (login, address) = start(&sandbox, &["login"]);
    assert_eq!(browser::visit(&address).status, 200);
    let missing = "codex-auth: warning: the tokens have no ChatGPT account ID: account-id fails, and requests lack the ChatGPT-Account-Id header\n";
    login
        .finish()
        .assert(0, "", &format!("{SIGNED_IN}{missing}"));
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox.run(&["account-id"]).assert(
        1,
        "",
        "codex-auth: the stored credentials have no ChatGPT account ID\n",
    );
}

// Ports.

/// What is said about a port that another program uses, with the command that signs in.
pub fn in_use(port: &str, command: &str) -> String {
    let listeners = match std::env::consts::OS {
        "macos" => "lsof -nP -iTCP -sTCP:LISTEN",
        "windows" => "netstat -ano",
        _ => "ss -ltnp",
    };
    format!(
        "port {port} is in use by another program: stop it (find it with {listeners}), or use {command} --device-code"
    )
}

#[test]
fn a_port_that_somebody_holds_in_either_family_is_left_alone() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(holder) = TcpListener::bind(address) else {
            support::sandbox::skip("this machine has no IPv6");
            continue;
        };
        holder.set_nonblocking(true).unwrap();
        let port = holder.local_addr().unwrap().port().to_string();
        let mut sandbox = Sandbox::new();
        sandbox.set("CODEX_AUTH_PORT", &port);
        sandbox.run(&["login"]).assert(
            1,
            "",
            &format!(
                "codex-auth: could not sign in: {}\n",
                in_use(&port, "codex-auth login")
            ),
        );
        assert!(holder.accept().is_err(), "unexpected connection");
    }
}

#[test]
fn advice_names_the_profile_and_the_workspace() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let mut sandbox = Sandbox::new();
    sandbox.set("CODEX_AUTH_PORT", &port);
    let login = [
        "--profile",
        "work",
        "login",
        "--workspace",
        "account-1, a.b",
    ];
    let command = "codex-auth --profile work login --workspace account-1 --workspace a.b";
    sandbox.run(&login).assert(
        1,
        "",
        &format!(
            "codex-auth: could not sign in: {}\n",
            in_use(&port, command)
        ),
    );
    sandbox.set("CODEX_AUTH_PORT", "0");
    sandbox.set("SSH_TTY", "/dev/pts/0");
    let mut running = sandbox.spawn(&login);
    running.sign_in();
    running.finish().assert(
        0,
        "",
        &format!("...\n  {command} --device-code\n...\nSigned in as someone@mail.example (Plus)\n"),
    );
}

#[test]
fn workspaces_are_trimmed_and_checked_before_the_sign_in() {
    let sandbox = Sandbox::new();
    let (login, address) = start(&sandbox, &["login", "--workspace", "other, account-1"]);
    assert_eq!(
        parameter(&address, "allowed_workspace_id"),
        "other,account-1"
    );
    assert_goes_on(login, &address);
    for value in ["a b", "a,,b", "", "!x"] {
        sandbox.run(&["login", "--workspace", value]).assert(
            2,
            "",
            "codex-auth: invalid value [..] for '--workspace <ID>': use the workspace ID, made of A-Z a-z 0-9 _ . : -\n",
        );
    }
}

#[test]
fn another_account_can_be_chosen() {
    let sandbox = Sandbox::new();
    let (login, address) = start(&sandbox, &["login", "--switch-account"]);
    assert_eq!(parameter(&address, "prompt"), "login");
    assert_goes_on(login, &address);
    let (login, address) = start(&sandbox, &["login"]);
    assert!(!address.contains("prompt="));
    assert_goes_on(login, &address);
}

/// The command may be codex-auth itself, on every system.
#[test]
fn a_profile_can_get_its_tokens_from_another_one() {
    let sandbox = Sandbox::new();
    sandbox.plant_as("far", LIFE.cast_signed(), LIFE);
    let program = program();
    let program: Vec<&str> = program.iter().map(|word| word.to_str().unwrap()).collect();
    let far = ["--profile", "far", "token", "--format", "json"];
    let arguments = [&["login", "--from", "--"], &program[..], &far].concat();
    sandbox.run(&arguments).assert(
        0,
        "",
        "Signed in as someone@mail.example (Plus)\n  Its tokens come from [..] json\n",
    );
    sandbox.age(-60);
    sandbox.run(&["token"]).assert(0, "[TOKEN]\n", "");
    assert_eq!(sandbox.stored()["tokens"]["refresh_token"], Value::Null);
    sandbox
        .run(&["--profile", "far", "logout"])
        .assert(0, "", "Signed out (profile far).\n");
    sandbox.age(-60);
    sandbox.run(&["token"]).assert(
        4,
        "",
        "codex-auth: could not get a token from [..]: sign in there: not signed in[..]: run codex-auth --profile far login\n",
    );
}

#[test]
fn the_port_of_the_redirect_uri_is_1455_else_1457() {
    #[cfg(target_os = "linux")]
    if support::network::has_run_in_own_network() {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.unset("CODEX_AUTH_PORT");
    let (first, address) = start(&sandbox, &["login"]);
    let Some(port) = ["1455", "1457"]
        .into_iter()
        .find(|port| redirect_uri(&address).contains(port))
    else {
        panic!("{address}");
    };
    if port == "1455" {
        let (second, next) = start(&sandbox, &["login"]);
        // Unless another process on this machine uses that port.
        assert_eq!(redirect_uri(&next), "http://localhost:1457/auth/callback");
        drop(second);
    }
    assert_goes_on(first, &address);
}

// Invalid variables.

#[test]
fn nonsense_in_the_environment_is_an_error_that_names_the_variable() {
    for (name, value, message) in [
        (
            "CODEX_AUTH_ISSUER",
            "http://issuer.example",
            "could not sign in: invalid CODEX_AUTH_ISSUER: plain http is only allowed to a loopback address",
        ),
        (
            "CODEX_AUTH_ISSUER",
            "issuer.example",
            "could not sign in: invalid CODEX_AUTH_ISSUER: only https and http are supported",
        ),
        (
            "CODEX_AUTH_ISSUER",
            "https://me:pw@issuer.example",
            "could not sign in: invalid CODEX_AUTH_ISSUER: a user name is not allowed",
        ),
        (
            "CODEX_AUTH_ISSUER",
            "nonsense here",
            "could not sign in: invalid CODEX_AUTH_ISSUER: not a URL",
        ),
        (
            "CODEX_AUTH_CLIENT_ID",
            "a b",
            "could not sign in: invalid value \"a b\" for CODEX_AUTH_CLIENT_ID: use visible ASCII characters without spaces",
        ),
        (
            "CODEX_AUTH_PORT",
            "65536",
            "could not sign in: invalid value \"65536\" for CODEX_AUTH_PORT: use 0 to 65535",
        ),
        (
            "CODEX_AUTH_PORT",
            "http",
            "could not sign in: invalid value \"http\" for CODEX_AUTH_PORT: use 0 to 65535",
        ),
        (
            "CODEX_AUTH_REDIRECT_HOST",
            "evil.example",
            "could not sign in: invalid value \"evil.example\" for CODEX_AUTH_REDIRECT_HOST: use localhost or 127.0.0.1",
        ),
        (
            "CODEX_AUTH_HOME",
            "relative/folder",
            "invalid value \"relative/folder\" for CODEX_AUTH_HOME: use an absolute path",
        ),
        (
            "CODEX_AUTH_HOME",
            "/with-a-carriage-return\r",
            "invalid CODEX_AUTH_HOME: it contains a control character",
        ),
        (
            "CODEX_AUTH_ISSUER",
            "https://issuer.example\t",
            "could not sign in: invalid CODEX_AUTH_ISSUER: it contains a control character",
        ),
    ] {
        let (mut sandbox, planted) = signed_in();
        sandbox.set(name, value);
        sandbox
            .run(&["login"])
            .assert(2, "", &format!("codex-auth: {message}\n"));
        let (home, profile) = (sandbox.home(), "default");
        sandbox.set("CODEX_AUTH_HOME", home);
        sandbox.set("CODEX_AUTH_PROFILE", profile);
        assert_untouched(&sandbox, &planted);
    }
}

// On a terminal.

#[cfg(unix)]
mod at_a_terminal {
    use super::*;
    use crate::terminal::Terminal;

    const ANNOUNCED: &str = "\rCompleting the sign-in …\x1b[K\r\x1b[K\rAsking about the workspace …\x1b[K\r\x1b[K\
                             \x1b[32m✓\x1b[0m Signed in as someone@mail.example (Plus)\n  \
                             Next: TOKEN=$(codex-auth token), or codex-auth setup codex\n";
    const INVITED: &str = "If your browser ends up on ";

    fn start(sandbox: &Sandbox) -> (Terminal, String) {
        let terminal = Terminal::start(sandbox, &["login"], 80);
        terminal.await_text(INVITED, 1);
        let address = terminal.address();
        (terminal, address)
    }

    #[test]
    fn the_address_that_the_browser_ended_on_can_be_pasted() {
        for form in ["address", "query"] {
            let sandbox = Sandbox::new();
            let (mut terminal, address) = start(&sandbox);
            let ended_on = redirect(&address);
            terminal.type_line(match form {
                "address" => &ended_on,
                _ => ended_on.split_once('?').unwrap().1,
            });
            let (code, screen) = terminal.finish();
            assert_eq!(code, 0, "{form}: {screen}");
            assert!(screen.ends_with(ANNOUNCED), "{form}: {screen}");
            sandbox.run(&["token"]).assert(0, TOKEN, "");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn in_the_background_nothing_is_asked_and_the_browser_still_comes_back() {
        let sandbox = Sandbox::new();
        let Some(terminal) = Terminal::shell(&sandbox, r#""$0" login & wait $!"#, 80) else {
            return;
        };
        assert_eq!(browser::visit(&terminal.address()).status, 200);
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
        assert!(!screen.contains(INVITED), "{screen}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_login_that_is_put_into_the_background_still_serves_the_browser() {
        let sandbox = Sandbox::new();
        let script = r#""$0" login; echo stopped; bg; wait %1; echo "ended with $?""#;
        let Some(mut terminal) = Terminal::shell(&sandbox, script, 80) else {
            return;
        };
        terminal.await_text("Waiting for up to", 1);
        let address = terminal.address();
        terminal.press("\x1a");
        terminal.await_text("stopped\r\n", 1);
        assert_eq!(browser::visit(&address).status, 200);
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
        assert!(screen.ends_with("ended with 0\n"), "{screen}");
        sandbox.run(&["token"]).assert(0, TOKEN, "");
    }

    #[test]
    fn binary_input_does_not_end_pasting() {
        let sandbox = Sandbox::new();
        let (mut terminal, address) = start(&sandbox);
        terminal.press_bytes(b"\xff\xfe\n\n");
        terminal.await_text("Not accepted: ", 1);
        terminal.type_line(&format!("“{}”.", redirect(&address)));
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
        assert_eq!(screen.matches("Not accepted: ").count(), 1, "{screen}");
    }

    #[test]
    fn after_the_end_of_the_input_the_browser_can_still_come_back() {
        let sandbox = Sandbox::new();
        let (mut terminal, address) = start(&sandbox);
        terminal.press("\x04");
        assert_eq!(browser::visit(&address).status, 200);
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
    }

    #[test]
    fn the_next_commands_are_those_for_the_profile() {
        let sandbox = Sandbox::new();
        let arguments = ["--profile", "work", "login"];
        let mut terminal = Terminal::start(&sandbox, &arguments, 80);
        let address = terminal.address();
        terminal.type_line(&redirect(&address));
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
        assert!(
            screen.ends_with(
                "\n  Next: TOKEN=$(codex-auth --profile work token), or codex-auth --profile work setup codex\n"
            ),
            "{screen}"
        );
    }

    #[test]
    fn a_wrong_paste_says_what_is_wrong_and_asks_again() {
        let sandbox = Sandbox::new();
        let (mut terminal, address) = start(&sandbox);
        let wrong = [
            "hello".to_owned(),
            address.clone(),
            format!("{}?code=x&state=wrong", redirect_uri(&address)),
            redirect_uri(&address),
        ];
        for (before, line) in wrong.iter().enumerate() {
            terminal.type_line(line);
            terminal.await_text("Not accepted: ", before + 1);
        }
        terminal.type_line(&redirect(&address));
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
        let wanted = format!("{}?code=…\n", redirect_uri(&address));
        assert_eq!(screen.matches(&wanted).count(), wrong.len(), "{screen}");
        assert!(
            screen.contains("Not accepted: it is not a URL. "),
            "{screen}"
        );
    }

    #[test]
    fn the_first_of_the_two_ways_wins() {
        let sandbox = Sandbox::new();
        let (terminal, address) = start(&sandbox);
        assert_eq!(browser::visit(&address).status, 200);
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
    }

    #[test]
    fn the_wait_is_shown_and_wiped_at_the_end() {
        let sandbox = Sandbox::new();
        let gate = sandbox.issuer.hold(Endpoint::Exchange);
        let (terminal, address) = start(&sandbox);
        terminal.await_text("Waiting for up to 15 minutes … \x1b[K", 1);
        let browser = std::thread::spawn(move || browser::visit(&address).status);
        terminal.await_text("\rCompleting the sign-in …\x1b[K", 1);
        sandbox.issuer.await_requests(Endpoint::Exchange, 1);
        gate.open();
        assert_eq!(browser.join().unwrap(), 200);
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
        assert!(screen.ends_with(ANNOUNCED), "{screen:?}");
    }

    #[test]
    fn a_browser_that_cannot_be_opened_does_not_end_the_wait() {
        let mut sandbox = Sandbox::new();
        sandbox.set("BROWSER", "nosuchbrowser");
        let terminal = Terminal::start(&sandbox, &["login"], 80);
        terminal.await_text("(nosuchbrowser: command not found)", 1);
        terminal.await_text("Waiting for up to 15 minutes … ", 2);
        assert_eq!(browser::visit(&terminal.address()).status, 200);
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
    }

    #[test]
    fn ctrl_c_leaves_the_old_login_as_it_was() {
        let (sandbox, planted) = signed_in();
        let (mut terminal, _) = start(&sandbox);
        terminal.press("\x03");
        let (code, screen) = terminal.finish();
        assert_eq!(code, -2, "{screen}");
        assert_untouched(&sandbox, &planted);
    }
}

// A real browser.

#[cfg(target_os = "linux")]
#[test]
fn a_real_browser_signs_in_and_shows_the_page() {
    const CHROMIUM: &str = "/usr/bin/chromium";
    if !std::path::Path::new(CHROMIUM).exists() {
        support::sandbox::skip(&format!("no {CHROMIUM}"));
        return;
    }
    let sandbox = Sandbox::new();
    let (login, address) = start(&sandbox, &["login"]);
    let mut chromium = std::process::Command::new(CHROMIUM);
    chromium
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-sync",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            sandbox.folder().join("browser").display()
        ))
        .arg(&address);
    let shown = chromium.output().unwrap();
    let page = String::from_utf8_lossy(&shown.stdout);
    assert!(
        page.contains("You are signed in") && page.contains("someone@mail.example"),
        "{page}"
    );
    login.finish().assert(0, "", SIGNED_IN);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
}
