//! `doctor`: prints what keeps a login or a refresh from working.

use std::env::consts::{ARCH, OS};
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::output::{Colour, coloured, print};
use crate::cli::DoctorArgs;
use crate::doctor::{self, Finding, Level};
use crate::login::opener::{Environment, environment};
use crate::settings;
use crate::terminal::fitted;

/// The form of what `--json` prints. A member that is added does not change it.
const VERSION: u64 = 1;
/// The column of what was found, and of the advice below it.
const ADVICE: usize = 16;

/// Exit code 1 means that something does. What `--json` prints is described in the man page.
pub fn doctor(profile: Option<String>, args: &DoctorArgs) -> Result<ExitCode> {
    let findings = doctor::findings(settings::profile(profile)?);
    print(&if args.json {
        let report = json!({
            "version": VERSION,
            "program": env!("CARGO_PKG_VERSION"),
            "system": system(),
            "variables": settings::variables_set(),
            "findings": findings,
        });
        format!("{report:#}\n")
    } else {
        as_text(&findings, args.verbose)
    })?;
    let has_problem = count(&findings, Level::Problem) > 0;
    Ok(ExitCode::from(u8::from(has_problem)))
}

fn count(findings: &[Finding], level: Level) -> usize {
    let of_level = findings.iter().filter(|finding| finding.level == level);
    of_level.count()
}

/// Where we run, then the findings that need something done; with `verbose`, all of them.
fn as_text(findings: &[Finding], verbose: bool) -> String {
    let is_shown = |finding: &&Finding| verbose || finding.level != Level::Ok;
    let shown: String = findings.iter().filter(is_shown).map(line).collect();
    let passed = count(findings, Level::Ok);
    let passed = fitted(&format!("{passed} checks passed (--verbose lists them)"), 2);
    let passed = if verbose {
        String::new()
    } else {
        format!("{} {passed}\n", mark(Level::Ok))
    };
    let head = fitted(&program_and_system(), 0);
    let (problems, warnings) = (
        count(findings, Level::Problem),
        count(findings, Level::Warning),
    );
    format!("{head}\n{shown}{passed}{}\n", summary(problems, warnings))
}

/// A finding, and what to do about it below.
fn line(finding: &Finding) -> String {
    let found = fitted(&finding.found, ADVICE);
    let line = format!("{} {:<12}  {found}\n", mark(finding.level), finding.check);
    match &finding.advice {
        Some(advice) => format!("{line}{:ADVICE$}{}\n", "", fitted(advice, ADVICE)),
        None => line,
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
        0 => None,
        1 => Some(format!("1 {what}")),
        count => Some(format!("{count} {what}s")),
    };
    let problems = counted(problems, "problem").unwrap_or("No problems".to_owned());
    let warnings = counted(warnings, "warning").map(|warnings| format!(", {warnings}"));
    format!("{problems}{}.", warnings.unwrap_or_default())
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
    let variables = match settings::variables_set().join(", ") {
        variables if variables.is_empty() => variables,
        variables => format!("; set: {variables}"),
    };
    let (version, system) = (env!("CARGO_PKG_VERSION"), system());
    format!("codex-auth {version}, {system}{environment}{variables}")
}

fn system() -> String {
    let name = match OS {
        "linux" => "Linux",
        "macos" => "macOS",
        "windows" => "Windows",
        other => other,
    };
    format!("{name} {ARCH}")
}
