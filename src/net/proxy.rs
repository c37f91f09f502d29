//! Which proxy a request goes through, by curl's rules for the proxy variables, and how to open a tunnel through it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use httparse::EMPTY_HEADER;
use ipnet::IpNet;
use ureq::ProxyProtocol;

use crate::net::socket::{Stream, describe_io, resolve};
use crate::settings;
use crate::text::redact;
use crate::url::{Url, split_authority};

#[derive(Clone, Debug)]
pub struct Proxy {
    pub inner: ureq::Proxy,
    /// Its URL, with the variable that names it, and without the password.
    pub shown: String,
    /// A name or an address; an IPv6 address has no brackets.
    pub host: String,
}

/// The proxy for a URL, if any: the one in `https_proxy`, or else in `all_proxy`, unless `NO_PROXY` covers the host.
///
/// This machine is never reached through a proxy, regardless of the variables: to the proxy, 127.0.0.1 is another
/// machine. Plain http is only used on this machine, so `http_proxy` does not count. An invalid value is an error.
pub fn for_url(url: &Url) -> Result<Option<Proxy>> {
    if url.is_loopback() {
        return Ok(None);
    }
    let is_direct = |list: String| is_listed(&list, &url.host, url.port);
    let is_direct = settings::no_proxy()?.is_some_and(is_direct);
    let Some((variable, value)) = settings::proxy()?.filter(|_| !is_direct) else {
        return Ok(None);
    };
    let why = "use a URL such as http://USER:PASSWORD@HOST:PORT, or one with https, socks5 or socks5h (percent-encode special \
               characters in the password: %40 for @)";
    let proxy = parse(variable, &value).map(Some);
    proxy.ok_or_else(|| settings::invalid(variable, why))
}

/// The proxy that a variable names. With an invalid host or port, the request could end up elsewhere.
fn parse(variable: &str, value: &str) -> Option<Proxy> {
    let inner = ureq::Proxy::new(value).ok()?;
    let authority = inner.uri().authority()?.as_str();
    let (_user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let host = split_authority(host).ok()?.0.to_owned();
    let (scheme, port) = (inner.uri().scheme_str()?, inner.port());
    let shown = format!("{scheme}://{}:{port} ({variable})", inner.host());
    let is_supported = !scheme.starts_with("socks4");
    is_supported.then_some(Proxy { inner, shown, host })
}

impl Proxy {
    /// Opens a tunnel to a server. Resolving its name, if that is up to us, is limited. The error says why it failed.
    pub fn tunnel(&self, stream: &mut Stream, url: &Url, limit: Duration) -> Result<(), String> {
        let opened = match self.inner.protocol() {
            ProxyProtocol::Http | ProxyProtocol::Https => self.open_by_connect(stream, url),
            _ => self.open_by_socks(stream, url, limit),
        };
        opened.map_err(|error| match error.downcast_ref() {
            Some(error) => describe_io(error),
            None => error.to_string(),
        })
    }

    /// CONNECT (RFC 9110 section 9.3.6).
    fn open_by_connect(&self, stream: &mut Stream, Url { host, port, .. }: &Url) -> Result<()> {
        let address = match host.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, *port).to_string(),
            Err(_) => format!("{host}:{port}"),
        };
        let login = self.login().map_or_else(String::new, |(user, password)| {
            let login = STANDARD.encode(format!("{user}:{password}"));
            format!("Proxy-Authorization: Basic {login}\r\n")
        });
        let request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{login}\r\n");
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        // Byte by byte, as what follows the head comes from the server. Heads usually have a few hundred bytes.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < 16 * 1024 {
            head.extend(read::<1>(stream)?);
        }
        let mut headers = [EMPTY_HEADER; 100];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&head);
        match response.code.filter(|_| parsed.is_ok()) {
            Some(200..=299) => Ok(()),
            Some(407) => {
                let mut offers = response.headers.to_vec();
                offers.retain(|it| it.name.eq_ignore_ascii_case("proxy-authenticate"));
                let offers = offers.iter().map(|it| String::from_utf8_lossy(it.value));
                bail!(self.login_rejected(&offers.collect::<Vec<_>>().join(" or ")))
            }
            Some(status) => bail!("proxy refused to connect (status {status})"),
            None => bail!("proxy does not speak HTTP"),
        }
    }

    fn login(&self) -> Option<(&str, &str)> {
        let password = self.inner.password().unwrap_or_default();
        self.inner.username().map(|user| (user, password))
    }

    /// Why the proxy did not accept our login. Of the schemes that it `offers`, we only support Basic.
    fn login_rejected(&self, offers: &str) -> String {
        if !offers.is_empty() && !offers.to_ascii_lowercase().contains("basic") {
            let offers = redact(offers);
            return format!(
                "proxy requires {offers} authentication, but codex-auth only supports Basic: run a local relay such as px \
                 or cntlm, and use that as the proxy"
            );
        }
        match self.login() {
            Some(_) => "proxy rejected the user name or password",
            None => "proxy authentication required: add USER:PASSWORD@ before the host in its URL",
        }
        .to_owned()
    }

    /// SOCKS version 5 (RFC 1928), with a user and a password if given (RFC 1929).
    fn open_by_socks(&self, stream: &mut Stream, url: &Url, limit: Duration) -> Result<()> {
        let target = self.socks_target(url, limit)?;
        let methods: &[u8] = match self.login() {
            Some(_) => &[5, 2, 0, 2],
            None => &[5, 1, 0],
        };
        let is_accepted = match (ask_socks(stream, methods)?, self.login()) {
            (0, _) => true,
            (2, Some((user, password))) => {
                let mut login = vec![1];
                for text in [user, password] {
                    login.push(u8::try_from(text.len())?);
                    login.extend(text.as_bytes());
                }
                ask_socks(stream, &login)? == 0
            }
            _ => false,
        };
        ensure!(is_accepted, self.login_rejected(""));
        let request = [&[5, 1, 0], &target[..], &url.port.to_be_bytes()].concat();
        let outcome = ask_socks(stream, &request)?;
        if outcome != 0 {
            bail!("proxy refused to connect (SOCKS error {outcome})");
        }
        // Skip the address and the port that the proxy connects from.
        let [_reserved, kind] = read(stream)?;
        let length = match kind {
            1 => 4,
            4 => 16,
            _ => read::<1>(stream)?[0].into(),
        };
        Ok(stream.read_exact(&mut vec![0; length + 2])?)
    }

    /// The destination for the proxy (RFC 1928 section 5): an address, or a name that it resolves itself.
    fn socks_target(&self, Url { host, port, .. }: &Url, limit: Duration) -> Result<Vec<u8>> {
        let address = if self.inner.protocol() == ProxyProtocol::Socks5 {
            let found = resolve(host, *port, limit)
                .ok()
                .context("could not resolve host (use socks5h:// to have the proxy resolve it)")?;
            found.first().map(SocketAddr::ip)
        } else {
            host.parse().ok()
        };
        Ok(match address {
            Some(IpAddr::V4(address)) => [&[1][..], &address.octets()].concat(),
            Some(IpAddr::V6(address)) => [&[4][..], &address.octets()].concat(),
            None => [&[3, u8::try_from(host.len())?], host.as_bytes()].concat(),
        })
    }
}

/// Sends a request to a SOCKS proxy, and returns the status in its reply, which follows the version of the request.
fn ask_socks(stream: &mut Stream, request: &[u8]) -> Result<u8> {
    stream.write_all(request)?;
    stream.flush()?;
    let [version, outcome] = read(stream)?;
    if version != request[0] {
        bail!("proxy does not speak SOCKS5 (if it is an HTTP proxy, use http:// in its URL)");
    }
    Ok(outcome)
}

fn read<const LENGTH: usize>(stream: &mut Stream) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Whether a list as in `NO_PROXY` covers a host: names with their subdomains, addresses, ranges of addresses, each with
/// or without a port, or `*` for all. Names are never resolved to compare them with addresses.
pub fn is_listed(list: &str, host: &str, port: u16) -> bool {
    let (list, host) = (list.to_ascii_lowercase(), bare(host).to_ascii_lowercase());
    let mut entries = list.split([',', ' ', '\t']);
    entries.any(|entry| !entry.is_empty() && covers(entry, &host, port))
}

fn covers(entry: &str, host: &str, port: u16) -> bool {
    // A colon after an IPv6 address only starts a port if it follows a bracket.
    let (entry, wanted) = match entry.rsplit_once(':') {
        Some((name, port)) if name.ends_with(']') || !name.contains(':') => (name, port.parse()),
        _ => (entry, Ok(port)),
    };
    let entry = bare(entry);
    let is_covered = if let Ok(address) = host.parse::<IpAddr>() {
        let is_in = |range: IpNet| range.contains(&address);
        entry.parse() == Ok(address) || entry.parse().is_ok_and(is_in)
    } else {
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        let under = host.strip_suffix(domain);
        under.is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
    };
    wanted == Ok(port) && (entry == "*" || is_covered)
}

/// A host without the brackets of IPv6 (RFC 3986 section 3.2.2) and the trailing dot.
fn bare(host: &str) -> &str {
    host.trim_matches(['[', ']']).trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_covers_the_same_hosts_as_elsewhere() {
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
            assert_eq!(parse("v", value).unwrap().shown, shown);
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
            "socks4://proxy.example:1080",
            "socks4a://proxy.example:1080",
            "/etc/proxy",
        ] {
            assert!(parse("v", value).is_none(), "{value}");
        }
    }
}
