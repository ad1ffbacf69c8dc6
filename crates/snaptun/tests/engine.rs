//! Client and server on real sockets, on loopback, in one process.

use std::{net::SocketAddr, time::Duration};

use snaptun::{
    Error, Identity, PrivateKey,
    authorization::Grant,
    engine::{AsyncServer, AsyncTunnel, Engine, Limits, SendMode, ServerOptions, TunnelOptions},
    tunnel::TunnelConfig,
};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn key(byte: u8) -> PrivateKey {
    PrivateKey::new([byte; 32]).unwrap()
}

fn tunnel_options(client: &PrivateKey, server: &PrivateKey, address: SocketAddr) -> TunnelOptions {
    TunnelOptions {
        config: TunnelConfig {
            connect_timeout: Duration::from_secs(5),
            ..TunnelConfig::new(client.clone(), server.identity(), address)
        },
        bind: None,
        limits: Limits::default(),
        mode: SendMode::default(),
    }
}

fn allow(identity: Identity) -> impl Fn(Identity, SocketAddr) -> Option<Grant> {
    move |asked, _| (asked == identity).then(Grant::default)
}

/// Echoes until it is closed.
async fn echo(server: &AsyncServer) {
    while let Ok((tunnel, packet)) = server.recv().await {
        server.send(tunnel, &packet).await.unwrap();
    }
}

fn packet(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (seed * 31 + at) as u8).collect()
}

async fn packets_make_the_round_trip(address: &str, mode: SendMode) {
    let engine = Engine::new(2).unwrap();
    let (client, server) = (key(1), key(2));
    let mut options = ServerOptions::new(server.clone(), address.parse().unwrap());
    options.mode = mode;
    let listening = AsyncServer::listen(&engine, options, allow(client.identity())).unwrap();
    let mut options = tunnel_options(&client, &server, listening.local_addr());
    options.mode = mode;
    let tunnel = AsyncTunnel::open(&engine, options).unwrap();
    let work = async {
        // Before the handshake is done.
        for seed in 1..50 {
            tunnel.send(&packet(seed, seed)).await.unwrap();
        }
        let local = tunnel.ready().await.unwrap();
        assert_eq!(local.port(), tunnel.tunnel().bound().port());
        for seed in 1..50 {
            assert_eq!(tunnel.recv().await.unwrap(), packet(seed, seed));
        }
        for length in [1, 15, 16, 17, 1_399, 1_400, 9_000, 30_000, 65_000] {
            tunnel.send(&packet(length, length)).await.unwrap();
            assert_eq!(tunnel.recv().await.unwrap(), packet(length, length));
        }
        tunnel.close().await;
        assert!(matches!(tunnel.send(b"late").await, Err(Error::Closed)));
        assert!(matches!(tunnel.recv().await, Err(Error::Closed)));
        assert_eq!(tunnel.counter("packetsSent"), 49 + 9);
        assert_eq!(tunnel.counter("packetsReceived"), 49 + 9);
        assert_eq!(listening.counter("packetsReceived"), 49 + 9);
        listening.close().await;
    };
    timeout(PATIENCE, async { tokio::join!(work, echo(&listening)) }).await.unwrap();
}

#[tokio::test]
async fn packets_make_the_round_trip_over_ipv4() {
    packets_make_the_round_trip("127.0.0.1:0", SendMode::Auto).await;
}

#[tokio::test]
async fn packets_make_the_round_trip_over_ipv6() {
    packets_make_the_round_trip("[::1]:0", SendMode::Auto).await;
}

#[tokio::test]
async fn packets_make_the_round_trip_when_only_workers_seal() {
    packets_make_the_round_trip("127.0.0.1:0", SendMode::Shard).await;
}

#[tokio::test]
async fn packets_make_the_round_trip_when_only_callers_seal() {
    packets_make_the_round_trip("127.0.0.1:0", SendMode::Caller).await;
}

#[tokio::test]
async fn an_unauthorized_identity_gets_nothing() {
    let engine = Engine::new(1).unwrap();
    let server = key(2);
    let options = ServerOptions::new(server.clone(), "127.0.0.1:0".parse().unwrap());
    let listening = AsyncServer::listen(&engine, options, |_, _| None).unwrap();
    let mut options = tunnel_options(&key(1), &server, listening.local_addr());
    options.config.connect_timeout = Duration::from_millis(600);
    let tunnel = AsyncTunnel::open(&engine, options).unwrap();
    let work = async {
        let error = tunnel.ready().await.unwrap_err();
        assert_eq!(error.code(), "ERR_SNAPTUN_CONNECT_TIMEOUT");
        assert!(error.is_transient());
        assert_eq!(listening.counter("handshakesRefused"), 1);
        assert_eq!(listening.counter("handshakes"), 0);
        assert_eq!(listening.counter("datagramsSent"), 0);
        listening.close().await;
    };
    timeout(PATIENCE, async { tokio::join!(work, echo(&listening)) }).await.unwrap();
}

#[tokio::test]
async fn a_bad_packet_is_refused_with_a_code() {
    let engine = Engine::new(1).unwrap();
    let options = tunnel_options(&key(1), &key(2), "127.0.0.1:9".parse().unwrap());
    let tunnel = AsyncTunnel::open(&engine, options).unwrap();
    assert_eq!(tunnel.try_send(b"").unwrap_err().code(), "ERR_SNAPTUN_PACKET_EMPTY");
    let large = vec![0; tunnel.tunnel().max_packet_size() + 1];
    assert_eq!(tunnel.try_send(&large).unwrap_err().code(), "ERR_SNAPTUN_PACKET_TOO_LARGE");
}

#[tokio::test]
async fn a_full_send_queue_says_so_and_has_room_again_later() {
    let engine = Engine::new(1).unwrap();
    let (client, server) = (key(1), key(2));
    let options = ServerOptions::new(server.clone(), "127.0.0.1:0".parse().unwrap());
    let listening = AsyncServer::listen(&engine, options, allow(client.identity())).unwrap();
    let mut options = tunnel_options(&client, &server, listening.local_addr());
    options.limits.send_packets = 8;
    let tunnel = AsyncTunnel::open(&engine, options).unwrap();
    let work = async {
        // The handshake can't be done: nobody has answered the server's question yet.
        let mut taken = 0;
        while tunnel.try_send(&packet(taken, 100)).unwrap().is_some() {
            taken += 1;
        }
        assert_eq!(taken, 8);
        tokio::join!(
            async {
                for seed in taken..100 {
                    tunnel.send(&packet(seed, 100)).await.unwrap();
                }
            },
            async {
                for seed in 0..100 {
                    assert_eq!(listening.recv().await.unwrap().1, packet(seed, 100));
                }
            }
        );
    };
    timeout(PATIENCE, work).await.unwrap();
}

#[tokio::test]
async fn a_packet_larger_than_the_send_queue_fits_into_an_empty_one() {
    let engine = Engine::new(1).unwrap();
    let (client, server) = (key(1), key(2));
    let options = ServerOptions::new(server.clone(), "127.0.0.1:0".parse().unwrap());
    let listening = AsyncServer::listen(&engine, options, allow(client.identity())).unwrap();
    let mut options = tunnel_options(&client, &server, listening.local_addr());
    options.limits.send_bytes = 10_000;
    options.mode = SendMode::Shard;
    let tunnel = AsyncTunnel::open(&engine, options).unwrap();
    let work = async {
        let (sent, received) = tokio::join!(tunnel.send(&[7; 20_000]), listening.recv());
        sent.unwrap();
        assert_eq!(received.unwrap().1, [7; 20_000]);
    };
    timeout(PATIENCE, work).await.unwrap();
}

#[tokio::test]
async fn shards_share_a_port_and_every_tunnel_works() {
    every_tunnel_works(true).await;
}

#[tokio::test]
async fn shards_behind_one_socket_serve_every_tunnel() {
    every_tunnel_works(false).await;
}

async fn every_tunnel_works(reuse_port: bool) {
    let engine = Engine::new(2).unwrap();
    let (client, server) = (key(1), key(2));
    let mut options = ServerOptions::new(server.clone(), "127.0.0.1:0".parse().unwrap());
    options.shards = 3;
    options.reuse_port = reuse_port;
    let listening = AsyncServer::listen(&engine, options, allow(client.identity())).unwrap();
    let work = async {
        let mut tunnels = Vec::new();
        for _ in 0..12 {
            let options = tunnel_options(&client, &server, listening.local_addr());
            tunnels.push(AsyncTunnel::open(&engine, options).unwrap());
        }
        for (seed, tunnel) in tunnels.iter().enumerate() {
            tunnel.ready().await.unwrap();
            tunnel.send(&packet(seed, 500)).await.unwrap();
            assert_eq!(tunnel.recv().await.unwrap(), packet(seed, 500));
        }
        assert_eq!(listening.server().tunnel_count(), 12);
        listening.close().await;
    };
    timeout(PATIENCE, async { tokio::join!(work, echo(&listening)) }).await.unwrap();
}

#[tokio::test]
async fn a_revoked_identity_passes_nothing_from_that_moment_on() {
    let engine = Engine::new(1).unwrap();
    let (client, server) = (key(1), key(2));
    let options = ServerOptions::new(server.clone(), "127.0.0.1:0".parse().unwrap());
    let listening = AsyncServer::listen(&engine, options, allow(client.identity())).unwrap();
    let options = tunnel_options(&client, &server, listening.local_addr());
    let tunnel = AsyncTunnel::open(&engine, options).unwrap();
    let work = async {
        tunnel.send(b"hello").await.unwrap();
        let (id, _) = listening.recv().await.unwrap();
        assert_eq!(listening.tunnel(id).unwrap().identity, client.identity());
        listening.server().revoke(client.identity());
        tunnel.send(b"again").await.unwrap();
        let nothing = timeout(Duration::from_millis(300), listening.recv()).await;
        assert!(nothing.is_err());
        assert_eq!(listening.tunnel(id), None);
        assert!(matches!(listening.send(id, b"late").await, Err(Error::UnknownTunnel)));
    };
    timeout(PATIENCE, work).await.unwrap();
}
