//! Hours in milliseconds: what timers do, with a clock that the test sets.
//!
//! A build of its own, since the feature changes every clock that `Tunn` reads:
//! `cargo test -p snaptun --features simulated-time --test simulated --target-dir target/simulated`
#![cfg(feature = "simulated-time")]

mod common;

use std::time::{Duration, Instant};

use common::{CLIENT, Client, SERVER, Server, key};
use mock_instant::thread_local::MockClock;
use snaptun::{
    authorization::Grant,
    server::{CloseReason, ServerEvent},
    tunnel::TunnelEvent,
};

/// How often the engine looks at timers.
const TICK: Duration = Duration::from_millis(250);

/// A client and a server whose clocks run together, and the network between them.
struct World {
    client: Client,
    server: Server,
    start: Instant,
    tunnel: u32,
    /// Whether the network delivers anything.
    cut: bool,
    at_client: Vec<Vec<u8>>,
    at_server: Vec<Vec<u8>>,
    datagrams: u64,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        MockClock::set_time(Duration::ZERO);
        let server = Server::new(start);
        server.table.grant(key(1).identity(), Grant::default(), start);
        let mut world = Self {
            client: Client::new(key(1), start),
            server,
            start,
            tunnel: 0,
            cut: false,
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
    let events = world.client.events();
    assert!(matches!(events[..], [TunnelEvent::Reconnecting { attempt: 1, .. }]), "{events:?}");
    // The second attempt begins 5 s after the end of the first, which is 90 s after its beginning.
    world.run(2 * MINUTE);
    let events = world.client.events();
    assert!(matches!(events[..], [TunnelEvent::Reconnecting { attempt: 2, .. }]), "{events:?}");
    world.cut = false;
    world.run(Duration::from_secs(6));
    let events = world.client.events();
    assert!(matches!(events[..], [TunnelEvent::Reconnected]), "{events:?}");
    world.send_up(b"back");
    assert_eq!(world.at_server, [b"back"]);
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
