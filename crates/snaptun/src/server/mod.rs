//! The server's side: one tunnel for each remote address, a state machine without I/O.
//!
//! Nothing passes, in or out, that is not authorized at that moment, and what is not authorized
//! touches no timer. Order of checks on an initiation: length and type, source port, MAC1, load
//! (MAC2) and its limits, identity and timestamp opened, replay, authorization. Only then a tunnel is
//! made; and only with a proof of the address beside another identity's.

mod handshakes;
mod tunnels;
mod types;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use ana_gotatun::{
    noise::{
        TunnResult, errors::WireGuardError, index_table::IndexTable, rate_limiter::RateLimiter,
    },
    packet::{Packet, WgData},
};
use bytes::BytesMut;

pub(crate) use types::SHARD_BITS;
pub use types::{
    CloseReason, Route, ServerConfig, ServerCounts, ServerEvent, Traffic, TunnelId, TunnelStatus,
};

use crate::{
    Counter, Identity, Transmit,
    authorization::{AuthorizationTable, Clock},
    wire::{self, Kind},
};
use handshakes::Handshakes;
use tunnels::{ServerTunnel, Tunnels};

/// A tunnel whose initiator never confirmed the handshake is removed after this: the response was
/// lost, or nobody was there. The initiator tries again after 5 s anyway.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(15);

/// Beyond so many tunnels each is looked at in one of [`TURNS`] calls of
/// [`SnapTunServer::update_timers`]: all of them in all would cost 3% of a core at 10,000 (measured),
/// and the protocol's timers are seconds long.
const MANY_TUNNELS: usize = 1024;

/// See [`MANY_TUNNELS`]: with a call every 250 ms, once a second.
const TURNS: usize = 4;

/// The server's side of many tunnels.
pub struct SnapTunServer {
    config: ServerConfig,
    authorizations: Arc<AuthorizationTable>,
    handshakes: Handshakes,
    limiter: Arc<RateLimiter>,
    indices: IndexTable,
    tunnels: Tunnels,
    /// Whose turn it is, see [`MANY_TUNNELS`].
    turn: usize,
    events: VecDeque<ServerEvent>,
    counts: ServerCounts,
}

impl SnapTunServer {
    /// A server without tunnels.
    pub fn new(
        config: ServerConfig,
        authorizations: Arc<AuthorizationTable>,
        now: Instant,
    ) -> Self {
        // MAC1 and load are looked at before `Tunn` sees a handshake; its own limiter must not limit
        // besides.
        let limiter = RateLimiter::new(&config.private_key.identity().public_key(), u64::MAX);
        Self {
            handshakes: Handshakes::new(&config.private_key, now),
            authorizations,
            limiter: Arc::new(limiter),
            indices: IndexTable::from_os_rng(),
            tunnels: Tunnels::new(config.shard),
            turn: 0,
            events: VecDeque::new(),
            counts: ServerCounts::default(),
            config,
        }
    }

    /// The next event, oldest first. The tunnel's [`ServerEvent::Opened`] is there before its first
    /// packet is returned.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// What was done and dropped.
    pub fn counts(&self) -> ServerCounts {
        self.counts
    }

    /// All counters, by the names that applications see.
    pub fn counters(&self, each: &mut dyn FnMut(Counter)) {
        let counts = self.counts;
        each(("tunnels", self.tunnel_count() as u64));
        each(("handshakes", counts.handshakes));
        each(("handshakesRefused", counts.refused));
        each(("handshakesAtCapacity", counts.at_capacity));
        each(("handshakesReplayed", counts.replayed_handshakes));
        each(("handshakesInvalid", counts.invalid_handshakes));
        each(("handshakesRateLimited", counts.rate_limited));
        each(("handshakeCookies", counts.cookies));
        each(("handshakesPending", self.handshakes_waiting() as u64));
        each(("authorizationsPending", self.authorizations_waiting() as u64));
        each(("keepalivesReceived", counts.keepalives));
        each(("droppedMalformed", counts.malformed));
        each(("droppedInvalid", counts.invalid));
        each(("droppedReplayed", counts.replayed));
        each(("droppedUnknown", counts.unknown));
        each(("droppedUnauthorized", counts.unauthorized));
        each(("droppedNoSession", counts.no_session));
    }

    /// Whether it has a tunnel to an address.
    #[inline]
    pub fn serves(&self, remote: SocketAddr) -> bool {
        self.tunnels.serves(remote)
    }

    /// What is known of a tunnel; `None` when there is no such tunnel.
    pub fn status(&self, id: TunnelId) -> Option<TunnelStatus> {
        self.tunnels.by_id(id).map(|slot| self.tunnels.look(slot).status())
    }

    /// Tunnels, confirmed or not.
    pub fn tunnel_count(&self) -> usize {
        self.tunnels.len()
    }

    /// Initiations that wait for an answer of the application.
    pub fn authorizations_waiting(&self) -> usize {
        self.handshakes.waiting_answer()
    }

    /// Takes a datagram from the network. Returns the packet that was in it, if any, with the number
    /// of its tunnel. An initiation is queued: see [`handshake`](Self::handshake).
    #[inline]
    pub fn handle_incoming(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: BytesMut,
        out: &mut impl Transmit,
    ) -> Option<(TunnelId, Packet)> {
        match wire::kind(&datagram) {
            Kind::Data => {
                let clock = self.authorizations.clock(now);
                self.handle_data(clock, from, local, datagram, out)
            }
            Kind::Initiation => {
                self.handle_initiation(now, from, local, datagram, out);
                None
            }
            Kind::Reply => {
                self.handle_reply(now, from, datagram, out);
                None
            }
            Kind::Malformed => {
                self.counts.malformed += 1;
                None
            }
        }
    }

    fn handle_data(
        &mut self,
        clock: Clock,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: BytesMut,
        out: &mut impl Transmit,
    ) -> Option<(TunnelId, Packet)> {
        let Some(slot) = self.tunnels.of_data(from, wire::receiver_index(&datagram)) else {
            self.counts.unknown += 1;
            return None;
        };
        let tunnel = self.tunnels.get(slot);
        if !tunnel.authorization.allows(clock) {
            self.counts.unauthorized += 1;
            return None;
        }
        let result = match wire::parse(datagram) {
            Some(parsed) => tunnel.tunn.handle_incoming_packet(parsed),
            None => TunnResult::Err(WireGuardError::InvalidPacket),
        };
        let TunnResult::WriteToTunnel(packet) = result else {
            self.count_error(result);
            return None;
        };
        if !tunnel.confirmed {
            self.confirm(slot, local);
        }
        let tunnel = self.tunnels.get(slot);
        if tunnel.has_pending() {
            tunnel.send_pending(out);
        }
        if packet.is_empty() {
            self.counts.keepalives += 1;
            return None;
        }
        tunnel.traffic.packets_received += 1;
        tunnel.traffic.bytes_received += packet.len() as u64;
        Some((tunnel.id, packet))
    }

    /// The initiator has the response: the tunnel is open, and holds its address.
    #[cold]
    fn confirm(&mut self, slot: usize, local: Option<IpAddr>) {
        if let Some(replaced) = self.tunnels.promote(slot) {
            self.remove(replaced, CloseReason::Replaced);
        }
        let tunnel = self.tunnels.get(slot);
        tunnel.confirmed = true;
        tunnel.local = local;
        self.events.push_back(ServerEvent::Opened {
            tunnel: tunnel.id,
            identity: tunnel.authorization.identity(),
            remote: tunnel.remote,
        });
    }

    fn count_error(&mut self, result: TunnResult) {
        match result {
            TunnResult::Err(WireGuardError::DuplicateCounter | WireGuardError::InvalidCounter) => {
                self.counts.replayed += 1;
            }
            _ => self.counts.invalid += 1,
        }
    }

    /// A response or cookie: we initiated, because a session ended while packets were to be sent.
    fn handle_reply(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: BytesMut,
        out: &mut impl Transmit,
    ) {
        let Some(slot) = self.tunnels.holder(from) else {
            self.counts.unknown += 1;
            return;
        };
        let tunnel = self.tunnels.get(slot);
        if !tunnel.authorization.allows(self.authorizations.clock(now)) {
            self.counts.unauthorized += 1;
            return;
        }
        match self.limiter.verify_packet(from, Packet::from_bytes(datagram)) {
            Ok(parsed) => match tunnel.tunn.handle_incoming_packet(parsed) {
                TunnResult::WriteToNetwork(reply) => {
                    self.counts.handshakes += 1;
                    out.transmit(from, tunnel.local, &wire::bytes(reply));
                    tunnel.send_pending(out);
                }
                TunnResult::Done => {}
                result => self.count_error(result),
            },
            Err(_) => self.counts.invalid += 1,
        }
    }

    /// Where a tunnel leads; `None` when there is no such tunnel.
    #[inline]
    pub fn route(&self, id: TunnelId) -> Option<Route> {
        self.tunnels.by_id(id).map(|slot| self.tunnels.look(slot).route())
    }

    /// Seals a packet for a tunnel. `None` when it does not pass: the tunnel is gone or may not pass,
    /// which is counted, or it has no session: then the packet waits for one, within bounds.
    #[inline]
    pub fn handle_outgoing(
        &mut self,
        clock: Clock,
        id: TunnelId,
        packet: BytesMut,
        out: &mut impl Transmit,
    ) -> Option<Packet<WgData>> {
        let Some(slot) = self.tunnels.by_id(id) else {
            self.counts.unknown += 1;
            return None;
        };
        let tunnel = self.tunnels.get(slot);
        if !tunnel.authorization.allows(clock) {
            self.counts.unauthorized += 1;
            return None;
        }
        tunnel.seal(packet).map_or_else(
            |packet| {
                if !tunnel.wait_for_session(&packet, out) {
                    self.counts.no_session += 1;
                }
                None
            },
            Some,
        )
    }

    /// Does what is due, and removes tunnels that are over. To be called every 250 ms; of very many
    /// tunnels each has its turn once a second.
    pub fn update_timers(&mut self, now: Instant, out: &mut impl Transmit) {
        self.limiter.try_reset_count();
        let clock = self.authorizations.clock(now);
        let mut over = Vec::new();
        let turns = if self.tunnels.len() > MANY_TUNNELS { TURNS } else { 1 };
        self.turn = (self.turn + 1) % turns;
        for (slot, tunnel) in self.tunnels.iter_mut() {
            if slot % turns != self.turn {
                continue;
            }
            if !tunnel.authorization.allows(clock) {
                let revoked = tunnel.authorization.is_revoked();
                over.push((
                    slot,
                    if revoked { CloseReason::Revoked } else { CloseReason::Expired },
                ));
                continue;
            }
            if !tunnel.confirmed
                && now.saturating_duration_since(tunnel.made_at) >= CONFIRMATION_TIMEOUT
            {
                over.push((slot, CloseReason::Expired));
                continue;
            }
            if tunnel.confirmed && self.authorizations.renew(&tunnel.authorization, now) {
                let identity = tunnel.authorization.identity();
                let remote = tunnel.remote;
                self.events.push_back(ServerEvent::Authorize { identity, remote });
            }
            match tunnel.tunn.update_timers() {
                Ok(Some(due)) => out.transmit(tunnel.remote, tunnel.local, &wire::bytes(due)),
                Ok(None) => {}
                Err(_) => over.push((slot, CloseReason::Expired)),
            }
        }
        for (slot, reason) in over {
            self.remove(slot, reason);
        }
        let timeout = self.config.authorization_timeout;
        self.counts.refused += self.handshakes.update_timers(&self.authorizations, timeout, now);
    }

    fn remove(&mut self, slot: usize, reason: CloseReason) {
        let tunnel = self.tunnels.remove(slot);
        self.counts.no_session += tunnel.pending_packets();
        if tunnel.confirmed {
            let traffic = tunnel.traffic;
            self.events.push_back(ServerEvent::Closed { tunnel: tunnel.id, traffic, reason });
        }
    }

    /// Closes one tunnel. Nothing is sent: the protocol has no farewell.
    pub fn close_tunnel(&mut self, id: TunnelId, reason: CloseReason) {
        if let Some(slot) = self.tunnels.by_id(id) {
            self.remove(slot, reason);
        }
    }

    /// Closes the tunnels of an identity.
    pub fn close_identity(&mut self, identity: Identity, reason: CloseReason) {
        self.close_where(reason, |tunnel| tunnel.authorization.identity() == identity);
    }

    /// Closes all tunnels.
    pub fn close_all(&mut self) {
        self.handshakes.clear();
        self.close_where(CloseReason::ServerClosed, |_| true);
    }

    fn close_where(&mut self, reason: CloseReason, which: impl Fn(&ServerTunnel) -> bool) {
        for slot in self.tunnels.slots(which) {
            self.remove(slot, reason);
        }
    }
}
