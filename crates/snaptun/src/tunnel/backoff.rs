//! When a client that lost its server tries again.

use std::time::Duration;

/// How attempts to reach a lost server follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReconnectPolicy {
    /// From the first attempt, which is made at once, to the second.
    pub initial_delay: Duration,
    /// What the delay grows by from attempt to attempt.
    pub factor: f64,
    /// The delay grows no further than this.
    pub max_delay: Duration,
    /// At most so much is added to each delay, at random: clients that lost a server together
    /// should not come back together.
    pub jitter: Duration,
    /// Gives up after this time without a server; `None`: never.
    pub max_elapsed: Option<Duration>,
}

impl Default for ReconnectPolicy {
    /// What the reference client does, for as long as it takes.
    fn default() -> Self {
        Self {
            initial_delay: Duration::from_secs(5),
            factor: 1.3,
            max_delay: Duration::from_secs(180),
            jitter: Duration::from_millis(500),
            max_elapsed: None,
        }
    }
}

impl ReconnectPolicy {
    /// From attempt number `attempt`, counted from 1, to the next.
    pub(crate) fn delay(&self, attempt: u32) -> Duration {
        let growth = self.factor.powi(attempt.saturating_sub(1).min(i32::MAX as u32) as i32);
        // It grows to infinity, which no delay, not even none, can be multiplied with.
        let delay = self.initial_delay.as_secs_f64() * growth.min(f64::MAX);
        let delay = delay.min(self.max_delay.as_secs_f64());
        Duration::from_secs_f64(delay) + self.jitter.mul_f64(rand::random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(policy: &ReconnectPolicy, attempt: u32) -> f64 {
        policy.delay(attempt).as_secs_f64()
    }

    #[test]
    fn delays_grow_to_the_most_allowed_and_stay_there() {
        let policy = ReconnectPolicy { jitter: Duration::ZERO, ..Default::default() };
        assert_eq!(seconds(&policy, 1), 5.0);
        assert!((seconds(&policy, 2) - 6.5).abs() < 1e-6);
        assert!((seconds(&policy, 3) - 8.45).abs() < 1e-6);
        for attempt in [16, 100, 10_000, u32::MAX] {
            assert_eq!(seconds(&policy, attempt), 180.0);
        }
    }

    #[test]
    fn jitter_is_added_within_its_bound_and_differs() {
        let policy = ReconnectPolicy::default();
        let delays: Vec<f64> = (0..100).map(|_| seconds(&policy, 1)).collect();
        assert!(delays.iter().all(|delay| (5.0..=5.5).contains(delay)));
        assert!(delays.iter().any(|delay| *delay != delays[0]));
    }

    #[test]
    fn no_delay_at_all_is_a_policy_too() {
        let zero = Duration::ZERO;
        let policy = ReconnectPolicy { initial_delay: zero, jitter: zero, ..Default::default() };
        assert_eq!(seconds(&policy, u32::MAX), 0.0);
    }
}
