//! What a worker reports to its caller.

use std::io::{self, Write};
use std::sync::Once;

use anyhow::Error;
use serde::{Deserialize, Serialize};

use crate::credentials::Credentials;
use crate::error;

/// The outcome, as a worker reports it to its caller.
#[derive(Serialize, Deserialize)]
pub enum Report {
    /// The stored credentials are the newest.
    Done,
    /// The newest credentials, which are not stored, and a warning. They are sealed if those in the store are.
    Unsaved(String, String),
    /// The exit code of the caller's failure, and its message.
    Failed(u8, String),
    /// No report came in time; the worker continues.
    Late,
}

impl Report {
    pub fn of(error: &Error) -> Self {
        Self::Failed(error::exit_code(error), format!("{error:#}"))
    }

    pub fn unsaved(credentials: &Credentials, warning: &Error) -> Self {
        match credentials.to_json().map(String::from_utf8) {
            Ok(Ok(text)) => Self::Unsaved(text, format!("{warning:#}")),
            _ => Self::of(warning),
        }
    }
}

/// Sends a report to the caller. Only the first one counts; if the caller has exited, none is needed.
pub fn send(report: &Report) {
    static REPORTED: Once = Once::new();
    REPORTED.call_once(|| {
        let line = serde_json::to_string(report).unwrap_or_default();
        let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
    });
}
