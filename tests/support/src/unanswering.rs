//! A local address that does not respond, as behind a dead route or a firewall.

#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A listener whose queue is full, so that Linux drops further connections.
pub struct Unanswering {
    pub address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Unanswering {
    /// `address` in the form `[::1]:0`.
    pub fn start(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let queue = std::iter::from_fn(connect).collect();
        Self {
            address,
            _listener: listener,
            _queue: queue,
        }
    }
}
