//! A client's tunnel.

use std::cell::RefCell;

use napi::{
    Env,
    bindgen_prelude::{Array, Object, Uint8Array, Uint8ArraySlice},
};
use napi_derive::napi;
use snaptun::{
    engine::{ClientEvent, Fate, Limits, Taken, Tunnel, TunnelOptions},
    tunnel::{ReconnectCause, ReconnectPolicy, TunnelConfig, TunnelEvent},
};

use crate::{
    convert::{self, NativeAddress, Result, error, invalid},
    engine,
    reactor::Reactor,
    ring::NativeRing,
};

/// Packets of an array that are looked at before they are sent: enough for a full train.
const PIECE: usize = 64;

/// Packets that one call sends at most: a millisecond of work, during which the event loop stands
/// still. The TypeScript layer calls again for the rest, after a turn of the loop.
pub(crate) const CALL_PACKETS: usize = 1024;

/// Options of `openTunnel`.
#[napi(object)]
#[allow(missing_docs, reason = "see src/native.ts")]
pub struct NativeTunnelOptions {
    pub private_key: Uint8Array,
    pub server_public_key: Uint8Array,
    pub preshared_key: Option<Uint8Array>,
    pub server: NativeAddress,
    pub bind: Option<NativeAddress>,
    pub connect_timeout: f64,
    pub keepalive: u16,
    pub reconnect: Option<NativeReconnect>,
    pub liveness_timeout: Option<f64>,
    pub keep_on_address_change: bool,
    pub receive_queue_packets: u32,
    pub receive_queue_bytes: u32,
    pub send_queue_packets: u32,
    pub send_queue_bytes: u32,
    pub high_water_mark: u32,
    pub socket_buffer_bytes: u32,
}

/// How to reconnect.
#[napi(object)]
#[allow(missing_docs, reason = "see src/native.ts")]
pub struct NativeReconnect {
    pub initial_delay: f64,
    pub max_delay: f64,
    pub factor: f64,
    pub jitter: f64,
    pub max_elapsed: Option<f64>,
}

/// An event of a tunnel.
#[napi(object)]
#[derive(Default)]
#[allow(missing_docs, reason = "see src/native.ts")]
pub struct NativeTunnelEvent {
    pub r#type: String,
    pub local: Option<NativeAddress>,
    pub max_packet_size: Option<u32>,
    pub attempt: Option<u32>,
    pub delay: Option<f64>,
    pub cause: Option<String>,
    pub code: Option<String>,
    pub message: Option<String>,
}

/// A client's tunnel.
#[napi]
pub struct NativeTunnel {
    id: u32,
    tunnel: Tunnel,
    ring: RefCell<Option<NativeRing>>,
}

/// Binds a socket and starts the handshake.
#[napi]
pub fn open_tunnel(env: Env, options: NativeTunnelOptions) -> Result<NativeTunnel> {
    let config = TunnelConfig {
        preshared_key: convert::preshared_key(options.preshared_key.as_ref())?,
        connect_timeout: convert::milliseconds(options.connect_timeout)?,
        keepalive: options.keepalive,
        reconnect: options.reconnect.map(NativeReconnect::policy).transpose()?,
        liveness_timeout: options.liveness_timeout.map(convert::milliseconds).transpose()?,
        keep_on_address_change: options.keep_on_address_change,
        ..TunnelConfig::new(
            convert::private_key(&options.private_key)?,
            convert::identity(&options.server_public_key)?,
            options.server.parse()?,
        )
    };
    if config.server.port() == 0 {
        return Err(invalid("the server's port is 0"));
    }
    let options = TunnelOptions {
        config,
        bind: options.bind.map(|address| address.parse()).transpose()?,
        limits: Limits {
            high_water: options.high_water_mark as usize,
            ..convert::limits(
                options.receive_queue_packets,
                options.receive_queue_bytes,
                options.send_queue_packets,
                options.send_queue_bytes,
                options.socket_buffer_bytes,
            )
        },
        mode: convert::send_mode()?,
    };
    let listener = Reactor::of(&env)?.listener();
    let id = listener.id();
    let (tunnel, consumer) = engine()?.open_tunnel(options, listener).map_err(error)?;
    Ok(NativeTunnel { id, tunnel, ring: Some(NativeRing::new(consumer, id)).into() })
}

impl NativeReconnect {
    fn policy(self) -> Result<ReconnectPolicy> {
        Ok(ReconnectPolicy {
            initial_delay: convert::milliseconds(self.initial_delay)?,
            max_delay: convert::milliseconds(self.max_delay)?,
            factor: self.factor,
            jitter: convert::milliseconds(self.jitter)?,
            max_elapsed: self.max_elapsed.map(convert::milliseconds).transpose()?,
        })
    }
}

/// What became of the packets of one call, as one number for JavaScript: how many were sent, times
/// 2^11 plus how many queued, times 2^22 plus how many dropped. None of all is «full».
#[derive(Default)]
pub(crate) struct Tally {
    taken: usize,
    code: f64,
}

impl Tally {
    /// A call takes at most [`CALL_PACKETS`], so that a count has 11 bits.
    const UNITS: [f64; 3] = [1.0, 2048.0, 4_194_304.0];

    pub(crate) fn of(taken: Taken) -> f64 {
        let mut tally = Self::default();
        tally.add(taken);
        tally.code
    }

    fn add(&mut self, taken: Taken) {
        let unit = match taken.fate {
            Fate::Sent => Self::UNITS[0],
            Fate::Queued => Self::UNITS[1],
            Fate::Dropped => Self::UNITS[2],
        };
        self.taken += taken.packets;
        self.code += unit * taken.packets as f64;
    }
}

/// Sends the elements of `packets` from number `from` on, in pieces, until one is not taken or not a
/// packet, or it is enough for one call. An error when the first is not a packet.
pub(crate) fn send_array(
    packets: &Array<'_>,
    from: u32,
    check: impl Fn(&[u8]) -> Result<()>,
    submit: impl Fn(&[&[u8]]) -> Taken,
) -> Result<f64> {
    let mut tally = Tally::default();
    let mut next = from;
    loop {
        let mut piece: [&[u8]; PIECE] = [&[]; PIECE];
        let mut count = 0;
        let mut failure = None;
        while count < PIECE && next + (count as u32) < packets.len() {
            let element = packets.get::<Uint8ArraySlice<'_>>(next + count as u32);
            let Ok(Some(packet)) = element else {
                failure = Some(invalid("a packet is not a Uint8Array"));
                break;
            };
            // SAFETY: the memory belongs to an array that `packets` refers to, and no JavaScript
            // runs before we return, so that nothing can detach or collect it.
            let packet: &[u8] =
                unsafe { std::slice::from_raw_parts(packet.as_ptr(), packet.len()) };
            if let Err(error) = check(packet) {
                failure = Some(error);
                break;
            }
            piece[count] = packet;
            count += 1;
        }
        let taken = submit(&piece[..count]);
        tally.add(taken);
        next += taken.packets as u32;
        match failure {
            Some(error) if next == from => return Err(error),
            None if taken.packets == PIECE && tally.taken < CALL_PACKETS => {}
            _ => return Ok(tally.code),
        }
    }
}

/// Sends `data` from byte `from` on, cut at `size` bytes.
pub(crate) fn send_segments<'d>(
    data: &'d [u8],
    size: u32,
    from: u32,
    check: impl Fn(&[u8]) -> Result<()>,
    submit: impl Fn(usize, &dyn Fn(usize) -> &'d [u8]) -> Taken,
) -> Result<f64> {
    let rest = data.get(from as usize..).unwrap_or_default();
    let size = size as usize;
    if rest.is_empty() || size == 0 {
        return Err(invalid("there is nothing to send"));
    }
    check(&rest[..size.min(rest.len())])?;
    let segment = |index: usize| &rest[index * size..rest.len().min((index + 1) * size)];
    Ok(Tally::of(submit(rest.len().div_ceil(size).min(CALL_PACKETS), &segment)))
}

#[napi]
impl NativeTunnel {
    fn check(&self, packet: &[u8]) -> Result<()> {
        self.tunnel.check(packet).map_err(error)
    }

    /// The number that signals name.
    #[napi(getter)]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The delivery ring. Given once.
    #[napi(getter)]
    pub fn ring(&self) -> Result<NativeRing> {
        self.ring.take().ok_or_else(|| invalid("ring is given once"))
    }

    /// The address of the socket.
    #[napi(getter)]
    pub fn bound(&self) -> NativeAddress {
        self.tunnel.bound().into()
    }

    /// The largest packet that it takes, in bytes.
    #[napi(getter)]
    pub fn max_packet_size(&self) -> u32 {
        self.tunnel.max_packet_size() as u32
    }

    /// Sends one packet. Returns a [`Tally`], as all that send do.
    #[napi]
    pub fn send(&self, packet: Uint8ArraySlice<'_>) -> Result<f64> {
        self.check(&packet)?;
        Ok(Tally::of(self.tunnel.submit(1, |_| &packet)))
    }

    /// Whether a packet would be taken now.
    #[napi]
    pub fn has_room(&self) -> bool {
        self.tunnel.has_room()
    }

    /// Sends many packets.
    #[napi]
    pub fn send_many(&self, packets: Array<'_>, from: u32) -> Result<f64> {
        send_array(
            &packets,
            from,
            |packet| self.check(packet),
            |piece| self.tunnel.submit(piece.len(), |index| piece[index]),
        )
    }

    /// Sends the segments of one buffer.
    #[napi]
    pub fn send_segments(&self, data: Uint8ArraySlice<'_>, size: u32, from: u32) -> Result<f64> {
        send_segments(
            &data,
            size,
            from,
            |packet| self.check(packet),
            |count, segment| self.tunnel.submit(count, segment),
        )
    }

    /// Sends the batch that was taken from a ring.
    #[napi]
    pub fn send_ring(&self, ring: &NativeRing, from: u32) -> Result<f64> {
        ring.lend(from, self.tunnel.max_packet_size(), |count, packet| {
            self.tunnel.submit(count, |index| packet(index).1)
        })
    }

    /// What happened since the last call.
    #[napi]
    pub fn take_events(&self) -> Vec<NativeTunnelEvent> {
        std::iter::from_fn(|| self.tunnel.poll_event()).map(|event| self.event(event)).collect()
    }

    fn event(&self, event: ClientEvent) -> NativeTunnelEvent {
        let named = |name: &str| NativeTunnelEvent { r#type: name.into(), ..Default::default() };
        match event {
            ClientEvent::Tunnel(TunnelEvent::Connected { local }) => {
                NativeTunnelEvent { local: Some(local.into()), ..named("connected") }
            }
            ClientEvent::Tunnel(TunnelEvent::Reconnecting { attempt, delay, cause }) => {
                let cause = match cause {
                    ReconnectCause::Expired => "expired",
                    ReconnectCause::Silent => "silent",
                    ReconnectCause::Unanswered => "unanswered",
                };
                NativeTunnelEvent {
                    attempt: Some(attempt),
                    delay: Some(delay.as_secs_f64() * 1000.0),
                    cause: Some(cause.into()),
                    ..named("reconnecting")
                }
            }
            ClientEvent::Tunnel(TunnelEvent::Reconnected) => named("reconnected"),
            ClientEvent::Tunnel(TunnelEvent::AddressChanged { local }) => {
                NativeTunnelEvent { local: Some(local.into()), ..named("addresschange") }
            }
            ClientEvent::MaxPacketSize(size) => {
                NativeTunnelEvent { max_packet_size: Some(size as u32), ..named("mtu") }
            }
            ClientEvent::Tunnel(TunnelEvent::Closed(why)) | ClientEvent::Closed(why) => {
                NativeTunnelEvent {
                    code: why.as_ref().map(|error| error.code().into()),
                    message: why.as_ref().map(ToString::to_string),
                    ..named("closed")
                }
            }
        }
    }

    /// All counters, by name.
    #[napi]
    pub fn stats<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        convert::counters(env, |each| self.tunnel.counters(each))
    }

    /// Starts to close.
    #[napi]
    pub fn close(&self) {
        self.tunnel.close();
    }
}
