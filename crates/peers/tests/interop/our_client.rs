//! Our client with their server.

use std::net::SocketAddr;

use snaptun::engine::{AsyncTunnel, Engine};
use snaptun_peers::{KeyPair, PeerError, PeerServerOptions, SnapTunPeerServer, Verdict};
use tokio::time::timeout;

use crate::common::{
    BUFFER, Failure, PATIENCE, SILENCE, TestResult, V4, V6, answer, content, next, open,
    our_client, sizes, soon, their_server, until, windows,
};

async fn recv(tunnel: &AsyncTunnel) -> Result<Vec<u8>, Failure> {
    Ok(soon(tunnel.recv()).await??)
}

async fn send(tunnel: &AsyncTunnel, packet: &[u8]) -> TestResult {
    soon(tunnel.send(packet)).await??;
    Ok(())
}

async fn both_ways(bind: &str) -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let (server, mut received) = their_server(bind, &theirs, &[&ours])?;
    let tunnel = open(&ours, &theirs, server.local_addr())?;
    let local = soon(tunnel.ready()).await??;
    assert_eq!(local, tunnel.tunnel().bound());

    // The largest that the path takes too.
    let sizes = [sizes(), vec![tunnel.tunnel().max_packet_size()]].concat();
    for window in windows(&sizes) {
        for &size in window {
            send(&tunnel, &content(size)).await?;
        }
        for &size in window {
            let packet = next(&mut received).await?;
            assert_eq!(packet.remote, local);
            assert!(packet.payload == content(size), "{size} bytes to the server");
        }
    }
    for window in windows(&sizes) {
        for &size in window {
            server.send(local, &answer(size)).await?;
        }
        for &size in window {
            assert!(recv(&tunnel).await? == answer(size), "{size} bytes to the client");
        }
    }

    // Nothing came twice, and nothing besides.
    let count = sizes.len() as u64;
    assert_eq!(tunnel.counter("packetsSent"), count);
    assert_eq!(tunnel.counter("packetsReceived"), count);
    assert_eq!(tunnel.counter("droppedInvalid") + tunnel.counter("droppedMalformed"), 0);
    let (channel, stats) = server.stop().await?;
    assert_eq!(channel.dropped(), 0);
    assert_eq!(stats.delivered, count);
    assert_eq!((stats.refused, stats.undelivered), (0, 0));
    Ok(())
}

#[tokio::test]
async fn packets_of_all_sizes_pass_both_ways_in_order_over_ipv4() -> TestResult {
    both_ways(V4).await
}

#[tokio::test]
async fn packets_of_all_sizes_pass_both_ways_in_order_over_ipv6() -> TestResult {
    both_ways(V6).await
}

/// The handshake cannot be done while packets are put in: their server shares this thread, which does not wait.
async fn early(bind: &str) -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let (server, mut received) = their_server(bind, &theirs, &[&ours])?;
    let tunnel = open(&ours, &theirs, server.local_addr())?;
    for size in 1..=200 {
        assert!(tunnel.try_send(&content(size))?.is_some(), "packet {size} was not taken");
    }
    assert_eq!(tunnel.counter("sendQueuePackets"), 200);
    assert_eq!(tunnel.counter("packetsSent"), 0);

    let local = soon(tunnel.ready()).await??;
    for size in 1..=200 {
        let packet = next(&mut received).await?;
        assert_eq!((packet.remote, packet.payload.len()), (local, size));
        assert!(packet.payload == content(size), "packet {size}");
    }
    send(&tunnel, b"and then").await?;
    assert_eq!(next(&mut received).await?.payload, b"and then"[..], "not one of them twice");
    Ok(())
}

#[tokio::test]
async fn packets_sent_before_the_handshake_arrive_once_in_order_and_unpadded_over_ipv4()
-> TestResult {
    early(V4).await
}

#[tokio::test]
async fn packets_sent_before_the_handshake_arrive_once_in_order_and_unpadded_over_ipv6()
-> TestResult {
    early(V6).await
}

/// What GSO and GRO coalesce: a batch of one size, the last shorter. Their server returns it as it came.
#[tokio::test]
async fn trains_of_equal_packets_arrive_whole_in_order_both_ways() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let options = PeerServerOptions {
        authorized: vec![ours.public],
        socket_buffer: Some(BUFFER),
        ..PeerServerOptions::new(theirs.private)
    };
    let echo = |_: &[u8], _: SocketAddr| Verdict::Echo;
    let server = SnapTunPeerServer::start_with(options, echo)?;
    let tunnel = open(&ours, &theirs, server.local_addr())?;
    soon(tunnel.ready()).await??;
    for round in 0..20_u8 {
        let train: Vec<Vec<u8>> = (0..32_u8)
            .map(|at| [vec![round, at], answer(if at == 31 { 77 } else { 1399 })].concat())
            .collect();
        let taken = tunnel.tunnel().submit(train.len(), |at| &train[at]);
        assert_eq!(taken.packets, train.len());
        for packet in &train {
            assert!(recv(&tunnel).await? == *packet, "round {round}");
        }
    }
    assert!(tunnel.counter("sendCalls") < tunnel.counter("datagramsSent"));
    Ok(())
}

#[tokio::test]
async fn our_empty_packet_is_refused_and_theirs_delivers_nothing() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let (server, mut received) = their_server(V4, &theirs, &[&ours])?;
    let tunnel = open(&ours, &theirs, server.local_addr())?;
    let early = tunnel.try_send(b"").map_err(|error| error.code());
    assert_eq!(early, Err("ERR_SNAPTUN_PACKET_EMPTY"));
    let local = soon(tunnel.ready()).await??;
    let sent = tunnel.send(b"").await.map_err(|error| error.code());
    assert_eq!(sent, Err("ERR_SNAPTUN_PACKET_EMPTY"));

    send(&tunnel, b"up").await?;
    assert_eq!(next(&mut received).await?.payload, b"up"[..]);
    let before = tunnel.counter("keepalivesReceived");
    server.send(local, b"").await?;
    server.send(local, b"down").await?;
    assert_eq!(recv(&tunnel).await?, b"down");
    assert_eq!(tunnel.counter("keepalivesReceived"), before + 1);
    Ok(())
}

#[tokio::test]
async fn a_client_bound_to_no_address_learns_its_own_from_the_server() -> TestResult {
    for bind in [V4, V6] {
        let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
        let (server, mut received) = their_server(bind, &theirs, &[&ours])?;
        let mut options = our_client(&ours, &theirs, server.local_addr())?;
        options.bind = None;
        let tunnel = AsyncTunnel::open(&Engine::new(1)?, options)?;
        let local = soon(tunnel.ready()).await??;
        assert_eq!(local.ip(), server.local_addr().ip());
        assert_eq!(local.port(), tunnel.tunnel().bound().port());
        send(&tunnel, b"from where").await?;
        assert_eq!(next(&mut received).await?.remote, local);
    }
    Ok(())
}

#[tokio::test]
async fn an_unauthorized_identity_gets_nothing() -> TestResult {
    let (ours, theirs, other) = (KeyPair::generate()?, KeyPair::generate()?, KeyPair::generate()?);
    let (server, mut received) = their_server(V4, &theirs, &[&other])?;
    let mut options = our_client(&ours, &theirs, server.local_addr())?;
    options.config.connect_timeout = SILENCE;
    let tunnel = AsyncTunnel::open(&Engine::new(1)?, options)?;
    assert!(tunnel.try_send(b"let me in")?.is_some());
    let refused = soon(tunnel.ready()).await?.map_err(|error| error.code());
    assert_eq!(refused, Err("ERR_SNAPTUN_CONNECT_TIMEOUT"));
    assert!(received.try_recv().is_err());
    assert_eq!(server.stats().delivered, 0);
    assert!(server.stats().refused > 0);
    assert_eq!(tunnel.counter("handshakes"), 0);
    Ok(())
}

/// Sends a packet and waits until their server has refused it.
async fn is_refused(server: &SnapTunPeerServer, tunnel: &AsyncTunnel) -> TestResult {
    let before = server.stats();
    send(tunnel, b"while revoked").await?;
    until(|| server.stats().refused > before.refused).await?;
    assert_eq!(server.stats().delivered, before.delivered);
    Ok(())
}

#[tokio::test]
async fn a_revoked_identity_passes_nothing_until_it_is_authorized_again() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let (server, mut received) = their_server(V4, &theirs, &[&ours])?;
    let tunnel = open(&ours, &theirs, server.local_addr())?;
    let local = soon(tunnel.ready()).await??;
    send(&tunnel, b"before").await?;
    assert_eq!(next(&mut received).await?.payload, b"before"[..]);

    server.authorized().revoke(&ours.public);
    is_refused(&server, &tunnel).await?;
    assert!(received.try_recv().is_err());
    let sent = server.send(local, b"no").await;
    assert!(matches!(sent, Err(PeerError::NoTunnel(_))));

    server.authorized().authorize(ours.public);
    send(&tunnel, b"after").await?;
    assert_eq!(next(&mut received).await?.payload, b"after"[..]);
    server.send(local, b"down").await?;
    assert_eq!(recv(&tunnel).await?, b"down", "what was sent while revoked did not arrive");
    Ok(())
}

#[tokio::test]
async fn a_client_that_closed_connects_again_from_another_port() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let (server, mut received) = their_server(V4, &theirs, &[&ours])?;
    let first = open(&ours, &theirs, server.local_addr())?;
    let old = soon(first.ready()).await??;
    // Both are bound at once, so that the ports cannot be the same.
    let second = open(&ours, &theirs, server.local_addr())?;
    let new = soon(second.ready()).await??;
    assert_ne!(old, new);
    send(&first, b"first").await?;
    assert_eq!(next(&mut received).await?.remote, old);
    soon(first.close()).await?;

    send(&second, b"second").await?;
    assert_eq!(next(&mut received).await?.remote, new);
    server.send(new, b"down").await?;
    assert_eq!(timeout(PATIENCE, second.recv()).await??, b"down");
    Ok(())
}
