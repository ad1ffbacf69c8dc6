//! The client that counts what a flood delivers.

use std::{net::SocketAddr, time::Duration};

use snaptun_peers::{PacketHandler, SnapTunPeerClient, SocketBuffers, TunnPeerClient, Verdict};
use tokio::time::{Instant, timeout_at};

use crate::{
    ClientArgs, Failure, Via, client_options,
    packets::{Meter, PACKETS_A_TURN},
    report::{DownloadReport, gbit_per_second, print},
};

/// How long the first packet may take.
const FIRST: Duration = Duration::from_secs(5);

pub(crate) async fn download(args: &ClientArgs) -> Result<(), Failure> {
    match args.via {
        Via::Batch => download_in_batches(args).await,
        Via::Send | Via::TrySend => download_one_by_one(args).await,
    }
}

/// Counts, and says until when.
struct Counter {
    meter: Meter,
    server: SocketAddr,
    length: Duration,
    end: Instant,
    started: bool,
}

impl Counter {
    fn new(args: &ClientArgs) -> Self {
        Self {
            meter: Meter::new(Verdict::Consume),
            server: args.server,
            length: Duration::from_secs_f64(args.seconds),
            end: Instant::now() + FIRST,
            started: false,
        }
    }

    fn packet(&mut self, packet: &[u8]) {
        self.meter.packet(packet, self.server);
    }

    /// Ends a batch. False when the time is over.
    fn goes_on(&mut self) -> bool {
        self.meter.batch_end();
        let now = Instant::now();
        if !self.started && self.meter.packets > 0 {
            self.started = true;
            self.end = now + self.length;
        }
        now < self.end
    }

    fn print(self, buffers: SocketBuffers) -> Result<(), Failure> {
        if self.meter.packets == 0 {
            return Err("no packet came: was the server started with --flood?".into());
        }
        let seconds = self.meter.time().as_secs_f64();
        print(&DownloadReport {
            packets: self.meter.packets,
            bytes: self.meter.bytes,
            seconds,
            gbit_per_second: gbit_per_second(self.meter.bytes, seconds),
            lost: self.meter.lost(),
            receive_buffer: buffers.receive,
            send_buffer: buffers.send,
        })
    }
}

async fn download_one_by_one(args: &ClientArgs) -> Result<(), Failure> {
    let client = SnapTunPeerClient::connect(client_options(args)).await?;
    let tunnel = client.tunnel();
    let mut counter = Counter::new(args);
    while counter.goes_on() {
        for _ in 0..PACKETS_A_TURN {
            // What comes after the end is not waited for.
            let Ok(packet) = timeout_at(counter.end, tunnel.recv()).await else {
                break;
            };
            counter.packet(&packet?);
            if args.via == Via::TrySend {
                while let Some(packet) = tunnel.try_recv()? {
                    counter.packet(&packet);
                }
                break;
            }
        }
    }
    counter.print(client.socket_buffers())
}

async fn download_in_batches(args: &ClientArgs) -> Result<(), Failure> {
    let early: [&[u8]; 0] = [];
    let mut client = TunnPeerClient::connect(client_options(args), early).await?;
    let mut counter = Counter::new(args);
    while counter.goes_on() {
        client.recv_each(|packet| counter.packet(packet)).await?;
    }
    counter.print(client.socket_buffers()?)
}
