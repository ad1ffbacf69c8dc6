//! A shard: a socket, the state machine that it serves, and who may touch them.
//!
//! The state has one owner at a time. Normally that is the shard's worker thread, which receives and
//! keeps the timers. An application thread that wants to send tries to become the owner: when that
//! succeeds it seals and sends at once, in place, and no other thread has to wake up; when the
//! worker is at it, the packets go into a queue, and the worker seals them at the end of its turn.
//! Whoever gives the state back looks into the queue again, so that nothing is left there
//! ([`Shard::combine`]). Order is kept: who finds packets in the queue sends those first.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Limits, Listener, Signals,
    endpoint::{Datagram, Endpoint, Outbox},
    owner::Owner,
    queue::{Queue, Staging},
    ring::Producer,
    socket::{ShardSocket, WriteWatch},
};
use crate::{
    Counter,
    udp_batch::{PooledReceiver, UdpBatchSender, set_up},
};

mod owned;
mod sending;

use owned::{Counts, Owned};
pub use sending::{Fate, SendMode, Taken};

/// How often timers are looked at. WireGuard's are seconds long; the reference uses the same.
const TICK: Duration = Duration::from_millis(250);

/// Datagrams of other shards that wait at most: some GRO messages' worth.
const INBOX_LENGTH: usize = 1024;

/// Packets that a turn seals at least: a train.
const LEAST_SEALED: usize = 64;

/// Bytes that are gathered for the application, while more wait in the socket, before it is woken. Of
/// small packets that is half a millisecond's worth; one receive of large ones is more.
const GATHERED: u64 = 64 * 1024;

/// How long a shard waits after a socket error that is not about a datagram, so that it doesn't spin.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Shard<E: Endpoint> {
    owned: Owner<Owned<E>>,
    queue: Mutex<Queue<E::Command>>,
    /// What other shards received for this one.
    inbox: Mutex<Vec<Datagram>>,
    /// Packets and commands in the queue and the backlog.
    pending: AtomicUsize,
    /// A train waits for the socket to become writable.
    blocked: AtomicBool,
    closed: AtomicBool,
    /// The endpoint's [`SessionState`], as of the end of the last turn.
    session: AtomicU8,
    dropped_without_session: AtomicU64,
    notify: Notify,
    listener: Arc<dyn Listener>,
    limits: Limits,
    /// What the kernel granted, receiving and sending.
    buffer_bytes: (usize, usize),
    mode: SendMode,
    /// Whether it reads its socket; otherwise another shard reads it and hands over.
    reads: bool,
}

thread_local! {
    /// Every thread that receives does one turn at a time, so that its shards can share buffers.
    static RECEIVER: RefCell<PooledReceiver> = RefCell::new(PooledReceiver::new());
}

impl<E: Endpoint> Shard<E> {
    pub(crate) fn new(
        endpoint: E,
        socket: &Arc<ShardSocket>,
        producer: Producer,
        listener: Arc<dyn Listener>,
        limits: Limits,
        mode: SendMode,
        reads: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            session: AtomicU8::new(endpoint.session() as u8),
            dropped_without_session: AtomicU64::new(0),
            owned: Owner::new(Owned {
                endpoint,
                sender: UdpBatchSender::new(socket.io())?,
                receive_state: set_up(socket.io())?,
                socket: Some(socket.clone()),
                producer,
                staging: Staging::default(),
                backlog: VecDeque::new(),
                ticked: Instant::now(),
                sealed_since_look: 0,
                gathering: false,
                counts: Counts::default(),
            }),
            queue: Mutex::default(),
            inbox: Mutex::default(),
            pending: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            notify: Notify::new(),
            listener,
            limits,
            buffer_bytes: socket.buffer_bytes(),
            mode,
            reads,
        })
    }

    /// Whether it ended, or is about to.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes datagrams that another shard received. Those beyond the bound are dropped; returns how
    /// many.
    pub(crate) fn deliver(&self, datagrams: &mut Vec<Datagram>) -> usize {
        let mut inbox = self.inbox.lock();
        let room = INBOX_LENGTH.saturating_sub(inbox.len()).min(datagrams.len());
        inbox.extend(datagrams.drain(..room));
        drop(inbox);
        self.notify.notify_one();
        let dropped = datagrams.len();
        datagrams.clear();
        dropped
    }

    /// Has the owner carry out a command.
    pub(crate) fn command(&self, command: E::Command) {
        let mut queue = self.queue.lock();
        queue.commands.push(command);
        // Counted before anybody can take it out, as packets are.
        self.pending.fetch_add(1, Ordering::Relaxed);
        drop(queue);
        self.combine();
        // Whatever it was may have ended the shard, which its worker has to notice.
        self.notify.notify_one();
    }

    /// Ends a turn: what was gathered goes out, to the network and to the application.
    fn finish(&self, owned: &mut Owned<E>) {
        owned.endpoint.hand_over();
        let mut signals = Signals::NONE;
        let session = owned.endpoint.session();
        if session as u8 != self.session.load(Ordering::Relaxed) {
            self.session.store(session as u8, Ordering::Release);
            // Whoever waits for room asks again, and finds out what is the case now.
            if std::mem::take(&mut self.queue.lock().room.wanted) {
                signals |= Signals::WRITABLE;
            }
        }
        // Events first: the application must know of a tunnel before it finds a packet of it.
        if owned.endpoint.emit_events() {
            signals |= Signals::EVENTS;
        }
        let waits = owned.gathering && owned.producer.unpublished() < GATHERED;
        if !waits && owned.producer.publish() {
            signals |= Signals::READABLE;
        }
        if signals != Signals::NONE {
            self.listener.signal(signals);
        }
        if let Some(socket) = &owned.socket {
            let blocked = !owned.sender.flush(socket.io());
            if blocked != self.blocked.load(Ordering::Relaxed) {
                self.blocked.store(blocked, Ordering::Relaxed);
                self.notify.notify_one();
            }
        }
        if owned.endpoint.is_closed() && !self.closed.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    /// The worker's loop. Ends, and releases the socket, when the endpoint is closed.
    pub(crate) async fn run(self: Arc<Self>, socket: Arc<ShardSocket>) {
        let start = tokio::time::Instant::now() + TICK;
        let mut tick = tokio::time::interval_at(start, TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut write_watch = None;
        while !self.is_closed() {
            if !self.blocked.load(Ordering::Relaxed) {
                write_watch = None;
            } else if write_watch.is_none() {
                // Without one the next tick tries again.
                write_watch = WriteWatch::new(socket.io()).ok();
            }
            tokio::select! {
                // In this order: timers can't be starved by what the network sends, nor data by what
                // can wait. A turn that receives also does what the application wants.
                biased;
                _ = tick.tick() => {
                    self.turn(|owned, now, _| owned.update_timers(now));
                }
                () = writable(&write_watch) => {
                    self.turn(|_, _, _| {});
                }
                result = socket.when_readable(|io| self.receive(io)), if self.reads => {
                    if result.is_err() {
                        tokio::time::sleep(ERROR_PAUSE).await;
                    }
                    // Other shards of this worker have their turn.
                    tokio::task::yield_now().await;
                }
                () = self.notify.notified() => {
                    if self.turn(|_, _, _| {}) {
                        // It is notified already. Without this the runtime would look neither at the
                        // socket nor at the clock until all that could wait is done.
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        drop(write_watch);
        drop(socket);
        let mut owned = self.owned.lock();
        owned.socket = None;
        owned.endpoint.ended(false);
        self.finish(&mut owned);
    }

    /// What is left to do when the worker's loop broke down.
    pub(crate) fn broke_down(&self) {
        self.closed.store(true, Ordering::Release);
        let mut owned = self.owned.lock();
        owned.socket = None;
        owned.endpoint.ended(true);
        self.finish(&mut owned);
    }

    /// Says whether there is more to do that can wait.
    fn turn(&self, work: impl FnOnce(&mut Owned<E>, Instant, &UdpSocket)) -> bool {
        let mut owned = self.owned.own();
        let now = Instant::now();
        let mut more = false;
        if let Some(socket) = owned.socket.clone() {
            work(&mut owned, now, socket.io());
            self.open_inbox(&mut owned, now, socket.io());
            more = self.background(&mut owned, now, true, socket.io());
        }
        self.run_queue(&mut owned, now, usize::MAX);
        self.finish(&mut owned);
        drop(owned);
        self.combine();
        more
    }

    /// Serves what other shards received for this one.
    fn open_inbox(&self, owned: &mut Owned<E>, now: Instant, socket: &UdpSocket) {
        // Not in the head of the loop: there the lock would be held until its end.
        let datagrams = std::mem::take(&mut *self.inbox.lock());
        for Datagram { from, local, bytes } in datagrams {
            owned.take_in(now, from, local, bytes, socket);
        }
    }

    fn background(
        &self,
        owned: &mut Owned<E>,
        now: Instant,
        idle: bool,
        socket: &UdpSocket,
    ) -> bool {
        let mut out = Outbox { sender: &mut owned.sender, socket };
        let more = owned.endpoint.background(now, idle, &mut out);
        if more {
            // Another turn, after whatever the socket has.
            self.notify.notify_one();
        }
        more
    }

    /// One system call's worth of datagrams.
    fn receive(&self, socket: &UdpSocket) -> io::Result<()> {
        let mut guard = self.owned.own();
        let owned = &mut *guard;
        let now = Instant::now();
        let before = owned.counts.received_packets;
        let result = RECEIVER.with_borrow_mut(|receiver| {
            let Owned { endpoint, sender, producer, counts, receive_state, .. } = &mut *owned;
            receiver.receive(socket, receive_state, |from, local, datagram| {
                let mut out = Outbox { sender, socket };
                if let Some(found) = endpoint.receive(now, from, local, datagram, &mut out) {
                    counts.deliver(producer, found);
                }
            })
        });
        if result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
            owned.counts.socket_errors += 1;
        }
        self.open_inbox(owned, now, socket);
        let drained = !result.as_ref().is_ok_and(|&messages| PooledReceiver::is_full(messages));
        let received = (owned.counts.received_packets - before) as usize;
        // As much is sealed as was opened while there is more of both: a queue's worth takes as long
        // as five receives, and the socket would overflow.
        let fair = if drained { usize::MAX } else { received.max(LEAST_SEALED) };
        self.run_queue(owned, now, fair);
        // What a flood leaves behind in the socket may be data.
        let idle = drained && received == 0;
        self.background(owned, now, idle, socket);
        // With more to come, one wake-up of the application may as well be for several receives.
        owned.gathering = !drained;
        self.finish(owned);
        owned.gathering = false;
        if !drained {
            self.owned.reserve();
        }
        drop(guard);
        self.combine();
        result.map(drop)
    }

    /// All counters, as of now. Waits for the end of the current turn at most.
    pub(crate) fn counters(&self, mut each: impl FnMut(Counter)) {
        let mut owned = self.owned.lock();
        let (counts, sender) = (owned.counts, owned.sender.counts());
        each(("packetsReceived", counts.received_packets));
        each(("bytesReceived", counts.received_bytes));
        each(("packetsSent", counts.sealed_packets));
        each(("bytesSent", counts.sealed_bytes));
        each(("droppedReceiveQueueFull", counts.overflowed));
        each(("datagramsSent", sender.sent));
        each(("droppedBySystem", sender.discarded));
        each(("droppedOversized", counts.oversized));
        each(("droppedWithoutSession", self.dropped_without_session.load(Ordering::Relaxed)));
        each(("sendCalls", sender.calls));
        each(("socketErrors", counts.socket_errors));
        each(("receiveQueuePackets", owned.producer.queued()));
        each(("sendQueuePackets", self.pending.load(Ordering::Relaxed) as u64));
        each(("socketReceiveBufferBytes", self.buffer_bytes.0 as u64));
        each(("socketSendBufferBytes", self.buffer_bytes.1 as u64));
        owned.endpoint.counters(&mut each);
    }

    /// Reads the endpoint. Waits for the end of the current turn at most.
    pub(crate) fn inspect<T>(&self, look: impl FnOnce(&E) -> T) -> T {
        look(&self.owned.lock().endpoint)
    }
}

/// Waits for a watch, or for ever when there is none.
async fn writable(watch: &Option<WriteWatch>) {
    match watch {
        // An error is as good as a yes: the next attempt to send meets it too, and counts it.
        Some(watch) => drop(watch.writable().await),
        None => std::future::pending().await,
    }
}
