//! The network: requests with limits, proxies, TLS and the trusted certificates. Imports go down:
//!
//! ```text
//! http      a request to a `url` that may receive a token, through the proxy, if any, and encrypted
//! proxy     which proxy, and its tunnel        tls, roots   whom to trust
//! socket    TCP to the address that responds first
//! ```

pub mod http;
pub mod proxy;
pub mod roots;
pub mod socket;
pub mod tls;
