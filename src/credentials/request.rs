//! The requirements for a token: from the options of a command, or from another machine (`CODEX_AUTH_REQUEST`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::is_token;
use crate::time::duration;

/// What a caller requires of a token. One codex-auth passes it to another, whose token it uses, in a single variable:
/// `min-ttl=3600,force-refresh,rejected=HASH`.
#[derive(Default, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenRequest {
    /// The minimum lifetime left; it is a failure if the token has less. If `None`, there is a default.
    pub min_ttl: Option<Duration>,
    /// It must differ from the stored token.
    pub force_refresh: bool,
    /// The fingerprint of an access token that the backend rejected, as reported by another machine.
    pub rejected: Option<String>,
    /// Another machine wants another token: it forces a refresh, or reports a rejection. Not done on every call.
    pub is_forwarded: bool,
    pub timeout: Option<Duration>,
}

impl TokenRequest {
    /// Whether being valid is not enough.
    pub fn is_strict(&self) -> bool {
        self.force_refresh || self.min_ttl.is_some()
    }

    /// Whether the stored token is not enough, however long it is valid.
    pub fn asks_for_another(&self) -> bool {
        self.force_refresh || self.rejected.is_some()
    }

    /// Parses the value of the variable. An unknown entry is an error, because ignoring it would drop a requirement.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut request = Self::default();
        for entry in text.split(',').map(str::trim) {
            match entry.split_once('=') {
                Some(("min-ttl", value)) => request.min_ttl = Some(duration(value)?),
                None if entry == "force-refresh" => request.force_refresh = true,
                Some(("rejected", hash)) if is_token(hash) => {
                    request.rejected = Some(hash.to_owned());
                }
                _ => {
                    let words = "use min-ttl=DURATION, force-refresh and rejected=HASH, separated by commas";
                    return Err(words.to_owned());
                }
            }
        }
        Ok(request)
    }

    /// The value of the variable.
    pub fn to_variable(&self) -> String {
        let min_ttl = self.min_ttl.map(|ttl| format!("min-ttl={}", ttl.as_secs()));
        let force = self.force_refresh.then(|| "force-refresh".to_owned());
        let rejected = self.rejected.as_ref().map(|it| format!("rejected={it}"));
        let entries: Vec<String> = [min_ttl, force, rejected].into_iter().flatten().collect();
        entries.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        for (min_ttl, force_refresh, rejected) in [
            (None, true, None),
            (Some(3600), false, Some("a-B_9")),
            (Some(0), true, Some("x")),
        ] {
            let request = TokenRequest {
                min_ttl: min_ttl.map(Duration::from_secs),
                force_refresh,
                rejected: rejected.map(str::to_owned),
                ..TokenRequest::default()
            };
            assert_eq!(
                TokenRequest::parse(&request.to_variable()).unwrap(),
                request
            );
        }
        let spaced = TokenRequest::parse("min-ttl=1h, force-refresh").unwrap();
        assert_eq!(spaced.to_variable(), "min-ttl=3600,force-refresh");
    }

    #[test]
    fn unknown_entries_are_refused() {
        for text in [
            "1",
            "force-refresh=false",
            "force-refresh=",
            "min-ttl",
            "min-ttl=soon",
            "rejected=",
            "min-ttl=1h,",
            "other",
        ] {
            assert!(TokenRequest::parse(text).is_err(), "{text}");
        }
    }
}
