//! Sealing: encrypts the secret members of stored credentials with a key that is kept elsewhere.
//!
//! ChaCha20-Poly1305 (RFC 8439), with a random nonce for each write: a key is used some thousand times, far too few for
//! two equal nonces. Each file has its own key, and whatever must not change unnoticed is authenticated along with the
//! secrets.

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use super::{Credentials, Members, SEALED_VERSION, VERSION};
use crate::error::login_required;

/// The members of a sealed record that stay readable, for `status`. All others, known or not, may be secret.
const READABLE: [&str; 12] = [
    "version",
    "auth_mode",
    "issuer",
    "client_id",
    "last_refresh",
    "expires_at",
    "expires_in",
    "revoked",
    "backoff",
    "rejected_at",
    "rejection_backoff",
    "replaces",
];

/// The key of one file. There is no `Debug`, so that nothing prints it.
#[derive(Clone)]
pub struct Key {
    /// Its name, as stored in the file: a random number.
    pub id: String,
    pub bytes: [u8; 32],
}

impl Key {
    pub fn generate() -> Result<Self> {
        let id = format!("{:032x}", u128::from_be_bytes(random()?));
        let bytes = random()?;
        Ok(Self { id, bytes })
    }

    /// A key from the keyring. `None` if it has the wrong length.
    pub fn new(id: &str, bytes: &[u8]) -> Option<Self> {
        let (id, bytes) = (id.to_owned(), bytes.try_into().ok()?);
        Some(Self { id, bytes })
    }
}

/// A key, and the name of the file that is sealed with it, which cannot be opened under another name.
#[derive(Clone)]
pub struct Seal {
    pub key: Key,
    pub name: String,
}

/// The secrets, as stored in the file.
#[derive(Serialize, Deserialize)]
pub(super) struct Sealed {
    /// The name of the key.
    pub key: String,
    nonce: String,
    data: String,
}

impl Seal {
    fn cipher(&self) -> Result<LessSafeKey, Unspecified> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.key.bytes).map(LessSafeKey::new)
    }

    /// Decrypts it. `None` if it or `bound` was changed, or with the wrong key.
    fn open(&self, sealed: &Sealed, bound: &str) -> Option<Members> {
        let nonce = STANDARD.decode(&sealed.nonce).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        let mut data = STANDARD.decode(&sealed.data).ok()?;
        let cipher = self.cipher().ok()?;
        let secret = cipher.open_in_place(nonce, Aad::from(bound), &mut data);
        serde_json::from_slice(secret.ok()?).ok()
    }
}

impl Credentials {
    /// Whether the secrets are encrypted in the file.
    pub fn is_sealed(&self) -> bool {
        self.key_id().is_some()
    }

    /// Whether they are sealed and not decrypted, and so have no tokens.
    pub fn is_closed(&self) -> bool {
        self.sealed.is_some()
    }

    /// The name of the key that they are sealed with, if any.
    pub fn key_id(&self) -> Option<&str> {
        let opened = self.seal.as_ref().map(|seal| seal.key.id.as_str());
        opened.or(self.sealed.as_ref().map(|sealed| sealed.key.as_str()))
    }

    /// Decrypts sealed credentials. They are sealed with the same key when written again.
    pub fn open(self, seal: Seal) -> Result<Self> {
        let sealed = self.sealed.as_ref().context("it is not sealed")?;
        let secret = seal.open(sealed, &self.authenticated(&seal)?);
        let secret = secret.ok_or_else(|| {
            login_required("it is sealed, but cannot be opened: it was modified or renamed")
        })?;
        let mut members: Members = serde_json::from_str(&self.original)?;
        members.retain(|name, _| READABLE.contains(&name.as_str()));
        members.extend(secret);
        let original = serde_json::to_string(&members)?;
        let opened: Self = serde_json::from_str(&original)?;
        Ok(Self {
            original,
            seal: Some(seal),
            last_refresh: self.last_refresh,
            ..opened
        })
    }

    /// Sets whether, and how, they are sealed when written.
    pub fn set_seal(&mut self, seal: Option<Seal>) {
        let is_sealed = seal.is_some();
        self.version = Some(if is_sealed { SEALED_VERSION } else { VERSION });
        // It cannot be read from the token while sealed.
        self.expires_at = self.expiry();
        self.seal = seal;
    }

    /// Replaces everything that may be secret with one sealed member.
    pub(super) fn close(&self, members: Members, seal: &Seal) -> Result<Members> {
        let (mut readable, secret): (Members, Members) = members
            .into_iter()
            .partition(|(name, _)| READABLE.contains(&name.as_str()));
        let nonce: [u8; NONCE_LEN] = random()?;
        let unique = Nonce::assume_unique_for_key(nonce);
        let bound = Aad::from(self.authenticated(seal)?);
        let mut data = serde_json::to_vec(&secret)?;
        seal.cipher()
            .and_then(|cipher| cipher.seal_in_place_append_tag(unique, bound, &mut data))
            .map_err(|_| anyhow!("could not encrypt the credentials"))?;
        let sealed = Sealed {
            key: seal.key.id.clone(),
            nonce: STANDARD.encode(nonce),
            data: STANDARD.encode(data),
        };
        readable.insert("sealed".to_owned(), to_raw_value(&sealed)?);
        Ok(readable)
    }

    /// What a seal authenticates besides the secrets: the format, the file, the key, and who gets the refresh token.
    fn authenticated(&self, seal: &Seal) -> serde_json::Result<String> {
        let (name, key) = (&seal.name, &seal.key.id);
        let (mode, issuer, client) = (&self.auth_mode, &self.issuer, &self.client_id);
        serde_json::to_string(&(SEALED_VERSION, name, key, mode, issuer, client))
    }
}

/// Random bytes from the operating system.
pub fn random<const LENGTH: usize>() -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| anyhow!("could not get random numbers from the system"))?;
    Ok(bytes)
}
