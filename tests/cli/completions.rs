//! Completion in the real shells, with the generated scripts. Shells that are not installed are skipped.

use std::fs;

use crate::terminal::Terminal;
use support::sandbox::{LIFE, Sandbox, skip};

/// The start of a line, and its last word once completed. Empty: there must be no completion.
const LINES: &[(&str, &str)] = &[
    ("stat", "status"),
    ("log", "login logout"),
    ("token --form", "--format"),
    ("token --format headers-", "headers-json"),
    ("token --format json --forc", "--force-refresh"),
    ("setup claude", "claude-code"),
    ("completions po", "powershell"),
    ("--profile wo", "work"),
    ("--profile co", "codex"),
    ("--vers", "--version"),
    ("token --he", "--help"),
    ("setup --base", "--base-url"),
    ("status --profile de", "default"),
    ("--profile some", ""),
    ("token --min-ttl some", ""),
    ("token some", ""),
    ("exec some", ""),
    ("exec -- ./some", "./some-file"),
    ("exec -- codex-au", "codex-auth"),
    ("exec -- cat some", "some-file"),
    ("login --from -- codex-au", "codex-auth"),
    ("login --from -- cat some", "some-file"),
];

/// Has two profiles, and a file whose name starts like nothing else. `None` if the program would need an emulator.
fn sandbox() -> Option<Sandbox> {
    let sandbox = Sandbox::new();
    sandbox.install()?;
    sandbox.plant_as("default", LIFE.cast_signed(), LIFE);
    sandbox.plant_as("work", LIFE.cast_signed(), LIFE);
    fs::write(sandbox.folder().join("some-file"), "").unwrap();
    Some(sandbox)
}

fn has(sandbox: &Sandbox, shell: &str) -> bool {
    let found = sandbox
        .start(sandbox.shell(&format!("command -v {shell}")))
        .finish()
        .code
        == 0;
    if !found {
        skip(&format!("no {shell} here"));
    }
    found
}

/// Runs a script in a shell with the line in `$LINE`, and returns its output on one line.
fn candidates(sandbox: &Sandbox, shell: &str, script: &str, line: &str) -> String {
    let mut command = sandbox.shell(&format!("exec {shell} \"$SCRIPT\""));
    let file = sandbox.folder().join("script");
    fs::write(&file, script).unwrap();
    command
        .env("SCRIPT", file)
        .env("LINE", line)
        .env("TERM", "xterm");
    let output = sandbox.start(command).finish();
    assert_eq!(output.stderr, "", "{line}");
    let candidates: Vec<&str> = output.stdout.split_whitespace().collect();
    candidates.join(" ")
}

#[track_caller]
fn assert_completes(shell: &str, script: &str) {
    let Some(sandbox) = sandbox() else { return };
    if !has(&sandbox, shell) {
        return;
    }
    for (line, expected) in LINES {
        let found = candidates(&sandbox, shell, script, &format!("codex-auth {line}"));
        assert_eq!(found, *expected, "{line}");
    }
}

/// The candidates for the last of these words, requested like the zsh script does.
#[track_caller]
fn offered(words: &[&str]) -> String {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&[&["--", "codex-auth"], words].concat());
    command
        .env("CODEX_AUTH_COMPLETE", "zsh")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .env("_CLAP_IFS", "\n");
    let output = sandbox.start(command).finish();
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let names = output
        .stdout
        .lines()
        .map(|line| line.split(':').next().unwrap());
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn where_a_value_is_expected_no_options_are_offered() {
    let shells = "bash elvish fish powershell zsh";
    assert_eq!(offered(&["completions", ""]), shells);
    let programs = offered(&["setup", ""]);
    assert!(programs.starts_with("codex claude-code "), "{programs}");
    assert!(!programs.contains("--"), "{programs}");
    assert_eq!(offered(&["setup", "-"]), "--base-url --help --profile");
    assert_eq!(offered(&["--profile", ""]), "codex");
    assert_eq!(offered(&["-"]), "--help --version --profile");
}

#[test]
fn bash_completes() {
    assert_completes(
        "bash",
        r#"
source <(codex-auth completions bash)
read -ra COMP_WORDS <<< "$LINE"
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
[[ $(complete -p codex-auth) =~ -F\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" codex-auth "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
echo "${COMPREPLY[@]}"
"#,
    );
}

#[test]
fn fish_completes() {
    assert_completes(
        "fish",
        r#"
codex-auth completions fish | source
complete -C "$LINE" | string replace -r '\t.*' ''
"#,
    );
}

/// Types lines into zsh on a terminal, and reads back each line after TAB.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell env PS1= zsh -f -i
zpty -w shell 'unsetopt zle_bracketed_paste; unset zle_bracketed_paste; setopt no_beep no_auto_list no_auto_menu'
zpty -w shell 'show() { print -r -- "<<${BUFFER##* }|${BUFFER}>>" }; zle -N show; bindkey "^X" show; SETUP; print rea""dy'
zpty -r -m shell out '*ready*'
while IFS= read -r line; do
    zpty -w -n shell "$line"$'\t\x18'
    zpty -r -m shell out '*<<*>>*'
    buffer=${${out##*<<*\|}%%>>*}
    [[ $buffer == "$line" ]] && print || print -r -- ${${(z)buffer}[-1]}
    zpty -w -n shell $'\x15'
done < lines
zpty -d shell
"#;

/// Tests in zsh all lines with a single candidate. With several, it only completes their common prefix.
fn assert_zsh_completes(set_up: &str) {
    let Some(sandbox) = sandbox() else { return };
    if !has(&sandbox, "zsh") {
        return;
    }
    let functions = sandbox.folder().join("functions");
    fs::create_dir(&functions).unwrap();
    let script = sandbox.run(&["completions", "zsh"]).stdout;
    fs::write(functions.join("_codex-auth"), script).unwrap();
    let with_one = LINES.iter().filter(|(_, expected)| !expected.contains(' '));
    let (lines, expected): (Vec<&str>, Vec<&str>) = with_one.copied().unzip();
    let lines: String = lines
        .iter()
        .flat_map(|line| ["codex-auth ", line, "\n"])
        .collect();
    fs::write(sandbox.folder().join("lines"), lines).unwrap();
    let script = ZSH.replace("SETUP", set_up);
    fs::write(sandbox.folder().join("script"), script).unwrap();
    let mut command = sandbox.shell("exec zsh -f script");
    command.env("TERM", "xterm");
    let output = sandbox.start(command).finish();
    output.assert(0, &(expected.join("\n") + "\n"), "");
}

#[test]
fn zsh_completes_with_a_script_that_is_read() {
    assert_zsh_completes("autoload -Uz compinit; compinit -u -D; source functions/_codex-auth");
}

#[test]
fn zsh_completes_with_a_script_in_its_path_of_functions() {
    assert_zsh_completes("fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D");
}

#[test]
fn a_leaked_variable_does_not_change_a_normal_call() {
    let mut sandbox = Sandbox::new();
    sandbox.plant();
    sandbox.set("CODEX_AUTH_COMPLETE", "bash");
    sandbox.run(&["token"]).assert(0, "[TOKEN]\n", "");
    sandbox.run(&["account-id"]).assert(0, "account-1\n", "");
}

#[test]
fn without_a_completion_nothing_is_printed() {
    let mut sandbox = Sandbox::new();
    sandbox.set("CODEX_AUTH_COMPLETE", "no-such-shell");
    sandbox.run(&["--", "codex-auth", ""]).assert(1, "", "");
}

/// Elvish only completes on a terminal. The result for each line is written to a file.
#[test]
fn elvish_completes() {
    let Some(sandbox) = sandbox() else { return };
    if !has(&sandbox, "elvish") {
        return;
    }
    let (lines, expected): (Vec<&str>, Vec<&str>) = LINES.iter().copied().unzip();
    fs::write(sandbox.folder().join("lines"), lines.join("\n")).unwrap();
    let script = r"
use str
eval (codex-auth completions elvish | slurp)
var complete = $edit:completion:arg-completer[codex-auth]
from-lines < lines | each {|line|
  echo (str:join ' ' [($complete codex-auth (str:split ' ' $line))])
} > found
exit
";
    fs::write(sandbox.folder().join("rc.elv"), script).unwrap();
    let mut command = sandbox.shell("exec elvish -rc rc.elv");
    command.env("TERM", "xterm");
    let (code, screen) = Terminal::of(command, 80).finish();
    assert_eq!(code, 0, "{screen}");
    let found = fs::read_to_string(sandbox.folder().join("found")).unwrap();
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}
