//! What is asked of a token: by the options of a command, or by another machine (`CODEX_AUTH_REQUEST`).

use std::fmt;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::is_token;

/// What a caller asks of a token.
#[derive(Default, Clone, Copy, Serialize, Deserialize)]
pub struct TokenRequest {
    /// Life that it must have left: it is a failure if it has less. Without one, there is a default.
    pub min_ttl: Option<Duration>,
    /// It must be another token than the stored one.
    pub force_refresh: bool,
    /// Another machine forces it: that is not done at each of its calls.
    pub is_forwarded: bool,
    /// How long to wait for a refresh.
    pub timeout: Option<Duration>,
}

impl TokenRequest {
    /// Whether a token that is merely valid does not do.
    pub fn is_strict(&self) -> bool {
        self.force_refresh || self.min_ttl.is_some()
    }
}

/// What one codex-auth asks of another, whose token it uses, in one variable: `min-ttl=3600,force-refresh,rejected=HASH`.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct ForwardedRequest {
    pub min_ttl: Option<Duration>,
    pub force_refresh: bool,
    /// The fingerprint of an access token that the backend rejected.
    pub rejected: Option<String>,
}

impl ForwardedRequest {
    /// Reads the value of the variable. An entry that is not understood is an error, as what it asks for would not be done.
    pub fn parse(text: &str) -> Result<Self> {
        let mut request = Self::default();
        for entry in text.split(',').map(str::trim) {
            match entry.split_once('=').unwrap_or((entry, "")) {
                ("min-ttl", value) => request.min_ttl = Some(duration(value)?),
                ("force-refresh", "") if !entry.contains('=') => request.force_refresh = true,
                ("rejected", value) if is_token(value) => {
                    request.rejected = Some(value.to_owned());
                }
                _ => bail!(
                    "use min-ttl=DURATION, force-refresh and rejected=HASH, separated by commas"
                ),
            }
        }
        Ok(request)
    }

    /// Whether the stored token does not do, however long it is valid.
    pub fn asks_for_another(&self) -> bool {
        self.force_refresh || self.rejected.is_some()
    }
}

impl fmt::Display for ForwardedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let min_ttl = self.min_ttl.map(|ttl| format!("min-ttl={}", ttl.as_secs()));
        let force = self.force_refresh.then(|| "force-refresh".to_owned());
        let rejected = self
            .rejected
            .as_ref()
            .map(|hash| format!("rejected={hash}"));
        let entries: Vec<String> = [min_ttl, force, rejected].into_iter().flatten().collect();
        f.write_str(&entries.join(","))
    }
}

/// As the option reads it: a bare number is seconds.
fn duration(text: &str) -> Result<Duration> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text)
        .map_err(|_| anyhow!("min-ttl takes a duration such as 90s, 5m or 1h"))
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
            let request = ForwardedRequest {
                min_ttl: min_ttl.map(Duration::from_secs),
                force_refresh,
                rejected: rejected.map(str::to_owned),
            };
            assert_eq!(
                ForwardedRequest::parse(&request.to_string()).unwrap(),
                request
            );
        }
        let spaced = ForwardedRequest::parse("min-ttl=1h, force-refresh").unwrap();
        assert_eq!(spaced.to_string(), "min-ttl=3600,force-refresh");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
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
            assert!(ForwardedRequest::parse(text).is_err(), "{text}");
        }
    }
}
