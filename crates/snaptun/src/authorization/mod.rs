//! Who may pass, until when, and which initiations were seen before.
//!
//! One table for all shards of a server. Handshakes look identities up in it, under a lock. Packets
//! never do: a tunnel holds the [`Authorization`] of its identity, and asks it with one atomic load.

mod places;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{Identity, PresharedKey};
use places::Directory;
pub(crate) use places::Place;

/// For how long a refusal is remembered, so that a client that keeps trying (once in 5 s, by the
/// protocol) does not make the application answer each time.
pub const REFUSAL_MEMORY: Duration = Duration::from_secs(4);

/// How long replayed initiations are still recognized after an authorization has ended.
pub const REPLAY_MEMORY: Duration = Duration::from_secs(600);

/// Timestamps of initiations remembered for an identity. An identity may hold several tunnels, on
/// hosts whose clocks differ, and each initiates once in two minutes; what is older than the oldest
/// of these is refused.
pub const REPLAY_WINDOW: usize = 32;

/// Refusals remembered at most; beyond that the oldest is forgotten, and its identity may ask again.
const MAX_REFUSALS: usize = 4096;

/// How long before its end a grant is asked for again: a tenth of its length, within these bounds.
const RENEWAL_LEAD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A TAI64N timestamp, as initiations carry it: big-endian, so that it compares as bytes.
pub(crate) type Timestamp = [u8; 12];

const NEVER: u64 = u64::MAX;

/// Until when an identity may pass. Shared by its tunnels on all shards.
#[derive(Debug)]
pub struct Authorization {
    identity: Identity,
    /// Nanoseconds since the table was made; 0 when revoked, [`NEVER`] when it doesn't end.
    expires_at: AtomicU64,
    /// When it was revoked, on the same clock.
    ended_at: AtomicU64,
    /// When it is to be asked for again, on the same clock; [`NEVER`] once that was done.
    renew_at: AtomicU64,
    /// Tunnels that it has.
    tunnels: AtomicUsize,
    preshared_key: Mutex<Option<PresharedKey>>,
}

impl Authorization {
    fn revoked(identity: Identity) -> Arc<Self> {
        Arc::new(Self {
            identity,
            expires_at: 0.into(),
            ended_at: 0.into(),
            renew_at: NEVER.into(),
            tunnels: 0.into(),
            preshared_key: Mutex::default(),
        })
    }

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

    /// Whether it lives, or ended so recently that a replay has to be recognized.
    fn is_remembered(&self, now: Clock) -> bool {
        let end =
            self.expires_at.load(Ordering::Acquire).max(self.ended_at.load(Ordering::Relaxed));
        now.0 < end.saturating_add(nanos(REPLAY_MEMORY))
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
    Granted(Arc<Authorization>),
    /// Nobody has been asked: the caller is the one who does.
    Ask,
    /// The application was asked and has not answered yet.
    Asked,
    Refused,
    /// Too many wait for an answer already.
    AtCapacity,
    /// This initiation was seen before, or is older than what can be told.
    Replayed,
}

/// An identity that was granted something. About 600 bytes with a full window.
struct Known {
    authorization: Arc<Authorization>,
    /// Ascending, the newest last.
    timestamps: Vec<Timestamp>,
}

/// An identity that waits for an answer, with the initiations of all its hosts.
struct Asked {
    timestamps: Vec<Timestamp>,
    since: Instant,
}

#[derive(Default)]
struct Tables {
    /// As many as the application grants, and those whose grant ended less than [`REPLAY_MEMORY`] ago.
    known: HashMap<Identity, Known>,
    /// Bounded by `max_pending`.
    asked: HashMap<Identity, Asked>,
    /// Until when. Bounded by [`MAX_REFUSALS`].
    refused: HashMap<Identity, Instant>,
    refusals: VecDeque<(Instant, Identity)>,
}

/// The authorizations of a server.
pub struct AuthorizationTable {
    epoch: Instant,
    max_pending: usize,
    directory: Arc<Directory>,
    tables: Mutex<Tables>,
}

impl AuthorizationTable {
    /// An empty table: nobody may pass. At most `max_pending` identities wait for an answer at once.
    pub fn new(now: Instant, max_pending: usize) -> Self {
        Self { epoch: now, max_pending, directory: Arc::default(), tables: Mutex::default() }
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
        let (expires_at, renew_at) = match grant.expires_at {
            Some(at) => {
                let (least, most) = RENEWAL_LEAD;
                let lead = (at.saturating_duration_since(now) / 10).clamp(least, most);
                let end = self.clock(at).0;
                (end, end.saturating_sub(nanos(lead)))
            }
            None => (NEVER, NEVER),
        };
        let mut tables = self.tables.lock();
        tables.refused.remove(&identity);
        let asked = tables.asked.remove(&identity);
        let known = tables.known.entry(identity).or_insert_with(|| Known {
            authorization: Authorization::revoked(identity),
            timestamps: Vec::new(),
        });
        for timestamp in asked.into_iter().flat_map(|asked| asked.timestamps) {
            record(&mut known.timestamps, timestamp);
        }
        if known.authorization.is_revoked() {
            // It stays revoked for the tunnels that still hold it.
            known.authorization = Authorization::revoked(identity);
        }
        *known.authorization.preshared_key.lock() = grant.preshared_key;
        known.authorization.renew_at.store(renew_at, Ordering::Relaxed);
        known.authorization.expires_at.store(expires_at, Ordering::Release);
    }

    /// Whether a grant in use ends soon and is to be asked for again; true once for each grant.
    pub(crate) fn renew(&self, authorization: &Authorization, now: Instant) -> bool {
        let renew_at = authorization.renew_at.load(Ordering::Relaxed);
        renew_at <= self.clock(now).0
            && authorization.renew_at.swap(NEVER, Ordering::Relaxed) != NEVER
    }

    /// Takes a place for one more tunnel, if there is one within the bounds: for all, and for the
    /// identity. From then on the address is known to belong to `shard`.
    pub(crate) fn place(
        &self,
        authorization: &Arc<Authorization>,
        bounds: (usize, usize),
        remote: SocketAddr,
        shard: u8,
    ) -> Option<Place> {
        self.directory.place(authorization, bounds, remote, shard)
    }

    /// The shard that has a tunnel to an address.
    pub(crate) fn owner(&self, remote: SocketAddr) -> Option<u8> {
        self.directory.owner(remote)
    }

    /// Answers «no» to a question that [`Standing::Ask`] led to.
    pub fn refuse(&self, identity: Identity, now: Instant) {
        let mut tables = self.tables.lock();
        let until = now + REFUSAL_MEMORY;
        tables.asked.remove(&identity);
        tables.refused.insert(identity, until);
        tables.refusals.push_back((until, identity));
        tables.forget_refusals(now);
    }

    /// Ends the authorization of an identity. When this returns, [`Authorization::allows`] is false
    /// for whoever asks from then on. Says whether there was one.
    pub fn revoke(&self, identity: Identity, now: Instant) -> bool {
        let clock = self.clock(now);
        let tables = self.tables.lock();
        tables.known.get(&identity).is_some_and(|known| {
            let lived = known.authorization.allows(clock);
            known.authorization.ended_at.store(clock.0, Ordering::Relaxed);
            known.authorization.expires_at.store(0, Ordering::Release);
            lived
        })
    }

    /// Whether an identity may pass now. For listings, not for packets.
    pub fn is_granted(&self, identity: Identity, now: Instant) -> bool {
        let clock = self.clock(now);
        let tables = self.tables.lock();
        tables.known.get(&identity).is_some_and(|known| known.authorization.allows(clock))
    }

    /// What is to be done with an initiation of `identity`, whose key and timestamp were proved.
    /// Records the timestamp: a second call with the same one says [`Standing::Replayed`].
    pub(crate) fn admit(&self, identity: Identity, timestamp: Timestamp, now: Instant) -> Standing {
        let clock = self.clock(now);
        let mut tables = self.tables.lock();
        if let Some(known) = tables.known.get_mut(&identity) {
            if !record(&mut known.timestamps, timestamp) {
                return Standing::Replayed;
            }
            if known.authorization.allows(clock) {
                return Standing::Granted(known.authorization.clone());
            }
        }
        if tables.is_refused(identity, now) {
            return Standing::Refused;
        }
        if let Some(asked) = tables.asked.get_mut(&identity) {
            let new = record(&mut asked.timestamps, timestamp);
            return if new { Standing::Asked } else { Standing::Replayed };
        }
        if tables.asked.len() >= self.max_pending {
            return Standing::AtCapacity;
        }
        tables.asked.insert(identity, Asked { timestamps: vec![timestamp], since: now });
        Standing::Ask
    }

    /// What became of an initiation that was told [`Standing::Ask`] or [`Standing::Asked`].
    pub(crate) fn standing(&self, identity: Identity, now: Instant) -> Standing {
        let clock = self.clock(now);
        let tables = self.tables.lock();
        match tables.known.get(&identity) {
            Some(known) if known.authorization.allows(clock) => {
                Standing::Granted(known.authorization.clone())
            }
            _ if tables.asked.contains_key(&identity) => Standing::Asked,
            _ => Standing::Refused,
        }
    }

    /// Refuses those who have waited for an answer since before `since`. Returns who they are.
    pub(crate) fn time_out(&self, since: Instant, now: Instant) -> Vec<Identity> {
        let late: Vec<Identity> = {
            let tables = self.tables.lock();
            let waiting = tables.asked.iter();
            waiting
                .filter(|(_, asked)| asked.since <= since)
                .map(|(&identity, _)| identity)
                .collect()
        };
        late.iter().for_each(|&identity| self.refuse(identity, now));
        late
    }

    /// Forgets what is of no use any more. To be called about once a minute.
    pub fn sweep(&self, now: Instant) {
        let clock = self.clock(now);
        let mut tables = self.tables.lock();
        tables.known.retain(|_, known| known.authorization.is_remembered(clock));
        tables.forget_refusals(now);
    }
}

impl Tables {
    fn is_refused(&self, identity: Identity, now: Instant) -> bool {
        self.refused.get(&identity).is_some_and(|&until| now < until)
    }

    /// Forgets refusals that are over, and the oldest where there are too many.
    fn forget_refusals(&mut self, now: Instant) {
        while let Some(&(until, identity)) = self.refusals.front()
            && (until <= now || self.refusals.len() > MAX_REFUSALS)
        {
            self.refusals.pop_front();
            // It may have been granted, or refused again, meanwhile.
            if self.refused.get(&identity) == Some(&until) {
                self.refused.remove(&identity);
            }
        }
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
