//! A socket of datagrams in clear, and who may touch it.
//!
//! As for tunnels (`engine/shard`): what belongs to the socket has one owner at a time, its worker
//! or an application thread that sends, and what can't be sent at once waits in a bounded queue, in
//! order. There are no timers, no sessions and no keys here, and so no copies but one each way.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use quinn_udp::UdpSocketState;
use tokio::sync::Notify;

use super::{
    UdpEvent, UdpFailure,
    queue::{Outgoing, Queue},
    record,
};
use crate::{
    Counter,
    engine::{
        Limits, Listener, Signals,
        owner::Owner,
        ring::Producer,
        socket::{ShardSocket, WriteWatch},
    },
    udp_batch::{Envelope, UdpBatchReceiver, UdpBatchSender, max_datagram, set_up},
};

/// How long a socket rests after an error that is not about a datagram, so that it doesn't spin; and
/// how long it waits to send when nobody can tell it when to.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// What only the owner touches.
struct Owned {
    /// `None` once it is released.
    socket: Option<Arc<ShardSocket>>,
    sender: UdpBatchSender,
    receive_state: UdpSocketState,
    producer: Producer,
    backlog: VecDeque<Outgoing>,
    /// Datagrams of others are not for the application.
    remote: Option<SocketAddr>,
    counts: Counts,
}

/// What is counted here; the sender counts what is sent.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    received_datagrams: u64,
    received_bytes: u64,
    receive_calls: u64,
    overflowed: u64,
    foreign: u64,
    /// To port 0, to a family that the socket has not, or too large.
    impossible: u64,
    socket_errors: u64,
}

/// What the application has not been told yet: bounded, since failures add up.
#[derive(Default)]
struct News {
    failure: Option<UdpFailure>,
    closed: Option<UdpEvent>,
}

pub(super) struct UdpShard {
    owned: Owner<Owned>,
    queue: Mutex<Queue>,
    /// Datagrams in the queue and the backlog.
    pending: AtomicUsize,
    /// Something waits for the socket to become writable.
    blocked: AtomicBool,
    closing: AtomicBool,
    notify: Notify,
    listener: Arc<dyn Listener>,
    limits: Limits,
    news: Mutex<News>,
    ipv6: bool,
    ipv6_only: bool,
}

thread_local! {
    /// Every thread that receives does one turn at a time, so that its sockets can share buffers.
    static RECEIVER: RefCell<UdpBatchReceiver> = RefCell::new(UdpBatchReceiver::new());
}

impl UdpShard {
    pub(super) fn new(
        socket: &Arc<ShardSocket>,
        producer: Producer,
        listener: Arc<dyn Listener>,
        limits: Limits,
        ipv6_only: bool,
    ) -> io::Result<Self> {
        let owned = Owned {
            sender: UdpBatchSender::new(socket.io())?,
            receive_state: set_up(socket.io())?,
            socket: Some(socket.clone()),
            producer,
            backlog: VecDeque::new(),
            remote: None,
            counts: Counts::default(),
        };
        Ok(Self {
            owned: Owner::new(owned),
            queue: Mutex::default(),
            pending: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            notify: Notify::new(),
            listener,
            limits,
            news: Mutex::default(),
            ipv6: socket.io().local_addr()?.is_ipv6(),
            ipv6_only,
        })
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Whether a datagram can go there at all.
    #[inline]
    pub(super) fn is_possible(&self, target: SocketAddr, length: usize) -> bool {
        let family = if target.is_ipv4() { !self.ipv6 || !self.ipv6_only } else { self.ipv6 };
        family && target.port() != 0 && length <= max_datagram(target.ip())
    }

    /// Sends one datagram, and says what the system said of it if it was sent at once. `Ok(false)`:
    /// there is no room; [`Signals::WRITABLE`] follows. Never waits.
    pub(super) fn send(&self, envelope: &Envelope, datagram: &[u8]) -> io::Result<bool> {
        let mut outcome = Ok(());
        let mut taken = false;
        if let Some(mut owned) = self.owned.try_own() {
            self.run_queue(&mut owned);
            if let Some(socket) = self.unhindered(&mut owned) {
                let sender = &mut owned.sender;
                taken = sender.flush(socket.io());
                self.tell_failure(sender);
                if taken && sender.reserve_for(socket.io(), envelope, datagram.len()) {
                    sender.push(datagram);
                    sender.flush(socket.io());
                    match sender.take_failure() {
                        Some(failure) if failure.discarded > 0 => outcome = Err(failure.error),
                        Some(failure) => self.tell(UdpFailure::sending(failure)),
                        None => {}
                    }
                }
            }
            self.finish(&mut owned);
        }
        taken = taken || self.enqueue(1, |_| (*envelope, datagram)) == 1;
        self.combine();
        outcome.map(|()| taken)
    }

    /// Sends datagrams, or queues them. Returns how many were taken; when that is fewer than
    /// `count`, [`Signals::WRITABLE`] follows once there is room. Never waits.
    pub(super) fn submit<'d>(
        &self,
        count: usize,
        datagram: impl Fn(usize) -> (Envelope, &'d [u8]),
    ) -> usize {
        let mut taken = 0;
        if let Some(mut owned) = self.owned.try_own() {
            self.run_queue(&mut owned);
            if let Some(socket) = self.unhindered(&mut owned) {
                while taken < count {
                    let (envelope, bytes) = datagram(taken);
                    if !self.put(&mut owned, socket.io(), &envelope, bytes) {
                        break;
                    }
                    taken += 1;
                }
            }
            self.finish(&mut owned);
        }
        if taken < count {
            taken += self.enqueue(count - taken, |index| datagram(taken + index));
        }
        self.combine();
        taken
    }

    /// As [`submit`](Self::submit), for datagrams of `size` bytes that lie back to back and have one
    /// target: they are sent from where they lie. Possible ones only.
    pub(super) fn submit_segments(&self, envelope: &Envelope, data: &[u8], size: usize) -> usize {
        let count = data.len().div_ceil(size);
        let mut taken = 0;
        if let Some(mut owned) = self.owned.try_own() {
            self.run_queue(&mut owned);
            if let Some(socket) = self.unhindered(&mut owned) {
                taken = owned.sender.send_segments(socket.io(), envelope, data, size);
            }
            self.finish(&mut owned);
        }
        if taken < count {
            let segment = |index| &data[index * size..data.len().min((index + 1) * size)];
            taken += self.enqueue(count - taken, |index| (*envelope, segment(taken + index)));
        }
        self.combine();
        taken
    }

    /// The socket, unless something is in the queue still, which can't be overtaken.
    fn unhindered(&self, owned: &mut Owned) -> Option<Arc<ShardSocket>> {
        (self.pending.load(Ordering::Acquire) == 0).then(|| owned.socket.clone()).flatten()
    }

    /// Adds a datagram to what goes out at the end of the turn. False when there is no room.
    #[inline]
    fn put(
        &self,
        owned: &mut Owned,
        socket: &UdpSocket,
        envelope: &Envelope,
        datagram: &[u8],
    ) -> bool {
        if !self.is_possible(envelope.target, datagram.len()) {
            owned.counts.impossible += 1;
            return true;
        }
        let room = owned.sender.reserve_for(socket, envelope, datagram.len());
        if room {
            owned.sender.push(datagram);
        }
        room
    }

    fn enqueue<'d>(&self, count: usize, datagram: impl Fn(usize) -> (Envelope, &'d [u8])) -> usize {
        let mut queue = self.queue.lock();
        let pending = self.pending.load(Ordering::Relaxed);
        let mut taken = 0;
        while taken < count {
            let (envelope, bytes) = datagram(taken);
            if !queue.push(&envelope, bytes, pending + taken, &self.limits) {
                break;
            }
            taken += 1;
        }
        self.pending.fetch_add(taken, Ordering::Relaxed);
        taken
    }

    /// Sends what is in the queue, unless somebody is at it: then that one looks again when done. To
    /// be called whenever something was queued or the state was given back.
    fn combine(&self) {
        loop {
            // Either we see what another thread queued, or it sees that the state is free.
            fence(Ordering::SeqCst);
            if self.pending.load(Ordering::Relaxed) == 0 {
                return;
            }
            let Some(mut owned) = self.owned.try_own() else { return };
            let progress = self.run_queue(&mut owned);
            self.finish(&mut owned);
            drop(owned);
            if !progress {
                return;
            }
        }
    }

    /// Sends queued datagrams for as long as the kernel takes them. False when none could be sent.
    fn run_queue(&self, owned: &mut Owned) -> bool {
        if self.pending.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let (mut done, mut bytes) = (0, 0);
        loop {
            if owned.backlog.is_empty() {
                std::mem::swap(&mut self.queue.lock().datagrams, &mut owned.backlog);
            }
            let Some(Outgoing { envelope, datagram }) = owned.backlog.pop_front() else { break };
            // Without a socket there is nowhere to go: it is dropped.
            if let Some(socket) = owned.socket.clone()
                && !self.put(owned, socket.io(), &envelope, &datagram)
            {
                owned.backlog.push_front(Outgoing { envelope, datagram });
                break;
            }
            done += 1;
            bytes += datagram.len();
        }
        let left = self.pending.fetch_sub(done, Ordering::Relaxed) - done;
        if self.queue.lock().room.drained(bytes, left, &self.limits) {
            self.listener.signal(Signals::WRITABLE);
        }
        done > 0
    }

    /// Ends a turn: what was gathered goes out, to the network and to the application.
    fn finish(&self, owned: &mut Owned) {
        if owned.producer.publish() {
            self.listener.signal(Signals::READABLE);
        }
        if let Some(socket) = &owned.socket {
            let blocked = !owned.sender.flush(socket.io());
            self.tell_failure(&mut owned.sender);
            if blocked != self.blocked.load(Ordering::Relaxed) {
                self.blocked.store(blocked, Ordering::Relaxed);
                self.notify.notify_one();
            }
        }
    }

    #[inline]
    fn tell_failure(&self, sender: &mut UdpBatchSender) {
        if let Some(failure) = sender.take_failure() {
            self.tell(UdpFailure::sending(failure));
        }
    }

    #[cold]
    fn tell(&self, failure: UdpFailure) {
        let mut news = self.news.lock();
        match &mut news.failure {
            Some(known) => known.datagrams += failure.datagrams,
            none => *none = Some(failure),
        }
        drop(news);
        self.listener.signal(Signals::EVENTS);
    }

    /// The next event; the end comes last.
    pub(super) fn poll_event(&self) -> Option<UdpEvent> {
        let mut news = self.news.lock();
        news.failure.take().map(UdpEvent::Failed).or_else(|| news.closed.take())
    }

    /// The worker's loop. Ends, and releases the socket, when it is closed.
    pub(super) async fn run(self: Arc<Self>, socket: Arc<ShardSocket>) {
        let mut write_watch = None;
        while !self.is_closing() {
            let blocked = self.blocked.load(Ordering::Relaxed);
            if !blocked {
                write_watch = None;
            } else if write_watch.is_none() {
                write_watch = WriteWatch::new(socket.io()).ok();
            }
            tokio::select! {
                biased;
                () = writable(write_watch.as_ref()), if blocked => self.turn(),
                result = socket.when_readable(|io| self.receive(io)) => {
                    if result.is_err() {
                        tokio::time::sleep(ERROR_PAUSE).await;
                    }
                    // Others of this worker have their turn.
                    tokio::task::yield_now().await;
                }
                () = self.notify.notified() => self.turn(),
            }
        }
        drop(write_watch);
        drop(socket);
        self.release(false);
    }

    /// Releases the socket; `broken` when the worker's loop broke down.
    pub(super) fn release(&self, broken: bool) {
        self.closing.store(true, Ordering::Release);
        let mut owned = self.owned.lock();
        self.run_queue(&mut owned);
        self.finish(&mut owned);
        owned.socket = None;
        drop(owned);
        self.news.lock().closed = Some(UdpEvent::Closed { broken });
        self.listener.signal(Signals::EVENTS);
    }

    fn turn(&self) {
        let mut owned = self.owned.own();
        self.run_queue(&mut owned);
        self.finish(&mut owned);
        drop(owned);
        self.combine();
    }

    /// One system call's worth of datagrams.
    fn receive(&self, socket: &UdpSocket) -> io::Result<()> {
        let mut guard = self.owned.own();
        let Owned { producer, receive_state, remote, counts, .. } = &mut *guard;
        let result = RECEIVER.with_borrow_mut(|receiver| {
            receiver.receive(socket, receive_state, |arrival, message, size| {
                let datagrams = message.len().div_ceil(size.max(1)).max(1);
                if remote.is_some_and(|remote| remote != arrival.source) {
                    counts.foreign += datagrams as u64;
                    return;
                }
                let head = record::write_head(arrival);
                for index in 0..datagrams {
                    let datagram = &message[index * size..message.len().min((index + 1) * size)];
                    if producer.push_behind(&head, datagram) {
                        counts.received_datagrams += 1;
                        counts.received_bytes += datagram.len() as u64;
                    } else {
                        counts.overflowed += 1;
                    }
                }
            })
        });
        counts.receive_calls += 1;
        let more = *result.as_ref().unwrap_or(&false);
        let result = self.judge(result.map(drop), counts, *remote);
        self.run_queue(&mut guard);
        self.finish(&mut guard);
        if more {
            self.owned.reserve();
        }
        drop(guard);
        self.combine();
        result
    }

    /// What an error of receiving means: what a datagram met on its way is told, and the socket goes
    /// on; anything else is about the socket.
    fn judge(
        &self,
        result: io::Result<()>,
        counts: &mut Counts,
        remote: Option<SocketAddr>,
    ) -> io::Result<()> {
        match result {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                let about_network = is_about_network(&error);
                self.tell(UdpFailure { error, sending: false, target: remote, datagrams: 0 });
                counts.socket_errors += 1;
                if about_network { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
            }
            result => result,
        }
    }

    /// Waits for the end of the current turn at most.
    fn lock_open(&self) -> io::Result<(MutexGuard<'_, Owned>, Arc<ShardSocket>)> {
        let owned = self.owned.lock();
        let socket = owned.socket.clone().ok_or(io::ErrorKind::NotConnected)?;
        Ok((owned, socket))
    }

    /// Does something with the open socket.
    pub(super) fn with_socket<T>(
        &self,
        work: impl FnOnce(&UdpSocket) -> io::Result<T>,
    ) -> io::Result<T> {
        work(self.lock_open()?.1.io())
    }

    /// As [`with_socket`](Self::with_socket); then takes only datagrams from `remote`, if it is
    /// given.
    pub(super) fn set_remote(
        &self,
        remote: Option<SocketAddr>,
        work: impl FnOnce(&UdpSocket) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut owned, socket) = self.lock_open()?;
        // What was sent before goes where it was to go.
        owned.sender.flush(socket.io());
        work(socket.io())?;
        owned.remote = remote;
        Ok(())
    }

    /// All counters, as of now. Waits for the end of the current turn at most.
    pub(super) fn counters(&self, mut each: impl FnMut(Counter)) {
        let mut owned = self.owned.lock();
        let (counts, sender) = (owned.counts, owned.sender.counts());
        let buffers = owned.socket.as_ref().map_or((0, 0), |socket| socket.buffer_bytes());
        each(("datagramsReceived", counts.received_datagrams));
        each(("bytesReceived", counts.received_bytes));
        each(("receiveCalls", counts.receive_calls));
        each(("datagramsSent", sender.sent));
        each(("bytesSent", sender.bytes));
        each(("sendCalls", sender.calls));
        each(("droppedReceiveQueueFull", counts.overflowed));
        each(("droppedForeign", counts.foreign));
        each(("droppedBySystem", sender.discarded));
        each(("droppedImpossible", counts.impossible));
        each(("socketErrors", counts.socket_errors));
        each(("receiveQueueDatagrams", owned.producer.queued()));
        each(("sendQueueDatagrams", self.pending.load(Ordering::Relaxed) as u64));
        each(("socketReceiveBufferBytes", buffers.0 as u64));
        each(("socketSendBufferBytes", buffers.1 as u64));
    }
}

/// Waits for a watch; without one, for a moment.
async fn writable(watch: Option<&WriteWatch>) {
    match watch {
        // An error is as good as a yes: the next attempt to send meets it too, and counts it.
        Some(watch) => drop(watch.writable().await),
        None => tokio::time::sleep(ERROR_PAUSE).await,
    }
}

/// Whether an error is what an earlier datagram met on its way.
fn is_about_network(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable,
        PermissionDenied,
    };
    let network = [
        ConnectionRefused,
        ConnectionReset,
        HostUnreachable,
        NetworkDown,
        NetworkUnreachable,
        PermissionDenied,
    ];
    network.contains(&error.kind()) || quinn_udp::is_msg_size_err(error)
}
