//! What a newcomer sees: the start page, the help, and hints.

use support::sandbox::Sandbox;

const COMMANDS: &[&str] = &[
    "login",
    "token",
    "account-id",
    "status",
    "logout",
    "exec",
    "setup",
    "doctor",
    "completions",
    "man",
];

#[test]
fn without_arguments_it_says_how_to_start() {
    let stdout = format!(
        "\
Fresh ChatGPT/Codex access tokens for scripts and other programs

Start:     codex-auth login
Then:      codex-auth token
Commands:  {}
Help:      codex-auth help COMMAND
",
        COMMANDS.join("  ")
    );
    Sandbox::new().run(&[]).assert(0, &stdout, "");
}

#[test]
fn commands_of_other_tools_get_a_hint() {
    let sandbox = Sandbox::new();
    for (arguments, meant) in [
        (&["whoami"][..], "codex-auth status"),
        (&["list"], "codex-auth status --all"),
        (&["ls"], "codex-auth status --all"),
        (&["refresh"], "codex-auth token --force-refresh"),
        (&["--profile", "work", "signin"], "codex-auth login"),
        (&["token", "--json"], "codex-auth token --format json"),
        (&["exec", "ls"], "codex-auth exec -- ls …"),
        (
            &["exec", "--env", "A", "make", "-j2"],
            "codex-auth exec -- make …",
        ),
    ] {
        let stderr =
            format!("error: [..]\n\n  tip: try: {meant}\n\nUsage: [..]\n\n[..]--help[..]\n");
        sandbox.run(arguments).assert(2, "", &stderr);
    }
    let known = sandbox.run(&["tokn"]);
    known.assert(
        2,
        "",
        "error: [..]\n\n  tip: [..]'token'\n\nUsage: [..]\n\n[..]--help[..]\n",
    );
    let unknown = sandbox.run(&["frobnicate"]);
    unknown.assert(2, "", "error: [..]\n\nUsage: [..]\n\n[..]--help[..]\n");
}

#[test]
fn help_has_the_variables_and_the_exit_codes() {
    let sandbox = Sandbox::new();
    sandbox.run(&["help", "environment"]).assert(
        0,
        "The environment variables that codex-auth reads\n\nCODEX_AUTH_HOME  [..]\n...\nTERM [..]\n...\n",
        "",
    );
    sandbox.run(&["help", "exit-codes"]).assert(
        0,
        "What the exit code of codex-auth says\n\n 0  done; [..]\n...\n75  temporary [..]\n...\n",
        "",
    );
    for topic in ["environment", "exit-codes"] {
        let told = sandbox.run(&["help", topic]).stdout;
        sandbox.run(&[topic]).assert(0, &told, "");
    }
}

#[test]
fn the_global_option_stands_behind_those_of_the_command() {
    let help = Sandbox::new().run(&["token", "--help"]).stdout;
    let place = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text}: {help}"));
    assert!(place("--min-ttl") < place("--profile"), "{help}");
    assert!(place("Options:") < place("Global options:"), "{help}");
}

#[test]
fn the_man_page_is_printed_as_it_is() {
    let page = include_str!("../../man/codex-auth.1");
    let output = Sandbox::new().run(&["man"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert_eq!(output.stdout, page);
}

#[cfg(unix)]
#[test]
fn help_is_wrapped_between_words() {
    let sandbox = Sandbox::new();
    for columns in [40, 80] {
        let command = sandbox.command(&["token", "--help"]);
        let terminal = crate::terminal::Terminal::of(command, columns);
        terminal.await_text("Global options", 1);
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0);
        for line in screen.lines() {
            assert!(
                line.trim_end().chars().count() <= columns.into(),
                "{columns}: {line}"
            );
        }
    }
}
