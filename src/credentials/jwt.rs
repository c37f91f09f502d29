//! The claims of a JSON web token (RFC 7519). Signatures are not checked: tokens come straight from the issuer over TLS
//! (OpenID Connect Core 3.1.3.7).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The claims of a JWT (RFC 7519 section 3). None if it is not a JWT.
pub fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

/// A count of seconds, as servers write it: a number, with or without a fraction, or a string of digits.
pub fn seconds_of(value: &Value) -> Option<u64> {
    let fraction = || Duration::try_from_secs_f64(value.as_f64()?).ok();
    value
        .as_u64()
        .or_else(|| Some(fraction()?.as_secs()))
        .or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An unsigned token with these claims.
    pub fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }
}
