//! What waits between the application and a shard that is busy, blocked, or without a session.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::Limits;

/// Memory that plaintext is copied into on its way to `Tunn`, a piece at a time.
const PIECE_BYTES: usize = 32 * 1024;

/// A packet on its way out.
pub(super) struct Outgoing {
    pub(super) tunnel: u32,
    pub(super) packet: BytesMut,
}

/// Copies packets into pieces of memory, which are used again once their packets are gone.
#[derive(Default)]
pub(super) struct Staging(BytesMut);

impl Staging {
    #[inline]
    pub(super) fn copy(&mut self, packet: &[u8]) -> BytesMut {
        if self.0.capacity() < packet.len() {
            self.0.reserve(PIECE_BYTES.max(packet.len()));
        }
        self.0.extend_from_slice(packet);
        self.0.split()
    }
}

/// What a queue may hold, and whether somebody waits for room in it.
#[derive(Default)]
pub(super) struct Room {
    /// Of what is in the queue, and of what the owner has taken out and not sent yet.
    bytes: usize,
    /// Somebody was told that the queue is full.
    pub(super) wanted: bool,
}

impl Room {
    /// Whether `length` bytes more fit, behind `pending` packets of which there may be `bound`. When
    /// not, it is remembered that somebody waits.
    pub(super) fn fits(
        &mut self,
        length: usize,
        pending: usize,
        bound: usize,
        limits: &Limits,
    ) -> bool {
        // Whatever its size, a packet fits into an empty queue.
        let bytes = self.bytes == 0 || self.bytes + length <= limits.send_bytes;
        let fits = pending < bound && bytes;
        self.wanted |= !fits;
        fits
    }

    /// Takes room for `length` bytes, if they fit.
    pub(super) fn take(
        &mut self,
        length: usize,
        pending: usize,
        bound: usize,
        limits: &Limits,
    ) -> bool {
        let fits = self.fits(length, pending, bound, limits);
        if fits {
            self.bytes += length;
        }
        fits
    }

    /// Notes that `bytes` were sent and `pending` packets are left. True when somebody waits for
    /// room, and there is: half of what may wait, so that it is for a batch and not for a packet.
    pub(super) fn drained(&mut self, bytes: usize, pending: usize, limits: &Limits) -> bool {
        self.bytes -= bytes;
        let bound = limits.high_water.min(limits.send_packets);
        let room = pending <= bound / 2 && self.bytes <= limits.send_bytes / 2;
        room && std::mem::take(&mut self.wanted)
    }
}

/// Packets and commands for whoever owns the shard next.
pub(super) struct Queue<C> {
    pub(super) packets: VecDeque<Outgoing>,
    pub(super) commands: Vec<C>,
    pub(super) room: Room,
    staging: Staging,
}

impl<C> Default for Queue<C> {
    fn default() -> Self {
        Self {
            packets: VecDeque::new(),
            commands: Vec::new(),
            room: Room::default(),
            staging: Staging::default(),
        }
    }
}

impl<C> Queue<C> {
    /// Copies a packet in, behind `pending` others. False when there is no room.
    pub(super) fn push(
        &mut self,
        tunnel: u32,
        packet: &[u8],
        pending: usize,
        bound: usize,
        limits: &Limits,
    ) -> bool {
        let fits = self.room.take(packet.len(), pending, bound, limits);
        if fits {
            let packet = self.staging.copy(packet);
            self.packets.push_back(Outgoing { tunnel, packet });
        }
        fits
    }
}
