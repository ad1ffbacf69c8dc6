//! A socket of datagrams in clear.
//!
//! What the system refuses is no exception here but a number below 0, as libuv has them: the
//! TypeScript layer makes the error that `dgram` would give of it.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use napi::{
    Either, Env,
    bindgen_prelude::{Array, Object, Uint8Array, Uint8ArraySlice},
};
use napi_derive::napi;
use snaptun::{
    MAX_DATAGRAM_V4, MAX_DATAGRAM_V6,
    engine::{
        Fate, Taken, UdpBatchSocket, UdpEvent, UdpFailure, UdpOptions, UdpSetting,
        udp::record::{self, HEAD_BYTES, TARGET_BYTES},
    },
    udp_batch::Envelope,
};

use crate::{
    convert::{self, NativeAddress, Result, error, invalid},
    engine,
    errno::errno,
    reactor::Reactor,
    ring::NativeRing,
    tunnel::{CALL_PACKETS, send_array, send_segments},
};

/// Options of `bindUdp`.
#[napi(object)]
#[allow(missing_docs, reason = "see src/native-udp.ts")]
pub struct NativeUdpOptions {
    pub bind: NativeAddress,
    pub ipv6_only: bool,
    pub reuse_port: bool,
    pub reuse_address: bool,
    pub receive_buffer: u32,
    pub send_buffer: u32,
    pub receive_queue_packets: u32,
    pub receive_queue_bytes: u32,
    pub send_queue_packets: u32,
    pub send_queue_bytes: u32,
}

/// An event of a socket.
#[napi(object)]
#[allow(missing_docs, reason = "see src/native-udp.ts")]
pub struct NativeUdpEvent {
    pub r#type: String,
    pub errno: Option<i32>,
    pub syscall: Option<String>,
    pub target: Option<NativeAddress>,
    pub datagrams: Option<f64>,
    pub broken: Option<bool>,
}

impl From<UdpEvent> for NativeUdpEvent {
    fn from(event: UdpEvent) -> Self {
        match event {
            UdpEvent::Failed(UdpFailure { error, sending, target, datagrams }) => Self {
                r#type: "failed".into(),
                errno: Some(errno(&error)),
                syscall: Some(if sending { "send" } else { "recvmsg" }.into()),
                target: target.map(Into::into),
                datagrams: Some(datagrams as f64),
                broken: None,
            },
            UdpEvent::Closed { broken } => Self {
                r#type: "closed".into(),
                errno: None,
                syscall: None,
                target: None,
                datagrams: None,
                broken: Some(broken),
            },
        }
    }
}

/// A socket of datagrams in clear.
#[napi]
pub struct NativeUdpSocket {
    id: u32,
    socket: UdpBatchSocket,
    ring: RefCell<Option<NativeRing>>,
}

/// Binds a socket. Returns what the system says when it refuses.
#[napi]
pub fn bind_udp(env: Env, options: NativeUdpOptions) -> Result<Either<NativeUdpSocket, i32>> {
    let bind = options.bind.parse()?;
    let options = UdpOptions {
        ipv6_only: options.ipv6_only,
        reuse_port: options.reuse_port,
        reuse_address: options.reuse_address,
        receive_buffer: options.receive_buffer as usize,
        send_buffer: options.send_buffer as usize,
        limits: convert::limits(
            options.receive_queue_packets,
            options.receive_queue_bytes,
            options.send_queue_packets,
            options.send_queue_bytes,
            0,
        ),
        ..UdpOptions::new(bind)
    };
    let listener = Reactor::of(&env)?.listener();
    let id = listener.id();
    Ok(match engine()?.bind_udp(options, listener) {
        Ok((socket, consumer)) => {
            let ring = NativeRing::behind(HEAD_BYTES, consumer, id);
            Either::A(NativeUdpSocket { id, socket, ring: Some(ring).into() })
        }
        Err(error) => Either::B(errno(&error)),
    })
}

/// 0, or what the system says.
fn outcome(result: io::Result<()>) -> i32 {
    result.map_or_else(|error| errno(&error), |()| 0)
}

/// The envelope to the address number `index` of `targets`; to the first when there is one only.
fn envelope(targets: &[u8], index: usize) -> Option<Envelope> {
    let at = if targets.len() == TARGET_BYTES { 0 } else { index * TARGET_BYTES };
    let (target, ecn) = record::read_target(targets.get(at..)?)?;
    Some(Envelope { target, source: None, ecn })
}

/// An address in the form that targets have; nothing when the text is none.
#[napi]
pub fn udp_target(address: String, port: u32, scope: u32) -> Option<Uint8Array> {
    let ip: IpAddr = address.parse().ok()?;
    let port = u16::try_from(port).ok()?;
    let mut target = match SocketAddr::new(ip.to_canonical(), port) {
        SocketAddr::V6(mut v6) => {
            v6.set_scope_id(scope);
            v6.into()
        }
        v4 @ SocketAddr::V4(_) => v4,
    };
    target.set_port(port);
    Some(record::write_target(target, 0).to_vec().into())
}

/// The text of 16 bytes of an IPv6 address.
#[napi]
pub fn udp_address_text(bytes: Uint8ArraySlice<'_>) -> Option<String> {
    let octets: [u8; 16] = bytes.as_ref().try_into().ok()?;
    Some(IpAddr::from(octets).to_canonical().to_string())
}

#[napi]
impl NativeUdpSocket {
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

    /// The local address: as it is now, or as it was bound when it is closed.
    #[napi(getter)]
    pub fn local(&self) -> NativeAddress {
        self.socket.local().unwrap_or_else(|_| self.socket.bound()).into()
    }

    fn check_open(&self) -> Result<()> {
        if self.socket.is_closed() { Err(error(snaptun::Error::Closed)) } else { Ok(()) }
    }

    fn check(&self, envelope: Option<Envelope>, length: usize) -> Result<Envelope> {
        self.check_open()?;
        let envelope = envelope.ok_or_else(|| invalid("there is no such target"))?;
        if self.socket.is_possible(envelope.target, length) {
            return Ok(envelope);
        }
        let max = if envelope.target.is_ipv4() { MAX_DATAGRAM_V4 } else { MAX_DATAGRAM_V6 };
        Err(if length > max {
            error(snaptun::Error::PacketTooLarge { length, max })
        } else {
            convert::address(&format!("{} is nothing that this socket sends to", envelope.target))
        })
    }

    /// Sends one datagram. Returns 1 or 0, or what the system says.
    #[napi]
    pub fn send(&self, datagram: Uint8ArraySlice<'_>, targets: Uint8ArraySlice<'_>) -> Result<i32> {
        let envelope = self.check(envelope(&targets, 0), datagram.len())?;
        Ok(match self.socket.send(&envelope, &datagram) {
            Ok(taken) => taken.into(),
            Err(error) => errno(&error),
        })
    }

    /// Sends many datagrams, to one target or each to its own. Returns how many were taken: a
    /// [`Tally`](crate::tunnel::Tally) of nothing but what was sent.
    #[napi]
    pub fn send_many(
        &self,
        datagrams: Array<'_>,
        from: u32,
        targets: Uint8ArraySlice<'_>,
    ) -> Result<f64> {
        let (checked, taken) = (Cell::new(from as usize), Cell::new(from as usize));
        send_array(
            &datagrams,
            from,
            |datagram| {
                let index = checked.replace(checked.get() + 1);
                self.check(envelope(&targets, index), datagram.len()).map(drop)
            },
            |piece| {
                let first = taken.get();
                let count = self.socket.submit(piece.len(), |index| {
                    (envelope(&targets, first + index).unwrap_or_else(nowhere), piece[index])
                });
                taken.set(first + count);
                sent(count)
            },
        )
    }

    /// Sends the segments of one buffer, to one target or each to its own. Returns how many were
    /// taken.
    #[napi]
    pub fn send_segments(
        &self,
        data: Uint8ArraySlice<'_>,
        size: u32,
        from: u32,
        targets: Uint8ArraySlice<'_>,
    ) -> Result<f64> {
        let first = from.checked_div(size).unwrap_or_default() as usize;
        let data: &[u8] = &data;
        if targets.len() == TARGET_BYTES {
            let end = data.len().min(from as usize + CALL_PACKETS * size as usize);
            let rest = data.get(from as usize..end).unwrap_or_default();
            if rest.is_empty() || size == 0 {
                return Err(invalid("there is nothing to send"));
            }
            let size = size as usize;
            let envelope = self.check(envelope(&targets, 0), size.min(rest.len()))?;
            let taken = self.socket.submit_segments(&envelope, rest, size.min(rest.len()));
            return Ok(taken as f64);
        }
        send_segments(
            data,
            size,
            from,
            |datagram| self.check(envelope(&targets, first), datagram.len()).map(drop),
            |count, segment| {
                sent(self.socket.submit(count, |index| {
                    (envelope(&targets, first + index).unwrap_or_else(nowhere), segment(index))
                }))
            },
        )
    }

    /// Sends the batch that was taken from a ring. Returns how many were taken.
    #[napi]
    pub fn send_ring(
        &self,
        ring: &NativeRing,
        from: u32,
        targets: Uint8ArraySlice<'_>,
    ) -> Result<f64> {
        let envelope = self.check(envelope(&targets, 0), 0)?;
        ring.lend(from, MAX_DATAGRAM_V4, |count, packet| {
            sent(self.socket.submit(count, |index| (envelope, packet(index).1)))
        })
    }

    /// Sends each datagram of the batch that was taken from a ring back to where it came from.
    /// Returns how many were taken.
    #[napi]
    pub fn send_back(&self, ring: &NativeRing, from: u32, ecn: u32) -> Result<f64> {
        self.check_open()?;
        let from_there = self.socket.answers_from_there();
        ring.lend_heads(from, |count, packet| {
            sent(self.socket.submit(count, |index| {
                let (head, datagram) = packet(index);
                let envelope = record::answer(head, from_there).unwrap_or_else(nowhere);
                (Envelope { ecn: ecn as u8 & 0b11, ..envelope }, datagram)
            }))
        })
    }

    /// Takes datagrams only from one address. Returns 0, or what the system says.
    #[napi]
    pub fn connect(&self, target: Uint8ArraySlice<'_>) -> Result<i32> {
        let Envelope { target, .. } = self.check(envelope(&target, 0), 0)?;
        Ok(outcome(self.socket.connect(target)))
    }

    /// Takes datagrams from everybody again. Returns 0, or what the system says.
    #[napi]
    pub fn disconnect(&self) -> i32 {
        outcome(self.socket.disconnect())
    }

    /// Changes a setting that is a number. Returns 0, or what the system says.
    #[napi]
    pub fn set(&self, name: String, value: u32) -> Result<i32> {
        let setting = match name.as_str() {
            "ttl" => UdpSetting::Ttl(value),
            "multicastTtl" => UdpSetting::MulticastTtl(value),
            "multicastLoopback" => UdpSetting::MulticastLoopback(value != 0),
            "broadcast" => UdpSetting::Broadcast(value != 0),
            "receiveBuffer" => UdpSetting::ReceiveBuffer(value as usize),
            "sendBuffer" => UdpSetting::SendBuffer(value as usize),
            _ => return Err(invalid("there is no such setting")),
        };
        Ok(outcome(self.socket.set(setting)))
    }

    /// Chooses the interface that multicast leaves through. Returns 0, or what the system says.
    #[napi]
    pub fn set_multicast_interface(&self, address: Option<String>, index: u32) -> Result<i32> {
        let setting = match address {
            Some(address) => UdpSetting::MulticastInterfaceV4(ipv4(&address)?),
            None => UdpSetting::MulticastInterfaceV6(index),
        };
        Ok(outcome(self.socket.set(setting)))
    }

    /// Joins or leaves a group. Returns 0, or what the system says.
    #[napi]
    pub fn membership(
        &self,
        join: bool,
        group: String,
        address: Option<String>,
        index: u32,
    ) -> Result<i32> {
        let group = group.parse().map_err(|_| convert::address("not an IP address"))?;
        let address = address.as_deref().map_or(Ok(Ipv4Addr::UNSPECIFIED), ipv4)?;
        Ok(outcome(self.socket.set(UdpSetting::Membership(join, group, address, index))))
    }

    /// The number of an interface, or what the system says.
    #[napi]
    pub fn interface_index(&self, name: String) -> f64 {
        self.socket.interface_index(&name).map_or_else(|error| f64::from(errno(&error)), f64::from)
    }

    /// What happened since the last call.
    #[napi]
    pub fn take_events(&self) -> Vec<NativeUdpEvent> {
        std::iter::from_fn(|| self.socket.poll_event()).map(Into::into).collect()
    }

    /// All counters, by name.
    #[napi]
    pub fn stats<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        convert::counters(env, |each| self.socket.counters(each))
    }

    /// Starts to close.
    #[napi]
    pub fn close(&self) {
        self.socket.close();
    }
}

/// Without sessions there is nothing to wait for, but room.
fn sent(packets: usize) -> Taken {
    Taken { packets, fate: Fate::Sent }
}

fn ipv4(text: &str) -> Result<Ipv4Addr> {
    text.parse().map_err(|_| convert::address("not an IPv4 address"))
}

/// What can't be sent to: it is dropped and counted.
fn nowhere() -> Envelope {
    Envelope::to(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
}
