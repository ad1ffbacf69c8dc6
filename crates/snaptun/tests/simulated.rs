//! Hours in milliseconds: what timers do, with a clock that the test sets.
//!
//! A build of its own, since the feature changes every clock that `Tunn` reads:
//! `cargo test -p snaptun --features simulated-time --test simulated --target-dir target/simulated`
#![cfg(feature = "simulated-time")]

mod common;

use std::time::{Duration, Instant};

use bytes::BytesMut;
use common::{CLIENT, Client, SERVER, Server, key};
use mock_instant::thread_local::MockClock;
use snaptun::{
    Error,
    authorization::Grant,
    server::{CloseReason, ServerEvent},
    tunnel::{ReconnectCause, ReconnectPolicy, SessionState, TunnelConfig, TunnelEvent},
};

/// How often the engine looks at timers.
const TICK: Duration = Duration::from_millis(250);

/// A client and a server whose clocks run together, and the network between them.
struct World {
    client: Client,
    server: Server,
    start: Instant,
    tunnel: u32,
    /// Whether the network loses everything.
    cut: bool,
    /// Whether datagrams stay on their way until [`World::release`].
    hold: bool,
    held: (Vec<BytesMut>, Vec<BytesMut>),
    at_client: Vec<Vec<u8>>,
    at_server: Vec<Vec<u8>>,
    datagrams: u64,
}

impl World {
    fn new() -> Self {
        Self::with(|_| ())
    }

    /// With a client that is configured otherwise than usual.
    fn with(configure: impl FnOnce(&mut TunnelConfig)) -> Self {
        let start = Instant::now();
        MockClock::set_time(Duration::ZERO);
        let mut config = TunnelConfig::new(key(1), key(2).identity(), SERVER.parse().unwrap());
        configure(&mut config);
        let server = Server::new(start);
        server.table.grant(key(1).identity(), Grant::default(), start);
        let mut world = Self {
            client: Client::new_with(config, start),
            server,
            start,
            tunnel: 0,
            cut: false,
            hold: false,
            held: Default::default(),
            at_client: Vec::new(),
            at_server: Vec::new(),
            datagrams: 0,
        };
        world.deliver();
        let events = world.server.events();
        let [ServerEvent::Opened { tunnel, .. }] = events[..] else { panic!("{events:?}") };
        world.tunnel = tunnel;
        world.client.events();
        world
    }

    fn elapsed(&self) -> Duration {
        self.client.now - self.start
    }

    /// Passes datagrams on until there are none.
    fn deliver(&mut self) {
        loop {
            let (up, down) = (self.client.out.take(), self.server.out.take());
            if up.is_empty() && down.is_empty() {
                return;
            }
            self.datagrams += (up.len() + down.len()) as u64;
            if self.cut {
                continue;
            }
            if self.hold {
                self.held.0.extend(up);
                self.held.1.extend(down);
                continue;
            }
            for datagram in up {
                if let Some((tunnel, packet)) = self.server.receive(CLIENT, &datagram) {
                    assert_eq!(tunnel, self.tunnel);
                    self.at_server.push(packet);
                }
            }
            for datagram in down {
                self.at_client.extend(self.client.receive(SERVER, &datagram));
            }
        }
    }

    /// Delivers what was held: to both sides before either answers, so that it crosses.
    fn release(&mut self) {
        self.hold = false;
        let (up, down) = std::mem::take(&mut self.held);
        for datagram in up {
            let packet = self.server.receive(CLIENT, &datagram);
            self.at_server.extend(packet.map(|(_, packet)| packet));
        }
        for datagram in down {
            self.at_client.extend(self.client.receive(SERVER, &datagram));
        }
        self.deliver();
    }

    /// A new server process with the same key, which remembers nothing.
    fn restart_server(&mut self) {
        self.server = Server::new(self.client.now);
        self.server.table.grant(key(1).identity(), Grant::default(), self.client.now);
    }

    /// Time in which nobody looks at anything: the machine sleeps.
    fn sleep(&mut self, time: Duration) {
        MockClock::advance(time);
        self.client.now += time;
        self.server.now += time;
    }

    /// Runs until the client has its session again. Returns how long that took.
    fn run_until_ready(&mut self, most: Duration) -> Duration {
        let start = self.elapsed();
        while self.client.core.session() != SessionState::Ready {
            assert!(self.elapsed() - start < most, "not ready after {most:?}");
            self.tick();
        }
        self.elapsed() - start
    }

    /// The attempts that the client made since it was last asked: number, time for an answer, cause.
    fn attempts(&mut self) -> Vec<(u32, Duration, ReconnectCause)> {
        let attempt = |event| match event {
            TunnelEvent::Reconnecting { attempt, delay, cause } => (attempt, delay, cause),
            event => panic!("{event:?}"),
        };
        self.client.events().into_iter().map(attempt).collect()
    }

    fn tick(&mut self) {
        MockClock::advance(TICK);
        self.client.now += TICK;
        self.server.now += TICK;
        self.client.core.update_timers(self.client.now, &mut self.client.out);
        self.server.core.update_timers(self.server.now, &mut self.server.out);
        self.deliver();
    }

    fn run(&mut self, time: Duration) {
        let end = self.elapsed() + time;
        while self.elapsed() < end {
            self.tick();
        }
    }

    /// Sends a packet up, if there is a session to seal it with.
    fn send_up(&mut self, packet: &[u8]) {
        let now = self.client.now;
        if let Ok(sealed) = self.client.core.seal(packet.into(), now, &mut self.client.out) {
            let sealed = sealed.into_bytes();
            if !self.cut
                && let Some((_, packet)) = self.server.receive(CLIENT, &sealed)
            {
                self.at_server.push(packet);
            }
        }
        self.deliver();
    }

    fn send_down(&mut self, packet: &[u8]) {
        if let Some(sealed) = self.server.seal(self.tunnel, packet)
            && !self.cut
        {
            self.at_client.extend(self.client.receive(SERVER, &sealed));
        }
        self.deliver();
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn two_hours_of_traffic_rekey_every_two_minutes_and_lose_nothing() {
    let mut world = World::new();
    for n in 0..2 * 3600_u32 {
        world.send_up(&n.to_le_bytes());
        world.send_down(&n.to_le_bytes());
        world.run(Duration::from_secs(1));
    }
    let expected: Vec<Vec<u8>> = (0..2 * 3600_u32).map(|n| n.to_le_bytes().to_vec()).collect();
    assert!(world.at_server == expected && world.at_client == expected);
    let handshakes = world.server.core.counts().handshakes;
    assert!((59..=62).contains(&handshakes), "{handshakes}");
    assert!(world.server.events().is_empty() && world.client.events().is_empty());
}

#[test]
fn an_idle_tunnel_lives_on_its_keepalives_for_hours() {
    let mut world = World::new();
    world.run(6 * 60 * MINUTE);
    assert_eq!(world.server.core.tunnel_count(), 1);
    assert!(world.server.events().is_empty() && world.client.events().is_empty());
    // One in ten seconds each way at most, and some handshakes.
    assert!(world.datagrams < 2 * 6 * 3600 / 10 + 600, "{}", world.datagrams);
    world.send_up(b"awake");
    world.send_down(b"yes");
    assert_eq!((world.at_server.len(), world.at_client.len()), (1, 1));
}

#[test]
fn a_client_that_vanished_is_forgotten_after_nine_minutes() {
    let mut world = World::new();
    world.cut = true;
    world.run(9 * MINUTE - Duration::from_secs(5));
    assert_eq!(world.server.core.tunnel_count(), 1);
    world.run(Duration::from_secs(10));
    assert_eq!(world.server.core.tunnel_count(), 0);
    let events = world.server.events();
    assert!(
        matches!(events[..], [ServerEvent::Closed { reason: CloseReason::Expired, .. }]),
        "{events:?}"
    );
}

#[test]
fn an_outage_shorter_than_a_session_loses_the_tunnel_on_neither_side() {
    let mut world = World::new();
    world.cut = true;
    world.run(MINUTE);
    world.cut = false;
    world.run(Duration::from_secs(6));
    world.send_up(b"back");
    world.send_down(b"welcome");
    assert_eq!(world.at_server, [b"back"]);
    assert_eq!(world.at_client, [b"welcome"]);
    assert!(world.server.events().is_empty() && world.client.events().is_empty());
}

#[test]
fn a_client_that_sends_into_an_outage_says_so_and_comes_back_by_itself() {
    let mut world = World::new();
    world.cut = true;
    // Data that is not answered: a handshake after 15 s, given up after another 90.
    world.send_up(b"lost");
    world.run(2 * MINUTE);
    let attempts = world.attempts();
    assert_eq!((attempts[0].0, attempts[0].2), (1, ReconnectCause::Expired), "{attempts:?}");
    assert!(attempts[1..].iter().all(|(.., cause)| *cause == ReconnectCause::Unanswered));
    world.cut = false;
    let longest = attempts.last().unwrap().1 + TICK;
    assert!(world.run_until_ready(longest) > Duration::ZERO);
    let events = world.client.events();
    assert!(matches!(events.last(), Some(TunnelEvent::Reconnected)), "{events:?}");
    world.send_up(b"back");
    assert_eq!(world.at_server, [b"back"]);
}

#[test]
fn attempts_follow_each_other_by_the_policy_and_start_over_after_a_success() {
    let mut world = World::with(|config| {
        config.liveness_timeout = Some(Duration::from_secs(1));
        config.reconnect = Some(ReconnectPolicy {
            initial_delay: Duration::from_secs(2),
            factor: 2.0,
            max_delay: Duration::from_secs(30),
            jitter: Duration::from_millis(500),
            max_elapsed: None,
        });
    });
    for _ in 0..2 {
        world.cut = true;
        let before = world.client.core.counts().initiations;
        // Noticed after a second of silence and one for the answer, and tried ever since.
        world.run(Duration::from_secs(3) + 3 * MINUTE);
        let attempts = world.attempts();
        assert_eq!(attempts[0].2, ReconnectCause::Silent);
        for (index, (attempt, delay, _)) in attempts.iter().enumerate() {
            assert_eq!(*attempt, index as u32 + 1);
            let expected = [2, 4, 8, 16].get(index).copied().unwrap_or(30);
            let range = expected as f64..=expected as f64 + 0.5;
            assert!(range.contains(&delay.as_secs_f64()), "{attempt}: {delay:?}");
        }
        // 0, 2, 6, 14, 30, 60, 90, 120, 150, and jitter: one initiation each, beside the probe.
        assert!((9..=10).contains(&attempts.len()), "{attempts:?}");
        let sent = world.client.core.counts().initiations - before;
        assert_eq!(sent, attempts.len() as u64 + 1);
        world.cut = false;
        world.run_until_ready(Duration::from_secs(31));
        let events = world.client.events();
        assert!(matches!(events.last(), Some(TunnelEvent::Reconnected)), "{events:?}");
    }
}

#[test]
fn a_server_that_comes_back_after_an_hour_is_found_within_the_longest_delay() {
    let mut world = World::new();
    world.cut = true;
    world.send_up(b"into the void");
    world.run(60 * MINUTE);
    let attempts = world.attempts();
    // At 105 s, then 5 s apart growing by 1.3 to 180: some 30 in an hour, not one in five seconds.
    assert!((25..=35).contains(&attempts.len()), "{}", attempts.len());
    world.cut = false;
    world.restart_server();
    world.run_until_ready(Duration::from_millis(180_750));
    world.send_up(b"back");
    assert_eq!(world.at_server, [b"back"]);
}

#[test]
fn a_restarted_server_is_found_without_any_loss_when_it_is_back_before_anybody_asks() {
    let mut world = World::new();
    world.restart_server();
    world.send_up(b"it does not know this session");
    // WireGuard: data without an answer for 15 s, and up to 333 ms, asks for a handshake.
    world.run(Duration::from_millis(15_750));
    let events = world.server.events();
    let [ServerEvent::Opened { tunnel, .. }] = events[..] else { panic!("{events:?}") };
    world.tunnel = tunnel;
    world.send_up(b"this one it does");
    assert_eq!(world.at_server, [b"this one it does"]);
    assert!(world.client.events().is_empty());
}

#[test]
fn a_server_that_is_back_within_a_minute_is_found_within_seconds_by_a_client_that_sends() {
    for down in [1, 20, 45, 59] {
        let mut world = World::new();
        world.cut = true;
        for _ in 0..down {
            world.send_up(b"into the void");
            world.run(Duration::from_secs(1));
        }
        world.cut = false;
        world.restart_server();
        world.send_up(b"is it back?");
        // 15 s after the first packet without an answer it is asked for a handshake, and again
        // every 5 s and some.
        let missed = Duration::from_secs(15u64.saturating_sub(down));
        world.run(missed + Duration::from_secs(6));
        world.send_up(b"it is");
        assert_eq!(world.server.events().len(), 1, "after {down} s");
        assert_eq!(world.client.core.session(), SessionState::Ready);
        assert!(world.client.events().is_empty());
    }
}

#[test]
fn a_client_that_only_receives_notices_a_restarted_server_by_its_silence() {
    for (timeout, within) in [(1, 1), (20, 20)] {
        let mut world =
            World::with(|config| config.liveness_timeout = Some(Duration::from_secs(timeout)));
        world.restart_server();
        world.run(Duration::from_secs(within) + TICK);
        let events = world.server.events();
        let [ServerEvent::Opened { tunnel, .. }] = events[..] else { panic!("{events:?}") };
        world.tunnel = tunnel;
        world.send_down(b"heard");
        assert_eq!(world.at_client, [b"heard"]);
        // The probe was answered: nothing was lost, and nobody is told.
        assert!(world.client.events().is_empty());
    }
}

#[test]
fn a_server_with_another_key_is_never_found_and_the_client_gives_up_when_it_was_told_to() {
    let mut world = World::with(|config| {
        config.liveness_timeout = Some(Duration::from_secs(2));
        config.reconnect =
            Some(ReconnectPolicy { max_elapsed: Some(10 * MINUTE), ..ReconnectPolicy::default() });
    });
    // To a server with another key our initiations are not even that.
    world.cut = true;
    world.run(10 * MINUTE);
    assert!(!world.client.core.is_closed());
    world.run(Duration::from_secs(5));
    let events = world.client.events();
    assert!(
        matches!(
            events.last(),
            Some(TunnelEvent::Closed(Some(Error::ReconnectTimeout { elapsed, .. })))
                if *elapsed >= 10 * MINUTE
        ),
        "{events:?}"
    );
}

#[test]
fn without_reconnection_a_lost_server_ends_the_tunnel_and_an_old_session_does_not() {
    let mut world = World::with(|config| {
        config.reconnect = None;
        config.keepalive = 0;
    });
    world.run(10 * MINUTE);
    // The session is long gone; one handshake brings the next, and is no reconnection.
    world.send_up(b"asks for a session");
    assert_eq!(world.client.core.session(), SessionState::Ready);
    assert!(world.client.events().is_empty());
    world.cut = true;
    world.send_up(b"lost");
    world.run(Duration::from_secs(104));
    assert!(!world.client.core.is_closed());
    world.run(Duration::from_secs(3));
    let events = world.client.events();
    assert!(matches!(events[..], [TunnelEvent::Closed(Some(Error::SessionExpired))]), "{events:?}");
}

#[test]
fn an_idle_tunnel_with_keepalives_can_send_at_any_moment() {
    let mut world = World::new();
    for _ in 0..4 * 20 * 60 {
        world.tick();
        // Not `Ready` alone: there is a session that takes a packet.
        if world.elapsed().as_secs().is_multiple_of(179) {
            world.send_up(b"now");
        }
        assert_eq!(world.client.core.session(), SessionState::Ready);
    }
    assert!(world.client.events().is_empty());
}

#[test]
fn a_rekey_under_load_loses_and_doubles_nothing() {
    let mut world = World::new();
    let mut sent = 0_u32;
    // Packets before, during and after the handshake, which takes a tick to arrive each way.
    while world.elapsed() < Duration::from_secs(130) {
        let rekeys = world.elapsed() >= Duration::from_secs(119);
        world.hold = rekeys;
        for _ in 0..if rekeys { 25 } else { 1 } {
            let (up, down) = (sent.to_le_bytes(), sent.to_le_bytes());
            let now = world.client.now;
            let sealed = world.client.core.seal(up[..].into(), now, &mut world.client.out);
            world
                .held
                .0
                .push(sealed.unwrap_or_else(|_| panic!("no session")).into_bytes()[..].into());
            let sealed = world.server.seal(world.tunnel, &down);
            world.held.1.push(sealed.unwrap()[..].into());
            sent += 1;
        }
        world.release();
        world.hold = rekeys;
        world.tick();
    }
    world.release();
    let expected: Vec<Vec<u8>> = (0..sent).map(|n| n.to_le_bytes().to_vec()).collect();
    assert!(world.at_server == expected && world.at_client == expected);
    assert_eq!(world.client.core.counts().handshakes, 2);
    assert!(world.client.events().is_empty());
}

#[test]
fn both_sides_may_initiate_at_once() {
    let mut world = World::new();
    // Both have sent, and heard nothing for 15 s: both ask, and their initiations cross.
    world.cut = true;
    world.send_up(b"lost");
    world.send_down(b"lost");
    world.run(Duration::from_secs(14));
    world.cut = false;
    world.hold = true;
    world.run(Duration::from_secs(2));
    let initiations = |held: &[BytesMut]| held.iter().filter(|datagram| datagram[0] == 1).count();
    assert_eq!((initiations(&world.held.0), initiations(&world.held.1)), (1, 1));
    world.release();
    for n in 0..600_u32 {
        world.send_up(&n.to_le_bytes());
        world.send_down(&n.to_le_bytes());
        world.tick();
    }
    let expected: Vec<Vec<u8>> = (0..600_u32).map(|n| n.to_le_bytes().to_vec()).collect();
    assert!(world.at_server == expected && world.at_client == expected);
    assert!(world.server.events().is_empty() && world.client.events().is_empty());
}

#[test]
fn a_machine_that_slept_for_200_seconds_goes_on() {
    let mut world = World::new();
    world.sleep(Duration::from_secs(200));
    // The first thing that happens then: the engine looks at its timers before it seals anything.
    world.tick();
    world.send_up(b"awake");
    world.send_down(b"good morning");
    assert_eq!(world.at_server, [b"awake"]);
    assert_eq!(world.at_client, [b"good morning"]);
    assert!(world.server.events().is_empty() && world.client.events().is_empty());
}

#[test]
fn another_assigned_address_ends_the_tunnel_or_does_not_as_it_was_told() {
    for keep in [false, true] {
        let mut world = World::with(|config| {
            config.keep_on_address_change = keep;
            config.liveness_timeout = Some(Duration::from_secs(1));
        });
        // A NAT on the way forgot us, and gives the next datagram another port.
        let moved = "198.51.100.7:4001";
        world.cut = true;
        world.run(Duration::from_millis(750));
        world.cut = false;
        world.client.core.update_timers(world.client.now + TICK, &mut world.client.out);
        world.server.receive(moved, &world.client.out.only());
        let response = world.server.out.only();
        world.client.receive(SERVER, &response);
        let events = world.client.events();
        assert!(
            matches!(&events[0], TunnelEvent::AddressChanged { local } if local.to_string() == moved),
            "{events:?}"
        );
        if keep {
            assert_eq!(world.client.core.session(), SessionState::Ready);
            assert_eq!(world.client.core.local(), Some(moved.parse().unwrap()));
        } else {
            let [_, TunnelEvent::Closed(Some(error))] = &events[..] else { panic!("{events:?}") };
            let said = error.to_string();
            assert!(said.contains(CLIENT) && said.contains(moved), "{said}");
        }
    }
}

#[test]
fn an_authorization_that_ends_after_an_hour_ends_the_tunnel_then() {
    let mut world = World::new();
    let end = world.start + 60 * MINUTE;
    let grant = Grant { expires_at: Some(end), preshared_key: None };
    world.server.table.grant(key(1).identity(), grant, world.start);
    world.run(60 * MINUTE - TICK);
    world.send_up(b"in time");
    // Asked for again 30 s before its end, once, and not renewed.
    let events = world.server.events();
    assert!(matches!(events[..], [ServerEvent::Authorize { .. }]), "{events:?}");
    world.run(TICK);
    world.send_up(b"too late");
    assert_eq!(world.at_server, [b"in time"]);
    // The client, which knows nothing of it, asks for a tunnel again.
    let events = world.server.events();
    assert!(
        matches!(events[0], ServerEvent::Closed { reason: CloseReason::Expired, .. }),
        "{events:?}"
    );
}

#[test]
fn a_server_whose_session_ended_asks_for_a_new_one_and_keeps_the_packet() {
    let mut world = World::new();
    world.cut = true;
    world.run(4 * MINUTE);
    world.cut = false;
    world.send_down(b"are you there");
    world.deliver();
    assert_eq!(world.at_client, [b"are you there"]);
}
