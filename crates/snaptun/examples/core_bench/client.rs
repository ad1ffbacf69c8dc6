//! Our client without Node: one tunnel or many of one process, on one thread beside the engine's worker.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use snaptun::{
    engine::{ClientEvent, Engine, Tunnel, TunnelOptions, ring::Consumer},
    tunnel::{TunnelConfig, TunnelEvent},
};

use crate::{
    application::{Ear, Flood, limits},
    echo,
    server::count,
    task::{Failure, Task},
    traffic::{Meter, say_sent},
};

/// How long a handshake or the first packet may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(task: &Task) -> Result<(), Failure> {
    let engine = Engine::new(1)?;
    let ear = Ear::of_this_thread();
    let mut lanes = connect(task, &engine, &ear)?;
    match task.text("workload")? {
        "upload" => upload(task, &lanes, &ear),
        "echo" => echo::measure(task, &mut lanes[0], &ear),
        workload => download(task, &mut lanes, &ear, workload == "both"),
    }
}

/// Opens all tunnels, and waits for their handshakes.
fn connect(
    task: &Task,
    engine: &Engine,
    ear: &Arc<Ear>,
) -> Result<Vec<(Tunnel, Consumer)>, Failure> {
    let server: SocketAddr = task.parsed("server")?;
    let config = TunnelConfig::new(task.private_key()?, task.identity("serverPublicKey")?, server);
    let options =
        TunnelOptions { config, bind: None, limits: limits(task)?, mode: Default::default() };
    let lanes = (0..task.parsed::<usize>("tunnels")?)
        .map(|_| Ok(engine.open_tunnel(options.clone(), ear.clone())?))
        .collect::<Result<Vec<_>, Failure>>()?;
    let started = Instant::now();
    let mut connected = 0;
    while connected < lanes.len() {
        if started.elapsed() > PATIENCE {
            return Err(format!("{connected} of {} tunnels connected", lanes.len()).into());
        }
        ear.sleep();
        for (tunnel, _) in &lanes {
            while let Some(event) = tunnel.poll_event() {
                match event {
                    ClientEvent::Tunnel(TunnelEvent::Connected { .. }) => connected += 1,
                    ClientEvent::Closed(Some(error)) => return Err(error.into()),
                    _ => {}
                }
            }
        }
    }
    Ok(lanes)
}

/// Sends a batch, or what there is room for. False when there is none.
fn send(lanes: &[(Tunnel, Consumer)], flood: &mut Flood) -> bool {
    let (lane, from, packets) = flood.next();
    let taken = lanes[lane].0.submit(packets.len() - from, |index| packets.at(from + index));
    flood.advance(taken.packets)
}

fn upload(task: &Task, lanes: &[(Tunnel, Consumer)], ear: &Ear) -> Result<(), Failure> {
    let mut flood = Flood::new(task.parsed("size")?, lanes.len())?;
    flood.over(lanes.len());
    let length = task.seconds()?;
    let start = Instant::now();
    while start.elapsed() < length {
        if !send(lanes, &mut flood) {
            ear.sleep();
        }
    }
    say_sent(flood.sent(), start.elapsed().as_secs_f64())
}

/// Counts what comes, from the first packet on, and sends beside it if it is to.
fn download(
    task: &Task,
    lanes: &mut [(Tunnel, Consumer)],
    ear: &Ear,
    both: bool,
) -> Result<(), Failure> {
    let size = task.parsed("size")?;
    let length = task.seconds()?;
    let mut meter = Meter::new(size, lanes.len());
    let mut flood = both.then(|| Flood::new(size, lanes.len())).transpose()?;
    if let Some(flood) = &mut flood {
        flood.over(lanes.len());
    }
    let start = Instant::now();
    while !meter.ran_for(length) {
        if meter.packets == 0 && start.elapsed() > PATIENCE {
            return Err("no packet came".into());
        }
        let mut busy = false;
        for (_, consumer) in lanes.iter_mut() {
            busy |= count(consumer, &mut meter);
        }
        busy |= flood.as_mut().is_some_and(|flood| send(lanes, flood));
        if !busy && lanes.iter_mut().all(|(_, consumer)| consumer.arm()) {
            ear.sleep();
        }
    }
    meter.say(size)
}
