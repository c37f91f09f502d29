//! Real containers, which `ci/containers.sh` prepares: their script ends right after `token`.

use std::ffi::OsString;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, random};

use support::sandbox::{Sandbox, skip};

use super::places::{count_lost, is_good, plant};
use super::{Figure, lanes};

/// How long a container outlives `token` at most, in milliseconds.
const LONGEST_REST: u32 = 300;
/// How long the issuer takes at most.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

#[test]
#[ignore = "ci/containers.sh prepares an image for it"]
fn containers_that_end_lose_no_login() {
    let Some(run) = std::env::var_os("CODEX_AUTH_TEST_CONTAINER") else {
        skip("CODEX_AUTH_TEST_CONTAINER names no program that runs a container");
        return;
    };
    let figures = [
        end_containers(&run, "the script exited 0–0.3 s after `token`", |random| {
            let rest = random.random_range(0..=LONGEST_REST).to_string();
            ["/script", &rest, "/codex-auth", "token"]
                .map(str::to_owned)
                .into()
        }),
        end_containers(&run, "`token` was all of it", |_| {
            ["/codex-auth", "token"].map(str::to_owned).into()
        }),
    ];
    assert!(figures.iter().all(|figure| figure.holds));
}

/// Runs containers with this command.
fn end_containers(
    run: &OsString,
    what: &str,
    command: impl Fn(&mut StdRng) -> Vec<String> + Sync,
) -> Figure {
    let what = format!("a container FROM scratch, the store on a volume: {what}, issuer 0–5 s");
    count_lost(random(), 2 * lanes(), 100, &what, |sandbox, random| {
        plant(sandbox, random, LONGEST_DELAY);
        is_good(
            sandbox,
            &sandbox
                .start(container(sandbox, run, command(random)))
                .finish(),
        )
    })
}

fn container(sandbox: &Sandbox, run: &OsString, command: Vec<String>) -> std::process::Command {
    let mut volume = OsString::from("--volume=");
    volume.push(sandbox.home());
    volume.push(":/store");
    let mut all = vec![run.clone(), volume, "codex-auth-test".into()];
    all.extend(command.into_iter().map(OsString::from));
    let mut command = sandbox.command_of(&all);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}
