//! The real `SnapTunServer`, which does no I/O, on a real socket.
//!
//! One task owns everything: socket, server state and timers. That is the fastest that the crate's interface allows
//! on one core, because every call of it takes the whole state exclusively.

use std::{
    collections::{HashSet, VecDeque},
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ana_gotatun::{
    noise::{TunnResult, rate_limiter::RateLimiter},
    packet::{Packet, PacketBufPool, WgKind},
    x25519,
};
use bytes::Bytes;
use snap_tun::{
    server::{SnapTunAuthorization, SnapTunServer},
    udp_batch::{QueuePacketError, RecvBatchError, UdpBatchReceiver, UdpBatchSender},
};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::MissedTickBehavior,
};

use crate::{Key, KeyPair, PeerError, SocketBuffers, bind};

/// With GRO the kernel fills one buffer with as many datagrams as fit into 64 KiB; a smaller buffer would cut them.
pub(crate) const BUFFER_SIZE: usize = 65_535;
/// Datagrams in one send: what the kernel splits at most (`UDP_MAX_SEGMENTS`, and the crate's own maximum).
pub(crate) const SEND_BATCH: usize = 64;
/// Datagrams in one receive: as many as `quinn-udp` hands to one `recvmmsg`.
pub(crate) const RECEIVE_BATCH: usize = 32;
/// The crate's documentation asks for a call of `update_timers` this often.
pub(crate) const TIMER_PERIOD: Duration = Duration::from_millis(250);
/// First byte of a data message.
const DATA: u8 = 4;
/// Commands of the test that wait while the task is busy.
const COMMAND_QUEUE: usize = 1024;
/// A socket that fails so often in a row is broken, not disturbed; going on would be a busy loop.
const RECEIVE_FAILURES: u32 = 64;

/// Who may pass: a set of identities that the test can change while the server runs.
#[derive(Debug)]
pub struct Authorized {
    identities: RwLock<HashSet<Key>>,
    /// Made once: the server takes a reference for each packet.
    session: Arc<()>,
}

impl Authorized {
    fn new(identities: impl IntoIterator<Item = Key>) -> Self {
        Self { identities: RwLock::new(identities.into_iter().collect()), session: Arc::new(()) }
    }

    /// Lets an identity in.
    pub fn authorize(&self, identity: Key) {
        self.identities.write().unwrap_or_else(PoisonError::into_inner).insert(identity);
    }

    /// Shuts an identity out, at once and in both directions.
    pub fn revoke(&self, identity: &Key) {
        self.identities.write().unwrap_or_else(PoisonError::into_inner).remove(identity);
    }
}

impl SnapTunAuthorization for Authorized {
    type SessionData = ();

    fn is_authorized(&self, _now: Instant, identity: &Key) -> Option<Arc<()>> {
        self.identities
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(identity)
            .then(|| self.session.clone())
    }
}

/// What happens to a packet after its handler has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more.
    Consume,
    /// It goes back through the tunnel that it came from.
    Echo,
}

/// Sees each packet that comes out of a tunnel, on the server's task: it must not block.
pub trait PacketHandler: Send + 'static {
    /// One packet, opened and authorized. `payload` is valid for this call only.
    fn packet(&mut self, payload: &[u8], remote: SocketAddr) -> Verdict;

    /// The batch that the last packets were received in is done. Here a meter reads the clock, once a batch.
    fn batch_end(&mut self) {}

    /// A data message of `remote` was opened and authorized, be it an empty one: packets can go there from now on.
    fn heard(&mut self, _remote: SocketAddr) {}

    /// The next packet that the handler sends by itself. It is asked for a batch after each turn of the server: as
    /// fast as the server goes while it has one, otherwise after the next datagram or timer.
    fn outgoing(&mut self) -> Option<(Packet, SocketAddr)> {
        None
    }
}

impl<F> PacketHandler for F
where
    F: FnMut(&[u8], SocketAddr) -> Verdict + Send + 'static,
{
    fn packet(&mut self, payload: &[u8], remote: SocketAddr) -> Verdict {
        self(payload, remote)
    }
}

/// A packet that came out of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What the client put in.
    pub payload: Bytes,
    /// The address that the tunnel belongs to.
    pub remote: SocketAddr,
}

/// Hands packets to a bounded channel. What finds it full is dropped and counted: a slow test must not stop the
/// server's timers.
#[derive(Debug)]
pub struct ToChannel {
    sender: mpsc::Sender<Received>,
    dropped: u64,
}

impl ToChannel {
    /// Packets that found the channel full or its receiver gone.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl PacketHandler for ToChannel {
    fn packet(&mut self, payload: &[u8], remote: SocketAddr) -> Verdict {
        let packet = Received { payload: Bytes::copy_from_slice(payload), remote };
        if self.sender.try_send(packet).is_err() {
            self.dropped += 1;
        }
        Verdict::Consume
    }
}

/// How a server is set up.
#[derive(Clone)]
pub struct PeerServerOptions {
    /// Where it listens; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Its static identity.
    pub private_key: Key,
    /// Who may pass from the start.
    pub authorized: Vec<Key>,
    /// Bytes of `SO_RCVBUF` and `SO_SNDBUF`; the system's default when absent.
    pub socket_buffer: Option<usize>,
    /// Handshake messages a second before the server asks for cookies.
    pub handshake_limit: u64,
    /// Buffers of 64 KiB that are kept for reuse, beside those that wait in the receiver. Few are best: they
    /// are used in turn, and what fits into the cache is faster.
    pub pool: usize,
}

impl PeerServerOptions {
    /// A server on a port of loopback that the system chooses, with nobody authorized.
    #[must_use]
    pub fn new(private_key: Key) -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            private_key,
            authorized: Vec::new(),
            socket_buffer: None,
            handshake_limit: 100,
            pool: 128,
        }
    }
}

#[derive(Default)]
struct Counters {
    delivered: AtomicU64,
    refused: AtomicU64,
    undelivered: AtomicU64,
    receive_errors: AtomicU64,
}

/// What the server counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerStats {
    /// Packets that came out of tunnels; keepalives are none.
    pub delivered: u64,
    /// Datagrams that the protocol or the authorization refused.
    pub refused: u64,
    /// Datagrams that did not leave: the socket refused them, its buffer stayed full, or a handler addressed them to
    /// nobody.
    pub undelivered: u64,
    /// Errors of the socket on receive.
    pub receive_errors: u64,
}

impl Counters {
    fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    fn read(&self) -> ServerStats {
        ServerStats {
            delivered: self.delivered.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            undelivered: self.undelivered.load(Ordering::Relaxed),
            receive_errors: self.receive_errors.load(Ordering::Relaxed),
        }
    }
}

/// A packet of the test on its way into a tunnel.
struct Outgoing {
    to: SocketAddr,
    payload: Packet,
    accepted: oneshot::Sender<bool>,
}

/// The real server, running on a task of its own. Dropping it stops the task too, a little later.
pub struct SnapTunPeerServer<H: PacketHandler = ToChannel> {
    local_address: SocketAddr,
    public_key: Key,
    buffers: SocketBuffers,
    authorized: Arc<Authorized>,
    counters: Arc<Counters>,
    commands: mpsc::Sender<Outgoing>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<(H, io::Result<()>)>,
}

impl SnapTunPeerServer<ToChannel> {
    /// Starts a server whose packets go to a channel of `capacity` packets. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be bound or set up.
    pub fn start(
        options: PeerServerOptions,
        capacity: usize,
    ) -> Result<(Self, mpsc::Receiver<Received>), PeerError> {
        // A channel of no capacity would panic.
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let server = Self::start_with(options, ToChannel { sender, dropped: 0 })?;
        Ok((server, receiver))
    }
}

impl<H: PacketHandler> SnapTunPeerServer<H> {
    /// Starts a server whose packets go to `handler`. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be bound or set up.
    pub fn start_with(options: PeerServerOptions, handler: H) -> Result<Self, PeerError> {
        let socket = bind(options.bind, options.socket_buffer)?;
        let local_address = socket.local_addr()?;
        let buffers = SocketBuffers::of(&socket)?;
        let keys = KeyPair::from_private(options.private_key);
        let authorized = Arc::new(Authorized::new(options.authorized));
        let counters = Arc::new(Counters::default());
        let limiter =
            RateLimiter::new(&x25519::PublicKey::from(keys.public), options.handshake_limit);
        let pool = PacketBufPool::new(options.pool.saturating_add(RECEIVE_BATCH));
        let receiver = UdpBatchReceiver::new(&socket, &pool)?;
        let sender = UdpBatchSender::new(&socket)?;
        let driver = Driver {
            socket,
            server: SnapTunServer::new(
                x25519::StaticSecret::from(keys.private),
                Arc::new(limiter),
                authorized.clone(),
            ),
            receiver,
            output: Output { sender, counters: counters.clone() },
            pool,
            replies: VecDeque::new(),
            handler,
        };
        let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
        let (stop, stopped) = oneshot::channel();
        Ok(Self {
            local_address,
            public_key: keys.public,
            buffers,
            authorized,
            counters,
            commands,
            stop,
            task: tokio::spawn(driver.run(stopped, command_queue)),
        })
    }

    /// Where clients reach it.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_address
    }

    /// Its static identity.
    #[must_use]
    pub fn public_key(&self) -> Key {
        self.public_key
    }

    /// The socket buffers that the kernel granted.
    #[must_use]
    pub fn socket_buffers(&self) -> SocketBuffers {
        self.buffers
    }

    /// Who may pass.
    #[must_use]
    pub fn authorized(&self) -> &Authorized {
        &self.authorized
    }

    /// What was counted up to now.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.counters.read()
    }

    /// Sends a packet through the tunnel of a remote. Resolves when the server has taken it: then it is sealed, or,
    /// where the tunnel has no session that the client has confirmed, queued in the tunnel. If it is cancelled, the
    /// packet may or may not be sent.
    ///
    /// # Errors
    /// [`PeerError::NoTunnel`], [`PeerError::TooLarge`], or the server stopped.
    pub async fn send(&self, to: SocketAddr, payload: &[u8]) -> Result<(), PeerError> {
        let sealed = payload.len() + crate::tunn_client::OVERHEAD;
        if sealed > BUFFER_SIZE {
            return Err(PeerError::TooLarge(sealed));
        }
        let gone = || PeerError::Stopped("its task is gone".to_owned());
        let (accepted, answer) = oneshot::channel();
        let command = Outgoing { to, payload: Packet::copy_from(payload), accepted };
        self.commands.send(command).await.map_err(|_| gone())?;
        match answer.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(PeerError::NoTunnel(to)),
            Err(_) => Err(gone()),
        }
    }

    /// Stops the server, closes its socket and gives its handler back, with what was counted.
    ///
    /// # Errors
    /// The task had ended before: its socket failed for good, or its handler panicked.
    pub async fn stop(self) -> Result<(H, ServerStats), PeerError> {
        // An error means that the task ended by itself; why it did comes from the task.
        let _ = self.stop.send(());
        match self.task.await {
            Ok((handler, Ok(()))) => Ok((handler, self.counters.read())),
            Ok((_, Err(error))) => Err(PeerError::Io(error)),
            Err(error) => Err(PeerError::Stopped(error.to_string())),
        }
    }
}

/// The way out: the batch that waits for the socket, and the count of what did not leave. The socket is not in it,
/// because packets are queued while it is being read.
struct Output {
    sender: UdpBatchSender<SEND_BATCH, BUFFER_SIZE>,
    counters: Arc<Counters>,
}

impl Output {
    fn queue(&mut self, socket: &UdpSocket, packet: WgKind, to: SocketAddr) {
        let lost = match self.sender.try_queue_packet(datagram(packet), to) {
            Ok(()) => false,
            Err(QueuePacketError::Full { packet, target }) => {
                // Where the socket is not writable the queue stays full, and the packet is lost in the next line.
                let _ = self.sender.try_flush_best_effort(socket);
                self.sender.try_queue_packet(packet, target).is_err()
            }
            Err(QueuePacketError::PacketTooLarge { .. }) => true,
        };
        if lost {
            Counters::add(&self.counters.undelivered, 1);
        }
    }

    async fn flush(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let result = self.sender.flush(socket).await;
        let discarded = self.sender.take_discarded_datagrams();
        if discarded > 0 {
            Counters::add(&self.counters.undelivered, discarded);
        }
        result
    }
}

/// The bytes of a message as they go over the wire.
pub(crate) fn datagram(message: WgKind) -> Packet {
    match message {
        WgKind::HandshakeInit(message) => message.into_bytes(),
        WgKind::HandshakeResp(message) => message.into_bytes(),
        WgKind::CookieReply(message) => message.into_bytes(),
        WgKind::Data(message) => message.into_bytes(),
    }
}

struct Driver<H> {
    socket: UdpSocket,
    server: SnapTunServer<Authorized>,
    receiver: UdpBatchReceiver<RECEIVE_BATCH, BUFFER_SIZE>,
    output: Output,
    pool: PacketBufPool<BUFFER_SIZE>,
    replies: VecDeque<WgKind>,
    handler: H,
}

impl<H: PacketHandler> Driver<H> {
    async fn run(
        mut self,
        stop: oneshot::Receiver<()>,
        commands: mpsc::Receiver<Outgoing>,
    ) -> (H, io::Result<()>) {
        let result = self.serve(stop, commands).await;
        (self.handler, result)
    }

    async fn serve(
        &mut self,
        mut stop: oneshot::Receiver<()>,
        mut commands: mpsc::Receiver<Outgoing>,
    ) -> io::Result<()> {
        let mut timer = tokio::time::interval(TIMER_PERIOD);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0;
        let mut sending = false;
        loop {
            // In this order, so that load can starve neither the end nor the timers.
            tokio::select! {
                biased;
                _ = &mut stop => return Ok(()),
                _ = timer.tick() => {
                    for (remote, packet) in self.server.update_timers() {
                        self.output.queue(&self.socket, packet, remote);
                    }
                }
                received = self.receive() => match received {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        Counters::add(&self.output.counters.receive_errors, 1);
                        failures += 1;
                        if failures == RECEIVE_FAILURES {
                            return Err(error);
                        }
                    }
                },
                Some(command) = commands.recv() => self.send(command),
                // Not a future that is ready at once: a task that never waits keeps the runtime from looking at
                // timers and sockets.
                () = tokio::task::yield_now(), if sending => {}
            }
            // Received datagrams go first above; so that they cannot keep the test's packets waiting, some of those
            // are taken each time round.
            for _ in 0..SEND_BATCH {
                let Ok(command) = commands.try_recv() else {
                    break;
                };
                self.send(command);
            }
            sending = self.send_outgoing();
            self.output.flush(&self.socket).await?;
        }
    }

    /// Receives one batch. Safe to cancel: it waits for nothing but the socket to become readable.
    async fn receive(&mut self) -> io::Result<()> {
        let Self { socket, server, receiver, output, pool, replies, handler } = self;
        let result = receiver
            .recv_batch(socket, pool, |datagram, from| {
                let data = datagram.first() == Some(&DATA);
                let opened = server.handle_incoming_packet(datagram, from, replies);
                for reply in replies.drain(..) {
                    output.queue(socket, reply, from);
                }
                if data && !matches!(opened, TunnResult::Err(_)) {
                    handler.heard(from);
                }
                match opened {
                    TunnResult::WriteToTunnel(packet) => {
                        Counters::add(&output.counters.delivered, 1);
                        if handler.packet(&packet, from) == Verdict::Echo
                            && let Some(echo) = server.handle_outgoing_packet(packet, from)
                        {
                            output.queue(socket, echo, from);
                        }
                    }
                    TunnResult::Err(_) => Counters::add(&output.counters.refused, 1),
                    TunnResult::Done | TunnResult::WriteToNetwork(_) => {}
                }
                Ok::<(), Infallible>(())
            })
            .await;
        handler.batch_end();
        match result {
            Ok(()) => Ok(()),
            Err(RecvBatchError::Io(error)) => Err(error),
            Err(RecvBatchError::Handler(never)) => match never {},
        }
    }

    /// Seals a batch of what the handler wants to send. False when it wants nothing more, or what it wants cannot go.
    fn send_outgoing(&mut self) -> bool {
        for _ in 0..SEND_BATCH {
            let Some((packet, to)) = self.handler.outgoing() else {
                return false;
            };
            match self.server.handle_outgoing_packet_with_session(packet, to) {
                Some(taken) => {
                    if let Some(sealed) = taken.network_packet {
                        self.output.queue(&self.socket, sealed, to);
                    }
                }
                None => {
                    Counters::add(&self.output.counters.undelivered, 1);
                    return false;
                }
            }
        }
        true
    }

    fn send(&mut self, command: Outgoing) {
        let taken = self.server.handle_outgoing_packet_with_session(command.payload, command.to);
        // The receiver is gone when the test stopped waiting: then nobody wants to know.
        let _ = command.accepted.send(taken.is_some());
        if let Some(packet) = taken.and_then(|taken| taken.network_packet) {
            self.output.queue(&self.socket, packet, command.to);
        }
    }
}
