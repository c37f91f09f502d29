//! `doctor`: prints what stands in the way of a login or of a renewal.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::output::print;
use crate::cli::DoctorArgs;
use crate::doctor;
use crate::doctor::{Finding, Level};

/// The form of what `--json` prints. A member that is added does not change it.
const VERSION: u64 = 1;

/// Exit code 1 means that something stands in the way.
pub fn doctor(profile: Option<String>, args: &DoctorArgs) -> Result<ExitCode> {
    let findings = doctor::findings(profile);
    print(&if args.json {
        format!("{:#}\n", in_json(&findings))
    } else {
        findings.iter().map(in_words).collect()
    })?;
    let blocked = findings
        .iter()
        .any(|finding| finding.level == Level::Problem);
    Ok(ExitCode::from(u8::from(blocked)))
}

fn in_words(finding: &Finding) -> String {
    let (level, check, words) = (finding.level.name(), finding.check, &finding.words);
    match &finding.advice {
        Some(advice) => format!("{level:<8} {check}: {words}: {advice}\n"),
        None => format!("{level:<8} {check}: {words}\n"),
    }
}

/// One JSON object: `version` (1), `program` (the version of this program) and `findings`, a list of objects:
///
/// - `check`: `store`, `file`, `lock`, `replace`, `login`, `sharing`, `port`, `browser`, `certificates`, `issuer`,
///   `proxy`, `dns`, `tcp`, `http` or `clock`; some of them come several times, some only if those before were well.
/// - `level`: `ok`, `warning` or `problem`.
/// - `found` and `advice` (null if there is none), in words.
fn in_json(findings: &[Finding]) -> Value {
    let object = |finding: &Finding| {
        json!({
            "check": finding.check,
            "level": finding.level.name(),
            "found": finding.words,
            "advice": finding.advice,
        })
    };
    let findings: Vec<Value> = findings.iter().map(object).collect();
    json!({"version": VERSION, "program": env!("CARGO_PKG_VERSION"), "findings": findings})
}
