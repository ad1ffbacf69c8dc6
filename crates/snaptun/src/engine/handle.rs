//! The engine's handles for asynchronous Rust: one packet at a time, copied, simple.
//!
//! Who wants batches uses [`Tunnel`], [`Server`] and their consumers as they are.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    ClientEvent, Engine, Fate, Listener, Server, ServerNotice, ServerOptions, Signals, Tunnel,
    TunnelOptions, ring::Consumer,
};
use crate::{
    Counter, Error, Identity, Result,
    authorization::Grant,
    server::{ServerEvent, TunnelId},
    tunnel::TunnelEvent,
};

/// Wakes whoever waits for anything; they look for themselves.
#[derive(Default)]
struct Wake(Notify);

impl Listener for Wake {
    fn signal(&self, _: Signals) {
        self.0.notify_waiters();
    }
}

impl Wake {
    /// Looks, and waits for a signal, until there is something.
    async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let signalled = self.0.notified();
            tokio::pin!(signalled);
            // Registers, so that a signal between the look and the wait is not missed.
            signalled.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            signalled.await;
        }
    }
}

/// The next packet of a ring, copied.
fn next_packet(consumer: &mut Consumer) -> Option<(TunnelId, Vec<u8>)> {
    let found = match consumer.take(1) {
        0 => None,
        _ => {
            consumer.descriptor(0).map(|one| one.tunnel).zip(consumer.packet(0).map(<[u8]>::to_vec))
        }
    };
    consumer.release();
    found.or_else(|| if consumer.arm() { None } else { next_packet(consumer) })
}

#[derive(Default)]
struct TunnelState {
    local: Option<SocketAddr>,
    closed: Option<Option<Error>>,
}

/// A client's tunnel.
pub struct AsyncTunnel {
    tunnel: Tunnel,
    consumer: Mutex<Consumer>,
    state: Mutex<TunnelState>,
    wake: Arc<Wake>,
}

impl AsyncTunnel {
    /// Opens a tunnel. Packets may be sent at once; see [`ready`](Self::ready).
    ///
    /// # Errors
    /// Those of [`Engine::open_tunnel`].
    pub fn open(engine: &Engine, options: TunnelOptions) -> Result<Self> {
        let wake = Arc::new(Wake::default());
        let (tunnel, consumer) = engine.open_tunnel(options, wake.clone())?;
        Ok(Self { tunnel, consumer: consumer.into(), state: Mutex::default(), wake })
    }

    /// The engine's handle.
    pub fn tunnel(&self) -> &Tunnel {
        &self.tunnel
    }

    fn look(&self) -> parking_lot::MutexGuard<'_, TunnelState> {
        let mut state = self.state.lock();
        while let Some(event) = self.tunnel.poll_event() {
            match event {
                ClientEvent::Tunnel(TunnelEvent::Connected { local }) => state.local = Some(local),
                ClientEvent::Closed(error) => state.closed = Some(error),
                ClientEvent::Tunnel(_) | ClientEvent::MaxPacketSize(_) => {}
            }
        }
        state
    }

    /// Waits for the first handshake. Returns our address as the server sees it.
    ///
    /// # Errors
    /// Why it closed; [`Error::Closed`] when that was told already.
    pub async fn ready(&self) -> Result<SocketAddr> {
        self.wake
            .until(|| {
                let mut state = self.look();
                match &mut state.closed {
                    Some(error) => Some(Err(error.take().unwrap_or(Error::Closed))),
                    None => state.local.map(Ok),
                }
            })
            .await
    }

    /// Sends a packet if there is room for it now, and says what became of it; `None` when there is
    /// not.
    ///
    /// # Errors
    /// Those of [`Tunnel::check`].
    pub fn try_send(&self, packet: &[u8]) -> Result<Option<Fate>> {
        self.tunnel.check(packet)?;
        let taken = self.tunnel.submit(1, |_| packet);
        Ok((taken.packets == 1).then_some(taken.fate))
    }

    /// Sends a packet, waits for room, and says what became of it. Cancelled: it is not sent.
    ///
    /// # Errors
    /// Those of [`Tunnel::check`].
    pub async fn send(&self, packet: &[u8]) -> Result<Fate> {
        self.wake.until(|| self.try_send(packet).transpose()).await
    }

    /// Waits for the next packet. Cancelled: none is lost.
    ///
    /// # Errors
    /// Why it closed; [`Error::Closed`] when that was told already.
    pub async fn recv(&self) -> Result<Vec<u8>> {
        self.wake
            .until(|| match next_packet(&mut self.consumer.lock()) {
                Some((_, packet)) => Some(Ok(packet)),
                None => {
                    let closed = self.look().closed.as_mut().map(Option::take);
                    closed.map(|error| Err(error.unwrap_or(Error::Closed)))
                }
            })
            .await
    }

    /// Closes it, and waits until the socket is released.
    pub async fn close(&self) {
        self.tunnel.close();
        self.wake.until(|| self.look().closed.is_some().then_some(())).await;
    }

    /// A counter by its name; 0 when there is none of that name.
    pub fn counter(&self, name: &str) -> u64 {
        find_counter(name, |each| self.tunnel.counters(each))
    }
}

fn find_counter(name: &str, counters: impl FnOnce(&mut dyn FnMut(Counter))) -> u64 {
    let mut found = 0;
    counters(&mut |(other, value)| {
        if other == name {
            found = value;
        }
    });
    found
}

/// What is known of a server's tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelInfo {
    /// Whose it is.
    pub identity: Identity,
    /// Where it leads.
    pub remote: SocketAddr,
    /// The largest packet that it takes, in bytes.
    pub max_packet_size: usize,
}

#[derive(Default)]
struct ServerState {
    tunnels: HashMap<TunnelId, TunnelInfo>,
    closed: bool,
}

/// Decides about an identity: what it is granted, or `None` to refuse it.
type Authorizer = dyn Fn(Identity, SocketAddr) -> Option<Grant> + Send + Sync;

/// A server that answers authorizations with a closure.
pub struct AsyncServer {
    server: Server,
    consumers: Mutex<Vec<Consumer>>,
    state: Mutex<ServerState>,
    authorizer: Box<Authorizer>,
    wake: Arc<Wake>,
}

impl AsyncServer {
    /// Listens. The closure is called from within [`recv`](Self::recv) and the other calls that
    /// wait: somebody has to be in one of them for clients to get in.
    ///
    /// # Errors
    /// Those of [`Engine::listen`].
    pub fn listen(
        engine: &Engine,
        options: ServerOptions,
        authorizer: impl Fn(Identity, SocketAddr) -> Option<Grant> + Send + Sync + 'static,
    ) -> Result<Self> {
        let wake = Arc::new(Wake::default());
        let (server, consumers) = engine.listen(options, wake.clone())?;
        Ok(Self {
            server,
            consumers: consumers.into(),
            state: Mutex::default(),
            authorizer: Box::new(authorizer),
            wake,
        })
    }

    /// The engine's handle.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.bound()
    }

    fn look(&self) -> parking_lot::MutexGuard<'_, ServerState> {
        while let Some(notice) = self.server.poll_notice() {
            let (event, max_packet_size) = match notice {
                ServerNotice::Event { event, max_packet_size } => (event, max_packet_size),
                ServerNotice::Closed { .. } => {
                    self.state.lock().closed = true;
                    continue;
                }
            };
            match event {
                ServerEvent::Authorize { identity, remote } => {
                    match (self.authorizer)(identity, remote) {
                        Some(grant) => self.server.authorize(identity, grant),
                        None => self.server.refuse(identity),
                    }
                }
                ServerEvent::Opened { tunnel, identity, remote } => {
                    let max_packet_size = max_packet_size.unwrap_or_default();
                    let info = TunnelInfo { identity, remote, max_packet_size };
                    self.state.lock().tunnels.insert(tunnel, info);
                }
                ServerEvent::Closed { tunnel, .. } => {
                    self.state.lock().tunnels.remove(&tunnel);
                }
                ServerEvent::Unauthorized { .. } => {}
            }
        }
        self.state.lock()
    }

    /// What is known of a tunnel; `None` when it is not open.
    pub fn tunnel(&self, tunnel: TunnelId) -> Option<TunnelInfo> {
        self.look().tunnels.get(&tunnel).copied()
    }

    /// Waits for the next packet of any tunnel. Cancelled: none is lost.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn recv(&self) -> Result<(TunnelId, Vec<u8>)> {
        self.wake
            .until(|| {
                let packet = self.consumers.lock().iter_mut().find_map(next_packet);
                let closed = self.look().closed;
                packet.map(Ok).or_else(|| closed.then_some(Err(Error::Closed)))
            })
            .await
    }

    /// Sends a packet, and waits for room. Cancelled: it is not sent.
    ///
    /// # Errors
    /// [`Error::UnknownTunnel`], and those of [`Server::check`].
    pub async fn send(&self, tunnel: TunnelId, packet: &[u8]) -> Result<()> {
        self.wake
            .until(|| {
                let Some(info) = self.tunnel(tunnel) else {
                    return Some(Err(Error::UnknownTunnel));
                };
                if let Err(error) = self.server.check(packet, info.max_packet_size) {
                    return Some(Err(error));
                }
                let taken = self.server.submit(tunnel, 1, |_| (tunnel, packet));
                (taken.packets == 1).then_some(Ok(()))
            })
            .await
    }

    /// Closes it, and waits until all sockets are released.
    pub async fn close(&self) {
        self.server.close();
        self.wake.until(|| self.look().closed.then_some(())).await;
    }

    /// A counter by its name; 0 when there is none of that name.
    pub fn counter(&self, name: &str) -> u64 {
        find_counter(name, |each| self.server.counters(each))
    }
}
