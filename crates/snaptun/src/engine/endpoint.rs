//! What a shard serves: a state machine, and how it is spoken to.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Instant,
};

use ana_gotatun::packet::{Packet, WgData};
use bytes::BytesMut;

use crate::{
    Counter, Result, Transmit, server::Route, tunnel::SessionState, udp_batch::UdpBatchSender,
};

/// Whether a packet of the application can be sealed.
pub(crate) enum Routing {
    Now(Route),
    /// There is no session yet: it has to stay in the queue, with all behind it.
    Later,
    /// Nobody is there: it is dropped, and counted by the endpoint.
    Never,
}

/// The state machine that a shard serves.
pub(crate) trait Endpoint: Send + 'static {
    type Command: Send;

    fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: BytesMut,
        out: &mut Outbox<'_>,
    ) -> Option<(u32, Packet)>;

    /// What packets meet now. A server is always ready: each of its tunnels waits by itself.
    fn session(&self) -> SessionState {
        SessionState::Ready
    }

    fn route(&mut self, tunnel: u32) -> Routing;

    /// Seals a packet that was just routed. `Err` puts it back at the head of the queue.
    fn seal(
        &mut self,
        now: Instant,
        tunnel: u32,
        packet: BytesMut,
        out: &mut Outbox<'_>,
    ) -> Result<Option<Packet<WgData>>, BytesMut>;

    fn update_timers(&mut self, now: Instant, out: &mut Outbox<'_>);

    /// Goes on with work that can wait, in bounded pieces: all that is affordable when `idle`, its
    /// share of the time otherwise. True when there is more.
    fn background(&mut self, now: Instant, idle: bool, out: &mut Outbox<'_>) -> bool;

    fn command(&mut self, command: Self::Command, now: Instant, out: &mut Outbox<'_>);

    /// Gives what another shard has to see to that shard. At the end of a turn.
    fn hand_over(&mut self);

    /// Hands events on. True when there were any.
    fn emit_events(&mut self) -> bool;

    /// Whether it is over: the shard then releases the socket and ends.
    fn is_closed(&self) -> bool;

    /// The socket is released, or the shard broke down.
    fn ended(&mut self, broken: bool);

    fn counters(&self, each: &mut dyn FnMut(Counter));
}

/// A datagram that another shard received.
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    pub(crate) bytes: BytesMut,
}

/// Where an endpoint puts its own datagrams.
pub(crate) struct Outbox<'a> {
    pub(super) sender: &'a mut UdpBatchSender,
    pub(super) socket: &'a UdpSocket,
}

impl Transmit for Outbox<'_> {
    fn transmit(&mut self, target: SocketAddr, source: Option<IpAddr>, datagram: &[u8]) {
        self.sender.send(self.socket, target, source, datagram);
    }
}
