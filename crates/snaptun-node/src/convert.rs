//! Between JavaScript's values and the core's.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use napi::{
    Env,
    bindgen_prelude::{Object, Uint8Array},
};
use napi_derive::napi;
use snaptun::{
    Counter, Error, Identity, KEY_LEN, PresharedKey, PrivateKey,
    engine::{Limits, SendMode},
};

/// An `ERR_SNAPTUN_…` code, where N-API has a status.
pub struct Code(&'static str);

impl AsRef<str> for Code {
    fn as_ref(&self) -> &str {
        self.0
    }
}

/// What functions that JavaScript calls return.
pub type Result<T, E = napi::Error<Code>> = std::result::Result<T, E>;

/// An error of the core, as JavaScript gets it.
pub(crate) fn error(error: Error) -> napi::Error<Code> {
    napi::Error::new(Code(error.code()), error.to_string())
}

/// An argument that isn't what the TypeScript layer promises.
pub(crate) fn invalid(what: &str) -> napi::Error<Code> {
    napi::Error::new(Code("ERR_SNAPTUN_INVALID_OPTION"), what.to_owned())
}

/// An address that isn't what it must be.
pub(crate) fn address(what: &str) -> napi::Error<Code> {
    napi::Error::new(Code("ERR_SNAPTUN_INVALID_ADDRESS"), what.to_owned())
}

/// An error of N-API itself.
pub(crate) fn addon(error: napi::Error) -> napi::Error<Code> {
    napi::Error::new(Code("ERR_SNAPTUN_ADDON"), error.reason.clone())
}

/// An IP address and a UDP port.
#[napi(object)]
#[derive(Clone)]
pub struct NativeAddress {
    /// An IP literal.
    pub address: String,
    /// 0 to 65535.
    pub port: u32,
}

impl From<SocketAddr> for NativeAddress {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.ip().to_string(), port: address.port().into() }
    }
}

impl NativeAddress {
    pub(crate) fn parse(&self) -> Result<SocketAddr> {
        let ip: Option<IpAddr> = self.address.parse().ok();
        let port = u16::try_from(self.port).ok();
        ip.zip(port).map(SocketAddr::from).ok_or_else(|| address("not an IP address and port"))
    }
}

fn key_bytes(bytes: &Uint8Array) -> Result<[u8; KEY_LEN]> {
    bytes
        .as_ref()
        .try_into()
        .map_err(|_| napi::Error::new(Code("ERR_SNAPTUN_INVALID_KEY"), "a key has 32 bytes"))
}

pub(crate) fn private_key(bytes: &Uint8Array) -> Result<PrivateKey> {
    PrivateKey::new(key_bytes(bytes)?).map_err(error)
}

pub(crate) fn identity(bytes: &Uint8Array) -> Result<Identity> {
    Identity::new(key_bytes(bytes)?).map_err(error)
}

pub(crate) fn preshared_key(bytes: Option<&Uint8Array>) -> Result<Option<PresharedKey>> {
    bytes.map(|bytes| key_bytes(bytes).map(PresharedKey::new)).transpose()
}

pub(crate) fn milliseconds(number: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(number / 1000.0).map_err(|_| invalid("a duration is out of range"))
}

/// Who seals: `SNAPTUN_SEND_MODE`, which is for measurements (docs/architecture.md).
pub(crate) fn send_mode() -> Result<SendMode> {
    match std::env::var("SNAPTUN_SEND_MODE").as_deref() {
        Err(_) | Ok("auto") => Ok(SendMode::Auto),
        Ok("caller") => Ok(SendMode::Caller),
        Ok("shard") => Ok(SendMode::Shard),
        Ok(_) => Err(invalid("SNAPTUN_SEND_MODE is auto, caller or shard")),
    }
}

pub(crate) fn limits(
    receive_packets: u32,
    receive_bytes: u32,
    send_packets: u32,
    send_bytes: u32,
    socket_bytes: u32,
) -> Limits {
    Limits {
        send_packets: send_packets as usize,
        high_water: send_packets as usize,
        send_bytes: send_bytes as usize,
        receive_packets: receive_packets as usize,
        receive_bytes: receive_bytes as usize,
        socket_bytes: socket_bytes as usize,
    }
}

/// Counters as an object, in their order.
pub(crate) fn counters<'env>(
    env: &'env Env,
    counters: impl FnOnce(&mut dyn FnMut(Counter)),
) -> Result<Object<'env>> {
    let mut object = Object::new(env).map_err(addon)?;
    let mut outcome = Ok(());
    counters(&mut |(name, value)| {
        if outcome.is_ok() {
            outcome = object.set(name, value as f64);
        }
    });
    outcome.map_err(addon)?;
    Ok(object)
}
