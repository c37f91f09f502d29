//! Requests to the backend that the tokens are for: whether it accepts one, how much of a plan is used, and where a
//! workspace's requests go. None of it is documented, so any member may be missing.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::credentials::{Credentials, Routing};
use crate::issuer::response;
use crate::net::http::{self, Client, Response};
use crate::text::text_of;
use crate::url::Url;

const USAGE: &str = "wham/usage";
/// How long a user waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// A login or a refresh waits for it, but succeeds without it.
const ROUTING_LIMIT: Duration = Duration::from_secs(4);

/// What the backend says about an access token.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Rejected,
    /// The backend did not say, for this reason.
    Unknown(String),
}

/// How much of the plan's limits is used.
#[derive(Default, PartialEq, Debug)]
pub struct Usage {
    /// More recent than the token's claim.
    pub plan: Option<String>,
    pub limit_reached: Option<bool>,
    pub windows: Vec<Window>,
    /// Credits bought in addition to the plan: `unlimited`, or a balance as the backend writes it.
    pub credits: Option<String>,
}

/// The usage within a period of hours or days.
#[derive(PartialEq, Debug)]
pub struct Window {
    /// The model or feature that it applies to, if not to all.
    pub limit: Option<String>,
    /// In seconds.
    pub length: Option<u64>,
    pub used_percent: Option<f64>,
    /// In seconds since 1970.
    pub reset_at: Option<u64>,
}

/// Asks the backend whether it accepts these credentials' access token. Gives up after `limit`.
pub fn check(backend: &Url, credentials: &Credentials, limit: Duration) -> Verdict {
    match get(&credentials.base_url(backend), USAGE, credentials, limit) {
        Ok(response) => verdict(&response),
        Err(error) => Verdict::Unknown(format!("{error:#}")),
    }
}

pub fn usage(backend: &Url, credentials: &Credentials) -> Result<Usage> {
    let base = credentials.base_url(backend);
    Ok(read_usage(&ask(&base, USAGE, credentials, PATIENCE)?))
}

/// Asks where the requests of the account go.
pub fn routing(backend: &Url, credentials: &Credentials) -> Result<Routing> {
    let account = credentials.account_id();
    let account = account.context("the login has no account ID")?;
    let answer = ask(backend, "wham/accounts/check", credentials, ROUTING_LIMIT)?;
    Routing::parse(&answer, &account, backend).context("unexpected response from the backend")
}

/// The JSON of a successful response.
fn ask(base: &Url, path: &str, credentials: &Credentials, limit: Duration) -> Result<Value> {
    let response = get(base, path, credentials, limit)?;
    match verdict(&response) {
        Verdict::Accepted => Ok(response::value(&response.body)),
        Verdict::Rejected => bail!("the backend rejects the token"),
        Verdict::Unknown(reason) => Err(anyhow!(reason)),
    }
}

fn get(base: &Url, path: &str, credentials: &Credentials, limit: Duration) -> Result<Response> {
    Ok(Client::new(base)?.get(path, &credentials.headers()?, limit)?)
}

/// What the response to a request says about its token.
fn verdict(response: &Response) -> Verdict {
    match response.status {
        200 => Verdict::Accepted,
        401 if !http::is_page(&response.body) && !is_about_location(response) => Verdict::Rejected,
        _ => Verdict::Unknown(response::describe("the backend", response)),
    }
}

/// Whether a 401 is about where the request came from or went to, so that another token would not help.
fn is_about_location(response: &Response) -> bool {
    let [code, message] = response::error_of(&response.body);
    let error = format!("{code:?} {message:?}").to_ascii_lowercase();
    let mut words = ["region", "residency", "workspace"].iter();
    words.any(|word| error.contains(word))
}

fn read_usage(answer: &Value) -> Usage {
    let credits = &answer["credits"];
    let balance = match &credits["balance"] {
        Value::Number(number) => number.to_string(),
        other => text_of(other).unwrap_or("some".to_owned()),
    };
    let has = |name: &str| credits[name] == true;
    let unlimited = has("unlimited").then(|| "unlimited".to_owned());
    let credits = unlimited.or_else(|| has("has_credits").then_some(balance));
    let limit = &answer["rate_limit"];
    let mut all = windows(None, limit);
    // A list of named limits, or a map from names to limits.
    let more = &answer["additional_rate_limits"];
    for limit in more.as_array().into_iter().flatten() {
        let names = ["limit_name", "name", "metered_feature"];
        let name = names.iter().find_map(|name| limit[name].as_str());
        all.extend(windows(name.or(Some("another limit")), limit));
    }
    for (name, limit) in more.as_object().into_iter().flatten() {
        all.extend(windows(Some(name), limit));
    }
    Usage {
        plan: text_of(&answer["plan_type"]),
        limit_reached: limit["limit_reached"].as_bool(),
        windows: all,
        credits,
    }
}

/// The windows of a limit that are not empty.
fn windows(name: Option<&str>, limit: &Value) -> Vec<Window> {
    let nested = &limit["rate_limit"];
    let limit = if nested.is_object() { nested } else { limit };
    let windows = [&limit["primary_window"], &limit["secondary_window"]].map(|value| Window {
        limit: name.map(str::to_owned),
        length: value["limit_window_seconds"].as_u64(),
        used_percent: value["used_percent"].as_f64(),
        reset_at: value["reset_at"].as_u64(),
    });
    let says = |window: &Window| window.used_percent.is_some() || window.reset_at.is_some();
    windows.into_iter().filter(says).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(status: u16, body: &str) -> Verdict {
        verdict(&Response::of(status, body))
    }

    #[test]
    fn a_token_is_only_rejected_if_it_is_to_blame() {
        assert_eq!(judged(200, "{}"), Verdict::Accepted);
        for body in ["", r#"{"detail":"Token expired."}"#] {
            assert_eq!(judged(401, body), Verdict::Rejected, "{body}");
        }
        let page = "the backend answered with a web page (captive portal or filter? try it with a browser) (status 401)";
        for (body, reason) in [
            ("<html>", page),
            ("\n<!DOCTYPE html><title>Sign in", page),
            ("<head><title>Proxy</title>", page),
            (
                r#"{"error":{"code":"wrong_region","message":"No."}}"#,
                "No. (wrong_region, status 401)",
            ),
            (
                r#"{"detail":"The Residency header is missing."}"#,
                "The Residency header is missing. (status 401)",
            ),
            (
                r#"{"error":"workspace_mismatch"}"#,
                "workspace_mismatch (status 401)",
            ),
        ] {
            assert_eq!(judged(401, body), Verdict::Unknown(reason.to_owned()));
        }
        for status in [302, 400, 403, 404, 429, 500] {
            assert!(
                matches!(judged(status, ""), Verdict::Unknown(_)),
                "{status}"
            );
        }
    }

    fn window(limit: Option<&str>, length: u64, used: f64, reset: u64) -> Window {
        Window {
            limit: limit.map(str::to_owned),
            length: Some(length),
            used_percent: Some(used),
            reset_at: Some(reset),
        }
    }

    #[test]
    fn usage_has_windows_additional_limits_and_credits() {
        let primary = json!({"used_percent": 37, "limit_window_seconds": 18_000, "reset_after_seconds": 60, "reset_at": 2_000_000_000});
        let secondary = json!({"used_percent": 4.5, "limit_window_seconds": 604_800, "reset_at": 2_000_500_000});
        let limit = json!({"allowed": true, "limit_reached": false, "primary_window": primary, "secondary_window": secondary});
        let windows = [None, Some("Spark")].map(|limit| {
            [
                window(limit, 18_000, 37.0, 2_000_000_000),
                window(limit, 604_800, 4.5, 2_000_500_000),
            ]
        });
        let wanted = Usage {
            plan: Some("plus".to_owned()),
            limit_reached: Some(false),
            windows: windows.into_iter().flatten().collect(),
            credits: Some("12.50".to_owned()),
        };
        for additional in [
            json!([{"limit_name": "Spark", "rate_limit": limit}]),
            json!([{"name": "Spark", "metered_feature": "x", "limit_reached": false,
                "primary_window": primary, "secondary_window": secondary}, {"no": "name"}, null]),
            json!({ "Spark": limit }),
        ] {
            let answer = json!({"plan_type": "plus", "rate_limit": limit, "additional_rate_limits": additional,
                "credits": {"has_credits": true, "unlimited": false, "balance": "12.50"}});
            assert_eq!(read_usage(&answer), wanted, "{answer}");
        }
        let credits = |value: Value| read_usage(&json!({ "credits": value })).credits;
        for (value, wanted) in [
            (json!({"has_credits": true, "balance": 7}), "7"),
            (json!({"has_credits": true, "balance": null}), "some"),
            (json!({"unlimited": true, "balance": "0"}), "unlimited"),
        ] {
            assert_eq!(credits(value).as_deref(), Some(wanted));
        }
        assert_eq!(credits(json!({"has_credits": false, "balance": "0"})), None);
    }

    #[test]
    fn missing_or_strange_members_do_no_harm() {
        for answer in [
            json!(null),
            json!([]),
            json!({"rate_limit": null, "credits": null, "additional_rate_limits": null}),
            json!({"rate_limit": {"primary_window": null, "secondary_window": "x", "limit_reached": 7}, "credits": 7}),
            json!({"rate_limit": {"primary_window": {"used_percent": "37", "reset_at": -1}}, "additional_rate_limits": [7, {}]}),
        ] {
            assert_eq!(read_usage(&answer), Usage::default(), "{answer}");
        }
        let partial = json!({"rate_limit": {"primary_window": {"used_percent": 1e300}}});
        assert_eq!(read_usage(&partial).windows[0].length, None);
    }
}
