//! The client that measures packets to and fro, one or several on their way at once.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use ana_gotatun::packet::Packet;

use crate::{
    ClientArgs, Failure, Via,
    clients::{connect, connect_by_hand},
    packets::{Source, head},
    report::{EchoReport, print},
};

/// Packets to and fro before the measured ones, so that nothing is measured that happens once only.
const WARM_UP: u64 = 200;
/// When nothing comes back for so long, what is on its way is lost.
const ECHO_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) async fn echo(args: &ClientArgs) -> Result<(), Failure> {
    match args.via {
        Via::Batch => echo_in_batches(args).await,
        Via::Send | Via::TrySend => echo_one_by_one(args).await,
    }
}

/// What is on its way, and how long the others took.
struct RoundTrips {
    source: Source,
    in_flight: usize,
    sent: HashMap<u64, Instant>,
    wanted: u64,
    seen: u64,
    times: Vec<Duration>,
    began: Instant,
    lost: u64,
}

impl RoundTrips {
    fn new(args: &ClientArgs) -> Self {
        Self {
            source: Source::new(args.size, 1),
            in_flight: args.in_flight,
            sent: HashMap::new(),
            wanted: args.count,
            seen: 0,
            times: Vec::new(),
            began: Instant::now(),
            lost: 0,
        }
    }

    fn goes_on(&self) -> bool {
        self.seen < WARM_UP + self.wanted
    }

    /// The next packet, if it may be sent now.
    fn next(&mut self) -> Option<Packet> {
        (self.sent.len() < self.in_flight).then(|| {
            self.sent.insert(self.source.made(), Instant::now());
            self.source.packet(0)
        })
    }

    fn back(&mut self, packet: &[u8]) {
        let now = Instant::now();
        // What was given up as lost may still come, and is not one of these.
        let Some(sent) = head(packet).and_then(|(number, _)| self.sent.remove(&number)) else {
            return;
        };
        self.seen += 1;
        if self.seen == WARM_UP {
            self.began = now;
        }
        // With many in flight more come back than are wanted.
        if (WARM_UP + 1..=WARM_UP + self.wanted).contains(&self.seen) {
            self.times.push(now - sent);
        }
    }

    /// Nothing came back for too long.
    fn give_up(&mut self) -> Result<(), NothingCameBack> {
        self.lost += self.sent.len() as u64;
        self.sent.clear();
        // Without this a server that does not echo would be noticed after an hour.
        if self.seen == 0 { Err(NothingCameBack) } else { Ok(()) }
    }

    fn report(mut self) -> Result<EchoReport, NothingCameBack> {
        let seconds = self.began.elapsed().as_secs_f64();
        self.times.sort_unstable();
        let at = |share: f64| {
            let index = (self.times.len() as f64 * share) as usize;
            self.times
                .get(index.min(self.times.len().saturating_sub(1)))
                .map(|time| time.as_secs_f64() * 1e6)
                .ok_or(NothingCameBack)
        };
        Ok(EchoReport {
            count: self.times.len(),
            lost: self.lost,
            seconds,
            median_us: at(0.5)?,
            p99_us: at(0.99)?,
            min_us: at(0.0)?,
            max_us: at(1.0)?,
        })
    }
}

#[derive(Debug)]
struct NothingCameBack;

impl fmt::Display for NothingCameBack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no packet came back: was the server started with --echo?")
    }
}

impl std::error::Error for NothingCameBack {}

async fn echo_one_by_one(args: &ClientArgs) -> Result<(), Failure> {
    let clients = connect(args).await?;
    let tunnel = clients[0].tunnel();
    let mut trips = RoundTrips::new(args);
    while trips.goes_on() {
        while let Some(packet) = trips.next() {
            if args.via == Via::TrySend {
                tunnel.try_send(packet)?;
            } else {
                tunnel.send(packet).await?;
            }
        }
        match tokio::time::timeout(ECHO_TIMEOUT, tunnel.recv()).await {
            Ok(packet) => trips.back(&packet?),
            Err(_) => trips.give_up()?,
        }
        while let Some(packet) = tunnel.try_recv()? {
            trips.back(&packet);
        }
    }
    print(&trips.report()?)
}

async fn echo_in_batches(args: &ClientArgs) -> Result<(), Failure> {
    let mut clients = connect_by_hand(args).await?;
    let client = &mut clients[0];
    let mut trips = RoundTrips::new(args);
    let mut last = Instant::now();
    while trips.goes_on() {
        while let Some(packet) = trips.next() {
            client.send(packet).await?;
        }
        client.flush().await?;
        let seen = trips.seen;
        // Returns without a packet when only a timer is due.
        client.recv_each(|packet| trips.back(packet)).await?;
        if trips.seen != seen {
            last = Instant::now();
        } else if last.elapsed() > ECHO_TIMEOUT {
            last = Instant::now();
            trips.give_up()?;
        }
    }
    print(&trips.report()?)
}
