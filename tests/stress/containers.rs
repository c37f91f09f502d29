//! Real containers, prepared by `ci/containers.sh`, whose script exits right after `token`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, random};

use support::sandbox::{LIFE, Sandbox, skip};
use support::socket::Socket;

use super::places::{count_lost, is_good, plant};
use super::{Figure, REFRESH, figure, lanes, rounds, strict_sandbox};

/// The longest that a container outlives `token`, in milliseconds.
const LONGEST_REST: u32 = 300;
/// The longest that the issuer takes.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

#[test]
#[ignore = "needs the image that ci/containers.sh builds"]
fn containers_that_end_lose_no_login() {
    let Some(run) = std::env::var_os("CODEX_AUTH_TEST_CONTAINER") else {
        skip("set CODEX_AUTH_TEST_CONTAINER to a program that runs containers");
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

#[test]
#[ignore = "needs the image that ci/containers.sh builds"]
fn two_containers_on_a_volume_cost_one_refresh() {
    let Some(run) = std::env::var_os("CODEX_AUTH_TEST_CONTAINER") else {
        return skip("set CODEX_AUTH_TEST_CONTAINER to a program that runs containers");
    };
    let sandbox = strict_sandbox();
    let rounds = rounds(10);
    for _ in 0..rounds {
        sandbox.plant_expiring_in(-60, LIFE);
        let token = || ["/codex-auth", "token"].map(str::to_owned).into();
        let both = [(), ()].map(|()| {
            sandbox.start(container(
                &sandbox,
                &run,
                &[(sandbox.home(), "/store")],
                token(),
            ))
        });
        let newest = both.map(|container| {
            let output = container.finish();
            output.assert(0, "[TOKEN]\n", "");
            output.line().to_owned()
        });
        assert_eq!(newest[0], newest[1]);
    }
    let requests = sandbox.issuer.count(REFRESH);
    let what = format!("{rounds} times two containers at once on a volume, the token expired");
    let figure = figure(what, format!("{requests} requests"), requests == rounds);
    assert!(figure.holds);
}

/// One machine's socket provides tokens to a container that has nothing but the program.
#[test]
#[ignore = "needs the image that ci/containers.sh builds"]
fn a_container_gets_its_tokens_from_a_socket() {
    let Some(run) = std::env::var_os("CODEX_AUTH_TEST_CONTAINER") else {
        return skip("set CODEX_AUTH_TEST_CONTAINER to a program that runs containers");
    };
    let (authority, client) = (strict_sandbox(), strict_sandbox());
    authority.plant();
    // No container engine creates this folder, so it must exist before it is mounted.
    std::fs::create_dir(client.home()).unwrap();
    let Some(_socket) = Socket::start(&authority) else {
        return;
    };
    let run_in = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let volumes = [
            (client.home(), "/store"),
            (authority.folder().to_owned(), "/authority"),
        ];
        client
            .start(container(&client, &run, &volumes, words))
            .finish()
    };
    let login = ["/codex-auth", "login", "--from-socket", "/authority/socket"];
    run_in(&login).assert(
        0,
        "",
        "Signed in as [..]\n  Its tokens come from unix:/authority/socket\n",
    );
    authority.age(-60);
    client.age(-60);
    let printed = run_in(&["/codex-auth", "token"]);
    assert_eq!(
        printed.stdout.trim_end(),
        authority.issuer.access_tokens().pop().unwrap()
    );
    assert_eq!(authority.issuer.count(REFRESH), 1);
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
                .start(container(
                    sandbox,
                    run,
                    &[(sandbox.home(), "/store")],
                    command(random),
                ))
                .finish(),
        )
    })
}

fn container(
    sandbox: &Sandbox,
    run: &OsString,
    volumes: &[(PathBuf, &str)],
    command: Vec<String>,
) -> std::process::Command {
    let volumes = volumes
        .iter()
        .map(|(path, place)| format!("--volume={}:{place}", path.display()).into());
    let mut all: Vec<OsString> = [run.clone()].into_iter().chain(volumes).collect();
    all.push("codex-auth-test".into());
    all.extend(command.into_iter().map(OsString::from));
    let mut command = sandbox.command_of(&all);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}
