//! The secrets of one browser login: the code verifier, its challenge (RFC 7636), and the state.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::credentials::{fingerprint, random};

/// A new unguessable secret, as a code verifier (RFC 7636 section 4.1) or a state (RFC 6749 section 10.12): 32 random
/// bytes, as 43 characters of base64url.
pub fn random_secret() -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

/// The S256 challenge for a verifier (RFC 7636 section 4.2): 43 characters.
pub fn challenge(verifier: &str) -> String {
    fingerprint(verifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636_appendix_b() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(
            challenge(verifier),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn a_secret_is_new_every_time_and_needs_no_escaping() {
        let unreserved =
            |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~');
        let (one, other) = (random_secret().unwrap(), random_secret().unwrap());
        assert_eq!(one.len(), 43);
        assert!(one.bytes().all(unreserved), "{one}");
        assert_ne!(one, other);
    }
}
