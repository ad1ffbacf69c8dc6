//! How a socket is made, and what can be set on it afterwards.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::engine::Limits;

/// How a [`UdpBatchSocket`](super::UdpBatchSocket) is bound.
#[derive(Debug, Clone)]
pub struct UdpOptions {
    /// Where; port 0 has the system choose.
    pub bind: SocketAddr,
    /// Whether an IPv6 socket leaves IPv4 alone.
    pub ipv6_only: bool,
    /// Whether other sockets that set it too may bind the same port; the kernel spreads what
    /// arrives over them.
    pub reuse_port: bool,
    /// Whether other sockets that set it too may bind the same address: for multicast. Who gets
    /// what is sent to one address is the system's choice.
    pub reuse_address: bool,
    /// What the kernel is asked to buffer of what arrives, in bytes. It may give less.
    pub receive_buffer: usize,
    /// The same for what is sent.
    pub send_buffer: usize,
    /// Bounds of what is queued; [`Limits::socket_bytes`] is not used.
    pub limits: Limits,
}

impl UdpOptions {
    /// The defaults.
    pub fn new(bind: SocketAddr) -> Self {
        let limits = Limits::default();
        Self {
            bind,
            ipv6_only: false,
            reuse_port: false,
            reuse_address: false,
            receive_buffer: limits.socket_bytes,
            send_buffer: limits.socket_bytes,
            limits,
        }
    }

    pub(super) fn socket(&self) -> io::Result<UdpSocket> {
        let domain = Domain::for_address(self.bind);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(self.ipv6_only)?;
        }
        socket.set_nonblocking(true)?;
        if self.reuse_address {
            socket.set_reuse_address(true)?;
        }
        if self.reuse_port {
            share_port(&socket)?;
        }
        socket.set_recv_buffer_size(self.receive_buffer)?;
        socket.set_send_buffer_size(self.send_buffer)?;
        socket.bind(&self.bind.into())?;
        Ok(socket.into())
    }
}

#[cfg(unix)]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(unix))]
fn share_port(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Something that can be set on an open socket.
#[derive(Debug, Clone, Copy)]
pub enum UdpSetting {
    /// Hops that a datagram may take, 1 to 255.
    Ttl(u32),
    /// The same for multicast, 0 to 255.
    MulticastTtl(u32),
    /// Whether what this machine sends to a group reaches this machine's members too.
    MulticastLoopback(bool),
    /// The interface that multicast leaves through: by its IPv4 address.
    MulticastInterfaceV4(Ipv4Addr),
    /// The same by its number, for IPv6.
    MulticastInterfaceV6(u32),
    /// Whether datagrams to broadcast addresses may be sent.
    Broadcast(bool),
    /// What the kernel buffers of what arrives, in bytes.
    ReceiveBuffer(usize),
    /// What the kernel buffers of what is sent, in bytes.
    SendBuffer(usize),
    /// Membership of a group (true: join, false: leave) on the interface that has an IPv4 address
    /// (unspecified: the system's choice), or, for IPv6, a number (0: the system's choice).
    Membership(bool, IpAddr, Ipv4Addr, u32),
}

impl UdpSetting {
    pub(super) fn apply(self, socket: &UdpSocket) -> io::Result<()> {
        let ipv6 = socket.local_addr()?.is_ipv6();
        let socket = SockRef::from(socket);
        match self {
            Self::Ttl(hops) if ipv6 => {
                socket.set_unicast_hops_v6(hops)?;
                both(&socket, |socket| socket.set_ttl_v4(hops))
            }
            Self::Ttl(hops) => socket.set_ttl_v4(hops),
            Self::MulticastTtl(hops) if ipv6 => {
                socket.set_multicast_hops_v6(hops)?;
                both(&socket, |socket| socket.set_multicast_ttl_v4(hops))
            }
            Self::MulticastTtl(hops) => socket.set_multicast_ttl_v4(hops),
            Self::MulticastLoopback(on) if ipv6 => {
                socket.set_multicast_loop_v6(on)?;
                both(&socket, |socket| socket.set_multicast_loop_v4(on))
            }
            Self::MulticastLoopback(on) => socket.set_multicast_loop_v4(on),
            Self::MulticastInterfaceV4(address) => socket.set_multicast_if_v4(&address),
            Self::MulticastInterfaceV6(index) => socket.set_multicast_if_v6(index),
            Self::Broadcast(on) => socket.set_broadcast(on),
            Self::ReceiveBuffer(bytes) => socket.set_recv_buffer_size(bytes),
            Self::SendBuffer(bytes) => socket.set_send_buffer_size(bytes),
            Self::Membership(true, IpAddr::V4(group), interface, _) => {
                socket.join_multicast_v4(&group, &interface)
            }
            Self::Membership(true, IpAddr::V6(group), _, index) => {
                socket.join_multicast_v6(&group, index)
            }
            Self::Membership(false, IpAddr::V4(group), interface, _) => {
                socket.leave_multicast_v4(&group, &interface)
            }
            Self::Membership(false, IpAddr::V6(group), _, index) => {
                socket.leave_multicast_v6(&group, index)
            }
        }
    }
}

/// An IPv6 socket that takes IPv4 too has each of these twice.
fn both(socket: &Socket, set_v4: impl FnOnce(&Socket) -> io::Result<()>) -> io::Result<()> {
    // Only Linux has the options of IPv4 on such a socket.
    if cfg!(target_os = "linux") && !socket.only_v6()? { set_v4(socket) } else { Ok(()) }
}
