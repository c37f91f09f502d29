//! The connection of one request: through the proxy if there is one, with TLS for https.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::net::proxy::Proxy;
use crate::net::socket::{LONGEST_RESOLVE, Socket, Stream, describe_io, race, resolve};
use crate::net::tls;
use crate::sandbox::{NO_NETWORK, lacks_network};
use crate::url::Url;

/// Long enough for four lost packets of a TCP handshake.
const LONGEST_CONNECT: Duration = Duration::from_secs(15);
/// In bytes, each way.
const BUFFER: usize = 16 * 1024;

/// The way to the server of a URL.
#[derive(Debug)]
pub struct Route {
    pub url: Url,
    pub proxy: Option<Proxy>,
    /// None for plain http.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Connects for one request, which has this limit.
#[derive(Debug)]
pub struct Dialer {
    pub route: Arc<Route>,
    pub limit: Duration,
}

impl Connector for Dialer {
    type Out = Connection;

    fn connect(&self, _: &ConnectionDetails, _: Option<()>) -> Result<Option<Connection>, Error> {
        let stream = self.dial();
        let stream = stream.map_err(|reason| Error::Other(reason.into()))?;
        let buffers = LazyBuffers::new(BUFFER, BUFFER);
        Ok(Some(Connection { stream, buffers }))
    }
}

impl Dialer {
    fn dial(&self) -> Result<Stream, String> {
        let (begun, longest) = (Instant::now(), self.limit / 3 * 2);
        let Route { url, proxy, tls } = &*self.route;
        let (host, port) = match proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (url.host.as_str(), url.port),
        };
        let addresses = resolve(host, port, LONGEST_RESOLVE.min(self.limit / 3));
        let addresses = addresses.map_err(|_| match proxy {
            _ if lacks_network().is_some() => NO_NETWORK,
            Some(_) => "could not resolve proxy (is this machine online?)",
            None => "could not resolve host (is this machine online? behind a company proxy, is https_proxy set?)",
        })?;
        let socket = race(&addresses, LONGEST_CONNECT.min(longest))
            .and_then(|socket| Socket::new(socket, self.limit.saturating_sub(begun.elapsed())));
        let mut stream = Stream::Plain(socket.map_err(|error| describe_io(&error))?);
        if let (Some(proxy), Some(config)) = (proxy, tls) {
            if proxy.is_https() {
                stream = tls::encrypt(config, host, stream)
                    .map_err(|reason| format!("proxy: {reason}"))?;
            }
            proxy.open_tunnel(&mut stream, &url.host, url.port)?;
        }
        if let Some(config) = tls {
            stream = tls::encrypt(config, &url.host, stream)?;
        }
        // The request needs time for its answer.
        if begun.elapsed() > longest {
            return Err("connection timed out".to_owned());
        }
        Ok(stream)
    }
}

/// A connection as ureq uses it. The limits are those of the socket.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    buffers: LazyBuffers,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(self.stream.flush()?)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let count = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    /// No connection is reused.
    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}
