//! Our server without Node: counts, sends back, or floods, through the engine's handles.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
};

use snaptun::{
    Identity,
    authorization::Grant,
    engine::{Engine, Server, ServerNotice, ServerOptions, ring::Consumer},
    server::{ServerEvent, TunnelId},
};

use crate::{
    application::{Ear, Flood, TAKE, limits},
    task::{Failure, Task, Value, say, told_to_end},
    traffic::{Meter, say_sent},
};

pub(crate) fn serve(task: &Task) -> Result<(), Failure> {
    let (size, streams) = (task.parsed("size")?, task.parsed("tunnels")?);
    let workload = task.text("workload")?;
    let authorized = task.identity("authorized")?;
    let engine = Engine::new(1)?;
    let ear = Ear::of_this_thread();
    let mut options = ServerOptions::new(task.private_key()?, "127.0.0.1:0".parse()?);
    options.limits = limits(task)?;
    let (server, consumers) = engine.listen(options, ear.clone())?;
    let [mut consumer] =
        <[Consumer; 1]>::try_from(consumers).map_err(|_| "one shard has one ring")?;
    let ended = told_to_end(thread::current())?;
    say([("listening", Value::Text(server.bound().to_string()))])?;

    let mut meter = Meter::new(size, streams);
    let mut flood =
        matches!(workload, "download" | "both").then(|| Flood::new(size, streams)).transpose()?;
    let mut open: Vec<TunnelId> = Vec::new();
    while !ended.load(Ordering::Acquire) {
        if ear.events() {
            while let Some(notice) = server.poll_notice() {
                hear(&server, notice, authorized, &mut open);
            }
        }
        let received = if workload == "echo" {
            send_back(&server, &mut consumer, &ear)
        } else {
            count(&mut consumer, &mut meter)
        };
        let sent = flood.as_mut().is_some_and(|flood| send(&server, flood, &open));
        if !received && !sent && consumer.arm() {
            ear.sleep();
        }
    }
    match (workload, flood) {
        ("download", Some(flood)) => say_sent(flood.sent(), 0.0),
        _ => meter.say(size),
    }
}

fn hear(server: &Server, notice: ServerNotice, authorized: Identity, open: &mut Vec<TunnelId>) {
    let ServerNotice::Event { event, .. } = notice else { return };
    match event {
        ServerEvent::Authorize { identity, .. } if identity == authorized => {
            server.authorize(identity, Grant::default());
        }
        ServerEvent::Authorize { identity, .. } => server.refuse(identity),
        ServerEvent::Opened { tunnel, .. } => open.push(tunnel),
        ServerEvent::Closed { .. } | ServerEvent::Unauthorized { .. } => {}
    }
}

/// Counts what is there. Whether there was something.
pub(crate) fn count(consumer: &mut Consumer, meter: &mut Meter) -> bool {
    let length = consumer.take(TAKE);
    for packet in (0..length).filter_map(|index| consumer.packet(index)) {
        meter.packet(packet);
    }
    meter.batch_end();
    length > 0
}

fn send_back(server: &Server, consumer: &mut Consumer, ear: &Arc<Ear>) -> bool {
    let length = consumer.take(TAKE);
    let mut done = 0;
    while done < length {
        let packet = |index: usize| {
            let found = consumer.descriptor(done + index).zip(consumer.packet(done + index));
            found.map_or((0, &[][..]), |(descriptor, packet)| (descriptor.tunnel, packet))
        };
        let taken = server.submit(packet(0).0, length - done, packet).packets;
        done += taken;
        if taken == 0 {
            ear.sleep();
        }
    }
    length > 0
}

fn send(server: &Server, flood: &mut Flood, open: &[TunnelId]) -> bool {
    if open.is_empty() {
        return false;
    }
    flood.over(open.len());
    let (lane, from, packets) = flood.next();
    let tunnel = open[lane];
    let taken =
        server.submit(tunnel, packets.len() - from, |index| (tunnel, packets.at(from + index)));
    flood.advance(taken.packets)
}
