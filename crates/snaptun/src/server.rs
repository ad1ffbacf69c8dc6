//! The server's side: one tunnel for each remote address, a state machine without I/O.
//!
//! Nothing passes, in or out, that is not authorized at that moment, and what is not authorized
//! touches no timer. Order of checks on an initiation: length and type, source port, MAC1, identity
//! and timestamp opened, replay, authorization. Only then a tunnel is made.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use ana_gotatun::{
    noise::{
        Tunn, TunnResult, errors::WireGuardError, index_table::IndexTable,
        rate_limiter::RateLimiter,
    },
    packet::{Packet, WgData},
    tun::MtuWatcher,
};
use bytes::BytesMut;
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::{
    Identity, PresharedKey, PrivateKey, Transmit,
    authorization::{Authorization, AuthorizationTable, Clock, Standing},
    initiation::InitiationOpener,
    wire::{self, INITIATION_LEN, Kind},
};

/// A tunnel whose initiator never confirmed the handshake is removed after this: the response was
/// lost, or nobody was there. The initiator tries again after 5 s anyway.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(15);

/// Packets kept for a tunnel that has no session, until a handshake is done. 64 of the largest
/// common size; what comes after them is dropped.
const PENDING_PACKETS: usize = 64;
/// The same in bytes.
const PENDING_BYTES: usize = 128 * 1024;

/// Bits of a tunnel's number that tell its shard.
pub(crate) const SHARD_BITS: u32 = 8;

/// The number of a tunnel, not used again for at least 16 million tunnels of its shard.
pub type TunnelId = u32;

/// Bounds and identity of a [`SnapTunServer`].
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Who we are.
    pub private_key: PrivateKey,
    /// Tunnels at most; initiations beyond are refused.
    pub max_tunnels: usize,
    /// Initiations that wait for an answer of the application, at most.
    pub max_pending_authorizations: usize,
    /// How long an answer may take.
    pub authorization_timeout: Duration,
    /// Which shard this is; part of its tunnels' numbers.
    pub shard: u8,
}

/// What happens to a server.
#[derive(Debug, Clone)]
pub enum ServerEvent {
    /// An identity proved itself that the table doesn't know: grant or refuse it there, and call
    /// [`SnapTunServer::resolve`].
    Authorize {
        /// Who asks.
        identity: Identity,
        /// From where.
        remote: SocketAddr,
    },
    /// A tunnel was confirmed by its first valid data packet.
    Opened {
        /// Its number.
        tunnel: TunnelId,
        /// Whose it is.
        identity: Identity,
        /// Where it leads.
        remote: SocketAddr,
    },
    /// A tunnel that was opened is gone.
    Closed {
        /// Its number.
        tunnel: TunnelId,
        /// Why.
        reason: CloseReason,
    },
}

/// Why a tunnel of a server is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Nothing was heard for three session lifetimes, or its authorization ended.
    Expired,
    /// The identity's authorization was revoked.
    Revoked,
    /// Another identity proved that the address is its own now.
    Replaced,
    /// The application closed it.
    Closed,
    /// The server closed.
    ServerClosed,
}

impl CloseReason {
    /// As applications see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
            Self::Closed => "closed",
            Self::ServerClosed => "server-closed",
        }
    }
}

/// Why things were dropped, and what was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ServerCounts {
    /// Handshakes answered.
    pub handshakes: u64,
    /// Initiations refused: not authorized.
    pub refused: u64,
    /// Initiations refused: too many tunnels, or too many waiting for an answer.
    pub at_capacity: u64,
    /// Initiations refused: seen before.
    pub replayed_handshakes: u64,
    /// Initiations refused: another identity holds the address.
    pub occupied: u64,
    /// Received keepalives.
    pub keepalives: u64,
    /// Datagrams of no known type or length.
    pub malformed: u64,
    /// Datagrams that prove nothing: a wrong MAC, key or session.
    pub invalid: u64,
    /// Data packets received before, or too old to tell.
    pub replayed: u64,
    /// Datagrams from an address without a tunnel.
    pub unknown: u64,
    /// Packets either way whose identity may not pass.
    pub unauthorized: u64,
    /// Packets that waited for a session and were given up.
    pub no_session: u64,
}

struct ServerTunnel {
    id: TunnelId,
    remote: SocketAddr,
    /// The local address that the remote writes to, and that it expects answers from.
    local: Option<IpAddr>,
    authorization: Arc<Authorization>,
    tunn: Tunn,
    made_at: Instant,
    confirmed: bool,
    pending: VecDeque<Vec<u8>>,
    pending_bytes: usize,
}

/// An opened initiation that waits for the application's answer.
struct Waiting {
    identity: Identity,
    remote: SocketAddr,
    local: Option<IpAddr>,
    initiation: BytesMut,
}

/// Where an outgoing packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The remote address.
    pub target: SocketAddr,
    /// The local address that it expects packets from.
    pub source: Option<IpAddr>,
}

/// The server's side of many tunnels.
pub struct SnapTunServer {
    config: ServerConfig,
    opener: InitiationOpener,
    authorizations: Arc<AuthorizationTable>,
    limiter: Arc<RateLimiter>,
    indices: IndexTable,
    tunnels: Slab<ServerTunnel>,
    by_remote: HashMap<SocketAddr, usize>,
    by_id: FxHashMap<TunnelId, usize>,
    /// Datagrams come in runs from one address: the one before saves a look-up.
    last: Option<(SocketAddr, usize)>,
    next_sequence: u32,
    waiting: Vec<Waiting>,
    events: VecDeque<ServerEvent>,
    counts: ServerCounts,
}

impl SnapTunServer {
    /// A server without tunnels.
    pub fn new(config: ServerConfig, authorizations: Arc<AuthorizationTable>) -> Self {
        // MAC1 is checked before `Tunn` sees a handshake; its own limiter must not limit besides.
        let limiter = RateLimiter::new(&config.private_key.identity().public_key(), u64::MAX);
        Self {
            opener: InitiationOpener::new(config.private_key.clone()),
            config,
            authorizations,
            limiter: Arc::new(limiter),
            indices: IndexTable::from_os_rng(),
            tunnels: Slab::new(),
            by_remote: HashMap::new(),
            by_id: FxHashMap::default(),
            last: None,
            next_sequence: 0,
            waiting: Vec::new(),
            events: VecDeque::new(),
            counts: ServerCounts::default(),
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

    /// Confirmed and unconfirmed tunnels.
    pub fn tunnel_count(&self) -> usize {
        self.tunnels.len()
    }

    /// Takes a datagram from the network. Returns the packet that was in it, if any, with the number
    /// of its tunnel.
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

    fn find(&mut self, from: SocketAddr) -> Option<usize> {
        if let Some((remote, slot)) = self.last
            && remote == from
        {
            return Some(slot);
        }
        let slot = *self.by_remote.get(&from)?;
        self.last = Some((from, slot));
        Some(slot)
    }

    fn handle_data(
        &mut self,
        clock: Clock,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: BytesMut,
        out: &mut impl Transmit,
    ) -> Option<(TunnelId, Packet)> {
        let Some(slot) = self.find(from) else {
            self.counts.unknown += 1;
            return None;
        };
        let tunnel = &mut self.tunnels[slot];
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
            tunnel.confirmed = true;
            tunnel.local = local;
            self.events.push_back(ServerEvent::Opened {
                tunnel: tunnel.id,
                identity: tunnel.authorization.identity(),
                remote: from,
            });
        }
        if !tunnel.pending.is_empty() {
            self.send_pending(slot, out);
        }
        if packet.is_empty() {
            self.counts.keepalives += 1;
            return None;
        }
        Some((self.tunnels[slot].id, packet))
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
        let Some(slot) = self.find(from) else {
            self.counts.unknown += 1;
            return;
        };
        let tunnel = &mut self.tunnels[slot];
        if !tunnel.authorization.allows(self.authorizations.clock(now)) {
            self.counts.unauthorized += 1;
            return;
        }
        match self.limiter.verify_packet(from, Packet::from_bytes(datagram)) {
            Ok(parsed) => match tunnel.tunn.handle_incoming_packet(parsed) {
                TunnResult::WriteToNetwork(reply) => {
                    self.counts.handshakes += 1;
                    out.transmit(from, tunnel.local, &wire::bytes(reply));
                    self.send_pending(slot, out);
                }
                TunnResult::Done => {}
                result => self.count_error(result),
            },
            Err(_) => self.counts.invalid += 1,
        }
    }

    fn handle_initiation(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: BytesMut,
        out: &mut impl Transmit,
    ) {
        let Ok(initiation) = <&[u8; INITIATION_LEN]>::try_from(&datagram[..]) else {
            self.counts.malformed += 1;
            return;
        };
        if from.port() == 0 || !self.opener.mac1_is_valid(initiation) {
            self.counts.invalid += 1;
            return;
        }
        let Some(opened) = self.opener.open(initiation) else {
            self.counts.invalid += 1;
            return;
        };
        match self.authorizations.admit(opened.identity, opened.timestamp, now) {
            Standing::Granted(authorization) => {
                self.accept(now, from, local, authorization, datagram, out);
            }
            Standing::Replayed => self.counts.replayed_handshakes += 1,
            Standing::Refused => self.counts.refused += 1,
            Standing::AtCapacity => self.counts.at_capacity += 1,
            standing @ (Standing::Ask | Standing::Asked) => {
                let identity = opened.identity;
                if matches!(standing, Standing::Ask) {
                    self.events.push_back(ServerEvent::Authorize { identity, remote: from });
                }
                // A client that tries again has given its first initiation up.
                self.waiting.retain(|one| one.remote != from || one.identity != identity);
                if self.waiting.len() >= self.config.max_pending_authorizations {
                    self.counts.at_capacity += 1;
                    return;
                }
                let initiation = datagram;
                self.waiting.push(Waiting { identity, remote: from, local, initiation });
            }
        }
    }

    /// Goes on with the initiations of an identity that waited for an answer, which is in the table
    /// now.
    pub fn resolve(&mut self, identity: Identity, now: Instant, out: &mut impl Transmit) {
        let waiting = std::mem::take(&mut self.waiting);
        for one in waiting {
            if one.identity != identity {
                self.waiting.push(one);
                continue;
            }
            match self.authorizations.standing(identity, now) {
                Standing::Granted(authorization) => {
                    self.accept(now, one.remote, one.local, authorization, one.initiation, out);
                }
                Standing::Asked => self.waiting.push(one),
                _ => self.counts.refused += 1,
            }
        }
    }

    fn accept(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        authorization: Arc<Authorization>,
        initiation: BytesMut,
        out: &mut impl Transmit,
    ) {
        let Some(parsed) = wire::parse(initiation) else {
            self.counts.malformed += 1;
            return;
        };
        let found = self.find(from);
        if let Some(slot) = found
            && self.tunnels[slot].confirmed
            && self.tunnels[slot].authorization.identity() != authorization.identity()
        {
            self.counts.occupied += 1;
            return;
        }
        let slot = match found {
            // An unconfirmed tunnel of another identity gives way: nobody has used it yet.
            Some(slot)
                if self.tunnels[slot].authorization.identity() == authorization.identity() =>
            {
                // The authorization may be a new one, after a revocation.
                self.tunnels[slot].authorization = authorization.clone();
                slot
            }
            Some(slot) => {
                self.remove(slot, CloseReason::Replaced);
                self.insert(now, from, local, &authorization)
            }
            None if self.tunnels.len() >= self.config.max_tunnels => {
                self.counts.at_capacity += 1;
                return;
            }
            None => self.insert(now, from, local, &authorization),
        };
        let tunnel = &mut self.tunnels[slot];
        tunnel
            .tunn
            .set_preshared_key(authorization.preshared_key().as_ref().map(PresharedKey::bytes));
        match tunnel.tunn.handle_incoming_packet(parsed) {
            TunnResult::WriteToNetwork(response) => {
                self.counts.handshakes += 1;
                tunnel.local = local;
                out.transmit(from, local, &wire::bytes(response));
            }
            result => {
                let confirmed = tunnel.confirmed;
                self.count_error(result);
                if !confirmed {
                    self.remove(slot, CloseReason::Closed);
                }
            }
        }
    }

    fn insert(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: Option<IpAddr>,
        authorization: &Arc<Authorization>,
    ) -> usize {
        let tunn = Tunn::new(
            self.config.private_key.secret().clone(),
            authorization.identity().public_key(),
            None,
            None,
            self.indices.clone(),
            self.limiter.clone(),
            remote,
        );
        let id = self.next_id();
        let slot = self.tunnels.insert(ServerTunnel {
            id,
            remote,
            local,
            authorization: authorization.clone(),
            tunn,
            made_at: now,
            confirmed: false,
            pending: VecDeque::new(),
            pending_bytes: 0,
        });
        self.by_remote.insert(remote, slot);
        self.by_id.insert(id, slot);
        slot
    }

    fn next_id(&mut self) -> TunnelId {
        loop {
            self.next_sequence = (self.next_sequence + 1) & (u32::MAX >> SHARD_BITS);
            let id = self.next_sequence << SHARD_BITS | u32::from(self.config.shard);
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    fn remove(&mut self, slot: usize, reason: CloseReason) {
        let tunnel = self.tunnels.remove(slot);
        self.by_remote.remove(&tunnel.remote);
        self.by_id.remove(&tunnel.id);
        self.last = None;
        self.counts.no_session += tunnel.pending.len() as u64;
        if tunnel.confirmed {
            self.events.push_back(ServerEvent::Closed { tunnel: tunnel.id, reason });
        }
    }

    /// Where a tunnel leads; `None` when there is no such tunnel.
    #[inline]
    pub fn route(&self, id: TunnelId) -> Option<Route> {
        let tunnel = &self.tunnels[*self.by_id.get(&id)?];
        Some(Route { target: tunnel.remote, source: tunnel.local })
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
        let Some(&slot) = self.by_id.get(&id) else {
            self.counts.unknown += 1;
            return None;
        };
        let tunnel = &mut self.tunnels[slot];
        if !tunnel.authorization.allows(clock) {
            self.counts.unauthorized += 1;
            return None;
        }
        match tunnel.tunn.encapsulate_with_session(Packet::from_bytes(packet)) {
            Ok(sealed) => Some(sealed),
            Err(packet) => {
                self.wait_for_session(slot, &packet, out);
                None
            }
        }
    }

    #[cold]
    fn wait_for_session(&mut self, slot: usize, packet: &[u8], out: &mut impl Transmit) {
        let tunnel = &mut self.tunnels[slot];
        if tunnel.pending.len() >= PENDING_PACKETS
            || tunnel.pending_bytes + packet.len() > PENDING_BYTES
        {
            self.counts.no_session += 1;
            return;
        }
        tunnel.pending_bytes += packet.len();
        tunnel.pending.push_back(packet.to_vec());
        if let Some(initiation) = tunnel.tunn.format_handshake_initiation(false) {
            out.transmit(tunnel.remote, tunnel.local, &wire::bytes(initiation.into()));
        }
    }

    fn send_pending(&mut self, slot: usize, out: &mut impl Transmit) {
        let tunnel = &mut self.tunnels[slot];
        // Keepalives that `Tunn` queued while it had no session; nobody waits for them.
        tunnel.tunn.get_queued_packets(&mut MtuWatcher::new(0)).for_each(drop);
        while let Some(packet) = tunnel.pending.pop_front() {
            let length = packet.len();
            match tunnel.tunn.encapsulate_with_session(Packet::copy_from(&packet[..])) {
                Ok(sealed) => {
                    tunnel.pending_bytes -= length;
                    out.transmit(tunnel.remote, tunnel.local, &sealed.into_bytes());
                }
                Err(_) => return tunnel.pending.push_front(packet),
            }
        }
    }

    /// Does what is due for all tunnels, and removes those that are over. To be called every 250 ms.
    pub fn update_timers(&mut self, now: Instant, out: &mut impl Transmit) {
        self.limiter.try_reset_count();
        let clock = self.authorizations.clock(now);
        let mut over = Vec::new();
        for (slot, tunnel) in &mut self.tunnels {
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
            match tunnel.tunn.update_timers() {
                Ok(Some(due)) => out.transmit(tunnel.remote, tunnel.local, &wire::bytes(due)),
                Ok(None) => {}
                Err(_) => over.push((slot, CloseReason::Expired)),
            }
        }
        for (slot, reason) in over {
            self.remove(slot, reason);
        }
        if !self.waiting.is_empty()
            && let Some(since) = now.checked_sub(self.config.authorization_timeout)
        {
            // Whoever timed out, here or in another shard, is refused by now.
            self.authorizations.time_out(since, now);
            let (table, before) = (&self.authorizations, self.waiting.len());
            self.waiting
                .retain(|one| !matches!(table.standing(one.identity, now), Standing::Refused));
            self.counts.refused += (before - self.waiting.len()) as u64;
        }
    }

    /// Closes one tunnel. Nothing is sent: the protocol has no farewell.
    pub fn close_tunnel(&mut self, id: TunnelId, reason: CloseReason) {
        if let Some(&slot) = self.by_id.get(&id) {
            self.remove(slot, reason);
        }
    }

    /// Closes the tunnels of an identity.
    pub fn close_identity(&mut self, identity: Identity, reason: CloseReason) {
        self.close_where(reason, |tunnel| tunnel.authorization.identity() == identity);
    }

    /// Closes all tunnels.
    pub fn close_all(&mut self) {
        self.waiting.clear();
        self.close_where(CloseReason::ServerClosed, |_| true);
    }

    fn close_where(&mut self, reason: CloseReason, which: impl Fn(&ServerTunnel) -> bool) {
        let slots: Vec<usize> =
            self.tunnels.iter().filter(|(_, tunnel)| which(tunnel)).map(|(slot, _)| slot).collect();
        for slot in slots {
            self.remove(slot, reason);
        }
    }
}
