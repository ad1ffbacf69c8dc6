//! The lines of JSON, and the registry that prints one for each registration.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde::Serialize;
use snap_control::{
    api::crpc::model::SnapTunIdentityRegistry, server::identity_registry::IdentityRegistry,
};
use snap_tokens::AnyClaims;
use snaptun_peers::Key;

use crate::{Failure, data_plane::EchoServer};

/// The first line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listening {
    /// Of the control plane.
    pub(crate) listening: SocketAddr,
    pub(crate) data_plane: SocketAddr,
}

/// A registration that was accepted.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Registered<'a> {
    /// In hexadecimal.
    registered: String,
    /// The client's share, in hexadecimal, if it sent one.
    psk_share: Option<String>,
    /// What is left of the token's time.
    lifetime_ms: u128,
    /// The number of the token.
    token: &'a str,
    /// Whether the identity was unknown.
    new: bool,
}

/// Prints a value as one line.
pub(crate) fn print(value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    Ok(output.flush()?)
}

/// The crate's registry. What it accepts is printed, and let into the echo server, before the client hears of it.
pub(crate) struct Reporting {
    registry: IdentityRegistry,
    echo: Option<EchoServer>,
}

impl Reporting {
    pub(crate) fn new(echo: Option<EchoServer>) -> Self {
        Self { registry: IdentityRegistry::new(), echo }
    }
}

impl SnapTunIdentityRegistry for Reporting {
    fn register(
        &self,
        now: Instant,
        key: &str,
        identity: Key,
        psk_share: Option<Key>,
        lifetime: Duration,
        _claims: &AnyClaims,
    ) -> anyhow::Result<bool> {
        let new = self.registry.register(now, key, identity, lifetime);
        if let Some(echo) = &self.echo {
            echo.authorize(identity);
        }
        print(&Registered {
            registered: hex::encode(identity),
            psk_share: psk_share.map(hex::encode),
            lifetime_ms: lifetime.as_millis(),
            token: key,
            new,
        })
        .map_err(anyhow::Error::from_boxed)?;
        Ok(new)
    }

    fn remove_expired(&self, now: Instant) {
        self.registry.remove_expired(now);
    }
}
