//! SNAPtun tunnels: encrypted, authenticated UDP inside the process, without root or a TUN device.
//!
//! [`server`] and [`tunnel`] are the two sides of the protocol: state machines that do no I/O and
//! read no socket. [`udp_batch`] is batched UDP. [`engine`] runs the first two on the third.
//! What does no I/O imports nothing that does.

pub mod authorization;
pub mod engine;
mod error;
mod initiation;
mod key;
pub mod server;
pub mod tunnel;
pub mod udp_batch;
mod wire;

pub use error::{Error, Result};
pub use key::{Identity, KEY_LEN, PresharedKey, PrivateKey};
pub use wire::{DATA_OVERHEAD, MAX_DATAGRAM_V4, MAX_DATAGRAM_V6};

use std::net::{IpAddr, SocketAddr};

/// A counter's name, as `stats()` shows it, and its value.
pub type Counter = (&'static str, u64);

/// Where the state machines put the datagrams that they want sent.
pub trait Transmit {
    /// Sends `datagram` to `target`, from the local address `source` if given. It may be lost.
    fn transmit(&mut self, target: SocketAddr, source: Option<IpAddr>, datagram: &[u8]);
}

impl<F: FnMut(SocketAddr, Option<IpAddr>, &[u8])> Transmit for F {
    fn transmit(&mut self, target: SocketAddr, source: Option<IpAddr>, datagram: &[u8]) {
        self(target, source, datagram);
    }
}
