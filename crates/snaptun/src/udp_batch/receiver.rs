//! The receiving half.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, UdpSocket},
};

use ana_gotatun::packet::{Packet, PacketBufPool};
use bytes::BytesMut;
use quinn_udp::{RecvMeta, UdpSocketState};

use crate::wire::canonical;

/// Messages a receive, by default. Each may hold a train of 64 KiB; more of them would not fit into a
/// core's L2 cache, and measured no faster (docs/architecture.md).
const TRAINS: usize = 4;

/// Messages a receive while they are small: as many as `quinn-udp` takes.
const SMALL_MESSAGES: usize = quinn_udp::BATCH_SIZE;

/// What is small: many messages of that size are still no more than some trains.
const SMALL_BYTES: usize = 8 * 1024;

/// Holds the largest message that a kernel gives.
const MESSAGE_BYTES: usize = 65_536;

/// Receive buffers kept for reuse, for each receiver. What the application holds on to beyond that
/// is allocated anew, and freed.
const POOLED_MESSAGES: usize = 2 * TRAINS;

/// What is known of datagrams beside their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Who sent them.
    pub source: SocketAddr,
    /// The local address that they were sent to, where the system tells.
    pub local: Option<IpAddr>,
    /// Their ECN bits, see [`Envelope`](super::Envelope).
    pub ecn: u8,
}

impl Arrival {
    fn of(meta: &RecvMeta) -> Self {
        Self {
            source: canonical(meta.addr),
            local: meta.dst_ip.map(|address| address.to_canonical()),
            ecn: meta.ecn.map_or(0, |ecn| ecn as u8),
        }
    }
}

/// The size of a message's datagrams; the last may be shorter. A stride of zero would never end; one
/// datagram is what such a message is.
fn stride(meta: &RecvMeta) -> usize {
    if meta.stride == 0 { meta.len } else { meta.stride }
}

/// Receives many datagrams a system call. One for each thread that receives, not for each socket:
/// between calls it holds no datagram, and its buffers are large (and not touched before they are
/// used).
pub struct UdpBatchReceiver {
    buffers: Vec<Vec<u8>>,
    /// Messages that the next call asks for.
    wanted: usize,
}

impl UdpBatchReceiver {
    /// A receiver with its buffers.
    pub fn new() -> Self {
        let buffers = (0..SMALL_MESSAGES).map(|_| vec![0; MESSAGE_BYTES]).collect();
        Self { buffers, wanted: TRAINS }
    }

    /// Receives what one system call gives, and hands the datagrams to `handle`, in the order of
    /// arrival: what they have in common, and those that came as one message, back to back, each of
    /// so many bytes (the last may be shorter; an empty one is a datagram too). Returns whether
    /// there may be more.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing. `ConnectionRefused` and its like tell what an earlier
    /// datagram met on its way. Any other error concerns the socket.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        state: &UdpSocketState,
        mut handle: impl FnMut(&Arrival, &[u8], usize),
    ) -> io::Result<bool> {
        let mut meta = [RecvMeta::default(); SMALL_MESSAGES];
        let mut buffers = self.buffers.iter_mut();
        let mut slices: [IoSliceMut<'_>; SMALL_MESSAGES] = std::array::from_fn(|_| {
            IoSliceMut::new(buffers.next().map_or(&mut [], |buffer| &mut buffer[..]))
        });
        let wanted = self.wanted;
        let messages =
            state.recv(socket.into(), &mut slices[..wanted], &mut meta[..wanted])?.min(wanted);
        let mut bytes = 0;
        for (buffer, meta) in self.buffers.iter().zip(&meta[..messages]) {
            handle(&Arrival::of(meta), &buffer[..meta.len], stride(meta));
            bytes += meta.len;
        }
        let small = bytes <= messages * SMALL_BYTES;
        self.wanted = if small { SMALL_MESSAGES } else { TRAINS };
        Ok(messages == wanted)
    }
}

impl Default for UdpBatchReceiver {
    fn default() -> Self {
        Self::new()
    }
}

/// The same for datagrams that are opened in place by `Tunn`, which takes owned buffers.
pub(crate) struct PooledReceiver {
    pool: PacketBufPool<MESSAGE_BYTES>,
    buffers: Vec<Packet>,
}

impl PooledReceiver {
    pub(crate) fn new() -> Self {
        let pool = PacketBufPool::new(POOLED_MESSAGES);
        let buffers = (0..TRAINS).map(|_| pool.get()).collect();
        Self { pool, buffers }
    }

    /// Receives what one system call gives, and hands each datagram to `handle` with its source and
    /// the local address that it was sent to, in the order of arrival. Returns the number of
    /// messages, of which each may have held many datagrams.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing. Any other error concerns the socket, not a datagram.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        state: &UdpSocketState,
        mut handle: impl FnMut(SocketAddr, Option<IpAddr>, BytesMut),
    ) -> io::Result<usize> {
        let mut meta = [RecvMeta::default(); TRAINS];
        let mut buffers = self.buffers.iter_mut();
        let mut slices: [IoSliceMut<'_>; TRAINS] = std::array::from_fn(|_| {
            IoSliceMut::new(buffers.next().map_or(&mut [], |buffer| &mut buffer.buf_mut()[..]))
        });
        let messages = state.recv(socket.into(), &mut slices, &mut meta)?;
        for (buffer, meta) in self.buffers.iter_mut().zip(&meta[..messages]) {
            let mut message = std::mem::replace(buffer, self.pool.get());
            let bytes = message.buf_mut();
            bytes.truncate(meta.len);
            let source = canonical(meta.addr);
            let stride = stride(meta);
            while bytes.len() > stride {
                handle(source, meta.dst_ip, bytes.split_to(stride));
            }
            handle(source, meta.dst_ip, bytes.split());
        }
        Ok(messages)
    }

    /// Whether a receive that gave `messages` may have left more behind.
    pub(crate) fn is_full(messages: usize) -> bool {
        messages == TRAINS
    }
}
