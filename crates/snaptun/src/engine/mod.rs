//! Runs the state machines on real sockets: workers, shards, rings, timers.
//!
//! A worker is a thread with a single-threaded tokio runtime. A client's tunnel is one shard, a
//! server has as many as it was told; each is a task on one worker. The application's end is a
//! handle to send through, a [`ring::Consumer`] to receive from, and a [`Listener`] that is told
//! when there is something to look at.

pub mod ring;

mod client;
mod endpoint;
mod handle;
mod owner;
mod pacer;
mod queue;
mod server;
mod shard;
mod siblings;
mod socket;
pub mod udp;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

pub use client::{ClientEvent, Tunnel, TunnelOptions};
pub use handle::{AsyncServer, AsyncTunnel, TunnelInfo};
pub use server::{Server, ServerNotice, ServerOptions};
pub use shard::{Fate, SendMode, Taken};
pub use udp::{UdpBatchSocket, UdpEvent, UdpFailure, UdpOptions, UdpSetting};

use crate::{Error, Result};
use endpoint::Endpoint;
use shard::Shard;

/// What an application is told to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals(pub u32);

impl Signals {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A delivery ring went from empty to non-empty, and its consumer was armed.
    pub const READABLE: Self = Self(1);
    /// There is room again after a send that was not taken whole.
    pub const WRITABLE: Self = Self(2);
    /// There are events.
    pub const EVENTS: Self = Self(4);
}

impl std::ops::BitOrAssign for Signals {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The application's ear. Called from worker threads and from within sends; must not block, and
/// must not call back into the engine.
pub trait Listener: Send + Sync + 'static {
    /// Something is there to look at.
    fn signal(&self, signals: Signals);
}

/// Bounds of what is queued between application and network, for each shard.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Packets that wait to be sealed, at most.
    pub send_packets: usize,
    /// Packets that wait while there is a session, at most: for a busy worker, or a kernel whose
    /// buffers are full. No more than `send_packets`.
    pub high_water: usize,
    /// The same in bytes.
    pub send_bytes: usize,
    /// Packets that wait to be read, at most; rounded up to a power of two.
    pub receive_packets: usize,
    /// The same in bytes; rounded up to a power of two, at least 64 KiB.
    pub receive_bytes: usize,
    /// What the kernel is asked to buffer each way, in bytes. It may give less.
    pub socket_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            send_packets: 1024,
            high_water: 1024,
            send_bytes: 2 << 20,
            receive_packets: 4096,
            receive_bytes: 2 << 20,
            socket_bytes: 4 << 20,
        }
    }
}

/// Whether released packets are overwritten, so that the use of a batch after its release shows.
fn poison() -> bool {
    std::env::var_os("SNAPTUN_POISON").is_some_and(|value| value == "1")
}

struct Worker {
    runtime: tokio::runtime::Handle,
    shards: Arc<AtomicUsize>,
}

/// The workers. Cheap to clone; the threads live as long as the process.
#[derive(Clone)]
pub struct Engine {
    workers: Arc<[Worker]>,
}

impl Engine {
    /// Starts `workers` threads.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses a thread or its epoll descriptor.
    pub fn new(workers: usize) -> Result<Self> {
        let workers: Result<Vec<Worker>> = (0..workers.max(1)).map(Worker::start).collect();
        Ok(Self { workers: workers?.into() })
    }

    /// The worker with the fewest shards.
    fn least_loaded(&self) -> &Worker {
        self.workers
            .iter()
            .min_by_key(|worker| worker.shards.load(Ordering::Relaxed))
            .unwrap_or(&self.workers[0])
    }

    /// Runs a shard until it closes.
    fn run<E: Endpoint>(worker: &Worker, shard: Arc<Shard<E>>, socket: Arc<socket::ShardSocket>) {
        worker.run(shard.clone().run(socket), move || shard.broke_down());
    }
}

impl Worker {
    /// Runs what serves a socket until it ends.
    fn run(
        &self,
        shard: impl Future<Output = ()> + Send + 'static,
        broke_down: impl FnOnce() + Send + 'static,
    ) {
        self.shards.fetch_add(1, Ordering::Relaxed);
        let shards = self.shards.clone();
        let task = self.runtime.spawn(shard);
        self.runtime.spawn(async move {
            // A panic is a bug of ours; it must end this shard, with an error, and nothing else.
            if task.await.is_err() {
                broke_down();
            }
            shards.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn start(index: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // A turn of a shard takes up to 300 us; tokio's 61 of them would be 20 ms in which no
            // other socket is looked at.
            .event_interval(7)
            .build()
            .map_err(Error::io("start a worker"))?;
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name(format!("snaptun-{index}"))
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .map_err(|source: io::Error| Error::Io { context: "start a worker", source })?;
        Ok(Self { runtime: handle, shards: Arc::default() })
    }
}
