//! The loopback server that receives the redirect (RFC 8252 section 7.3). It serves one login.
//!
//! Any page and any local program can send requests here. A request goes through `server` (ports and connections) →
//! `http` (its bytes) → `navigation` (did a browser navigate here, with the right state?), and only one that
//! passes ends the login. All others get an error page from `http`, and the login goes on.
//!
//! It is made of std and httparse: `tiny_http` limits neither the size nor the time of a request's head, and 255
//! connections that are reset at once crash it.

mod http;
pub mod navigation;
mod server;

pub use navigation::PATH;
pub use server::{Callback, listen};
