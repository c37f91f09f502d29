//! The network: requests with limits, proxies, TLS and the certificates that are trusted. Imports go down:
//!
//! ```text
//! http      a request to a `url` that a token may go to, through the proxy, if there is one, and encrypted
//! proxy     which proxy, and its tunnel        tls, roots   whom to trust
//! socket    TCP to the address that answers first
//! ```

pub mod http;
pub mod proxy;
pub mod roots;
pub mod socket;
pub mod tls;
