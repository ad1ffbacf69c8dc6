//! The harness against itself: the crate's client against the crate's server. What fails here is the harness' fault,
//! and no interoperation test that stands on it means anything.

use std::{net::SocketAddr, time::Duration};

use snaptun_peers::{
    KeyPair, PeerClientOptions, PeerError, PeerServerOptions, SnapTunPeerClient, SnapTunPeerServer,
    TunnPeerClient, Verdict, parse_key,
};
use tokio::time::timeout;

use crate::common::{
    PATIENCE, SILENCE, TestResult, V4, V6, content, next, sizes, their_client as client,
    their_server as server, windows,
};

async fn both_ways(bind: &str) -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let (server, mut received) = server(bind, &theirs, &[&ours])?;
    let client = SnapTunPeerClient::connect(client(&ours, &theirs, server.local_addr())).await?;

    assert_eq!(client.assigned_addr(), client.underlay_addr());
    // Once or twice: the endpoint's own task may find the control plane already there when it starts.
    assert!(client.registered().contains(&ours.public));

    for window in windows(&sizes()) {
        for &size in window {
            client.send(&content(size)).await?;
        }
        for &size in window {
            let packet = next(&mut received).await?;
            assert_eq!(packet.remote, client.assigned_addr());
            assert!(packet.payload == content(size), "{size} bytes to the server");
        }
    }
    for window in windows(&sizes()) {
        for &size in window {
            server.send(client.assigned_addr(), &content(size)).await?;
        }
        for &size in window {
            let packet = timeout(PATIENCE, client.recv()).await??;
            assert!(packet == content(size), "{size} bytes to the client");
        }
    }
    let (channel, stats) = server.stop().await?;
    assert_eq!(channel.dropped(), 0);
    assert_eq!(stats.delivered, sizes().len() as u64);
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

#[tokio::test]
async fn packets_given_before_the_handshake_arrive_in_order_and_unpadded() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let (server, mut received) = server(V4, &theirs, &[&ours])?;
    let early: Vec<_> = (1..=200).map(content).collect();
    let mut client =
        TunnPeerClient::connect(client(&ours, &theirs, server.local_addr()), &early).await?;
    assert_eq!(client.assigned_addr(), client.underlay_addr());
    for packet in &early {
        assert_eq!(next(&mut received).await?.payload, packet);
    }
    server.send(client.assigned_addr(), b"back").await?;
    assert_eq!(timeout(PATIENCE, client.recv()).await??, b"back"[..]);
    Ok(())
}

#[tokio::test]
async fn an_unauthorized_identity_gets_no_handshake() -> TestResult {
    let (ours, theirs, other) = (KeyPair::generate()?, KeyPair::generate()?, KeyPair::generate()?);
    let (server, mut received) = server(V4, &theirs, &[&other])?;
    let options = PeerClientOptions {
        connect_timeout: SILENCE,
        ..client(&ours, &theirs, server.local_addr())
    };
    let result = SnapTunPeerClient::connect(options).await;
    assert!(matches!(result, Err(PeerError::Timeout(_))));
    assert!(received.try_recv().is_err());
    assert_eq!(server.stats().delivered, 0);
    assert!(server.stats().refused > 0);
    Ok(())
}

#[tokio::test]
async fn a_revoked_identity_passes_nothing_in_either_direction() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let (server, mut received) = server(V4, &theirs, &[&ours])?;
    let client = SnapTunPeerClient::connect(client(&ours, &theirs, server.local_addr())).await?;
    client.send(b"before").await?;
    assert_eq!(next(&mut received).await?.payload, b"before"[..]);

    server.authorized().revoke(&ours.public);
    client.send(b"while revoked").await?;
    assert!(timeout(SILENCE, received.recv()).await.is_err());
    let sent = server.send(client.assigned_addr(), b"no").await;
    assert!(matches!(sent, Err(PeerError::NoTunnel(_))));

    server.authorized().authorize(ours.public);
    client.send(b"after").await?;
    assert_eq!(next(&mut received).await?.payload, b"after"[..]);
    Ok(())
}

#[tokio::test]
async fn a_handler_can_send_packets_back() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let options = PeerServerOptions {
        authorized: vec![ours.public],
        ..PeerServerOptions::new(theirs.private)
    };
    let server = SnapTunPeerServer::start_with(options, |payload: &[u8], _: SocketAddr| {
        if payload == b"keep" { Verdict::Consume } else { Verdict::Echo }
    })?;
    let client = SnapTunPeerClient::connect(client(&ours, &theirs, server.local_addr())).await?;
    client.send(b"keep").await?;
    client.send(b"return").await?;
    assert_eq!(timeout(PATIENCE, client.recv()).await??, b"return"[..]);
    Ok(())
}

#[tokio::test]
async fn an_empty_packet_is_a_keepalive_and_delivers_nothing() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let (server, mut received) = server(V4, &theirs, &[&ours])?;
    let client = SnapTunPeerClient::connect(client(&ours, &theirs, server.local_addr())).await?;
    client.send(b"").await?;
    client.send(b"x").await?;
    assert_eq!(next(&mut received).await?.payload, b"x"[..]);
    Ok(())
}

#[tokio::test]
async fn packets_that_find_the_channel_full_are_dropped_and_counted() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let options = PeerServerOptions {
        authorized: vec![ours.public],
        ..PeerServerOptions::new(theirs.private)
    };
    let (server, mut received) = SnapTunPeerServer::start(options, 1)?;
    let client = SnapTunPeerClient::connect(client(&ours, &theirs, server.local_addr())).await?;
    for _ in 0..5 {
        client.send(b"x").await?;
    }
    while server.stats().delivered < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(received.try_recv().is_ok());
    let (channel, _) = server.stop().await?;
    assert_eq!(channel.dropped(), 4);
    Ok(())
}

#[tokio::test]
async fn bad_use_is_an_error_and_no_panic() -> TestResult {
    let keys = KeyPair::generate()?;
    let (server, _received) = server(V4, &keys, &[])?;
    let nobody: SocketAddr = "127.0.0.1:9".parse()?;

    let sent = server.send(nobody, b"x").await;
    assert!(matches!(sent, Err(PeerError::NoTunnel(to)) if to == nobody));
    let sent = server.send(nobody, &vec![0; 70_000]).await;
    assert!(matches!(sent, Err(PeerError::TooLarge(70_032))));

    let options =
        PeerServerOptions { bind: server.local_addr(), ..PeerServerOptions::new(keys.private) };
    assert!(matches!(SnapTunPeerServer::start(options, 1), Err(PeerError::Io(_))));
    assert!(matches!(parse_key("abc"), Err(PeerError::Key(_))));
    assert_eq!(parse_key(&"07".repeat(32))?, [7; 32]);
    Ok(())
}
