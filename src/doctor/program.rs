//! The finding about other programs with the name of this one: some package registries have one.

use std::fs;
use std::path::PathBuf;

use super::finding::Finding;
use crate::settings;

pub fn finding() -> Option<Finding> {
    let found = programs();
    let (first, others) = found.split_first()?;
    if others.is_empty() {
        return None;
    }
    let shown: Vec<String> = others
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let order = format!(
        "{} comes first in PATH, before {}",
        first.display(),
        shown.join(", ")
    );
    Some(Finding::warning(
        "program",
        order,
        "remove those that you do not want, or change PATH",
    ))
}

/// The programs in PATH with the name of this one, each once, however many links lead to it.
fn programs() -> Vec<PathBuf> {
    let name = format!("codex-auth{}", std::env::consts::EXE_SUFFIX);
    let paths = settings::program_folders()
        .into_iter()
        .map(|folder| folder.join(&name));
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for path in paths.filter(|path| path.is_file()) {
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if !found.iter().any(|(_, known)| *known == real) {
            found.push((path, real));
        }
    }
    found.into_iter().map(|(path, _)| path).collect()
}
