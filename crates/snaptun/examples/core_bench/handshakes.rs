//! Handshakes a second: what a server can answer, and the clients that ask.
//!
//! The clients' side has made its initiations before the clock starts, so that the server is what is measured. Each
//! comes from an address of its own in 127.0.0.0/8, through one socket.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use ana_gotatun::{
    noise::{Tunn, TunnResult, handshake::parse_handshake_anon, index_table::IndexTable},
    packet::{Packet, WgKind},
    x25519::{PublicKey, StaticSecret},
};
use bytes::BytesMut;
use snaptun::udp_batch::{self, UdpBatchReceiver, UdpBatchSender};
use socket2::SockRef;
use tokio::io::Interest;

use crate::{
    task::{Failure, Task, Value, say},
    tunn::{limiter, tunn},
};

/// Handshakes under way at once: enough to keep a server busy, and fewer than the 256 from which on ours is under load and
/// asks for proofs of address.
const WINDOW: usize = 128;
/// How long nothing may come back.
const PATIENCE: Duration = Duration::from_secs(3);
/// The client at index 0; index by index upward from here.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([127, 1, 0, 1]);

fn secret(index: usize) -> StaticSecret {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&(index as u64).to_le_bytes());
    StaticSecret::from(bytes)
}

/// Clients, as many as are asked for, of so many identities, with their initiations.
struct Clients {
    tunns: Vec<Tunn>,
    initiations: VecDeque<BytesMut>,
}

impl Clients {
    fn new(task: &Task, server: PublicKey, remote: SocketAddr) -> Result<Self, Failure> {
        let (count, identities): (usize, usize) =
            (task.parsed("count")?, task.parsed::<usize>("identities")?.max(1));
        let indices = IndexTable::from_os_rng();
        let mut clients =
            Self { tunns: Vec::with_capacity(count), initiations: VecDeque::with_capacity(count) };
        for index in 0..count {
            let own = secret(index % identities);
            let mut client = tunn(&own, server, &indices, &limiter(&own), remote);
            let initiation = client.format_handshake_initiation(false).ok_or("no initiation")?;
            clients.initiations.push_back(bytes(initiation.into()));
            clients.tunns.push(client);
        }
        Ok(clients)
    }
}

fn bytes(message: WgKind) -> BytesMut {
    let mut packet = match message {
        WgKind::HandshakeInit(message) => message.into_bytes(),
        WgKind::HandshakeResp(message) => message.into_bytes(),
        WgKind::CookieReply(message) => message.into_bytes(),
        WgKind::Data(message) => message.into_bytes(),
    };
    packet.buf_mut().split()
}

/// The bare minimum that a server does, on one core and without a socket: MAC1 checked, the identity opened, a `Tunn` made,
/// the response. Also tells what so many `Tunn`s take in memory.
pub(crate) fn answer(task: &Task) -> Result<(), Failure> {
    let own = secret(usize::MAX);
    let public = PublicKey::from(&own);
    let remote = SocketAddr::from(([127, 0, 0, 1], 1));
    let clients = Clients::new(task, public, remote)?;
    let indices = IndexTable::from_os_rng();
    let limiter = limiter(&own);
    let mut tunnels = Vec::with_capacity(clients.initiations.len());
    let before = resident()?;
    let start = Instant::now();
    for initiation in clients.initiations {
        let checked = limiter.verify_packet(remote, Packet::from_bytes(initiation));
        let Ok(WgKind::HandshakeInit(initiation)) = checked else {
            return Err("an initiation was refused".into());
        };
        let found = parse_handshake_anon(&own, &public, &initiation)
            .map_err(|error| format!("{error:?}"))?;
        let peer = PublicKey::from(found.peer_static_public);
        let mut tunnel = tunn(&own, peer, &indices, &limiter, remote);
        let result = tunnel.handle_incoming_packet(initiation.into());
        if !matches!(result, TunnResult::WriteToNetwork(WgKind::HandshakeResp(_))) {
            return Err("an initiation was not answered".into());
        }
        tunnels.push(tunnel);
    }
    let seconds = start.elapsed().as_secs_f64();
    let count = tunnels.len() as f64;
    say([
        ("count", Value::Number(count)),
        ("seconds", Value::Number(seconds)),
        ("lost", Value::Number(0.0)),
        ("tunnBytes", Value::Number(size_of::<Tunn>() as f64)),
        ("residentBytes", Value::Number((resident()? - before) / count)),
    ])
}

/// Bytes of memory that this process has.
fn resident() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

/// Asks a server for handshakes, and completes them.
pub(crate) fn load(task: &Task) -> Result<(), Failure> {
    let remote: SocketAddr = task.parsed("server")?;
    let server = PublicKey::from(*task.identity("serverPublicKey")?.as_bytes());
    let mut clients = Clients::new(task, server, remote)?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    SockRef::from(&socket).set_recv_buffer_size(task.parsed("socketBuffer")?)?;
    socket.set_nonblocking(true)?;
    let (seconds, done) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(complete(&mut clients, socket, remote))?;
    say([
        ("count", Value::Number(done as f64)),
        ("seconds", Value::Number(seconds)),
        ("lost", Value::Number((clients.tunns.len() - done) as f64)),
    ])
}

fn address(index: usize) -> IpAddr {
    Ipv4Addr::from(FIRST_ADDRESS + index as u32).into()
}

fn index(address: IpAddr) -> Option<usize> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_sub(FIRST_ADDRESS).map(|index| index as usize),
        IpAddr::V6(_) => None,
    }
}

/// Returns the seconds that it took, and how many handshakes were completed.
async fn complete(
    clients: &mut Clients,
    socket: UdpSocket,
    remote: SocketAddr,
) -> Result<(f64, usize), Failure> {
    let mut sender = UdpBatchSender::new(&socket)?;
    let mut receiver = UdpBatchReceiver::new();
    let state = udp_batch::set_up(&socket)?;
    let watched = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
    let (mut sent, mut done) = (0, 0);
    let start = Instant::now();
    let mut last = start;
    while done < clients.tunns.len() {
        while sent < clients.tunns.len() && sent - done < WINDOW {
            let Some(initiation) = clients.initiations.pop_front() else { break };
            sender.send(&socket, remote, Some(address(sent)), &initiation);
            sent += 1;
        }
        sender.flush(&socket);
        if tokio::time::timeout(PATIENCE, watched.readable()).await.is_err() {
            break;
        }
        let mut replies = Vec::new();
        let received = watched.try_io(Interest::READABLE, || {
            receiver.receive(&socket, &state, |arrival, message, stride| {
                let Some(index) = arrival.local.and_then(index) else { return };
                let datagrams = message.chunks(stride.max(1));
                replies.extend(datagrams.map(|datagram| (index, BytesMut::from(datagram))));
            })
        });
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => drop(result?),
        }
        for (index, datagram) in replies {
            let Some(client) = clients.tunns.get_mut(index) else { continue };
            let Ok(message) = Packet::from_bytes(datagram).try_into_wg() else { continue };
            // The answer to a response is the packet that confirms the session: only with it is the tunnel open.
            if let TunnResult::WriteToNetwork(confirmation) = client.handle_incoming_packet(message)
            {
                sender.send(&socket, remote, Some(address(index)), &bytes(confirmation));
                done += 1;
                last = Instant::now();
            }
        }
    }
    sender.flush(&socket);
    Ok(((last - start).as_secs_f64(), done))
}
