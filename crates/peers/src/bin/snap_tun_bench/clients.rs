//! As many clients of one process as are asked for, each with a tunnel of its own.

use std::rc::Rc;

use snaptun_peers::{PeerClientOptions, SnapTunPeerClient, TunnPeerClient};

use crate::{ClientArgs, Failure};

/// Buffers of 64 KiB that many clients keep for reuse together: what one keeps by itself.
const POOL: usize = 256;

fn options(args: &ClientArgs) -> PeerClientOptions {
    PeerClientOptions {
        socket_buffer: Some(args.process.socket_buffer),
        receive_queue: args.receive_queue,
        pool: (POOL / args.tunnels).max(2),
        ..PeerClientOptions::new(args.private_key, args.server_public_key, args.server)
    }
}

/// The real clients.
pub(crate) async fn connect(args: &ClientArgs) -> Result<Rc<[SnapTunPeerClient]>, Failure> {
    let mut clients = Vec::with_capacity(args.tunnels);
    for _ in 0..args.tunnels {
        clients.push(SnapTunPeerClient::connect(options(args)).await?);
    }
    Ok(clients.into())
}

/// Those put together by hand.
pub(crate) async fn connect_by_hand(args: &ClientArgs) -> Result<Vec<TunnPeerClient>, Failure> {
    let early: [&[u8]; 0] = [];
    let mut clients = Vec::with_capacity(args.tunnels);
    for _ in 0..args.tunnels {
        clients.push(TunnPeerClient::connect(options(args), early).await?);
    }
    Ok(clients)
}
