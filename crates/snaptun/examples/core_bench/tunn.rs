//! Bare `Tunn` on one core: sealing, or opening, without a socket.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ana_gotatun::{
    noise::{Tunn, TunnResult, index_table::IndexTable, rate_limiter::RateLimiter},
    packet::{Packet, PacketBufPool, WgData, WgKind},
    x25519::{PublicKey, StaticSecret},
};

use crate::{
    task::{Failure, Task, Value, say},
    traffic::Source,
};

/// Packets between two looks at the clock: fewer than the replay window has places.
const BATCH: usize = 256;
/// Holds the largest packet of the benchmark.
const BUFFER: usize = 9000;
/// What the limiter lets pass a second: everything.
const NO_LIMIT: u64 = u64::MAX;

/// A `Tunn` to somebody, without a keepalive of its own.
pub(crate) fn tunn(
    own: &StaticSecret,
    peer: PublicKey,
    indices: &IndexTable,
    limiter: &Arc<RateLimiter>,
    remote: SocketAddr,
) -> Tunn {
    Tunn::new(own.clone(), peer, None, None, indices.clone(), limiter.clone(), remote)
}

/// A limiter that checks MAC1 and lets everything pass.
pub(crate) fn limiter(own: &StaticSecret) -> Arc<RateLimiter> {
    Arc::new(RateLimiter::new(&PublicKey::from(own), NO_LIMIT))
}

/// Two ends with a session.
fn pair() -> Result<(Tunn, Tunn), Failure> {
    let (ours, theirs) = (StaticSecret::from([1; 32]), StaticSecret::from([2; 32]));
    let remote = SocketAddr::from(([127, 0, 0, 1], 1));
    let one = |own: &StaticSecret, peer: &StaticSecret| {
        tunn(own, PublicKey::from(peer), &IndexTable::from_os_rng(), &limiter(own), remote)
    };
    let (mut client, mut server) = (one(&ours, &theirs), one(&theirs, &ours));
    let initiation = client.format_handshake_initiation(false).ok_or("no initiation")?;
    let mut message = WgKind::from(initiation);
    // Response, and the keepalive that confirms the session.
    for turn in 0..2 {
        let end = if turn == 0 { &mut server } else { &mut client };
        match end.handle_incoming_packet(message) {
            TunnResult::WriteToNetwork(reply) => message = reply,
            other => return Err(format!("no reply: {other:?}").into()),
        }
    }
    match server.handle_incoming_packet(message) {
        TunnResult::Err(error) => Err(format!("{error:?}").into()),
        _ => Ok((client, server)),
    }
}

pub(crate) fn measure(task: &Task) -> Result<(), Failure> {
    let size: usize = task.parsed("size")?;
    let length = task.seconds()?;
    let opens = task.text("workload")? == "download";
    let (mut client, mut server) = pair()?;
    let mut source = Source::new(size, 1, 1)?;
    let content = source.fill(0).bytes().to_vec();
    let pool = PacketBufPool::<BUFFER>::new(2 * BATCH);
    let mut seal = || {
        let mut packet = pool.get();
        packet.truncate(size);
        packet.copy_from_slice(&content);
        client.encapsulate_with_session(packet).map_err(|_| "there is no session")
    };
    let mut time = Duration::ZERO;
    let mut packets = 0;
    while time < length {
        let start = Instant::now();
        // Dropped one by one when it is sealing that is measured, as a sender that has copied it out does.
        let mut sealed: Vec<Packet<WgData>> = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            let packet = seal()?;
            if opens {
                sealed.push(packet);
            }
        }
        let start = if opens { Instant::now() } else { start };
        for packet in sealed {
            let opened =
                server.decapsulate_with_session(packet).map_err(|error| format!("{error:?}"))?;
            if opened.len() != size {
                return Err("a packet of another length came out".into());
            }
        }
        time += start.elapsed();
        packets += BATCH as u64;
    }
    say([
        ("packets", Value::Number(packets as f64)),
        ("bytes", Value::Number(packets as f64 * size as f64)),
        ("seconds", Value::Number(time.as_secs_f64())),
        ("lost", Value::Number(0.0)),
    ])
}
