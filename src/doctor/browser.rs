//! The finding about how a browser is opened.

use std::path::Path;

use super::finding::Finding;
use crate::login::opener;
use crate::login::opener::Place;
use crate::settings;
use crate::text::printable;

/// What to do where no browser can be opened.
const INSTEAD: &str =
    "open the printed address yourself and paste where it ends, or sign in with --device-code";

pub fn finding() -> Finding {
    let place = opener::place();
    if !opener::has_browser(place) {
        return Finding::warning("browser", absent(place), INSTEAD);
    }
    let programs = opener::programs();
    let shown = |program: &String| printable(program);
    if let Some(program) = programs.iter().find(|program| is_installed(program)) {
        return Finding::ok("browser", format!("{} opens it", shown(program)));
    }
    let tried: Vec<String> = programs.iter().map(shown).collect();
    let words = format!(
        "none of these programs is there to open one: {}",
        tried.join(", ")
    );
    Finding::warning("browser", words, format!("set BROWSER, or {INSTEAD}"))
}

/// Why none is opened.
fn absent(place: Place) -> &'static str {
    match place {
        Place::Ssh => "none is opened at the far end of an SSH connection",
        Place::Container => "none is opened in a container",
        Place::NoDisplay | Place::Desktop | Place::Wsl => "none is opened, as there is no screen",
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
