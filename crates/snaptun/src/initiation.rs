//! Opens a handshake initiation far enough to know who sent it.
//!
//! `Tunn` opens an initiation too, but only for a known identity, and it keeps the timestamp to
//! itself. A server must know both beforehand: only the sealed timestamp proves that the sender owns
//! the identity it names, and its value tells a replay. The names are those of the WireGuard
//! whitepaper, section 5.4.2.

use ana_gotatun::x25519;
use blake2::{Blake2s256, Blake2sMac, Digest, digest::Mac};
use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit};
use hmac::SimpleHmac;
use zeroize::Zeroize;

use crate::{Identity, PrivateKey, authorization::Timestamp, wire::INITIATION_LEN};

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
const LABEL_MAC1: &[u8] = b"mac1----";

/// Where the fields of an initiation begin.
const EPHEMERAL: usize = 8;
const STATIC: usize = 40;
const TIMESTAMP: usize = 88;
const MAC1: usize = 116;
const MAC2: usize = 132;

type Mac16 = Blake2sMac<blake2::digest::consts::U16>;
type Hash = [u8; 32];

/// What an initiation proves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) identity: Identity,
    pub(crate) timestamp: Timestamp,
}

/// Opens initiations that are addressed to one private key.
pub(crate) struct InitiationOpener {
    private_key: PrivateKey,
    mac1_key: Hash,
    /// `HASH(CONSTRUCTION)`, and the hash of it with identifier and our public key: the same for all.
    chaining_key: Hash,
    hash: Hash,
}

impl InitiationOpener {
    pub(crate) fn new(private_key: PrivateKey) -> Self {
        let public = *private_key.identity().as_bytes();
        let chaining_key: Hash = Blake2s256::digest(CONSTRUCTION).into();
        let hash = mix(&mix(&chaining_key, IDENTIFIER), &public);
        let mac1_key = Blake2s256::new().chain_update(LABEL_MAC1).chain_update(public).finalize();
        Self { private_key, mac1_key: mac1_key.into(), chaining_key, hash }
    }

    /// Whether MAC1 says that the sender knows our public key. In constant time.
    pub(crate) fn mac1_is_valid(&self, initiation: &[u8; INITIATION_LEN]) -> bool {
        let Ok(mac) = <Mac16 as Mac>::new_from_slice(&self.mac1_key) else { return false };
        mac.chain_update(&initiation[..MAC1]).verify_slice(&initiation[MAC1..MAC2]).is_ok()
    }

    /// Who sent the initiation, and when; `None` when it proves nothing.
    pub(crate) fn open(&self, initiation: &[u8; INITIATION_LEN]) -> Option<Opened> {
        let secret = self.private_key.secret();
        let ephemeral: [u8; 32] = initiation[EPHEMERAL..STATIC].try_into().ok()?;

        let hash = mix(&self.hash, &ephemeral);
        let [chaining_key] = derive(&self.chaining_key, &ephemeral);
        let shared = secret.diffie_hellman(&x25519::PublicKey::from(ephemeral));
        let [chaining_key, mut key] = derive(&chaining_key, shared.as_bytes());
        let sealed_static = &initiation[STATIC..TIMESTAMP];
        let identity: Option<[u8; 32]> = open(&key, &hash, sealed_static);
        key.zeroize();
        // A non-contributory key would agree on the same secret with everybody.
        let identity = Identity::new(identity?).ok()?;

        let hash = mix(&hash, sealed_static);
        let shared = secret.diffie_hellman(&identity.public_key());
        if !shared.was_contributory() {
            return None;
        }
        let [mut chaining_key, mut key] = derive(&chaining_key, shared.as_bytes());
        let timestamp = open(&key, &hash, &initiation[TIMESTAMP..MAC1]);
        key.zeroize();
        chaining_key.zeroize();
        Some(Opened { identity, timestamp: timestamp? })
    }
}

fn mix(hash: &Hash, data: &[u8]) -> Hash {
    Blake2s256::new().chain_update(hash).chain_update(data).finalize().into()
}

/// The whitepaper's KDF_n.
fn derive<const N: usize>(key: &Hash, input: &[u8]) -> [Hash; N] {
    let mut secret = hmac(key, &[input]);
    let mut outputs = [[0; 32]; N];
    for n in 0..N {
        let counter = [n as u8 + 1];
        outputs[n] = match n {
            0 => hmac(&secret, &[&counter]),
            _ => hmac(&secret, &[&outputs[n - 1], &counter]),
        };
    }
    secret.zeroize();
    outputs
}

fn hmac(key: &Hash, parts: &[&[u8]]) -> Hash {
    // HMAC takes keys of any length, so that the constructor has nothing to refuse.
    let Ok(mut mac) = <SimpleHmac<Blake2s256> as Mac>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn open<const N: usize>(key: &Hash, hash: &Hash, sealed: &[u8]) -> Option<[u8; N]> {
    let (ciphertext, tag) = sealed.split_at_checked(N)?;
    let mut plaintext: [u8; N] = ciphertext.try_into().ok()?;
    ChaCha20Poly1305::new(key.into())
        .decrypt_in_place_detached(&[0; 12].into(), hash, &mut plaintext, tag.into())
        .ok()?;
    Some(plaintext)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ana_gotatun::noise::{Tunn, index_table::IndexTable, rate_limiter::RateLimiter};

    use super::*;
    use crate::wire;

    fn key(byte: u8) -> PrivateKey {
        PrivateKey::new([byte; 32]).unwrap()
    }

    fn initiation(from: &PrivateKey, to: &PrivateKey) -> [u8; INITIATION_LEN] {
        let mut tunn = Tunn::new(
            from.secret().clone(),
            to.identity().public_key(),
            None,
            None,
            IndexTable::from_os_rng(),
            Arc::new(RateLimiter::new(&from.identity().public_key(), 1)),
            "127.0.0.1:1".parse().unwrap(),
        );
        let packet = tunn.format_handshake_initiation(false).unwrap();
        wire::bytes(packet.into())[..].try_into().unwrap()
    }

    #[test]
    fn an_initiation_that_another_implementation_made_is_opened() {
        let (client, server) = (key(1), key(2));
        let opener = InitiationOpener::new(server.clone());
        let first = initiation(&client, &server);
        assert!(opener.mac1_is_valid(&first));
        let opened = opener.open(&first).unwrap();
        assert_eq!(opened.identity, client.identity());
        let seconds = u64::from_be_bytes(opened.timestamp[..8].try_into().unwrap());
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        // TAI64 counts from 2^62, and is 37 leap seconds ahead.
        assert!(seconds.abs_diff((1 << 62) + 37 + unix.as_secs()) <= 2);
        let second = opener.open(&initiation(&client, &server)).unwrap();
        assert!(second.timestamp > opened.timestamp);
    }

    #[test]
    fn an_initiation_for_another_key_proves_nothing() {
        let opener = InitiationOpener::new(key(3));
        let stray = initiation(&key(1), &key(2));
        assert!(!opener.mac1_is_valid(&stray));
        assert!(opener.open(&stray).is_none());
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        let (client, server) = (key(1), key(2));
        let opener = InitiationOpener::new(server.clone());
        let whole = initiation(&client, &server);
        for at in (0..MAC2).filter(|at| !(4..EPHEMERAL).contains(at)) {
            let mut changed = whole;
            changed[at] ^= 1;
            assert!(!opener.mac1_is_valid(&changed), "byte {at}");
            if (EPHEMERAL..MAC1).contains(&at) {
                assert!(opener.open(&changed).is_none(), "byte {at}");
            }
        }
    }
}
