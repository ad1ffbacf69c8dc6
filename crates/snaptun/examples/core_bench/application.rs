//! The application's thread: told by the engine when there is something to do, and sending to many in turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use snaptun::{
    DATA_OVERHEAD, MAX_DATAGRAM_V4,
    engine::{Limits, Listener, Signals},
};

use crate::{
    task::{Failure, Task},
    traffic::{Packets, Source},
};

/// Packets that are taken from a ring at once.
pub(crate) const TAKE: usize = 1024;
/// Datagrams that the kernel cuts out of one send at most.
const SEGMENTS: usize = 64;
/// Trains handed over in one call, as bench/peers/snaptun.mjs does.
const TRAINS: usize = 3;
/// The longest sleep: an end that was overlooked would be for ever.
const NAP: Duration = Duration::from_millis(100);

/// Remembers what there is to look at, and wakes the application's thread.
pub(crate) struct Ear {
    thread: Thread,
    signals: AtomicU32,
}

impl Ear {
    /// Wakes the thread that calls this.
    pub(crate) fn of_this_thread() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), signals: AtomicU32::new(0) })
    }

    /// Whether there are events since the last call.
    pub(crate) fn events(&self) -> bool {
        self.signals.swap(0, Ordering::Acquire) & Signals::EVENTS.0 != 0
    }

    /// Sleeps until there is something. A signal since the last sleep ends it at once.
    pub(crate) fn sleep(&self) {
        thread::park_timeout(NAP);
    }
}

impl Listener for Ear {
    fn signal(&self, signals: Signals) {
        self.signals.fetch_or(signals.0, Ordering::Release);
        self.thread.unpark();
    }
}

/// Bounds of the queues: the defaults, with the socket buffer that all contenders get.
pub(crate) fn limits(task: &Task) -> Result<Limits, Failure> {
    Ok(Limits { socket_bytes: task.parsed("socketBuffer")?, ..Limits::default() })
}

/// Sends a batch to each of several lanes in turn, for ever.
pub(crate) struct Flood {
    source: Source,
    lanes: usize,
    lane: usize,
    /// Packets of the batch that were taken.
    taken: usize,
}

impl Flood {
    pub(crate) fn new(size: usize, streams: usize) -> Result<Self, Failure> {
        let train = SEGMENTS.min(MAX_DATAGRAM_V4 / (size + DATA_OVERHEAD)).max(1);
        let mut source = Source::new(size, TRAINS * train, streams)?;
        source.fill(0);
        Ok(Self { source, lanes: 1, lane: 0, taken: 0 })
    }

    /// Uses so many lanes from now on.
    pub(crate) fn over(&mut self, lanes: usize) {
        self.lanes = lanes.max(1);
    }

    /// The next packets that are to go, and to which lane.
    pub(crate) fn next(&self) -> (usize, usize, Packets<'_>) {
        (self.lane, self.taken, self.source.packets())
    }

    /// So many were taken. False when there was no room for all.
    pub(crate) fn advance(&mut self, taken: usize) -> bool {
        self.taken += taken;
        if self.taken < self.source.packets().len() {
            return false;
        }
        self.taken = 0;
        self.lane = (self.lane + 1) % self.lanes;
        self.source.fill(self.lane);
        true
    }

    /// How many packets were taken in all.
    pub(crate) fn sent(&self) -> u64 {
        self.source.made() - (self.source.packets().len() - self.taken) as u64
    }
}
