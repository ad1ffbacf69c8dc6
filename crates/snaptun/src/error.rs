//! What can go wrong, one meaning a variant, each with the code that applications see.

use std::{io, net::SocketAddr, time::Duration};

/// An error of this crate. [`Error::code`] is stable; the text is for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tunnel or server was closed.
    #[error("it is closed")]
    Closed,
    /// Nobody completed the handshake in time.
    #[error("no answer from {server} within {} ms", timeout.as_millis())]
    ConnectTimeout {
        /// Who was asked.
        server: SocketAddr,
        /// For how long.
        timeout: Duration,
    },
    /// The session ended without an answer to the next handshake, and the tunnel was told not to
    /// reconnect.
    #[error("the server does not answer any more")]
    SessionExpired,
    /// The server could not be reached again in time.
    #[error("{server} did not answer for {} ms, the time to reconnect", elapsed.as_millis())]
    ReconnectTimeout {
        /// Who was asked.
        server: SocketAddr,
        /// For how long.
        elapsed: Duration,
    },
    /// A later handshake assigned another local address, and the application did not allow for it.
    #[error("the server assigned the address {new}, it was {old}")]
    AddressChanged {
        /// The address assigned before.
        old: SocketAddr,
        /// The address assigned now.
        new: SocketAddr,
    },
    /// An empty packet is a keepalive on the wire and can't carry anything.
    #[error("the packet is empty")]
    PacketEmpty,
    /// The packet does not fit into one datagram on this path.
    #[error("the packet has {length} bytes, the path takes {max}")]
    PacketTooLarge {
        /// Its length in bytes.
        length: usize,
        /// The largest that passes, in bytes.
        max: usize,
    },
    /// There is no tunnel of that number, or none any more.
    #[error("there is no such tunnel")]
    UnknownTunnel,
    /// A key of 32 zero bytes is no key.
    #[error("the key is all zero")]
    ZeroKey,
    /// The port is taken.
    #[error("{address} is in use")]
    AddressInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address belongs to no interface of this machine.
    #[error("{address} is not an address of this machine")]
    AddressUnavailable {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The system does not allow it: a low port, or a sandbox.
    #[error("no permission to bind {address}")]
    Permission {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Another error of the operating system.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A bug of ours: what runs the tunnel or server stopped.
    #[error("internal error, please report it")]
    Internal,
}

impl Error {
    /// The code that applications match on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Closed => "ERR_SNAPTUN_CLOSED",
            Self::ConnectTimeout { .. } => "ERR_SNAPTUN_CONNECT_TIMEOUT",
            Self::SessionExpired => "ERR_SNAPTUN_SESSION_EXPIRED",
            Self::ReconnectTimeout { .. } => "ERR_SNAPTUN_RECONNECT_TIMEOUT",
            Self::AddressChanged { .. } => "ERR_SNAPTUN_ADDRESS_CHANGED",
            Self::PacketEmpty => "ERR_SNAPTUN_PACKET_EMPTY",
            Self::PacketTooLarge { .. } => "ERR_SNAPTUN_PACKET_TOO_LARGE",
            Self::UnknownTunnel => "ERR_SNAPTUN_UNKNOWN_TUNNEL",
            Self::ZeroKey => "ERR_SNAPTUN_INVALID_KEY",
            Self::AddressInUse { .. } => "ERR_SNAPTUN_ADDRESS_IN_USE",
            Self::AddressUnavailable { .. } => "ERR_SNAPTUN_ADDRESS_UNAVAILABLE",
            Self::Permission { .. } => "ERR_SNAPTUN_PERMISSION",
            Self::Io { .. } => "ERR_SNAPTUN_IO",
            Self::Internal => "ERR_SNAPTUN_INTERNAL",
        }
    }

    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::ConnectTimeout { .. }
                | Self::SessionExpired
                | Self::ReconnectTimeout { .. }
                | Self::Io { .. }
        )
    }

    pub(crate) fn io(context: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { context, source }
    }

    pub(crate) fn bind(address: SocketAddr) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse { address },
            io::ErrorKind::AddrNotAvailable => Self::AddressUnavailable { address },
            io::ErrorKind::PermissionDenied => Self::Permission { address },
            _ => Self::Io { context: "bind", source },
        }
    }
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
