//! What a server is told, what it tells, and what it counts.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{Identity, PrivateKey};

/// Bits of a tunnel's number that tell its shard.
pub(crate) const SHARD_BITS: u32 = 8;

/// The number of a tunnel, not used again for at least 16 million tunnels of its shard.
pub type TunnelId = u32;

/// Bounds and identity of a [`SnapTunServer`].
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Who we are.
    pub private_key: PrivateKey,
    /// Tunnels at most, over all servers that share a table of authorizations; initiations beyond
    /// are refused.
    pub max_tunnels: usize,
    /// The same for one identity.
    pub max_tunnels_per_identity: usize,
    /// Initiations that wait for an answer of the application, at most.
    pub max_pending_authorizations: usize,
    /// How long an answer may take.
    pub authorization_timeout: Duration,
    /// Which shard this is; part of its tunnels' numbers.
    pub shard: u8,
}

/// What happens to a server.
#[derive(Debug, Clone)]
pub enum ServerEvent {
    /// An identity proved itself that the table doesn't know, or its grant ends soon: grant or refuse
    /// it there, and call [`SnapTunServer::resolve`].
    Authorize {
        /// Who asks.
        identity: Identity,
        /// From where.
        remote: SocketAddr,
    },
    /// An identity proved itself and was refused without a question: the refusal of a moment ago
    /// still stands.
    Unauthorized {
        /// Who was refused.
        identity: Identity,
        /// From where.
        remote: SocketAddr,
    },
    /// A tunnel was confirmed by its first valid data packet.
    Opened {
        /// Its number.
        tunnel: TunnelId,
        /// Whose it is.
        identity: Identity,
        /// Where it leads.
        remote: SocketAddr,
    },
    /// A tunnel that was opened is gone.
    Closed {
        /// Its number.
        tunnel: TunnelId,
        /// What passed through it.
        traffic: Traffic,
        /// Why.
        reason: CloseReason,
    },
}

/// What passed through a tunnel.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Packets handed out, keepalives not counted.
    pub packets_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Packets sealed.
    pub packets_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
}

/// What is known of a tunnel at a moment.
#[derive(Debug, Clone, Copy)]
pub struct TunnelStatus {
    /// What passed through it.
    pub traffic: Traffic,
    /// How long ago its last handshake was done; `None` when it has no session now.
    pub since_handshake: Option<Duration>,
}

/// Why a tunnel of a server is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Nothing was heard for three session lifetimes, or its authorization ended.
    Expired,
    /// The identity's authorization was revoked.
    Revoked,
    /// Another identity proved that the address is its own now.
    Replaced,
    /// The application closed it.
    Closed,
    /// The server closed.
    ServerClosed,
}

impl CloseReason {
    /// As applications see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
            Self::Closed => "closed",
            Self::ServerClosed => "server-closed",
        }
    }
}

/// Why things were dropped, and what was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ServerCounts {
    /// Handshakes answered.
    pub handshakes: u64,
    /// Initiations refused: not authorized.
    pub refused: u64,
    /// Initiations refused: too many tunnels, in all or of the identity, or too many waiting for an
    /// answer.
    pub at_capacity: u64,
    /// Initiations refused: seen before.
    pub replayed_handshakes: u64,
    /// Initiations refused: a wrong MAC, key or timestamp.
    pub invalid_handshakes: u64,
    /// Initiations answered with a cookie: under load, or another identity holds the address.
    pub cookies: u64,
    /// Initiations dropped under load: too many wait their turn, or too many came from one network.
    pub rate_limited: u64,
    /// Received keepalives.
    pub keepalives: u64,
    /// Datagrams of no known type or length.
    pub malformed: u64,
    /// Datagrams that prove nothing: a wrong MAC, key or session.
    pub invalid: u64,
    /// Data packets received before, or too old to tell.
    pub replayed: u64,
    /// Datagrams from an address without a tunnel.
    pub unknown: u64,
    /// Packets either way whose identity may not pass.
    pub unauthorized: u64,
    /// Packets that waited for a session and were given up.
    pub no_session: u64,
}

/// Where an outgoing packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The remote address.
    pub target: SocketAddr,
    /// The local address that it expects packets from.
    pub source: Option<IpAddr>,
}
