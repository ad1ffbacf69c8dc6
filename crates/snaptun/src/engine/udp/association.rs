//! Connecting a datagram socket, which is the platform's matter.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use socket2::SockRef;

/// Tells the kernel of the remote, so that it hears of ICMP errors.
///
/// Only on Linux: elsewhere a socket that is connected takes no datagram with a target on it, which
/// ours have. There the filter that we have anyway does what connecting is for.
pub(super) fn connect(socket: &UdpSocket, remote: SocketAddr) -> io::Result<()> {
    if cfg!(target_os = "linux") {
        let remote = match (remote, socket.local_addr()?) {
            (SocketAddr::V4(v4), SocketAddr::V6(_)) => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            _ => remote,
        };
        SockRef::from(socket).connect(&remote.into())?;
    }
    Ok(())
}

/// Undoes [`connect`]. A socket whose port the system chose loses it by that, and is bound again.
#[cfg(target_os = "linux")]
pub(super) fn disconnect(socket: &UdpSocket, bound: SocketAddr) -> io::Result<()> {
    rustix::net::connect_unspec(socket)?;
    if socket.local_addr()?.port() != bound.port() {
        SockRef::from(socket).bind(&bound.into())?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn disconnect(_: &UdpSocket, _: SocketAddr) -> io::Result<()> {
    Ok(())
}

/// The number of a network interface.
#[cfg(target_os = "linux")]
pub(super) fn interface_index(socket: &UdpSocket, name: &str) -> io::Result<u32> {
    Ok(rustix::net::netdevice::name_to_index(socket, name)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn interface_index(_: &UdpSocket, _: &str) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}
