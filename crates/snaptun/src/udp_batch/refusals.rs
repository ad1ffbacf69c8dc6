//! Where GSO does not work, as was found out.
//!
//! Whether it works depends on the way that a datagram takes (the interface, its MTU), not on the
//! socket. So a refusal is remembered for the address that it was met at, and the other targets of
//! the socket go on with it: one bad target, or one interface without, costs nobody else anything.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

/// Routes and interfaces change: after this time it is tried again.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// Addresses that are remembered. When so many refuse, it is for all until they are forgotten.
const MAX_ADDRESSES: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// The smallest segment that was refused.
    by_address: FxHashMap<IpAddr, usize>,
    since: Option<Instant>,
}

impl Refusals {
    /// Whether segments of so many bytes can go in trains to `target`, as far as is known.
    #[inline]
    pub(super) fn allow(&mut self, target: IpAddr, segment: usize) -> bool {
        self.since.is_none() || self.look_up(target, segment)
    }

    #[cold]
    fn look_up(&mut self, target: IpAddr, segment: usize) -> bool {
        if self.since.is_some_and(|since| since.elapsed() >= FORGET_AFTER) {
            *self = Self::default();
            return true;
        }
        self.by_address.len() < MAX_ADDRESSES
            && self.by_address.get(&target).is_none_or(|&refused| segment < refused)
    }

    /// A train of such segments was refused which one by one were not.
    pub(super) fn note(&mut self, target: IpAddr, segment: usize) {
        self.since.get_or_insert_with(Instant::now);
        let refused = self.by_address.entry(target).or_insert(segment);
        *refused = segment.min(*refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_concerns_one_address_and_what_is_not_smaller() {
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut refusals = Refusals::default();
        assert!(refusals.allow(one, 1400));
        refusals.note(one, 1400);
        assert!(!refusals.allow(one, 1400) && !refusals.allow(one, 9000));
        assert!(refusals.allow(one, 1200) && refusals.allow(other, 9000));
        refusals.note(one, 1200);
        refusals.note(one, 9000);
        assert!(!refusals.allow(one, 1200) && refusals.allow(one, 1199));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut refusals = Refusals::default();
        for address in 0..1000_u32 {
            let address = address.to_be_bytes().into();
            if refusals.allow(address, 100) {
                refusals.note(address, 100);
            }
        }
        assert_eq!(refusals.by_address.len(), MAX_ADDRESSES);
        assert!(!refusals.allow([192, 0, 2, 1].into(), 100), "it is for all");
    }
}
