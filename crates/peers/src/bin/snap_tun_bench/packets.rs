//! What is sent, and what counts it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use ana_gotatun::packet::{Packet, PacketBufPool};
use snaptun_peers::{PacketHandler, Verdict};

/// The sequence number that each packet begins with.
pub(crate) const SEQUENCE: usize = size_of::<u64>();
/// What fits into a datagram over IPv4, less header and tag of the tunnel.
pub(crate) const LARGEST: usize = 65_507 - 32;
/// Reading the clock for each packet would be part of what is measured; so would yielding.
pub(crate) const PACKETS_A_TURN: u64 = 64;

/// Makes packets: the same content, each with the next sequence number. The content is copied in, as an application
/// has to put its data into a packet too.
pub(crate) struct Source {
    pool: PacketBufPool<LARGEST>,
    content: Vec<u8>,
    pub(crate) next: u64,
}

impl Source {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            // The crate copies when it seals, so that the same buffer comes back for the next packet.
            pool: PacketBufPool::new(2),
            content: (0..size).map(|at| (at % 251) as u8).collect(),
            next: 0,
        }
    }

    /// Bytes of one packet.
    pub(crate) fn size(&self) -> u64 {
        self.content.len() as u64
    }

    pub(crate) fn packet(&mut self) -> Packet {
        let mut packet = self.pool.get();
        packet.truncate(self.content.len());
        packet.copy_from_slice(&self.content);
        if let Some(start) = packet.first_chunk_mut() {
            *start = self.next.to_le_bytes();
        }
        self.next += 1;
        packet
    }
}

/// Counts what comes out of the tunnels.
pub(crate) struct Meter {
    verdict: Verdict,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    highest: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    counted: u64,
}

impl Meter {
    pub(crate) fn new(verdict: Verdict) -> Self {
        Self { verdict, packets: 0, bytes: 0, highest: 0, first: None, last: None, counted: 0 }
    }

    /// From the first packet to the end of the last batch.
    pub(crate) fn time(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last - first,
            _ => Duration::ZERO,
        }
    }

    /// Sequence numbers up to the highest that did not arrive.
    pub(crate) fn lost(&self) -> u64 {
        let sent = if self.packets == 0 { 0 } else { self.highest + 1 };
        sent.saturating_sub(self.packets)
    }
}

impl PacketHandler for Meter {
    fn packet(&mut self, payload: &[u8], _remote: SocketAddr) -> Verdict {
        if self.first.is_none() {
            self.first = Some(Instant::now());
        }
        self.packets += 1;
        self.bytes += payload.len() as u64;
        if let Some(sequence) = sequence(payload) {
            self.highest = self.highest.max(sequence);
        }
        self.verdict
    }

    fn batch_end(&mut self) {
        if self.counted != self.packets {
            self.counted = self.packets;
            self.last = Some(Instant::now());
        }
    }
}

pub(crate) fn sequence(payload: &[u8]) -> Option<u64> {
    payload.first_chunk().copied().map(u64::from_le_bytes)
}
