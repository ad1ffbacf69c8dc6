//! The client's side of a tunnel: a state machine without I/O.
//!
//! Datagrams and instants go in; packets, datagrams and events come out. It must never wait, and
//! never end a tunnel because of anything that a network can send.

use std::{
    collections::VecDeque,
    net::SocketAddr,
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

use crate::{Error, Identity, PresharedKey, PrivateKey, Transmit, wire};

/// Handshake messages a second that are accepted from the server before cookies are asked for. A
/// server initiates once in two minutes; the rest is retries.
const HANDSHAKE_LIMIT: u64 = 100;

/// How a client reaches its server.
#[derive(Debug, Clone)]
pub struct TunnelConfig {
    /// Who we are.
    pub private_key: PrivateKey,
    /// Who the server is.
    pub server_identity: Identity,
    /// Where the server is.
    pub server: SocketAddr,
    /// A key that both sides know besides.
    pub preshared_key: Option<PresharedKey>,
    /// How long the first handshake may take. WireGuard's own window of 90 s bounds it too.
    pub connect_timeout: Duration,
    /// Interval of keepalives in seconds, 0 for none. It keeps NAT bindings open.
    pub keepalive: u16,
}

/// What happens to a tunnel.
#[derive(Debug)]
pub enum TunnelEvent {
    /// The first handshake is done.
    Connected {
        /// Our address as the server sees it.
        local: SocketAddr,
    },
    /// The session expired without an answer; a new handshake starts after `delay`.
    Reconnecting {
        /// 1 for the first attempt after a loss.
        attempt: u32,
        /// How long it waits before that attempt.
        delay: Duration,
    },
    /// A later handshake is done.
    Reconnected,
    /// The server assigned another address than before; [`TunnelEvent::Closed`] follows.
    AddressChanged {
        /// The address assigned now.
        local: SocketAddr,
    },
    /// The last event.
    Closed(Option<Error>),
}

/// Backoff between attempts to reach a server that was lost: 5 s first, growing by 1.3 to at most
/// 180 s, as the reference client does.
const RECONNECT_FIRST: Duration = Duration::from_secs(5);
const RECONNECT_FACTOR: f64 = 1.3;
const RECONNECT_MAX: Duration = Duration::from_secs(180);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting {
        deadline: Instant,
    },
    Established,
    /// Lost; attempt number `attempt` is under way, or starts at `at`.
    Reconnecting {
        attempt: u32,
        at: Option<Instant>,
    },
    Closed,
}

/// Why datagrams were dropped, and how many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TunnelCounts {
    /// Handshakes completed.
    pub handshakes: u64,
    /// Received keepalives.
    pub keepalives: u64,
    /// From an address that is not the server's.
    pub foreign: u64,
    /// Of no known type or length.
    pub malformed: u64,
    /// Received before, or too old to tell.
    pub replayed: u64,
    /// Not authentic, or for a session that there is not.
    pub invalid: u64,
}

/// The client's side of a tunnel.
pub struct Tunnel {
    config: TunnelConfig,
    limiter: Arc<RateLimiter>,
    tunn: Tunn,
    phase: Phase,
    local: Option<SocketAddr>,
    events: VecDeque<TunnelEvent>,
    counts: TunnelCounts,
}

impl Tunnel {
    /// A tunnel that has sent nothing yet; see [`start`](Self::start).
    pub fn new(config: TunnelConfig, now: Instant) -> Self {
        let limiter = Arc::new(RateLimiter::new(
            &config.private_key.identity().public_key(),
            HANDSHAKE_LIMIT,
        ));
        let tunn = new_tunn(&config, &limiter);
        let deadline = now + config.connect_timeout;
        Self {
            config,
            limiter,
            tunn,
            phase: Phase::Connecting { deadline },
            local: None,
            events: VecDeque::new(),
            counts: TunnelCounts::default(),
        }
    }

    /// Sends the first handshake initiation.
    pub fn start(&mut self, out: &mut impl Transmit) {
        self.initiate(false, out);
    }

    /// The server's address.
    pub fn server(&self) -> SocketAddr {
        self.config.server
    }

    /// Our address as the server sees it, once a handshake is done.
    pub fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Whether packets can be sealed now. Otherwise they wait until a handshake is done.
    #[inline]
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// What was dropped, and why.
    pub fn counts(&self) -> TunnelCounts {
        self.counts
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<TunnelEvent> {
        self.events.pop_front()
    }

    /// Ends the tunnel. Nothing is sent: the protocol has no farewell.
    pub fn close(&mut self, error: Option<Error>) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.tunn.reset();
            self.events.push_back(TunnelEvent::Closed(error));
        }
    }

    /// Takes a datagram from the network. Returns the packet that was in it, if any.
    #[inline]
    pub fn handle_incoming(
        &mut self,
        from: SocketAddr,
        datagram: BytesMut,
        out: &mut impl Transmit,
    ) -> Option<Packet> {
        if from != self.config.server {
            self.counts.foreign += 1;
            return None;
        }
        if self.phase == Phase::Closed {
            return None;
        }
        let kind = wire::kind(&datagram);
        let parsed = match kind {
            wire::Kind::Malformed => None,
            wire::Kind::Data => wire::parse(datagram),
            // Checks MAC1, and bounds how many handshakes a spoofer can make us compute.
            wire::Kind::Initiation | wire::Kind::Reply => {
                match self.limiter.verify_packet(from, Packet::from_bytes(datagram)) {
                    Ok(parsed) => Some(parsed),
                    Err(TunnResult::WriteToNetwork(cookie)) => {
                        out.transmit(from, None, &wire::bytes(cookie));
                        return None;
                    }
                    Err(_) => {
                        self.counts.invalid += 1;
                        return None;
                    }
                }
            }
        };
        let Some(parsed) = parsed else {
            self.counts.malformed += 1;
            return None;
        };
        match self.tunn.handle_incoming_packet(parsed) {
            TunnResult::WriteToTunnel(packet) if packet.is_empty() => self.counts.keepalives += 1,
            TunnResult::WriteToTunnel(packet) => return Some(packet),
            TunnResult::WriteToNetwork(reply) => {
                out.transmit(from, None, &wire::bytes(reply));
                self.handshake_done();
            }
            TunnResult::Done => {}
            TunnResult::Err(WireGuardError::DuplicateCounter | WireGuardError::InvalidCounter) => {
                self.counts.replayed += 1;
            }
            TunnResult::Err(_) => self.counts.invalid += 1,
        }
        None
    }

    /// Seals a packet for the server.
    ///
    /// # Errors
    /// Gives the packet back when there is no session to seal it with; a handshake is under way
    /// then, and the packet has to wait until [`is_established`](Self::is_established).
    #[inline]
    pub fn seal(
        &mut self,
        packet: BytesMut,
        now: Instant,
        out: &mut impl Transmit,
    ) -> Result<Packet<WgData>, BytesMut> {
        self.tunn.encapsulate_with_session(Packet::from_bytes(packet)).map_err(|mut packet| {
            // A session ends 180 s after its handshake, or after 2^64 packets, whatever the phase.
            if self.phase == Phase::Established {
                self.reconnect(now, out);
            }
            packet.buf_mut().split()
        })
    }

    /// Does what is due. To be called every 250 ms.
    pub fn update_timers(&mut self, now: Instant, out: &mut impl Transmit) {
        match self.phase {
            Phase::Closed => return,
            Phase::Connecting { deadline } if now >= deadline => return self.connect_timed_out(),
            Phase::Reconnecting { attempt, at: Some(at) } => {
                if now >= at {
                    self.phase = Phase::Reconnecting { attempt, at: None };
                    self.tunn = new_tunn(&self.config, &self.limiter);
                    self.initiate(false, out);
                }
                return;
            }
            _ => {}
        }
        match self.tunn.update_timers() {
            Ok(Some(datagram)) => {
                out.transmit(self.config.server, None, &wire::bytes(datagram));
            }
            Ok(None) => {}
            // The one error that it has: the attempt window of 90 s ended without an answer, or
            // nothing was heard for three session lifetimes.
            Err(_) => match self.phase {
                Phase::Connecting { .. } => self.connect_timed_out(),
                _ => self.reconnect(now, out),
            },
        }
    }

    /// Sends another initiation at once. `Tunn` does so by itself 5 s after one that was not answered.
    pub fn initiate_again(&mut self, out: &mut impl Transmit) {
        self.initiate(true, out);
    }

    /// Sends an initiation; `again` also while another one waits for its response.
    fn initiate(&mut self, again: bool, out: &mut impl Transmit) {
        if let Some(initiation) = self.tunn.format_handshake_initiation(again) {
            out.transmit(self.config.server, None, &wire::bytes(initiation.into()));
        }
    }

    fn connect_timed_out(&mut self) {
        self.close(Some(Error::ConnectTimeout {
            server: self.config.server,
            timeout: self.config.connect_timeout,
        }));
    }

    /// A reply was sent: we completed a handshake as its initiator, or answered one.
    fn handshake_done(&mut self) {
        self.counts.handshakes += 1;
        // Keepalives that `Tunn` queued while it had no session; nobody waits for them.
        self.tunn.get_queued_packets(&mut MtuWatcher::new(0)).for_each(drop);
        // Only a response assigns an address; when the server initiated, the old one stands.
        if let Some(local) = self.tunn.get_initiator_remote_sockaddr().map(wire::canonical) {
            match self.local.replace(local) {
                Some(old) if old != local => {
                    self.events.push_back(TunnelEvent::AddressChanged { local });
                    return self.close(Some(Error::AddressChanged { old, new: local }));
                }
                _ => {}
            }
        }
        let Some(local) = self.local else { return };
        match std::mem::replace(&mut self.phase, Phase::Established) {
            Phase::Connecting { .. } => self.events.push_back(TunnelEvent::Connected { local }),
            Phase::Reconnecting { .. } => self.events.push_back(TunnelEvent::Reconnected),
            Phase::Established | Phase::Closed => {}
        }
    }

    fn reconnect(&mut self, now: Instant, out: &mut impl Transmit) {
        let attempt = match self.phase {
            Phase::Reconnecting { attempt, .. } => attempt + 1,
            _ => 1,
        };
        // The first attempt is made at once: most losses are a server that was restarted.
        let delay = match attempt {
            1 => Duration::ZERO,
            _ => RECONNECT_FIRST
                .mul_f64(RECONNECT_FACTOR.powi((attempt as i32 - 2).min(32)))
                .min(RECONNECT_MAX),
        };
        self.events.push_back(TunnelEvent::Reconnecting { attempt, delay });
        self.phase = Phase::Reconnecting { attempt, at: Some(now + delay) };
        if delay.is_zero() {
            self.update_timers(now, out);
        }
    }
}

fn new_tunn(config: &TunnelConfig, limiter: &Arc<RateLimiter>) -> Tunn {
    Tunn::new(
        config.private_key.secret().clone(),
        config.server_identity.public_key(),
        config.preshared_key.as_ref().map(PresharedKey::bytes),
        (config.keepalive > 0).then_some(config.keepalive),
        IndexTable::from_os_rng(),
        limiter.clone(),
        config.server,
    )
}
