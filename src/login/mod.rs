//! Signing in: how the user's consent becomes an authorization code.
//!
//! The steps of a login, in the order of `commands::login`:
//!
//! ```text
//! store::Lock::stage           could the credentials be stored at all?
//! browser::authorize           or device_code::authorize; both give an Authorization (access_token gives credentials)
//!   callback::listen           before the browser starts, as it may return immediately
//!   pkce                       verifier, challenge and state
//!   opener::open               a one-time link to the issuer, if there is a browser
//!   callback, or a paste       redirect::parse_…: the state matches → the code
//! Issuer::exchange, save       both under the store's lock
//! page::signed_in              only now do the browser and the terminal say so
//! Issuer::revoke               the earlier login
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
