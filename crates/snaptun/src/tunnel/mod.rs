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
        TimerParams, Tunn, TunnResult, errors::WireGuardError, index_table::IndexTable,
        rate_limiter::RateLimiter,
    },
    packet::{Packet, WgData, WgKind},
    tun::MtuWatcher,
};
use bytes::BytesMut;

use crate::{Error, PresharedKey, Transmit, wire};

mod backoff;
mod types;

pub use backoff::ReconnectPolicy;
pub use types::{ReconnectCause, SessionState, TunnelConfig, TunnelCounts, TunnelEvent};

/// Handshake messages a second that are accepted from the server before cookies are asked for. A
/// server initiates once in two minutes; the rest is retries.
const HANDSHAKE_LIMIT: u64 = 100;

/// A server under load is asked again within this time of its cookie, at random: at once would keep
/// it under load, and `Tunn`'s 5 s would keep its clients waiting. Measured with 1,000 clients that
/// connect at once: the slowest took 5.9 s without, for a second's work of the server.
const COOKIE_DELAY: Duration = Duration::from_secs(1);

/// How long a server may take to answer when it is asked for a sign of life: WireGuard's rekey
/// timeout. Less when the liveness timeout is shorter.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Age at which a session is replaced although nothing is sent: WireGuard's for one who only receives.
/// An idle tunnel would otherwise be without a session from 180 s on until its next keepalive.
const RENEW_AFTER: Duration = Duration::from_secs(165);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting {
        deadline: Instant,
    },
    Established {
        /// When the server was asked for a sign of life that it has not given yet.
        probed: Option<Instant>,
    },
    Reconnecting {
        since: Instant,
        attempt: u32,
        /// When the next attempt is due. `None`: it is left to `Tunn`, which tries for 90 s.
        next: Option<Instant>,
    },
    Closed,
}

/// The client's side of a tunnel.
pub struct Tunnel {
    config: TunnelConfig,
    /// For the server's initiations, and for `Tunn`.
    limiter: Arc<RateLimiter>,
    /// For its answers.
    unlimited: RateLimiter,
    tunn: Tunn,
    phase: Phase,
    local: Option<SocketAddr>,
    /// An initiation waits for its answer.
    asked: bool,
    /// When to ask again with the cookie that the server gave.
    retry: Option<Instant>,
    /// Our session indices in the last two initiations: a response to any other is old or forged.
    expected: [Option<u32>; 2],
    /// When the server last sent something authentic.
    heard: Instant,
    events: VecDeque<TunnelEvent>,
    counts: TunnelCounts,
}

impl Tunnel {
    /// A tunnel that has sent nothing yet; see [`start`](Self::start).
    pub fn new(config: TunnelConfig, now: Instant) -> Self {
        let public_key = config.private_key.identity().public_key();
        let limiter = Arc::new(RateLimiter::new(&public_key, HANDSHAKE_LIMIT));
        let tunn = new_tunn(&config, &limiter);
        let deadline = now + config.connect_timeout;
        Self {
            config,
            limiter,
            unlimited: RateLimiter::new(&public_key, u64::MAX),
            tunn,
            phase: Phase::Connecting { deadline },
            local: None,
            asked: false,
            retry: None,
            expected: [None; 2],
            heard: now,
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

    /// What a packet meets now. Unless it is [`SessionState::Ready`], it has to wait.
    #[inline]
    pub fn session(&self) -> SessionState {
        match self.phase {
            Phase::Connecting { .. } => SessionState::Connecting,
            Phase::Established { .. } => SessionState::Ready,
            Phase::Reconnecting { .. } => SessionState::Lost,
            Phase::Closed => SessionState::Closed,
        }
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
        now: Instant,
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
        let mut answered = None;
        let parsed = match kind {
            wire::Kind::Malformed => None,
            wire::Kind::Data => wire::parse(datagram),
            wire::Kind::Initiation | wire::Kind::Reply => {
                answered = wire::answered_index(&datagram);
                // What answers no question of ours is not worth a computation.
                if answered.is_some() && !self.expected.contains(&answered) {
                    self.counts.invalid += 1;
                    return None;
                }
                // Each checks MAC1. Only initiations are limited: others must not be able to use up
                // what the server's answer needs.
                let limiter =
                    if kind == wire::Kind::Reply { &self.unlimited } else { &self.limiter };
                match limiter.verify_packet(from, Packet::from_bytes(datagram)) {
                    Ok(parsed) => Some(parsed),
                    Err(TunnResult::WriteToNetwork(cookie)) => {
                        self.counts.cookies_sent += 1;
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
            TunnResult::WriteToTunnel(packet) => {
                self.heard(now);
                if !packet.is_empty() {
                    return Some(packet);
                }
                self.counts.keepalives += 1;
            }
            TunnResult::WriteToNetwork(reply) => {
                // We completed a handshake as its initiator, or answered one.
                out.transmit(from, None, &wire::bytes(reply));
                self.counts.handshakes += 1;
                self.asked = false;
                // An initiation has one answer.
                self.expected = self.expected.map(|index| index.filter(|_| index != answered));
                // Keepalives that `Tunn` queued while it had no session; nobody waits for them.
                self.tunn.get_queued_packets(&mut MtuWatcher::new(0)).for_each(drop);
                self.look_at_address();
                self.heard(now);
            }
            TunnResult::Done => {
                self.counts.cookies_received += 1;
                self.retry = Some(now + COOKIE_DELAY.mul_f64(rand::random()));
            }
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
    /// then, and the packet has to wait until the [`session`](Self::session) is ready.
    #[inline]
    pub fn seal(
        &mut self,
        packet: BytesMut,
        now: Instant,
        out: &mut impl Transmit,
    ) -> Result<Packet<WgData>, BytesMut> {
        self.tunn.encapsulate_with_session(Packet::from_bytes(packet)).map_err(|mut packet| {
            // A session ends 180 s after its handshake, or after 2^64 packets, whatever the phase.
            if matches!(self.phase, Phase::Established { .. }) {
                self.session_ended(now, out);
            }
            packet.buf_mut().split()
        })
    }

    /// Does what is due. To be called every 250 ms.
    pub fn update_timers(&mut self, now: Instant, out: &mut impl Transmit) {
        match self.phase {
            Phase::Closed => return,
            Phase::Connecting { deadline } if now >= deadline => return self.connect_timed_out(),
            Phase::Reconnecting { since, .. } if self.gives_up(now - since) => {
                return self.close(Some(Error::ReconnectTimeout {
                    server: self.config.server,
                    elapsed: now - since,
                }));
            }
            _ => {}
        }
        if self.retry.take_if(|at| now >= *at).is_some() && self.asked {
            self.initiate(true, out);
        }
        match self.tunn.update_timers() {
            Ok(Some(datagram)) => {
                let initiation = matches!(datagram, WgKind::HandshakeInit(_));
                let bytes = wire::bytes(datagram);
                if initiation {
                    self.initiated(&bytes);
                }
                out.transmit(self.config.server, None, &bytes);
            }
            Ok(None) => {}
            // The one error that it has: the attempt window of 90 s ended without an answer, or
            // nothing was heard for three session lifetimes.
            Err(_) => match self.phase {
                Phase::Connecting { .. } => return self.connect_timed_out(),
                Phase::Established { .. } if self.asked => {
                    return self.lose(now, ReconnectCause::Expired, out);
                }
                // Nobody sent anything for so long. Who does so next asks for a session.
                Phase::Established { .. } => {}
                Phase::Reconnecting { next: None, .. } => {
                    return self.close(Some(Error::SessionExpired));
                }
                // Attempts may be further apart than that: the next one starts `Tunn` anew.
                Phase::Reconnecting { .. } | Phase::Closed => {}
            },
        }
        match self.phase {
            Phase::Established { probed } => self.keep_alive(now, probed, out),
            Phase::Reconnecting { since, attempt, next: Some(next) } if now >= next => {
                self.attempt(now, since, attempt + 1, ReconnectCause::Unanswered, out);
            }
            _ => {}
        }
    }

    /// Sends another initiation at once. `Tunn` does so by itself 5 s after one that was not answered.
    pub fn initiate_again(&mut self, out: &mut impl Transmit) {
        self.initiate(true, out);
    }

    /// Sends an initiation; `again` also while another one waits for its response.
    fn initiate(&mut self, again: bool, out: &mut impl Transmit) {
        if let Some(initiation) = self.tunn.format_handshake_initiation(again) {
            let bytes = wire::bytes(initiation.into());
            self.initiated(&bytes);
            out.transmit(self.config.server, None, &bytes);
        }
    }

    fn initiated(&mut self, initiation: &[u8]) {
        self.expected = [wire::sender_index(initiation), self.expected[0]];
        self.counts.initiations += 1;
        self.asked = true;
    }

    fn connect_timed_out(&mut self) {
        self.close(Some(Error::ConnectTimeout {
            server: self.config.server,
            timeout: self.config.connect_timeout,
        }));
    }

    /// The server is there.
    #[inline]
    fn heard(&mut self, now: Instant) {
        self.heard = now;
        if self.phase != (Phase::Established { probed: None }) {
            self.established();
        }
    }

    #[cold]
    fn established(&mut self) {
        // A session that the server initiated can be sent with only after its first packet.
        let (Some(_), Some(local)) = (self.tunn.time_since_last_handshake(), self.local) else {
            return;
        };
        match self.phase {
            Phase::Closed => return,
            Phase::Connecting { .. } => self.events.push_back(TunnelEvent::Connected { local }),
            Phase::Reconnecting { next: Some(_), .. } => {
                self.tunn.dangerously_set_timer_params(TimerParams::default());
                self.events.push_back(TunnelEvent::Reconnected);
            }
            Phase::Reconnecting { next: None, .. } | Phase::Established { .. } => {}
        }
        self.phase = Phase::Established { probed: None };
    }

    /// Looks at what a handshake assigned. Only a response does; when the server initiated, the old
    /// address stands.
    fn look_at_address(&mut self) {
        let Some(local) = self.tunn.get_initiator_remote_sockaddr().map(wire::canonical) else {
            return;
        };
        let Some(old) = self.local.replace(local).filter(|old| *old != local) else { return };
        self.events.push_back(TunnelEvent::AddressChanged { local });
        if !self.config.keep_on_address_change {
            self.close(Some(Error::AddressChanged { old, new: local }));
        }
    }

    /// Asks a silent server for a sign of life, and renews a session before it ends.
    fn keep_alive(&mut self, now: Instant, probed: Option<Instant>, out: &mut impl Transmit) {
        if let Some(timeout) = self.config.liveness_timeout {
            match probed {
                Some(at) if now - at >= PROBE_TIMEOUT.min(timeout) => {
                    return self.lose(now, ReconnectCause::Silent, out);
                }
                None if now - self.heard >= timeout => {
                    self.phase = Phase::Established { probed: Some(now) };
                    return self.initiate(true, out);
                }
                _ => {}
            }
        }
        let age = self.tunn.time_since_last_handshake();
        if self.config.keepalive > 0 && age.is_some_and(|age| age >= RENEW_AFTER) {
            self.initiate(false, out);
        }
    }

    /// There is nothing to seal with: a tunnel that was idle for long, or a renewal that is not
    /// answered.
    fn session_ended(&mut self, now: Instant, out: &mut impl Transmit) {
        if self.config.reconnect.is_some() {
            return self.lose(now, ReconnectCause::Expired, out);
        }
        // One handshake is no reconnection; it is given the 90 s that `Tunn` gives any.
        self.phase = Phase::Reconnecting { since: now, attempt: 1, next: None };
        self.initiate(false, out);
    }

    /// The server does not answer any more.
    fn lose(&mut self, now: Instant, cause: ReconnectCause, out: &mut impl Transmit) {
        if self.config.reconnect.is_none() {
            return self.close(Some(Error::SessionExpired));
        }
        // From now on it is the policy that says when to try again.
        self.tunn.dangerously_set_timer_params(TimerParams {
            rekey_timeout: Duration::MAX..=Duration::MAX,
            ..TimerParams::default()
        });
        self.attempt(now, now, 1, cause, out);
    }

    fn attempt(
        &mut self,
        now: Instant,
        since: Instant,
        attempt: u32,
        cause: ReconnectCause,
        out: &mut impl Transmit,
    ) {
        let Some(policy) = self.config.reconnect else { return };
        let delay = policy.delay(attempt);
        self.events.push_back(TunnelEvent::Reconnecting { attempt, delay, cause });
        self.phase = Phase::Reconnecting { since, attempt, next: Some(now + delay) };
        self.initiate(true, out);
    }

    fn gives_up(&self, elapsed: Duration) -> bool {
        self.config
            .reconnect
            .and_then(|policy| policy.max_elapsed)
            .is_some_and(|max| elapsed >= max)
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
