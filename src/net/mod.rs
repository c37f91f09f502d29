//! The network: requests with limits, proxies, TLS and the certificates that are trusted.
//!
//! `http` sends a request to a `url` that a token may go to: by the `proxy` for it, to the address that answers
//! first (`connect`), over `tls` with the certificates of `roots`.

pub mod connect;
pub mod http;
pub mod proxy;
pub mod roots;
pub mod tls;
