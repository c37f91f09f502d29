//! `doctor`: prints what stands in the way of a login or of a refresh.

use std::env::consts;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::output::{Colour, coloured, print};
use crate::cli::DoctorArgs;
use crate::doctor;
use crate::doctor::{Finding, Level};
use crate::login::opener::{Environment, environment};
use crate::settings;
use crate::terminal::fitted;

/// The form of what `--json` prints. A member that is added does not change it.
const VERSION: u64 = 1;
/// The column of what was found, and of the advice below it.
const ADVICE: usize = 16;

/// Exit code 1 means that something stands in the way.
pub fn doctor(profile: Option<String>, args: &DoctorArgs) -> Result<ExitCode> {
    let findings = doctor::findings(&settings::profile(profile)?);
    print(&if args.json {
        format!("{:#}\n", as_json(&findings))
    } else {
        as_text(&findings, args.verbose)
    })?;
    let blocked = count(&findings, Level::Problem) > 0;
    Ok(ExitCode::from(u8::from(blocked)))
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings
        .iter()
        .filter(|finding| finding.level == level)
        .count()
}

/// Where we run, then the findings that need something done; with `verbose`, all of them.
fn as_text(findings: &[Finding], verbose: bool) -> String {
    let passed = if verbose {
        String::new()
    } else {
        let passed = count(findings, Level::Ok);
        let passed = format!("{passed} checks passed (--verbose lists them)");
        format!("{} {}\n", mark(Level::Ok), fitted(&passed, 2))
    };
    let shown = findings
        .iter()
        .filter(|finding| verbose || finding.level != Level::Ok);
    let shown: String = shown.map(line).collect();
    let (problems, warnings) = (
        count(findings, Level::Problem),
        count(findings, Level::Warning),
    );
    format!(
        "{}\n{passed}{shown}{}\n",
        fitted(&program_and_system(), 0),
        summary(problems, warnings)
    )
}

/// A finding, and what to do about it below.
fn line(finding: &Finding) -> String {
    let (mark, check) = (mark(finding.level), finding.check);
    let found = fitted(&finding.found, ADVICE);
    match &finding.advice {
        Some(advice) => format!(
            "{mark} {check:<12}  {found}\n{:ADVICE$}{}\n",
            "",
            fitted(advice, ADVICE)
        ),
        None => format!("{mark} {check:<12}  {found}\n"),
    }
}

fn mark(level: Level) -> String {
    match level {
        Level::Ok => coloured("✓", Colour::Good),
        Level::Warning => coloured("!", Colour::Warning),
        Level::Problem => coloured("✗", Colour::Bad),
    }
}

fn summary(problems: usize, warnings: usize) -> String {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    match (problems, warnings) {
        (0, 0) => "No problems.".to_owned(),
        (0, warnings) => format!("No problems, {}.", counted(warnings, "warning")),
        (problems, 0) => format!("{}.", counted(problems, "problem")),
        (problems, warnings) => {
            let (problems, warnings) = (counted(problems, "problem"), counted(warnings, "warning"));
            format!("{problems}, {warnings}.")
        }
    }
}

/// `codex-auth 0.1.0, Linux x86_64, in a container; set: BROWSER`: what a bug report needs first.
fn program_and_system() -> String {
    let environment = match environment() {
        Environment::Desktop => "",
        Environment::Wsl => ", WSL",
        Environment::Ssh => ", over SSH",
        Environment::Container => ", in a container",
        Environment::NoDisplay => ", no display",
    };
    let variables = match settings::variables_set() {
        variables if variables.is_empty() => String::new(),
        variables => format!("; set: {}", variables.join(", ")),
    };
    format!(
        "codex-auth {}, {}{environment}{variables}",
        env!("CARGO_PKG_VERSION"),
        system()
    )
}

fn system() -> String {
    let name = match consts::OS {
        "linux" => "Linux",
        "macos" => "macOS",
        "windows" => "Windows",
        other => other,
    };
    format!("{name} {}", consts::ARCH)
}

/// One JSON object: `version` (1), `program` (the version of this program), `system`, `variables` (the names of those
/// that are set) and `findings`, a list of objects:
///
/// - `check`: `store`, `file`, `lock`, `replace`, `keyring`, `login`, `sharing`, `port`, `browser`, `certificates`,
///   `issuer`, `proxy`, `dns`, `tcp`, `http` or `clock`; some of them come several times, some only if those before passed.
/// - `level`: `ok`, `warning` or `problem`.
/// - `found` and `advice` (null if there is none), in words.
fn as_json(findings: &[Finding]) -> Value {
    let object = |finding: &Finding| {
        json!({
            "check": finding.check,
            "level": finding.level.name(),
            "found": finding.found,
            "advice": finding.advice,
        })
    };
    let findings: Vec<Value> = findings.iter().map(object).collect();
    json!({
        "version": VERSION,
        "program": env!("CARGO_PKG_VERSION"),
        "system": system(),
        "variables": settings::variables_set(),
        "findings": findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts() {
        assert_eq!(summary(0, 0), "No problems.");
        assert_eq!(summary(0, 2), "No problems, 2 warnings.");
        assert_eq!(summary(1, 0), "1 problem.");
        assert_eq!(summary(2, 1), "2 problems, 1 warning.");
    }
}
