//! What a datagram looks like, as far as it can be told without a key.
//!
//! Sizes and types are WireGuard's (whitepaper, section 5.4), except the handshake response, which
//! carries a sealed 20-byte socket address and so has 112 bytes instead of 92.

use std::net::{IpAddr, SocketAddr};

use ana_gotatun::packet::{Packet, WgData, WgHandshakeInit, WgKind};
use bytes::BytesMut;

/// What a data datagram has beyond its payload: 16 bytes of header, 16 of tag.
pub const DATA_OVERHEAD: usize = WgData::OVERHEAD;

/// Length of a handshake initiation in bytes.
pub(crate) const INITIATION_LEN: usize = WgHandshakeInit::LEN;

/// The largest UDP payload over IPv4: 65,535 less the IP header (20) and the UDP header (8).
pub const MAX_DATAGRAM_V4: usize = 65_507;

/// The largest UDP payload over IPv6 that loopback passes: its MTU of 65,536 less the IP header
/// (40) and the UDP header (8). One of 65,507 fails (measured).
pub const MAX_DATAGRAM_V6: usize = 65_488;

/// The type of a datagram: its first byte, where length and reserved bytes fit too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Initiation,
    /// A handshake response or a cookie reply.
    Reply,
    Data,
    Malformed,
}

pub(crate) fn kind(datagram: &[u8]) -> Kind {
    match datagram {
        [4, 0, 0, 0, rest @ ..] if rest.len() >= DATA_OVERHEAD - 4 => Kind::Data,
        [1, 0, 0, 0, ..] if datagram.len() == INITIATION_LEN => Kind::Initiation,
        [2, 0, 0, 0, ..] if datagram.len() == 112 => Kind::Reply,
        [3, 0, 0, 0, ..] if datagram.len() == 64 => Kind::Reply,
        _ => Kind::Malformed,
    }
}

/// The session index that a data packet is for; 0 when it is too short to have one.
#[inline]
pub(crate) fn receiver_index(data: &[u8]) -> u32 {
    index(data).unwrap_or_default()
}

/// The session index that the sender of a handshake message chose.
pub(crate) fn sender_index(handshake: &[u8]) -> Option<u32> {
    index(handshake)
}

/// The session index that a handshake response answers; `None` for any other datagram.
pub(crate) fn answered_index(datagram: &[u8]) -> Option<u32> {
    match datagram {
        [2, 0, 0, 0, _, _, _, _, index @ ..] if datagram.len() == 112 => {
            index.first_chunk().copied().map(u32::from_le_bytes)
        }
        _ => None,
    }
}

fn index(datagram: &[u8]) -> Option<u32> {
    datagram.get(4..8)?.try_into().ok().map(u32::from_le_bytes)
}

/// The typed form of a datagram; `None` when it is malformed.
pub(crate) fn parse(datagram: BytesMut) -> Option<WgKind> {
    Packet::from_bytes(datagram).try_into_wg().ok()
}

/// The bytes of a datagram that `Tunn` made.
pub(crate) fn bytes(kind: WgKind) -> BytesMut {
    let mut packet: Packet = kind.into();
    packet.buf_mut().split()
}

/// An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) made IPv4, any other unchanged; without scope
/// differences that would make one sender look like two.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(first: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        bytes[0] = first;
        bytes
    }

    #[test]
    fn a_datagram_is_what_its_type_and_length_agree_on() {
        assert_eq!(kind(&datagram(1, 148)), Kind::Initiation);
        assert_eq!(kind(&datagram(1, 147)), Kind::Malformed);
        assert_eq!(kind(&datagram(2, 112)), Kind::Reply);
        assert_eq!(kind(&datagram(2, 92)), Kind::Malformed, "plain WireGuard");
        assert_eq!(kind(&datagram(3, 64)), Kind::Reply);
        assert_eq!(kind(&datagram(4, 32)), Kind::Data);
        assert_eq!(kind(&datagram(4, 31)), Kind::Malformed);
        assert_eq!(kind(&datagram(5, 148)), Kind::Malformed);
        assert_eq!(kind(&[]), Kind::Malformed);
        assert_eq!(kind(&[4, 1, 0, 0, 0]), Kind::Malformed);
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().unwrap();
        assert_eq!(canonical(mapped), "192.0.2.1:7".parse().unwrap());
        let v6: SocketAddr = "[2001:db8::1]:7".parse().unwrap();
        assert_eq!(canonical(v6), v6);
    }
}
