//! A server without I/O, for those who bring their own transport. The same core as the engine runs.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use napi::{
    Env,
    bindgen_prelude::{Object, Uint8Array, Uint8ArraySlice},
};
use napi_derive::napi;
use snaptun::{
    Error, Transmit,
    authorization::AuthorizationTable,
    server::{CloseReason, ServerConfig, SnapTunServer},
};

use crate::{
    convert::{self, NativeAddress, Result, error},
    server::{NativeServerEvent, grant},
};

/// Options of `NativeServerCore`.
#[napi(object)]
#[allow(missing_docs, reason = "see src/native.ts")]
pub struct NativeServerCoreOptions {
    pub private_key: Uint8Array,
    pub max_tunnels: u32,
    pub max_tunnels_per_identity: u32,
    pub max_pending_authorizations: u32,
    pub authorization_timeout: f64,
}

/// A datagram to be sent.
#[napi(object)]
#[allow(missing_docs, reason = "see src/native.ts")]
pub struct NativeDatagram {
    pub remote: NativeAddress,
    pub data: Uint8Array,
}

/// A packet out of a tunnel.
#[napi(object)]
#[allow(missing_docs, reason = "see src/native.ts")]
pub struct NativePacket {
    pub tunnel: u32,
    pub data: Uint8Array,
}

#[derive(Default)]
struct Datagrams(Vec<NativeDatagram>);

impl Transmit for Datagrams {
    fn transmit(&mut self, target: SocketAddr, _source: Option<IpAddr>, datagram: &[u8]) {
        self.0.push(NativeDatagram { remote: target.into(), data: datagram.to_vec().into() });
    }
}

struct Core {
    server: SnapTunServer,
    out: Datagrams,
}

/// A server without I/O.
#[napi]
pub struct NativeServerCore {
    core: RefCell<Core>,
    table: Arc<AuthorizationTable>,
}

#[napi]
impl NativeServerCore {
    /// A server without tunnels.
    #[napi(constructor)]
    pub fn new(options: NativeServerCoreOptions) -> Result<Self> {
        let now = Instant::now();
        let pending = options.max_pending_authorizations as usize;
        let table = Arc::new(AuthorizationTable::new(now, pending));
        let config = ServerConfig {
            private_key: convert::private_key(&options.private_key)?,
            max_tunnels: options.max_tunnels as usize,
            max_tunnels_per_identity: options.max_tunnels_per_identity as usize,
            max_pending_authorizations: pending,
            authorization_timeout: convert::milliseconds(options.authorization_timeout)?,
            shard: 0,
        };
        let server = SnapTunServer::new(config, table.clone(), now);
        let core = RefCell::new(Core { server, out: Datagrams::default() });
        Ok(Self { core, table })
    }

    /// Takes a datagram from the network. Returns the packet that was in it, if any.
    #[napi]
    pub fn handle_incoming(
        &self,
        datagram: Uint8ArraySlice<'_>,
        from: NativeAddress,
    ) -> Result<Option<NativePacket>> {
        let (now, from) = (Instant::now(), from.parse()?);
        let Core { server, out } = &mut *self.core.borrow_mut();
        let packet = server.handle_incoming(now, from, None, (&*datagram).into(), out);
        server.handshake(now, out);
        Ok(packet.map(|(tunnel, packet)| NativePacket { tunnel, data: packet.to_vec().into() }))
    }

    /// Seals a packet for a tunnel.
    #[napi]
    pub fn handle_outgoing(&self, tunnel: u32, packet: Uint8ArraySlice<'_>) -> Result<()> {
        if packet.is_empty() {
            return Err(error(Error::PacketEmpty));
        }
        let clock = self.table.clock(Instant::now());
        let Core { server, out } = &mut *self.core.borrow_mut();
        let route = server.route(tunnel).ok_or_else(|| error(Error::UnknownTunnel))?;
        if let Some(sealed) = server.handle_outgoing(clock, tunnel, (&*packet).into(), out) {
            out.transmit(route.target, route.source, &sealed.into_bytes());
        }
        Ok(())
    }

    /// Does what is due.
    #[napi]
    pub fn update_timers(&self) {
        let now = Instant::now();
        let Core { server, out } = &mut *self.core.borrow_mut();
        server.update_timers(now, out);
        self.table.sweep(now);
    }

    /// Milliseconds until `update_timers` should be called; none while there is nothing to wait for.
    #[napi]
    pub fn next_timer(&self) -> Option<f64> {
        let core = self.core.borrow();
        let waits = core.server.tunnel_count() + core.server.authorizations_waiting() > 0;
        waits.then(|| Duration::from_millis(250).as_secs_f64() * 1000.0)
    }

    /// What is to be sent.
    #[napi]
    pub fn take_datagrams(&self) -> Vec<NativeDatagram> {
        std::mem::take(&mut self.core.borrow_mut().out.0)
    }

    /// What happened since the last call.
    #[napi]
    pub fn take_events(&self) -> Vec<NativeServerEvent> {
        let mut core = self.core.borrow_mut();
        std::iter::from_fn(|| core.server.poll_event()).map(Into::into).collect()
    }

    /// Lets an identity pass until `expires_at`, milliseconds since the epoch.
    #[napi]
    pub fn authorize(
        &self,
        identity: Uint8Array,
        expires_at: f64,
        preshared_key: Option<Uint8Array>,
    ) -> Result<()> {
        let (identity, now) = (convert::identity(&identity)?, Instant::now());
        self.table.grant(identity, grant(expires_at, preshared_key.as_ref())?, now);
        let Core { server, out } = &mut *self.core.borrow_mut();
        server.resolve(identity, now, out);
        Ok(())
    }

    /// Refuses an identity that waits.
    #[napi]
    pub fn refuse(&self, identity: Uint8Array) -> Result<()> {
        let (identity, now) = (convert::identity(&identity)?, Instant::now());
        self.table.refuse(identity, now);
        let Core { server, out } = &mut *self.core.borrow_mut();
        server.resolve(identity, now, out);
        Ok(())
    }

    /// Ends an authorization and its tunnels.
    #[napi]
    pub fn revoke(&self, identity: Uint8Array) -> Result<()> {
        let identity = convert::identity(&identity)?;
        self.table.revoke(identity, Instant::now());
        self.core.borrow_mut().server.close_identity(identity, CloseReason::Revoked);
        Ok(())
    }

    /// Closes one tunnel.
    #[napi]
    pub fn close_tunnel(&self, tunnel: u32) {
        self.core.borrow_mut().server.close_tunnel(tunnel, CloseReason::Closed);
    }

    /// All counters, by name.
    #[napi]
    pub fn stats<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let core = self.core.borrow();
        convert::counters(env, |each| core.server.counters(each))
    }
}
