//! What only the owner of a shard touches.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Instant,
};

use ana_gotatun::packet::Packet;
use bytes::BytesMut;
use quinn_udp::UdpSocketState;

use crate::{
    DATA_OVERHEAD, Result,
    engine::{
        endpoint::{Endpoint, Outbox, Routing},
        queue::{Outgoing, Staging},
        ring::Producer,
        socket::ShardSocket,
    },
    server::Route,
    udp_batch::{UdpBatchSender, max_datagram},
};

/// What only the owner touches.
pub(super) struct Owned<E> {
    pub(super) endpoint: E,
    /// `None` once it is released.
    pub(super) socket: Option<Arc<ShardSocket>>,
    pub(super) sender: UdpBatchSender,
    pub(super) receive_state: UdpSocketState,
    pub(super) producer: Producer,
    pub(super) staging: Staging,
    pub(super) backlog: VecDeque<Outgoing>,
    /// When timers were last looked at.
    pub(super) ticked: Instant,
    /// Packets sealed since the socket was last asked whether something has arrived.
    pub(super) sealed_since_look: usize,
    /// There is more in the socket, so that the application need not be woken yet.
    pub(super) gathering: bool,
    pub(super) counts: Counts,
}

/// What a shard counts itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) received_packets: u64,
    pub(super) received_bytes: u64,
    pub(super) overflowed: u64,
    pub(super) sealed_packets: u64,
    pub(super) sealed_bytes: u64,
    pub(super) socket_errors: u64,
    /// Too large for the family of the tunnel's address.
    pub(super) oversized: u64,
}

impl Counts {
    /// Puts a packet into the ring.
    #[inline]
    pub(super) fn deliver(&mut self, producer: &mut Producer, (tunnel, packet): (u32, Packet)) {
        if producer.push(tunnel, &packet) {
            self.received_packets += 1;
            self.received_bytes += packet.len() as u64;
        } else {
            self.overflowed += 1;
        }
    }
}

impl<E: Endpoint> Owned<E> {
    pub(super) fn update_timers(&mut self, now: Instant) {
        self.ticked = now;
        if let Some(socket) = &self.socket {
            let mut out = Outbox { sender: &mut self.sender, socket: socket.io() };
            self.endpoint.update_timers(now, &mut out);
        }
    }

    /// One datagram that another shard received.
    pub(super) fn take_in(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: BytesMut,
        socket: &UdpSocket,
    ) {
        let mut out = Outbox { sender: &mut self.sender, socket };
        if let Some(found) = self.endpoint.receive(now, from, local, datagram, &mut out) {
            self.counts.deliver(&mut self.producer, found);
        }
    }

    /// Makes room for a sealed packet of `length` bytes. `None`: not now; `Some(None)`: it has
    /// nowhere to go and is dropped.
    #[inline]
    pub(super) fn ready_for(&mut self, tunnel: u32, length: usize) -> Option<Option<Route>> {
        let Some(socket) = &self.socket else { return Some(None) };
        match self.endpoint.route(tunnel) {
            Routing::Later => None,
            Routing::Never => Some(None),
            Routing::Now(route) if length + DATA_OVERHEAD > max_datagram(route.target.ip()) => {
                self.counts.oversized += 1;
                Some(None)
            }
            Routing::Now(route) => self
                .sender
                .reserve(socket.io(), route.target, route.source, length + DATA_OVERHEAD)
                .then_some(Some(route)),
        }
    }

    /// Seals a packet into the room that was made for it.
    #[inline]
    pub(super) fn seal(
        &mut self,
        now: Instant,
        tunnel: u32,
        route: Route,
        packet: BytesMut,
    ) -> Result<(), BytesMut> {
        let Some(socket) = self.socket.as_ref().map(|socket| socket.io()) else { return Ok(()) };
        let length = packet.len() as u64;
        let mut out = Outbox { sender: &mut self.sender, socket };
        if let Some(sealed) = self.endpoint.seal(now, tunnel, packet, &mut out)? {
            let sealed = sealed.into_bytes();
            // Makes room once more: the endpoint may have sent something of its own in between.
            self.sender.send(socket, route.target, route.source, &sealed);
            self.counts.sealed_packets += 1;
            self.counts.sealed_bytes += length;
        }
        Ok(())
    }
}
