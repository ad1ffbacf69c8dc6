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
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    },
    time::{Duration, Instant},
};

use ana_gotatun::packet::Packet;
use bytes::BytesMut;
use parking_lot::{Mutex, MutexGuard};
use quinn_udp::UdpSocketState;
use tokio::sync::Notify;

use super::{
    Limits, Listener, Signals,
    endpoint::{Datagram, Endpoint, Outbox, Routing},
    queue::{Outgoing, Queue, Staging},
    ring::Producer,
    socket::{self, ShardSocket, WriteWatch},
};
use crate::{
    Counter, DATA_OVERHEAD, Result,
    server::Route,
    tunnel::SessionState,
    udp_batch::{PooledReceiver, UdpBatchSender, max_datagram, set_up},
};

/// How often timers are looked at. WireGuard's are seconds long; the reference uses the same.
const TICK: Duration = Duration::from_millis(250);

/// Time without a look at the timers after which a session may have ended unnoticed: the machine
/// slept, or the process was stopped.
const STANDSTILL: Duration = Duration::from_secs(10);

/// Datagrams of other shards that wait at most: some GRO messages' worth.
const INBOX_LENGTH: usize = 1024;

/// Packets that a turn seals at least: a train.
const LEAST_SEALED: usize = 64;

/// Packets sealed between two looks at the socket: 150 us, and a system call of 0.2 us.
const LOOK_INTERVAL: usize = 128;

/// How long a shard waits after a socket error that is not about a datagram, so that it doesn't spin.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Who seals and sends the packets of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SendMode {
    /// The caller when the state is free, else the worker.
    #[default]
    Auto,
    /// Always the caller, who waits for the state. For measurements.
    Caller,
    /// Always the worker. For measurements.
    Shard,
}

/// What became of packets that were to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Sealed, or about to be: on their way to the kernel.
    Sent,
    /// There is no session; they wait for one.
    Queued,
    /// There is no session, and no room for more to wait. They were dropped, and counted.
    Dropped,
}

/// How many packets were taken, from the first on, and what became of these. With none taken the
/// queue is full, and [`Signals::WRITABLE`] follows once there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How many.
    pub packets: usize,
    /// All of them.
    pub fate: Fate,
}

/// What only the owner touches.
struct Owned<E> {
    endpoint: E,
    /// `None` once it is released.
    socket: Option<Arc<ShardSocket>>,
    sender: UdpBatchSender,
    receive_state: UdpSocketState,
    producer: Producer,
    staging: Staging,
    backlog: VecDeque<Outgoing>,
    /// When timers were last looked at.
    ticked: Instant,
    /// Packets sealed since the socket was last asked whether something has arrived.
    sealed_since_look: usize,
    counts: Counts,
}

/// What a shard counts itself.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    received_packets: u64,
    received_bytes: u64,
    overflowed: u64,
    sealed_packets: u64,
    sealed_bytes: u64,
    socket_errors: u64,
    /// Too large for the family of the tunnel's address.
    oversized: u64,
}

pub(crate) struct Shard<E: Endpoint> {
    owned: Mutex<Owned<E>>,
    queue: Mutex<Queue<E::Command>>,
    /// What other shards received for this one.
    inbox: Mutex<Vec<Datagram>>,
    /// Packets and commands in the queue and the backlog.
    pending: AtomicUsize,
    /// The worker waits for the state, or will want it again at once, since there is more to
    /// receive: application threads leave it alone and queue.
    reserved: AtomicBool,
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
            owned: Mutex::new(Owned {
                endpoint,
                sender: UdpBatchSender::new(socket.io())?,
                receive_state: set_up(socket.io())?,
                socket: Some(socket.clone()),
                producer,
                staging: Staging::default(),
                backlog: VecDeque::new(),
                ticked: Instant::now(),
                sealed_since_look: 0,
                counts: Counts::default(),
            }),
            queue: Mutex::default(),
            inbox: Mutex::default(),
            pending: AtomicUsize::new(0),
            reserved: AtomicBool::new(false),
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

    /// Seals and sends packets, or queues them. Never waits.
    pub(crate) fn submit<'p>(
        &self,
        count: usize,
        packet: impl Fn(usize) -> (u32, &'p [u8]),
    ) -> Taken {
        let owner = match self.mode {
            SendMode::Auto if self.reserved.load(Ordering::Relaxed) => None,
            SendMode::Auto => self.owned.try_lock(),
            SendMode::Caller => Some(self.owned.lock()),
            SendMode::Shard => None,
        };
        let mut sealed = 0;
        if let Some(mut owned) = owner {
            sealed = self.seal_in_place(&mut owned, count, &packet);
        }
        let session = self.session();
        let mut taken = Taken { packets: sealed, fate: Fate::Sent };
        // Those behind a session that just ended are another call's, since their fate is another.
        if sealed < count && (sealed == 0 || session == SessionState::Ready) {
            let waiting = self.enqueue(count - sealed, session, |index| packet(sealed + index));
            taken.packets += waiting;
            taken.fate = match session {
                SessionState::Ready | SessionState::Closed => Fate::Sent,
                SessionState::Lost if waiting == 0 => {
                    self.dropped_without_session.fetch_add(count as u64, Ordering::Relaxed);
                    taken.packets = count;
                    Fate::Dropped
                }
                SessionState::Connecting | SessionState::Lost => Fate::Queued,
            };
            if self.mode == SendMode::Shard {
                self.notify.notify_one();
            }
        }
        self.combine();
        taken
    }

    /// Whether a packet would be taken now. When not, [`Signals::WRITABLE`] follows once it would.
    pub(crate) fn has_room(&self) -> bool {
        let bound = self.bound(self.session());
        let mut queue = self.queue.lock();
        let room = queue.fits(1, self.pending.load(Ordering::Relaxed), bound, &self.limits);
        queue.wanted |= !room;
        room
    }

    fn session(&self) -> SessionState {
        SessionState::from_code(self.session.load(Ordering::Acquire))
    }

    /// Packets that may wait: for the worker or the kernel, or for a session.
    fn bound(&self, session: SessionState) -> usize {
        match session {
            SessionState::Ready => self.limits.high_water.min(self.limits.send_packets),
            _ => self.limits.send_packets,
        }
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

    /// Carries out what is in the queue, unless somebody is at it: then that one looks again when
    /// done. To be called whenever something was queued or the state was given back.
    fn combine(&self) {
        loop {
            // Either we see what another thread queued, or it sees that the state is free.
            fence(Ordering::SeqCst);
            if self.pending.load(Ordering::Relaxed) == 0 || self.mode == SendMode::Shard {
                return;
            }
            // The worker will own it before it looks into the queue.
            if self.reserved.load(Ordering::Relaxed) {
                return;
            }
            let Some(mut owned) = self.owned.try_lock() else { return };
            let progress = self.run_queue(&mut owned, Instant::now(), usize::MAX);
            self.finish(&mut owned);
            drop(owned);
            if !progress {
                return;
            }
        }
    }

    fn seal_in_place<'p>(
        &self,
        owned: &mut Owned<E>,
        count: usize,
        packet: &impl Fn(usize) -> (u32, &'p [u8]),
    ) -> usize {
        let now = Instant::now();
        // The process stood still: what is sealed with a session that ended meanwhile is lost.
        if now - owned.ticked > STANDSTILL {
            owned.update_timers(now);
        }
        self.run_queue(owned, now, usize::MAX);
        let mut taken = 0;
        // What is still in the queue can't be overtaken.
        if self.pending.load(Ordering::Acquire) == 0 {
            while taken < count {
                let (tunnel, bytes) = packet(taken);
                let Some(route) = owned.ready_for(tunnel, bytes.len()) else { break };
                if let Some(route) = route {
                    let plaintext = owned.staging.copy(bytes);
                    // The session ended: the packet waits for the next one, in the queue.
                    if owned.seal(now, tunnel, route, plaintext).is_err() {
                        break;
                    }
                }
                taken += 1;
                if self.must_receive(owned) {
                    break;
                }
            }
        }
        self.finish(owned);
        taken
    }

    fn enqueue<'p>(
        &self,
        count: usize,
        session: SessionState,
        packet: impl Fn(usize) -> (u32, &'p [u8]),
    ) -> usize {
        let bound = self.bound(session);
        let mut queue = self.queue.lock();
        let pending = self.pending.load(Ordering::Relaxed);
        let mut taken = 0;
        while taken < count {
            let (tunnel, bytes) = packet(taken);
            if !queue.push(tunnel, bytes, pending + taken, bound, &self.limits) {
                break;
            }
            taken += 1;
        }
        self.pending.fetch_add(taken, Ordering::Relaxed);
        taken
    }

    /// The state, for the worker. An application that sends on and on would otherwise have it again
    /// each time before the worker wakes up, and the socket would overflow meanwhile.
    fn own(&self) -> MutexGuard<'_, Owned<E>> {
        self.reserved.store(true, Ordering::Relaxed);
        let owned = self.owned.lock();
        self.reserved.store(false, Ordering::Relaxed);
        // Either we see what another thread queued, or it sees that nobody waits (`combine`).
        fence(Ordering::SeqCst);
        owned
    }

    /// Carries out queued commands, then seals queued packets, at most `limit`, for as long as the
    /// kernel takes them. False when nothing could be done.
    fn run_queue(&self, owned: &mut Owned<E>, now: Instant, limit: usize) -> bool {
        if self.pending.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let (mut done, mut drained) = (0, 0);
        let commands = std::mem::take(&mut self.queue.lock().commands);
        done += commands.len();
        if let Some(socket) = owned.socket.clone() {
            let mut out = Outbox { sender: &mut owned.sender, socket: socket.io() };
            for command in commands {
                owned.endpoint.command(command, now, &mut out);
            }
        }
        for _ in 0..limit {
            if owned.backlog.is_empty() {
                std::mem::swap(&mut self.queue.lock().packets, &mut owned.backlog);
            }
            let Some(Outgoing { tunnel, packet }) = owned.backlog.pop_front() else { break };
            let length = packet.len();
            let returned = match owned.ready_for(tunnel, length) {
                None => Some(packet),
                Some(None) => None,
                Some(Some(route)) => owned.seal(now, tunnel, route, packet).err(),
            };
            if let Some(packet) = returned {
                owned.backlog.push_front(Outgoing { tunnel, packet });
                break;
            }
            done += 1;
            drained += length;
            if limit == usize::MAX && self.must_receive(owned) {
                break;
            }
        }
        let left = self.pending.fetch_sub(done, Ordering::Relaxed) - done;
        if self.queue.lock().drained(drained, left, &self.limits) {
            self.listener.signal(Signals::WRITABLE);
        }
        done > 0
    }

    /// After a sealed packet: whether it is the worker's turn, since something has arrived. Whoever
    /// sealed on and on would have the socket overflow.
    #[inline]
    fn must_receive(&self, owned: &mut Owned<E>) -> bool {
        owned.sealed_since_look += 1;
        if owned.sealed_since_look < LOOK_INTERVAL || !self.reads {
            return false;
        }
        owned.sealed_since_look = 0;
        let arrived =
            owned.socket.as_ref().is_some_and(|socket| socket::has_datagrams(socket.io()));
        if arrived {
            self.reserved.store(true, Ordering::Relaxed);
        }
        arrived
    }

    /// Ends a turn: what was gathered goes out, to the network and to the application.
    fn finish(&self, owned: &mut Owned<E>) {
        owned.endpoint.hand_over();
        let mut signals = Signals::NONE;
        let session = owned.endpoint.session();
        if session as u8 != self.session.load(Ordering::Relaxed) {
            self.session.store(session as u8, Ordering::Release);
            // Whoever waits for room asks again, and finds out what is the case now.
            if std::mem::take(&mut self.queue.lock().wanted) {
                signals |= Signals::WRITABLE;
            }
        }
        // Events first: the application must know of a tunnel before it finds a packet of it.
        if owned.endpoint.emit_events() {
            signals |= Signals::EVENTS;
        }
        if owned.producer.publish() {
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
        let mut owned = self.own();
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
        let mut guard = self.own();
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
        self.finish(owned);
        if !drained {
            self.reserved.store(true, Ordering::Relaxed);
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

impl Counts {
    /// Puts a packet into the ring.
    #[inline]
    fn deliver(&mut self, producer: &mut Producer, (tunnel, packet): (u32, Packet)) {
        if producer.push(tunnel, &packet) {
            self.received_packets += 1;
            self.received_bytes += packet.len() as u64;
        } else {
            self.overflowed += 1;
        }
    }
}

impl<E: Endpoint> Owned<E> {
    fn update_timers(&mut self, now: Instant) {
        self.ticked = now;
        if let Some(socket) = &self.socket {
            let mut out = Outbox { sender: &mut self.sender, socket: socket.io() };
            self.endpoint.update_timers(now, &mut out);
        }
    }

    /// One datagram that another shard received.
    fn take_in(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: BytesMut,
        socket: &UdpSocket,
    ) {
        let mut out = Outbox { sender: &mut self.sender, socket };
        if let Some(found) = self.endpoint.receive(now, from, local, datagram, &mut out) {
            self.counts.deliver(&mut self.producer, found);
        }
    }

    /// Makes room for a sealed packet of `length` bytes. `None`: not now; `Some(None)`: it has
    /// nowhere to go and is dropped.
    #[inline]
    fn ready_for(&mut self, tunnel: u32, length: usize) -> Option<Option<Route>> {
        let Some(socket) = &self.socket else { return Some(None) };
        match self.endpoint.route(tunnel) {
            Routing::Later => None,
            Routing::Never => Some(None),
            Routing::Now(route) if length + DATA_OVERHEAD > max_datagram(route.target.ip()) => {
                self.counts.oversized += 1;
                Some(None)
            }
            Routing::Now(route) => self
                .sender
                .reserve(socket.io(), route.target, route.source, length + DATA_OVERHEAD)
                .then_some(Some(route)),
        }
    }

    /// Seals a packet into the room that was made for it.
    #[inline]
    fn seal(
        &mut self,
        now: Instant,
        tunnel: u32,
        route: Route,
        packet: BytesMut,
    ) -> Result<(), BytesMut> {
        let Some(socket) = self.socket.as_ref().map(|socket| socket.io()) else { return Ok(()) };
        let length = packet.len() as u64;
        let mut out = Outbox { sender: &mut self.sender, socket };
        if let Some(sealed) = self.endpoint.seal(now, tunnel, packet, &mut out)? {
            let sealed = sealed.into_bytes();
            // Makes room once more: the endpoint may have sent something of its own in between.
            self.sender.send(socket, route.target, route.source, &sealed);
            self.counts.sealed_packets += 1;
            self.counts.sealed_bytes += length;
        }
        Ok(())
    }
}
