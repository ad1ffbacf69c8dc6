//! A client put together from the public parts that the real one is made of: `Tunn`, `UdpBatchSender` and
//! `UdpBatchReceiver`.
//!
//! It does what `SnapTunnel` cannot be asked to do: take packets before the handshake is done, and send in batches.
//! It does not do what `SnapTunnel` does beyond that: register with a control plane, or start over after its session
//! has expired.

use std::{collections::VecDeque, convert::Infallible, net::SocketAddr, sync::Arc};

use ana_gotatun::{
    noise::{Tunn, TunnResult, errors::WireGuardError, rate_limiter::RateLimiter},
    packet::{Packet, PacketBufPool, WgKind},
    x25519,
};
use bytes::Bytes;
use snap_tun::{
    client::PERSISTENT_KEEPALIVE_SECONDS,
    udp_batch::{QueuePacketError, RecvBatchError, UdpBatchReceiver, UdpBatchSender},
};
use tokio::{net::UdpSocket, time::MissedTickBehavior};

use crate::{
    KeyPair, PeerClientOptions, PeerError, SocketBuffers, bind,
    server::{BUFFER_SIZE, RECEIVE_BATCH, SEND_BATCH, TIMER_PERIOD, datagram},
};

/// Header and tag of a data message.
pub(crate) const OVERHEAD: usize = 32;
/// The limit that the real client gives to its limiter.
const HANDSHAKE_LIMIT: u64 = 20;

/// One tunnel, without a task of its own: it moves only while one of its methods is awaited.
pub struct TunnPeerClient {
    socket: UdpSocket,
    session: Session,
    inlet: Inlet,
    received: VecDeque<Bytes>,
    receive_queue: usize,
    underlay_address: SocketAddr,
    assigned: SocketAddr,
}

impl TunnPeerClient {
    /// Puts the `early` packets into the tunnel, does the handshake and sends them. The crate queues 256 of them at
    /// most and drops the others. To be called inside a tokio runtime. If it is cancelled, no tunnel remains.
    ///
    /// # Errors
    /// The socket cannot be bound or failed, or the handshake was not done within `connect_timeout`.
    pub async fn connect<P: AsRef<[u8]>>(
        options: PeerClientOptions,
        early: impl IntoIterator<Item = P>,
    ) -> Result<Self, PeerError> {
        let socket = bind(options.bind_address(), options.socket_buffer)?;
        let underlay_address = socket.local_addr()?;
        let public = x25519::PublicKey::from(KeyPair::from_private(options.private_key).public);
        let tunn = Tunn::new(
            x25519::StaticSecret::from(options.private_key),
            x25519::PublicKey::from(options.server_public_key),
            None,
            Some(PERSISTENT_KEEPALIVE_SECONDS),
            0,
            Arc::new(RateLimiter::new(&public, HANDSHAKE_LIMIT)),
            options.server,
        );
        let pool = PacketBufPool::new(options.pool.saturating_add(RECEIVE_BATCH));
        let receiver = UdpBatchReceiver::new(&socket, &pool)?;
        let sender = UdpBatchSender::new(&socket)?;
        let mut timer = tokio::time::interval(TIMER_PERIOD);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut client = Self {
            socket,
            session: Session { server: options.server, tunn, sender, undelivered: 0 },
            inlet: Inlet { receiver, pool, timer },
            received: VecDeque::new(),
            receive_queue: options.receive_queue,
            underlay_address,
            // Overwritten below: nobody gets hold of a client whose handshake is not done.
            assigned: underlay_address,
        };
        let Self { session, socket, .. } = &mut client;
        if let Some(initiation) = session.tunn.format_handshake_initiation(false) {
            session.queue(socket, initiation.into());
        }
        for packet in early {
            session.seal(socket, Packet::copy_from(packet.as_ref()));
        }
        client.flush().await?;
        let handshake = async {
            loop {
                client.turn().await?;
                if let Some(address) = client.session.tunn.get_initiator_remote_sockaddr() {
                    return Ok::<_, PeerError>(address);
                }
            }
        };
        client.assigned = tokio::time::timeout(options.connect_timeout, handshake)
            .await
            .map_err(|_| PeerError::Timeout(options.connect_timeout))??;
        Ok(client)
    }

    /// The address that the server assigned: the one that it saw.
    #[must_use]
    pub fn assigned_addr(&self) -> SocketAddr {
        self.assigned
    }

    /// The address of the client's own socket.
    #[must_use]
    pub fn underlay_addr(&self) -> SocketAddr {
        self.underlay_address
    }

    /// The socket buffers that the kernel granted.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn socket_buffers(&self) -> Result<SocketBuffers, PeerError> {
        SocketBuffers::of(&self.socket)
    }

    /// Datagrams that did not leave.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        self.session.undelivered
    }

    /// Seals a packet and puts it into the batch; sends the batch when it is full. What is in the batch leaves with
    /// the next [`flush`](Self::flush) at the latest.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn send(&mut self, payload: Packet) -> Result<(), PeerError> {
        if self.session.sender.is_full() {
            self.flush().await?;
        }
        self.session.seal(&self.socket, payload);
        Ok(())
    }

    /// Sends what is in the batch.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn flush(&mut self) -> Result<(), PeerError> {
        self.session.flush(&self.socket).await
    }

    /// Waits for the next packet.
    ///
    /// # Errors
    /// The socket failed, or the tunnel expired.
    pub async fn recv(&mut self) -> Result<Bytes, PeerError> {
        loop {
            if let Some(packet) = self.received.pop_front() {
                return Ok(packet);
            }
            self.turn().await?;
        }
    }

    /// Hands each packet that has arrived to `each`, without copying it, and does what is due. Waits for a batch or
    /// for the timer, so it may hand over nothing.
    ///
    /// # Errors
    /// The socket failed, or the tunnel expired.
    pub async fn recv_each(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), PeerError> {
        for packet in self.received.drain(..) {
            each(&packet);
        }
        self.inlet.turn(&self.socket, &mut self.session, each).await
    }

    /// Handles what has arrived and what is due, without waiting. One who only sends calls it now and then.
    ///
    /// # Errors
    /// The socket failed, or the tunnel expired.
    pub async fn service(&mut self) -> Result<(), PeerError> {
        tokio::select! {
            biased;
            result = self.turn() => result,
            () = std::future::ready(()) => Ok(()),
        }
    }

    /// A turn that keeps the packets for `recv`.
    async fn turn(&mut self) -> Result<(), PeerError> {
        let keep = |packet: &[u8]| {
            if self.received.len() < self.receive_queue {
                self.received.push_back(Bytes::copy_from_slice(packet));
            }
        };
        self.inlet.turn(&self.socket, &mut self.session, keep).await
    }
}

/// What makes the tunnel move: the way in, and the timer.
struct Inlet {
    receiver: UdpBatchReceiver<RECEIVE_BATCH, BUFFER_SIZE>,
    pool: PacketBufPool<BUFFER_SIZE>,
    timer: tokio::time::Interval,
}

impl Inlet {
    /// Waits for a batch or for the timer, handles it and sends what came of it.
    async fn turn(
        &mut self,
        socket: &UdpSocket,
        session: &mut Session,
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<(), PeerError> {
        let Self { receiver, pool, timer } = self;
        // Opened in the handler, so that each buffer goes back to the pool before the next one is taken: many at once
        // are beyond the pool and the cache.
        let batch = receiver.recv_batch(socket, pool, |datagram, from| {
            if from == session.server
                && let Ok(message) = datagram.try_into_wg()
                && let Some(packet) = session.open(socket, message)
            {
                deliver(&packet);
            }
            Ok::<(), Infallible>(())
        });
        tokio::select! {
            biased;
            _ = timer.tick() => match session.tunn.update_timers() {
                Ok(due) => {
                    if let Some(message) = due {
                        session.queue(socket, message);
                    }
                }
                Err(WireGuardError::ConnectionExpired) => {
                    return Err(PeerError::Stopped("the session expired".to_owned()));
                }
                Err(error) => return Err(PeerError::Stopped(format!("{error:?}"))),
            },
            // Safe to cancel: it waits for nothing but the socket to become readable.
            result = batch => match result {
                Ok(()) => {}
                Err(RecvBatchError::Io(error)) => return Err(PeerError::Io(error)),
                Err(RecvBatchError::Handler(never)) => match never {},
            },
        }
        session.flush(socket).await
    }
}

/// The tunnel and the way out. The socket is not in it, because packets are queued while it is being read.
struct Session {
    server: SocketAddr,
    tunn: Tunn,
    sender: UdpBatchSender<SEND_BATCH, BUFFER_SIZE>,
    undelivered: u64,
}

impl Session {
    fn open(&mut self, socket: &UdpSocket, message: WgKind) -> Option<Packet> {
        match self.tunn.handle_incoming_packet(message) {
            // An empty packet is a keepalive.
            TunnResult::WriteToTunnel(packet) => return (!packet.is_empty()).then_some(packet),
            TunnResult::WriteToNetwork(reply) => {
                self.queue(socket, reply);
                let queued: Vec<_> = self.tunn.get_queued_packets().collect();
                for packet in queued {
                    self.queue(socket, packet);
                }
            }
            // What does not open is dropped: it ends neither the batch nor the tunnel.
            TunnResult::Done | TunnResult::Err(_) => {}
        }
        None
    }

    fn seal(&mut self, socket: &UdpSocket, payload: Packet) {
        if let Some(message) = self.tunn.handle_outgoing_packet(payload) {
            self.queue(socket, message);
        }
    }

    fn queue(&mut self, socket: &UdpSocket, message: WgKind) {
        let lost = match self.sender.try_queue_packet(datagram(message), self.server) {
            Ok(()) => false,
            Err(QueuePacketError::Full { packet, target }) => {
                let _ = self.sender.try_flush_best_effort(socket);
                self.sender.try_queue_packet(packet, target).is_err()
            }
            Err(QueuePacketError::PacketTooLarge { .. }) => true,
        };
        self.undelivered += u64::from(lost);
    }

    async fn flush(&mut self, socket: &UdpSocket) -> Result<(), PeerError> {
        let result = self.sender.flush(socket).await;
        self.undelivered += self.sender.take_discarded_datagrams();
        Ok(result?)
    }
}
