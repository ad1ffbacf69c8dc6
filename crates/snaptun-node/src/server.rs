//! A server.

use std::{
    cell::RefCell,
    collections::HashSet,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use napi::{
    Env,
    bindgen_prelude::{Array, Object, Uint8Array, Uint8ArraySlice},
};
use napi_derive::napi;
use snaptun::{
    DATA_OVERHEAD, Error, Identity, MAX_DATAGRAM_V4,
    authorization::Grant,
    engine::{Server, ServerNotice, ServerOptions},
    server::{ServerEvent, TunnelStatus},
};

use crate::{
    convert::{self, NativeAddress, Result, error, invalid},
    engine,
    reactor::Reactor,
    ring::NativeRing,
    tunnel::{Tally, send_array, send_segments},
};

/// What no tunnel exceeds. What is too large for one path is dropped there, and counted.
const MAX_PACKET: usize = MAX_DATAGRAM_V4 - DATA_OVERHEAD;

/// Options of `listen`.
#[napi(object)]
#[allow(missing_docs, reason = "see src/native.ts")]
pub struct NativeServerOptions {
    pub private_key: Uint8Array,
    pub bind: NativeAddress,
    pub ipv6_only: bool,
    pub shards: u32,
    pub reuse_port: Option<bool>,
    pub max_tunnels: u32,
    pub max_tunnels_per_identity: Option<u32>,
    pub max_pending_authorizations: u32,
    pub authorization_timeout: f64,
    pub receive_queue_packets: u32,
    pub receive_queue_bytes: u32,
    pub send_queue_packets: u32,
    pub send_queue_bytes: u32,
    pub socket_buffer_bytes: u32,
}

/// An event of a server.
#[napi(object)]
#[derive(Default)]
#[allow(missing_docs, reason = "see src/native.ts")]
pub struct NativeServerEvent {
    pub r#type: String,
    pub tunnel: Option<u32>,
    pub identity: Option<Uint8Array>,
    pub remote: Option<NativeAddress>,
    pub max_packet_size: Option<u32>,
    pub delivered: Option<f64>,
    pub reason: Option<String>,
    pub code: Option<String>,
    pub message: Option<String>,
}

impl NativeServerEvent {
    fn of(name: &str, identity: Identity, remote: SocketAddr) -> Self {
        Self {
            r#type: name.into(),
            identity: Some(identity.as_bytes().to_vec().into()),
            remote: Some(remote.into()),
            ..Self::default()
        }
    }
}

impl From<ServerEvent> for NativeServerEvent {
    fn from(event: ServerEvent) -> Self {
        match event {
            ServerEvent::Authorize { identity, remote } => Self::of("authorize", identity, remote),
            ServerEvent::Unauthorized { identity, remote } => {
                Self::of("unauthorized", identity, remote)
            }
            ServerEvent::Opened { tunnel, identity, remote } => {
                Self { tunnel: Some(tunnel), ..Self::of("tunnel", identity, remote) }
            }
            ServerEvent::Closed { tunnel, traffic, reason } => Self {
                r#type: "tunnelclose".into(),
                tunnel: Some(tunnel),
                delivered: Some(traffic.packets_received as f64),
                reason: Some(reason.as_str().into()),
                ..Self::default()
            },
        }
    }
}

/// What is known of a tunnel at a moment.
#[napi(object)]
#[allow(missing_docs, reason = "see src/native.ts")]
pub struct NativeTunnelStatus {
    pub packets_received: f64,
    pub bytes_received: f64,
    pub packets_sent: f64,
    pub bytes_sent: f64,
    pub since_handshake: Option<f64>,
}

impl From<TunnelStatus> for NativeTunnelStatus {
    fn from(TunnelStatus { traffic, since_handshake }: TunnelStatus) -> Self {
        Self {
            packets_received: traffic.packets_received as f64,
            bytes_received: traffic.bytes_received as f64,
            packets_sent: traffic.packets_sent as f64,
            bytes_sent: traffic.bytes_sent as f64,
            since_handshake: since_handshake.map(|time| time.as_secs_f64() * 1000.0),
        }
    }
}

/// A listening server.
#[napi]
pub struct NativeServer {
    id: u32,
    server: Server,
    rings: RefCell<Vec<NativeRing>>,
    /// Tunnels that JavaScript knows, so that a send to another is an error.
    open: RefCell<HashSet<u32>>,
}

/// Binds the sockets and starts the shards.
#[napi]
pub fn listen(env: Env, options: NativeServerOptions) -> Result<NativeServer> {
    let defaults =
        ServerOptions::new(convert::private_key(&options.private_key)?, options.bind.parse()?);
    let options = ServerOptions {
        ipv6_only: options.ipv6_only,
        shards: options.shards as usize,
        reuse_port: options.reuse_port.unwrap_or(defaults.reuse_port),
        max_tunnels: options.max_tunnels as usize,
        max_tunnels_per_identity: options
            .max_tunnels_per_identity
            .map_or(defaults.max_tunnels_per_identity, |number| number as usize),
        max_pending_authorizations: options.max_pending_authorizations as usize,
        authorization_timeout: convert::milliseconds(options.authorization_timeout)?,
        limits: convert::limits(
            options.receive_queue_packets,
            options.receive_queue_bytes,
            options.send_queue_packets,
            options.send_queue_bytes,
            options.socket_buffer_bytes,
        ),
        mode: convert::send_mode()?,
        ..defaults
    };
    let listener = Reactor::of(&env)?.listener();
    let id = listener.id();
    let (server, consumers) = engine()?.listen(options, listener).map_err(error)?;
    let rings: Vec<_> =
        consumers.into_iter().map(|consumer| NativeRing::new(consumer, id)).collect();
    Ok(NativeServer { id, server, rings: rings.into(), open: RefCell::default() })
}

/// A grant until `expires_at`, milliseconds since the epoch.
pub(crate) fn grant(expires_at: f64, preshared_key: Option<&Uint8Array>) -> Result<Grant> {
    Ok(Grant {
        expires_at: instant(expires_at)?,
        preshared_key: convert::preshared_key(preshared_key)?,
    })
}

/// The instant of a wall-clock time in milliseconds since the epoch; `None` when it never comes.
fn instant(milliseconds: f64) -> Result<Option<Instant>> {
    if milliseconds == f64::INFINITY {
        return Ok(None);
    }
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let left = Duration::try_from_secs_f64((milliseconds / 1000.0 - wall.as_secs_f64()).max(0.0))
        .map_err(|_| invalid("expiresAt"))?;
    // What the clock can't hold is further away than any process lives.
    Ok(Instant::now().checked_add(left))
}

#[napi]
impl NativeServer {
    fn check(&self, tunnel: u32, packet: &[u8]) -> Result<()> {
        if !self.open.borrow().contains(&tunnel) {
            return Err(error(Error::UnknownTunnel));
        }
        self.server.check(packet, MAX_PACKET).map_err(error)
    }

    /// The number that signals name.
    #[napi(getter)]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The delivery rings, one a shard. Given once.
    #[napi(getter)]
    pub fn rings(&self) -> Vec<NativeRing> {
        self.rings.take()
    }

    /// The address that it listens on.
    #[napi(getter)]
    pub fn bound(&self) -> NativeAddress {
        self.server.bound().into()
    }

    /// Lets an identity pass until `expires_at`, milliseconds since the epoch.
    #[napi]
    pub fn authorize(
        &self,
        identity: Uint8Array,
        expires_at: f64,
        preshared_key: Option<Uint8Array>,
    ) -> Result<()> {
        let grant = grant(expires_at, preshared_key.as_ref())?;
        self.server.authorize(convert::identity(&identity)?, grant);
        Ok(())
    }

    /// Refuses an identity that waits.
    #[napi]
    pub fn refuse(&self, identity: Uint8Array) -> Result<()> {
        self.server.refuse(convert::identity(&identity)?);
        Ok(())
    }

    /// Ends an authorization, at once.
    #[napi]
    pub fn revoke(&self, identity: Uint8Array) -> Result<()> {
        self.server.revoke(convert::identity(&identity)?);
        Ok(())
    }

    /// What is known of a tunnel; none when it is gone.
    #[napi]
    pub fn tunnel_status(&self, tunnel: u32) -> Option<NativeTunnelStatus> {
        self.server.status(tunnel).map(Into::into)
    }

    /// Closes one tunnel.
    #[napi]
    pub fn close_tunnel(&self, tunnel: u32) {
        self.server.close_tunnel(tunnel);
    }

    /// Whether a packet to a tunnel would be taken now.
    #[napi]
    pub fn has_room(&self, tunnel: u32) -> bool {
        self.server.has_room(tunnel)
    }

    /// Sends one packet. Returns a [`Tally`], as all that send do.
    #[napi]
    pub fn send(&self, tunnel: u32, packet: Uint8ArraySlice<'_>) -> Result<f64> {
        self.check(tunnel, &packet)?;
        Ok(Tally::of(self.server.submit(tunnel, 1, |_| (tunnel, &packet))))
    }

    /// Sends many packets.
    #[napi]
    pub fn send_many(&self, tunnel: u32, packets: Array<'_>, from: u32) -> Result<f64> {
        send_array(
            &packets,
            from,
            |packet| self.check(tunnel, packet),
            |piece| self.server.submit(tunnel, piece.len(), |index| (tunnel, piece[index])),
        )
    }

    /// Sends the segments of one buffer.
    #[napi]
    pub fn send_segments(
        &self,
        tunnel: u32,
        data: Uint8ArraySlice<'_>,
        size: u32,
        from: u32,
    ) -> Result<f64> {
        send_segments(
            &data,
            size,
            from,
            |packet| self.check(tunnel, packet),
            |count, segment| self.server.submit(tunnel, count, |index| (tunnel, segment(index))),
        )
    }

    /// Sends each packet of a batch of this server back to where it came from.
    #[napi]
    pub fn send_ring(&self, ring: &NativeRing, from: u32) -> Result<f64> {
        // Another server's numbers could be those of somebody else's tunnels here.
        if ring.owner() != self.id {
            return Err(invalid("the batch is of another server"));
        }
        ring.lend(from, MAX_PACKET, |count, packet| self.server.submit(packet(0).0, count, packet))
    }

    /// Sends a batch to one tunnel.
    #[napi]
    pub fn send_ring_to(&self, tunnel: u32, ring: &NativeRing, from: u32) -> Result<f64> {
        ring.lend(from, MAX_PACKET, |count, packet| {
            self.server.submit(tunnel, count, |index| (tunnel, packet(index).1))
        })
    }

    /// What happened since the last call.
    #[napi]
    pub fn take_events(&self) -> Vec<NativeServerEvent> {
        std::iter::from_fn(|| self.server.poll_notice()).map(|notice| self.event(notice)).collect()
    }

    fn event(&self, notice: ServerNotice) -> NativeServerEvent {
        match notice {
            ServerNotice::Event { event, max_packet_size } => {
                match event {
                    ServerEvent::Opened { tunnel, .. } => self.open.borrow_mut().insert(tunnel),
                    ServerEvent::Closed { tunnel, .. } => self.open.borrow_mut().remove(&tunnel),
                    _ => false,
                };
                let max_packet_size = max_packet_size.map(|size| size as u32);
                NativeServerEvent { max_packet_size, ..event.into() }
            }
            ServerNotice::Closed { broken } => NativeServerEvent {
                r#type: "closed".into(),
                code: broken.then(|| Error::Internal.code().into()),
                message: broken.then(|| Error::Internal.to_string()),
                ..Default::default()
            },
        }
    }

    /// All counters, by name, summed over the shards.
    #[napi]
    pub fn stats<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        convert::counters(env, |each| self.server.counters(each))
    }

    /// Starts to close.
    #[napi]
    pub fn close(&self) {
        self.server.close();
    }
}
