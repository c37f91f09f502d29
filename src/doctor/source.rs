//! A finding about the command, or the socket, that gives a profile its tokens: it is asked, as a refresh would ask it.

use std::time::SystemTime;

use super::finding::Finding;
use crate::credentials::{Credentials, Source};
use crate::refresh::first_credentials;
use crate::time::span;

pub fn finding(source: &Source, stored: &Credentials) -> Finding {
    let shown = source.in_brief();
    let newest = match first_credentials(source.clone()) {
        Ok(newest) => newest,
        Err(error) => {
            let advice = "run it by hand, without a terminal: it has to print what codex-auth token --format json prints";
            return Finding::problem("source", format!("{error:#}"), advice);
        }
    };
    if stored.account_id().is_some() && stored.account_id() != newest.account_id() {
        let found = format!("{shown}: its token is of another account");
        return Finding::problem("source", found, "run codex-auth login --from again");
    }
    let left = span(newest.seconds_left(SystemTime::now()));
    Finding::ok("source", format!("{shown}: its token expires in {left}"))
}
