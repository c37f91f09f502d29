//! `exec`: a command with the token in its environment.

use support::sandbox::{LIFE, Sandbox, native_program};

/// The path of the program, a command that exists on every system.
fn ourselves() -> Option<String> {
    let path = native_program()?.into_os_string();
    path.into_string().ok()
}

#[test]
fn the_command_gets_its_arguments_and_gives_its_output_and_its_code() {
    let Some(program) = ourselves() else { return };
    let sandbox = Sandbox::new();
    sandbox.plant();
    sandbox
        .run(&["exec", "--", &program, "account-id"])
        .assert(0, "account-1\n", "");
    let output = sandbox.run(&["exec", "--", &program, "token", "--format", "x y"]);
    output.assert(2, "", "...\ncodex-auth: invalid value 'x y' for [..]\n");
}

#[test]
fn without_a_login_nothing_is_run() {
    let sandbox = Sandbox::new();
    sandbox.run(&["exec", "--", "no-such-command"]).assert(
        4,
        "",
        "codex-auth: not signed in: run codex-auth login\n",
    );
}

#[test]
fn an_expired_token_is_refreshed_first() {
    let Some(program) = ourselves() else { return };
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let output = sandbox.run(&["exec", "--", &program, "token"]);
    output.assert(0, "[TOKEN]\n", "");
    assert_eq!(output.line(), sandbox.issuer.access_tokens()[1]);
}

#[test]
fn an_invalid_variable_name_is_wrong_usage() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    for name in ["", "A=B", "1A", "A B", "Ä", "PATH", "CODEX_AUTH_ACCOUNT_ID"] {
        let output = sandbox.run(&["exec", "--env", name, "--", "no-such-command"]);
        output.assert(2, "", "codex-auth: [..]\n");
    }
    sandbox.run(&["exec"]).assert(
        2,
        "",
        "codex-auth: missing <COMMAND>...: try codex-auth exec --help\n",
    );
}

#[cfg(unix)]
mod on_unix {
    use super::*;
    use support::fake_issuer::Endpoint;

    #[cfg(target_os = "linux")]
    #[test]
    fn an_unfinished_refresh_is_not_a_child_of_the_command() {
        if support::sandbox::callers_stay() {
            return;
        }
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(100, LIFE);
        let gate = sandbox.issuer.hold(Endpoint::Refresh);
        let children = "read -r children < /proc/$$/task/$$/children; echo \"<$children>\"; exit 7";
        let output = sandbox.run(&["exec", "--", "/bin/sh", "-c", children]);
        output.assert(
            7,
            "<>\n",
            "codex-auth: warning: could not refresh the token within 3 seconds: [..]; the current token expires in [..]\n",
        );
        gate.open();
    }

    #[test]
    fn a_longer_life_can_be_asked_for() {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(3600 * 30, LIFE);
        let arguments = [
            "exec",
            "--min-ttl",
            "2d",
            "--",
            "/bin/sh",
            "-c",
            "echo $CODEX_AUTH_TOKEN",
        ];
        let output = sandbox.run(&arguments);
        output.assert(0, "[TOKEN]\n", "");
        assert_eq!(output.line(), sandbox.issuer.access_tokens().pop().unwrap());
    }

    /// A program that got only the key would send the token to api.openai.com.
    #[test]
    fn the_key_and_the_base_url_of_openai_are_set_together() {
        let sandbox = Sandbox::new();
        let login = sandbox.plant();
        let script = "echo $OPENAI_API_KEY; echo $OPENAI_BASE_URL";
        let output = sandbox.run(&["exec", "--openai", "--", "/bin/sh", "-c", script]);
        let token = login["tokens"]["access_token"].as_str().unwrap();
        let issuer = sandbox.issuer.url();
        assert_eq!(
            output.stdout,
            format!("{token}\n{issuer}/backend-api/codex\n")
        );
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    }

    #[test]
    fn the_options_of_a_request_are_those_of_token() {
        let sandbox = Sandbox::new();
        // It is old enough that a rejection is believed.
        sandbox.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
        sandbox.issuer.reject_access_tokens();
        let show = ["--", "/bin/sh", "-c", "echo $CODEX_AUTH_TOKEN"];
        let newest = |options: &[&str]| {
            let arguments = [&["exec"], options, &show].concat();
            let output = sandbox.run(&arguments);
            output.assert(0, "[TOKEN]\n", "");
            assert_eq!(output.line(), sandbox.issuer.access_tokens().pop().unwrap());
        };
        newest(&["--verify", "--timeout", "10m"]);
        assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 1);
        newest(&["--force-refresh"]);
        assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 2);
        let gate = sandbox.issuer.hold(Endpoint::Refresh);
        let arguments = [&["exec", "--force-refresh", "--timeout", "1s"], &show[..]].concat();
        let output = sandbox.run(&arguments);
        output.assert(
            75,
            "",
            "codex-auth: could not refresh the token within 1 second: [..]\n",
        );
        gate.open();
    }

    /// Like execvp(3) in glibc, and every shell.
    #[test]
    fn a_script_without_its_first_line_is_run_by_a_shell() {
        let mut sandbox = Sandbox::new();
        sandbox.plant();
        let script = sandbox.bin().join("script");
        // A file that may not be executed does not count, although the shell could read it.
        std::fs::write(sandbox.folder().join("script"), "echo wrong").unwrap();
        let folders = [sandbox.folder(), &sandbox.bin()];
        sandbox.set("PATH", std::env::join_paths(folders).unwrap());
        let text = "printf 'echo \"$0 $1 ${CODEX_AUTH_TOKEN:+set}\"' > \"$1\"; chmod +x \"$1\"";
        let mut writer = std::process::Command::new("/bin/sh");
        assert!(
            writer
                .args(["-c", text, "sh"])
                .arg(&script)
                .status()
                .unwrap()
                .success()
        );
        for name in [script.to_str().unwrap(), "script"] {
            let output = sandbox.run(&["exec", "--", name, "word"]);
            output.assert(0, "[FOLDER]/bin/script word set\n", "");
        }
    }

    /// As in a container whose first process is a shell that execs codex-auth.
    #[test]
    fn existing_children_do_not_prevent_the_exec() {
        let sandbox = Sandbox::new();
        sandbox.plant();
        if sandbox.install().is_none() {
            return;
        }
        let script = "sleep 5 >/dev/null 2>&1 & exec codex-auth exec -- /bin/sh -c 'echo $$'";
        let running = sandbox.start(sandbox.shell(script));
        let pid = running.pid();
        running.finish().assert(0, &format!("{pid}\n"), "");
    }

    const SHOW: &str = "echo $CODEX_AUTH_TOKEN; echo $CODEX_AUTH_ACCOUNT_ID; echo $ONE $TWO";

    #[test]
    fn the_token_is_in_the_environment_under_every_name() {
        let sandbox = Sandbox::new();
        sandbox.plant();
        let arguments = [
            "exec", "--env", "ONE", "--env", "TWO", "--", "/bin/sh", "-c", SHOW,
        ];
        let output = sandbox.run(&arguments);
        output.assert(0, "[TOKEN]\naccount-1\n[TOKEN] [TOKEN]\n", "");
    }

    #[test]
    fn a_login_without_an_account_leaves_no_other_accounts_id() {
        let mut sandbox = Sandbox::new();
        sandbox.issuer.set(|its| its.account.id = None);
        sandbox.plant();
        sandbox.set("CODEX_AUTH_ACCOUNT_ID", "of-another-login");
        let script = "echo ${CODEX_AUTH_ACCOUNT_ID-none}";
        sandbox
            .run(&["exec", "--", "/bin/sh", "-c", script])
            .assert(0, "none\n", "");
    }

    #[test]
    fn the_command_replaces_the_process() {
        let sandbox = Sandbox::new();
        sandbox.plant();
        let running = sandbox.spawn(&["exec", "--", "/bin/sh", "-c", "echo $$; kill -9 $$"]);
        let pid = running.pid();
        running.finish().assert(-9, &format!("{pid}\n"), "");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn no_argument_list_shows_the_token() {
        let sandbox = Sandbox::new();
        sandbox.plant();
        let script = "tr '\\0' ' ' < /proc/$$/cmdline";
        let output = sandbox.run(&[
            "exec",
            "--",
            "/bin/sh",
            "-c",
            &format!("PATH=/bin:/usr/bin; {script}"),
        ]);
        output.assert(0, &format!("/bin/sh -c PATH=/bin:/usr/bin; {script} "), "");
    }

    #[test]
    fn a_command_that_cannot_run_exits_as_in_a_shell() {
        let sandbox = Sandbox::new();
        sandbox.plant();
        sandbox.run(&["exec", "--", "no-such-command"]).assert(
            127,
            "",
            "codex-auth: could not run no-such-command: command not found\n",
        );
        let file = sandbox.file("default");
        let arguments = ["exec", "--", file.to_str().unwrap()];
        sandbox.run(&arguments).assert(
            126,
            "",
            "codex-auth: could not run [HOME]/default.json: permission denied\n",
        );
    }

    #[test]
    fn a_closed_pipe_ends_the_command_as_usual() {
        let sandbox = Sandbox::new();
        sandbox.plant();
        // The shell reports that a signal killed `yes`, so the command does not inherit our ignored SIGPIPE.
        let script = "(codex-auth exec -- yes; echo $? >&2) | head -n 1";
        if sandbox.install().is_none() {
            return;
        }
        sandbox
            .start(sandbox.shell(script))
            .finish()
            .assert(0, "y\n", "141\n");
    }
}
