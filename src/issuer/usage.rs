//! The limits of a ChatGPT plan, as the backend tells them. None of it is documented: every member may be missing.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use super::backend::{Verdict, verdict};
use super::response;
use crate::net::http::Client;
use crate::url::Url;

/// A person waits for it.
const LIMIT: Duration = Duration::from_secs(10);

/// How much of a plan's limits is used.
#[derive(PartialEq, Debug)]
pub struct Usage {
    pub limit_reached: Option<bool>,
    pub windows: Vec<Window>,
}

/// A limit that counts what was used within some hours or days.
#[derive(PartialEq, Debug)]
pub struct Window {
    /// In seconds.
    pub length: Option<u64>,
    pub used_percent: Option<f64>,
    /// In seconds since 1970.
    pub reset_at: Option<u64>,
}

/// Asks the backend, with the headers that a request for an account carries.
pub fn usage(backend: &Url, headers: &[(&str, String)]) -> Result<Usage> {
    let response = Client::new(backend)?.get("wham/usage", headers, LIMIT)?;
    if verdict(&response) == Verdict::Rejected {
        bail!("the backend rejects the token");
    }
    if response.status != 200 {
        bail!("{}", response::describe("the backend", &response));
    }
    Ok(read(&response::value(&response)))
}

fn read(answer: &Value) -> Usage {
    let limits = &answer["rate_limit"];
    let windows = [&limits["primary_window"], &limits["secondary_window"]];
    Usage {
        limit_reached: limits["limit_reached"].as_bool(),
        windows: windows.into_iter().filter_map(window).collect(),
    }
}

/// A window, if it says anything.
fn window(value: &Value) -> Option<Window> {
    let window = Window {
        length: value["limit_window_seconds"].as_u64(),
        used_percent: value["used_percent"].as_f64(),
        reset_at: value["reset_at"].as_u64(),
    };
    (window.used_percent.is_some() || window.reset_at.is_some()).then_some(window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_windows_are_read() {
        let answer = json!({"plan_type": "plus", "rate_limit": {
            "allowed": true, "limit_reached": false,
            "primary_window": {"used_percent": 37, "limit_window_seconds": 18_000, "reset_after_seconds": 60, "reset_at": 2_000_000_000},
            "secondary_window": {"used_percent": 4.5, "limit_window_seconds": 604_800, "reset_at": 2_000_500_000},
        }});
        let window = |length, used, reset| Window {
            length: Some(length),
            used_percent: Some(used),
            reset_at: Some(reset),
        };
        let windows = vec![
            window(18_000, 37.0, 2_000_000_000),
            window(604_800, 4.5, 2_000_500_000),
        ];
        let limit_reached = Some(false);
        assert_eq!(
            read(&answer),
            Usage {
                limit_reached,
                windows
            }
        );
    }

    #[test]
    fn what_is_missing_or_strange_does_no_harm() {
        for answer in [
            json!(null),
            json!([]),
            json!({"rate_limit": null}),
            json!({"rate_limit": {"primary_window": null, "secondary_window": "x", "limit_reached": 7}}),
            json!({"rate_limit": {"primary_window": {"used_percent": "37", "reset_at": -1}}}),
        ] {
            let usage = read(&answer);
            assert_eq!(usage.limit_reached, None, "{answer}");
            assert!(usage.windows.is_empty(), "{answer}");
        }
        let partial = json!({"rate_limit": {"primary_window": {"used_percent": 1e300}}});
        assert_eq!(read(&partial).windows[0].length, None);
    }
}
