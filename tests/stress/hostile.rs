//! What others can do to a login during a refresh: remove its folder and sign in again; or, as machines that share it,
//! make false claims and floods of requests.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::rngs::StdRng;
use serde_json::json;
use sha2::{Digest, Sha256};

use support::process::{Output, until};
use support::sandbox::{LIFE, Sandbox, program_line};

use super::{
    DELAY, FORCED, Figure, REFRESH, await_worker, figure, in_lanes, lanes, rounds, strict_sandbox,
    up_to,
};

const HONEST: usize = 10;

#[test]
#[ignore = "takes minutes; run for its figures"]
fn nothing_that_others_do_harms_a_login() {
    let seed = rand::random();
    println!("CODEX_AUTH_TEST_SEED={seed}");
    let figures = [sign_in_anew(seed, 200), share_with_hostile_machines(100)];
    assert!(figures.iter().all(|figure| figure.holds));
}

/// Removes the folder at a random moment of a refresh, and signs in to another account.
fn sign_in_anew(seed: u64, usual: usize) -> Figure {
    let wanted = rounds(usual);
    let [made, overwritten] = [const { AtomicUsize::new(0) }; 2];
    in_lanes(lanes(), seed, |random| {
        while made.fetch_add(1, Relaxed) < wanted {
            overwritten.fetch_add(usize::from(!newer_stands(random)), Relaxed);
        }
    });
    let overwritten = overwritten.into_inner();
    figure(
        format!("{wanted} new logins at a random moment of a refresh, the folder removed before"),
        format!("{overwritten} of them overwritten or revoked"),
        overwritten == 0,
    )
}

fn newer_stands(random: &mut StdRng) -> bool {
    let sandbox = strict_sandbox();
    sandbox.plant();
    let caller = sandbox.spawn(&FORCED);
    thread::sleep(up_to(random, DELAY * 3));
    until("the folder to be removed", || {
        // The worker may create a file in it meanwhile.
        let _ = fs::remove_dir_all(sandbox.home());
        (!sandbox.home().exists()).then_some(())
    });
    sandbox
        .issuer
        .set(|its| its.account.id = Some("account-2".to_owned()));
    let mut login = sandbox.spawn(&["login", "--no-browser"]);
    login.sign_in();
    let signed_in = login.finish().code == 0;
    caller.finish();
    drop(await_worker(&sandbox));
    // A late caller found the new login, and refreshed it.
    let stored = sandbox.stored();
    let stands = signed_in
        && stored["tokens"]["account_id"] == "account-2"
        && sandbox.can_refresh()
        && sandbox.issuer.reuses() == 0;
    if !stands {
        println!(
            "signed in: {signed_in}, stored: {:?}",
            stored["tokens"]["account_id"]
        );
    }
    stands
}

/// A machine that gets its tokens from the authority with a command.
fn honest(authority: &Sandbox) -> Sandbox {
    let client = Sandbox::with(Arc::clone(&authority.issuer));
    let (home, program) = (authority.home(), program_line());
    let home = home.display();
    client.script(
        "remote",
        &format!("CODEX_AUTH_HOME='{home}' exec {program} token --format json"),
    );
    assert_eq!(client.run(&["login", "--from", "--", "remote"]).code, 0);
    client
}

fn ask(authority: &Sandbox, request: &str) -> Output {
    let mut command = authority.command(&["token", "--format", "json"]);
    command.env("CODEX_AUTH_REQUEST", request);
    authority.start(command).finish()
}

/// The backend accepts every token of the issuer. One machine claims of each token that it was rejected, another one
/// forces refreshes.
fn share_with_hostile_machines(usual: usize) -> Figure {
    let authority = strict_sandbox();
    authority.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
    let clients: Vec<Sandbox> = (0..HONEST).map(|_| honest(&authority)).collect();
    let (is_over, calls) = (AtomicBool::new(false), rounds(usual));
    let [lies, storms, bad] = [const { AtomicUsize::new(0) }; 3];
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                let stored = authority.stored();
                let token = stored["tokens"]["access_token"].as_str().unwrap();
                let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
                ask(&authority, &format!("rejected={hash}"));
                lies.fetch_add(1, Relaxed);
            }
        });
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                ask(&authority, "force-refresh");
                storms.fetch_add(1, Relaxed);
            }
        });
        let honest: Vec<_> = clients
            .iter()
            .map(|client| {
                let bad = &bad;
                scope.spawn(move || {
                    for _ in 0..calls {
                        let mut stored = client.stored();
                        stored["expires_at"] = json!(1);
                        stored["tokens"]["access_token"] = json!("expired");
                        client.store("default", &stored.to_string());
                        let output = client.run(&["token", "--timeout", "10m"]);
                        bad.fetch_add(usize::from(output.code != 0), Relaxed);
                    }
                })
            })
            .collect();
        for _ in 0..calls {
            let output = authority.run(&["token", "--verify", "--timeout", "10m"]);
            bad.fetch_add(usize::from(output.code != 0), Relaxed);
        }
        for one in honest {
            one.join().unwrap();
        }
        is_over.store(true, Relaxed);
    });
    let [lies, storms, bad] = [lies, storms, bad].map(AtomicUsize::into_inner);
    let refreshes = authority.issuer.count(REFRESH);
    figure(
        format!(
            "{} calls of an authority and of {HONEST} machines that share its login, beside {lies} lies and {storms} forced refreshes",
            calls * (HONEST + 1)
        ),
        format!("{bad} failed; {refreshes} refreshes"),
        bad == 0 && refreshes <= 4 && authority.can_refresh(),
    )
}
