//! A client's tunnel on a socket of its own.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ana_gotatun::packet::{Packet, WgData};
use bytes::BytesMut;
use parking_lot::Mutex;

use super::{
    Engine, Limits, Listener, SendMode,
    endpoint::{Endpoint, Outbox, Routing},
    ring::{self, Consumer},
    shard::{Shard, Taken},
    socket::{self, Binding, ShardSocket},
};
use crate::{
    Counter, Error, Result,
    server::Route,
    tunnel::{SessionState, Tunnel as TunnelCore, TunnelConfig, TunnelEvent},
};

/// How often the path's MTU is looked up: three system calls, with nothing sent.
const PATH_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How a [`Tunnel`] is opened.
#[derive(Debug, Clone)]
pub struct TunnelOptions {
    /// The protocol's part.
    pub config: TunnelConfig,
    /// The local address; by default any, on a port that the system chooses.
    pub bind: Option<SocketAddr>,
    /// Bounds of what is queued.
    pub limits: Limits,
    /// Who seals.
    pub mode: SendMode,
}

/// What happens to a tunnel, as the application is told.
#[derive(Debug)]
pub enum ClientEvent {
    /// What the protocol says.
    Tunnel(TunnelEvent),
    /// The path takes packets of this many bytes at most from now on.
    MaxPacketSize(usize),
    /// The last one: the socket is released. With an error when it did not end by `close`.
    Closed(Option<Error>),
}

#[derive(Default)]
struct Outcome {
    events: VecDeque<ClientEvent>,
    /// Why it closed, until the socket is released.
    error: Option<Error>,
}

struct ClientEndpoint {
    core: TunnelCore,
    max_packet_size: Arc<AtomicUsize>,
    path_checked: Instant,
    /// Datagrams that the kernel had refused when the path was last looked at.
    discarded: u64,
    outcome: Arc<Mutex<Outcome>>,
    /// There are events that the core has not told.
    news: bool,
}

/// An open tunnel: the application's end of it. Dropping it closes the tunnel.
pub struct Tunnel {
    shard: Arc<Shard<ClientEndpoint>>,
    outcome: Arc<Mutex<Outcome>>,
    bound: SocketAddr,
    server: SocketAddr,
    max_packet_size: Arc<AtomicUsize>,
}

impl Engine {
    /// Binds a socket and starts the handshake. Packets may be sent at once: they wait until it is
    /// done, within the bounds of the send queue.
    ///
    /// # Errors
    /// Those of binding a socket.
    pub fn open_tunnel(
        &self,
        options: TunnelOptions,
        listener: Arc<dyn Listener>,
    ) -> Result<(Tunnel, Consumer)> {
        let TunnelOptions { config, bind, limits, mode } = options;
        let server = config.server;
        let binding = Binding {
            address: bind.unwrap_or_else(|| socket::unspecified(server)),
            ipv6_only: false,
            buffer_bytes: limits.socket_bytes,
        };
        let worker = self.least_loaded();
        let _runtime = worker.runtime.enter();
        let socket = ShardSocket::new(binding.bind()?)?;
        let bound = socket.io().local_addr().map_err(Error::io("read a socket's address"))?;
        let socket = Arc::new(socket);
        let (producer, consumer) =
            ring::ring(limits.receive_packets, limits.receive_bytes, super::poison())
                .map_err(Error::io("reserve the receive queue"))?;
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let now = Instant::now();
        let max_packet_size = Arc::new(AtomicUsize::new(socket::max_packet_size(server)));
        let endpoint = ClientEndpoint {
            core: TunnelCore::new(config, now),
            max_packet_size: max_packet_size.clone(),
            path_checked: now,
            discarded: 0,
            outcome: outcome.clone(),
            news: false,
        };
        let shard = Shard::new(endpoint, &socket, producer, listener, limits, mode, true)
            .map_err(Error::io("set up a socket"))?;
        let shard = Arc::new(shard);
        shard.command(Command::Start);
        Self::run(worker, shard.clone(), socket);
        Ok((Tunnel { shard, outcome, bound, server, max_packet_size }, consumer))
    }
}

impl Tunnel {
    /// The address of the socket.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// The server's address.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// The largest packet that it takes, in bytes.
    pub fn max_packet_size(&self) -> usize {
        self.max_packet_size.load(Ordering::Relaxed)
    }

    /// Whether a packet can be sent at all.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::PacketEmpty`], [`Error::PacketTooLarge`].
    pub fn check(&self, packet: &[u8]) -> Result<()> {
        check_packet(packet.len(), self.max_packet_size())?;
        if self.shard.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Sends `count` packets, at least one, which [`check`](Self::check) passed. Says how many of
    /// them were taken, and what became of these. Never waits.
    pub fn submit<'p>(&self, count: usize, packet: impl Fn(usize) -> &'p [u8]) -> Taken {
        self.shard.submit(count, |index| (0, packet(index)))
    }

    /// Whether a packet would be taken now. When not, [`super::Signals::WRITABLE`] follows once it
    /// would.
    pub fn has_room(&self) -> bool {
        self.shard.has_room()
    }

    /// The next event, oldest first.
    pub fn poll_event(&self) -> Option<ClientEvent> {
        self.outcome.lock().events.pop_front()
    }

    /// Starts to close; [`ClientEvent::Closed`] follows.
    pub fn close(&self) {
        self.shard.command(Command::Close);
    }

    /// All counters.
    pub fn counters(&self, each: impl FnMut(Counter)) {
        self.shard.counters(each);
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.close();
    }
}

pub(super) fn check_packet(length: usize, max: usize) -> Result<()> {
    match length {
        0 => Err(Error::PacketEmpty),
        length if length > max => Err(Error::PacketTooLarge { length, max }),
        _ => Ok(()),
    }
}

impl ClientEndpoint {
    /// Looks whether a router on the way, or the route, takes other sizes than before.
    fn check_path(&mut self) {
        let size = socket::max_packet_size(self.core.server());
        if self.max_packet_size.swap(size, Ordering::Relaxed) != size {
            self.outcome.lock().events.push_back(ClientEvent::MaxPacketSize(size));
            self.news = true;
        }
    }
}

enum Command {
    Start,
    Close,
}

impl Endpoint for ClientEndpoint {
    type Command = Command;

    #[inline]
    fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        _local: Option<IpAddr>,
        datagram: BytesMut,
        out: &mut Outbox<'_>,
    ) -> Option<(u32, Packet)> {
        self.core.handle_incoming(now, from, datagram, out).map(|packet| (0, packet))
    }

    #[inline]
    fn session(&self) -> SessionState {
        self.core.session()
    }

    #[inline]
    fn route(&mut self, _tunnel: u32) -> Routing {
        match self.core.session() {
            SessionState::Ready => Routing::Now(Route { target: self.core.server(), source: None }),
            SessionState::Connecting | SessionState::Lost => Routing::Later,
            SessionState::Closed => Routing::Never,
        }
    }

    #[inline]
    fn seal(
        &mut self,
        now: Instant,
        _tunnel: u32,
        packet: BytesMut,
        out: &mut Outbox<'_>,
    ) -> Result<Option<Packet<WgData>>, BytesMut> {
        self.core.seal(packet, now, out).map(Some)
    }

    fn update_timers(&mut self, now: Instant, out: &mut Outbox<'_>) {
        self.core.update_timers(now, out);
        let discarded = out.sender.counts().discarded;
        // What the kernel does not take may be what has become too large.
        if discarded != self.discarded || now - self.path_checked >= PATH_CHECK_INTERVAL {
            self.discarded = discarded;
            self.path_checked = now;
            self.check_path();
        }
    }

    fn background(&mut self, _now: Instant, _idle: bool, _out: &mut Outbox<'_>) -> bool {
        false
    }

    fn command(&mut self, command: Command, _now: Instant, out: &mut Outbox<'_>) {
        match command {
            Command::Start => self.core.start(out),
            Command::Close => self.core.close(None),
        }
    }

    fn hand_over(&mut self) {}

    fn emit_events(&mut self) -> bool {
        let mut any = std::mem::take(&mut self.news);
        while let Some(event) = self.core.poll_event() {
            let mut outcome = self.outcome.lock();
            match event {
                TunnelEvent::Closed(error) => outcome.error = error,
                event => {
                    outcome.events.push_back(ClientEvent::Tunnel(event));
                    any = true;
                }
            }
        }
        any
    }

    fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    fn ended(&mut self, broken: bool) {
        self.core.close(broken.then_some(Error::Internal));
        self.emit_events();
        let mut outcome = self.outcome.lock();
        let error = outcome.error.take();
        outcome.events.push_back(ClientEvent::Closed(error));
        self.news = true;
    }

    fn counters(&self, each: &mut dyn FnMut(Counter)) {
        let counts = self.core.counts();
        each(("handshakes", counts.handshakes));
        each(("handshakesStarted", counts.initiations));
        each(("cookiesReceived", counts.cookies_received));
        each(("cookiesSent", counts.cookies_sent));
        each(("keepalivesReceived", counts.keepalives));
        each(("droppedForeign", counts.foreign));
        each(("droppedMalformed", counts.malformed));
        each(("droppedReplayed", counts.replayed));
        each(("droppedInvalid", counts.invalid));
    }
}
