//! The finding about how a browser is opened.

use std::path::Path;

use super::finding::Finding;
use crate::login::opener;
use crate::login::opener::Environment;
use crate::settings;
use crate::text::printable;

pub fn finding(sign_in: &str) -> Finding {
    let instead = format!(
        "use {sign_in} --device-code, or open the address elsewhere and paste the one that it ends on"
    );
    let place = opener::environment();
    if !opener::has_browser(place) {
        return Finding::warning("browser", absent(place), instead);
    }
    let programs = opener::programs();
    let shown = |program: &String| printable(program);
    if let Some(program) = programs.iter().find(|program| is_installed(program)) {
        return Finding::ok("browser", format!("opened with {}", shown(program)));
    }
    let tried: Vec<String> = programs.iter().map(shown).collect();
    let found = format!("none of these programs is installed: {}", tried.join(", "));
    Finding::warning("browser", found, format!("set BROWSER, or {instead}"))
}

/// Why none can be opened.
fn absent(place: Environment) -> &'static str {
    match place {
        Environment::Ssh => "cannot be opened over SSH",
        Environment::Container => "cannot be opened in a container",
        Environment::NoDisplay | Environment::Desktop | Environment::Wsl => {
            "cannot be opened without a display"
        }
    }
}

fn is_installed(program: &str) -> bool {
    let path = Path::new(program);
    // Windows adds an extension, and looks in more places than PATH.
    if cfg!(windows) || path.components().count() > 1 {
        return cfg!(windows) || path.is_file();
    }
    settings::program_folders()
        .iter()
        .any(|folder| folder.join(path).is_file())
}
