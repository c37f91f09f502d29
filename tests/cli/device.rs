//! Signing in without a browser: with a code on another device, over SSH, in a container.

use std::fs;
use std::path::PathBuf;
use std::thread;

use serde_json::{Value, json};

use support::fake_issuer::{Answer, Endpoint, Trouble};
use support::process::{Output, Running};
use support::sandbox::Sandbox;

const LOGIN: [&str; 2] = ["login", "--device-code"];
const SIGNED_IN: &str = "Signed in as someone@mail.example (Plus)\n";
/// The stderr before the result, as in a log.
const PROMPT: &str = "\
Open this page on any device, and sign in:
  [ISSUER]/codex/device
Enter this code there within 15 minutes:
  CODE-00001
Never share the code. Enter it only if you started this sign-in yourself.
If the code is refused, enable device login in ChatGPT under Settings > Security
(in a workspace, ask its admin).
Press Ctrl-C to stop waiting. While the code is valid, the same command resumes.
";
const RESUMED: &str = "Resuming your earlier sign-in.\n";
const UNDER_WAY: &str = "codex-auth: could not sign in: another codex-auth login --device-code is waiting: complete that \
                         sign-in, or stop it\n";

fn pending(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join("default.device")
}

/// A login that has shown its code.
#[track_caller]
fn prompted(sandbox: &Sandbox) -> Running {
    let mut running = sandbox.spawn(&LOGIN);
    running.await_text("CODE-");
    running
}

/// Leaves a pending session behind, whose code has not been entered yet.
#[track_caller]
fn interrupt(sandbox: &Sandbox) {
    let mut running = prompted(sandbox);
    running.kill();
    running.finish();
    assert!(pending(sandbox).exists());
}

#[track_caller]
fn assert_signed_in(sandbox: &Sandbox, output: &Output, before: &str) {
    output.assert(0, "", &format!("{before}{SIGNED_IN}"));
    assert!(sandbox.can_refresh());
    assert!(!pending(sandbox).exists());
}

/// Changes the stored session.
fn change_pending(sandbox: &Sandbox, change: impl FnOnce(&mut Value)) {
    let mut session = serde_json::from_slice(&fs::read(pending(sandbox)).unwrap()).unwrap();
    change(&mut session);
    fs::write(pending(sandbox), session.to_string()).unwrap();
}

#[test]
fn a_code_on_another_device_signs_in() {
    let sandbox = Sandbox::new();
    let running = prompted(&sandbox);
    sandbox.issuer.approve();
    assert_signed_in(&sandbox, &running.finish(), PROMPT);
    assert_eq!(sandbox.issuer.count(Endpoint::DeviceToken), 1);
}

#[test]
fn other_spellings_of_the_same_answers_are_understood() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| {
        its.user_code_member = "usercode";
        its.interval = Some(json!(1));
        its.pending_status = 404;
    });
    let mut running = sandbox.spawn(&["login", "--device-auth"]);
    running.await_text("CODE-00001");
    sandbox.issuer.await_answers(Endpoint::DeviceToken, 1);
    sandbox.issuer.approve();
    assert_signed_in(&sandbox, &running.finish(), PROMPT);
    assert_eq!(sandbox.issuer.count(Endpoint::DeviceToken), 2);
}

#[test]
fn if_device_login_is_disabled_other_ways_are_named() {
    let sandbox = Sandbox::new();
    sandbox.issuer.set(|its| its.device_login = false);
    sandbox.run(&LOGIN).assert(
        1,
        "",
        "codex-auth: could not sign in: device login is disabled: enable device login in ChatGPT under Settings \
         > Security (in a workspace, ask its admin), or sign in with the browser: codex-auth login\n",
    );
    assert_eq!(sandbox.issuer.requests().len(), 1);
    assert!(!pending(&sandbox).exists());
    let work = ["--profile", "work", "login", "--device-code"];
    let advice = "codex-auth: could not sign in: [..] or sign in with the browser: codex-auth --profile work login\n";
    sandbox.run(&work).assert(1, "", advice);
}

#[test]
fn a_failure_at_the_start_is_reported_at_once() {
    let sandbox = Sandbox::new();
    for (trouble, code, reason) in [
        (
            Trouble::status(503),
            75,
            "server error at the issuer, or at a proxy in front of it (status 503)",
        ),
        (
            Trouble::DropBefore,
            75,
            "127.0.0.1: connection closed before the response was complete",
        ),
        (
            Trouble::body("<html>"),
            1,
            "the issuer answered with a web page (captive portal or filter? try it with a browser) (status 200)",
        ),
        (
            Trouble::body("{}"),
            1,
            "unexpected response from the issuer (status 200)",
        ),
    ] {
        sandbox.issuer.plan(Endpoint::UserCode, trouble);
        let reason = format!("codex-auth: could not sign in: {reason}\n");
        sandbox.run(&LOGIN).assert(code, "", &reason);
    }
    assert_eq!(sandbox.issuer.count(Endpoint::DeviceToken), 0);
}

#[test]
fn a_denial_ends_the_wait_with_the_issuers_message() {
    let sandbox = Sandbox::new();
    let running = prompted(&sandbox);
    sandbox.issuer.deny();
    let reason = "codex-auth: could not sign in: The user declined. (access_denied, status 400): for a new \
         code, run codex-auth login --device-code\n";
    running.finish().assert(1, "", &format!("{PROMPT}{reason}"));
    assert!(!pending(&sandbox).exists());
}

#[test]
fn a_bare_access_denied_is_explained() {
    let sandbox = Sandbox::new();
    let running = prompted(&sandbox);
    let denied = Trouble::Answer(Answer::json(400, &json!({ "error": "access_denied" })));
    sandbox.issuer.plan(Endpoint::DeviceToken, denied);
    let reason = "codex-auth: could not sign in: access denied: the sign-in was cancelled, or your account is not allowed to use it: for a new code, run codex-auth login --device-code\n";
    running.finish().assert(1, "", &format!("{PROMPT}{reason}"));
}

#[test]
fn an_expired_code_ends_the_wait_with_the_issuers_message() {
    let sandbox = Sandbox::new();
    let running = prompted(&sandbox);
    sandbox.issuer.expire();
    let reason = "codex-auth: could not sign in: The code has expired. (expired_token, status 400): for a new \
         code, run codex-auth login --device-code\n";
    running.finish().assert(1, "", &format!("{PROMPT}{reason}"));
    assert!(!pending(&sandbox).exists());
}

#[test]
fn a_temporary_failure_does_not_end_the_wait() {
    let troubles = [
        Trouble::retry_after(429, "1"),
        Trouble::status(500),
        Trouble::status(502),
        Trouble::body("<html>not now</html>"),
        Trouble::body("{\"authorization_code\":"),
        Trouble::error(400, "invalid_request"),
        Trouble::redirect("/portal"),
        Trouble::DropBefore,
        Trouble::Truncate,
        Trouble::megabytes(2),
    ];
    // Each of them takes a second.
    thread::scope(|scope| {
        for trouble in troubles {
            scope.spawn(|| survive(trouble));
        }
    });
}

/// The first poll of a resumed session comes immediately: it fails, and the second one succeeds.
fn survive(trouble: Trouble) {
    let sandbox = Sandbox::new();
    interrupt(&sandbox);
    sandbox.issuer.approve();
    sandbox.issuer.plan(Endpoint::DeviceToken, trouble);
    let output = sandbox.run(&LOGIN);
    assert_signed_in(&sandbox, &output, &format!("{RESUMED}{PROMPT}"));
    assert_eq!(sandbox.issuer.count(Endpoint::DeviceToken), 2);
}

#[test]
fn a_silent_connection_is_given_up() {
    let sandbox = Sandbox::new();
    interrupt(&sandbox);
    let gate = sandbox.issuer.gate();
    sandbox
        .issuer
        .plan(Endpoint::DeviceToken, Trouble::Hold(gate));
    let running = sandbox.spawn(&LOGIN);
    sandbox.issuer.await_requests(Endpoint::DeviceToken, 1);
    sandbox.issuer.approve();
    let output = running.finish();
    assert_signed_in(&sandbox, &output, &format!("{RESUMED}{PROMPT}"));
}

#[test]
fn an_approval_before_an_interruption_still_counts() {
    let sandbox = Sandbox::new();
    interrupt(&sandbox);
    sandbox.issuer.approve();
    assert_signed_in(&sandbox, &sandbox.run(&LOGIN), RESUMED);
    assert_eq!(sandbox.issuer.count(Endpoint::UserCode), 1);
}

#[test]
fn an_unused_code_is_shown_again() {
    let sandbox = Sandbox::new();
    interrupt(&sandbox);
    change_pending(&sandbox, |session| {
        session["expires_at"] = json!(session["expires_at"].as_u64().unwrap() - 600);
    });
    let mut running = prompted(&sandbox);
    running.await_text("within 5 minutes");
    running.kill();
    assert_eq!(sandbox.issuer.count(Endpoint::UserCode), 1);
}

#[cfg(unix)]
#[test]
fn a_pending_session_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    interrupt(&sandbox);
    let mode = pending(&sandbox).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn an_unusable_session_is_replaced() {
    let unusable: [fn(&Sandbox); 5] = [
        |sandbox| sandbox.issuer.deny(),
        |sandbox| sandbox.issuer.expire(),
        |sandbox| change_pending(sandbox, |session| session["expires_at"] = json!(1)),
        |sandbox| change_pending(sandbox, |session| session["expires_at"] = json!(u64::MAX)),
        |sandbox| fs::write(pending(sandbox), "{").unwrap(),
    ];
    for spoil in unusable {
        let sandbox = Sandbox::new();
        interrupt(&sandbox);
        spoil(&sandbox);
        let mut running = prompted(&sandbox);
        running.await_text("CODE-00002");
        running.kill();
        assert!(!running.stderr().contains("Resuming"));
    }
}

#[test]
fn a_session_for_another_issuer_or_client_is_not_used() {
    let mut sandbox = Sandbox::new();
    interrupt(&sandbox);
    sandbox.issuer.set(|its| its.client_id = "app_other".into());
    sandbox.set("CODEX_AUTH_CLIENT_ID", "app_other");
    let mut running = prompted(&sandbox);
    running.await_text("CODE-00002");
    running.kill();
    change_pending(&sandbox, |session| {
        session["issuer"] = json!("https://elsewhere.example");
    });
    let mut running = prompted(&sandbox);
    running.await_text("CODE-00003");
    running.kill();
    assert_eq!(sandbox.issuer.count(Endpoint::DeviceToken), 0);
}

#[test]
fn a_code_with_little_time_left_is_not_resumed() {
    for (left, code) in [(110, "CODE-00002"), (140, "CODE-00001")] {
        let sandbox = Sandbox::new();
        interrupt(&sandbox);
        change_pending(&sandbox, |session| {
            session["expires_at"] = json!(session["expires_at"].as_u64().unwrap() - 900 + left);
        });
        let mut running = prompted(&sandbox);
        running.await_text(code);
        running.kill();
    }
}

#[test]
fn an_approval_in_the_last_minute_counts() {
    let sandbox = Sandbox::new();
    interrupt(&sandbox);
    change_pending(&sandbox, |session| {
        session["expires_at"] = json!(session["expires_at"].as_u64().unwrap() - 840);
    });
    sandbox.issuer.approve();
    assert_signed_in(&sandbox, &sandbox.run(&LOGIN), RESUMED);
}

#[test]
fn a_second_login_learns_that_one_is_in_progress() {
    let sandbox = Sandbox::new();
    let first = prompted(&sandbox);
    sandbox.run(&LOGIN).assert(75, "", UNDER_WAY);
    sandbox.issuer.approve();
    assert_signed_in(&sandbox, &first.finish(), PROMPT);
    assert_eq!(sandbox.issuer.count(Endpoint::UserCode), 1);
    assert_eq!(sandbox.issuer.count(Endpoint::Exchange), 1);
}

#[test]
fn of_two_logins_that_begin_at_once_one_asks_for_a_code() {
    let sandbox = Sandbox::new();
    let gate = sandbox.issuer.hold(Endpoint::UserCode);
    let first = sandbox.spawn(&LOGIN);
    sandbox.issuer.await_requests(Endpoint::UserCode, 1);
    sandbox.run(&LOGIN).assert(75, "", UNDER_WAY);
    gate.open();
    drop(first);
    assert_eq!(sandbox.issuer.count(Endpoint::UserCode), 1);
}

#[test]
fn of_two_logins_that_resume_one_session_the_second_does_not_spoil_it() {
    let sandbox = Sandbox::new();
    interrupt(&sandbox);
    sandbox.issuer.approve();
    let gate = sandbox.issuer.hold(Endpoint::DeviceToken);
    let first = sandbox.spawn(&LOGIN);
    sandbox.issuer.await_requests(Endpoint::DeviceToken, 1);
    sandbox.run(&LOGIN).assert(75, "", UNDER_WAY);
    gate.open();
    assert_signed_in(&sandbox, &first.finish(), RESUMED);
    assert_eq!(sandbox.issuer.count(Endpoint::DeviceToken), 1);
}

#[test]
fn a_logout_ends_a_login_that_waits() {
    let sandbox = Sandbox::new();
    let running = prompted(&sandbox);
    sandbox.run(&["logout"]).assert(0, "", "...\n");
    sandbox.issuer.approve();
    let reason = "codex-auth: could not sign in: another codex-auth command has used this code, or removed it\n";
    running.finish().assert(1, "", &format!("{PROMPT}{reason}"));
    assert_eq!(sandbox.issuer.count(Endpoint::Exchange), 0);
    assert!(!sandbox.file("default").exists());
}

#[test]
fn a_browser_login_keeps_an_unused_code() {
    let sandbox = Sandbox::new();
    let device = prompted(&sandbox);
    let mut browser = sandbox.spawn(&["login", "--no-browser"]);
    browser.sign_in();
    assert_eq!(browser.finish().code, 0);
    sandbox.issuer.approve();
    assert_signed_in(&sandbox, &device.finish(), PROMPT);
}

#[test]
fn after_a_temporary_failure_of_the_exchange_the_next_login_resumes() {
    let sandbox = Sandbox::new();
    interrupt(&sandbox);
    sandbox.issuer.approve();
    sandbox
        .issuer
        .plan(Endpoint::Exchange, Trouble::status(503));
    let reason = "codex-auth: could not sign in: server error at the issuer, or at a proxy in front of it (status 503): \
                  run codex-auth login --device-code again, as the code may still be valid\n";
    let failed = sandbox.run(&LOGIN);
    failed.assert(75, "", &format!("{RESUMED}{reason}"));
    assert_signed_in(&sandbox, &sandbox.run(&LOGIN), RESUMED);
}

/// A login stored meanwhile stays, and the code is spent.
#[test]
fn after_a_temporary_failure_to_store_the_next_login_starts_again() {
    let sandbox = Sandbox::new();
    interrupt(&sandbox);
    sandbox.issuer.approve();
    let gate = sandbox.issuer.hold(Endpoint::Exchange);
    let running = sandbox.spawn(&LOGIN);
    sandbox.issuer.await_requests(Endpoint::Exchange, 1);
    let planted = sandbox.plant();
    gate.open();
    let reason = "codex-auth: could not sign in: another process has changed or removed the stored login meanwhile: \
                  try again\n";
    running
        .finish()
        .assert(75, "", &format!("{RESUMED}{reason}"));
    assert_eq!(sandbox.stored(), planted);
    assert!(!pending(&sandbox).exists());
    let mut next = prompted(&sandbox);
    next.await_text("CODE-00002");
    next.kill();
}

#[test]
fn after_a_refused_exchange_the_next_login_starts_again() {
    let sandbox = Sandbox::new();
    interrupt(&sandbox);
    sandbox.issuer.approve();
    let rejection = Trouble::error(400, "invalid_grant");
    sandbox.issuer.plan(Endpoint::Exchange, rejection);
    let reason = "codex-auth: could not sign in: planned by the test (invalid_grant, status 400)\n";
    let refused = sandbox.run(&LOGIN);
    refused.assert(1, "", &format!("{RESUMED}{reason}"));
    assert!(!pending(&sandbox).exists());
}

#[test]
fn a_logout_forgets_a_pending_session() {
    let sandbox = Sandbox::new();
    interrupt(&sandbox);
    sandbox.run(&["logout"]).assert(0, "", "...\n");
    assert!(!pending(&sandbox).exists());
}

#[test]
fn a_qr_code_requires_a_device_login() {
    let sandbox = Sandbox::new();
    sandbox.run(&["login", "--qr"]).assert(2, "", "...\n");
    let mut running = sandbox.spawn(&["login", "--device-code", "--qr"]);
    running.await_text("CODE-00001");
    running.kill();
    // In a log it has no colours.
    assert!(running.stderr().contains(&"█".repeat(37)));
    assert!(!running.stderr().contains('\x1b'));
}

#[test]
fn over_ssh_no_browser_is_started_and_the_ways_that_work_are_named() {
    let mut sandbox = Sandbox::new();
    sandbox.set("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22");
    sandbox.set("DISPLAY", ":0");
    #[cfg(unix)]
    sandbox.script("xdg-open", "echo opened > \"$HOME/opened\"");
    let mut running = sandbox.spawn(&["login"]);
    running.sign_in();
    running.finish().assert(
        0,
        "",
        "Open this URL in your browser:
  [ISSUER]/oauth/authorize?[..]
Running over SSH, out of your browser's reach. What works:
- Forward the port before you open the URL:
  ssh -L [..]:localhost:[..] HOST
- Press Ctrl-C, and sign in with a code instead:
  codex-auth login --device-code
Waiting for up to 15 minutes …
Signed in as someone@mail.example (Plus)
",
    );
    assert!(!sandbox.folder().join("opened").exists());
}

/// What the user sees.
#[cfg(unix)]
mod on_a_terminal {
    use super::*;
    use crate::terminal::Terminal;

    /// The successive texts of a line that is overwritten.
    fn countdown(screen: &str) -> Vec<&str> {
        let frames = screen
            .split('\r')
            .filter_map(|frame| frame.strip_suffix("\x1b[K"));
        frames.collect()
    }

    #[test]
    fn the_time_left_counts_down_and_disappears_at_the_end() {
        let sandbox = Sandbox::new();
        let terminal = Terminal::start(&sandbox, &LOGIN, 40);
        terminal.await_text("Waiting: 15:00 left", 1);
        sandbox
            .issuer
            .plan(Endpoint::DeviceToken, Trouble::status(500));
        terminal.await_text("left (server error at ", 1);
        sandbox.issuer.approve();
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0);
        let frames = countdown(&screen);
        assert!(frames.iter().all(|frame| frame.len() < 40), "{frames:?}");
        assert!(
            screen
                .contains("\r\x1b[K\x1b[32m✓\x1b[0m Signed in as someone@mail.example\n  (Plus)\n"),
            "{screen:?}"
        );
    }

    #[test]
    fn the_wait_is_shown_and_wiped() {
        let sandbox = Sandbox::new();
        let code = sandbox.issuer.hold(Endpoint::UserCode);
        let exchange = sandbox.issuer.hold(Endpoint::Exchange);
        let terminal = Terminal::start(&sandbox, &LOGIN, 40);
        terminal.await_text("\rAsking the issuer for a code …\x1b[K", 1);
        code.open();
        terminal.await_text("\r\x1b[KOpen this page on any device", 1);
        sandbox.issuer.approve();
        terminal.await_text("\rCompleting the sign-in …\x1b[K", 1);
        exchange.open();
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen:?}");
        let announced = "Completing the sign-in …\x1b[K\r\x1b[K\rAsking about the workspace …\x1b[K\r\x1b[K\
                         \x1b[32m✓\x1b[0m Signed in as someone@mail.example\n  (Plus)\n";
        assert!(screen.contains(announced), "{screen:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn in_the_background_nothing_is_drawn_over_the_prompt() {
        let sandbox = Sandbox::new();
        let script = r#""$0" login --device-code & wait $!"#;
        let Some(terminal) = Terminal::shell(&sandbox, script, 80) else {
            return;
        };
        terminal.await_text("CODE-00001", 1);
        sandbox.issuer.await_answers(Endpoint::DeviceToken, 1);
        sandbox.issuer.approve();
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen:?}");
        assert!(!screen.contains('\r'), "{screen:?}");
        assert!(screen.contains("Signed in as"), "{screen:?}");
    }

    #[test]
    fn the_page_is_a_link_and_the_code_has_a_colour() {
        let sandbox = Sandbox::new();
        let terminal = Terminal::start(&sandbox, &LOGIN, 80);
        terminal.await_text("left", 1);
        let screen = terminal.screen();
        let page = format!("{}/codex/device", sandbox.issuer.url());
        let link = format!("\n  \x1b]8;;{page}\x1b\\{page}\x1b]8;;\x1b\\\n");
        assert!(screen.contains(&link), "{screen:?}");
        assert!(
            screen.contains("\n  \x1b[1;36mCODE-00001\x1b[0m\n"),
            "{screen:?}"
        );
    }

    #[test]
    fn there_are_no_colours_with_no_color() {
        let mut sandbox = Sandbox::new();
        sandbox.set("NO_COLOR", "1");
        let arguments = ["login", "--device-code", "--qr"];
        let terminal = Terminal::start(&sandbox, &arguments, 80);
        terminal.await_text("left", 1);
        let screen = terminal.screen();
        assert!(screen.contains("\n  CODE-00001\n"), "{screen:?}");
        assert!(screen.contains(&"█".repeat(37)), "{screen:?}");
        assert!(
            !screen.contains('m') || !screen.contains("\x1b[1"),
            "{screen:?}"
        );
        assert!(!screen.contains("\x1b[38"), "{screen:?}");
        sandbox.issuer.approve();
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0);
        assert!(
            screen.contains(&format!("\x1b[K✓ {SIGNED_IN}")),
            "{screen:?}"
        );
    }

    #[test]
    fn a_qr_code_has_both_colours_or_does_not_fit() {
        let sandbox = Sandbox::new();
        let arguments = ["login", "--device-code", "--qr"];
        let terminal = Terminal::start(&sandbox, &arguments, 40);
        terminal.await_text("\x1b[38;5;16;48;5;231m", 19);
        drop(terminal);
        let terminal = Terminal::start(&sandbox, &arguments, 36);
        terminal.await_text("needs 37 columns", 1);
        terminal.await_text("left", 1);
        assert!(!terminal.screen().contains('▀'));
    }
}
