//! Client and server against each other, datagram by datagram, without a socket.

mod common;

use std::time::{Duration, Instant};

use bytes::BytesMut;
use common::{CLIENT, Client, SERVER, Server, key};
use proptest::prelude::*;
use snaptun::{
    Error, PresharedKey,
    authorization::Grant,
    server::{CloseReason, ServerEvent},
    tunnel::{SessionState, TunnelEvent},
};

/// An authorized client and its server, with an open tunnel between them.
fn connected() -> (Client, Server, u32) {
    let (mut client, mut server) =
        (Client::new(key(1), Instant::now()), Server::new(Instant::now()));
    server.table.grant(key(1).identity(), Grant::default(), server.now);
    server.receive(CLIENT, &client.out.only());
    client.receive(SERVER, &server.out.only());
    assert_eq!(server.receive(CLIENT, &client.out.only()), None, "the keepalive that confirms");
    let events = server.events();
    let [ServerEvent::Opened { tunnel, identity, remote }] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((identity, remote), (key(1).identity(), CLIENT.parse().unwrap()));
    (client, server, tunnel)
}

#[test]
fn a_handshake_assigns_the_address_that_the_server_saw() {
    let (mut client, ..) = connected();
    let event = client.core.poll_event();
    assert!(matches!(event, Some(TunnelEvent::Connected { local }) if local.to_string() == CLIENT));
}

#[test]
fn packets_pass_both_ways_at_their_length() {
    let (mut client, mut server, tunnel) = connected();
    for length in [1, 15, 16, 17, 1400, 9000] {
        let packet = vec![length as u8; length];
        let sealed = client.seal(&packet);
        assert_eq!(sealed.len(), length + 32);
        assert_eq!(server.receive(CLIENT, &sealed), Some((tunnel, packet.clone())));
        let sealed = server.seal(tunnel, &packet).unwrap();
        assert_eq!(client.receive(SERVER, &sealed), Some(packet));
    }
}

#[test]
fn a_data_packet_that_comes_twice_is_taken_once() {
    let (mut client, mut server, _) = connected();
    let sealed = client.seal(b"once");
    assert!(server.receive(CLIENT, &sealed).is_some());
    assert!(server.receive(CLIENT, &sealed).is_none());
    assert_eq!(server.core.counts().replayed, 1);
}

#[test]
fn a_tunnel_belongs_to_its_address() {
    let (mut client, mut server, _) = connected();
    let sealed = client.seal(b"from here");
    assert!(server.receive("198.51.100.7:4001", &sealed).is_none());
    assert_eq!(server.core.counts().unknown, 1);
    assert!(server.receive(CLIENT, &sealed).is_some());
    let sealed = client.seal(b"stranger");
    assert!(client.receive(CLIENT, &sealed).is_none());
    assert_eq!(client.core.counts().foreign, 1);
}

#[test]
fn a_replayed_initiation_is_refused_from_whichever_address() {
    let (client, mut server) = (Client::new(key(1), Instant::now()), Server::new(Instant::now()));
    server.table.grant(key(1).identity(), Grant::default(), server.now);
    let initiation = {
        let mut client = client;
        client.out.only()
    };
    server.receive(CLIENT, &initiation);
    assert_eq!(server.out.take().len(), 1);
    for address in [CLIENT, "203.0.113.9:9"] {
        server.receive(address, &initiation);
        assert!(server.out.take().is_empty());
    }
    assert_eq!(server.core.counts().replayed_handshakes, 2);
    assert_eq!(server.core.tunnel_count(), 1);
}

#[test]
fn an_identity_that_nobody_granted_anything_gets_nothing() {
    let (mut client, mut server) =
        (Client::new(key(1), Instant::now()), Server::new(Instant::now()));
    server.receive(CLIENT, &client.out.only());
    let events = server.events();
    assert!(matches!(events[..], [ServerEvent::Authorize { .. }]), "{events:?}");
    server.table.refuse(key(1).identity(), server.now);
    server.core.resolve(key(1).identity(), server.now, &mut server.out);
    assert!(server.out.take().is_empty());
    assert_eq!(server.core.tunnel_count(), 0);
    assert_eq!(server.core.counts().refused, 1);
}

#[test]
fn an_initiation_waits_for_the_answer_and_then_goes_on() {
    let (mut client, mut server) =
        (Client::new(key(1), Instant::now()), Server::new(Instant::now()));
    server.receive(CLIENT, &client.out.only());
    assert!(server.out.take().is_empty());
    server.table.grant(key(1).identity(), Grant::default(), server.now);
    server.core.update_timers(server.now, &mut server.out);
    server.core.resolve(key(1).identity(), server.now, &mut server.out);
    client.receive(SERVER, &server.out.only());
    assert!(client.core.session() == SessionState::Ready);
}

#[test]
fn an_initiation_that_waits_keeps_no_receive_buffer() {
    let (mut client, mut server) =
        (Client::new(key(1), Instant::now()), Server::new(Instant::now()));
    let initiation = client.out.only();
    let mut buffer = BytesMut::zeroed(65_536);
    buffer[..initiation.len()].copy_from_slice(&initiation);
    let datagram = buffer.split_to(initiation.len());
    let (now, from) = (server.now, CLIENT.parse().unwrap());
    assert!(server.core.handle_incoming(now, from, None, datagram, &mut server.out).is_none());
    buffer.clear();
    assert_eq!(server.core.handshakes_waiting(), 1);
    assert!(buffer.try_reclaim(65_536), "nobody else holds a piece of it while it is queued");
    server.core.handshake(now, &mut server.out);
    assert_eq!(server.core.authorizations_waiting(), 1);
}

#[test]
fn an_answer_that_does_not_come_is_a_refusal() {
    let (mut client, mut server) =
        (Client::new(key(1), Instant::now()), Server::new(Instant::now()));
    server.receive(CLIENT, &client.out.only());
    let late = server.now + Duration::from_secs(10);
    server.core.update_timers(late, &mut server.out);
    assert_eq!(server.core.counts().refused, 1);
    server.table.grant(key(1).identity(), Grant::default(), server.now);
    server.core.resolve(key(1).identity(), late, &mut server.out);
    assert!(server.out.take().is_empty(), "the initiation is gone");
}

#[test]
fn tunnels_are_bounded_and_the_living_go_on() {
    let (mut client, mut server, tunnel) = connected();
    for n in 0..4 {
        let private_key = key(10 + n);
        server.table.grant(private_key.identity(), Grant::default(), server.now);
        let mut other = Client::new(private_key, Instant::now());
        server.receive(&format!("203.0.113.{n}:9"), &other.out.only());
    }
    assert_eq!((server.core.tunnel_count(), server.core.counts().at_capacity), (3, 2));
    assert!(server.receive(CLIENT, &client.seal(b"still here")).is_some());
    assert!(server.seal(tunnel, b"you too").is_some());
}

#[test]
fn an_unconfirmed_tunnel_is_no_tunnel_to_the_application_and_ends_soon() {
    let (mut client, mut server) =
        (Client::new(key(1), Instant::now()), Server::new(Instant::now()));
    server.table.grant(key(1).identity(), Grant::default(), server.now);
    server.receive(CLIENT, &client.out.only());
    server.core.update_timers(server.now + Duration::from_secs(16), &mut server.out);
    assert_eq!(server.core.tunnel_count(), 0);
    assert!(server.events().is_empty());
}

#[test]
fn a_revoked_tunnel_passes_nothing_and_closes() {
    let (mut client, mut server, tunnel) = connected();
    let sealed = client.seal(b"late");
    assert!(server.table.revoke(key(1).identity(), server.now));
    assert!(server.receive(CLIENT, &sealed).is_none());
    assert!(server.seal(tunnel, b"late too").is_none());
    assert_eq!(server.core.counts().unauthorized, 2);
    server.core.update_timers(server.now, &mut server.out);
    let events = server.events();
    assert!(
        matches!(events[..], [ServerEvent::Closed { reason: CloseReason::Revoked, .. }]),
        "{events:?}"
    );
}

#[test]
fn an_expired_tunnel_passes_nothing_from_that_instant() {
    let (mut client, mut server, tunnel) = connected();
    let end = server.now + Duration::from_secs(60);
    server.table.grant(
        key(1).identity(),
        Grant { expires_at: Some(end), preshared_key: None },
        server.now,
    );
    let (early, late) = (client.seal(b"early"), client.seal(b"late"));
    server.now = end - Duration::from_nanos(1);
    assert!(server.receive(CLIENT, &early).is_some());
    server.now = end;
    assert!(server.receive(CLIENT, &late).is_none());
    assert!(server.seal(tunnel, b"late").is_none());
    server.core.update_timers(end, &mut server.out);
    let events = server.events();
    assert!(
        matches!(events[..], [ServerEvent::Closed { reason: CloseReason::Expired, .. }]),
        "{events:?}"
    );
}

#[test]
fn a_client_that_initiates_again_keeps_its_tunnel() {
    let (_, mut server, tunnel) = connected();
    // The same identity from the same address: a client that was restarted.
    let mut again = Client::new(key(1), Instant::now());
    server.receive(CLIENT, &again.out.only());
    again.receive(SERVER, &server.out.only());
    server.receive(CLIENT, &again.out.only());
    assert_eq!(server.receive(CLIENT, &again.seal(b"back")), Some((tunnel, b"back".to_vec())));
    let sealed = server.seal(tunnel, b"welcome").unwrap();
    assert_eq!(again.receive(SERVER, &sealed), Some(b"welcome".to_vec()));
    assert!(server.events().is_empty());
}

#[test]
fn a_client_gives_up_when_its_time_is_over_and_stays_closed() {
    let mut client = Client::new(key(1), Instant::now());
    client.core.update_timers(client.now + Duration::from_secs(5), &mut client.out);
    let event = client.core.poll_event();
    assert!(
        matches!(event, Some(TunnelEvent::Closed(Some(Error::ConnectTimeout { .. })))),
        "{event:?}"
    );
    client.core.close(None);
    assert!(client.core.is_closed() && client.core.poll_event().is_none());
}

/// The next initiation of a client, before its time.
fn retry(client: &mut Client) -> BytesMut {
    client.core.initiate_again(&mut client.out);
    client.out.only()
}

#[test]
fn another_identity_takes_an_address_over_only_when_it_receives_there() {
    let (mut holder, mut server, tunnel) = connected();
    server.table.grant(key(3).identity(), Grant::default(), server.now);
    let mut other = Client::new(key(3), Instant::now());
    server.receive(CLIENT, &other.out.only());
    assert_eq!(server.out.only().len(), 64);
    assert_eq!((server.core.counts().cookies, server.core.tunnel_count()), (1, 1));

    // Whoever can't receive there gets no further; the holder does not notice.
    server.receive(CLIENT, &retry(&mut other));
    let cookie = server.out.only();
    assert_eq!(cookie.len(), 64);
    assert!(server.receive(CLIENT, &holder.seal(b"still mine")).is_some());

    // Who receives there gets a tunnel beside the old one,
    other.receive(SERVER, &cookie);
    server.receive(CLIENT, &retry(&mut other));
    other.receive(SERVER, &server.out.only());
    assert_eq!(server.core.tunnel_count(), 2);
    assert!(server.receive(CLIENT, &holder.seal(b"mine for now")).is_some());
    assert!(server.seal(tunnel, b"yours").is_some());
    assert!(server.events().is_empty());

    // and the address with its first valid data packet.
    server.receive(CLIENT, &other.out.only());
    let events = server.events();
    let [
        ServerEvent::Closed { tunnel: closed, reason: CloseReason::Replaced, .. },
        ServerEvent::Opened { tunnel: opened, .. },
    ] = events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(closed, tunnel);
    assert!(server.receive(CLIENT, &holder.seal(b"too late")).is_none());
    assert_eq!(server.receive(CLIENT, &other.seal(b"mine")), Some((opened, b"mine".to_vec())));
    assert_eq!(server.core.tunnel_count(), 1);
}

#[test]
fn a_challenger_that_sends_no_data_is_forgotten() {
    let (mut holder, mut server, tunnel) = connected();
    server.table.grant(key(3).identity(), Grant::default(), server.now);
    let mut other = Client::new(key(3), Instant::now());
    server.receive(CLIENT, &other.out.only());
    other.receive(SERVER, &server.out.only());
    server.receive(CLIENT, &retry(&mut other));
    assert_eq!(server.core.tunnel_count(), 2);
    server.core.update_timers(server.now + Duration::from_secs(15), &mut server.out);
    assert_eq!(server.core.tunnel_count(), 1);
    assert_eq!(server.receive(CLIENT, &holder.seal(b"mine")), Some((tunnel, b"mine".to_vec())));
    assert!(server.events().is_empty());
}

#[test]
fn under_load_an_initiation_needs_a_proof_of_its_address() {
    let (mut client, mut server, tunnel) = connected();
    // Of somebody who knows our public key, and nothing else.
    let mut flood = Client::new(key(3), Instant::now()).out.only();
    for _ in 0..2000 {
        server.queue("203.0.113.9:9", &flood);
    }
    let counts = server.core.counts();
    assert_eq!(
        server.core.handshakes_waiting(),
        257,
        "the queue has room left for those with a proof"
    );
    assert_eq!(counts.cookies, 2000 - 257);
    assert!(server.receive(CLIENT, &client.seal(b"on it goes")).is_some());
    assert!(server.seal(tunnel, b"and back").is_some());
    server.out.take();

    let mut honest = Client::new(key(4), Instant::now());
    server.table.grant(key(4).identity(), Grant::default(), server.now);
    server.queue("198.51.100.9:1", &honest.out.only());
    honest.receive(SERVER, &server.out.only());
    // It asks again by itself, with the proof, within a second of the cookie.
    assert!(honest.out.take().is_empty());
    honest.core.update_timers(honest.now + Duration::from_secs(1), &mut honest.out);
    server.queue("198.51.100.9:1", &honest.out.only());
    while server.core.handshakes_waiting() > 0 {
        server.core.handshake(server.now, &mut server.out);
    }
    honest.receive(SERVER, &server.out.only());
    assert!(honest.core.session() == SessionState::Ready);

    // The load signal goes away with the load.
    server.now += Duration::from_secs(2);
    flood[20] ^= 1;
    server.queue("203.0.113.9:9", &Client::new(key(5), Instant::now()).out.only());
    assert!(server.out.take().is_empty());
    assert_eq!(server.core.handshakes_waiting(), 1);
}

#[test]
fn an_initiation_with_a_victims_identity_and_not_its_key_counts_for_nothing() {
    let (mut client, mut server) =
        (Client::new(key(1), Instant::now()), Server::new(Instant::now()));
    server.table.grant(key(1).identity(), Grant::default(), server.now);
    // The victim's own initiation with another timestamp sealed into it: byte 88 on.
    let mut forged = client.out.only();
    forged[90] ^= 1;
    server.receive("203.0.113.9:9", &forged);
    assert!(server.out.take().is_empty() && server.events().is_empty());
    assert_eq!(server.core.counts().invalid_handshakes, 1);
    server.receive(CLIENT, &retry(&mut client));
    assert_eq!(server.out.only().len(), 112);
}

#[test]
fn a_grant_that_ends_soon_is_asked_for_and_goes_on_when_renewed() {
    let (mut client, mut server, tunnel) = connected();
    let until = |end| Grant { expires_at: Some(end), preshared_key: None };
    let end = server.now + Duration::from_secs(100);
    server.table.grant(key(1).identity(), until(end), server.now);
    server.now = end - Duration::from_secs(10);
    server.core.update_timers(server.now, &mut server.out);
    let events = server.events();
    assert!(matches!(events[..], [ServerEvent::Authorize { .. }]), "{events:?}");
    server.table.grant(key(1).identity(), until(end + Duration::from_secs(100)), server.now);
    server.now = end;
    server.core.update_timers(server.now, &mut server.out);
    assert!(server.receive(CLIENT, &client.seal(b"no gap")).is_some());
    assert!(server.seal(tunnel, b"either way").is_some());
    assert!(server.events().is_empty());
}

#[test]
fn a_preshared_key_has_to_be_the_same_on_both_sides() {
    for (ours, theirs, same) in [(7, 7, true), (7, 8, false)] {
        let mut server = Server::new(Instant::now());
        let grant =
            |byte| Grant { expires_at: None, preshared_key: Some(PresharedKey::new([byte; 32])) };
        server.table.grant(key(1).identity(), grant(theirs), server.now);
        let mut client = Client::with(key(1), Some(PresharedKey::new([ours; 32])), Instant::now());
        server.receive(CLIENT, &client.out.only());
        client.receive(SERVER, &server.out.only());
        assert_eq!(client.core.session() == SessionState::Ready, same);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_a_network_sends_ends_a_tunnel(
        junk in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..200), 0usize..5, any::<prop::sample::Index>(), any::<u8>()),
            0..40,
        ),
    ) {
        let (mut client, mut server, tunnel) = connected();
        for (mut bytes, form, at, flip) in junk {
            match form {
                // Of the right type and length, or a valid datagram with one byte changed.
                1 => { bytes.resize(148, 0); bytes[..4].copy_from_slice(&[1, 0, 0, 0]); }
                2 => { bytes.resize(112, 0); bytes[..4].copy_from_slice(&[2, 0, 0, 0]); }
                3 => { bytes.resize(64, 0); bytes[..4].copy_from_slice(&[3, 0, 0, 0]); }
                4 => { bytes = client.seal(&bytes); let at = at.index(bytes.len()); bytes[at] ^= flip.max(1); }
                _ => {}
            }
            prop_assert!(server.receive(CLIENT, &bytes).is_none());
            prop_assert!(client.receive(SERVER, &bytes).is_none());
        }
        prop_assert_eq!(server.core.tunnel_count(), 1);
        let sealed = client.seal(b"alive");
        prop_assert_eq!(server.receive(CLIENT, &sealed), Some((tunnel, b"alive".to_vec())));
        let sealed = server.seal(tunnel, b"alive").unwrap();
        prop_assert_eq!(client.receive(SERVER, &sealed), Some(b"alive".to_vec()));
    }
}
