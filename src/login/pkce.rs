//! The secrets of one login in the browser: the code verifier, its challenge (RFC 7636), and the state.

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};

/// A new code verifier: 64 random bytes in 86 characters, where RFC 7636 section 4.1 asks for 43 to 128.
pub fn verifier() -> Result<String> {
    random(64)
}

/// The S256 challenge for a verifier (RFC 7636 section 4.2): 43 characters.
pub fn challenge(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// A new secret that nobody can guess, such as a state (RFC 6749 section 10.12): 32 random bytes in 43 characters.
pub fn random_secret() -> Result<String> {
    random(32)
}

/// Random bytes from the operating system, as base64url.
fn random(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    SysRng
        .try_fill_bytes(&mut random)
        .context("could not get random numbers from the system")?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random))
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
    fn verifier_and_secret_are_new_every_time_and_need_no_escaping() {
        let unreserved =
            |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~');
        for (make, length) in [
            (verifier as fn() -> Result<String>, 86),
            (random_secret, 43),
        ] {
            let (one, other) = (make().unwrap(), make().unwrap());
            assert_eq!(one.len(), length);
            assert!(one.bytes().all(unreserved), "{one}");
            assert_ne!(one, other);
        }
    }
}
