//! Who gets a tunnel: from an initiation to a response, in the order that the head of
//! [`super`] gives.
//!
//! A handshake costs as much as 300 packets, so that initiations wait their turn in a bounded
//! queue, and whoever runs the server decides how often it is one's turn
//! ([`SnapTunServer::handshake`]). When the queue fills, an initiation is let in only with a proof
//! that its sender receives at the address it names (MAC2, which a cookie enables), and only so many
//! of one network.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use ana_gotatun::{
    noise::{Tunn, TunnResult, rate_limiter::RateLimiter},
    packet::{Packet, WgKind},
};
use bytes::BytesMut;

use super::{CloseReason, ServerEvent, SnapTunServer, tunnels::NewTunnel};
use crate::{
    Identity, PresharedKey, PrivateKey, Transmit,
    authorization::{Authorization, AuthorizationTable, Standing},
    initiation::InitiationOpener,
    wire::{self, INITIATION_LEN},
};

/// Initiations that wait their turn at most: 0.3 s of work, and 150 KiB.
const QUEUE_LENGTH: usize = 1024;

/// When this many wait, the server is under load. A cookie costs an honest client 5 s, the time after
/// which it tries again: so that a few hundred who come at once are served without.
const LOADED_LENGTH: usize = 256;

/// For how long it stays so after the last sign of it.
const LOAD_MEMORY: Duration = Duration::from_secs(1);

/// Initiations with a proof of address that are let in under load, a second, for each network: a
/// share of the 3,000 or so that a core can answer, so that one network can't use it up, while a
/// thousand clients behind one address all get in within seconds.
const NETWORK_LIMIT: u32 = 500;

/// Networks that are counted at once. When there are more, further ones have to wait for the next
/// second.
const MAX_NETWORKS: usize = 4096;

struct Queued {
    from: SocketAddr,
    local: Option<IpAddr>,
    initiation: BytesMut,
}

/// An opened initiation that waits for the application's answer.
struct Waiting {
    identity: Identity,
    queued: Queued,
}

pub(super) struct Handshakes {
    opener: InitiationOpener,
    /// Always limits: it answers with a cookie whatever has no valid MAC2.
    cookies: RateLimiter,
    queue: VecDeque<Queued>,
    waiting: Vec<Waiting>,
    loaded_until: Option<Instant>,
    networks: HashMap<IpAddr, u32>,
    networks_since: Instant,
}

impl Handshakes {
    pub(super) fn new(private_key: &PrivateKey, now: Instant) -> Self {
        Self {
            opener: InitiationOpener::new(private_key.clone()),
            cookies: RateLimiter::new(&private_key.identity().public_key(), 0),
            queue: VecDeque::new(),
            waiting: Vec::new(),
            loaded_until: None,
            networks: HashMap::new(),
            networks_since: now,
        }
    }

    fn is_loaded(&self, now: Instant) -> bool {
        self.loaded_until.is_some_and(|until| now < until)
    }

    /// Whether another initiation of this address's network may be let in this second.
    fn admits_network(&mut self, from: IpAddr, now: Instant) -> bool {
        if now.saturating_duration_since(self.networks_since) >= Duration::from_secs(1) {
            self.networks_since = now;
            self.networks.clear();
        }
        let network = network(from);
        if self.networks.len() >= MAX_NETWORKS && !self.networks.contains_key(&network) {
            return false;
        }
        let count = self.networks.entry(network).or_default();
        *count += 1;
        *count <= NETWORK_LIMIT
    }

    /// Forgets what waited. The answers come to nothing.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.waiting.clear();
    }

    pub(super) fn waiting_turn(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn waiting_answer(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn update_timers(
        &mut self,
        table: &AuthorizationTable,
        timeout: Duration,
        now: Instant,
    ) -> u64 {
        self.cookies.try_reset_count();
        if self.waiting.is_empty() {
            return 0;
        }
        // Whoever timed out, here or in another shard, is refused by now.
        if let Some(since) = now.checked_sub(timeout) {
            table.time_out(since, now);
        }
        let before = self.waiting.len();
        self.waiting.retain(|one| !matches!(table.standing(one.identity, now), Standing::Refused));
        (before - self.waiting.len()) as u64
    }
}

/// What an address is counted with: whoever has one of a /24 or /64 has them all.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => (u32::from(v4) & 0xffff_ff00).to_be_bytes().into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

impl SnapTunServer {
    /// Checks what costs little, and queues an initiation.
    pub(super) fn handle_initiation(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: BytesMut,
        out: &mut impl Transmit,
    ) {
        let valid = <&[u8; INITIATION_LEN]>::try_from(&datagram[..])
            .is_ok_and(|whole| self.handshakes.opener.mac1_is_valid(whole));
        if from.port() == 0 || !valid {
            self.counts.invalid_handshakes += 1;
            return;
        }
        // A buffer of its own: a slice would hold the 64 KiB that it was received into.
        let mut initiation = BytesMut::from(&datagram[..]);
        let pending = self.config.max_pending_authorizations;
        let loaded = self.handshakes.is_loaded(now) || self.handshakes.waiting.len() > pending / 2;
        if loaded {
            let Some(proved) = self.demand_proof(from, local, initiation, out) else { return };
            initiation = proved;
            if !self.handshakes.admits_network(from.ip(), now) {
                self.counts.rate_limited += 1;
                return;
            }
        }
        if self.handshakes.queue.len() >= LOADED_LENGTH {
            self.handshakes.loaded_until = Some(now + LOAD_MEMORY);
        }
        if self.handshakes.queue.len() >= QUEUE_LENGTH {
            self.counts.rate_limited += 1;
            return;
        }
        self.handshakes.queue.push_back(Queued { from, local, initiation });
    }

    /// Gives an initiation back if its MAC2 proves that the sender receives at its address, and
    /// answers it with a cookie otherwise.
    fn demand_proof(
        &mut self,
        from: SocketAddr,
        local: Option<IpAddr>,
        initiation: BytesMut,
        out: &mut impl Transmit,
    ) -> Option<BytesMut> {
        match self.handshakes.cookies.verify_packet(from, Packet::from_bytes(initiation)) {
            Ok(WgKind::HandshakeInit(proved)) => Some(wire::bytes(proved.into())),
            Err(TunnResult::WriteToNetwork(cookie)) => {
                self.counts.cookies += 1;
                out.transmit(from, local, &wire::bytes(cookie));
                None
            }
            _ => {
                self.counts.invalid_handshakes += 1;
                None
            }
        }
    }

    /// Initiations that wait for [`handshake`](Self::handshake).
    pub fn handshakes_waiting(&self) -> usize {
        self.handshakes.waiting_turn()
    }

    /// Goes on with the initiation whose turn it is. It takes some 300 us of a core, or 100 when the
    /// initiation comes to nothing.
    pub fn handshake(&mut self, now: Instant, out: &mut impl Transmit) {
        let Some(queued) = self.handshakes.queue.pop_front() else { return };
        let opened = <&[u8; INITIATION_LEN]>::try_from(&queued.initiation[..])
            .ok()
            .and_then(|whole| self.handshakes.opener.open(whole));
        let Some(opened) = opened else {
            self.counts.invalid_handshakes += 1;
            return;
        };
        let (identity, remote) = (opened.identity, queued.from);
        match self.authorizations.admit(identity, opened.timestamp, now) {
            Standing::Granted(authorization) => self.accept(now, authorization, queued, out),
            Standing::Replayed => self.counts.replayed_handshakes += 1,
            Standing::AtCapacity => self.counts.at_capacity += 1,
            Standing::Refused => {
                self.counts.refused += 1;
                self.events.push_back(ServerEvent::Unauthorized { identity, remote });
            }
            standing @ (Standing::Ask | Standing::Asked) => {
                if matches!(standing, Standing::Ask) {
                    self.events.push_back(ServerEvent::Authorize { identity, remote });
                }
                let waiting = &mut self.handshakes.waiting;
                // A client that tries again has given its first initiation up.
                waiting.retain(|one| one.queued.from != remote || one.identity != identity);
                if waiting.len() >= self.config.max_pending_authorizations {
                    self.counts.at_capacity += 1;
                } else {
                    waiting.push(Waiting { identity, queued });
                }
            }
        }
    }

    /// Goes on with the initiations of an identity that waited for an answer, which is in the table
    /// now.
    pub fn resolve(&mut self, identity: Identity, now: Instant, out: &mut impl Transmit) {
        let (answered, rest) = std::mem::take(&mut self.handshakes.waiting)
            .into_iter()
            .partition(|one| one.identity == identity);
        self.handshakes.waiting = rest;
        let answered: Vec<Waiting> = answered;
        for one in answered {
            match self.authorizations.standing(identity, now) {
                Standing::Granted(authorization) => {
                    self.accept(now, authorization, one.queued, out);
                }
                Standing::Asked => self.handshakes.waiting.push(one),
                _ => self.counts.refused += 1,
            }
        }
    }

    /// An authorized initiation: makes or finds its tunnel, and answers.
    fn accept(
        &mut self,
        now: Instant,
        authorization: Arc<Authorization>,
        queued: Queued,
        out: &mut impl Transmit,
    ) {
        let Queued { from, local, mut initiation } = queued;
        let holder = self.tunnels.holder(from);
        let same = holder.is_some_and(|slot| {
            self.tunnels.look(slot).authorization.identity() == authorization.identity()
        });
        let slot = match holder {
            Some(slot) if same => {
                // The authorization may be a new one, after a revocation.
                self.tunnels.get(slot).authorization = authorization.clone();
                slot
            }
            _ => {
                if holder.is_some() {
                    // Somebody else's address: only who receives there may have it.
                    let Some(proved) = self.demand_proof(from, local, initiation, out) else {
                        return;
                    };
                    initiation = proved;
                }
                let Some(place) = self.authorizations.place(
                    &authorization,
                    (self.config.max_tunnels, self.config.max_tunnels_per_identity),
                    from,
                    self.config.shard,
                ) else {
                    self.counts.at_capacity += 1;
                    return;
                };
                let tunn = self.new_tunn(&authorization, from);
                let authorization = authorization.clone();
                let new = NewTunnel { remote: from, local, authorization, tunn, place, now };
                if holder.is_none() {
                    self.tunnels.insert(new)
                } else {
                    let (slot, before) = self.tunnels.challenge(new);
                    if let Some(before) = before {
                        self.remove(before, CloseReason::Replaced);
                    }
                    slot
                }
            }
        };
        self.respond(slot, local, &authorization, initiation, out);
    }

    fn new_tunn(&self, authorization: &Authorization, remote: SocketAddr) -> Tunn {
        Tunn::new(
            self.config.private_key.secret().clone(),
            authorization.identity().public_key(),
            None,
            None,
            self.indices.clone(),
            self.limiter.clone(),
            remote,
        )
    }

    fn respond(
        &mut self,
        slot: usize,
        local: Option<IpAddr>,
        authorization: &Authorization,
        initiation: BytesMut,
        out: &mut impl Transmit,
    ) {
        let tunnel = self.tunnels.get(slot);
        let key = authorization.preshared_key();
        tunnel.tunn.set_preshared_key(key.as_ref().map(PresharedKey::bytes));
        let result = match wire::parse(initiation) {
            Some(parsed) => tunnel.tunn.handle_incoming_packet(parsed),
            None => TunnResult::Done,
        };
        if let TunnResult::WriteToNetwork(response) = result {
            self.counts.handshakes += 1;
            tunnel.local = local;
            let response = wire::bytes(response);
            out.transmit(tunnel.remote, local, &response);
            if let Some(index) = wire::sender_index(&response) {
                self.tunnels.set_index(slot, index);
            }
        } else {
            let confirmed = tunnel.confirmed;
            self.counts.invalid_handshakes += 1;
            if !confirmed {
                self.remove(slot, CloseReason::Closed);
            }
        }
    }
}
