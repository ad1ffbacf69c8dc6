//! What a client's tunnel is told, and what it tells.

use std::{net::SocketAddr, time::Duration};

use super::ReconnectPolicy;
use crate::{Error, Identity, PresharedKey, PrivateKey};

/// How a client reaches its server. [`TunnelConfig::new`] has what is usual.
#[derive(Debug, Clone)]
pub struct TunnelConfig {
    /// Who we are.
    pub private_key: PrivateKey,
    /// Who the server is.
    pub server_identity: Identity,
    /// Where the server is.
    pub server: SocketAddr,
    /// A key that both sides know besides.
    pub preshared_key: Option<PresharedKey>,
    /// How long the first handshake may take. WireGuard's own window of 90 s bounds it too.
    pub connect_timeout: Duration,
    /// Interval of keepalives in seconds, 0 for none. It keeps NAT bindings open.
    pub keepalive: u16,
    /// What to do when the server is lost; `None`: close.
    pub reconnect: Option<ReconnectPolicy>,
    /// How long the server may be silent before it is asked for a sign of life, with a handshake.
    pub liveness_timeout: Option<Duration>,
    /// Whether the tunnel goes on when a later handshake assigns another address.
    pub keep_on_address_change: bool,
}

impl TunnelConfig {
    /// 15 s to connect, keepalives every 10 s, and the reference's way to reconnect.
    pub fn new(private_key: PrivateKey, server_identity: Identity, server: SocketAddr) -> Self {
        Self {
            private_key,
            server_identity,
            server,
            preshared_key: None,
            connect_timeout: Duration::from_secs(15),
            keepalive: 10,
            reconnect: Some(ReconnectPolicy::default()),
            liveness_timeout: None,
            keep_on_address_change: false,
        }
    }
}

/// Why a tunnel reconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconnectCause {
    /// The session ended, and the server did not answer in time for the next one.
    Expired,
    /// The server said nothing for the liveness timeout, and did not answer when asked.
    Silent,
    /// The attempt before was not answered.
    Unanswered,
}

/// What happens to a tunnel.
#[derive(Debug)]
pub enum TunnelEvent {
    /// The first handshake is done.
    Connected {
        /// Our address as the server sees it.
        local: SocketAddr,
    },
    /// The server is lost: an attempt to reach it is made now.
    Reconnecting {
        /// 1 for the first attempt after a loss.
        attempt: u32,
        /// How long it has for its answer, before the next attempt.
        delay: Duration,
        /// Why.
        cause: ReconnectCause,
    },
    /// A handshake is done after [`TunnelEvent::Reconnecting`].
    Reconnected,
    /// The server assigned another address than before. [`TunnelEvent::Closed`] follows unless the
    /// tunnel was told to go on.
    AddressChanged {
        /// The address assigned now.
        local: SocketAddr,
    },
    /// The last event.
    Closed(Option<Error>),
}

/// What a packet meets that is to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SessionState {
    /// The first handshake is under way.
    Connecting,
    /// It is sealed at once.
    Ready,
    /// The server is lost. Nobody knows for how long.
    Lost,
    /// There will be no session any more.
    Closed,
}

impl SessionState {
    /// The state whose `as u8` is `code`.
    pub(crate) fn from_code(code: u8) -> Self {
        [Self::Connecting, Self::Ready, Self::Lost, Self::Closed][usize::from(code & 3)]
    }
}

/// Why datagrams were dropped, and how many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TunnelCounts {
    /// Handshakes completed.
    pub handshakes: u64,
    /// Initiations sent: attempts at a handshake, answered or not.
    pub initiations: u64,
    /// Cookies received: the server is under load, and the next attempt will prove our address.
    pub cookies_received: u64,
    /// Cookies sent, since more handshakes came from the server's address than a server makes.
    pub cookies_sent: u64,
    /// Received keepalives.
    pub keepalives: u64,
    /// From an address that is not the server's.
    pub foreign: u64,
    /// Of no known type or length.
    pub malformed: u64,
    /// Received before, or too old to tell.
    pub replayed: u64,
    /// Not authentic, or for a session that there is not.
    pub invalid: u64,
}
