//! Which proxy a request takes: only this file knows the rules of the proxy variables, which are curl's.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;

use crate::settings;
use crate::url;
use crate::url::Url;

/// The proxy of a URL. It is shown with the variable that asks for it, and without its password.
pub struct Proxy {
    variable: &'static str,
    inner: ureq::Proxy,
}

impl Proxy {
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    pub fn inner(&self) -> &ureq::Proxy {
        &self.inner
    }

    pub fn is_socks(&self) -> bool {
        let scheme = self.inner.uri().scheme_str();
        scheme.is_some_and(|scheme| scheme.starts_with("socks"))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.inner.uri().scheme_str().unwrap_or("http");
        let (host, port) = (self.inner.host(), self.inner.port());
        write!(f, "{scheme}://{host}:{port} ({})", self.variable)
    }
}

/// The proxy for a URL, if it has one: that of `https_proxy`, else of `all_proxy`, unless `NO_PROXY` covers the host.
///
/// This machine itself is never reached through a proxy, whatever the variables say: to the proxy, 127.0.0.1 is another
/// machine. Plain http is used to no other machine, so `http_proxy` does not count. A value that cannot be used is an error.
pub fn for_url(url: &Url) -> Result<Option<Proxy>> {
    if url.is_loopback() {
        return Ok(None);
    }
    let Some((variable, value)) = settings::proxy()? else {
        return Ok(None);
    };
    let (host, port) = (url.host(), url.port());
    if settings::no_proxy()?.is_some_and(|list| is_listed(&list, host, port)) {
        return Ok(None);
    }
    let inner = parse(&value).with_context(|| {
        format!(
            "invalid {variable}: use a URL such as http://USER:PASSWORD@HOST:PORT, or one with https, socks5 or socks5h \
             (in the password, write %40 for @ and the like)"
        )
    })?;
    Ok(Some(Proxy { variable, inner }))
}

/// The proxy of a variable, unless its host is empty or its port invalid: those would lead elsewhere.
fn parse(value: &str) -> Option<ureq::Proxy> {
    let proxy = ureq::Proxy::new(value).ok()?;
    let authority = proxy.uri().authority()?.as_str();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_user, host)| host);
    url::split_authority(host).is_ok().then_some(proxy)
}

/// Whether a list as in `NO_PROXY` covers a host: names with their subdomains, addresses, ranges of them, each with or
/// without a port, or `*` for all. Names are never resolved to compare them with addresses.
pub fn is_listed(list: &str, host: &str, port: u16) -> bool {
    let host = bare(host).to_ascii_lowercase();
    list.split([',', ' ', '\t'])
        .filter(|entry| !entry.is_empty())
        .any(|entry| covers(&entry.to_ascii_lowercase(), &host, port))
}

fn covers(entry: &str, host: &str, port: u16) -> bool {
    let (entry, wanted) = split_port(entry);
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        let is_in = |range: IpNet| range.contains(&address);
        return entry == "*" || entry.parse() == Ok(address) || entry.parse().is_ok_and(is_in);
    }
    let domain = entry.trim_start_matches("*.").trim_start_matches('.');
    let under = host.strip_suffix(domain);
    entry == "*" || under.is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
}

/// An entry without its port. The colons of an IPv6 address are none of a port, unless it stands in brackets.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    let is_plain_ipv6 = entry.matches(':').count() > 1 && !entry.starts_with('[');
    let split = entry
        .rsplit_once(':')
        .filter(|(host, _)| !is_plain_ipv6 && (!host.starts_with('[') || host.ends_with(']')));
    match split.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => (bare(host), Some(port)),
        None => (bare(entry), None),
    }
}

/// A host without the brackets of IPv6 and the dot of the root.
fn bare(host: &str) -> &str {
    url::without_brackets(host).trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_covers_what_it_covers_elsewhere() {
        for (list, host) in [
            ("*", "auth.openai.com"),
            ("auth.openai.com", "auth.openai.com"),
            ("openai.com", "auth.openai.com"),
            (".openai.com", "auth.openai.com"),
            (".openai.com", "openai.com"),
            ("*.openai.com", "auth.openai.com"),
            ("OpenAI.com", "AUTH.openai.com"),
            ("openai.com.", "auth.openai.com"),
            ("openai.com", "auth.openai.com."),
            ("a.example, openai.com", "auth.openai.com"),
            ("a.example  openai.com", "auth.openai.com"),
            (",,openai.com,", "auth.openai.com"),
            ("openai.com:443", "auth.openai.com"),
            ("*:443", "auth.openai.com"),
            ("10.1.2.3", "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("10.1.2.77/24", "10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("0.0.0.0/0", "10.1.2.3"),
            ("10.1.2.3:443", "10.1.2.3"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("2001:DB8:0::1", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[2001:db8::1]:443", "[2001:db8::1]"),
            ("2001:db8::/32", "[2001:db8::1]"),
        ] {
            assert!(is_listed(list, host, 443), "{list:?} does not cover {host}");
        }
    }

    #[test]
    fn no_proxy_covers_nothing_else() {
        for (list, host) in [
            ("", "auth.openai.com"),
            (" , ", "auth.openai.com"),
            (".", "auth.openai.com"),
            ("auth.openai.com", "openai.com"),
            ("openai.com", "notopenai.com"),
            ("openai.com", "openai.com.example"),
            ("penai.com", "auth.openai.com"),
            ("openai.com:80", "auth.openai.com"),
            ("10.0.0.0/8", "11.1.2.3"),
            ("10.0.0.0/33", "10.1.2.3"),
            ("10.1.2", "10.1.2.3"),
            ("2.3", "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3.example"),
            ("10.1.2.3:80", "10.1.2.3"),
            ("0.0.0.0/0", "[2001:db8::1]"),
            ("2001:db8::/32", "[2001:db9::1]"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
        ] {
            assert!(!is_listed(list, host, 443), "{list:?} covers {host}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_or_a_host_with_a_port() {
        for (value, shown) in [
            ("http://proxy.example:3128", "http://proxy.example:3128 (v)"),
            (
                "http://proxy.example:3128/",
                "http://proxy.example:3128 (v)",
            ),
            ("proxy.example:3128", "http://proxy.example:3128 (v)"),
            (
                "http://me:secret%40@proxy.example:3128",
                "http://proxy.example:3128 (v)",
            ),
            ("https://proxy.example", "https://proxy.example:443 (v)"),
            ("socks5://10.0.0.1", "socks5://10.0.0.1:1080 (v)"),
            ("socks5h://[2001:db8::1]:9", "socks5h://[2001:db8::1]:9 (v)"),
        ] {
            let proxy = Proxy {
                variable: "v",
                inner: parse(value).unwrap(),
            };
            assert_eq!(proxy.to_string(), shown);
        }
    }

    #[test]
    fn an_invalid_proxy_is_refused() {
        for value in [
            "http://",
            "http://:3128",
            "http://proxy.example:",
            "http://proxy.example:port",
            "http://proxy.example:99999",
            "http://proxy.example:0",
            "http://[::1]evil.example:1",
            "http://me:secret@[::1]evil.example:1",
            "http://proxy example:3128",
            "ftp://proxy.example:3128",
            "pac+http://proxy.example/wpad",
            "/etc/proxy",
        ] {
            assert!(parse(value).is_none(), "{value}");
        }
    }
}
