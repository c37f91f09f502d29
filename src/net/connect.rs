//! Before any request: the addresses of a host, and which of them can be connected to.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::url;

/// How long an address is waited for before the next one is tried beside it (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The addresses of a host, at least one. The resolver of the system has no limit of its own.
pub fn resolve(host: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    if url::is_localhost(host) {
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

/// The first of these addresses that can be connected to, or the last failure. Both families of addresses take turns, and
/// none has to fail before the next one is tried (RFC 8305).
pub fn race(addresses: &[SocketAddr], limit: Duration) -> io::Result<SocketAddr> {
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
                let outcome = TcpStream::connect_timeout(&address, left);
                // Nobody listens after the first success.
                let _ = sender.send(outcome.map(|_| address));
            })?;
            pending += 1;
            patience = left.min(ATTEMPT_DELAY);
        } else if pending == 0 {
            return Err(failure);
        }
        match outcomes.recv_timeout(patience) {
            Ok(Ok(address)) => return Ok(address),
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
        assert_eq!(race(&[closed, open], LIMIT).unwrap(), open);
        let error = race(&[closed, closed], LIMIT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_does_not_answer_does_not_keep_the_next_one_from_being_tried() {
        let silent = support::unanswering::Unanswering::start("[::1]:0");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        assert_eq!(race(&[silent.address, open], LIMIT).unwrap(), open);
        let error = race(&[silent.address], Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
