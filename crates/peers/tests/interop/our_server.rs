//! Their clients with our server.

use std::{collections::HashMap, net::SocketAddr};

use ana_gotatun::packet::Packet;
use snaptun::Error;
use snaptun_peers::{KeyPair, PeerClientOptions, PeerError, SnapTunPeerClient, TunnPeerClient};
use tokio::task::JoinSet;

use crate::common::{
    OurServer, SILENCE, TestResult, V4, V6, answer, content, sizes, soon, their_client, until,
    windows,
};

/// No packets before the handshake.
const NONE: [&[u8]; 0] = [];

async fn recv(client: &SnapTunPeerClient) -> Result<bytes::Bytes, crate::common::Failure> {
    Ok(soon(client.recv()).await??)
}

async fn both_ways(bind: &str) -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut server = OurServer::listen(bind, &ours, &[&theirs])?;
    let client = SnapTunPeerClient::connect(their_client(&theirs, &ours, server.address())).await?;
    assert_eq!(client.assigned_addr(), client.underlay_addr());

    let mut tunnel = None;
    for window in windows(&sizes()) {
        for &size in window {
            client.send(&content(size)).await?;
        }
        for &size in window {
            let (id, packet) = server.recv().await?;
            assert_eq!(*tunnel.get_or_insert(id), id, "one tunnel");
            assert!(packet == content(size), "{size} bytes to the server");
        }
    }
    let tunnel = tunnel.ok_or("nothing was sent")?;
    let info = server.tunnel(tunnel)?;
    assert_eq!(info.remote, client.assigned_addr());
    assert_eq!(info.identity.as_bytes(), &theirs.public);

    // The largest that the path takes too.
    let sizes = [sizes(), vec![info.max_packet_size]].concat();
    for window in windows(&sizes) {
        for &size in window {
            server.send(tunnel, &answer(size)).await?;
        }
        for &size in window {
            assert!(recv(&client).await? == answer(size), "{size} bytes to the client");
        }
    }

    // Nothing came twice, and nothing besides.
    let count = |name| server.server.counter(name);
    assert_eq!(count("packetsReceived") + 1, sizes.len() as u64);
    assert_eq!(count("packetsSent"), sizes.len() as u64);
    assert_eq!(count("droppedInvalid") + count("droppedMalformed") + count("droppedReplayed"), 0);
    assert!(client.tunnel().try_recv()?.is_none());
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

async fn early(bind: &str) -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut server = OurServer::listen(bind, &ours, &[&theirs])?;
    let early: Vec<_> = (1..=200).map(content).collect();
    let options = their_client(&theirs, &ours, server.address());
    let mut client = TunnPeerClient::connect(options, &early).await?;
    assert_eq!(client.assigned_addr(), client.underlay_addr());
    let mut tunnel = 0;
    for packet in &early {
        let received;
        (tunnel, received) = server.recv().await?;
        assert_eq!(received.len(), packet.len());
        assert!(received == *packet, "{} bytes", packet.len());
    }
    assert_eq!(server.tunnel(tunnel)?.remote, client.assigned_addr());
    client.send(Packet::copy_from(b"and then")).await?;
    client.flush().await?;
    assert_eq!(server.recv().await?.1, b"and then", "not one of them twice");
    server.send(tunnel, b"back").await?;
    assert_eq!(soon(client.recv()).await??, b"back"[..]);
    Ok(())
}

#[tokio::test]
async fn packets_given_before_the_handshake_arrive_once_in_order_and_unpadded_over_ipv4()
-> TestResult {
    early(V4).await
}

#[tokio::test]
async fn packets_given_before_the_handshake_arrive_once_in_order_and_unpadded_over_ipv6()
-> TestResult {
    early(V6).await
}

/// What GSO and GRO coalesce: a batch of one size, the last shorter.
#[tokio::test]
async fn trains_of_equal_packets_arrive_whole_in_order_both_ways() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut server = OurServer::listen(V4, &ours, &[&theirs])?;
    let options = their_client(&theirs, &ours, server.address());
    let mut client = TunnPeerClient::connect(options, NONE).await?;
    for round in 0..20_u8 {
        let train: Vec<Vec<u8>> = (0..32_u8)
            .map(|at| [vec![round, at], answer(if at == 31 { 77 } else { 1399 })].concat())
            .collect();
        for packet in &train {
            client.send(Packet::copy_from(&packet[..])).await?;
        }
        client.flush().await?;
        let mut tunnel = 0;
        for packet in &train {
            let received;
            (tunnel, received) = server.recv().await?;
            assert!(received == *packet, "round {round} up");
        }
        let submitted =
            server.server.server().submit(tunnel, train.len(), |at| (tunnel, &train[at]));
        assert_eq!(submitted.packets, train.len());
        for packet in &train {
            assert!(soon(client.recv()).await?? == *packet, "round {round} down");
        }
    }
    assert_eq!(client.undelivered(), 0);
    assert!(server.server.counter("sendCalls") < server.server.counter("datagramsSent"));
    Ok(())
}

#[tokio::test]
async fn their_empty_packet_delivers_nothing_and_ours_is_refused() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut server = OurServer::listen(V4, &ours, &[&theirs])?;
    let client = SnapTunPeerClient::connect(their_client(&theirs, &ours, server.address())).await?;
    client.send(b"first").await?;
    let (tunnel, _) = server.recv().await?;
    let before = server.server.counter("keepalivesReceived");
    client.send(b"").await?;
    client.send(b"x").await?;
    assert_eq!(server.recv().await?, (tunnel, b"x".to_vec()));
    assert_eq!(server.server.counter("keepalivesReceived"), before + 1);

    let sent = server.server.send(tunnel, b"").await.map_err(|error| error.code());
    assert_eq!(sent, Err("ERR_SNAPTUN_PACKET_EMPTY"));
    server.send(tunnel, b"y").await?;
    assert_eq!(recv(&client).await?, b"y"[..]);
    Ok(())
}

#[tokio::test]
async fn an_unauthorized_identity_gets_nothing() -> TestResult {
    let (ours, theirs, other) = (KeyPair::generate()?, KeyPair::generate()?, KeyPair::generate()?);
    let mut server = OurServer::listen(V4, &ours, &[&other])?;
    let options = PeerClientOptions {
        connect_timeout: SILENCE,
        ..their_client(&theirs, &ours, server.address())
    };
    let result = TunnPeerClient::connect(options, [b"let me in"]).await;
    assert!(matches!(result, Err(PeerError::Timeout(_))));
    assert!(server.is_silent());
    assert_eq!(server.server.counter("handshakesRefused"), 1);
    assert_eq!(server.server.counter("datagramsSent"), 0, "not even an answer");
    Ok(())
}

#[tokio::test]
async fn a_revoked_identity_passes_nothing_until_it_is_authorized_again() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut server = OurServer::listen(V4, &ours, &[&theirs])?;
    let client = SnapTunPeerClient::connect(their_client(&theirs, &ours, server.address())).await?;
    client.send(b"before").await?;
    let (tunnel, packet) = server.recv().await?;
    let identity = server.tunnel(tunnel)?.identity;
    assert_eq!(packet, b"before");
    let count = |server: &OurServer, name| server.server.counter(name);
    let sent = count(&server, "datagramsSent");

    server.set_authorizing(false);
    server.server.server().revoke(identity);
    client.send(b"while revoked").await?;
    until(|| count(&server, "droppedUnknown") + count(&server, "droppedUnauthorized") > 0).await?;
    assert!(server.is_silent());
    until(|| server.server.tunnel(tunnel).is_none()).await?;
    let answered = server.server.send(tunnel, b"no").await;
    assert!(matches!(answered, Err(Error::UnknownTunnel)));
    let options = PeerClientOptions {
        connect_timeout: SILENCE,
        ..their_client(&theirs, &ours, server.address())
    };
    let again = SnapTunPeerClient::connect(options).await;
    assert!(matches!(again, Err(PeerError::Timeout(_))));
    assert_eq!(count(&server, "datagramsSent"), sent, "nothing went out either");

    server.set_authorizing(true);
    server.server.server().authorize(identity, Default::default());
    let client = SnapTunPeerClient::connect(their_client(&theirs, &ours, server.address())).await?;
    client.send(b"after").await?;
    let (tunnel, packet) = server.recv().await?;
    assert_eq!(packet, b"after");
    server.send(tunnel, b"welcome").await?;
    assert_eq!(recv(&client).await?, b"welcome"[..]);
    Ok(())
}

/// A round trip, and the addresses that either side takes for the client's.
async fn passes(server: &mut OurServer, client: &mut TunnPeerClient, size: usize) -> TestResult {
    client.send(Packet::copy_from(&content(size)[..])).await?;
    client.flush().await?;
    let (tunnel, packet) = server.recv().await?;
    assert!(packet == content(size));
    assert_eq!(server.tunnel(tunnel)?.remote, client.assigned_addr());
    assert_eq!(client.assigned_addr(), client.underlay_addr());
    server.send(tunnel, &answer(size)).await?;
    assert!(soon(client.recv()).await?? == answer(size));
    Ok(())
}

#[tokio::test]
async fn a_client_that_dropped_connects_again_from_another_port() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut server = OurServer::listen(V4, &ours, &[&theirs])?;
    let options = their_client(&theirs, &ours, server.address());
    let mut first = TunnPeerClient::connect(options.clone(), NONE).await?;
    passes(&mut server, &mut first, 333).await?;
    // Held until the second is bound, so that the ports cannot be the same.
    let mut second = TunnPeerClient::connect(options, NONE).await?;
    assert_ne!(first.underlay_addr(), second.underlay_addr());
    drop(first);
    passes(&mut server, &mut second, 334).await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_dropped_connects_again_from_the_same_port() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut server = OurServer::listen(V4, &ours, &[&theirs])?;
    let mut options = their_client(&theirs, &ours, server.address());
    for size in [333, 334, 335] {
        let mut client = TunnPeerClient::connect(options.clone(), NONE).await?;
        options.bind = Some(client.underlay_addr());
        passes(&mut server, &mut client, size).await?;
    }
    assert_eq!(server.server.server().tunnel_count(), 1);
    Ok(())
}

#[tokio::test]
async fn an_ipv4_client_of_an_ipv6_socket_is_assigned_its_ipv4_address() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut server = OurServer::listen("[::]:0", &ours, &[&theirs])?;
    let address = SocketAddr::from(([127, 0, 0, 1], server.address().port()));
    let options = their_client(&theirs, &ours, address);
    let mut client = TunnPeerClient::connect(options, NONE).await?;
    assert!(client.assigned_addr().is_ipv4());
    passes(&mut server, &mut client, 1399).await
}

/// Their client drops what does not come from the address that it writes to. Elsewhere than on Linux, loopback has
/// one address.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_bound_to_no_address_answers_from_the_one_that_was_written_to() -> TestResult {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut server = OurServer::listen("0.0.0.0:0", &ours, &[&theirs])?;
    let address = SocketAddr::from(([127, 0, 0, 2], server.address().port()));
    let options =
        PeerClientOptions { bind: Some(V4.parse()?), ..their_client(&theirs, &ours, address) };
    let mut client = TunnPeerClient::connect(options, NONE).await?;
    passes(&mut server, &mut client, 1399).await
}

#[tokio::test]
async fn two_shards_serve_their_clients_side_by_side() -> TestResult {
    let ours = KeyPair::generate()?;
    let identities: Vec<_> = (0..4).map(|_| KeyPair::generate()).collect::<Result<_, _>>()?;
    let authorized: Vec<_> = identities.iter().collect();
    let mut server = OurServer::listen_with(V4, &ours, &authorized, 2)?;
    let mut clients = HashMap::new();
    // All at once, so that both shards wait for the answer about one identity. The kernel chooses the shard by the
    // client's port: that 32 ports fall to one of two happens once in 2^31 times.
    let mut connecting = JoinSet::new();
    for at in 0..32 {
        let options = their_client(&identities[at % identities.len()], &ours, server.address());
        connecting.spawn(async move {
            TunnPeerClient::connect(options, [content(at + 1)]).await.map(|client| (at, client))
        });
    }
    while let Some(connected) = soon(connecting.join_next()).await? {
        let (at, client) = connected??;
        clients.insert(client.assigned_addr(), (at, client));
    }
    let mut shards = [0; 2];
    for _ in 0..clients.len() {
        let (tunnel, packet) = server.recv().await?;
        let info = server.tunnel(tunnel)?;
        let (at, _) = &clients[&info.remote];
        assert!(packet == content(at + 1), "a packet of another client");
        assert_eq!(info.identity.as_bytes(), &identities[at % identities.len()].public);
        server.send(tunnel, &answer(at + 1)).await?;
        // The low byte of a tunnel's number is its shard's.
        shards[tunnel as usize % 256] += 1;
    }
    for (at, client) in clients.values_mut() {
        assert!(soon(client.recv()).await?? == answer(*at + 1), "client {at}");
        passes(&mut server, client, 2000 + *at).await?;
    }
    assert_eq!(server.server.server().tunnel_count(), 32);
    if cfg!(target_os = "linux") {
        assert!(shards.iter().all(|&count| count > 0), "{shards:?}");
    }
    Ok(())
}
