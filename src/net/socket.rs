//! TCP: a connection to whichever address of a host responds first, and a stream over it, encrypted or not, with a time
//! limit.

use std::io::{self, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use crate::sandbox::NO_NETWORK;
use crate::text::redact;
use crate::time::{start, within};
use crate::url::is_localhost;

/// Resolvers give up after 10 s.
pub const LONGEST_RESOLVE: Duration = Duration::from_secs(10);
/// How long to wait for an address before trying the next one too (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How much longer than asked the system may wait: some versions of Windows never wait less than this.
const LATE: Duration = Duration::from_millis(500);

/// The addresses of a host. The system's resolver has no time limit of its own.
pub fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>> {
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

/// The first connection to one of these addresses, or the last failure. Each address is tried before the previous one has
/// failed (RFC 8305), so that a dead address costs only a moment.
pub fn race(addresses: &[SocketAddr], limit: Duration) -> Result<TcpStream> {
    let deadline = Instant::now() + limit;
    let mut waiting = addresses.iter().copied();
    let mut pending = 0;
    let mut failure = io::Error::from(ErrorKind::TimedOut);
    let (sender, outcomes) = mpsc::channel();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut patience = left;
        if let Some(address) = waiting.next().filter(|_| !left.is_zero()) {
            let sender = sender.clone();
            // After the first success nothing receives it, and it is closed.
            start(move || drop(sender.send(TcpStream::connect_timeout(&address, left))))?;
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
            Err(_) if left.is_zero() => return Err(failure),
            Err(_) => {}
        }
    }
}

/// A socket with a time limit. It waits in a hundred steps: if this process is stopped, the clock continues, but at most
/// one step and `LATE` are used up, and data that arrived meanwhile is still read.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    left: Duration,
    step: Duration,
}

impl Socket {
    pub fn new(stream: TcpStream, left: Duration) -> Result<Self> {
        let step = (left / 100).max(Duration::from_millis(1));
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(step))?;
        stream.set_write_timeout(Some(step))?;
        Ok(Self { stream, left, step })
    }

    fn retry(&mut self, mut step: impl FnMut(&TcpStream) -> Result<usize>) -> Result<usize> {
        while !self.left.is_zero() {
            let begun = Instant::now();
            let outcome = step(&self.stream);
            self.left -= begun.elapsed().min(self.step + LATE).min(self.left);
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
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Plain(socket) => socket.retry(|mut stream| stream.read(buffer)),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Plain(socket) => socket.retry(|mut stream| stream.write(bytes)),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

pub fn describe_io(error: &io::Error) -> String {
    use ErrorKind::{
        AddrNotAvailable, BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset,
        HostUnreachable, NetworkUnreachable, PermissionDenied, TimedOut, UnexpectedEof,
    };
    let words = match error.kind() {
        ConnectionRefused => "connection refused",
        TimedOut => "connection timed out",
        PermissionDenied if cfg!(unix) => NO_NETWORK,
        HostUnreachable | NetworkUnreachable | AddrNotAvailable => "network unreachable",
        ConnectionReset => "connection reset by peer",
        ConnectionAborted | BrokenPipe | UnexpectedEof => {
            "connection closed before the response was complete"
        }
        _ => return redact(&error.to_string()),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    const LIMIT: Duration = Duration::from_secs(30);

    fn parsed(addresses: &[&str]) -> Vec<SocketAddr> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        addresses.collect()
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

    #[test]
    fn a_wait_that_ends_late_is_counted_in_full_but_not_a_stop_of_the_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut socket = Socket::new(stream, Duration::from_secs(1)).unwrap();
        let stop = |_: &TcpStream| {
            thread::sleep(Duration::from_millis(520));
            Ok(0)
        };
        socket.retry(stop).unwrap();
        // A step has 10 ms.
        assert_eq!(socket.left, Duration::from_millis(490));
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
