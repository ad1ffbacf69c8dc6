//! The client that sends as fast as it goes, through its tunnels in turn.

use std::{
    io,
    time::{Duration, Instant},
};

use snaptun_peers::{SnapTunPeerClient, SocketBuffers};

use crate::{
    ClientArgs, Failure, Via,
    clients::{connect, connect_by_hand},
    packets::{PACKETS_A_TURN, Source},
    report::{UploadReport, gbit_per_second, print},
};

pub(crate) async fn upload(args: &ClientArgs) -> Result<(), Failure> {
    match args.via {
        Via::Batch => upload_in_batches(args).await,
        Via::Send | Via::TrySend => upload_one_by_one(args).await,
    }
}

async fn upload_one_by_one(args: &ClientArgs) -> Result<(), Failure> {
    let clients = connect(args).await?;
    let mut source = Source::new(args.size, clients.len());
    let length = Duration::from_secs_f64(args.seconds);
    let start = Instant::now();
    let mut packets = 0;
    for stream in (0..clients.len()).cycle() {
        if start.elapsed() >= length {
            break;
        }
        packets += send_turn(&clients[stream], args.via, &mut source, stream).await?;
    }
    report(&source, packets, start.elapsed().as_secs_f64(), clients[0].socket_buffers())
}

/// Sends some packets through one tunnel, and lets its own task run, which shares this thread. Returns how many were taken.
pub(crate) async fn send_turn(
    client: &SnapTunPeerClient,
    via: Via,
    source: &mut Source,
    stream: usize,
) -> Result<u64, Failure> {
    let tunnel = client.tunnel();
    let mut packets = 0;
    for _ in 0..PACKETS_A_TURN {
        let packet = source.packet(stream);
        if via == Via::Send {
            tunnel.send(packet).await?;
            packets += 1;
            continue;
        }
        match tunnel.try_send(packet) {
            Ok(()) => packets += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tunnel.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
    // `send` does it by itself.
    if via == Via::TrySend {
        tokio::task::yield_now().await;
    }
    Ok(packets)
}

async fn upload_in_batches(args: &ClientArgs) -> Result<(), Failure> {
    let mut clients = connect_by_hand(args).await?;
    let buffers = clients[0].socket_buffers()?;
    let mut source = Source::new(args.size, clients.len());
    let length = Duration::from_secs_f64(args.seconds);
    let start = Instant::now();
    for stream in (0..clients.len()).cycle() {
        if start.elapsed() >= length {
            break;
        }
        let client = &mut clients[stream];
        for _ in 0..PACKETS_A_TURN {
            client.send(source.packet(stream)).await?;
        }
        client.flush().await?;
        client.service().await?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let undelivered = clients.iter().map(|client| client.undelivered()).sum();
    report(&source, source.made().saturating_sub(undelivered), seconds, buffers)
}

fn report(
    source: &Source,
    packets: u64,
    seconds: f64,
    buffers: SocketBuffers,
) -> Result<(), Failure> {
    let bytes = packets * source.size();
    print(&UploadReport {
        packets,
        bytes,
        seconds,
        gbit_per_second: gbit_per_second(bytes, seconds),
        receive_buffer: buffers.receive,
        send_buffer: buffers.send,
    })
}
