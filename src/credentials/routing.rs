//! Where requests with an access token go, and which headers they need: as the backend says for a workspace
//! (`accounts/check`), or else as the tokens claim.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Credentials;
use crate::text::{printable, text_of};
use crate::url::Url;

/// The backend's value for no special origin or region.
const NO_CONSTRAINT: &str = "NO_CONSTRAINT";
const OVERRIDE: &str = "X-OpenAI-Account-Routing-Override";
const RESIDENCY: &str = "x-openai-internal-codex-residency";

/// What the backend says about a login's account. A member that it leaves out is `None`. As the file may have been
/// changed, the methods of `Credentials` check again where a token may be sent.
#[derive(Default, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Routing {
    /// The https origin to use instead of the backend's, or `NO_CONSTRAINT`.
    origin: Option<String>,
    /// The header value that says where the requests are handled, or `NO_CONSTRAINT`.
    #[serde(rename = "override")]
    region: Option<String>,
    workspace: Option<String>,
    plan: Option<String>,
    is_deactivated: bool,
    /// The account is not among those of the login.
    is_missing: bool,
    /// The backend named an origin or an override that no token may be sent to or with.
    is_ignored: bool,
    /// The `last_refresh` of the tokens that were used to ask the backend.
    learned_with: Option<String>,
}

impl Routing {
    /// Parses this backend's answer to `accounts/check`. `accounts` is a list, or a map in older answers.
    pub fn parse(answer: &Value, account_id: &str, backend: &Url) -> Result<Self> {
        // The members are in the entry, or in older answers in an object `account` in it. There are two names for the ID.
        let is_this_account = |it: &Value| it["id"] == account_id || it["account_id"] == account_id;
        let found = match &answer["accounts"] {
            Value::Array(list) => list.iter().find(|entry| is_this_account(entry)),
            Value::Object(map) => {
                let named = || map.values().find(|it| is_this_account(&it["account"]));
                map.get(account_id).or_else(named)
            }
            _ => bail!("it lists no accounts"),
        };
        let outer = found.unwrap_or(&Value::Null);
        let account = &outer["account"];
        let member = |name| text_of(&account[name]).or_else(|| text_of(&outer[name]));
        let mut routing = Self {
            is_missing: found.is_none(),
            origin: member("workspace_backend_origin"),
            region: member("account_routing_override"),
            workspace: member("name"),
            plan: member("plan_type"),
            is_deactivated: account["is_deactivated"] == true || outer["is_deactivated"] == true,
            ..Self::default()
        };
        if !routing.is_allowed(backend) {
            // Using only half of it could send requests to the wrong place.
            (routing.origin, routing.region, routing.is_ignored) = (None, None, true);
        }
        Ok(routing)
    }

    /// What another machine knows, from its `token --format json`. `None` if that is no more than the claims say.
    pub(super) fn from_command(object: &Value, backend: &Url) -> Option<Self> {
        let base = Url::parse(object["base_url"].as_str()?).ok()?;
        let headers = object["headers"].as_object()?;
        let routing = Self {
            origin: Some(base.origin().to_owned()),
            region: headers.get(OVERRIDE).and_then(text_of),
            workspace: text_of(&object["workspace"]),
            ..Self::default()
        };
        let is_unpinned = object["residency"].is_string() && !headers.contains_key(RESIDENCY);
        let is_elsewhere = base.origin() != backend.origin();
        let is_more = routing.region.is_some() || is_unpinned || is_elsewhere;
        (is_more && routing.is_allowed(backend)).then_some(routing)
    }

    fn is_allowed(&self, backend: &Url) -> bool {
        let is_origin = |text: &str| text == NO_CONSTRAINT || origin(text, backend).is_some();
        self.origin.as_deref().is_none_or(is_origin) && self.region.as_deref().is_none_or(is_region)
    }

    /// What is wrong with the account, or with the backend's answer about it, if anything.
    pub fn problem(&self) -> Option<String> {
        let named = |name: &String| format!("workspace {}", printable(name));
        let workspace = self.workspace.as_ref();
        let workspace = workspace.map_or_else(|| "this workspace".to_owned(), named);
        match self {
            _ if self.is_missing => Some("this account does not belong to the login".to_owned()),
            _ if self.is_deactivated => Some(format!("{workspace} is deactivated")),
            _ if self.is_ignored => Some(format!(
                "ignored the backend's routing for {workspace}: it is outside chatgpt.com"
            )),
            _ => None,
        }
    }
}

/// Whether a text is a valid value of the override header: a short lowercase word.
fn is_region(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    text == NO_CONSTRAINT || text.len() <= 16 && text.bytes().all(is_word)
}

/// An origin that the token may be sent to: chatgpt.com or a host below it, over https. A backend on this machine, as in
/// tests, may name another one on this machine.
fn origin(text: &str, backend: &Url) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let host = format!(".{}", url.host);
    let is_chatgpt = host.ends_with(".chatgpt.com") && !host.contains("..");
    let is_usual = url.is_https && url.port == 443 && is_chatgpt;
    let is_test = backend.is_loopback() && url.is_loopback();
    let has_path = text.strip_suffix('/').unwrap_or(text) != url.origin();
    (is_usual || is_test).then_some(url).filter(|_| !has_path)
}

impl Credentials {
    /// Stores what the backend said about the newest tokens. Without a usable routing, the earlier one is kept.
    pub fn set_routing(&mut self, mut routing: Routing) {
        if let Some(known) = self.routing.take()
            && (routing.is_missing || routing.is_ignored)
        {
            (routing.origin, routing.region) = (known.origin, known.region);
        }
        routing.learned_with.clone_from(&self.last_refresh);
        self.routing = Some(routing);
    }

    /// Whether the routing was learned with the newest tokens.
    pub fn has_newest_routing(&self) -> bool {
        let routing = self.routing.as_ref();
        routing.is_some_and(|it| it.learned_with == self.last_refresh)
    }

    /// The name of the workspace, fit for one line of a terminal.
    pub fn workspace(&self) -> Option<String> {
        self.routing.as_ref()?.workspace.as_deref().map(printable)
    }

    /// The plan: `plus`, `pro`, `team` or any other word. The backend's answer is newer than the token's claim.
    pub fn plan(&self) -> Option<String> {
        let routing = self.routing.as_ref().filter(|_| self.has_newest_routing());
        let plan = routing.and_then(|it| it.plan.as_deref().map(printable));
        plan.or_else(|| self.account().plan)
    }

    /// The base URL for requests with the token. Its path is that of the backend.
    pub fn base_url(&self, backend: &Url) -> Url {
        let named = self.routing.as_ref().and_then(|it| it.origin.as_deref());
        let origin = named.and_then(|text| origin(text, backend));
        origin.map_or_else(|| backend.clone(), |origin| backend.at_origin(&origin))
    }

    /// The headers of a request to the backend, including the token.
    pub fn headers(&self) -> Result<Vec<(&'static str, String)>> {
        let authorization = ("Authorization", format!("Bearer {}", self.access_token()?));
        Ok([vec![authorization], self.account_headers()].concat())
    }

    /// The headers that do not depend on the token: its account, where the workspace's requests are handled, and whether
    /// it is a `FedRAMP` workspace. If the backend said where requests go, the claims do not count.
    pub fn account_headers(&self) -> Vec<(&'static str, String)> {
        let routing = self.routing.as_ref();
        let routing = routing.filter(|it| it.origin.is_some() || it.region.is_some());
        let region = routing.and_then(|it| it.region.clone());
        let region = region.filter(|text| text != NO_CONSTRAINT && is_region(text));
        let account = self.account();
        let fedramp = account.is_fedramp.then(|| "true".to_owned());
        let headers = [
            ("ChatGPT-Account-Id", account.id),
            (OVERRIDE, region),
            (RESIDENCY, account.residency.filter(|_| routing.is_none())),
            ("X-OpenAI-Fedramp", fedramp),
        ];
        let known = |(name, value): (_, Option<String>)| Some((name, value?));
        headers.into_iter().filter_map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn backend() -> Url {
        Url::parse("https://chatgpt.com/backend-api").unwrap()
    }

    fn parse(answer: &Value) -> Routing {
        Routing::parse(answer, "acc", &backend()).unwrap()
    }

    /// What these members say about an account.
    fn told(members: &Value) -> Routing {
        let mut account = json!({"id": "acc"});
        let more = members.as_object().unwrap().clone();
        account.as_object_mut().unwrap().extend(more);
        parse(&json!({"accounts": [account]}))
    }

    /// A login whose claims pin it to a region, with this routing.
    fn login(routing: Option<Routing>) -> Credentials {
        let claims = json!({"https://api.openai.com/auth": {
            "chatgpt_compute_residency": "eu", "chatgpt_account_is_fedramp": true}});
        let token = crate::credentials::account::tests::token(&claims);
        let stored =
            json!({"tokens": {"access_token": "tok", "id_token": token, "account_id": "acc"}});
        let mut credentials = Credentials::parse(stored.to_string().into_bytes()).unwrap();
        if let Some(routing) = routing {
            credentials.routing = Some(routing);
        }
        credentials
    }

    /// The base URL and the header values that depend on the routing.
    fn route(credentials: &Credentials, backend: &Url) -> (String, String) {
        let headers = credentials.account_headers().into_iter();
        let values: Vec<_> = headers
            .filter(|(name, _)| *name != "ChatGPT-Account-Id")
            .map(|(_, value)| value)
            .collect();
        (credentials.base_url(backend).text, values.join(" "))
    }

    #[test]
    fn every_shape_of_the_answer_is_understood() {
        let wanted = Routing {
            origin: Some("https://us.chatgpt.com".to_owned()),
            region: Some("us_cr".to_owned()),
            workspace: Some("Lab".to_owned()),
            plan: Some("pro".to_owned()),
            ..Routing::default()
        };
        let account = |id: &str| {
            json!({id: "acc", "plan_type": "pro", "name": "Lab", "structure": "workspace",
                "workspace_backend_origin": "https://us.chatgpt.com", "account_routing_override": "us_cr"})
        };
        let other = json!({"id": "other", "name": "Other", "is_deactivated": true});
        for accounts in [
            json!([account("id")]),
            json!([other, account("account_id")]),
            // Duplicates: the first one counts.
            json!([account("id"), {"id": "acc", "workspace_backend_origin": "https://gov.chatgpt.com"}]),
            json!([null, 7, {}, account("id")]),
            json!({"acc": account("id")}),
            json!({"acc": {"account": account("id")}}),
            json!({"other": {"account": other}, "default": {"account": account("account_id")}}),
            json!({"acc": {"account": {"plan_type": "pro", "name": "Lab"},
                "workspace_backend_origin": "https://us.chatgpt.com", "account_routing_override": "us_cr"}}),
        ] {
            let answer = json!({ "accounts": accounts });
            assert_eq!(parse(&answer), wanted, "{answer}");
        }
        for answer in [
            json!(null),
            json!([]),
            json!({}),
            json!({"accounts": "acc"}),
        ] {
            assert!(
                Routing::parse(&answer, "acc", &backend()).is_err(),
                "{answer}"
            );
        }
    }

    #[test]
    fn an_account_may_be_missing_or_deactivated() {
        for accounts in [
            json!([]),
            json!({}),
            json!([{"id": "org-1"}]),
            json!({"x": {"account": null}}),
        ] {
            let routing = parse(&json!({ "accounts": accounts }));
            let words = "this account does not belong to the login";
            assert_eq!(routing.problem().as_deref(), Some(words));
        }
        let routing = told(&json!({"is_deactivated": true, "name": "Lab\u{7}"}));
        assert_eq!(
            routing.problem().as_deref(),
            Some("workspace Lab is deactivated")
        );
        let routing = told(&json!({"is_deactivated": null, "name": null, "plan_type": 7}));
        assert_eq!(routing, Routing::default());
        assert_eq!(routing.problem(), None);
    }

    #[test]
    fn the_backends_answer_counts_or_else_the_claims() {
        let (backend, us) = (
            "https://chatgpt.com/backend-api",
            "https://us.chatgpt.com/backend-api",
        );
        for (members, base, headers) in [
            (json!({}), backend, "eu true"),
            (
                json!({"workspace_backend_origin": null, "account_routing_override": null}),
                backend,
                "eu true",
            ),
            (
                json!({"workspace_backend_origin": "https://us.chatgpt.com", "account_routing_override": "us_cr"}),
                us,
                "us_cr true",
            ),
            (
                json!({"workspace_backend_origin": "https://us.chatgpt.com/"}),
                us,
                "true",
            ),
            (
                json!({"account_routing_override": "us"}),
                backend,
                "us true",
            ),
            (
                json!({"workspace_backend_origin": "NO_CONSTRAINT", "account_routing_override": "NO_CONSTRAINT"}),
                backend,
                "true",
            ),
        ] {
            let routing = told(&members);
            assert_eq!(routing.problem(), None);
            let found = route(&login(Some(routing)), &self::backend());
            assert_eq!(found, (base.to_owned(), headers.to_owned()), "{members}");
        }
        let found = route(&login(None), &self::backend());
        assert_eq!(found, (backend.to_owned(), "eu true".to_owned()));
        let own = Url::parse("https://gateway.example/x").unwrap();
        let routing = told(&json!({"workspace_backend_origin": "https://us.chatgpt.com"}));
        assert_eq!(
            route(&login(Some(routing)), &own).0,
            "https://us.chatgpt.com/x"
        );
    }

    const HOSTILE: [&str; 24] = [
        "http://chatgpt.com",
        "https://evil.example",
        "https://chatgpt.com.evil.example",
        "https://evilchatgpt.com",
        "https://chatgpt.com@evil.example",
        "https://user@us.chatgpt.com",
        "https://us.chatgpt.com/path",
        "https://us.chatgpt.com//",
        "https://us.chatgpt.com?x",
        "https://us.chatgpt.com#x",
        "https://us.chatgpt.com:8443",
        "https://us.chatgpt.com:0",
        "https://.chatgpt.com",
        "https://a..chatgpt.com",
        "https://us.chatgpt.com.",
        "https://evil.example\\.chatgpt.com",
        "https://evil.example%2f.chatgpt.com",
        "https://evil.example\u{3002}chatgpt.com",
        "https://[::1]us.chatgpt.com",
        "https://127.0.0.1",
        "http://localhost:1",
        "ftp://us.chatgpt.com",
        "//us.chatgpt.com",
        "https://us.chatgpt.com\r\nX-Evil: 1",
    ];

    #[test]
    fn a_token_goes_to_chatgpt_alone() {
        for origin in HOSTILE {
            let routing = told(
                &json!({"workspace_backend_origin": origin, "account_routing_override": "us"}),
            );
            let warning = routing.problem().unwrap();
            assert!(
                warning.starts_with("ignored") && !warning.contains(origin),
                "{origin}"
            );
            let found = route(&login(Some(routing)), &backend());
            assert_eq!(
                found,
                (
                    "https://chatgpt.com/backend-api".to_owned(),
                    "eu true".to_owned()
                )
            );
            // Nor if someone has written it to the file.
            let planted: Routing = serde_json::from_value(json!({ "origin": origin })).unwrap();
            assert_eq!(
                login(Some(planted)).base_url(&backend()),
                backend(),
                "{origin}"
            );
        }
        let local = Url::parse("http://127.0.0.1:7/backend-api").unwrap();
        let planted: Routing = serde_json::from_value(json!({"origin": "http://[::1]:8"})).unwrap();
        assert_eq!(
            login(Some(planted)).base_url(&local).text,
            "http://[::1]:8/backend-api"
        );
    }

    #[test]
    fn an_override_is_a_short_word() {
        for word in [
            "US",
            "us-cr",
            "us cr",
            "us\r\nX-Evil: 1",
            "é",
            "a_region_that_is_long",
            "no_constraint!",
        ] {
            let routing = told(&json!({"account_routing_override": word}));
            let warning = routing.problem().unwrap();
            assert!(
                warning.starts_with("ignored") && !warning.contains(word),
                "{word}"
            );
            let ignored = Routing {
                is_ignored: true,
                ..Routing::default()
            };
            assert_eq!(routing, ignored);
            let planted: Routing = serde_json::from_value(json!({ "override": word })).unwrap();
            assert_eq!(route(&login(Some(planted)), &backend()).1, "true");
        }
    }

    #[test]
    fn unknown_members_survive_and_outdated_ones_are_removed() {
        let text =
            r#"{"routing":{"origin":"https://us.chatgpt.com","workspace":"Lab","future":[1e400]}}"#;
        let mut credentials = Credentials::parse(text.into()).unwrap();
        let routing = told(&json!({"plan_type": "pro"}));
        credentials.routing = Some(routing.clone());
        let written = credentials.to_json().unwrap();
        let text = String::from_utf8(written.clone()).unwrap();
        assert!(
            text.contains("[1e400]") && !text.contains("chatgpt.com"),
            "{text}"
        );
        assert_eq!(Credentials::parse(written).unwrap().routing, Some(routing));
    }

    #[test]
    fn without_a_usable_answer_the_known_routing_stays() {
        let us = json!({"workspace_backend_origin": "https://us.chatgpt.com", "account_routing_override": "us_cr"});
        let route_after = |routing: Routing| {
            let mut credentials = login(Some(told(&us)));
            credentials.set_routing(routing);
            route(&credentials, &backend())
        };
        let (known, unknown) = (
            (
                "https://us.chatgpt.com/backend-api".to_owned(),
                "us_cr true".to_owned(),
            ),
            (backend().text, "eu true".to_owned()),
        );
        let hostile = json!({"workspace_backend_origin": "https://evil.example"});
        assert_eq!(route_after(told(&hostile)), known);
        assert_eq!(route_after(parse(&json!({"accounts": []}))), known);
        assert_eq!(route_after(told(&json!({}))), unknown);
    }

    #[test]
    fn a_plan_only_counts_for_the_tokens_it_was_learned_with() {
        let mut credentials = login(None);
        credentials.last_refresh = Some("2026-01-01T00:00:00Z".to_owned());
        credentials.set_routing(told(&json!({"plan_type": "pro\u{7}"})));
        assert_eq!(credentials.plan().as_deref(), Some("pro"));
        credentials.last_refresh = Some("2026-01-02T00:00:00Z".to_owned());
        assert_eq!(credentials.plan(), None);
    }

    #[test]
    fn the_output_of_another_machine_is_read_back() {
        let read = |base_url: &str, residency: Value, headers: Value| {
            let object = json!({"base_url": base_url, "residency": residency, "headers": headers, "workspace": "Lab"});
            Routing::from_command(&object, &backend())
        };
        let plain = "https://chatgpt.com/backend-api";
        for (base_url, residency, headers, wanted) in [
            (
                "https://us.chatgpt.com/backend-api",
                json!(null),
                json!({OVERRIDE: "us_cr"}),
                Some(("https://us.chatgpt.com/backend-api", "us_cr true")),
            ),
            (
                "https://gov.chatgpt.com/x",
                json!("eu"),
                json!({}),
                Some(("https://gov.chatgpt.com/backend-api", "true")),
            ),
            (
                plain,
                json!(null),
                json!({OVERRIDE: "us"}),
                Some((plain, "us true")),
            ),
            // The backend said that nothing is special, although the claims say otherwise.
            (plain, json!("eu"), json!({}), Some((plain, "true"))),
            // Only the claims are known.
            (plain, json!("eu"), json!({RESIDENCY: "eu"}), None),
            (plain, json!(null), json!({}), None),
            (plain, json!(null), json!(null), None),
            (
                "https://evil.example/backend-api",
                json!(null),
                json!({}),
                None,
            ),
            ("http://127.0.0.1:1/x", json!(null), json!({}), None),
            (
                "https://us.chatgpt.com/x",
                json!(null),
                json!({OVERRIDE: "us\r\nX-Evil: 1"}),
                None,
            ),
            ("none", json!(null), json!({OVERRIDE: "us"}), None),
        ] {
            let routing = read(base_url, residency, headers.clone());
            let found = routing.map(|routing| route(&login(Some(routing)), &backend()));
            let wanted = wanted.map(|(url, values)| (url.to_owned(), values.to_owned()));
            assert_eq!(found, wanted, "{base_url} {headers}");
        }
    }
}
