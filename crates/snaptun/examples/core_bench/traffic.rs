//! What is sent, and what counts it: the same as `bench/peers/traffic.mjs`.

use std::time::{Duration, Instant};

use crate::task::{Failure, Value, say};

/// Each packet begins with its number, 48 bits, and its stream, 16 bits, little endian.
const HEAD: usize = 8;
const STREAM_SHIFT: u32 = 48;
/// One packet of so many is compared whole.
const SAMPLE: u64 = 1024;

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

/// The number and the stream of a packet; `None` when it is too short to be one.
pub(crate) fn head(packet: &[u8]) -> Option<(u64, usize)> {
    let head = u64::from_le_bytes(*packet.first_chunk()?);
    Some((head & ((1 << STREAM_SHIFT) - 1), (head >> STREAM_SHIFT) as usize))
}

/// Packets that lie one behind the other.
#[derive(Clone, Copy)]
pub(crate) struct Packets<'a> {
    data: &'a [u8],
    size: usize,
}

impl<'a> Packets<'a> {
    pub(crate) fn len(self) -> usize {
        self.data.len() / self.size
    }

    pub(crate) fn at(self, index: usize) -> &'a [u8] {
        &self.data[index * self.size..(index + 1) * self.size]
    }

    pub(crate) fn bytes(self) -> &'a [u8] {
        self.data
    }
}

/// Makes packets, so many at a time.
pub(crate) struct Source {
    size: usize,
    content: Vec<u8>,
    data: Vec<u8>,
    next: Vec<u64>,
}

impl Source {
    pub(crate) fn new(size: usize, packets: usize, streams: usize) -> Result<Self, Failure> {
        if size < HEAD {
            return Err(format!("a packet has at least {HEAD} bytes").into());
        }
        let content = content(size).repeat(packets);
        Ok(Self { size, data: content.clone(), content, next: vec![0; streams] })
    }

    /// Makes the next packets of a stream. The content is copied in anew, as an application has to put its data
    /// somewhere too.
    pub(crate) fn fill(&mut self, stream: usize) -> Packets<'_> {
        self.data.copy_from_slice(&self.content);
        let next = &mut self.next[stream];
        for packet in self.data.chunks_exact_mut(self.size) {
            let head = *next | (stream as u64) << STREAM_SHIFT;
            packet[..HEAD].copy_from_slice(&head.to_le_bytes());
            *next += 1;
        }
        self.packets()
    }

    /// The packets of the last [`fill`](Self::fill).
    pub(crate) fn packets(&self) -> Packets<'_> {
        Packets { data: &self.data, size: self.size }
    }

    /// How many packets were made.
    pub(crate) fn made(&self) -> u64 {
        self.next.iter().sum()
    }
}

#[derive(Clone, Copy, Default)]
struct Stream {
    packets: u64,
    /// The highest number that was seen, and one.
    end: u64,
}

/// Checks and counts what arrives.
pub(crate) struct Meter {
    expected: Vec<u8>,
    streams: Vec<Stream>,
    pub(crate) packets: u64,
    corrupt: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    counted: u64,
}

impl Meter {
    pub(crate) fn new(size: usize, streams: usize) -> Self {
        Self {
            expected: content(size),
            streams: vec![Stream::default(); streams],
            packets: 0,
            corrupt: 0,
            first: None,
            last: None,
            counted: 0,
        }
    }

    /// Each packet's length, number and stream are checked, and now and then all of it.
    #[inline]
    pub(crate) fn packet(&mut self, packet: &[u8]) {
        let stream = head(packet)
            .filter(|_| packet.len() == self.expected.len())
            .and_then(|(number, stream)| Some((number, self.streams.get_mut(stream)?)));
        let Some((number, stream)) = stream else {
            self.corrupt += 1;
            return;
        };
        stream.packets += 1;
        stream.end = stream.end.max(number + 1);
        if self.packets == 0 {
            self.first = Some(Instant::now());
        }
        if self.packets.is_multiple_of(SAMPLE) && packet[HEAD..] != self.expected[HEAD..] {
            self.corrupt += 1;
        }
        self.packets += 1;
    }

    /// The packets that came at once are counted; the clock is read here, once for all of them.
    pub(crate) fn batch_end(&mut self) {
        if self.counted != self.packets {
            self.counted = self.packets;
            self.last = Some(Instant::now());
        }
    }

    /// Whether so much time has passed since the first packet.
    pub(crate) fn ran_for(&self, time: Duration) -> bool {
        self.first.is_some_and(|first| first.elapsed() >= time)
    }

    /// Says what arrived; `size` is what of each packet counts as payload.
    pub(crate) fn say(&self, size: usize) -> Result<(), Failure> {
        let seconds = match (self.first, self.last) {
            (Some(first), Some(last)) => (last - first).as_secs_f64(),
            _ => 0.0,
        };
        let lost: u64 = self.streams.iter().map(|one| one.end - one.packets.min(one.end)).sum();
        say([
            ("packets", Value::Number(self.packets as f64)),
            ("bytes", Value::Number(self.packets as f64 * size as f64)),
            ("seconds", Value::Number(seconds)),
            ("lost", Value::Number(lost as f64)),
            ("corrupt", Value::Number(self.corrupt as f64)),
            (
                "streams",
                Value::Numbers(self.streams.iter().map(|one| one.packets as f64).collect()),
            ),
        ])
    }
}

/// Says what was sent.
pub(crate) fn say_sent(packets: u64, seconds: f64) -> Result<(), Failure> {
    say([("packets", Value::Number(packets as f64)), ("seconds", Value::Number(seconds))])
}
