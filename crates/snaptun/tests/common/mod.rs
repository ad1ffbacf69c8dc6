//! Client and server without a socket: datagrams are passed by hand.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use snaptun::{
    PresharedKey, PrivateKey, Transmit,
    authorization::AuthorizationTable,
    server::{ServerConfig, ServerEvent, SnapTunServer},
    tunnel::{Tunnel, TunnelConfig, TunnelEvent},
};

pub(crate) const SERVER: &str = "192.0.2.1:51820";
pub(crate) const CLIENT: &str = "198.51.100.7:4000";

pub(crate) fn key(byte: u8) -> PrivateKey {
    PrivateKey::new([byte; 32]).unwrap()
}

/// Datagrams on their way.
#[derive(Default)]
pub(crate) struct Wire(Vec<BytesMut>);

impl Wire {
    pub(crate) fn take(&mut self) -> Vec<BytesMut> {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn only(&mut self) -> BytesMut {
        assert_eq!(self.0.len(), 1);
        self.take().remove(0)
    }
}

impl Transmit for Wire {
    fn transmit(&mut self, _target: SocketAddr, _source: Option<IpAddr>, datagram: &[u8]) {
        self.0.push(datagram.into());
    }
}

pub(crate) struct Server {
    pub(crate) core: SnapTunServer,
    pub(crate) table: Arc<AuthorizationTable>,
    pub(crate) out: Wire,
    pub(crate) now: Instant,
}

impl Server {
    pub(crate) fn new(now: Instant) -> Self {
        let table = Arc::new(AuthorizationTable::new(now, 2));
        let config = ServerConfig {
            private_key: key(2),
            max_tunnels: 3,
            max_tunnels_per_identity: 2,
            max_pending_authorizations: 2,
            authorization_timeout: Duration::from_secs(10),
            shard: 0,
        };
        let core = SnapTunServer::new(config, table.clone(), now);
        Self { core, table, out: Wire::default(), now }
    }

    pub(crate) fn receive(&mut self, from: &str, datagram: &[u8]) -> Option<(u32, Vec<u8>)> {
        let packet = self.queue(from, datagram);
        self.core.handshake(self.now, &mut self.out);
        packet
    }

    /// The same, but leaves an initiation where it waits its turn.
    pub(crate) fn queue(&mut self, from: &str, datagram: &[u8]) -> Option<(u32, Vec<u8>)> {
        let from = from.parse().unwrap();
        self.core
            .handle_incoming(self.now, from, None, datagram.into(), &mut self.out)
            .map(|(tunnel, packet)| (tunnel, packet.to_vec()))
    }

    pub(crate) fn seal(&mut self, tunnel: u32, packet: &[u8]) -> Option<Vec<u8>> {
        let clock = self.table.clock(self.now);
        let sealed = self.core.handle_outgoing(clock, tunnel, packet.into(), &mut self.out)?;
        Some(sealed.into_bytes().to_vec())
    }

    pub(crate) fn events(&mut self) -> Vec<ServerEvent> {
        std::iter::from_fn(|| self.core.poll_event()).collect()
    }
}

pub(crate) struct Client {
    pub(crate) core: Tunnel,
    pub(crate) out: Wire,
    pub(crate) now: Instant,
}

impl Client {
    pub(crate) fn new(private_key: PrivateKey, now: Instant) -> Self {
        Self::with(private_key, None, now)
    }

    pub(crate) fn with(
        private_key: PrivateKey,
        preshared_key: Option<PresharedKey>,
        now: Instant,
    ) -> Self {
        let config = TunnelConfig {
            preshared_key,
            connect_timeout: Duration::from_secs(5),
            ..TunnelConfig::new(private_key, key(2).identity(), SERVER.parse().unwrap())
        };
        Self::new_with(config, now)
    }

    pub(crate) fn new_with(config: TunnelConfig, now: Instant) -> Self {
        let mut client = Self { core: Tunnel::new(config, now), out: Wire::default(), now };
        client.core.start(&mut client.out);
        client
    }

    pub(crate) fn receive(&mut self, from: &str, datagram: &[u8]) -> Option<Vec<u8>> {
        let packet = self.core.handle_incoming(
            self.now,
            from.parse().unwrap(),
            datagram.into(),
            &mut self.out,
        );
        packet.map(|packet| packet.to_vec())
    }

    pub(crate) fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        let sealed = self.core.seal(packet.into(), self.now, &mut self.out).unwrap();
        sealed.into_bytes().to_vec()
    }

    pub(crate) fn events(&mut self) -> Vec<TunnelEvent> {
        std::iter::from_fn(|| self.core.poll_event()).collect()
    }
}
