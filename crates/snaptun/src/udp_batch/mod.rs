//! Batched UDP: many datagrams a system call, both ways.
//!
//! A [`UdpBatchSender`] gathers a *train*: datagrams for one target, of one size (the last may be
//! shorter), back to back, which the kernel or the network card cuts apart (GSO). Datagrams that
//! each go to another target make no trains; those share system calls too where there is `sendmmsg`.
//! A [`UdpBatchReceiver`] takes as many messages as one `recvmmsg` gives, each of which may be such a
//! train put together again (GRO), and splits them without copying.
//!
//! Nothing here waits: a call that would block says so.

mod receiver;
mod refusals;
mod sender;
mod singles;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket},
};

use quinn_udp::UdpSocketState;

pub(crate) use receiver::PooledReceiver;
pub use receiver::{Arrival, UdpBatchReceiver};
pub use sender::{SendCounts, SendFailure, UdpBatchSender};

use crate::wire::{MAX_DATAGRAM_V4, MAX_DATAGRAM_V6};

/// The most that one train holds in bytes: it goes through the IP layer as one packet of at most
/// 65,535 bytes; what IPv6 leaves of that (headers of 40 and 8 bytes) holds for both families.
const TRAIN_BYTES: usize = 65_487;

/// What is written on a datagram beside its content. Datagrams of one train have it in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// Where it goes.
    pub target: SocketAddr,
    /// The local address that it comes from; by default the one that the route has.
    pub source: Option<IpAddr>,
    /// The two ECN bits (RFC 3168): 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced.
    pub ecn: u8,
}

impl Envelope {
    /// One without anything special.
    pub fn to(target: SocketAddr) -> Self {
        Self { target, source: None, ecn: 0 }
    }
}

/// The largest datagram that fits to an address, in bytes.
pub fn max_datagram(to: IpAddr) -> usize {
    match to {
        IpAddr::V4(_) => MAX_DATAGRAM_V4,
        IpAddr::V6(_) => MAX_DATAGRAM_V6,
    }
}

/// Sets a socket up: not blocking, no fragmentation, GRO, and all that is told of a datagram.
///
/// # Errors
/// What the system says of the socket options.
pub fn set_up(socket: &UdpSocket) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(socket.into())?;
    // quinn-udp 0.6.3 also asks for timestamps, and has no room for what the kernel then tells of a
    // train put together again: its ECN bits get lost.
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::ReceiveTimestampns, &false)?;
    Ok(state)
}

/// An address as a socket takes it: an IPv6 socket takes IPv4 addresses as mapped ones.
fn for_socket(ipv6: bool, address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if ipv6 => {
            SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
        }
        address => address,
    }
}
