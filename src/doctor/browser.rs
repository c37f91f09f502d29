//! The finding about how a browser is opened.

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
    if let Some(program) = programs
        .iter()
        .find(|program| settings::is_installed(program))
    {
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
