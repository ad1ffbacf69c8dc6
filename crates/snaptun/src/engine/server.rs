//! A server on one port: shards that share nothing but the table of authorizations.

use std::{
    collections::VecDeque,
    hash::RandomState,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ana_gotatun::packet::{Packet, WgData};
use bytes::BytesMut;
use parking_lot::Mutex;

use super::{
    Engine, Limits, Listener, SendMode,
    client::check_packet,
    endpoint::{Datagram, Endpoint, Outbox, Routing},
    pacer::Pacer,
    ring::{self, Consumer},
    shard::{Fate, Shard, Taken},
    siblings::Siblings,
    socket::{self, Binding, ShardSocket},
};
use crate::{
    Counter, Error, Identity, PrivateKey, Result,
    authorization::{AuthorizationTable, Grant},
    server::{CloseReason, ServerConfig, ServerEvent, SnapTunServer, TunnelId, TunnelStatus},
};

/// Shards of a server at most: a tunnel's number has 8 bits for its shard.
const MAX_SHARDS: usize = 1 << crate::server::SHARD_BITS;

/// Refusals are told only while fewer notices than these wait to be read; they are counted anyway.
const MAX_SPARE_NOTICES: usize = 4096;

/// How often the table of authorizations is cleaned.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// How a [`Server`] listens.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Who we are.
    pub private_key: PrivateKey,
    /// Where to listen; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Whether an IPv6 socket leaves IPv4 alone.
    pub ipv6_only: bool,
    /// Tasks that serve the tunnels, each with a socket of its own if `reuse_port`.
    pub shards: usize,
    /// Whether the shards share the port, and the kernel spreads datagrams over them. Otherwise one
    /// socket is read, and datagrams are handed to shards by a hash of their source; so it always is
    /// where the kernel doesn't spread.
    pub reuse_port: bool,
    /// Tunnels at most, over all shards.
    pub max_tunnels: usize,
    /// Tunnels of one identity at most, over all shards.
    pub max_tunnels_per_identity: usize,
    /// Initiations that wait for an answer of the application at most, over all shards.
    pub max_pending_authorizations: usize,
    /// How long they wait.
    pub authorization_timeout: Duration,
    /// Bounds of what is queued, for each shard.
    pub limits: Limits,
    /// Who seals.
    pub mode: SendMode,
}

impl ServerOptions {
    /// The defaults: one shard, 16,384 tunnels.
    pub fn new(private_key: PrivateKey, bind: SocketAddr) -> Self {
        Self {
            private_key,
            bind,
            ipv6_only: false,
            shards: 1,
            reuse_port: cfg!(target_os = "linux"),
            max_tunnels: 16_384,
            max_tunnels_per_identity: 64,
            max_pending_authorizations: 1_024,
            authorization_timeout: Duration::from_secs(10),
            limits: Limits::default(),
            mode: SendMode::default(),
        }
    }
}

/// What the application is told.
#[derive(Debug, Clone)]
pub enum ServerNotice {
    /// What the protocol says. [`ServerEvent::Authorize`] waits for [`Server::authorize`] or
    /// [`Server::refuse`].
    Event {
        /// What happened.
        event: ServerEvent,
        /// The largest packet, in bytes, that the tunnel takes, when one opened.
        max_packet_size: Option<usize>,
    },
    /// The last one: all sockets are released.
    Closed {
        /// Whether that was a bug of ours, and not asked for.
        broken: bool,
    },
}

type Notices = Arc<Mutex<VecDeque<ServerNotice>>>;

pub(super) struct ServerEndpoint {
    core: SnapTunServer,
    /// `None` when there is only this one.
    siblings: Option<Siblings>,
    authorizations: Arc<AuthorizationTable>,
    notices: Notices,
    /// Shards that have not ended yet.
    living: Arc<AtomicUsize>,
    /// Whether this shard cleans the table; when it did last.
    sweeps: Option<Instant>,
    pacer: Pacer,
    closed: bool,
    ended: bool,
}

/// A listening server: the application's end of it. Dropping it closes the server.
pub struct Server {
    shards: Vec<Arc<Shard<ServerEndpoint>>>,
    authorizations: Arc<AuthorizationTable>,
    notices: Notices,
    bound: SocketAddr,
}

impl Engine {
    /// Binds the sockets and starts to listen. Returns a consumer for each shard.
    ///
    /// # Errors
    /// Those of binding sockets; [`Error::AddressInUse`] also with shards.
    pub fn listen(
        &self,
        options: ServerOptions,
        listener: Arc<dyn Listener>,
    ) -> Result<(Server, Vec<Consumer>)> {
        let count = options.shards.clamp(1, MAX_SHARDS);
        let shares_port = options.reuse_port || count == 1;
        let binding = Binding {
            address: options.bind,
            ipv6_only: options.ipv6_only,
            buffer_bytes: options.limits.socket_bytes,
        };
        let now = Instant::now();
        let authorizations =
            Arc::new(AuthorizationTable::new(now, options.max_pending_authorizations));
        let notices = Notices::default();
        let living = Arc::new(AtomicUsize::new(count));
        let all = Arc::new(OnceLock::new());
        let spread = (!shares_port).then(RandomState::new);
        let (mut shards, mut consumers) = (Vec::new(), Vec::new());
        let mut starts = Vec::new();
        let mut sockets = Vec::new();
        for (index, socket) in
            binding.bind_many(if shares_port { count } else { 1 })?.into_iter().enumerate()
        {
            let _runtime = self.workers[index % self.workers.len()].runtime.enter();
            sockets.push(Arc::new(ShardSocket::new(socket)?));
        }
        let bound = sockets[0].io().local_addr().map_err(Error::io("read a socket's address"))?;
        for index in 0..count {
            let worker = &self.workers[index % self.workers.len()];
            let socket = sockets.get(index).unwrap_or(&sockets[0]).clone();
            let (producer, consumer) = ring::ring(
                options.limits.receive_packets,
                options.limits.receive_bytes,
                super::poison(),
            )
            .map_err(Error::io("reserve the receive queue"))?;
            let config = ServerConfig {
                private_key: options.private_key.clone(),
                max_tunnels: options.max_tunnels,
                max_tunnels_per_identity: options.max_tunnels_per_identity,
                max_pending_authorizations: options.max_pending_authorizations,
                authorization_timeout: options.authorization_timeout,
                shard: index as u8,
            };
            let endpoint = ServerEndpoint {
                core: SnapTunServer::new(config, authorizations.clone(), now),
                siblings: (count > 1)
                    .then(|| Siblings::new(all.clone(), index, count, spread.clone())),
                authorizations: authorizations.clone(),
                notices: notices.clone(),
                living: living.clone(),
                sweeps: (index == 0).then_some(now),
                pacer: Pacer::new(now),
                closed: false,
                ended: false,
            };
            let shard = Shard::new(
                endpoint,
                &socket,
                producer,
                listener.clone(),
                options.limits,
                options.mode,
                shares_port || index == 0,
            )
            .map_err(Error::io("set up a socket"))?;
            let shard = Arc::new(shard);
            starts.push((worker, shard.clone(), socket));
            shards.push(shard);
            consumers.push(consumer);
        }
        // Of the one who sets it there is only this call.
        let _ = all.set(shards.iter().map(Arc::downgrade).collect());
        // Only when nothing can fail any more.
        for (worker, shard, socket) in starts {
            Self::run(worker, shard, socket);
        }
        Ok((Server { shards, authorizations, notices, bound }, consumers))
    }
}

impl Server {
    /// The address that it listens on.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Whether a packet can be sent to a tunnel that takes packets of `max` bytes.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::PacketEmpty`], [`Error::PacketTooLarge`].
    pub fn check(&self, packet: &[u8], max: usize) -> Result<()> {
        check_packet(packet.len(), max)?;
        if self.shards.iter().all(|shard| shard.is_closed()) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Sends `count` packets, which [`check`](Self::check) passed, each to a tunnel of the shard
    /// that `tunnel` belongs to. Never waits. What goes to a tunnel that is gone counts as taken, and
    /// is dropped and counted.
    pub fn submit<'p>(
        &self,
        tunnel: TunnelId,
        count: usize,
        packet: impl Fn(usize) -> (TunnelId, &'p [u8]),
    ) -> Taken {
        match self.shards.get(shard_of(tunnel)) {
            Some(shard) => shard.submit(count, packet),
            None => Taken { packets: count, fate: Fate::Dropped },
        }
    }

    /// Whether a packet to a tunnel would be taken now. When not, [`super::Signals::WRITABLE`]
    /// follows once it would.
    pub fn has_room(&self, tunnel: TunnelId) -> bool {
        self.shards.get(shard_of(tunnel)).is_none_or(|shard| shard.has_room())
    }

    /// The next notice, oldest first.
    pub fn poll_notice(&self) -> Option<ServerNotice> {
        self.notices.lock().pop_front()
    }

    /// Lets an identity pass, or replaces until when it may.
    pub fn authorize(&self, identity: Identity, grant: Grant) {
        self.authorizations.grant(identity, grant, Instant::now());
        self.broadcast(|| Command::Resolve(identity));
    }

    /// Answers [`ServerNotice::Authorize`] with no.
    pub fn refuse(&self, identity: Identity) {
        self.authorizations.refuse(identity, Instant::now());
        self.broadcast(|| Command::Resolve(identity));
    }

    /// From the return of this call nothing of the identity passes, either way; its tunnels close.
    pub fn revoke(&self, identity: Identity) {
        self.authorizations.revoke(identity, Instant::now());
        self.broadcast(|| Command::CloseIdentity(identity));
    }

    /// Closes one tunnel.
    pub fn close_tunnel(&self, tunnel: TunnelId) {
        if let Some(shard) = self.shards.get(shard_of(tunnel)) {
            shard.command(Command::CloseTunnel(tunnel));
        }
    }

    /// Starts to close; [`ServerNotice::Closed`] follows.
    pub fn close(&self) {
        self.broadcast(|| Command::Close);
    }

    /// All counters, summed over the shards.
    pub fn counters(&self, mut each: impl FnMut(Counter)) {
        let mut sums: Vec<Counter> = Vec::new();
        for shard in &self.shards {
            let mut index = 0;
            shard.counters(|(name, value)| {
                match sums.get_mut(index) {
                    Some(sum) => sum.1 += value,
                    None => sums.push((name, value)),
                }
                index += 1;
            });
        }
        sums.into_iter().for_each(&mut each);
    }

    /// What is known of a tunnel; `None` when there is no such tunnel. Waits for the end of its
    /// shard's current turn at most.
    pub fn status(&self, tunnel: TunnelId) -> Option<TunnelStatus> {
        let shard = self.shards.get(shard_of(tunnel))?;
        shard.inspect(|endpoint| endpoint.core.status(tunnel))
    }

    /// Tunnels, confirmed or not, over all shards.
    pub fn tunnel_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.inspect(|endpoint| endpoint.core.tunnel_count())).sum()
    }

    fn broadcast(&self, command: impl Fn() -> Command) {
        for shard in &self.shards {
            shard.command(command());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

fn shard_of(tunnel: TunnelId) -> usize {
    tunnel as usize & (MAX_SHARDS - 1)
}

pub(super) enum Command {
    Resolve(Identity),
    CloseIdentity(Identity),
    CloseTunnel(TunnelId),
    Close,
}

impl Endpoint for ServerEndpoint {
    type Command = Command;

    #[inline]
    fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: BytesMut,
        out: &mut Outbox<'_>,
    ) -> Option<(u32, Packet)> {
        if self.closed {
            return None;
        }
        if let Some(siblings) = &mut self.siblings
            && let Some(owner) = siblings.owner(from, &self.core, &self.authorizations)
        {
            siblings.give(owner, Datagram { from, local, bytes: datagram });
            return None;
        }
        self.core.handle_incoming(now, from, local, datagram, out)
    }

    #[inline]
    fn route(&mut self, tunnel: u32) -> Routing {
        match self.core.route(tunnel) {
            Some(route) => Routing::Now(route),
            None => Routing::Never,
        }
    }

    #[inline]
    fn seal(
        &mut self,
        now: Instant,
        tunnel: u32,
        packet: BytesMut,
        out: &mut Outbox<'_>,
    ) -> Result<Option<Packet<WgData>>, BytesMut> {
        let clock = self.authorizations.clock(now);
        Ok(self.core.handle_outgoing(clock, tunnel, packet, out))
    }

    fn update_timers(&mut self, now: Instant, out: &mut Outbox<'_>) {
        self.core.update_timers(now, out);
        if let Some(last) = &mut self.sweeps
            && now.saturating_duration_since(*last) >= SWEEP_INTERVAL
        {
            *last = now;
            self.authorizations.sweep(now);
        }
    }

    fn background(&mut self, now: Instant, idle: bool, out: &mut Outbox<'_>) -> bool {
        self.pacer.run(&mut self.core, now, idle, out)
    }

    fn command(&mut self, command: Command, now: Instant, out: &mut Outbox<'_>) {
        match command {
            Command::Resolve(identity) => self.core.resolve(identity, now, out),
            Command::CloseIdentity(identity) => {
                self.core.close_identity(identity, CloseReason::Revoked);
            }
            Command::CloseTunnel(tunnel) => self.core.close_tunnel(tunnel, CloseReason::Closed),
            Command::Close => {
                self.core.close_all();
                self.closed = true;
            }
        }
    }

    fn hand_over(&mut self) {
        if let Some(siblings) = &mut self.siblings {
            siblings.hand_over();
        }
    }

    fn emit_events(&mut self) -> bool {
        let mut any = std::mem::take(&mut self.ended);
        while let Some(event) = self.core.poll_event() {
            let max_packet_size = match event {
                ServerEvent::Opened { remote, .. } => Some(socket::max_packet_size(remote)),
                _ => None,
            };
            let mut notices = self.notices.lock();
            // Whoever is refused again and again can't fill the memory of an application that sleeps.
            let spare = matches!(event, ServerEvent::Unauthorized { .. });
            if !spare || notices.len() < MAX_SPARE_NOTICES {
                notices.push_back(ServerNotice::Event { event, max_packet_size });
                any = true;
            }
        }
        any
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn ended(&mut self, broken: bool) {
        self.core.close_all();
        self.emit_events();
        self.closed = true;
        self.ended = true;
        if self.living.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.notices.lock().push_back(ServerNotice::Closed { broken });
        }
    }

    fn counters(&self, each: &mut dyn FnMut(Counter)) {
        let dropped = self.siblings.as_ref().map_or(0, Siblings::dropped);
        each(("droppedHandoverFull", dropped));
        self.core.counters(each);
    }
}
