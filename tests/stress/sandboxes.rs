//! A sandbox whose callers cannot refresh, and a timer outside that keeps their token valid.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use support::fake_issuer::now;
use support::sandbox::{Sandbox, program_line, skip};

use super::{Figure, REFRESH, figure, rounds, strict_sandbox};

/// The lifetime of tokens and the interval of the timer, in seconds: faster than a token of ten days and a timer of an
/// hour.
const LIFE: u64 = 60;
const TIMER: Duration = Duration::from_secs(20);
/// A read-only sandbox without a network.
const SANDBOX: &str =
    "exec bwrap --ro-bind / / --dev /dev --proc /proc --unshare-net --die-with-parent";

#[test]
#[ignore = "takes ten minutes; run for its figures"]
fn a_timer_keeps_a_sandbox_supplied() {
    let sandbox = strict_sandbox();
    if sandbox
        .start(sandbox.shell(&format!("{SANDBOX} true")))
        .finish()
        .code
        != 0
    {
        skip("bubblewrap does not work here");
        return;
    }
    sandbox.plant_expiring_in(LIFE.cast_signed(), LIFE);
    let figure = serve(&sandbox);
    assert!(figure.holds);
}

fn serve(sandbox: &Sandbox) -> Figure {
    let duration = Duration::from_secs(6 * rounds(100) as u64);
    // A failed call prints an empty line.
    let token = program_line() + " token 2>/dev/null || echo";
    let script = format!("{SANDBOX} sh -c 'while :; do {token}; sleep 0.1; done'");
    let mut command = sandbox.shell(&script);
    command.stdout(Stdio::piped());
    let mut callers = command.spawn().unwrap();
    let lines = BufReader::new(callers.stdout.take().unwrap()).lines();
    let (begun, is_over) = (Instant::now(), AtomicBool::new(false));
    let (mut calls, mut bad, mut shortest) = (0_u64, 0, LIFE);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                sandbox
                    .run(&["token", "--verify"])
                    .assert(0, "[TOKEN]\n", "");
                thread::sleep(TIMER);
            }
        });
        for line in lines.map_while(Result::ok) {
            let is_ours = sandbox.issuer.access_tokens().contains(&line);
            let left = if is_ours { seconds_left(&line) } else { 0 };
            calls += 1;
            bad += usize::from(left == 0);
            shortest = shortest.min(left);
            if begun.elapsed() > duration {
                break;
            }
        }
        is_over.store(true, Relaxed);
    });
    callers.kill().unwrap();
    callers.wait().unwrap();
    let (requests, reuses) = (sandbox.issuer.count(REFRESH), sandbox.issuer.reuses());
    let seconds = duration.as_secs();
    figure(
        format!(
            "a caller in a sandbox every 0.1 s for {seconds} s, tokens of {LIFE} s, a timer outside every 20 s"
        ),
        format!(
            "{calls} calls, {bad} without a valid token, at least {shortest} s left; {requests} requests at the issuer, {reuses} \
             reuses"
        ),
        bad == 0 && reuses == 0 && calls > 2 * seconds,
    )
}

/// How long a token is still valid, according to its claims.
fn seconds_left(token: &str) -> u64 {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap());
    let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    claims["exp"].as_u64().unwrap().saturating_sub(now())
}
