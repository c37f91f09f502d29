//! URLs: which of them a token may be sent to, and where they lead.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context, Result, bail};
use ureq::http::Uri;

/// A URL that a token may be sent to: https, or plain http to this machine; without a user, a query or a fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// As written, without a trailing slash.
    pub text: String,
    /// A name or an address; an IPv6 address has no brackets.
    pub host: String,
    pub port: u16,
    pub is_https: bool,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self> {
        let uri: Uri = text.parse().ok().context("not a URL")?;
        let authority = uri.authority().context("not an absolute URL")?.as_str();
        if authority.contains('@') {
            bail!("a user name is not allowed");
        }
        if uri.query().is_some() || text.contains('#') {
            bail!("a query or fragment is not allowed");
        }
        let (host, port) = split_authority(authority)?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("only https and http are supported"),
        };
        let url = Self {
            text: text.trim_end_matches('/').to_owned(),
            host: host.to_owned(),
            port: port.unwrap_or(if is_https { 443 } else { 80 }),
            is_https,
        };
        if !is_https && !url.is_loopback() {
            bail!("plain http is only allowed to a loopback address");
        }
        Ok(url)
    }

    /// Whether it leads to this machine itself: to `localhost`, or a loopback address.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse();
        is_localhost(&self.host) || address.is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// The same path at another origin, which starts with its scheme and has no trailing slash.
    pub fn at_origin(&self, origin: &Self) -> Self {
        let path = &self.text[self.origin().len()..];
        Self {
            text: format!("{}{path}", origin.text),
            ..origin.clone()
        }
    }

    /// The scheme, the host and the port, as written.
    pub fn origin(&self) -> &str {
        let host = self.text.find("://").map_or(0, |colon| colon + 3);
        let path = self.text[host..].find('/');
        path.map_or(&self.text, |slash| &self.text[..host + slash])
    }

    /// The URL of a path below this one. `path` has no leading slash.
    pub fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.text)
    }
}

/// The host of an authority without a user, and the port if given. Nothing else may be between or after them
/// (RFC 3986 section 3.2): the `http` crate's parser skips it.
pub fn split_authority(authority: &str) -> Result<(&str, Option<u16>)> {
    let end = authority.find(']').map_or(0, |end| end + 1);
    let (host, port) = match authority[end..].find(':') {
        Some(colon) => authority.split_at(end + colon),
        None => (authority, ""),
    };
    let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let bracketed = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let bare = match bracketed {
        Some(address) if address.parse::<Ipv6Addr>().is_ok() => address,
        None if !host.is_empty() && host.bytes().all(is_in_name) => host,
        _ => bail!("invalid host {host:?}"),
    };
    let Some(number) = port.strip_prefix(':') else {
        return Ok((bare, None));
    };
    match number.parse() {
        // `parse` accepts a sign, but a URL must not have one.
        Ok(port @ 1..) if !number.starts_with('+') => Ok((bare, Some(port))),
        _ => bail!("invalid port {number:?}"),
    }
}

/// Whether a host is called `localhost`, which needs no name server (RFC 6761 section 6.3).
pub fn is_localhost(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost")
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
            assert_eq!((url.host.as_str(), url.port), (host, port), "{text}");
            assert_eq!(url.is_https, text.starts_with("https:"), "{text}");
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
            "https://:443",
            "http://[::1]evil.example:1",
            "http://[::1]evil.example",
            "http://[::1]:1:2",
            "http://[::1",
            "http://::1",
            "http://[127.0.0.1]:1",
            "http://[localhost]:1",
            "http://[[::1]]:1",
            "http://evil.example[::1]:1",
            "http://127.0.0.1]:1",
            "https://a.example:1:443",
            "https://a%2eexample",
            "https://ä.example",
            "https://a.example\\@evil.example",
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
            assert_eq!(url.text, "https://a.example/x");
        }
    }

    #[test]
    fn the_path_stays_at_another_origin() {
        let origin = Url::parse("http://[::1]:7").unwrap();
        for (text, wanted) in [
            ("https://a.example/x/y", "http://[::1]:7/x/y"),
            ("https://a.example", "http://[::1]:7"),
        ] {
            let moved = Url::parse(text).unwrap().at_origin(&origin);
            assert_eq!((moved.text.as_str(), moved.port), (wanted, 7));
            assert!(moved.is_loopback() && !moved.is_https);
        }
    }
}
