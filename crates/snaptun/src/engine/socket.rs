//! Makes sockets, asks them, and waits for them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{DATA_OVERHEAD, Error, Result, udp_batch::max_datagram};

/// What Ethernet takes, assumed where the system doesn't tell: 1,500 bytes (RFC 894).
const DEFAULT_MTU: usize = 1500;

/// How a socket is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binding {
    pub(super) address: SocketAddr,
    /// Whether an IPv6 socket leaves IPv4 alone.
    pub(super) ipv6_only: bool,
    /// What the kernel is asked to buffer each way. It gives what it is configured to allow.
    pub(super) buffer_bytes: usize,
}

impl Binding {
    /// Binds one socket. A port in use is an error.
    pub(super) fn bind(&self) -> Result<UdpSocket> {
        Ok(self.prepare()?.into()).and_then(|socket: UdpSocket| {
            socket2::SockRef::from(&socket)
                .bind(&self.address.into())
                .map_err(Error::bind(self.address))?;
            Ok(socket)
        })
    }

    /// Binds `count` sockets to one port, over which the kernel spreads what arrives.
    ///
    /// The first binds without `SO_REUSEPORT`, so that a port in use is an error; then it sets the
    /// option, and the others join.
    pub(super) fn bind_many(&self, count: usize) -> Result<Vec<UdpSocket>> {
        let first = self.bind()?;
        let mut sockets = Vec::with_capacity(count);
        if count > 1 {
            let address = first.local_addr().map_err(Error::io("read a socket's address"))?;
            share_port(&socket2::SockRef::from(&first))?;
            for _ in 1..count {
                let socket = self.prepare()?;
                share_port(&socket)?;
                socket.bind(&address.into()).map_err(Error::bind(address))?;
                sockets.push(socket.into());
            }
        }
        sockets.insert(0, first);
        Ok(sockets)
    }

    fn prepare(&self) -> Result<Socket> {
        let make = || {
            let domain = Domain::for_address(self.address);
            let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
            if domain == Domain::IPV6 {
                socket.set_only_v6(self.ipv6_only)?;
            }
            socket.set_nonblocking(true)?;
            socket.set_recv_buffer_size(self.buffer_bytes)?;
            socket.set_send_buffer_size(self.buffer_bytes)?;
            io::Result::Ok(socket)
        };
        make().map_err(Error::io("make a socket"))
    }
}

#[cfg(unix)]
fn share_port(socket: &Socket) -> Result<()> {
    socket.set_reuse_port(true).map_err(Error::io("share a port"))
}

#[cfg(not(unix))]
fn share_port(_: &Socket) -> Result<()> {
    let source = io::ErrorKind::Unsupported.into();
    Err(Error::Io { context: "share a port", source })
}

/// The unspecified address of the same family.
pub(super) fn unspecified(like: SocketAddr) -> SocketAddr {
    let address: IpAddr = match like {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(address, 0)
}

/// The largest packet that a tunnel to `remote` carries in one datagram, in bytes: the path's MTU as
/// the system knows it, less the IP header (20 or 40), the UDP header (8) and our own overhead.
pub(super) fn max_packet_size(remote: SocketAddr) -> usize {
    let headers = if remote.is_ipv4() { 28 } else { 48 };
    let mtu = path_mtu(remote).unwrap_or(DEFAULT_MTU);
    mtu.saturating_sub(headers).min(max_datagram(remote.ip())).saturating_sub(DATA_OVERHEAD)
}

/// Asks the routing table: a connected UDP socket knows its path, and sends nothing by connecting.
/// Whether a receive would find a datagram. Where the system can't be asked, no.
pub(super) fn has_datagrams(socket: &UdpSocket) -> bool {
    #[cfg(target_os = "linux")]
    // The size of the next one; 0 also when that is empty, which none of the protocol's is.
    return rustix::io::ioctl_fionread(socket).is_ok_and(|bytes| bytes > 0);
    #[cfg(not(target_os = "linux"))]
    false
}

#[cfg(target_os = "linux")]
fn path_mtu(remote: SocketAddr) -> io::Result<usize> {
    let socket = UdpSocket::bind(unspecified(remote))?;
    socket.connect(remote)?;
    let mtu = match remote {
        SocketAddr::V4(_) => rustix::net::sockopt::ip_mtu(&socket)?,
        SocketAddr::V6(_) => rustix::net::sockopt::ipv6_mtu(&socket)?,
    };
    Ok(mtu as usize)
}

#[cfg(not(target_os = "linux"))]
fn path_mtu(_: SocketAddr) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A socket and tokio's watch on it.
///
/// The watch is for reading only. One for writing too, as tokio's own sockets have, wakes the worker
/// for each train that the receiver at the other end of a loopback has read: 14% of a sending
/// process's time (docs/architecture.md). Who has to write waits with a [`WriteWatch`].
pub(super) struct ShardSocket {
    watch: platform::ReadWatch,
}

impl ShardSocket {
    /// Registers a socket with the runtime that is entered.
    pub(super) fn new(socket: UdpSocket) -> Result<Self> {
        Self::register(socket).map_err(Error::io("register a socket"))
    }

    /// As [`new`](Self::new), with the system's own error.
    pub(super) fn register(socket: UdpSocket) -> io::Result<Self> {
        Ok(Self { watch: platform::ReadWatch::new(socket)? })
    }

    pub(super) fn io(&self) -> &UdpSocket {
        self.watch.io()
    }

    /// What the kernel buffers, receiving and sending, in bytes; Linux says twice what it was asked
    /// for. 0 where it doesn't tell.
    pub(super) fn buffer_bytes(&self) -> (usize, usize) {
        let socket = socket2::SockRef::from(self.io());
        (
            socket.recv_buffer_size().unwrap_or_default(),
            socket.send_buffer_size().unwrap_or_default(),
        )
    }

    /// Waits until there may be something to read, and calls `read`; an error `WouldBlock` of it says
    /// that there was nothing. Cancelled: `read` was not called.
    pub(super) async fn when_readable(
        &self,
        read: impl FnMut(&UdpSocket) -> io::Result<()>,
    ) -> io::Result<()> {
        self.watch.when_readable(read).await
    }
}

pub(super) use platform::WriteWatch;

#[cfg(unix)]
mod platform {
    use std::{io, net::UdpSocket};

    use tokio::io::{Interest, unix::AsyncFd};

    fn watch(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
        // SAFETY: a `UdpSocket` owns its descriptor, names the same one for as long as it lives, and
        // is moved into the `AsyncFd`, which drops it only after its registration.
        unsafe { AsyncFd::register_with_interest(socket, interest) }.map_err(Into::into)
    }

    /// Reading also tells the errors that ICMP leaves on a connected socket, which don't make it
    /// readable.
    const READING: Interest = Interest::READABLE.add(Interest::ERROR);

    pub(super) struct ReadWatch(AsyncFd<UdpSocket>);

    impl ReadWatch {
        pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
            watch(socket, READING).map(Self)
        }

        pub(super) fn io(&self) -> &UdpSocket {
            self.0.get_ref()
        }

        pub(super) async fn when_readable(
            &self,
            mut read: impl FnMut(&UdpSocket) -> io::Result<()>,
        ) -> io::Result<()> {
            let mut ready = self.0.ready(READING).await?;
            ready.try_io(|socket| read(socket.get_ref())).unwrap_or(Ok(()))
        }
    }

    /// Waits until a socket takes more. For as long as it is kept, its worker wakes up often.
    pub(crate) struct WriteWatch(AsyncFd<UdpSocket>);

    impl WriteWatch {
        pub(crate) fn new(socket: &UdpSocket) -> io::Result<Self> {
            watch(socket.try_clone()?, Interest::WRITABLE).map(Self)
        }

        /// Waits for the next time that the socket says so.
        pub(crate) async fn writable(&self) -> io::Result<()> {
            self.0.writable().await.map(|mut ready| ready.clear_ready())
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::{io, net::UdpSocket};

    use tokio::io::Interest;

    pub(super) struct ReadWatch {
        io: UdpSocket,
        watch: tokio::net::UdpSocket,
    }

    impl ReadWatch {
        pub(super) fn new(io: UdpSocket) -> io::Result<Self> {
            let watch = tokio::net::UdpSocket::from_std(io.try_clone()?)?;
            Ok(Self { io, watch })
        }

        pub(super) fn io(&self) -> &UdpSocket {
            &self.io
        }

        pub(super) async fn when_readable(
            &self,
            mut read: impl FnMut(&UdpSocket) -> io::Result<()>,
        ) -> io::Result<()> {
            self.watch.readable().await?;
            match self.watch.try_io(Interest::READABLE, || read(&self.io)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                result => result,
            }
        }
    }

    /// Waits until a socket takes more.
    pub(crate) struct WriteWatch(tokio::net::UdpSocket);

    impl WriteWatch {
        pub(crate) fn new(socket: &UdpSocket) -> io::Result<Self> {
            tokio::net::UdpSocket::from_std(socket.try_clone()?).map(Self)
        }

        pub(crate) async fn writable(&self) -> io::Result<()> {
            self.0.writable().await?;
            // What tokio believes is known to be out of date: the socket refused to take more.
            let _ = self.0.try_io(Interest::WRITABLE, || {
                io::Result::<()>::Err(io::ErrorKind::WouldBlock.into())
            });
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> Binding {
        let address = "127.0.0.1:0".parse().unwrap();
        Binding { address, ipv6_only: false, buffer_bytes: 1 << 16 }
    }

    #[test]
    fn a_port_in_use_is_an_error_also_with_shards() {
        let sockets = any_port().bind_many(3).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        let again = Binding { address, ..any_port() }.bind_many(2);
        assert!(matches!(again, Err(Error::AddressInUse { .. })), "{again:?}");
    }

    #[test]
    fn a_strange_address_is_an_error_of_its_own() {
        let address = "192.0.2.1:0".parse().unwrap();
        let result = Binding { address, ..any_port() }.bind();
        assert!(matches!(result, Err(Error::AddressUnavailable { .. })), "{result:?}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn loopback_takes_the_largest_datagrams() {
        assert_eq!(max_packet_size("127.0.0.1:9".parse().unwrap()), 65_507 - 32);
        assert_eq!(max_packet_size("[::1]:9".parse().unwrap()), 65_488 - 32);
    }
}
