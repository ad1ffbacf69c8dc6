//! Datagrams that each go to a target of their own: no trains, but still many a system call where
//! there is `sendmmsg` (docs/architecture.md has what it gains).

use std::net::{SocketAddr, UdpSocket};

/// Datagrams that one system call takes.
pub(super) const MAX_SINGLES: usize = 64;

/// A datagram by itself, with nothing on its envelope but the target.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) target: SocketAddr,
    /// Where it ends in the memory that they lie in, one after the other.
    pub(super) end: usize,
}

/// Whether [`send`] is there.
pub(super) const SUPPORTED: bool = cfg!(target_os = "linux");

/// Sends datagrams that lie in `bytes` from `start` on. Returns how many were taken, which is at
/// least one; an error is the first one's.
#[cfg(target_os = "linux")]
pub(super) fn send(
    socket: &UdpSocket,
    ipv6: bool,
    singles: &[Single],
    bytes: &[u8],
    start: usize,
) -> std::io::Result<usize> {
    use std::io::IoSlice;

    use rustix::net::{
        MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, addr::SocketAddrArg, sendmmsg,
    };

    let mut start = start;
    let mut messages: Vec<(SocketAddrAny, [IoSlice<'_>; 1], SendAncillaryBuffer<'_, '_, '_>)> =
        Vec::with_capacity(singles.len());
    for Single { target, end } in singles {
        let address = super::for_socket(ipv6, *target).as_any();
        messages.push((address, [IoSlice::new(&bytes[start..*end])], Default::default()));
        start = *end;
    }
    let mut headers: Vec<_> = messages
        .iter_mut()
        .map(|(address, slice, control)| MMsgHdr::new_with_addr(address, slice, control))
        .collect();
    Ok(rustix::io::retry_on_intr(|| sendmmsg(socket, &mut headers, SendFlags::empty()))?)
}

/// Never called: nobody sets datagrams aside where this is not supported.
#[cfg(not(target_os = "linux"))]
pub(super) fn send(
    _socket: &UdpSocket,
    _ipv6: bool,
    _singles: &[Single],
    _bytes: &[u8],
    _start: usize,
) -> std::io::Result<usize> {
    Err(std::io::ErrorKind::Unsupported.into())
}
