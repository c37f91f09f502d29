//! Signing in: how a person's consent becomes an authorization code.
//!
//! The way through a login, which `commands::login` walks:
//!
//! ```text
//! store::Lock::stage           could the credentials be stored at all?
//! browser::authorize           or device_code::authorize; both give an Authorization (access_token gives credentials)
//!   callback::listen           before the browser starts, which may come back at once
//!   pkce                       verifier, challenge and state
//!   opener::open               a one-time link to the issuer, where there is a browser
//!   callback, or a paste       redirect::parse_…: the state fits → the code
//! Issuer::exchange, save       both under the store's lock
//! page::signed_in              the browser and the terminal say so only now
//! Issuer::revoke               the login that was there before
//! ```

pub mod access_token;
pub mod browser;
pub mod callback;
pub mod device_code;
pub mod opener;
pub mod page;
pub mod pkce;
pub mod qr;
pub mod redirect;
