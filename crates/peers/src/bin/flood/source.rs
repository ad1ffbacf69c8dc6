//! Where datagrams come from: UDP sockets of our own, or any IPv4 address by a raw socket.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    str::FromStr,
};

use socket2::{Domain, Protocol, Socket, Type};

/// Of IPv4, without options (RFC 791), and of UDP (RFC 768), in bytes.
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;
/// `IPPROTO_RAW`: the sender makes the IP header, but for its length, identification and checksum (raw(7)).
const RAW: i32 = 255;
/// The ports that Linux uses for outgoing connections, so that no service is meant.
const FIRST_PORT: u16 = 32_768;

/// A network of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    first: u32,
    addresses: u64,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| "no IPv4 address".to_owned())?;
        match length.parse::<u32>() {
            Ok(length @ 0..=32) => {
                let addresses = 1 << (32 - length);
                let first = u32::from(address) & !((addresses - 1) as u32);
                Ok(Self { first, addresses })
            }
            _ => Err("a prefix has 0 to 32 bits".to_owned()),
        }
    }
}

/// See the module.
pub(crate) enum Source {
    Plain {
        sockets: Vec<UdpSocket>,
        to: SocketAddr,
        turn: usize,
    },
    Forged {
        socket: Socket,
        network: Network,
        port: Option<u16>,
        to: SocketAddrV4,
        turn: u64,
        packet: Vec<u8>,
    },
}

impl Source {
    /// Sockets with ports that the system chooses.
    pub(crate) fn plain(to: SocketAddr, ports: u16) -> io::Result<Self> {
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let sockets = (0..ports).map(|_| UdpSocket::bind(any)).collect::<io::Result<_>>()?;
        Ok(Self::Plain { sockets, to, turn: 0 })
    }

    /// Addresses that need not be ours.
    pub(crate) fn forged(
        network: Network,
        port: Option<u16>,
        to: SocketAddr,
    ) -> Result<Self, crate::Failure> {
        let SocketAddr::V4(to) = to else { return Err("only IPv4 is forged".into()) };
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?;
        Ok(Self::Forged { socket, network, port, to, turn: 0, packet: Vec::new() })
    }

    /// Sends one datagram from the next address.
    pub(crate) fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain { sockets, to, turn } => {
                *turn = (*turn + 1) % sockets.len();
                sockets[*turn].send_to(datagram, *to)?;
            }
            Self::Forged { socket, network, port, to, turn, packet } => {
                *turn += 1;
                let address = network.first.wrapping_add((*turn % network.addresses) as u32);
                let any_port = FIRST_PORT + (*turn % u64::from(u16::MAX - FIRST_PORT)) as u16;
                let from = SocketAddrV4::new(address.into(), port.unwrap_or(any_port));
                write_packet(packet, from, *to, datagram)?;
                socket.send_to(packet, &SocketAddr::V4(*to).into())?;
            }
        }
        Ok(())
    }
}

fn write_packet(
    packet: &mut Vec<u8>,
    from: SocketAddrV4,
    to: SocketAddrV4,
    datagram: &[u8],
) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let udp_length = u16::try_from(UDP_HEADER + datagram.len()).map_err(too_large)?;
    packet.clear();
    packet.resize(IP_HEADER, 0);
    // Version 4, five words of header; the longest life. What stays zero the kernel fills in.
    packet[0] = 0x45;
    packet[8] = 64;
    packet[9] = UDP;
    packet[12..16].copy_from_slice(&from.ip().octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    for field in [from.port(), to.port(), udp_length, 0] {
        // The checksum of UDP over IPv4 may be left out, by a zero.
        packet.extend_from_slice(&field.to_be_bytes());
    }
    packet.extend_from_slice(datagram);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_its_addresses() {
        let network: Network = "10.1.2.3/30".parse().unwrap();
        assert_eq!(network, Network { first: 0x0a01_0200, addresses: 4 });
        assert_eq!("10.1.2.3".parse::<Network>().unwrap().addresses, 1);
        assert_eq!("0.0.0.0/0".parse::<Network>().unwrap().addresses, 1 << 32);
        assert!("10.0.0.0/33".parse::<Network>().is_err() && "::/8".parse::<Network>().is_err());
    }
}
