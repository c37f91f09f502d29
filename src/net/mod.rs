//! The network: requests with limits, proxies, TLS and the certificates that are trusted.
//!
//! `url` says what a token may be sent to. `http` sends a request there: by the `proxy` for it, to the address that answers
//! first (`connect`), over `tls` with the certificates of `roots`.

pub mod connect;
pub mod http;
pub mod proxy;
pub mod roots;
pub mod tls;
pub mod url;
