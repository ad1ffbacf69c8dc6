//! Packets to and fro: how long each takes, with one or more on their way.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use snaptun::engine::{Tunnel, ring::Consumer};

use crate::{
    application::{Ear, TAKE},
    task::{Failure, Task, Value, say},
    traffic::{Source, head},
};

/// Round trips before the measured ones.
const WARM_UP: usize = 1000;
/// How long nothing may come back.
const TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) fn measure(
    task: &Task,
    (tunnel, consumer): &mut (Tunnel, Consumer),
    ear: &Ear,
) -> Result<(), Failure> {
    let window: usize = task.parsed("inFlight")?;
    let count: usize = task.parsed("count")?;
    let mut source = Source::new(task.parsed("size")?, 1, 1)?;
    let mut sent: HashMap<u64, Instant> = HashMap::new();
    let mut times = Vec::with_capacity(WARM_UP + count);
    let mut lost = 0;
    let mut began = Instant::now();
    let mut progress = began;
    while times.len() < WARM_UP + count {
        while sent.len() < window {
            let number = source.made();
            let packet = source.fill(0).bytes();
            sent.insert(number, Instant::now());
            while tunnel.submit(1, |_| packet).packets == 0 {
                ear.sleep();
            }
        }
        let mut length = consumer.take(TAKE);
        while length == 0 && progress.elapsed() < TIMEOUT {
            if consumer.arm() {
                ear.sleep();
            }
            length = consumer.take(TAKE);
        }
        let now = Instant::now();
        if length == 0 {
            lost += sent.len();
            sent.clear();
            if times.is_empty() {
                return Err("no packet came back".into());
            }
        }
        progress = now;
        let numbers = (0..length).filter_map(|index| Some(head(consumer.packet(index)?)?.0));
        for back in numbers.filter_map(|number| sent.remove(&number)) {
            times.push(now - back);
            if times.len() == WARM_UP {
                began = now;
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut times = times.split_off(WARM_UP);
    times.sort_unstable();
    let at = |share: f64| {
        let time = times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
        Value::Number(time.as_secs_f64() * 1e6)
    };
    say([
        ("count", Value::Number(times.len() as f64)),
        ("lost", Value::Number(lost as f64)),
        ("medianUs", at(0.5)),
        ("p99Us", at(0.99)),
        ("seconds", Value::Number(seconds)),
    ])
}
