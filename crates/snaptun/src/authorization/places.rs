//! How many tunnels there may be, and which shard has those of an address.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use super::Authorization;

/// A place among the tunnels that there may be. Dropping it gives it back.
pub(crate) struct Place {
    directory: Arc<Directory>,
    authorization: Arc<Authorization>,
    remote: SocketAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.directory.tunnels.fetch_sub(1, Ordering::Relaxed);
        self.authorization.tunnels.fetch_sub(1, Ordering::Relaxed);
        let mut owners = self.directory.owners.lock();
        if let Some(owner) = owners.get_mut(&self.remote) {
            owner.tunnels -= 1;
            if owner.tunnels == 0 {
                owners.remove(&self.remote);
            }
        }
    }
}

/// Where the tunnels of all shards are.
#[derive(Default)]
pub(super) struct Directory {
    tunnels: AtomicUsize,
    owners: Mutex<HashMap<SocketAddr, Owner>>,
}

impl Directory {
    /// See [`super::AuthorizationTable::place`].
    pub(super) fn place(
        self: &Arc<Self>,
        authorization: &Arc<Authorization>,
        (all, of_identity): (usize, usize),
        remote: SocketAddr,
        shard: u8,
    ) -> Option<Place> {
        if !claim(&self.tunnels, all) {
            return None;
        }
        if !claim(&authorization.tunnels, of_identity) {
            self.tunnels.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut owners = self.owners.lock();
        owners.entry(remote).or_insert(Owner { shard, tunnels: 0 }).tunnels += 1;
        let (directory, authorization) = (self.clone(), authorization.clone());
        Some(Place { directory, authorization, remote })
    }

    pub(super) fn owner(&self, remote: SocketAddr) -> Option<u8> {
        self.owners.lock().get(&remote).map(|owner| owner.shard)
    }
}

/// The shard that serves an address, and with how many tunnels: one, or two during a takeover.
struct Owner {
    shard: u8,
    tunnels: u8,
}

/// Counts one more, unless the bound is reached.
fn claim(count: &AtomicUsize, bound: usize) -> bool {
    let more = |count| (count < bound).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}
