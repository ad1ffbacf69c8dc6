//! The client that counts what a flood delivers, and sends one of its own beside it if it is to.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use snaptun_peers::{PacketHandler, SnapTunPeerClient, SocketBuffers, TunnPeerClient, Verdict};
use tokio::task::{JoinSet, LocalSet};

use crate::{
    ClientArgs, Failure, Via,
    clients::{connect, connect_by_hand},
    packets::{Meter, PACKETS_A_TURN, Source},
    report::{DownloadReport, gbit_per_second, print},
    upload::send_turn,
};

/// How long the first packet may take.
const FIRST: Duration = Duration::from_secs(5);
/// How often it is looked whether the time is over.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) async fn download(args: &ClientArgs) -> Result<(), Failure> {
    let meter = Rc::new(RefCell::new(Meter::new(Verdict::Consume, args.tunnels)));
    let mut tasks = JoinSet::new();
    let local = LocalSet::new();
    let buffers = match args.via {
        Via::Batch => {
            let clients = connect_by_hand(args).await?;
            let buffers = clients[0].socket_buffers()?;
            for (stream, client) in clients.into_iter().enumerate() {
                let source = args.send.then(|| Source::new(args.size, args.tunnels));
                tasks.spawn_local_on(by_hand(client, meter.clone(), source, stream), &local);
            }
            buffers
        }
        Via::Send | Via::TrySend => {
            let clients = connect(args).await?;
            for stream in 0..clients.len() {
                tasks.spawn_local_on(receive(clients.clone(), stream, meter.clone()), &local);
            }
            if args.send {
                let source = Source::new(args.size, args.tunnels);
                tasks.spawn_local_on(send(clients.clone(), args.via, source), &local);
            }
            clients[0].socket_buffers()
        }
    };
    let length = Duration::from_secs_f64(args.seconds);
    local
        .run_until(async {
            tokio::select! {
                result = over(&meter, length) => result,
                // They go on for ever, unless they fail.
                Some(ended) = tasks.join_next() => ended?,
            }
        })
        .await?;
    report(&meter.borrow(), buffers)
}

/// Waits for the first packet, and then so long.
async fn over(meter: &RefCell<Meter>, length: Duration) -> Result<(), Failure> {
    let start = Instant::now();
    while meter.borrow().packets == 0 {
        if start.elapsed() > FIRST {
            return Err("no packet came: was the server started with --flood?".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(length).await;
    Ok(())
}

fn report(meter: &Meter, buffers: SocketBuffers) -> Result<(), Failure> {
    let seconds = meter.time().as_secs_f64();
    print(&DownloadReport {
        packets: meter.packets,
        bytes: meter.bytes,
        seconds,
        gbit_per_second: gbit_per_second(meter.bytes, seconds),
        lost: meter.lost(),
        receive_buffer: buffers.receive,
        send_buffer: buffers.send,
    })
}

async fn receive(
    clients: Rc<[SnapTunPeerClient]>,
    stream: usize,
    meter: Rc<RefCell<Meter>>,
) -> Result<(), Failure> {
    let tunnel = clients[stream].tunnel();
    loop {
        let mut packet = Some(tunnel.recv().await?);
        let mut taken = 0;
        while let Some(found) = packet {
            meter.borrow_mut().count(&found);
            taken += 1;
            // A queue that is never empty must not keep the others from their turn.
            packet = if taken < PACKETS_A_TURN { tunnel.try_recv()? } else { None };
        }
        meter.borrow_mut().batch_end();
    }
}

async fn send(
    clients: Rc<[SnapTunPeerClient]>,
    via: Via,
    mut source: Source,
) -> Result<(), Failure> {
    loop {
        for (stream, client) in clients.iter().enumerate() {
            send_turn(client, via, &mut source, stream).await?;
        }
    }
}

/// Receives through a client without a task of its own, and sends beside it if there is a source.
async fn by_hand(
    mut client: TunnPeerClient,
    meter: Rc<RefCell<Meter>>,
    mut source: Option<Source>,
    stream: usize,
) -> Result<(), Failure> {
    loop {
        if let Some(source) = &mut source {
            for _ in 0..PACKETS_A_TURN {
                client.send(source.packet(stream)).await?;
            }
            client.flush().await?;
        }
        let sends = source.is_some();
        let received = client.recv_each(|packet| meter.borrow_mut().count(packet));
        tokio::select! {
            biased;
            result = received => result?,
            // One who has something to send does not wait.
            () = std::future::ready(()), if sends => {}
        }
        meter.borrow_mut().batch_end();
        tokio::task::yield_now().await;
    }
}
