//! Datagrams in clear: a batched socket for whatever else speaks UDP.

mod association;
mod options;
mod queue;
pub mod record;
mod shard;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

pub use options::{UdpOptions, UdpSetting};

use self::shard::UdpShard;
use super::{
    Engine, Listener,
    ring::{self, Consumer},
    socket::ShardSocket,
};
use crate::{
    Counter,
    udp_batch::{Envelope, SendFailure},
};

/// The least slab: it must hold the largest datagram with its head.
const MIN_RING_BYTES: usize = 1 << 17;

/// Something that went wrong with datagrams, or with the socket, and that was nobody's call.
#[derive(Debug)]
pub struct UdpFailure {
    /// What the system said of the first.
    pub error: io::Error,
    /// Whether it was said of sending, or of receiving.
    pub sending: bool,
    /// Where the first was to go; the remote of a connected socket.
    pub target: Option<SocketAddr>,
    /// How many datagrams were discarded for such errors. 0 when the error tells of an earlier one:
    /// nobody listens there.
    pub datagrams: u64,
}

impl UdpFailure {
    fn sending(SendFailure { error, target, discarded }: SendFailure) -> Self {
        Self { error, sending: true, target: Some(target), datagrams: discarded }
    }
}

/// What happens to a socket, as the application is told.
#[derive(Debug)]
pub enum UdpEvent {
    /// See [`UdpFailure`]. Those that come before this one is polled are added to it.
    Failed(UdpFailure),
    /// The last one: the socket is released.
    Closed {
        /// Whether it did not end by `close`, but by a bug of ours.
        broken: bool,
    },
}

/// An open socket: the application's end of it. Dropping it closes the socket.
///
/// Received datagrams lie in the ring behind [`record::HEAD_BYTES`] that tell where they are from.
pub struct UdpBatchSocket {
    shard: Arc<UdpShard>,
    bound: SocketAddr,
}

impl Engine {
    /// Binds a socket.
    ///
    /// # Errors
    /// What the system says of the socket, its options or its address.
    pub fn bind_udp(
        &self,
        options: UdpOptions,
        listener: Arc<dyn Listener>,
    ) -> io::Result<(UdpBatchSocket, Consumer)> {
        let worker = self.least_loaded();
        let _runtime = worker.runtime.enter();
        let socket = Arc::new(ShardSocket::register(options.socket()?)?);
        let bound = socket.io().local_addr()?;
        let limits = options.limits;
        let (producer, consumer) = ring::ring(
            limits.receive_packets,
            limits.receive_bytes.max(MIN_RING_BYTES),
            super::poison(),
        )?;
        let shard =
            Arc::new(UdpShard::new(&socket, producer, listener, limits, options.ipv6_only)?);
        let broken = shard.clone();
        worker.run(shard.clone().run(socket), move || broken.release(true));
        Ok((UdpBatchSocket { shard, bound }, consumer))
    }
}

impl UdpBatchSocket {
    /// The address that it was bound to.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// The local address now: a connected socket that was bound to no address in particular has
    /// that of the route.
    ///
    /// # Errors
    /// `NotConnected` when it is closed; what the system says.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.shard.with_socket(UdpSocket::local_addr)
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.shard.is_closing()
    }

    /// Whether a datagram of `length` bytes can go to `target` at all: the family is that of the
    /// socket, the port is not 0, and it is not too large.
    pub fn is_possible(&self, target: SocketAddr, length: usize) -> bool {
        self.shard.is_possible(target, length)
    }

    /// Whether datagrams should be answered from the address that they were sent to, because the
    /// socket was bound to none in particular.
    pub fn answers_from_there(&self) -> bool {
        self.bound.ip().is_unspecified()
    }

    /// Sends one datagram. False when there is no room: then [`super::Signals::WRITABLE`] follows.
    /// Never waits.
    ///
    /// # Errors
    /// What the system says of this datagram, when it is sent at once; of one that was queued, an
    /// event tells.
    ///
    /// # Panics
    /// When it is not [possible](Self::is_possible).
    pub fn send(&self, envelope: &Envelope, datagram: &[u8]) -> io::Result<bool> {
        self.shard.send(envelope, datagram)
    }

    /// Sends `count` datagrams. Returns how many were taken; when that is fewer,
    /// [`super::Signals::WRITABLE`] follows once there is room. Those that are not
    /// [possible](Self::is_possible) are dropped and counted. Never waits.
    pub fn submit<'d>(
        &self,
        count: usize,
        datagram: impl Fn(usize) -> (Envelope, &'d [u8]),
    ) -> usize {
        self.shard.submit(count, datagram)
    }

    /// Sends `data` as datagrams of `size` bytes (the last may be shorter), from where it lies.
    /// Returns how many were taken, as [`submit`](Self::submit).
    ///
    /// # Panics
    /// When such datagrams are not [possible](Self::is_possible), or `size` is 0.
    pub fn submit_segments(&self, envelope: &Envelope, data: &[u8], size: usize) -> usize {
        self.shard.submit_segments(envelope, data, size)
    }

    /// Takes datagrams only from `remote` from now on. Where the system can (Linux), the socket
    /// hears of datagrams that nobody takes there.
    ///
    /// # Errors
    /// `NotConnected` when it is closed; what the system says.
    pub fn connect(&self, remote: SocketAddr) -> io::Result<()> {
        self.shard.set_remote(Some(remote), |socket| association::connect(socket, remote))
    }

    /// Takes datagrams from everybody again.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn disconnect(&self) -> io::Result<()> {
        self.shard.set_remote(None, |socket| association::disconnect(socket, self.bound))
    }

    /// Changes the socket.
    ///
    /// # Errors
    /// `NotConnected` when it is closed; what the system says.
    pub fn set(&self, setting: UdpSetting) -> io::Result<()> {
        self.shard.with_socket(|socket| setting.apply(socket))
    }

    /// The number of a network interface, by its name.
    ///
    /// # Errors
    /// `NotConnected` when the socket is closed; `Unsupported` elsewhere than on Linux; what the
    /// system says.
    pub fn interface_index(&self, name: &str) -> io::Result<u32> {
        self.shard.with_socket(|socket| association::interface_index(socket, name))
    }

    /// What happened, oldest first.
    pub fn poll_event(&self) -> Option<UdpEvent> {
        self.shard.poll_event()
    }

    /// Starts to close; [`UdpEvent::Closed`] follows. What the kernel does not take at once is
    /// dropped.
    pub fn close(&self) {
        self.shard.close();
    }

    /// All counters.
    pub fn counters(&self, each: impl FnMut(Counter)) {
        self.shard.counters(each);
    }
}

impl Drop for UdpBatchSocket {
    fn drop(&mut self) {
        self.close();
    }
}
