//! URLs: which of them a token may be sent to, and where they lead.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use http::Uri;
use http::uri::Authority;

/// A URL that a token may be sent to: https, or plain http to this machine; without a user, a query or a fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// Without a slash at the end.
    text: String,
    host: String,
    port: u16,
    is_https: bool,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self> {
        let uri: Uri = text.parse().ok().context("not a URL")?;
        let authority = uri.authority().context("not an absolute URL")?;
        if authority.as_str().contains('@') {
            bail!("user names are not allowed in it");
        }
        if uri.query().is_some() || text.contains('#') {
            bail!("a query or a fragment is not allowed in it");
        }
        let host = without_brackets(authority.host());
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(host) => false,
            Some("http") => bail!("plain http is only allowed to a loopback address"),
            _ => bail!("only https and http are supported"),
        };
        Ok(Self {
            text: text.trim_end_matches('/').to_owned(),
            host: host.to_owned(),
            port: port(authority)?.unwrap_or(if is_https { 443 } else { 80 }),
            is_https,
        })
    }

    /// Without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A name or an address; an IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether it leads to this machine itself.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// The URL of a path below this one. `path` begins without a slash.
    pub fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The port that an authority names. An invalid one, such as 0 or 99999, is an error: `Authority` takes it for missing.
pub fn port(authority: &Authority) -> Result<Option<u16>> {
    let whole = authority.as_str();
    let host_and_port = whole.rsplit_once('@').map_or(whole, |(_user, rest)| rest);
    let rest = host_and_port.strip_prefix(authority.host());
    let Some(number) = rest.and_then(|rest| rest.strip_prefix(':')) else {
        return Ok(None);
    };
    // `parse` takes a sign, a URL has none.
    match number.parse() {
        Ok(port @ 1..) if !number.starts_with('+') => Ok(Some(port)),
        _ => bail!("invalid port {number:?}"),
    }
}

/// Whether a host is this machine itself: `localhost`, or a loopback address.
pub fn is_loopback(host: &str) -> bool {
    let bare = without_brackets(host);
    let address = bare.parse();
    is_localhost(bare) || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a host is called `localhost`, which no name server has to be asked for (RFC 6761 section 6.3).
pub fn is_localhost(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost")
}

/// A host as it is written outside URLs: in a URL an IPv6 address has brackets (RFC 3986 section 3.2.2).
pub fn without_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_https_or_to_this_machine() {
        for (text, host, port) in [
            ("https://a.example", "a.example", 443),
            ("https://a.example:8443/x/", "a.example", 8443),
            ("https://127.0.0.1", "127.0.0.1", 443),
            ("http://127.0.0.1:1", "127.0.0.1", 1),
            ("https://1:1", "1", 1),
            ("http://[::1]:9", "::1", 9),
            ("http://[::1]/", "::1", 80),
            ("http://localhost", "localhost", 80),
            ("http://LocalHost:65535", "LocalHost", 65535),
            ("http://localhost.:8", "localhost.", 8),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
            assert_eq!(url.is_https(), text.starts_with("https:"), "{text}");
        }
        for text in [
            "http://a.example",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "http://localhost..",
            "ftp://a.example",
            "a.example",
            "/x",
            "",
            "https://",
            "https://u:p@a.example",
            "http://127.0.0.1@evil.example",
            "https://a.example?x",
            "https://a.example#x",
            "file:///etc/passwd",
            "https://a b",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_invalid_port_is_refused() {
        for text in [
            "https://a.example:99999",
            "https://a.example:65536/",
            "https://a.example:0",
            "https://a.example:",
            "https://a.example:/x",
            "https://a.example:+1",
            "https://a.example:x",
            "https://[::1]:99999",
            "http://127.0.0.1:0",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_is_joined_with_one_slash() {
        for text in ["https://a.example/x", "https://a.example/x//"] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.join("oauth/token"), "https://a.example/x/oauth/token");
            assert_eq!(url.to_string(), "https://a.example/x");
        }
    }
}
