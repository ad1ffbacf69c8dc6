//! The real `SnapTunnel`, with the parts that its application has to bring: a control plane and a token.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ana_gotatun::{
    packet::{Packet, PacketBufPool},
    x25519,
};
use async_trait::async_trait;
use bytes::Bytes;
use reqwest_connect_rpc::{client::CrpcClientError, token_source::static_token::StaticTokenSource};
use snap_tun::client::{
    PACKET_BUF_POOL_SIZE, SnapTunControlPlaneClient, SnapTunEndpoint, SnapTunnel,
};
use url::Url;

use crate::{Key, PeerError, SocketBuffers, bind};

/// What the endpoint takes for the name of the control plane; nothing connects to it.
const CONTROL_PLANE: &str = "http://control-plane.invalid/";

/// A control plane that registers whoever asks, and remembers it.
#[derive(Debug, Default)]
pub struct AcceptingControlPlane {
    registered: Mutex<Vec<Key>>,
}

impl AcceptingControlPlane {
    /// The identities that were registered, in order, each as often as it was.
    #[must_use]
    pub fn registered(&self) -> Vec<Key> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl SnapTunControlPlaneClient for AcceptingControlPlane {
    async fn register_identity(
        &self,
        identity: x25519::PublicKey,
        _psk_share: Option<Key>,
    ) -> Result<Option<Key>, CrpcClientError> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).push(identity.to_bytes());
        Ok(None)
    }
}

/// How a client is set up.
#[derive(Clone)]
pub struct PeerClientOptions {
    /// The server's address.
    pub server: SocketAddr,
    /// The server's identity.
    pub server_public_key: Key,
    /// The client's own static key.
    pub private_key: Key,
    /// Where its socket is bound; by default a port of the server's address family that the system chooses.
    pub bind: Option<SocketAddr>,
    /// Bytes of `SO_RCVBUF` and `SO_SNDBUF`; the system's default when absent.
    pub socket_buffer: Option<usize>,
    /// Packets that wait for `recv`; what finds the queue full is dropped.
    pub receive_queue: usize,
    /// How long `connect` waits for the handshake. The crate itself gives up after WireGuard's 90 s only.
    pub connect_timeout: Duration,
    /// Buffers of 64 KiB kept for reuse.
    pub pool: usize,
}

impl PeerClientOptions {
    /// A client of this server with the usual limits.
    #[must_use]
    pub fn new(private_key: Key, server_public_key: Key, server: SocketAddr) -> Self {
        Self {
            server,
            server_public_key,
            private_key,
            bind: None,
            socket_buffer: None,
            receive_queue: 4096,
            connect_timeout: Duration::from_secs(10),
            pool: 256,
        }
    }

    /// An address of the server's family: loopback for loopback, so that the assigned address is the bound one.
    pub(crate) fn bind_address(&self) -> SocketAddr {
        self.bind.unwrap_or_else(|| match (self.server, self.server.ip().is_loopback()) {
            (server, true) => SocketAddr::new(server.ip(), 0),
            (SocketAddr::V4(_), false) => SocketAddr::from(([0, 0, 0, 0], 0)),
            (SocketAddr::V6(_), false) => SocketAddr::from(([0_u16; 8], 0)),
        })
    }
}

/// The real client with one tunnel.
pub struct SnapTunPeerClient {
    // Before the endpoint, so that it is dropped first: its guard reports to the endpoint's state.
    tunnel: SnapTunnel,
    // Held because the identity stays registered only as long as it lives.
    _endpoint: SnapTunEndpoint,
    control_plane: Arc<AcceptingControlPlane>,
    underlay_address: SocketAddr,
    buffers: SocketBuffers,
}

impl SnapTunPeerClient {
    /// Registers the identity and does the handshake. To be called inside a tokio runtime. If it is cancelled, no
    /// tunnel remains.
    ///
    /// # Errors
    /// The socket cannot be bound, the handshake failed, or it was not done within `connect_timeout`.
    pub async fn connect(options: PeerClientOptions) -> Result<Self, PeerError> {
        let socket = Arc::new(bind(options.bind_address(), options.socket_buffer)?);
        let underlay_address = socket.local_addr()?;
        let buffers = SocketBuffers::of(&socket)?;
        let control_plane = Arc::new(AcceptingControlPlane::default());
        let endpoint = SnapTunEndpoint::new(
            Arc::new(StaticTokenSource::from("header.claims.signature")),
            x25519::StaticSecret::from(options.private_key),
        );
        let connecting = endpoint.connect_tunnel(
            x25519::PublicKey::from(options.server_public_key),
            options.server,
            Url::parse(CONTROL_PLANE)?,
            control_plane.clone(),
            socket,
            options.receive_queue.max(1),
            PacketBufPool::<PACKET_BUF_POOL_SIZE>::new(options.pool),
        );
        let tunnel = tokio::time::timeout(options.connect_timeout, connecting)
            .await
            .map_err(|_| PeerError::Timeout(options.connect_timeout))??;
        Ok(Self { tunnel, _endpoint: endpoint, control_plane, underlay_address, buffers })
    }

    /// The tunnel itself, for what is not wrapped here.
    #[must_use]
    pub fn tunnel(&self) -> &SnapTunnel {
        &self.tunnel
    }

    /// The address that the server assigned: the one that it saw.
    #[must_use]
    pub fn assigned_addr(&self) -> SocketAddr {
        self.tunnel.local_addr()
    }

    /// The address of the client's own socket.
    #[must_use]
    pub fn underlay_addr(&self) -> SocketAddr {
        self.underlay_address
    }

    /// The socket buffers that the kernel granted.
    #[must_use]
    pub fn socket_buffers(&self) -> SocketBuffers {
        self.buffers
    }

    /// The identities that the endpoint registered.
    #[must_use]
    pub fn registered(&self) -> Vec<Key> {
        self.control_plane.registered()
    }

    /// Sends one packet. An empty one is a keepalive on the wire: the other side delivers nothing.
    ///
    /// # Errors
    /// The socket refused, or the tunnel is closed.
    pub async fn send(&self, payload: &[u8]) -> Result<(), PeerError> {
        Ok(self.tunnel.send(Packet::copy_from(payload)).await?)
    }

    /// Waits for the next packet.
    ///
    /// # Errors
    /// The tunnel is closed.
    pub async fn recv(&self) -> Result<Bytes, PeerError> {
        Ok(self.tunnel.recv().await?)
    }
}
