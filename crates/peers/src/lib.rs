//! Peers that this project did not write: the server and the client of the crate `snap-tun`, on real sockets.
//!
//! Interoperation tests and benchmarks stand on them, so two things matter here: that what goes over the wire is
//! made by that crate and by nothing else, and that each peer runs as fast as its public interface lets it, or a
//! comparison with it would flatter the other side.
//!
//! Nothing in the library panics or prints; what fails comes back as a [`PeerError`].

mod client;
mod error;
mod keys;
mod server;
mod socket;
mod tunn_client;

pub use client::{AcceptingControlPlane, PeerClientOptions, SnapTunPeerClient};
pub use error::PeerError;
pub use keys::{Key, KeyPair, parse_key};
pub use server::{
    Authorized, PacketHandler, PeerServerOptions, Received, ServerStats, SnapTunPeerServer,
    ToChannel, Verdict,
};
pub use socket::{SocketBuffers, bind};
pub use tunn_client::TunnPeerClient;
