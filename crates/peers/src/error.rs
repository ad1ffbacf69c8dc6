//! What can go wrong with a peer.

use std::{io, net::SocketAddr, time::Duration};

use snap_tun::client::{ConnectSnapTunSocketError, SnapTunnelReceiveError};

/// Why a peer could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The socket refused.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// A key that is not 32 bytes in hexadecimal.
    #[error("a key is 64 hexadecimal digits: {0}")]
    Key(String),
    /// The system gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
    /// The address that stands for the control plane is none.
    #[error("control plane address: {0}")]
    ControlPlane(#[from] url::ParseError),
    /// The real client could not connect. Boxed, because it is many times the size of the other variants.
    #[error("connect: {0}")]
    Connect(Box<ConnectSnapTunSocketError>),
    /// No handshake within this time.
    #[error("no handshake within {0:?}")]
    Timeout(Duration),
    /// The tunnel is closed.
    #[error("receive: {0}")]
    Receive(#[from] SnapTunnelReceiveError),
    /// The server holds no tunnel for this remote, or its identity is no longer authorized.
    #[error("no authorized tunnel for {0}")]
    NoTunnel(SocketAddr),
    /// A sealed packet that does not fit into a UDP datagram.
    #[error("a sealed packet of {0} bytes fits into no datagram")]
    TooLarge(usize),
    /// The server's task is gone.
    #[error("the server stopped: {0}")]
    Stopped(String),
}

impl From<ConnectSnapTunSocketError> for PeerError {
    fn from(error: ConnectSnapTunSocketError) -> Self {
        Self::Connect(Box::new(error))
    }
}
