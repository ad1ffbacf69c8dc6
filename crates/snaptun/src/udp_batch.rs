//! Batched UDP: many datagrams a system call, both ways.
//!
//! A [`UdpBatchSender`] gathers a *train*: datagrams for one target, of one size (the last may be
//! shorter), back to back, which the kernel or the network card cuts apart (GSO). A
//! [`UdpBatchReceiver`] takes as many messages as one `recvmmsg` gives, each of which may be such a
//! train put together again (GRO), and splits them without copying.
//!
//! Nothing here waits: a call that would block says so.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket},
};

use ana_gotatun::packet::{Packet, PacketBufPool};
use bytes::BytesMut;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

use crate::wire::{MAX_DATAGRAM_V4, MAX_DATAGRAM_V6, canonical};

/// The most that one train holds in bytes: it goes through the IP layer as one packet of at most
/// 65,535 bytes; what IPv6 leaves of that (headers of 40 and 8 bytes) holds for both families.
const TRAIN_BYTES: usize = 65_487;

/// Messages a receive. Each may hold a train of 64 KiB; more of them would not fit into a core's L2
/// cache, and measured no faster (docs/architecture.md).
const MESSAGES: usize = 4;

/// Holds the largest message that a kernel gives.
const MESSAGE_BYTES: usize = 65_536;

/// Receive buffers kept for reuse, for each receiver. What the application holds on to beyond that
/// is allocated anew, and freed.
const POOLED_MESSAGES: usize = 2 * MESSAGES;

/// What a sender did so far, in datagrams.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SendCounts {
    /// Given to the kernel.
    pub sent: u64,
    /// Given up, because the kernel refused them: no route, too large for the path, not permitted.
    pub discarded: u64,
    /// System calls.
    pub calls: u64,
}

/// Gathers datagrams and sends them a train at a time. Keeps their order, across targets too.
#[derive(Debug)]
pub struct UdpBatchSender {
    state: UdpSocketState,
    /// Whether the socket is IPv6, so that IPv4 targets have to be written as mapped addresses.
    ipv6: bool,
    train: Vec<u8>,
    target: SocketAddr,
    source: Option<IpAddr>,
    /// Size of each datagram of the train but the last.
    segment: usize,
    datagrams: usize,
    /// The last datagram is shorter than the others: nothing may follow it.
    ended: bool,
    blocked: bool,
    counts: SendCounts,
}

impl UdpBatchSender {
    /// A sender for `socket`, which it sets up for GSO.
    ///
    /// # Errors
    /// What the system says of the socket options.
    pub fn new(socket: &UdpSocket) -> io::Result<Self> {
        Ok(Self {
            state: UdpSocketState::new(socket.into())?,
            ipv6: socket.local_addr()?.is_ipv6(),
            train: Vec::new(),
            target: SocketAddr::from(([0, 0, 0, 0], 0)),
            source: None,
            segment: 0,
            datagrams: 0,
            ended: false,
            blocked: false,
            counts: SendCounts::default(),
        })
    }

    /// Makes room for one datagram of `length` bytes to `target`, from the local address `source`
    /// if given; sends what is in the way. Returns false when the kernel takes no more now: then
    /// nothing may be pushed until [`flush`](Self::flush) has succeeded.
    ///
    /// # Panics
    /// When the port is 0 or the datagram larger than UDP carries: check targets and sizes first.
    #[inline]
    pub fn reserve(
        &mut self,
        socket: &UdpSocket,
        target: SocketAddr,
        source: Option<IpAddr>,
        length: usize,
    ) -> bool {
        assert!(target.port() != 0 && length <= max_datagram(target.ip()));
        if self.datagrams > 0 {
            let fits = !self.ended
                && length <= self.segment
                && self.datagrams < self.state.max_gso_segments()
                && self.train.len() + length <= TRAIN_BYTES
                && self.target == target
                && self.source == source;
            if fits {
                return true;
            }
            if !self.flush(socket) {
                return false;
            }
        }
        self.target = target;
        self.source = source;
        self.segment = length;
        true
    }

    /// Adds the datagram that room was made for just now.
    #[inline]
    pub fn push(&mut self, datagram: &[u8]) {
        debug_assert!(datagram.len() <= self.segment && !self.ended);
        self.ended = datagram.len() < self.segment;
        self.train.extend_from_slice(datagram);
        self.datagrams += 1;
    }

    /// Sends one datagram by itself or behind others, or discards it when the kernel takes no more.
    #[inline]
    pub fn send(
        &mut self,
        socket: &UdpSocket,
        target: SocketAddr,
        source: Option<IpAddr>,
        datagram: &[u8],
    ) {
        if self.reserve(socket, target, source, datagram.len()) {
            self.push(datagram);
        } else {
            self.counts.discarded += 1;
        }
    }

    /// Sends what was gathered. Returns false, and keeps it, when the kernel takes no more now.
    /// What the kernel refuses for another reason is discarded and counted, so that it blocks
    /// nothing behind it.
    #[inline]
    pub fn flush(&mut self, socket: &UdpSocket) -> bool {
        if self.datagrams == 0 {
            return true;
        }
        let segment_size = (self.datagrams > 1).then_some(self.segment);
        self.counts.calls += 1;
        match self.transmit(socket, &self.train, segment_size) {
            Ok(()) => self.counts.sent += self.datagrams as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                return false;
            }
            Err(error) => self.recover(socket, &error),
        }
        self.blocked = false;
        self.train.clear();
        self.datagrams = 0;
        self.ended = false;
        true
    }

    /// Whether a train waits for the socket to become writable.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The socket options that were set up, for receiving on the same socket.
    pub fn state(&self) -> &UdpSocketState {
        &self.state
    }

    /// What was done so far.
    pub fn counts(&self) -> SendCounts {
        self.counts
    }

    fn transmit(
        &self,
        socket: &UdpSocket,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination: if self.ipv6 { mapped(self.target) } else { self.target },
            ecn: None,
            contents,
            segment_size,
            src_ip: self.source,
        };
        self.state.try_send(socket.into(), &transmit)
    }

    /// After an error other than «would block».
    ///
    /// `quinn-udp` gives GSO up for good upon `EIO` and `EINVAL`, which an interface without GSO
    /// answers with, but also a single impossible target. So the datagrams are sent one by one:
    /// when that works GSO was what the kernel refused, and it stays off; when that fails too, the
    /// target was at fault, and the socket state is made anew, with GSO.
    #[cold]
    fn recover(&mut self, socket: &UdpSocket, error: &io::Error) {
        let gso_refused = self.datagrams > 1 && self.state.max_gso_segments() == 1;
        let mut sent = 0;
        if gso_refused || self.datagrams > 1 && quinn_udp::is_msg_size_err(error) {
            for datagram in self.train.chunks(self.segment) {
                if self.transmit(socket, datagram, None).is_ok() {
                    sent += 1;
                }
            }
        }
        self.counts.sent += sent;
        self.counts.discarded += self.datagrams as u64 - sent;
        if sent == 0
            && let Ok(state) = UdpSocketState::new(socket.into())
        {
            self.state = state;
        }
    }
}

/// The largest datagram that fits to an address, in bytes.
pub fn max_datagram(to: IpAddr) -> usize {
    match to {
        IpAddr::V4(_) => MAX_DATAGRAM_V4,
        IpAddr::V6(_) => MAX_DATAGRAM_V6,
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        SocketAddr::V6(_) => address,
    }
}

/// Receives many datagrams a system call. One for each thread that receives, not for each socket:
/// between calls it holds no datagram, and its buffers are large.
pub struct UdpBatchReceiver {
    pool: PacketBufPool<MESSAGE_BYTES>,
    buffers: Vec<Packet>,
}

impl UdpBatchReceiver {
    /// A receiver with its buffers.
    pub fn new() -> Self {
        let pool = PacketBufPool::new(POOLED_MESSAGES);
        let buffers = (0..MESSAGES).map(|_| pool.get()).collect();
        Self { pool, buffers }
    }

    /// Receives what one system call gives, and hands each datagram to `handle` with its source and
    /// the local address that it was sent to, in the order of arrival. Returns the number of
    /// messages, of which each may have held many datagrams.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing. Any other error concerns the socket, not a datagram.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        state: &UdpSocketState,
        mut handle: impl FnMut(SocketAddr, Option<IpAddr>, BytesMut),
    ) -> io::Result<usize> {
        let mut meta = [RecvMeta::default(); MESSAGES];
        let mut buffers = self.buffers.iter_mut();
        let mut slices: [IoSliceMut<'_>; MESSAGES] = std::array::from_fn(|_| {
            IoSliceMut::new(buffers.next().map_or(&mut [], |buffer| &mut buffer.buf_mut()[..]))
        });
        let messages = state.recv(socket.into(), &mut slices, &mut meta)?;
        for (buffer, meta) in self.buffers.iter_mut().zip(&meta[..messages]) {
            let mut message = std::mem::replace(buffer, self.pool.get());
            let bytes = message.buf_mut();
            bytes.truncate(meta.len);
            let source = canonical(meta.addr);
            // A stride of zero would never end; one datagram is what such a message is.
            let stride = if meta.stride == 0 { meta.len } else { meta.stride };
            while bytes.len() > stride {
                handle(source, meta.dst_ip, bytes.split_to(stride));
            }
            handle(source, meta.dst_ip, bytes.split());
        }
        Ok(messages)
    }

    /// Whether a receive that gave `messages` may have left more behind.
    pub fn is_full(messages: usize) -> bool {
        messages == MESSAGES
    }
}

impl Default for UdpBatchReceiver {
    fn default() -> Self {
        Self::new()
    }
}
