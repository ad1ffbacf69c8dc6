//! UDP sockets with the buffers that a benchmark needs.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::UdpSocket;

use crate::PeerError;

/// What the kernel granted, in bytes. Linux reports twice what it was asked for, since it counts its own overhead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketBuffers {
    /// `SO_RCVBUF` as the kernel reports it.
    pub receive: usize,
    /// `SO_SNDBUF` as the kernel reports it.
    pub send: usize,
}

impl SocketBuffers {
    /// Asks the socket.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of(socket: &UdpSocket) -> Result<Self, PeerError> {
        let socket = SockRef::from(socket);
        Ok(Self { receive: socket.recv_buffer_size()?, send: socket.send_buffer_size()? })
    }
}

/// Binds a socket and asks for buffers of `buffer` bytes in both directions; the kernel silently grants less when its
/// limit is lower, which [`SocketBuffers::of`] shows. To be called inside a tokio runtime.
///
/// # Errors
/// The address is in use or not one of this host's, or there is no runtime.
pub fn bind(address: SocketAddr, buffer: Option<usize>) -> Result<UdpSocket, PeerError> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    if let Some(bytes) = buffer {
        let socket = SockRef::from(&socket);
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(UdpSocket::from_std(socket)?)
}
