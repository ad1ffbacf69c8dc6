//! The client that measures one packet to and fro.

use std::{
    fmt,
    time::{Duration, Instant},
};

use snaptun_peers::{SnapTunPeerClient, TunnPeerClient};

use crate::{
    ClientArgs, Failure, Via, client_options,
    packets::{Source, sequence},
    report::{EchoReport, print},
};

/// Packets to and fro before the measured ones, so that nothing is measured that happens once only.
const WARM_UP: u64 = 200;
/// A packet that takes longer to come back is lost.
const ECHO_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) async fn echo(args: &ClientArgs) -> Result<(), Failure> {
    match args.via {
        Via::Batch => echo_in_batches(args).await,
        Via::Send | Via::TrySend => echo_one_by_one(args).await,
    }
}

/// Round trips, in the order in which they were measured.
#[derive(Default)]
struct RoundTrips {
    times: Vec<Duration>,
    lost: u64,
}

impl RoundTrips {
    fn report(mut self) -> Result<EchoReport, NothingCameBack> {
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
    let client = SnapTunPeerClient::connect(client_options(args)).await?;
    let tunnel = client.tunnel();
    let mut source = Source::new(args.size);
    let mut trips = RoundTrips::default();
    for round in 0..WARM_UP + args.count {
        let expected = source.next;
        let packet = source.packet();
        let start = Instant::now();
        if args.via == Via::TrySend {
            tunnel.try_send(packet)?;
        } else {
            tunnel.send(packet).await?;
        }
        let back = async {
            // What was given up as lost may still come, and is not this packet.
            while sequence(&tunnel.recv().await?) != Some(expected) {}
            Ok::<_, Failure>(start.elapsed())
        };
        record(&mut trips, round, tokio::time::timeout(ECHO_TIMEOUT, back).await)?;
    }
    print(&trips.report()?)
}

async fn echo_in_batches(args: &ClientArgs) -> Result<(), Failure> {
    let early: [&[u8]; 0] = [];
    let mut client = TunnPeerClient::connect(client_options(args), early).await?;
    let mut source = Source::new(args.size);
    let mut trips = RoundTrips::default();
    for round in 0..WARM_UP + args.count {
        let expected = source.next;
        let packet = source.packet();
        let start = Instant::now();
        client.send(packet).await?;
        client.flush().await?;
        let back = async {
            while sequence(&client.recv().await?) != Some(expected) {}
            Ok::<_, Failure>(start.elapsed())
        };
        record(&mut trips, round, tokio::time::timeout(ECHO_TIMEOUT, back).await)?;
    }
    print(&trips.report()?)
}

fn record(
    trips: &mut RoundTrips,
    round: u64,
    back: Result<Result<Duration, Failure>, tokio::time::error::Elapsed>,
) -> Result<(), Failure> {
    match back {
        Ok(time) => {
            let time = time?;
            if round >= WARM_UP {
                trips.times.push(time);
            }
        }
        Err(_) => {
            trips.lost += 1;
            // Without this a server that does not echo would be noticed after an hour.
            if trips.times.is_empty() && trips.lost > 3 {
                return Err(NothingCameBack.into());
            }
        }
    }
    Ok(())
}
