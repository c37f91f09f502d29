//! A finding about the command, or the socket, that gives a profile its tokens: it is asked, as a refresh would ask it.

use std::time::SystemTime;

use super::finding::Finding;
use crate::credentials::{Credentials, Source};
use crate::refresh::first_credentials;
use crate::settings::login_command;
use crate::time::span;

/// None if the tokens come from the issuer.
pub fn finding(profile: &str, stored: &Credentials) -> Option<Finding> {
    let source = stored.external_source()?;
    Some(match first_credentials(source.clone()) {
        Ok(newest) => compare(profile, source, stored, &newest),
        Err(error) => {
            let advice = "run it by hand, without a terminal: it has to print what codex-auth token --format json prints";
            Finding::problem("source", format!("{error:#}"), advice)
        }
    })
}

fn compare(profile: &str, source: &Source, stored: &Credentials, newest: &Credentials) -> Finding {
    let shown = source.in_brief();
    if stored.account_id().is_some() && stored.account_id() != newest.account_id() {
        let found = format!("{shown}: its token is of another account");
        let advice = format!("run {} --from again", login_command(profile));
        return Finding::problem("source", found, advice);
    }
    let left = span(newest.seconds_left(SystemTime::now()));
    Finding::ok("source", format!("{shown}: its token expires in {left}"))
}
