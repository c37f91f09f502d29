//! `doctor`: prints what is wrong with logins and refreshes, and how to fix it.

use std::env::consts::{ARCH, OS};
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::output::{Colour, coloured, print_coloured};
use crate::cli::DoctorArgs;
use crate::doctor::{self, Finding, Level};
use crate::settings;
use crate::terminal::fitted;
use crate::text::capitalized;

/// The form of what `--json` prints. A member that is added does not change it.
const VERSION: u64 = 1;
/// The column of what was found.
const FOUND: usize = 16;

/// Exit code 1 means that there is a problem. What `--json` prints is described in the man page.
pub fn doctor(profile: Option<String>, args: &DoctorArgs) -> Result<ExitCode> {
    let findings = doctor::findings(settings::profile(profile)?);
    print_coloured(&if args.json {
        let report = json!({
            "version": VERSION,
            "program": env!("CARGO_PKG_VERSION"),
            "system": format!("{OS} {ARCH}"),
            "variables": settings::variables_set(),
            "findings": findings,
        });
        format!("{report:#}\n")
    } else {
        as_text(&findings, args.verbose)
    })?;
    let has_problem = findings.iter().any(|one| one.level == Level::Problem);
    Ok(ExitCode::from(u8::from(has_problem)))
}

/// Where we run, then the findings that need attention; with `verbose`, all of them.
fn as_text(findings: &[Finding], verbose: bool) -> String {
    let head = fitted(&program_and_system(), 0);
    let is_shown = |finding: &&Finding| verbose || finding.level != Level::Ok;
    let shown: String = findings.iter().filter(is_shown).map(line).collect();
    let count = |level| findings.iter().filter(|one| one.level == level).count();
    let passed = count(Level::Ok);
    let passed = fitted(&format!("{passed} checks passed (--verbose lists them)"), 2);
    let passed = format!("{} {passed}\n", mark(Level::Ok));
    let passed = if verbose { "" } else { &passed };
    let counted = |level, what| match count(level) {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let problems = capitalized(&counted(Level::Problem, "problem"));
    let warnings = counted(Level::Warning, "warning");
    format!("{head}\n{shown}{passed}{problems}, {warnings}.\n")
}

fn line(finding: &Finding) -> String {
    let found = fitted(&finding.found, FOUND);
    format!("{} {:<12}  {found}\n", mark(finding.level), finding.check)
}

fn mark(level: Level) -> String {
    match level {
        Level::Ok => coloured("✓", Colour::Good),
        Level::Warning => coloured("!", Colour::Warning),
        Level::Problem => coloured("✗", Colour::Bad),
    }
}

/// `codex-auth 0.1.0, linux x86_64 in a container; set: BROWSER`: what a bug report needs first.
fn program_and_system() -> String {
    let (version, environment) = (env!("CARGO_PKG_VERSION"), doctor::environment());
    let variables = match settings::variables_set().join(", ") {
        variables if variables.is_empty() => variables,
        variables => format!("; set: {variables}"),
    };
    format!("codex-auth {version}, {OS} {ARCH}{environment}{variables}")
}
