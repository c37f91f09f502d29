//! Sealing: what is secret in stored credentials is encrypted with a key that is kept elsewhere.
//!
//! ChaCha20-Poly1305 (RFC 8439), with a nonce that is drawn anew for each write: a key is used some thousand times, and half of
//! all nonces would be some billion. The key is one file's own, and what must not change unnoticed is authenticated with the
//! secrets.

use anyhow::{Result, anyhow};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

/// The length of a key, in bytes.
const KEY: usize = 32;

/// The key of one file. It has no `Debug`: nothing prints it.
#[derive(Clone)]
pub struct Key {
    /// Its name, which stands in the file: a random number.
    id: String,
    bytes: [u8; KEY],
}

impl Key {
    pub fn generate() -> Result<Self> {
        let id = u128::from_be_bytes(random()?);
        Ok(Self {
            id: format!("{id:032x}"),
            bytes: random()?,
        })
    }

    /// A key that was kept elsewhere, if it is one.
    pub fn new(id: &str, bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id: id.to_owned(),
            bytes: bytes.try_into().ok()?,
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A key, and the name of the file that is sealed with it: one that is put in another's place does not open.
#[derive(Clone)]
pub struct Seal {
    pub key: Key,
    pub name: String,
}

/// What is secret, as it stands in the file.
#[derive(Serialize, Deserialize)]
pub(super) struct Sealed {
    /// The name of the key.
    pub key: String,
    nonce: String,
    data: String,
}

impl Seal {
    /// Encrypts `secret`, and authenticates `bound` with it.
    pub(super) fn close(&self, secret: String, bound: &str) -> Result<Sealed> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut data = secret.into_bytes();
        self.cipher()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound),
                &mut data,
            )
            .map_err(|_| anyhow!("could not encrypt the credentials"))?;
        Ok(Sealed {
            key: self.key.id.clone(),
            nonce: BASE64_STANDARD.encode(nonce),
            data: BASE64_STANDARD.encode(data),
        })
    }

    /// Decrypts it, unless it, or `bound`, is not what it was, or another key closed it.
    pub(super) fn open(&self, sealed: &Sealed, bound: &str) -> Option<String> {
        let nonce = BASE64_STANDARD.decode(&sealed.nonce).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        let mut data = BASE64_STANDARD.decode(&sealed.data).ok()?;
        let cipher = self.cipher().ok()?;
        let secret = cipher.open_in_place(nonce, Aad::from(bound), &mut data);
        String::from_utf8(secret.ok()?.to_vec()).ok()
    }

    fn cipher(&self) -> Result<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.key.bytes)
            .map(LessSafeKey::new)
            .map_err(|_| anyhow!("could not use the key"))
    }
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(bytes)
}
