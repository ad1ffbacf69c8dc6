//! The client that sends as fast as it goes.

use std::{
    io,
    time::{Duration, Instant},
};

use snaptun_peers::{SnapTunPeerClient, TunnPeerClient};

use crate::{
    ClientArgs, Failure, Via, client_options,
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
    let client = SnapTunPeerClient::connect(client_options(args)).await?;
    let tunnel = client.tunnel();
    let mut source = Source::new(args.size);
    let length = Duration::from_secs_f64(args.seconds);
    let mut packets = 0;
    let start = Instant::now();
    while start.elapsed() < length {
        if args.via == Via::TrySend {
            for _ in 0..PACKETS_A_TURN {
                match tunnel.try_send(source.packet()) {
                    Ok(()) => packets += 1,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        tunnel.writable().await?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            // The tunnel's own task shares this thread; `send` lets it run by itself.
            tokio::task::yield_now().await;
        } else {
            for _ in 0..PACKETS_A_TURN {
                tunnel.send(source.packet()).await?;
                packets += 1;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let bytes = packets * source.size();
    let buffers = client.socket_buffers();
    print(&UploadReport {
        packets,
        bytes,
        seconds,
        gbit_per_second: gbit_per_second(bytes, seconds),
        receive_buffer: buffers.receive,
        send_buffer: buffers.send,
    })
}

async fn upload_in_batches(args: &ClientArgs) -> Result<(), Failure> {
    let early: [&[u8]; 0] = [];
    let mut client = TunnPeerClient::connect(client_options(args), early).await?;
    let mut source = Source::new(args.size);
    let length = Duration::from_secs_f64(args.seconds);
    let mut packets = 0;
    let start = Instant::now();
    while start.elapsed() < length {
        for _ in 0..PACKETS_A_TURN {
            client.send(source.packet()).await?;
        }
        packets += PACKETS_A_TURN;
        client.flush().await?;
        client.service().await?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let packets = packets - client.undelivered().min(packets);
    let bytes = packets * source.size();
    let buffers = client.socket_buffers()?;
    print(&UploadReport {
        packets,
        bytes,
        seconds,
        gbit_per_second: gbit_per_second(bytes, seconds),
        receive_buffer: buffers.receive,
        send_buffer: buffers.send,
    })
}
