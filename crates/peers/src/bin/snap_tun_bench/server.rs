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
    if args.flood {
        let (flood, stats, buffers) = run(&args, Flood::new(args.size)).await?;
        let seconds = flood.seconds();
        let packets = flood.source.next.saturating_sub(stats.undelivered);
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
    let verdict = if args.echo { Verdict::Echo } else { Verdict::Consume };
    let (meter, stats, buffers) = run(&args, Meter::new(verdict)).await?;
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
        ..PeerServerOptions::new(args.private_key)
    };
    let server = SnapTunPeerServer::start_with(options, handler)?;
    let buffers = server.socket_buffers();
    print(&Listening { listening: server.local_addr() })?;
    end.await;
    let (handler, stats) = server.stop().await?;
    Ok((handler, stats, buffers))
}

/// Sends to the first client that is heard of, as fast as it goes. Packets of clients are not counted.
struct Flood {
    source: Source,
    target: Option<SocketAddr>,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Flood {
    fn new(size: usize) -> Self {
        Self { source: Source::new(size), target: None, first: None, last: None }
    }

    fn seconds(&self) -> f64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) => (last - first).as_secs_f64(),
            _ => 0.0,
        }
    }
}

impl PacketHandler for Flood {
    fn packet(&mut self, _payload: &[u8], _remote: SocketAddr) -> Verdict {
        Verdict::Consume
    }

    fn heard(&mut self, remote: SocketAddr) {
        self.target.get_or_insert(remote);
    }

    fn outgoing(&mut self) -> Option<(Packet, SocketAddr)> {
        let target = self.target?;
        if self.source.next.is_multiple_of(PACKETS_A_TURN) {
            let now = Instant::now();
            self.first.get_or_insert(now);
            self.last = Some(now);
        }
        Some((self.source.packet(), target))
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
