use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use proptest::prelude::*;
use quinn_udp::UdpSocketState;

use super::{Envelope, UdpBatchReceiver, UdpBatchSender, set_up};

/// What a datagram is about: where it arrived, who sent it, its ECN bits, its content.
type Datagram = (String, SocketAddr, u8, Vec<u8>);

/// Sends to a socket that has many addresses, so that what it receives has one order.
struct Scene {
    sending: UdpSocket,
    sender: UdpBatchSender,
    receiving: UdpSocket,
    receive_state: UdpSocketState,
    receiver: UdpBatchReceiver,
    port: u16,
}

impl Scene {
    fn new(from: &str, at: &str) -> Self {
        let sending = UdpSocket::bind((from, 0)).unwrap();
        let receiving = UdpSocket::bind((at, 0)).unwrap();
        socket2::SockRef::from(&receiving).set_recv_buffer_size(4 << 20).unwrap();
        Self {
            sender: UdpBatchSender::new(&sending).unwrap(),
            receive_state: set_up(&receiving).unwrap(),
            receiver: UdpBatchReceiver::new(),
            port: receiving.local_addr().unwrap().port(),
            sending,
            receiving,
        }
    }

    fn ipv4() -> Self {
        Self::new("127.0.0.1", "0.0.0.0")
    }

    fn target(&self, host: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, host], self.port))
    }

    fn push(&mut self, envelope: &Envelope, datagram: &[u8]) {
        assert!(self.sender.reserve_for(&self.sending, envelope, datagram.len()));
        self.sender.push(datagram);
    }

    fn flush(&mut self) {
        assert!(self.sender.flush(&self.sending));
    }

    /// Receives `count` datagrams, and makes sure that no more follow.
    fn receive(&mut self, count: usize) -> Vec<Datagram> {
        let mut datagrams = Vec::new();
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let result = self.receiver.receive(
                &self.receiving,
                &self.receive_state,
                |arrival, message, size| {
                    let local = arrival.local.unwrap().to_string();
                    let mut pieces: Vec<_> = message.chunks(size.max(1)).collect();
                    if message.is_empty() {
                        pieces.push(&[]);
                    }
                    for piece in pieces {
                        let (source, ecn) = (arrival.source, arrival.ecn);
                        datagrams.push((local.clone(), source, ecn, piece.to_vec()));
                    }
                },
            );
            match result {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if datagrams.len() >= count || Instant::now() > end {
                        return datagrams;
                    }
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn content(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (seed * 31 + at) as u8).collect()
}

fn contents(datagrams: &[Datagram]) -> Vec<&[u8]> {
    datagrams.iter().map(|(_, _, _, bytes)| &bytes[..]).collect()
}

#[test]
fn datagrams_of_one_target_and_size_share_a_system_call() {
    let mut scene = Scene::ipv4();
    let envelope = Envelope::to(scene.target(1));
    let sent: Vec<_> = (0..54).map(|seed| content(seed, 1200)).collect();
    for datagram in &sent {
        scene.push(&envelope, datagram);
    }
    scene.flush();
    assert_eq!(contents(&scene.receive(54)), sent);
    let counts = scene.sender.counts();
    assert_eq!((counts.sent, counts.bytes, counts.discarded), (54, 54 * 1200, 0));
    #[cfg(target_os = "linux")]
    assert_eq!(counts.calls, 1);
}

#[test]
#[cfg(target_os = "linux")]
fn datagrams_of_many_targets_share_system_calls_too_and_keep_their_order() {
    let mut scene = Scene::ipv4();
    let sent: Vec<_> = (0..200).map(|seed| content(seed, 100 + seed % 7)).collect();
    for (seed, datagram) in sent.iter().enumerate() {
        scene.push(&Envelope::to(scene.target(1 + seed as u8)), datagram);
    }
    scene.flush();
    let datagrams = scene.receive(200);
    assert_eq!(contents(&datagrams), sent);
    for (seed, (local, ..)) in datagrams.iter().enumerate() {
        assert_eq!(*local, scene.target(1 + seed as u8).ip().to_string());
    }
    assert_eq!(scene.sender.counts().calls, 4);
}

#[test]
fn empty_datagrams_are_sent_and_received_one_for_one() {
    let mut scene = Scene::ipv4();
    let envelope = Envelope::to(scene.target(1));
    for datagram in [&b""[..], b"", b"abc", b"", b"abc", b"ab", b""] {
        scene.push(&envelope, datagram);
    }
    scene.flush();
    let datagrams = scene.receive(7);
    assert_eq!(contents(&datagrams), [&b""[..], b"", b"abc", b"", b"abc", b"ab", b""]);
}

#[test]
fn what_is_on_the_envelope_arrives() {
    let mut scene = Scene::new("0.0.0.0", "0.0.0.0");
    let target = scene.target(1);
    for ecn in 0..4 {
        for repetition in 0..2 {
            let source = Some([127, 0, 0, 10 + ecn].into());
            scene.push(&Envelope { target, source, ecn }, &content(repetition, 10));
        }
    }
    scene.flush();
    let port = scene.sending.local_addr().unwrap().port();
    let seen: Vec<_> =
        scene.receive(8).into_iter().map(|(_, source, ecn, _)| (source, ecn)).collect();
    let expected: Vec<_> = (0..8)
        .map(|index| index / 2)
        .map(|ecn| (SocketAddr::from(([127, 0, 0, 10 + ecn], port)), ecn))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_socket_of_ipv6_sends_to_both_families() {
    let mut scene = Scene::new("::", "::");
    for target in ["127.0.0.1", "::1"] {
        let target = SocketAddr::new(target.parse().unwrap(), scene.port);
        scene.push(&Envelope::to(target), target.to_string().as_bytes());
    }
    scene.flush();
    let seen: Vec<_> =
        scene.receive(2).into_iter().map(|(local, from, ..)| (local, from)).collect();
    let port = scene.sending.local_addr().unwrap().port();
    assert_eq!(
        seen,
        [
            ("127.0.0.1".to_owned(), SocketAddr::from(([127, 0, 0, 1], port))),
            ("::1".to_owned(), SocketAddr::new("::1".parse().unwrap(), port)),
        ]
    );
}

/// A broadcast address, to which this socket may not send.
const FORBIDDEN: [u8; 4] = [255, 255, 255, 255];

#[test]
fn a_refused_datagram_blocks_nothing_behind_it_and_is_told() {
    let mut scene = Scene::ipv4();
    let forbidden = SocketAddr::from((FORBIDDEN, 9));
    for seed in 0..5 {
        scene.push(&Envelope::to(scene.target(1 + seed)), &[seed]);
        scene.push(&Envelope::to(forbidden), &[seed]);
    }
    scene.flush();
    assert_eq!(contents(&scene.receive(5)), [[0], [1], [2], [3], [4]]);
    let counts = scene.sender.counts();
    assert_eq!((counts.sent, counts.discarded), (5, 5));
    let failure = scene.sender.take_failure().unwrap();
    assert_eq!((failure.target, failure.discarded), (forbidden, 5));
    assert!(scene.sender.take_failure().is_none());
}

#[test]
#[cfg(target_os = "linux")]
fn a_source_that_is_none_is_left_out_and_does_not_switch_segmentation_off() {
    let mut scene = Scene::ipv4();
    let target = scene.target(1);
    // EINVAL, which is also what an interface without GSO answers with.
    let source = Some([224, 0, 0, 1].into());
    for seed in 0..4 {
        scene.push(&Envelope { target, source, ecn: 3 }, &content(seed, 100));
    }
    scene.flush();
    let datagrams = scene.receive(4);
    assert_eq!(datagrams.len(), 4);
    let from = scene.sending.local_addr().unwrap();
    assert!(datagrams.iter().all(|&(_, source, ecn, _)| (source, ecn) == (from, 3)));
    let calls = scene.sender.counts().calls;
    for seed in 0..50 {
        scene.push(&Envelope { target, source: None, ecn: 2 }, &content(seed, 1200));
    }
    scene.flush();
    let datagrams = scene.receive(50);
    assert_eq!(datagrams.len(), 50);
    assert!(datagrams.iter().all(|&(_, _, ecn, _)| ecn == 2), "and ECN goes on too");
    assert_eq!(scene.sender.counts().calls, calls + 1);
}

#[test]
#[cfg(target_os = "linux")]
fn a_way_without_segmentation_is_served_one_by_one_and_the_others_are_not() {
    let mut scene = Scene::ipv4();
    let refused = Envelope::to(scene.target(1));
    let sent: Vec<_> = (0..40).map(|seed| content(seed, 1000)).collect();
    // A socket that computes no checksums is refused GSO, with EINVAL.
    set_no_check(&scene.sending, true);
    for round in 0..2 {
        let calls = scene.sender.counts().calls;
        for datagram in &sent {
            scene.push(&refused, datagram);
        }
        scene.flush();
        assert_eq!(contents(&scene.receive(40)), sent, "nothing lost, nothing twice");
        let calls = scene.sender.counts().calls - calls;
        // Singles to one target go by sendmmsg, once it is known.
        assert_eq!(calls, if round == 0 { 41 } else { 1 });
    }
    set_no_check(&scene.sending, false);
    let calls = scene.sender.counts().calls;
    for datagram in &sent {
        scene.push(&Envelope::to(scene.target(2)), datagram);
    }
    scene.flush();
    assert_eq!(contents(&scene.receive(40)), sent);
    assert_eq!(scene.sender.counts().calls, calls + 1);
    assert_eq!(scene.sender.counts().discarded, 0);
}

#[cfg(target_os = "linux")]
fn set_no_check(socket: &UdpSocket, on: bool) {
    use nix::{libc, setsockopt_impl, sockopt_impl, sys::socket::SetSockOpt};
    sockopt_impl!(NoCheck, SetOnly, libc::SOL_SOCKET, libc::SO_NO_CHECK, bool);
    NoCheck.set(socket, &on).unwrap();
}

#[test]
fn segments_are_sent_from_where_they_lie() {
    let mut scene = Scene::ipv4();
    let data = content(1, 100_000);
    for size in [1, 999, 1000, 1472, 65_507] {
        let data = &data[..data.len().min(size * 300)];
        let envelope = Envelope { ecn: 1, ..Envelope::to(scene.target(3)) };
        let count = data.len().div_ceil(size);
        scene.push(&envelope, b"before");
        let calls = scene.sender.counts().calls;
        let sent = scene.sender.send_segments(&scene.sending, &envelope, data, size);
        assert_eq!(sent, count);
        let mut expected = vec![&b"before"[..]];
        expected.extend(data.chunks(size));
        assert_eq!(contents(&scene.receive(count + 1)), expected);
        if cfg!(target_os = "linux") {
            assert!(
                scene.sender.counts().calls - calls
                    <= 1 + data.len() as u64 / 32_000 + count as u64 / 64 + 1
            );
        }
    }
}

#[test]
#[should_panic(expected = "length <= max_datagram")]
fn more_than_a_datagram_holds_is_a_mistake() {
    let mut scene = Scene::ipv4();
    let envelope = Envelope::to(scene.target(1));
    scene.sender.reserve_for(&scene.sending, &envelope, 65_508);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_pushed_arrives_as_it_was_in_order(
        steps in prop::collection::vec(
            (1_u8..4, prop_oneof![0_usize..4, Just(100), Just(1200), 1000_usize..1500, 20_000_usize..65_508], 0_u8..2, 0_u8..8),
            1..120,
        ),
    ) {
        let mut scene = Scene::ipv4();
        let mut expected = Vec::new();
        let mut bytes = 0;
        for (seed, (host, length, ecn, action)) in steps.into_iter().enumerate() {
            if bytes + length > 1 << 20 {
                break;
            }
            bytes += length;
            let datagram = content(seed, length);
            let envelope = Envelope { ecn, ..Envelope::to(scene.target(host)) };
            scene.push(&envelope, &datagram);
            if action == 0 {
                scene.flush();
            }
            expected.push((format!("127.0.0.{host}"), ecn, datagram));
        }
        scene.flush();
        let arrived: Vec<_> = scene
            .receive(expected.len())
            .into_iter()
            .map(|(local, _, ecn, bytes)| (local, ecn, bytes))
            .collect();
        prop_assert_eq!(arrived, expected);
        let counts = scene.sender.counts();
        prop_assert_eq!((counts.discarded, counts.bytes), (0, bytes as u64));
    }
}
