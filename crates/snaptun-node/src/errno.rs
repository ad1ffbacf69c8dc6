//! The system's errors as libuv numbers them, which is what Node's `util.getSystemErrorName` knows.

use std::io;

/// The number, which is below 0.
#[cfg(unix)]
pub(crate) fn errno(error: &io::Error) -> i32 {
    // What has no number was said by us: the socket is closed, or the platform has not the option.
    let number = error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::NotConnected => EBADF,
        _ => ENOTSUP,
    });
    -number
}

/// The same on every Unix.
#[cfg(unix)]
const EBADF: i32 = 9;

#[cfg(target_os = "linux")]
const ENOTSUP: i32 = 95;

#[cfg(all(unix, not(target_os = "linux")))]
const ENOTSUP: i32 = 45;

/// The number, which is below 0: elsewhere libuv has numbers of its own (`uv/errno.h`).
#[cfg(not(unix))]
pub(crate) fn errno(error: &io::Error) -> i32 {
    use io::ErrorKind::{
        AddrInUse, AddrNotAvailable, ConnectionRefused, ConnectionReset, HostUnreachable,
        InvalidInput, NetworkUnreachable, NotConnected, PermissionDenied, Unsupported,
    };
    match error.kind() {
        PermissionDenied => -4092,
        AddrInUse => -4091,
        AddrNotAvailable => -4090,
        NotConnected => -4083,
        ConnectionRefused => -4078,
        ConnectionReset => -4077,
        HostUnreachable => -4073,
        InvalidInput => -4071,
        NetworkUnreachable => -4062,
        Unsupported => -4049,
        _ => -4094,
    }
}
