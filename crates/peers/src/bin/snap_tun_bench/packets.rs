//! What is sent, and what counts it: the same as `bench/peers/traffic.mjs`.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use ana_gotatun::packet::{Packet, PacketBufPool};
use snaptun_peers::{PacketHandler, Verdict};

/// What each packet begins with: its number, 48 bits, and its stream, 16 bits, little endian.
pub(crate) const HEAD: usize = size_of::<u64>();
const STREAM_SHIFT: u32 = 48;
/// What fits into a datagram over IPv4, less header and tag of the tunnel.
pub(crate) const LARGEST: usize = 65_507 - 32;
/// Reading the clock for each packet would be part of what is measured; so would yielding.
pub(crate) const PACKETS_A_TURN: u64 = 64;

/// Makes packets: the same content, each with the next number of its stream. The content is copied in, as an application
/// has to put its data into a packet too.
pub(crate) struct Source {
    pool: PacketBufPool<LARGEST>,
    content: Vec<u8>,
    next: Vec<u64>,
    made: u64,
}

impl Source {
    pub(crate) fn new(size: usize, streams: usize) -> Self {
        Self {
            // The crate copies when it seals, so that the same buffer comes back for the next packet.
            pool: PacketBufPool::new(2),
            content: (0..size).map(|at| (at % 251) as u8).collect(),
            next: vec![0; streams.max(1)],
            made: 0,
        }
    }

    /// Bytes of one packet.
    pub(crate) fn size(&self) -> u64 {
        self.content.len() as u64
    }

    /// Packets that were made.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// The next packet of a stream.
    pub(crate) fn packet(&mut self, stream: usize) -> Packet {
        let mut packet = self.pool.get();
        packet.truncate(self.content.len());
        packet.copy_from_slice(&self.content);
        let next = &mut self.next[stream];
        if let Some(head) = packet.first_chunk_mut() {
            *head = (*next | (stream as u64) << STREAM_SHIFT).to_le_bytes();
        }
        *next += 1;
        self.made += 1;
        packet
    }
}

#[derive(Clone, Copy, Default)]
struct Stream {
    packets: u64,
    /// The highest number that was seen, and one.
    end: u64,
}

/// Counts what comes out of the tunnels.
pub(crate) struct Meter {
    verdict: Verdict,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    streams: Vec<Stream>,
    first: Option<Instant>,
    last: Option<Instant>,
    counted: u64,
}

impl Meter {
    pub(crate) fn new(verdict: Verdict, streams: usize) -> Self {
        let streams = vec![Stream::default(); streams.max(1)];
        Self { verdict, packets: 0, bytes: 0, streams, first: None, last: None, counted: 0 }
    }

    /// From the first packet to the end of the last batch.
    pub(crate) fn time(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last - first,
            _ => Duration::ZERO,
        }
    }

    /// Numbers up to the highest of each stream that did not arrive.
    pub(crate) fn lost(&self) -> u64 {
        self.streams.iter().map(|one| one.end.saturating_sub(one.packets)).sum()
    }

    /// Takes one packet into account.
    pub(crate) fn count(&mut self, payload: &[u8]) {
        if self.first.is_none() {
            self.first = Some(Instant::now());
        }
        self.packets += 1;
        self.bytes += payload.len() as u64;
        if let Some((number, stream)) = head(payload)
            && let Some(stream) = self.streams.get_mut(stream)
        {
            stream.packets += 1;
            stream.end = stream.end.max(number + 1);
        }
    }
}

impl PacketHandler for Meter {
    fn packet(&mut self, payload: &[u8], _remote: SocketAddr) -> Verdict {
        self.count(payload);
        self.verdict
    }

    fn batch_end(&mut self) {
        if self.counted != self.packets {
            self.counted = self.packets;
            self.last = Some(Instant::now());
        }
    }
}

/// The number and the stream of a packet.
pub(crate) fn head(payload: &[u8]) -> Option<(u64, usize)> {
    let head = u64::from_le_bytes(*payload.first_chunk()?);
    Some((head & ((1 << STREAM_SHIFT) - 1), (head >> STREAM_SHIFT) as usize))
}
