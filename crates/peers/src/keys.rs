//! Static keys as plain bytes, so that a test can give the same key to peers whose key types differ.

use ana_gotatun::x25519;

use crate::PeerError;

/// A private or public X25519 key.
pub type Key = [u8; 32];

/// A static identity. `Debug` is left out on purpose: it holds a private key.
#[derive(Clone)]
pub struct KeyPair {
    /// The private half.
    pub private: Key,
    /// The public half: the identity.
    pub public: Key,
}

impl KeyPair {
    /// A fresh pair from the system's randomness.
    ///
    /// # Errors
    /// [`PeerError::Random`] where the system gives none.
    pub fn generate() -> Result<Self, PeerError> {
        let mut private = [0; 32];
        getrandom::fill(&mut private).map_err(PeerError::Random)?;
        Ok(Self::from_private(private))
    }

    /// The pair that belongs to a private key.
    #[must_use]
    pub fn from_private(private: Key) -> Self {
        let public = x25519::PublicKey::from(&x25519::StaticSecret::from(private)).to_bytes();
        Self { private, public }
    }
}

/// Reads a key of 64 hexadecimal digits.
///
/// # Errors
/// [`PeerError::Key`], without the text in it: it may have been a private key.
pub fn parse_key(text: &str) -> Result<Key, PeerError> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key).map_err(|error| PeerError::Key(error.to_string()))?;
    Ok(key)
}
