//! Signing in: with the browser, or with a device code.

pub mod browser;
pub mod callback;
pub mod device_code;
pub mod opener;
pub mod page;
pub mod pkce;
pub mod qr;
pub mod redirect;
