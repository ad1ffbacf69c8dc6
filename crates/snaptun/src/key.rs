//! Keys. A private key is zeroized when dropped and never printed.

use std::fmt;

use ana_gotatun::x25519;

use crate::{Error, Result};

/// Length of an X25519 key, and of a pre-shared key, in bytes.
pub const KEY_LEN: usize = 32;

/// An X25519 private key. Zeroized on drop.
#[derive(Clone)]
pub struct PrivateKey(x25519::StaticSecret);

impl PrivateKey {
    /// Takes 32 bytes; they are clamped when used, as X25519 does.
    ///
    /// # Errors
    /// [`Error::ZeroKey`] when all bytes are zero.
    pub fn new(bytes: [u8; KEY_LEN]) -> Result<Self> {
        if bytes == [0; KEY_LEN] {
            return Err(Error::ZeroKey);
        }
        Ok(Self(bytes.into()))
    }

    /// The identity that belongs to this key.
    pub fn identity(&self) -> Identity {
        Identity(*x25519::PublicKey::from(&self.0).as_bytes())
    }

    pub(crate) fn secret(&self) -> &x25519::StaticSecret {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// An X25519 public key: who a peer is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; KEY_LEN]);

impl Identity {
    /// Takes the 32 bytes of a public key.
    ///
    /// # Errors
    /// [`Error::ZeroKey`] when all bytes are zero: every private key would agree on the same secret with it.
    pub fn new(bytes: [u8; KEY_LEN]) -> Result<Self> {
        if bytes == [0; KEY_LEN] {
            return Err(Error::ZeroKey);
        }
        Ok(Self(bytes))
    }

    /// The 32 bytes of the public key.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    pub(crate) fn public_key(&self) -> x25519::PublicKey {
        self.0.into()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(")?;
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("..)")
    }
}

/// A pre-shared key, mixed into the handshake beside the static keys. Zeroized on drop.
#[derive(Clone)]
pub struct PresharedKey(zeroize::Zeroizing<[u8; KEY_LEN]>);

impl PresharedKey {
    /// Takes 32 bytes.
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(zeroize::Zeroizing::new(bytes))
    }

    pub(crate) fn bytes(&self) -> [u8; KEY_LEN] {
        *self.0
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}
