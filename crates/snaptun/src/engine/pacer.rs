//! How a server's shard shares its time between data and handshakes.

use std::time::{Duration, Instant};

use super::endpoint::Outbox;
use crate::server::SnapTunServer;

/// Handshakes get a quarter of a shard's time while there is data to serve.
const HANDSHAKE_SHARE: u32 = 4;

/// What they can save up, and owe: a few handshakes.
const MAX_CREDIT: Duration = Duration::from_millis(2);

/// Handshakes in a row while there is no data, before the socket is looked at again.
const HANDSHAKES_IN_A_ROW: usize = 2;

/// Shares a shard's time between data and handshakes.
pub(super) struct Pacer {
    /// Time that handshakes may take.
    credit: Duration,
    /// What they took beyond it: a handshake is begun with whatever credit there is, and costs more
    /// than a turn earns. Forgotten, every turn would have one.
    debt: Duration,
    last: Instant,
}

impl Pacer {
    pub(super) fn new(now: Instant) -> Self {
        Self { credit: MAX_CREDIT, debt: Duration::ZERO, last: now }
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
        self.earn(now);
        for _ in 0..HANDSHAKES_IN_A_ROW {
            if core.handshakes_waiting() == 0 || (!idle && self.credit.is_zero()) {
                break;
            }
            let started = Instant::now();
            core.handshake(now, out);
            self.spend(started.elapsed());
        }
        core.handshakes_waiting() > 0
    }

    fn earn(&mut self, now: Instant) {
        let earned = now.saturating_duration_since(self.last) / HANDSHAKE_SHARE;
        self.credit = (self.credit + earned.saturating_sub(self.debt)).min(MAX_CREDIT);
        self.debt = self.debt.saturating_sub(earned);
        self.last = now;
    }

    fn spend(&mut self, taken: Duration) {
        self.debt = (self.debt + taken.saturating_sub(self.credit)).min(MAX_CREDIT);
        self.credit = self.credit.saturating_sub(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_keep_to_their_share_however_short_the_turns_are() {
        const TURN: Duration = Duration::from_micros(40);
        const HANDSHAKE: Duration = Duration::from_micros(250);
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        let (mut now, mut spent) = (start, Duration::ZERO);
        while now - start < Duration::from_secs(1) {
            now += TURN;
            pacer.earn(now);
            if !pacer.credit.is_zero() {
                now += HANDSHAKE;
                spent += HANDSHAKE;
                pacer.spend(HANDSHAKE);
            }
        }
        let share = (now - start) / HANDSHAKE_SHARE;
        assert!(spent <= share + MAX_CREDIT + HANDSHAKE, "{spent:?}");
        assert!(spent + HANDSHAKE >= share, "{spent:?}");
    }
}
