//! The connection of one request: to the address that answers first, through the proxy if there is one, with TLS for https.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::net::http::describe_io;
use crate::net::proxy::Proxy;
use crate::net::tls;
use crate::url::is_localhost;

/// How long an address is waited for before the next one is tried beside it (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Limits for the first steps: resolvers give up after 10 s, and 15 s are four lost packets of a TCP connection.
pub const LONGEST_RESOLVE: Duration = Duration::from_secs(10);
const LONGEST_CONNECT: Duration = Duration::from_secs(15);
/// In how many steps a limit is waited for.
const STEPS: u32 = 100;
/// In bytes, each way.
const BUFFER: usize = 16 * 1024;

/// The way to a server.
pub struct Route {
    pub host: String,
    pub port: u16,
    pub proxy: Option<Proxy>,
    /// None for plain http.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Connects for one request, which has this limit.
pub struct Dialer {
    pub route: Arc<Route>,
    pub limit: Duration,
    /// Is set as soon as a connection to the server stands.
    pub connected: Arc<OnceLock<()>>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Connector for Dialer {
    type Out = Connection;

    fn connect(
        &self,
        _: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Connection>, ureq::Error> {
        let connection = self.dial();
        let connection = connection.map_err(|reason| ureq::Error::Other(reason.into()))?;
        let _ = self.connected.set(());
        Ok(Some(connection))
    }
}

impl Dialer {
    /// Its steps together stay below the whole limit, so that the error names the step.
    fn dial(&self) -> Result<Connection, String> {
        let (begun, route) = (Instant::now(), &self.route);
        let limit = LONGEST_CONNECT.min(self.limit / 3 * 2);
        let socket = self.reach(limit)?;
        let left = limit.saturating_sub(begun.elapsed());
        let socket = Socket::new(socket, left, self.limit / STEPS);
        let mut stream = Stream::Plain(socket.map_err(|error| describe_io(&error))?);
        if let (Some(proxy), Some(config)) = (&route.proxy, &route.tls) {
            if proxy.is_https() {
                stream = tls::encrypt(config, proxy.host(), stream)
                    .map_err(|reason| format!("proxy: {reason}"))?;
            }
            proxy.open_tunnel(&mut stream, &route.host, route.port)?;
        }
        if let Some(config) = &route.tls {
            stream = tls::encrypt(config, &route.host, stream)?;
        }
        stream.socket().left += self.limit.saturating_sub(limit);
        let buffers = LazyBuffers::new(BUFFER, BUFFER);
        Ok(Connection { stream, buffers })
    }

    /// A connection to the server, or to the proxy before it.
    fn reach(&self, limit: Duration) -> Result<TcpStream, String> {
        let route = &self.route;
        let (host, port) = match &route.proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (route.host.as_str(), route.port),
        };
        let addresses = resolve(host, port, LONGEST_RESOLVE.min(self.limit / 3));
        let addresses = addresses.map_err(|_| match route.proxy {
            Some(_) => "could not resolve proxy (is this machine online?)",
            None => "could not resolve host (is this machine online? behind a company proxy, is https_proxy set?)",
        })?;
        race(&addresses, limit).map_err(|error| describe_io(&error))
    }
}

/// A socket that is used until its time is up. It waits in short steps: while this process is stopped the clock goes on, but
/// no more than one step is used up, and what came meanwhile is read.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    left: Duration,
    step: Duration,
}

impl Socket {
    fn new(stream: TcpStream, left: Duration, step: Duration) -> io::Result<Self> {
        let step = step.max(Duration::from_millis(1));
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(step))?;
        stream.set_write_timeout(Some(step))?;
        Ok(Self { stream, left, step })
    }

    fn retry(
        &mut self,
        mut step: impl FnMut(&mut TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        while !self.left.is_zero() {
            let begun = Instant::now();
            let outcome = step(&mut self.stream);
            self.left -= begun.elapsed().min(self.step).min(self.left);
            match outcome.as_ref().map_err(io::Error::kind) {
                Err(ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                _ => return outcome,
            }
        }
        Err(ErrorKind::TimedOut.into())
    }
}

/// The bytes that go to and fro, encrypted or not. Through a proxy that is reached by TLS they are encrypted twice.
#[derive(Debug)]
pub enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Stream>>),
}

impl Stream {
    fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.sock.socket(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.retry(|stream| stream.read(buffer)),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.retry(|stream| stream.write(bytes)),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
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

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(self.stream.flush()?)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let count = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    /// None is used twice.
    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

/// The addresses of a host, at least one. The resolver of the system has no limit of its own.
pub fn resolve(host: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    if is_localhost(host) {
        return Ok(vec![
            (Ipv6Addr::LOCALHOST, port).into(),
            (Ipv4Addr::LOCALHOST, port).into(),
        ]);
    }
    let host = host.to_owned();
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs();
        // Nobody listens after the limit.
        let _ = sender.send(found.map(Iterator::collect::<Vec<_>>));
    })?;
    let found = receiver
        .recv_timeout(limit)
        .map_err(|_| ErrorKind::TimedOut)??;
    if found.is_empty() {
        return Err(io::Error::other("the name has no address"));
    }
    Ok(found)
}

/// The first connection to one of these addresses, or the last failure. Both families of addresses take turns, and none has to
/// fail before the next one is tried (RFC 8305).
fn race(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + limit;
    let mut waiting = in_turns(addresses).into_iter();
    let mut pending = 0;
    let mut failure = io::Error::from(ErrorKind::TimedOut);
    let (sender, outcomes) = mpsc::channel();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut patience = left;
        if let Some(address) = waiting.next().filter(|_| !left.is_zero()) {
            let sender = sender.clone();
            thread::Builder::new().spawn(move || {
                // Nobody listens after the first success: then this one is closed.
                let _ = sender.send(TcpStream::connect_timeout(&address, left));
            })?;
            pending += 1;
            patience = left.min(ATTEMPT_DELAY);
        } else if pending == 0 {
            return Err(failure);
        }
        match outcomes.recv_timeout(patience) {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                pending -= 1;
                failure = error;
            }
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(failure),
            Err(_) => {}
        }
    }
}

/// Addresses of both families in turns, beginning with that of the first one.
fn in_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of_family = |is_ipv6: bool| addresses.iter().filter(move |one| one.is_ipv6() == is_ipv6);
    let mut first = of_family(is_first_ipv6);
    let mut second = of_family(!is_first_ipv6);
    let turns = (0..addresses.len()).flat_map(|_| [first.next(), second.next()]);
    turns.flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(30);

    fn parsed(addresses: &[&str]) -> Vec<SocketAddr> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        addresses.collect()
    }

    #[test]
    fn both_families_take_turns() {
        for (given, wanted) in [
            (
                vec!["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"],
                vec!["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"],
            ),
            (
                vec!["1.1.1.1:1", "1.1.1.2:1", "[::1]:1"],
                vec!["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"],
            ),
            (
                vec!["1.1.1.1:1", "1.1.1.2:1"],
                vec!["1.1.1.1:1", "1.1.1.2:1"],
            ),
            (vec![], vec![]),
        ] {
            assert_eq!(in_turns(&parsed(&given)), parsed(&wanted));
        }
    }

    #[test]
    fn localhost_in_any_spelling_is_not_looked_up() {
        for host in ["localhost", "LOCALHOST", "localhost.", "LocalHost."] {
            let found = resolve(host, 7, Duration::ZERO).unwrap();
            assert_eq!(found, parsed(&["[::1]:7", "127.0.0.1:7"]), "{host}");
        }
    }

    #[test]
    fn an_address_that_refuses_does_not_keep_the_next_one_from_being_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let reached = race(&[closed, open], LIMIT).unwrap();
        assert_eq!(reached.peer_addr().unwrap(), open);
        let error = race(&[closed, closed], LIMIT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_does_not_answer_does_not_keep_the_next_one_from_being_tried() {
        let silent = support::unanswering::Unanswering::start("[::1]:0");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let reached = race(&[silent.address, open], LIMIT).unwrap();
        assert_eq!(reached.peer_addr().unwrap(), open);
        let error = race(&[silent.address], Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
