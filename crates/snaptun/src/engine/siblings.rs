//! A server's shards as one of them sees the others: who a datagram is for, and how it gets there.

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{Arc, OnceLock, Weak},
};

use super::{endpoint::Datagram, server::ServerEndpoint, shard::Shard};
use crate::{authorization::AuthorizationTable, server::SnapTunServer};

/// What a shard knows of the others.
pub(super) struct Siblings {
    /// Filled once all are made. Weak: shards must not keep each other alive.
    shards: Arc<OnceLock<Vec<Weak<Shard<ServerEndpoint>>>>>,
    index: usize,
    count: usize,
    /// Decides whose a source is, where one socket is read for all.
    spread: Option<RandomState>,
    /// For each shard, what it is to be given at the end of the turn.
    outgoing: Vec<Vec<Datagram>>,
    dropped: u64,
}

impl Siblings {
    pub(super) fn new(
        shards: Arc<OnceLock<Vec<Weak<Shard<ServerEndpoint>>>>>,
        index: usize,
        count: usize,
        spread: Option<RandomState>,
    ) -> Self {
        let outgoing = (0..count).map(|_| Vec::new()).collect();
        Self { shards, index, count, spread, outgoing, dropped: 0 }
    }

    /// Keeps a datagram for another shard until the end of the turn.
    pub(super) fn give(&mut self, owner: usize, datagram: Datagram) {
        self.outgoing[owner].push(datagram);
    }

    /// Datagrams that another shard had no room for.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The other shard that a datagram is for; `None` when it is ours.
    ///
    /// Where the kernel spreads datagrams, it does so anew whenever a socket joins: then what is
    /// already on its way to us may be for a tunnel that another shard has.
    #[inline]
    pub(super) fn owner(
        &self,
        from: SocketAddr,
        core: &SnapTunServer,
        table: &AuthorizationTable,
    ) -> Option<usize> {
        let owner = match &self.spread {
            Some(hash) => hash.hash_one(from) as usize % self.count,
            None if core.serves(from) => return None,
            None => usize::from(table.owner(from)?),
        };
        (owner != self.index).then_some(owner)
    }

    /// Gives the other shards what was kept for them.
    pub(super) fn hand_over(&mut self) {
        let Some(shards) = self.shards.get() else { return };
        for (datagrams, shard) in self.outgoing.iter_mut().zip(shards) {
            if datagrams.is_empty() {
                continue;
            }
            match shard.upgrade() {
                Some(shard) => self.dropped += shard.deliver(datagrams) as u64,
                None => datagrams.clear(),
            }
        }
    }
}
