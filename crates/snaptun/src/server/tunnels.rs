//! The tunnels of a server, by address and by number.
//!
//! One tunnel holds an address. Another identity that proved that it receives there may have a
//! *challenger* beside it, which takes the address over with its first valid data packet; until
//! then nothing changes for the holder.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use ana_gotatun::{
    noise::Tunn,
    packet::{Packet, WgData},
    tun::MtuWatcher,
};
use bytes::BytesMut;
use rustc_hash::FxHashMap;
use slab::Slab;

use super::{Route, SHARD_BITS, Traffic, TunnelId, TunnelStatus};
use crate::{
    Transmit,
    authorization::{Authorization, Place},
    wire,
};

/// Packets kept for a tunnel that has no session, until a handshake is done: what a client sends in
/// one window. What comes after them is dropped.
const PENDING_PACKETS: usize = 64;
/// The same in bytes.
const PENDING_BYTES: usize = 128 * 1024;

pub(super) struct ServerTunnel {
    pub(super) id: TunnelId,
    pub(super) remote: SocketAddr,
    /// The local address that the remote writes to, and that it expects answers from.
    pub(super) local: Option<IpAddr>,
    pub(super) authorization: Arc<Authorization>,
    pub(super) tunn: Tunn,
    pub(super) made_at: Instant,
    /// A valid data packet came: the initiator has the response.
    pub(super) confirmed: bool,
    pub(super) traffic: Traffic,
    pending: VecDeque<Vec<u8>>,
    pending_bytes: usize,
    /// Its place among the tunnels that there may be.
    _place: Place,
}

/// What a new tunnel begins with.
pub(super) struct NewTunnel {
    pub(super) remote: SocketAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) authorization: Arc<Authorization>,
    pub(super) tunn: Tunn,
    pub(super) place: Place,
    pub(super) now: Instant,
}

impl ServerTunnel {
    pub(super) fn route(&self) -> Route {
        Route { target: self.remote, source: self.local }
    }

    pub(super) fn status(&self) -> TunnelStatus {
        let since_handshake = self.tunn.time_since_last_handshake();
        TunnelStatus { traffic: self.traffic, since_handshake }
    }

    #[inline]
    pub(super) fn seal(&mut self, packet: BytesMut) -> Result<Packet<WgData>, Packet> {
        let length = packet.len() as u64;
        let sealed = self.tunn.encapsulate_with_session(Packet::from_bytes(packet))?;
        self.traffic.packets_sent += 1;
        self.traffic.bytes_sent += length;
        Ok(sealed)
    }

    /// Keeps a packet until there is a session, and asks for one. False when there is no room.
    pub(super) fn wait_for_session(&mut self, packet: &[u8], out: &mut impl Transmit) -> bool {
        if self.pending.len() >= PENDING_PACKETS
            || self.pending_bytes + packet.len() > PENDING_BYTES
        {
            return false;
        }
        self.pending_bytes += packet.len();
        self.pending.push_back(packet.to_vec());
        if let Some(initiation) = self.tunn.format_handshake_initiation(false) {
            out.transmit(self.remote, self.local, &wire::bytes(initiation.into()));
        }
        true
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn send_pending(&mut self, out: &mut impl Transmit) {
        // Keepalives that `Tunn` queued while it had no session; nobody waits for them.
        self.tunn.get_queued_packets(&mut MtuWatcher::new(0)).for_each(drop);
        while let Some(packet) = self.pending.pop_front() {
            match self.tunn.encapsulate_with_session(Packet::copy_from(&packet[..])) {
                Ok(sealed) => {
                    self.pending_bytes -= packet.len();
                    self.traffic.packets_sent += 1;
                    self.traffic.bytes_sent += packet.len() as u64;
                    out.transmit(self.remote, self.local, &sealed.into_bytes());
                }
                Err(_) => return self.pending.push_front(packet),
            }
        }
    }

    pub(super) fn pending_packets(&self) -> u64 {
        self.pending.len() as u64
    }
}

/// Who is at an address.
#[derive(Debug, Clone, Copy)]
struct Occupants {
    holder: usize,
    challenger: Option<Challenger>,
}

#[derive(Debug, Clone, Copy)]
struct Challenger {
    slot: usize,
    /// The index of its session: what tells its data packets from the holder's.
    index: u32,
}

pub(super) struct Tunnels {
    slots: Slab<ServerTunnel>,
    by_remote: HashMap<SocketAddr, Occupants>,
    by_id: FxHashMap<TunnelId, usize>,
    /// Datagrams come in runs from one address: the one before saves a look-up.
    last: Option<(SocketAddr, usize)>,
    shard: u8,
    next_sequence: u32,
}

impl Tunnels {
    pub(super) fn new(shard: u8) -> Self {
        Self {
            slots: Slab::new(),
            by_remote: HashMap::new(),
            by_id: FxHashMap::default(),
            last: None,
            shard,
            next_sequence: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(super) fn serves(&self, remote: SocketAddr) -> bool {
        self.last.is_some_and(|(last, _)| last == remote) || self.by_remote.contains_key(&remote)
    }

    /// The tunnel that holds an address.
    pub(super) fn holder(&self, remote: SocketAddr) -> Option<usize> {
        self.by_remote.get(&remote).map(|occupants| occupants.holder)
    }

    /// The tunnel that a data packet of this session index, from this address, is for.
    #[inline]
    pub(super) fn of_data(&mut self, remote: SocketAddr, index: u32) -> Option<usize> {
        if let Some((last, slot)) = self.last
            && last == remote
        {
            return Some(slot);
        }
        let occupants = self.by_remote.get(&remote)?;
        match occupants.challenger {
            Some(challenger) if challenger.index == index => Some(challenger.slot),
            Some(_) => Some(occupants.holder),
            None => {
                self.last = Some((remote, occupants.holder));
                Some(occupants.holder)
            }
        }
    }

    pub(super) fn by_id(&self, id: TunnelId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn get(&mut self, slot: usize) -> &mut ServerTunnel {
        &mut self.slots[slot]
    }

    pub(super) fn look(&self, slot: usize) -> &ServerTunnel {
        &self.slots[slot]
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut ServerTunnel)> {
        self.slots.iter_mut()
    }

    /// The slots of those that `which` picks.
    pub(super) fn slots(&self, which: impl Fn(&ServerTunnel) -> bool) -> Vec<usize> {
        self.slots.iter().filter(|(_, tunnel)| which(tunnel)).map(|(slot, _)| slot).collect()
    }

    /// Gives a free address a holder.
    pub(super) fn insert(&mut self, new: NewTunnel) -> usize {
        let remote = new.remote;
        let slot = self.add(new);
        self.by_remote.insert(remote, Occupants { holder: slot, challenger: None });
        slot
    }

    /// Puts a challenger beside the holder of an address. Returns the one that it takes the place of.
    pub(super) fn challenge(&mut self, new: NewTunnel) -> (usize, Option<usize>) {
        let remote = new.remote;
        let slot = self.add(new);
        self.last = None;
        let before = self
            .by_remote
            .get_mut(&remote)
            .and_then(|occupants| occupants.challenger.replace(Challenger { slot, index: 0 }));
        (slot, before.map(|challenger| challenger.slot))
    }

    /// Notes the session index of a challenger, from the response that it was sent.
    pub(super) fn set_index(&mut self, slot: usize, index: u32) {
        let remote = self.slots[slot].remote;
        if let Some(Occupants { challenger: Some(challenger), .. }) =
            self.by_remote.get_mut(&remote)
            && challenger.slot == slot
        {
            challenger.index = index;
        }
    }

    /// Makes a challenger the holder. Returns the one that held the address before; a tunnel that
    /// holds its address already changes nothing.
    pub(super) fn promote(&mut self, slot: usize) -> Option<usize> {
        let remote = self.slots[slot].remote;
        let occupants = self.by_remote.get_mut(&remote)?;
        if occupants.holder == slot {
            return None;
        }
        self.last = None;
        occupants.challenger = None;
        Some(std::mem::replace(&mut occupants.holder, slot))
    }

    fn add(&mut self, new: NewTunnel) -> usize {
        let id = self.next_id();
        let slot = self.slots.insert(ServerTunnel {
            id,
            remote: new.remote,
            local: new.local,
            authorization: new.authorization,
            tunn: new.tunn,
            made_at: new.now,
            confirmed: false,
            traffic: Traffic::default(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            _place: new.place,
        });
        self.by_id.insert(id, slot);
        slot
    }

    fn next_id(&mut self) -> TunnelId {
        loop {
            self.next_sequence = (self.next_sequence + 1) & (u32::MAX >> SHARD_BITS);
            let id = self.next_sequence << SHARD_BITS | u32::from(self.shard);
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    pub(super) fn remove(&mut self, slot: usize) -> ServerTunnel {
        self.last = None;
        let tunnel = self.slots.remove(slot);
        self.by_id.remove(&tunnel.id);
        if let Some(occupants) = self.by_remote.get_mut(&tunnel.remote) {
            match occupants.challenger {
                Some(challenger) if challenger.slot == slot => occupants.challenger = None,
                Some(challenger) if occupants.holder == slot => {
                    *occupants = Occupants { holder: challenger.slot, challenger: None };
                }
                None if occupants.holder == slot => {
                    self.by_remote.remove(&tunnel.remote);
                }
                // The address went to another tunnel before this one was removed.
                _ => {}
            }
        }
        tunnel
    }
}
