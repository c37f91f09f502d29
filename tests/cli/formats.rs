//! `token --format`, read by the programs that each format is for.

use std::process::Stdio;

use serde_json::{Value, json};

use support::fake_issuer::Account;
use support::sandbox::{LIFE, Sandbox};

/// A login whose workspace is pinned to a region.
fn signed_in() -> Sandbox {
    signed_in_as("account-1")
}

fn signed_in_as(id: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sign_in(&sandbox, id);
    sandbox
}

fn sign_in(sandbox: &Sandbox, id: &str) {
    let mut account = Account::new(id, "someone@mail.example");
    let region = json!("eu");
    account
        .claims
        .insert("chatgpt_data_residency".to_owned(), region);
    sandbox.issuer.set(|its| its.account = account);
    sandbox.plant();
}

#[test]
fn each_format_is_printed_as_it_is_documented() {
    let sandbox = signed_in();
    let print = |format: &str, expected: &str| {
        let output = sandbox.run(&["token", "--format", format]);
        output.assert(0, expected, "");
    };
    print("plain", "[TOKEN]\n");
    print(
        "headers",
        "Authorization: Bearer [TOKEN]\nChatGPT-Account-Id: account-1\nx-openai-internal-codex-residency: eu\n",
    );
    print(
        "headers-json",
        "{\"Authorization\":\"Bearer [TOKEN]\",\"ChatGPT-Account-Id\":\"account-1\",\"x-openai-internal-codex-residency\":\"eu\"}\n",
    );
    print(
        "curl",
        "header = \"Authorization: Bearer [TOKEN]\"\nheader = \"ChatGPT-Account-Id: account-1\"\nheader = \"x-openai-internal-codex-residency: eu\"\n",
    );
    print(
        "env",
        "CODEX_AUTH_TOKEN='[TOKEN]'\nCODEX_AUTH_ACCOUNT_ID='account-1'\nCODEX_AUTH_BASE_URL='[ISSUER]/backend-api'\n",
    );
}

#[test]
fn json_has_the_expiry_in_both_forms() {
    let sandbox = signed_in();
    let output = sandbox.run(&["--profile", "default", "token", "--format", "json"]);
    let mut printed: Value = serde_json::from_str(output.line()).unwrap();
    let stored = sandbox.stored();
    let end = stored["expires_at"].as_u64().unwrap();
    let date = humantime::parse_rfc3339("1970-01-01T00:00:00Z").unwrap()
        + std::time::Duration::from_secs(end);
    let expected = json!({
        "version": 1,
        "token": stored["tokens"]["access_token"],
        "access_token": stored["tokens"]["access_token"],
        "token_type": "Bearer",
        "expires_at": humantime::format_rfc3339_seconds(date).to_string(),
        "expires_at_epoch": end,
        "account_id": "account-1",
        "email": "someone@mail.example",
        "plan": "plus",
        "workspace": null,
        "residency": "eu",
        "fedramp": false,
        "profile": "default",
        "base_url": format!("{}/backend-api", sandbox.issuer.url()),
        "headers": {
            "Authorization": format!("Bearer {}", stored["tokens"]["access_token"].as_str().unwrap()),
            "ChatGPT-Account-Id": "account-1",
            "x-openai-internal-codex-residency": "eu",
        },
    });
    // No matter how long the call took.
    let left = printed.as_object_mut().unwrap().remove("expires_in");
    assert!((1..=LIFE).contains(&left.unwrap().as_u64().unwrap()));
    assert_eq!(printed, expected);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
}

#[test]
fn a_reader_that_exits_early_is_not_a_failure() {
    let sandbox = signed_in();
    for format in ["plain", "json", "headers", "headers-json", "curl", "env"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sandbox.command(&["token", "--format", format]);
        let child = command.stdout(writer).stderr(Stdio::piped());
        let output = child.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{format}");
        assert!(output.stderr.is_empty(), "{format}");
    }
}

#[cfg(unix)]
mod on_unix {
    use super::*;
    use support::fake_issuer::Endpoint;

    /// Texts of characters with a meaning in a shell, for curl, or in JSON.
    fn nasty(alphabet: &[char], count: usize) -> Vec<String> {
        let pick = || alphabet[rand::random_range(0..alphabet.len())];
        let text = || (0..rand::random_range(1..12)).map(|_| pick()).collect();
        (0..count).map(|_| text()).collect()
    }

    #[test]
    fn a_shell_reads_back_exactly_what_env_says() {
        let alphabet: Vec<char> = "'\"\\$`!#*?~&|;<>(){}[]=%^,:@a".chars().collect();
        let sandbox = Sandbox::new();
        if sandbox.install().is_none() {
            return;
        }
        for id in nasty(&alphabet, 40) {
            sign_in(&sandbox, &id);
            let script =
                "eval \"$(codex-auth token --format env)\"; printf %s \"$CODEX_AUTH_ACCOUNT_ID\"";
            let output = sandbox.start(sandbox.shell(script)).finish();
            let got = (output.code, output.stdout.as_str(), output.stderr.as_str());
            assert_eq!(got, (0, id.as_str(), ""), "{id:?}");
        }
    }

    /// Runs a shell line that sends a request to the backend, and returns the headers received.
    #[track_caller]
    fn asked(sandbox: &Sandbox, line: &str) -> Vec<Option<String>> {
        let before = sandbox.issuer.count(Endpoint::Usage);
        let output = sandbox.start(sandbox.shell(line)).finish();
        output.assert(0, "{\"plan_type\":\"plus\"}", "");
        let request = &sandbox.issuer.requests_to(Endpoint::Usage)[before];
        [
            "authorization",
            "chatgpt-account-id",
            "x-openai-internal-codex-residency",
        ]
        .map(|name| request.header(name).map(str::to_owned))
        .to_vec()
    }

    #[test]
    fn curl_sends_exactly_what_the_formats_say() {
        let alphabet: Vec<char> = ('!'..='~').chain("\\\\\\\\\"\"\"\"''''".chars()).collect();
        let sandbox = Sandbox::new();
        if !sandbox.has_curl() || sandbox.install().is_none() {
            return;
        }
        for id in nasty(&alphabet, 12) {
            sign_in(&sandbox, &id);
            let token = sandbox.issuer.access_tokens().pop().unwrap();
            let expected = [format!("Bearer {token}"), id.clone(), "eu".to_owned()].map(Some);
            let url = "-sS $CODEX_AUTH_CHATGPT_URL/wham/usage";
            let config = format!("codex-auth token --format curl | curl -K - {url}");
            assert_eq!(asked(&sandbox, &config), expected, "{id:?}");
            let headers = format!("codex-auth token --format headers | curl -H @- {url}");
            assert_eq!(asked(&sandbox, &headers), expected, "{id:?}");
        }
    }

    #[test]
    fn an_account_id_of_another_account_does_not_stay_in_the_shell() {
        let sandbox = Sandbox::new();
        if sandbox.install().is_none() {
            return;
        }
        sandbox.issuer.set(|its| its.account.id = None);
        sandbox.plant();
        let script = "\
            CODEX_AUTH_ACCOUNT_ID=other\n\
            eval \"$(codex-auth token --format env)\"\n\
            echo \"${CODEX_AUTH_ACCOUNT_ID-unset}\"";
        let output = sandbox.start(sandbox.shell(script)).finish();
        output.assert(0, "unset\n", "");
    }

    #[test]
    fn a_script_can_rely_on_the_exit_code() {
        let script = "\
            if ! token=$(codex-auth token); then\n\
              echo 'no token' >&2; exit 1\n\
            fi\n\
            echo \"got ${#token}\"";
        let sandbox = Sandbox::new();
        if sandbox.install().is_none() {
            return;
        }
        sandbox.start(sandbox.shell(script)).finish().assert(
            1,
            "",
            "codex-auth: not signed in: run codex-auth login\nno token\n",
        );
        sandbox.plant();
        let length = sandbox.issuer.access_tokens()[0].len();
        let output = sandbox.start(sandbox.shell(script)).finish();
        output.assert(0, &format!("got {length}\n"), "");
    }
}
