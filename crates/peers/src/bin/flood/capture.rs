//! Reads along where datagrams pass, as somebody on the path does.

use std::time::Duration;

use serde::Serialize;

use crate::{Failure, print};

#[derive(Serialize)]
struct Capturing {
    capturing: bool,
}

#[derive(Serialize)]
struct Captured {
    /// In hexadecimal.
    datagram: String,
}

/// Prints a line when it listens, and the first initiation to a port as another.
#[cfg(target_os = "linux")]
pub(crate) fn capture(port: u16, patience: Duration) -> Result<(), Failure> {
    use std::{io::Read, time::Instant};

    use socket2::{Domain, Protocol, Socket, Type};

    /// `ETH_P_ALL`, in network byte order as packet(7) wants it: with any other only what comes in is seen.
    const ALL: i32 = 0x0003u16.to_be() as i32;

    // Of type `DGRAM`: without the header of the link, whatever link it is.
    let mut socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(ALL)))?;
    print(&Capturing { capturing: true })?;
    let end = Instant::now() + patience;
    let mut packet = vec![0; 65_536];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("no initiation came by".into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.read(&mut packet)?;
        if let Some(datagram) = initiation(&packet[..length], port) {
            return print(&Captured { datagram: hex::encode(datagram) });
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn capture(_: u16, _: Duration) -> Result<(), Failure> {
    Err("capture works on Linux only".into())
}

/// The initiation to a port that an IPv4 packet carries, if it does.
fn initiation(packet: &[u8], port: u16) -> Option<&[u8]> {
    const UDP: u8 = 17;
    let [first @ 0x40..=0x4f, ..] = packet else { return None };
    let udp = packet.get(usize::from(first & 0x0f) * 4..)?;
    let to = u16::from_be_bytes(udp.get(2..4)?.try_into().ok()?);
    let datagram = udp.get(8..)?;
    let is_one = *packet.get(9)? == UDP && to == port && datagram.starts_with(&[1, 0, 0, 0]);
    (is_one && datagram.len() == 148).then_some(datagram)
}
