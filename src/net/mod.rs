//! The network: requests with limits, proxies, TLS and the certificates that are trusted.

pub mod connect;
pub mod http;
pub mod proxy;
pub mod roots;
pub mod tls;
pub mod url;
