//! Who may pass, until when, and which initiations were seen before.
//!
//! One table for all shards of a server. Handshakes look identities up in it, under a lock. Packets
//! never do: a tunnel holds the [`Authorization`] of its identity, and asks it with one atomic load.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{Identity, PresharedKey};

/// For how long a refusal is remembered, so that a client that keeps trying (once in 5 s, by the
/// protocol) does not make the application answer each time.
pub const REFUSAL_MEMORY: Duration = Duration::from_secs(4);

/// How long replayed initiations are still recognized after an authorization has ended.
pub const REPLAY_MEMORY: Duration = Duration::from_secs(600);

/// Timestamps of initiations remembered for an identity. An identity may hold several tunnels, on
/// hosts whose clocks differ, and each initiates once in two minutes; what is older than the oldest
/// of these is refused.
pub const REPLAY_WINDOW: usize = 32;

/// Identities in the table, at most: with its timestamps one takes about 600 bytes.
const MAX_IDENTITIES: usize = 1 << 20;

/// A TAI64N timestamp, as initiations carry it: big-endian, so that it compares as bytes.
pub(crate) type Timestamp = [u8; 12];

const NEVER: u64 = u64::MAX;

/// Until when an identity may pass. Shared by its tunnels on all shards.
#[derive(Debug)]
pub struct Authorization {
    identity: Identity,
    /// Nanoseconds since the table was made; 0 when revoked, [`NEVER`] when it doesn't end.
    expires_at: AtomicU64,
    preshared_key: Mutex<Option<PresharedKey>>,
}

impl Authorization {
    /// Whose authorization it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether packets may pass at `now`, as [`AuthorizationTable::clock`] tells it.
    #[inline]
    pub fn allows(&self, now: Clock) -> bool {
        now.0 < self.expires_at.load(Ordering::Acquire)
    }

    /// Whether it was revoked, rather than left to expire.
    pub fn is_revoked(&self) -> bool {
        self.expires_at.load(Ordering::Acquire) == 0
    }

    pub(crate) fn preshared_key(&self) -> Option<PresharedKey> {
        self.preshared_key.lock().clone()
    }
}

/// An instant on the clock of an [`AuthorizationTable`]; read once a turn, compared once a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clock(u64);

/// What the application grants to an identity.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// When it ends; `None`: when it is revoked.
    pub expires_at: Option<Instant>,
    /// A key that both sides know besides their static keys.
    pub preshared_key: Option<PresharedKey>,
}

/// What the table says of an identity that proved itself.
#[derive(Debug)]
pub(crate) enum Standing {
    Granted(std::sync::Arc<Authorization>),
    /// Nobody has been asked: the caller is the one who does.
    Ask,
    /// The application was asked and has not answered yet.
    Asked,
    Refused,
    /// This initiation was seen before, or is older than what can be told.
    Replayed,
}

#[derive(Default)]
struct Entry {
    authorization: Option<std::sync::Arc<Authorization>>,
    asked: bool,
    refused_until: Option<Instant>,
    /// Ascending, the newest last.
    timestamps: Vec<Timestamp>,
    /// When it was of use last.
    touched: Option<Instant>,
}

/// The authorizations of a server.
pub struct AuthorizationTable {
    epoch: Instant,
    entries: Mutex<HashMap<Identity, Entry>>,
}

impl AuthorizationTable {
    /// An empty table: nobody may pass.
    pub fn new(now: Instant) -> Self {
        Self { epoch: now, entries: Mutex::default() }
    }

    /// The instant as authorizations compare it.
    #[inline]
    pub fn clock(&self, now: Instant) -> Clock {
        // From 1 on, so that a revoked authorization (0) allows nothing at the first instant either.
        Clock(1 + nanos(now.saturating_duration_since(self.epoch)))
    }

    /// Lets an identity pass, or replaces until when it may. Its living tunnels go on. A changed
    /// pre-shared key counts from the next handshake on.
    pub fn grant(&self, identity: Identity, grant: Grant, now: Instant) {
        let expires_at = match grant.expires_at {
            Some(at) => self.clock(at).0,
            None => NEVER,
        };
        let mut entries = self.entries.lock();
        let entry = entries.entry(identity).or_default();
        entry.asked = false;
        entry.refused_until = None;
        entry.touched = Some(now);
        match &entry.authorization {
            // A revoked one stays revoked for the tunnels that still hold it.
            Some(authorization) if !authorization.is_revoked() => {
                authorization.expires_at.store(expires_at, Ordering::Release);
                *authorization.preshared_key.lock() = grant.preshared_key;
            }
            _ => {
                entry.authorization = Some(std::sync::Arc::new(Authorization {
                    identity,
                    expires_at: expires_at.into(),
                    preshared_key: Mutex::new(grant.preshared_key),
                }));
            }
        }
    }

    /// Answers «no» to a question that [`Standing::Ask`] led to.
    pub fn refuse(&self, identity: Identity, now: Instant) {
        let mut entries = self.entries.lock();
        let entry = entries.entry(identity).or_default();
        entry.asked = false;
        entry.refused_until = Some(now + REFUSAL_MEMORY);
        entry.touched = Some(now);
    }

    /// Ends the authorization of an identity. When this returns, [`Authorization::allows`] is false
    /// for whoever asks from then on.
    pub fn revoke(&self, identity: Identity, now: Instant) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(&identity) {
            if let Some(authorization) = entry.authorization.take() {
                authorization.expires_at.store(0, Ordering::Release);
            }
            entry.touched = Some(now);
        }
    }

    /// Whether an identity may pass now. For listings, not for packets.
    pub fn is_granted(&self, identity: Identity, now: Instant) -> bool {
        let now = self.clock(now);
        let entries = self.entries.lock();
        entries
            .get(&identity)
            .and_then(|entry| entry.authorization.as_ref())
            .is_some_and(|authorization| authorization.allows(now))
    }

    /// What is to be done with an initiation of `identity`, whose key and timestamp were proved.
    /// Records the timestamp: a second call with the same one says [`Standing::Replayed`].
    pub(crate) fn admit(&self, identity: Identity, timestamp: Timestamp, now: Instant) -> Standing {
        let clock = self.clock(now);
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_IDENTITIES && !entries.contains_key(&identity) {
            return Standing::Refused;
        }
        let entry = entries.entry(identity).or_default();
        if !record(&mut entry.timestamps, timestamp) {
            return Standing::Replayed;
        }
        entry.touched = Some(now);
        entry.standing(clock, now)
    }

    /// What became of an initiation that was told [`Standing::Ask`] or [`Standing::Asked`].
    pub(crate) fn standing(&self, identity: Identity, now: Instant) -> Standing {
        let clock = self.clock(now);
        match self.entries.lock().get_mut(&identity) {
            Some(entry) => entry.standing(clock, now),
            None => Standing::Refused,
        }
    }

    /// Forgets what is of no use any more. To be called about once a minute.
    pub fn sweep(&self, now: Instant) {
        let clock = self.clock(now);
        self.entries.lock().retain(|_, entry| {
            let lives = entry.authorization.as_ref().is_some_and(|held| held.allows(clock));
            lives
                || entry.touched.is_some_and(|at| now.saturating_duration_since(at) < REPLAY_MEMORY)
        });
    }
}

impl Entry {
    fn standing(&mut self, clock: Clock, now: Instant) -> Standing {
        if let Some(authorization) = &self.authorization
            && authorization.allows(clock)
        {
            return Standing::Granted(authorization.clone());
        }
        if self.refused_until.is_some_and(|until| now < until) {
            return Standing::Refused;
        }
        if std::mem::replace(&mut self.asked, true) { Standing::Asked } else { Standing::Ask }
    }
}

/// Adds a timestamp to an ascending window; false when it is there already, or too old to tell.
fn record(window: &mut Vec<Timestamp>, timestamp: Timestamp) -> bool {
    match window.binary_search(&timestamp) {
        Ok(_) => false,
        Err(0) if window.len() >= REPLAY_WINDOW => false,
        Err(mut at) => {
            if window.len() >= REPLAY_WINDOW {
                window.remove(0);
                at -= 1;
            }
            window.insert(at, timestamp);
            true
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    // 584 years; a grant beyond that never ends either.
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER - 1).min(NEVER - 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(byte: u8) -> Identity {
        Identity::new([byte; 32]).unwrap()
    }

    fn timestamp(n: u64) -> Timestamp {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&n.to_be_bytes());
        bytes
    }

    #[test]
    fn an_identity_is_asked_for_once_and_then_stands_as_answered() {
        let now = Instant::now();
        let table = AuthorizationTable::new(now);
        assert!(matches!(table.admit(identity(1), timestamp(1), now), Standing::Ask));
        assert!(matches!(table.admit(identity(1), timestamp(2), now), Standing::Asked));
        table.grant(identity(1), Grant::default(), now);
        assert!(matches!(table.standing(identity(1), now), Standing::Granted(_)));
        assert!(matches!(table.admit(identity(2), timestamp(1), now), Standing::Ask));
    }

    #[test]
    fn a_refusal_is_remembered_for_a_moment() {
        let now = Instant::now();
        let table = AuthorizationTable::new(now);
        assert!(matches!(table.admit(identity(1), timestamp(1), now), Standing::Ask));
        table.refuse(identity(1), now);
        assert!(matches!(table.admit(identity(1), timestamp(2), now), Standing::Refused));
        let later = now + REFUSAL_MEMORY;
        assert!(matches!(table.admit(identity(1), timestamp(3), later), Standing::Ask));
    }

    #[test]
    fn an_expiry_passes_nothing_from_its_instant_on() {
        let now = Instant::now();
        let table = AuthorizationTable::new(now);
        let end = now + Duration::from_secs(5);
        table.grant(identity(1), Grant { expires_at: Some(end), preshared_key: None }, now);
        let Standing::Granted(held) = table.standing(identity(1), now) else { panic!() };
        assert!(held.allows(table.clock(end - Duration::from_nanos(1))));
        assert!(!held.allows(table.clock(end)));
        table.grant(identity(1), Grant::default(), end);
        assert!(held.allows(table.clock(end)), "a renewed grant serves living tunnels");
    }

    #[test]
    fn a_revoked_authorization_stays_so_for_who_holds_it() {
        let now = Instant::now();
        let table = AuthorizationTable::new(now);
        table.grant(identity(1), Grant::default(), now);
        let Standing::Granted(held) = table.standing(identity(1), now) else { panic!() };
        table.revoke(identity(1), now);
        assert!(!held.allows(table.clock(now)));
        table.grant(identity(1), Grant::default(), now);
        assert!(!held.allows(table.clock(now)));
        assert!(table.is_granted(identity(1), now));
    }

    #[test]
    fn what_is_of_no_use_is_forgotten_in_time() {
        let now = Instant::now();
        let table = AuthorizationTable::new(now);
        assert!(matches!(table.admit(identity(1), timestamp(1), now), Standing::Ask));
        table.refuse(identity(1), now);
        table.sweep(now + REPLAY_MEMORY - Duration::from_secs(1));
        assert!(matches!(table.admit(identity(1), timestamp(1), now), Standing::Replayed));
        table.sweep(now + REPLAY_MEMORY);
        assert!(table.entries.lock().is_empty());
    }

    proptest! {
        #[test]
        fn no_timestamp_is_admitted_twice(sequence in prop::collection::vec(0u64..100, 0..300)) {
            let now = Instant::now();
            let table = AuthorizationTable::new(now);
            table.grant(identity(1), Grant::default(), now);
            let mut admitted = std::collections::HashSet::new();
            for n in sequence {
                if !matches!(table.admit(identity(1), timestamp(n), now), Standing::Replayed) {
                    prop_assert!(admitted.insert(n));
                }
            }
        }
    }
}
