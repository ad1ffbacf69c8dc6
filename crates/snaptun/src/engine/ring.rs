//! The delivery ring: opened packets on their way from a shard to the application.
//!
//! A slab of memory made once, and an entry for each packet in it. One producer (whoever owns the
//! shard) copies packets in; one consumer takes a batch of them, reads it where it lies, and
//! releases it. Both bounds hold always: so many packets, so many bytes. When one is reached the
//! newest packet is dropped. The slab outlives both ends for as long as somebody holds a
//! [`Slab`]: JavaScript does, through an ArrayBuffer.
//!
//! This is where the core's `unsafe` is, but for one call in `socket.rs`. What makes it sound:
//! 1. Entries `head..tail` and the bytes they name belong to the consumer, all others to the producer.
//! 2. `tail` is stored (release) by the producer only, after it wrote the entries before it; the
//!    consumer loads it (acquire) before it reads them.
//! 3. `head` is stored (release) by the consumer only, after it read the entries before it; the
//!    producer loads it (acquire) before it writes there again.
//! 4. There is one producer and one consumer: neither end can be cloned.

use std::{
    cell::UnsafeCell,
    io,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
    },
};

use memmap2::MmapMut;

/// The smallest slab: it must hold the largest packet.
pub const MIN_SLAB_BYTES: usize = 1 << 16;

/// What released bytes are overwritten with when poisoning is on.
pub const POISON: u8 = 0xdb;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    offset: u32,
    length: u32,
    tunnel: u32,
    /// The logical position behind the packet: what is free once it is released.
    end: u64,
}

/// Memory that packets lie in. Keeps it alive.
#[derive(Clone)]
pub struct Slab(Arc<Ring>);

impl Slab {
    /// Where the memory begins. Bytes of packets that were taken and not released are stable;
    /// others may change at any time.
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.slab.as_ptr()
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.bytes
    }

    /// Never: there is a smallest size.
    pub fn is_empty(&self) -> bool {
        false
    }
}

struct Ring {
    /// The slab, and the entries behind it. Mapped, and not taken from the heap: pages that were
    /// never touched cost nothing then, whatever was freed before, and go back at once in the end.
    _memory: MmapMut,
    slab: NonNull<u8>,
    bytes: usize,
    entries: NonNull<UnsafeCell<Entry>>,
    packets: usize,
    head: AtomicU64,
    tail: AtomicU64,
    /// The consumer found nothing and wants to be woken.
    armed: AtomicBool,
    poison: bool,
}

// SAFETY: the cells and the slab are shared by the protocol in the head of this file (1-4).
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    fn entry(&self, position: u64) -> &UnsafeCell<Entry> {
        // The number of entries is a power of two.
        let index = position as usize & (self.packets - 1);
        // SAFETY: `ring` made room for that many, zeroed, which is a value of an entry; the mapping
        // lives as long as `self`.
        unsafe { self.entries.add(index).as_ref() }
    }
}

/// A ring for `packets` packets and `bytes` bytes, both rounded up to a power of two. The memory is
/// asked for at once, but not touched before it is used.
///
/// # Errors
/// When the system has not as much address space.
pub fn ring(packets: usize, bytes: usize, poison: bool) -> io::Result<(Producer, Consumer)> {
    let bytes = bytes.clamp(MIN_SLAB_BYTES, 1 << 31).next_power_of_two();
    let packets = packets.clamp(1, 1 << 24).next_power_of_two();
    let mut memory = MmapMut::map_anon(bytes + packets * size_of::<Entry>())?;
    let slab = NonNull::from(&mut memory[..]).cast::<u8>();
    let ring = Arc::new(Ring {
        _memory: memory,
        slab,
        bytes,
        // SAFETY: it lies inside the mapping, and as far behind a page's beginning as a multiple of
        // 64 KiB: aligned.
        entries: unsafe { slab.add(bytes) }.cast(),
        packets,
        head: AtomicU64::new(0),
        tail: AtomicU64::new(0),
        armed: AtomicBool::new(false),
        poison,
    });
    let producer = Producer {
        ring: ring.clone(),
        tail: 0,
        head: 0,
        write: 0,
        published: 0,
        released: 0,
        floor: 0,
    };
    Ok((producer, Consumer { ring, head: 0, taken: 0 }))
}

/// The end that packets go in at.
pub struct Producer {
    ring: Arc<Ring>,
    tail: u64,
    /// As last seen.
    head: u64,
    /// The logical position that the next packet goes to; it only grows.
    write: u64,
    /// What `write` was when the consumer was last shown what there is.
    published: u64,
    /// The logical position up to which the consumer was seen to have released.
    released: u64,
    /// Everything before this logical position is free, whatever `released` says.
    floor: u64,
}

impl Producer {
    /// Copies a packet in; false when there is no room. It is seen by the consumer after
    /// [`publish`](Self::publish).
    #[inline]
    pub fn push(&mut self, tunnel: u32, packet: &[u8]) -> bool {
        let Some(start) = self.place(packet.len()).or_else(|| {
            self.observe();
            self.place(packet.len())
        }) else {
            return false;
        };
        let offset = start as usize & (self.ring.bytes - 1);
        // SAFETY: `place` made sure that the bytes `offset..offset + length` lie inside the slab and
        // belong to the producer (1), and `packet` is memory of somebody else.
        unsafe {
            let target = self.ring.slab.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(packet.as_ptr(), target, packet.len());
        }
        let end = start + packet.len() as u64;
        self.enter(Entry { offset: offset as u32, length: packet.len() as u32, tunnel, end });
        true
    }

    /// As [`push`](Self::push), for a packet in two parts: `head` and then `body`. In a ring where
    /// all are pushed like this, each begins at a multiple of 8 bytes, so that heads can hold numbers.
    #[inline]
    pub fn push_behind(&mut self, head: &[u8], body: &[u8]) -> bool {
        let length = head.len() + body.len();
        let room = length.next_multiple_of(8);
        let Some(start) = self.place(room).or_else(|| {
            self.observe();
            self.place(room)
        }) else {
            return false;
        };
        let offset = start as usize & (self.ring.bytes - 1);
        // SAFETY: as in `push`: the bytes `offset..offset + room` belong to the producer (1), and
        // both parts fit in there one after the other.
        unsafe {
            let target = self.ring.slab.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(head.as_ptr(), target, head.len());
            std::ptr::copy_nonoverlapping(body.as_ptr(), target.add(head.len()), body.len());
        }
        self.enter(Entry {
            offset: offset as u32,
            length: length as u32,
            tunnel: 0,
            end: start + room as u64,
        });
        true
    }

    /// Writes the entry of a packet that lies in the slab already.
    #[inline]
    fn enter(&mut self, entry: Entry) {
        // SAFETY: `place` made sure that this entry belongs to the producer (1).
        unsafe { *self.ring.entry(self.tail).get() = entry };
        self.write = entry.end;
        self.tail += 1;
    }

    /// The logical position for a packet of `length` bytes, or `None` when there is no room as far
    /// as was seen.
    #[inline]
    fn place(&mut self, length: usize) -> Option<u64> {
        let (bytes, length) = (self.ring.bytes as u64, length as u64);
        if self.tail - self.head >= self.ring.packets as u64 {
            return None;
        }
        if self.tail == self.head && self.write > self.floor {
            // Nothing is in use: begin at the start again, so that a ring that is read promptly
            // stays in a few cache lines, and an idle one in a few pages.
            self.write = self.write.next_multiple_of(bytes);
            self.floor = self.write;
        }
        let offset = self.write & (bytes - 1);
        // A packet lies in one piece: what doesn't fit before the end begins at the start.
        let start = if offset + length > bytes { self.write + bytes - offset } else { self.write };
        (start + length - self.released.max(self.floor) <= bytes).then_some(start)
    }

    /// Looks at what the consumer has released.
    fn observe(&mut self) {
        let head = self.ring.head.load(Ordering::Acquire);
        if head != self.head {
            self.head = head;
            // SAFETY: the entry before `head` was released by the consumer, and the producer, which
            // is we, has not written there since: `tail - head` is at most the number of entries.
            self.released = unsafe { (*self.ring.entry(head - 1).get()).end };
        }
    }

    /// Shows the consumer what was pushed. True when the consumer is to be woken.
    #[inline]
    pub fn publish(&mut self) -> bool {
        if self.ring.tail.load(Ordering::Relaxed) != self.tail {
            self.ring.tail.store(self.tail, Ordering::Release);
            self.published = self.write;
            self.observe();
            // Pairs with the fence in `Consumer::arm`: either we see it armed, or it sees the tail.
            fence(Ordering::SeqCst);
            return self.ring.armed.load(Ordering::Relaxed)
                && self.ring.armed.swap(false, Ordering::Relaxed);
        }
        false
    }

    /// Bytes pushed that the consumer does not see yet.
    #[inline]
    pub fn unpublished(&self) -> u64 {
        self.write - self.published
    }

    /// Packets pushed and not released.
    pub fn queued(&mut self) -> u64 {
        self.observe();
        self.tail - self.head
    }
}

/// The end that packets come out at, a batch at a time.
pub struct Consumer {
    ring: Arc<Ring>,
    head: u64,
    taken: u64,
}

/// One packet of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Where it begins in the slab.
    pub offset: u32,
    /// Its length in bytes.
    pub length: u32,
    /// The number of the tunnel that it came through.
    pub tunnel: u32,
}

impl Consumer {
    /// Releases the batch taken before, and takes the next one, of at most `max` packets. Returns
    /// its length.
    pub fn take(&mut self, max: usize) -> usize {
        self.release();
        let tail = self.ring.tail.load(Ordering::Acquire);
        self.taken = (tail - self.head).min(max as u64);
        self.taken as usize
    }

    /// Asks to be woken when there is something. False when there is already.
    pub fn arm(&mut self) -> bool {
        self.ring.armed.store(true, Ordering::Relaxed);
        // Pairs with the fence in `Producer::publish`.
        fence(Ordering::SeqCst);
        if self.ring.tail.load(Ordering::Acquire) == self.head + self.taken {
            return true;
        }
        self.ring.armed.store(false, Ordering::Relaxed);
        false
    }

    /// Length of the batch that was taken.
    pub fn len(&self) -> usize {
        self.taken as usize
    }

    /// Whether no batch is taken.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    fn get(&self, index: usize) -> Option<Entry> {
        // SAFETY: entries of the batch lie in `head..tail` and belong to the consumer (1, 2).
        ((index as u64) < self.taken)
            .then(|| unsafe { *self.ring.entry(self.head + index as u64).get() })
    }

    /// Where packet `index` of the batch lies, and whose it is.
    pub fn descriptor(&self, index: usize) -> Option<Descriptor> {
        let Entry { offset, length, tunnel, .. } = self.get(index)?;
        Some(Descriptor { offset, length, tunnel })
    }

    /// The bytes of packet `index` of the batch.
    pub fn packet(&self, index: usize) -> Option<&[u8]> {
        let entry = self.get(index)?;
        // SAFETY: the bytes of a taken entry lie inside the slab and belong to the consumer, until
        // `release`, which takes `&mut self` and so ends this borrow (1).
        Some(unsafe {
            std::slice::from_raw_parts(
                self.ring.slab.as_ptr().add(entry.offset as usize),
                entry.length as usize,
            )
        })
    }

    /// Gives the batch back.
    pub fn release(&mut self) {
        if self.taken == 0 {
            return;
        }
        if self.ring.poison {
            for index in 0..self.taken as usize {
                if let Some(entry) = self.get(index) {
                    // SAFETY: as in `packet`; nobody borrows it, since we hold `&mut self`.
                    unsafe {
                        let start = self.ring.slab.as_ptr().add(entry.offset as usize);
                        start.write_bytes(POISON, entry.length as usize);
                    }
                }
            }
        }
        self.head += self.taken;
        self.taken = 0;
        self.ring.head.store(self.head, Ordering::Release);
    }

    /// The memory that packets lie in.
    pub fn slab(&self) -> Slab {
        Slab(self.ring.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(seed: u64, length: usize) -> Vec<u8> {
        (0..length).map(|at| (seed as usize * 31 + at) as u8).collect()
    }

    #[test]
    fn a_packet_comes_out_as_it_went_in() {
        let (mut producer, mut consumer) = ring(4, MIN_SLAB_BYTES, false).unwrap();
        assert!(producer.push(7, b"hello"));
        assert_eq!(consumer.take(10), 0, "not published yet");
        assert_eq!(producer.unpublished(), 5);
        assert!(!producer.publish(), "nobody waits");
        assert_eq!(producer.unpublished(), 0);
        assert_eq!(consumer.take(10), 1);
        assert_eq!(consumer.packet(0), Some(&b"hello"[..]));
        assert_eq!(consumer.descriptor(0).map(|one| one.tunnel), Some(7));
        assert_eq!(consumer.packet(1), None);
    }

    #[test]
    fn the_consumer_is_woken_once_and_only_when_it_waits() {
        let (mut producer, mut consumer) = ring(4, MIN_SLAB_BYTES, false).unwrap();
        assert!(consumer.arm());
        producer.push(0, b"a");
        assert!(producer.publish());
        producer.push(0, b"b");
        assert!(!producer.publish());
        assert!(!consumer.arm(), "there is something already");
        assert_eq!(consumer.take(9), 2);
        assert!(consumer.arm());
    }

    #[test]
    fn a_full_ring_drops_the_newest_and_takes_more_after_a_release() {
        let (mut producer, mut consumer) = ring(2, MIN_SLAB_BYTES, false).unwrap();
        assert!(producer.push(0, b"a") && producer.push(0, b"b") && !producer.push(0, b"c"));
        producer.publish();
        assert_eq!(consumer.take(1), 1);
        assert!(!producer.push(0, b"c"), "taken is not released");
        consumer.release();
        assert!(producer.push(0, b"c"));
        let (mut producer, _consumer) = ring(100, MIN_SLAB_BYTES, false).unwrap();
        assert!(producer.push(0, &packet(1, MIN_SLAB_BYTES - 1)));
        assert!(!producer.push(0, b"xy"), "the bound in bytes");
    }

    #[test]
    fn released_bytes_are_poisoned_when_asked_for() {
        let (mut producer, mut consumer) = ring(2, MIN_SLAB_BYTES, true).unwrap();
        producer.push(0, b"secret");
        producer.publish();
        consumer.take(1);
        let slab = consumer.slab();
        consumer.release();
        // SAFETY: the ring is idle, and the slab alive.
        let bytes = unsafe { std::slice::from_raw_parts(slab.as_ptr(), 7) };
        assert_eq!(bytes, [POISON, POISON, POISON, POISON, POISON, POISON, 0]);
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in_in_order_and_within_the_bounds(
            steps in prop::collection::vec((0usize..20_000, 0usize..4), 1..400),
        ) {
            let (mut producer, mut consumer) = ring(16, MIN_SLAB_BYTES, true).unwrap();
            let mut model = std::collections::VecDeque::new();
            let mut seed = 0;
            for (length, action) in steps {
                if action < 3 {
                    seed += 1;
                    let in_use: usize = model.iter().map(|&(_, length)| length).sum();
                    let accepted = producer.push(seed as u32, &packet(seed, length));
                    prop_assert!(!accepted || (model.len() < 16 && in_use + length <= MIN_SLAB_BYTES));
                    prop_assert!(accepted || !model.is_empty(), "an empty ring takes any packet");
                    if accepted { model.push_back((seed, length)); }
                } else {
                    producer.publish();
                    let count = consumer.take(5);
                    prop_assert_eq!(count, model.len().min(5));
                    for index in 0..count {
                        let (seed, length) = model.pop_front().unwrap();
                        prop_assert_eq!(consumer.packet(index).unwrap(), &packet(seed, length)[..]);
                    }
                    consumer.release();
                }
            }
        }
    }

    #[test]
    fn two_threads_lose_and_mix_up_nothing() {
        let (mut producer, mut consumer) = ring(64, MIN_SLAB_BYTES, true).unwrap();
        let sender = std::thread::spawn(move || {
            for seed in 0..20_000_u64 {
                while !producer.push(seed as u32, &packet(seed, seed as usize % 3_000)) {
                    producer.publish();
                    std::thread::yield_now();
                }
                if seed % 7 == 0 {
                    producer.publish();
                }
            }
            producer.publish();
        });
        let mut expected = 0_u64;
        while expected < 20_000 {
            for index in 0..consumer.take(13) {
                assert_eq!(consumer.descriptor(index).unwrap().tunnel, expected as u32);
                let whole = packet(expected, expected as usize % 3_000);
                assert_eq!(consumer.packet(index).unwrap(), whole);
                expected += 1;
            }
        }
        sender.join().unwrap();
    }
}
