//! How a server's shard shares its time between data and handshakes.

use std::time::{Duration, Instant};

use super::endpoint::Outbox;
use crate::server::SnapTunServer;

/// Handshakes get a quarter of a shard's time while there is data to serve.
const HANDSHAKE_SHARE: u32 = 4;

/// What they can save up: a few handshakes.
const MAX_CREDIT: Duration = Duration::from_millis(2);

/// Handshakes in a row while there is no data, before the socket is looked at again.
const HANDSHAKES_IN_A_ROW: usize = 2;

/// Shares a shard's time between data and handshakes.
pub(super) struct Pacer {
    credit: Duration,
    last: Instant,
}

impl Pacer {
    pub(super) fn new(now: Instant) -> Self {
        Self { credit: MAX_CREDIT, last: now }
    }

    /// Goes on with handshakes: as many as are affordable, or two when `idle`. True when more wait.
    pub(super) fn run(
        &mut self,
        core: &mut SnapTunServer,
        now: Instant,
        idle: bool,
        out: &mut Outbox<'_>,
    ) -> bool {
        if core.handshakes_waiting() == 0 {
            return false;
        }
        let earned = now.saturating_duration_since(self.last) / HANDSHAKE_SHARE;
        self.credit = (self.credit + earned).min(MAX_CREDIT);
        self.last = now;
        for _ in 0..HANDSHAKES_IN_A_ROW {
            if core.handshakes_waiting() == 0 || (!idle && self.credit.is_zero()) {
                break;
            }
            let started = Instant::now();
            core.handshake(now, out);
            self.credit = self.credit.saturating_sub(started.elapsed());
        }
        core.handshakes_waiting() > 0
    }
}
