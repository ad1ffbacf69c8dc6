//! What lies in front of each datagram in the delivery ring, and what targets look like on their way
//! from the application: addresses in a fixed form, which costs neither side an allocation.
//!
//! An address takes 24 bytes: 16 of an IPv6 address (IPv4 as mapped, `::ffff:a.b.c.d`), the scope
//! (u32), the port (u16), the ECN bits (u8), and one that is 0. Numbers are in the order of this
//! machine. In the ring 16 bytes of the local address follow, all zero when it is not known.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::udp_batch::{Arrival, Envelope};

/// Bytes of an address.
pub const TARGET_BYTES: usize = 24;

/// Bytes in front of each datagram.
pub const HEAD_BYTES: usize = 40;

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// An address as it is written in front of a datagram.
pub fn write_target(address: SocketAddr, ecn: u8) -> [u8; TARGET_BYTES] {
    let scope = match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    };
    let mut record = [0; TARGET_BYTES];
    record[..16].copy_from_slice(&octets(address.ip()));
    record[16..20].copy_from_slice(&scope.to_ne_bytes());
    record[20..22].copy_from_slice(&address.port().to_ne_bytes());
    record[22] = ecn;
    record
}

/// What is written in front of a datagram.
pub(super) fn write_head(arrival: &Arrival) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..TARGET_BYTES].copy_from_slice(&write_target(arrival.source, arrival.ecn));
    if let Some(local) = arrival.local {
        head[TARGET_BYTES..].copy_from_slice(&octets(local));
    }
    head
}

fn number<const N: usize>(record: &[u8], at: usize) -> Option<[u8; N]> {
    record.get(at..at + N)?.try_into().ok()
}

fn ip(record: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(number::<16>(record, at)?))
}

/// The address and the ECN bits that a record holds; `None` when it is too short.
pub fn read_target(record: &[u8]) -> Option<(SocketAddr, u8)> {
    let address = ip(record, 0)?;
    let scope = u32::from_ne_bytes(number(record, 16)?);
    let port = u16::from_ne_bytes(number(record, 20)?);
    let address = match address.to_ipv4_mapped() {
        Some(v4) => SocketAddr::new(v4.into(), port),
        None => SocketAddrV6::new(address, port, 0, scope).into(),
    };
    Some((address, record.get(22)? & 0b11))
}

/// The envelope of an answer to the datagram behind a head: to who sent it, from the address that it
/// was sent to when `from_there`.
pub fn answer(head: &[u8], from_there: bool) -> Option<Envelope> {
    let (target, _) = read_target(head)?;
    let local = ip(head, TARGET_BYTES)?.to_canonical();
    // What was sent to a group or to everybody is answered from an address of our own.
    let own = !local.is_unspecified() && !local.is_multicast() && !is_broadcast(local);
    Some(Envelope { target, source: (from_there && own).then_some(local), ecn: 0 })
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(source: &str, local: Option<&str>) -> Arrival {
        let local = local.map(|local| local.parse().unwrap());
        Arrival { source: source.parse().unwrap(), local, ecn: 2 }
    }

    #[test]
    fn an_address_comes_back_as_it_was() {
        for address in ["192.0.2.1:65535", "[2001:db8::1]:1", "[fe80::1%7]:53"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(read_target(&write_target(address, 3)), Some((address, 3)));
        }
        assert_eq!(read_target(&[0; TARGET_BYTES - 2]), None);
    }

    #[test]
    fn an_answer_goes_back_the_way_it_came() {
        let head = write_head(&arrival("192.0.2.1:5", Some("192.0.2.2")));
        let back = answer(&head, true).unwrap();
        assert_eq!(back.target, "192.0.2.1:5".parse().unwrap());
        assert_eq!((back.source, back.ecn), (Some("192.0.2.2".parse().unwrap()), 0));
        assert_eq!(answer(&head, false).unwrap().source, None);
    }

    #[test]
    fn a_group_does_not_answer() {
        for local in [Some("224.0.0.251"), Some("255.255.255.255"), Some("ff02::fb"), None] {
            let head = write_head(&arrival("[2001:db8::1]:5", local));
            assert_eq!(answer(&head, true).unwrap().source, None, "{local:?}");
        }
    }
}
