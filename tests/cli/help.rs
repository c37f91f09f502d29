//! What new users see: the start page, the help, and hints.

use support::sandbox::Sandbox;

#[cfg(unix)]
use crate::terminal::Terminal;

#[test]
fn without_arguments_it_says_how_to_start() {
    let sandbox = Sandbox::new();
    let stdout = "\
Fresh ChatGPT/Codex access tokens
for scripts and other programs

Start:     codex-auth login
Then:      codex-auth token
Commands:  login, token, account-id,
           status, logout, seal, unseal,
           exec, setup, doctor,
           completions, man
Help:      codex-auth help COMMAND
";
    sandbox.run(&[]).assert(0, stdout, "");
    let help = sandbox.run(&["-h"]).stdout;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.len() > 10, "{help}");
    for name in names.into_iter().filter(|name| *name != "help") {
        assert!(stdout.contains(name), "{name}");
    }
}

/// Like all errors, one line with the cause and the command to try.
#[test]
fn wrong_arguments_get_the_command_to_try() {
    let sandbox = Sandbox::new();
    for (line, tried) in [
        ("whoami", "codex-auth status"),
        ("list", "codex-auth status --all"),
        ("ls", "codex-auth status --all"),
        ("refresh", "codex-auth token --force-refresh"),
        ("--profile work signin", "codex-auth login"),
        ("update", "updating the way you installed it"),
        ("token --json", "codex-auth token --format json"),
        ("status --format json", "codex-auth status --json"),
        ("doctor --fix", "codex-auth doctor, which says what to run"),
        ("doctor -v", "codex-auth doctor --verbose"),
        ("-v", "codex-auth --version"),
        ("-p work token", "codex-auth --profile NAME COMMAND"),
        ("login --device", "codex-auth login --device-code"),
        ("login --web", "codex-auth login, which opens the browser"),
        ("login work", "codex-auth --profile work login"),
        ("exec ls", "codex-auth exec -- ls …"),
        ("exec --env A make -j2", "codex-auth exec -- make …"),
        ("login --from ssh host", "codex-auth login --from -- ssh …"),
        ("tokn", "codex-auth token"),
        ("token --verfy", "codex-auth token --verify"),
        ("token --format jsn", "codex-auth token --format json"),
        ("completions bsh", "codex-auth completions bash"),
        // There is no better hint.
        ("token login", "codex-auth token --help"),
        ("token --frobnicate", "codex-auth token --help"),
        ("install", "codex-auth --help"),
        ("--profile work", "codex-auth --help"),
        ("--profile login token --foo", "codex-auth token --help"),
        ("exec", "codex-auth exec --help"),
        ("help bogus", "codex-auth --help"),
        ("help --help", "codex-auth --help"),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = sandbox.run(&arguments);
        output.assert(2, "", &format!("codex-auth: [..]: try {tried}\n"));
    }
}

#[test]
fn values_that_are_missing_or_wrong_are_named() {
    let sandbox = Sandbox::new();
    let programs = "codex, claude-code, [..]";
    for (arguments, stderr) in [
        (
            &["--"][..],
            "no command was given: try codex-auth --help".to_owned(),
        ),
        (
            &["setup"],
            "missing <PROGRAM>: try codex-auth setup --help".to_owned(),
        ),
        (
            &["completions"],
            "missing <SHELL>: try codex-auth completions --help".to_owned(),
        ),
        (
            &["setup", "cursor"],
            format!("invalid value 'cursor' for '<PROGRAM>' [possible values: {programs}"),
        ),
        (
            &["token", "--min-ttl", "soon"],
            "invalid value 'soon' for '--min-ttl <DURATION>': write it as 90s, 5m, 2h or 1d"
                .to_owned(),
        ),
    ] {
        let stderr = format!("codex-auth: {stderr}\n");
        sandbox.run(arguments).assert(2, "", &stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let sandbox = Sandbox::new();
    if sandbox.install().is_none() {
        return;
    }
    sandbox.plant();
    for arguments in [
        "help",
        "token --help",
        "--version",
        "token",
        "status",
        "man",
    ] {
        for stdout in [">/dev/full", "1</dev/null"] {
            let broken = sandbox.shell(&format!("codex-auth {arguments} {stdout}"));
            let stderr = "codex-auth: could not write to stdout: [..]\n";
            sandbox.start(broken).finish().assert(1, "", stderr);
        }
    }
}

#[test]
fn only_the_long_help_has_the_variables_and_the_exit_codes() {
    let sandbox = Sandbox::new();
    sandbox.run(&["--help"]).assert(
        0,
        "Sign in to [..]\n...\nExit codes:\n   0  Done. [..]\n...\n  75  Temporary [..]\n...\n  \
         CODEX_AUTH_HOME\n          Folder [..]\n...\n  TERM\n          If dumb, [..]\n...\n",
        "",
    );
    let short = sandbox.run(&["-h"]).stdout;
    assert!(short.lines().count() < 30, "{short}");
}

#[test]
fn the_global_option_comes_after_those_of_the_command() {
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
fn output_is_wrapped_between_words() {
    let sandbox = Sandbox::new();
    for columns in [40, 80] {
        for arguments in [
            &[][..],
            &["token", "--help"],
            &["--help"],
            &["help", "login"],
            &["setup"],
            &["token"],
            &["token", "--min-ttl", "soon"],
            &["doctor", "--verbose"],
            &["status"],
        ] {
            let terminal = Terminal::of(sandbox.command(arguments), columns);
            let (_, screen) = terminal.finish();
            // A path may not fit after its indent of 16 columns. The usage line comes from the parser.
            let is_cut = |line: &&str| {
                let fits = |word: &str| word.len() + 16 <= columns.into();
                let can_fit = line.split_whitespace().all(fits);
                let is_parsers = line.starts_with("Usage:");
                !is_parsers && can_fit && line.trim_end().chars().count() > columns.into()
            };
            let cut: Vec<&str> = screen.lines().filter(is_cut).collect();
            assert!(cut.is_empty(), "{arguments:?} in {columns}: {cut:?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn colours_are_only_shown_if_wanted() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    for (arguments, coloured) in [
        (
            &["--profile", "nope", "token"][..],
            "\x1b[1;31mcodex-auth:\x1b[0m not signed in",
        ),
        (&["status"], "\x1b[32mSigned in"),
        (&["status", "--all"], "\x1b[1mPROFILE  "),
        (&["doctor", "--verbose"], "\x1b[32m✓\x1b[0m"),
    ] {
        let show = |variable, value| {
            let mut command = sandbox.command(arguments);
            command.env("TERM", "xterm").env(variable, value);
            Terminal::of(command, 80).finish().1
        };
        let screen = show("TERM", "xterm");
        assert!(screen.contains(coloured), "{screen:?}");
        for (variable, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let screen = show(variable, value);
            assert!(!screen.contains('\x1b'), "{variable}: {screen:?}");
        }
        let output = sandbox.run(arguments);
        assert!(!(output.stdout + &output.stderr).contains('\x1b'));
    }
}

/// Commands in the help can be pasted unchanged, even in an empty home folder.
#[cfg(unix)]
#[test]
fn the_commands_that_install_completions_and_the_man_page_work_in_a_new_home() {
    let sandbox = Sandbox::new();
    if sandbox.install().is_none() {
        return;
    }
    let shown = ["completions", "man"].map(|topic| sandbox.run(&["help", topic]).stdout);
    let commands: Vec<&str> = shown
        .iter()
        .flat_map(|help| help.lines())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| {
            ["mkdir", "folder=", "codex-auth "]
                .iter()
                .any(|begin| line.starts_with(begin))
        })
        .filter(|line| !line.contains('|'))
        .collect();
    assert!(
        commands.iter().all(|command| command.len() <= 78),
        "{commands:?}"
    );
    let mut shell = sandbox.shell(&format!("set -e\n{}", commands.join("\n")));
    shell.env("HOME", sandbox.folder().join("new-home"));
    sandbox.start(shell).finish().assert(0, "", "");
    // Outside system folders, man only searches beside the folders in `PATH`.
    for file in [
        "share/man/man1/codex-auth.1",
        "new-home/.local/share/bash-completion/completions/codex-auth",
        "new-home/.zfunc/_codex-auth",
        "new-home/.config/fish/completions/codex-auth.fish",
    ] {
        let file = sandbox.folder().join(file);
        assert!(
            file.metadata().is_ok_and(|file| file.len() > 0),
            "{}",
            file.display()
        );
    }
}
