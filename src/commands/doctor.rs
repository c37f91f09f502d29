//! `doctor`: prints what is wrong with logins and refreshes, and how to fix it.

use std::env::consts::{ARCH, OS};
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::output::{BAD, GOOD, WARNING, print_coloured};
use crate::doctor::{self, Finding, Level};
use crate::login::opener;
use crate::settings;
use crate::terminal::{fitted, painted};

/// Exit code 1 means that there is a problem. The man page describes what `--json` prints; adding a member does not
/// change its version.
pub fn doctor(profile: Option<String>, json: bool, verbose: bool) -> Result<ExitCode> {
    let findings = doctor::findings(settings::profile(profile)?);
    print_coloured(&if json {
        let report = json!({
            "version": 1,
            "program": env!("CARGO_PKG_VERSION"),
            "system": format!("{OS} {ARCH}"),
            "variables": settings::variables_set(),
            "findings": findings,
        });
        format!("{report:#}\n")
    } else {
        as_text(&findings, verbose)
    })?;
    let has_problem = findings.iter().any(|one| one.level == Level::Problem);
    Ok(ExitCode::from(u8::from(has_problem)))
}

/// The environment, then the findings that need attention, or all of them with `verbose`.
fn as_text(findings: &[Finding], verbose: bool) -> String {
    let (version, place) = (env!("CARGO_PKG_VERSION"), opener::environment().shown());
    let set = match settings::variables_set().join(", ") {
        set if set.is_empty() => set,
        set => format!("; set: {set}"),
    };
    let head = fitted(&format!("codex-auth {version}, {OS} {ARCH}{place}{set}"), 0);
    let shown = |it: &&Finding| verbose || it.level != Level::Ok;
    let shown: String = findings.iter().filter(shown).map(line).collect();
    let count = |level, what| {
        let count = findings.iter().filter(|it| it.level == level).count();
        format!("{count} {what}{}", if count == 1 { "" } else { "s" })
    };
    let problems = count(Level::Problem, "problem");
    let warnings = count(Level::Warning, "warning");
    let passed = count(Level::Ok, "check");
    let hint = if verbose { "" } else { " (see --verbose)" };
    let end = format!("{problems}, {warnings}, {passed} passed{hint}");
    format!("{head}\n{shown}{}\n", fitted(&end, 0))
}

fn line(finding: &Finding) -> String {
    let mark = match finding.level {
        Level::Ok => painted("✓", GOOD),
        Level::Warning => painted("!", WARNING),
        Level::Problem => painted("✗", BAD),
    };
    let found = fitted(&finding.found, 16);
    format!("{mark} {:<12}  {found}\n", finding.check)
}
