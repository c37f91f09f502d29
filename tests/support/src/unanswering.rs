//! An address of this machine that does not answer, as behind a dead route or a firewall.

#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A listener whose queue is full: Linux drops what else comes.
pub struct Unanswering {
    pub address: SocketAddr,
    listener: TcpListener,
    queue: Vec<TcpStream>,
}

impl Unanswering {
    /// `address` as in `[::1]:0`.
    pub fn start(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let queue = std::iter::from_fn(connect).collect();
        Self {
            address,
            listener,
            queue,
        }
    }

    /// Answers after all, and gives what the first to come then says; nothing if it hangs up.
    pub fn answer(self) -> String {
        let waiting = self.queue.len();
        drop(self.queue);
        for _ in 0..waiting {
            self.listener.accept().unwrap();
        }
        let mut said = [0; 4096];
        let (mut late, _) = self.listener.accept().unwrap();
        let count = late.read(&mut said).unwrap();
        String::from_utf8_lossy(&said[..count]).into_owned()
    }
}
