//! What the tests share: peers, contents, and patience.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use snaptun::{
    Identity, PrivateKey,
    authorization::Grant,
    engine::{AsyncServer, AsyncTunnel, Engine, Limits, SendMode, ServerOptions, TunnelOptions},
    server::TunnelId,
    tunnel::TunnelConfig,
};
use snaptun_peers::{
    KeyPair, PeerClientOptions, PeerError, PeerServerOptions, Received, SnapTunPeerServer,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

pub(crate) type Failure = Box<dyn std::error::Error>;
pub(crate) type TestResult = Result<(), Failure>;

pub(crate) const V4: &str = "127.0.0.1:0";
pub(crate) const V6: &str = "[::1]:0";
/// More than anything on loopback takes, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for what must not come to come.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
/// Bytes of socket buffer.
pub(crate) const BUFFER: usize = 4 << 20;

/// What is under way at once. A system that grants no more than Linux' default of 212,992 bytes of socket buffer, of
/// which each datagram takes up to twice its size, still takes this much.
const WINDOW_PACKETS: usize = 16;
const WINDOW_BYTES: usize = 64 * 1024;

/// From 1 to 9,000 bytes and one close to the largest datagram; few are multiples of 16.
pub(crate) fn sizes() -> Vec<usize> {
    (1..=9000).step_by(29).chain([9000, 65_000]).collect()
}

/// The sizes again, in parts that can be under way at once.
pub(crate) fn windows(sizes: &[usize]) -> Vec<&[usize]> {
    let (mut windows, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, size) in sizes.iter().enumerate() {
        if at > start && (at - start == WINDOW_PACKETS || bytes + size > WINDOW_BYTES) {
            windows.push(&sizes[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    windows.push(&sizes[start..]);
    windows
}

/// A content that is different for each size, so that packets cannot be mistaken for each other.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 + size * 7) as u8).collect()
}

/// The same for the way back, so that a packet that was reflected is noticed.
pub(crate) fn answer(size: usize) -> Vec<u8> {
    content(size).into_iter().map(|byte| !byte).collect()
}

/// Bounds a wait that a failure would make endless.
pub(crate) async fn soon<T>(wait: impl Future<Output = T>) -> Result<T, Failure> {
    Ok(timeout(PATIENCE, wait).await?)
}

/// Waits until something that no event tells of is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) -> TestResult {
    soon(async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
}

/// Their server, whose packets come out of a channel.
pub(crate) fn their_server(
    bind: &str,
    keys: &KeyPair,
    authorized: &[&KeyPair],
) -> Result<(SnapTunPeerServer, mpsc::Receiver<Received>), Failure> {
    let options = PeerServerOptions {
        bind: bind.parse()?,
        authorized: authorized.iter().map(|keys| keys.public).collect(),
        socket_buffer: Some(BUFFER),
        ..PeerServerOptions::new(keys.private)
    };
    Ok(SnapTunPeerServer::start(options, 4096)?)
}

/// How their clients are set up.
pub(crate) fn their_client(
    keys: &KeyPair,
    server: &KeyPair,
    address: SocketAddr,
) -> PeerClientOptions {
    PeerClientOptions {
        socket_buffer: Some(BUFFER),
        ..PeerClientOptions::new(keys.private, server.public, address)
    }
}

pub(crate) async fn next(received: &mut mpsc::Receiver<Received>) -> Result<Received, PeerError> {
    timeout(PATIENCE, received.recv())
        .await
        .map_err(|_| PeerError::Timeout(PATIENCE))?
        .ok_or_else(|| PeerError::Stopped("the channel is closed".to_owned()))
}

/// How our client is set up: bound to the server's own address, so that nothing but the assigned address can be the
/// one that the server sees.
pub(crate) fn our_client(
    keys: &KeyPair,
    server: &KeyPair,
    address: SocketAddr,
) -> Result<TunnelOptions, Failure> {
    Ok(TunnelOptions {
        config: TunnelConfig {
            connect_timeout: PATIENCE,
            ..TunnelConfig::new(
                PrivateKey::new(keys.private)?,
                Identity::new(server.public)?,
                address,
            )
        },
        bind: Some(SocketAddr::new(address.ip(), 0)),
        limits: Limits::default(),
        mode: SendMode::default(),
    })
}

/// Our client, open; its handshake may not be done yet.
pub(crate) fn open(
    keys: &KeyPair,
    server: &KeyPair,
    address: SocketAddr,
) -> Result<AsyncTunnel, Failure> {
    Ok(AsyncTunnel::open(&Engine::new(1)?, our_client(keys, server, address)?)?)
}

/// Our server, with a task that answers for it and takes its packets.
pub(crate) struct OurServer {
    pub(crate) server: Arc<AsyncServer>,
    received: mpsc::UnboundedReceiver<(TunnelId, Vec<u8>)>,
    authorizing: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// What our server knows of the other end of a tunnel.
pub(crate) struct Peer {
    pub(crate) identity: Identity,
    pub(crate) remote: SocketAddr,
    pub(crate) max_packet_size: usize,
}

impl OurServer {
    /// One shard.
    pub(crate) fn listen(
        bind: &str,
        keys: &KeyPair,
        authorized: &[&KeyPair],
    ) -> Result<Self, Failure> {
        Self::listen_with(bind, keys, authorized, 1)
    }

    pub(crate) fn listen_with(
        bind: &str,
        keys: &KeyPair,
        authorized: &[&KeyPair],
        shards: usize,
    ) -> Result<Self, Failure> {
        let mut options = ServerOptions::new(PrivateKey::new(keys.private)?, bind.parse()?);
        options.shards = shards;
        let authorizing = Arc::new(AtomicBool::new(true));
        let authorized: Vec<_> = authorized.iter().map(|keys| keys.public).collect();
        let authorizer = {
            let authorizing = authorizing.clone();
            move |identity: Identity, _| {
                (authorizing.load(Ordering::SeqCst) && authorized.contains(identity.as_bytes()))
                    .then(Grant::default)
            }
        };
        let server = Arc::new(AsyncServer::listen(&Engine::new(shards)?, options, authorizer)?);
        let (sender, received) = mpsc::unbounded_channel();
        let task = tokio::spawn({
            let server = server.clone();
            async move {
                while let Ok(packet) = server.recv().await {
                    if sender.send(packet).is_err() {
                        break;
                    }
                }
            }
        });
        Ok(Self { server, received, authorizing, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// The next packet of any client.
    pub(crate) async fn recv(&mut self) -> Result<(TunnelId, Vec<u8>), Failure> {
        soon(self.received.recv()).await?.ok_or_else(|| "the server closed".into())
    }

    /// Whether nothing has come, up to now.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.received.try_recv().is_err()
    }

    pub(crate) fn tunnel(&self, tunnel: TunnelId) -> Result<Peer, Failure> {
        let info = self.server.tunnel(tunnel).ok_or("no such tunnel")?;
        Ok(Peer {
            identity: info.identity,
            remote: info.remote,
            max_packet_size: info.max_packet_size,
        })
    }

    /// Sends a packet back to a client.
    pub(crate) async fn send(&self, tunnel: TunnelId, packet: &[u8]) -> TestResult {
        Ok(soon(self.server.send(tunnel, packet)).await??)
    }

    /// Whether it says yes when it is asked about the identities that it knows.
    pub(crate) fn set_authorizing(&self, authorizing: bool) {
        self.authorizing.store(authorizing, Ordering::SeqCst);
    }
}

impl Drop for OurServer {
    fn drop(&mut self) {
        // It holds the server open.
        self.task.abort();
    }
}
