//! TCP: a connection to the address of a host that answers first, and a stream over it, encrypted or not, with a time limit.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use crate::sandbox::NO_NETWORK;
use crate::text::redact;
use crate::time::within;
use crate::url::is_localhost;

/// Resolvers give up after 10 s.
pub const LONGEST_RESOLVE: Duration = Duration::from_secs(10);
/// How long to wait for an address before trying the next one too (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How many steps a time limit is divided into.
const STEPS: u32 = 100;

/// The addresses of a host. The system's resolver has no time limit of its own.
pub fn resolve(host: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    if is_localhost(host) {
        return Ok(vec![
            (Ipv6Addr::LOCALHOST, port).into(),
            (Ipv4Addr::LOCALHOST, port).into(),
        ]);
    }
    let host = host.to_owned();
    let found = within(limit, move || (host.as_str(), port).to_socket_addrs())?;
    found.map(Iterator::collect)
}

/// The first connection to one of these addresses, or the last failure. The address families alternate, and the next address is
/// tried before the last one has failed (RFC 8305).
pub fn race(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
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
                // Nobody receives it after the first success; then it is closed.
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

/// The addresses with alternating families, beginning with that of the first one.
fn in_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of_family = |is_ipv6: bool| addresses.iter().filter(move |one| one.is_ipv6() == is_ipv6);
    let mut first = of_family(is_first_ipv6);
    let mut second = of_family(!is_first_ipv6);
    let turns = (0..addresses.len()).flat_map(|_| [first.next(), second.next()]);
    turns.flatten().copied().collect()
}

/// A socket with a time limit. It waits in short steps: while this process is stopped the clock goes on, but at most one step is
/// used up, and what arrived meanwhile is read.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    left: Duration,
    step: Duration,
}

impl Socket {
    pub fn new(stream: TcpStream, left: Duration) -> io::Result<Self> {
        let step = (left / STEPS).max(Duration::from_millis(1));
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

/// A stream of bytes, encrypted or not; through an https proxy it is encrypted twice.
#[derive(Debug)]
pub enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Stream>>),
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

/// What went wrong with a connection.
pub fn describe_io(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::TimedOut => "connection timed out".to_owned(),
        ErrorKind::PermissionDenied if cfg!(unix) => NO_NETWORK.to_owned(),
        ErrorKind::HostUnreachable => "no route to host".to_owned(),
        ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
            "network unreachable".to_owned()
        }
        ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            "connection closed before the response was complete".to_owned()
        }
        _ => redact(&error.to_string()),
    }
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
