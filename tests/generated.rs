//! Checks that the completion scripts and the generated parts of the man page are up to date.
//!
//! `UPDATE=1 cargo test --test generated` rewrites them.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make the files and variables that they need"
)]
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use codex_auth::cli::{REPOSITORY, command};
use codex_auth::commands::completions;
use codex_auth::error::EXIT_CODES;
use codex_auth::settings::VARIABLES;
use codex_auth::text::entries;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a file with its expected content, or writes it if `UPDATE` is set.
fn assert_in_step(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Other tests may read it meanwhile, so it is replaced atomically.
        let new = path.with_extension("new");
        fs::write(&new, expected).unwrap();
        fs::rename(&new, path).unwrap();
    }
    let found = fs::read_to_string(path)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    assert!(
        found == expected,
        "{} is out of date: run UPDATE=1 cargo test --test generated",
        path.display()
    );
}

#[test]
fn completion_scripts_are_in_step() {
    for (shell, name) in [
        (Shell::Bash, "codex-auth.bash"),
        (Shell::Zsh, "_codex-auth"),
        (Shell::Fish, "codex-auth.fish"),
        (Shell::PowerShell, "_codex-auth.ps1"),
        (Shell::Elvish, "codex-auth.elv"),
    ] {
        let script = completions::script(shell).unwrap();
        assert_in_step(&root().join("completions").join(name), &script);
    }
}

/// The commands with their options, as sections of a man page.
fn commands() -> String {
    let mut text = Vec::new();
    let mut whole = command();
    whole.build();
    for command in whole
        .get_subcommands()
        .filter(|command| command.get_name() != "help" && !command.is_hide_set())
    {
        let name = format!("codex\\-auth {}", command.get_name());
        let man = Man::new(without_global_options(command));
        text.extend(format!(".SS \"{name}\"\n").bytes());
        man.render_description_section(&mut text).unwrap();
        man.render_options_section(&mut text).unwrap();
    }
    let text = String::from_utf8(text).unwrap();
    // Drops the headings of a separate page, and the preamble of each rendered part.
    let is_ours = |line: &&str| {
        line.trim_end() != ".br"
            && !line.starts_with(".SH ")
            && !line.starts_with(".ie ")
            && !line.starts_with(".el ")
    };
    let lines: Vec<&str> = text.split_inclusive('\n').filter(is_ours).collect();
    // Lines to paste are kept unfilled.
    let is_pasted = |line: &&str| line.starts_with("  ");
    let blocks = lines.chunk_by(|one, next| is_pasted(one) == is_pasted(next));
    let lines: String = blocks
        .map(|block| match block.concat() {
            pasted if is_pasted(&block[0]) => format!(".nf\n{pasted}.fi\n"),
            filled => filled,
        })
        .collect();
    // Replaces a string that the preamble defines, and a character that the C locale lacks.
    lines.replace("\\*(Aq", "\\(aq").replace('…', "...")
}

/// A table of the help as a man page list.
fn list(table: &'static str) -> String {
    let entry = |(subject, text): (&str, String)| format!(".TP\n.B {subject}\n{}\n", roff(&text));
    entries(table).map(entry).collect()
}

/// Empty until the address of the repository is known.
fn bugs() -> String {
    if REPOSITORY.is_empty() {
        return String::new();
    }
    let repository = roff(REPOSITORY);
    format!(
        ".SH BUGS\nReport bugs at {repository}/issues, and vulnerabilities privately at\n{repository}/security/advisories.\n"
    )
}

/// Escapes text for a line of a man page.
fn roff(text: &str) -> String {
    assert!(!text.starts_with(['.', '\'']), "{text}");
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
}

/// Hides `--profile` and `--help`, which the handwritten part describes once.
fn without_global_options(command: &Command) -> Command {
    let mut command = command.clone().disable_help_flag(true);
    for name in ["profile", "help"] {
        if command
            .get_arguments()
            .any(|argument| argument.get_id() == name)
        {
            command = command.mut_arg(name, |argument| argument.hide(true));
        }
    }
    command
}

#[test]
fn the_man_page_is_in_step() {
    let path: PathBuf = root().join("man/codex-auth.1");
    let mut page = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    for (part, text) in [
        ("commands", commands()),
        ("exit codes", list(EXIT_CODES)),
        ("variables", list(VARIABLES)),
        ("bugs", bugs()),
    ] {
        let begin = format!(".\\\" Begin of the generated {part}\n");
        let end = format!(".\\\" End of the generated {part}\n");
        let (before, rest) = page.split_once(&begin).unwrap();
        let (_, after) = rest.split_once(&end).unwrap();
        page = format!("{before}{begin}{text}{end}{after}");
    }
    assert_in_step(&path, &page);
}

#[test]
fn the_man_page_names_the_version() {
    let page = fs::read_to_string(root().join("man/codex-auth.1")).unwrap();
    assert!(page.contains(concat!("codex\\-auth ", env!("CARGO_PKG_VERSION"))));
}

/// `settings.rs` is the only file that reads variables (a lint ensures it), so its variables are all there are.
#[test]
fn every_variable_that_is_read_is_in_the_table() {
    let settings = fs::read_to_string(root().join("src/settings.rs")).unwrap();
    let is_name =
        |word: &&str| word.len() > 4 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let known: Vec<&str> = entries(VARIABLES)
        .flat_map(|(names, _)| names.split(", "))
        .collect();
    let read: Vec<&str> = settings.split('"').filter(is_name).collect();
    assert!(read.len() > 20, "{read:?}");
    for name in read {
        assert!(known.contains(&name), "{name}");
    }
}
