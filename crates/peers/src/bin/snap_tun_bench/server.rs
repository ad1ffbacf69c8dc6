//! The server: counts, sends back, or floods.

use std::{
    io::{self, Read},
    net::SocketAddr,
    time::Instant,
};

use ana_gotatun::packet::Packet;
use snaptun_peers::{
    PacketHandler, PeerServerOptions, ServerStats, SnapTunPeerServer, SocketBuffers, Verdict,
};
use tokio::sync::oneshot;

use crate::{
    Failure, ServerArgs,
    packets::{Meter, PACKETS_A_TURN, Source},
    report::{Listening, ServerReport, UploadReport, gbit_per_second, print},
};

pub(crate) async fn serve(args: ServerArgs) -> Result<(), Failure> {
    let (traffic, stats, buffers) = run(&args, Traffic::new(&args)).await?;
    let Traffic { meter, flood } = traffic;
    if let Some(flood) = flood
        && !args.count
    {
        let seconds = flood.seconds();
        let packets = flood.source.made().saturating_sub(stats.undelivered);
        let bytes = packets * flood.source.size();
        return print(&UploadReport {
            packets,
            bytes,
            seconds,
            gbit_per_second: gbit_per_second(bytes, seconds),
            receive_buffer: buffers.receive,
            send_buffer: buffers.send,
        });
    }
    let seconds = meter.time().as_secs_f64();
    print(&ServerReport {
        packets: meter.packets,
        bytes: meter.bytes,
        seconds,
        gbit_per_second: gbit_per_second(meter.bytes, seconds),
        lost: meter.lost(),
        refused: stats.refused,
        undelivered: stats.undelivered,
        receive_buffer: buffers.receive,
        send_buffer: buffers.send,
    })
}

/// Runs a server until it is told to end.
async fn run<H: PacketHandler>(
    args: &ServerArgs,
    handler: H,
) -> Result<(H, ServerStats, SocketBuffers), Failure> {
    let end = told_to_end()?;
    let options = PeerServerOptions {
        bind: args.listen,
        authorized: args.authorize.clone(),
        socket_buffer: Some(args.process.socket_buffer),
        handshake_limit: args.handshake_limit,
        ..PeerServerOptions::new(args.private_key)
    };
    let server = SnapTunPeerServer::start_with(options, handler)?;
    let buffers = server.socket_buffers();
    print(&Listening { listening: server.local_addr() })?;
    end.await;
    let (handler, stats) = server.stop().await?;
    Ok((handler, stats, buffers))
}

/// Counts or sends back what arrives, and floods if it is to.
struct Traffic {
    meter: Meter,
    flood: Option<Flood>,
}

impl Traffic {
    fn new(args: &ServerArgs) -> Self {
        let verdict = if args.echo { Verdict::Echo } else { Verdict::Consume };
        Self {
            meter: Meter::new(verdict, args.tunnels),
            flood: args.flood.then(|| Flood::new(args.size, args.tunnels)),
        }
    }
}

impl PacketHandler for Traffic {
    fn packet(&mut self, payload: &[u8], remote: SocketAddr) -> Verdict {
        self.meter.packet(payload, remote)
    }

    fn batch_end(&mut self) {
        self.meter.batch_end();
    }

    fn heard(&mut self, remote: SocketAddr) {
        if let Some(flood) = &mut self.flood {
            flood.heard(remote);
        }
    }

    fn outgoing(&mut self) -> Option<(Packet, SocketAddr)> {
        self.flood.as_mut()?.next()
    }
}

/// Sends to clients in turn, as fast as it goes, once all are known.
struct Flood {
    source: Source,
    tunnels: usize,
    targets: Vec<SocketAddr>,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Flood {
    fn new(size: usize, tunnels: usize) -> Self {
        let targets = Vec::with_capacity(tunnels);
        Self { source: Source::new(size, tunnels), tunnels, targets, first: None, last: None }
    }

    fn heard(&mut self, remote: SocketAddr) {
        // It is called for each packet that arrives: from then on there is nothing to look for.
        if self.targets.len() < self.tunnels && !self.targets.contains(&remote) {
            self.targets.push(remote);
        }
    }

    fn seconds(&self) -> f64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) => (last - first).as_secs_f64(),
            _ => 0.0,
        }
    }

    /// The next packet: some to one client, so that they leave together, then to the next.
    fn next(&mut self) -> Option<(Packet, SocketAddr)> {
        if self.targets.len() < self.tunnels {
            return None;
        }
        let made = self.source.made();
        if made.is_multiple_of(PACKETS_A_TURN) {
            let now = Instant::now();
            self.first.get_or_insert(now);
            self.last = Some(now);
        }
        let stream = (made / PACKETS_A_TURN) as usize % self.tunnels;
        Some((self.source.packet(stream), self.targets[stream]))
    }
}

/// Resolves when standard input ends or a signal asks the process to.
fn told_to_end() -> Result<impl Future<Output = ()>, Failure> {
    let (sender, input_ended) = oneshot::channel();
    // A thread of its own, not tokio's: a read that blocks would keep the runtime from ending after a signal.
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut input = io::stdin().lock();
        let mut buffer = [0; 256];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // The server may have ended meanwhile.
        let _ = sender.send(());
    })?;
    let signalled = signalled()?;
    Ok(async move {
        tokio::select! {
            _ = input_ended => {}
            () = signalled => {}
        }
    })
}

#[cfg(unix)]
fn signalled() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn signalled() -> Result<impl Future<Output = ()>, Failure> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
