//! What is sent: datagrams prepared beforehand, so that sending them is all that takes time.

use std::{net::SocketAddr, sync::Arc};

use ana_gotatun::{
    noise::{Tunn, rate_limiter::RateLimiter},
    x25519,
};
use clap::ValueEnum;
use snaptun_peers::{Key, KeyPair, PeerError};

use crate::Failure;

/// Where the first MAC of an initiation begins (WireGuard whitepaper, section 5.4.2).
const MAC1: usize = 116;
const INITIATION: usize = 148;
const COOKIE_REPLY: usize = 64;

/// Lengths that no message has: shorter and longer than an initiation, nothing at all, and all that UDP takes.
const WRONG_LENGTHS: [usize; 10] = [0, 1, 3, 4, 31, 116, 147, 149, 1400, 65_507];

/// What can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Initiations that are valid but for MAC1: of one who does not know the server's key.
    BadMac,
    /// Valid initiations, of the given identity or each of another one.
    Initiations,
    /// One valid initiation again and again.
    Replay,
    /// Cookie replies that nobody asked for.
    Cookies,
    /// The first bytes of an initiation with the wrong length, from nothing to the largest datagram.
    Lengths,
    /// Data packets of sessions that do not exist.
    Data,
}

/// What datagrams are made from.
pub(crate) struct Material<'a> {
    pub(crate) server: Option<Key>,
    pub(crate) private_key: Option<Key>,
    pub(crate) datagram: Option<&'a [u8]>,
}

impl Kind {
    /// Prepares `variants` datagrams, or as many different ones as there are.
    pub(crate) fn prepare(
        self,
        material: &Material<'_>,
        variants: u16,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let each = 0..variants;
        match self {
            Self::BadMac => each
                .map(|_| {
                    let mut initiation = initiation(material)?;
                    // The time from here on differs only by what the MAC's check takes.
                    initiation[MAC1] ^= 1;
                    Ok(initiation)
                })
                .collect(),
            Self::Initiations => each.map(|_| initiation(material)).collect(),
            Self::Replay => match material.datagram {
                Some(datagram) => Ok(vec![datagram.to_vec()]),
                None => Ok(vec![initiation(material)?]),
            },
            Self::Cookies => each.map(|_| message(3, COOKIE_REPLY)).collect(),
            Self::Lengths => WRONG_LENGTHS.into_iter().map(|length| message(1, length)).collect(),
            Self::Data => each.map(|n| message(4, 32 + usize::from(n))).collect(),
        }
    }
}

fn initiation(material: &Material<'_>) -> Result<Vec<u8>, Failure> {
    let server = material.server.ok_or("initiations need --server-public-key")?;
    let pair = match material.private_key {
        Some(private) => KeyPair::from_private(private),
        None => KeyPair::generate()?,
    };
    let mut tunn = Tunn::new(
        x25519::StaticSecret::from(pair.private),
        x25519::PublicKey::from(server),
        None,
        None,
        0,
        Arc::new(RateLimiter::new(&x25519::PublicKey::from(pair.public), 1)),
        SocketAddr::from(([0, 0, 0, 0], 0)),
    );
    let packet = tunn.format_handshake_initiation(false).ok_or("no initiation")?;
    let initiation = packet.into_bytes().to_vec();
    if initiation.len() == INITIATION { Ok(initiation) } else { Err("no initiation".into()) }
}

/// A message's type, and random bytes for all the rest of it.
fn message(kind: u8, length: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).map_err(PeerError::Random)?;
    for (byte, head) in bytes.iter_mut().zip([kind, 0, 0, 0]) {
        *byte = head;
    }
    Ok(bytes)
}
