//! Datagrams that wait between the application and a socket that is busy or blocked.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::{
    engine::{Limits, queue::Staging},
    udp_batch::Envelope,
};

/// A datagram on its way out.
pub(super) struct Outgoing {
    pub(super) envelope: Envelope,
    pub(super) datagram: BytesMut,
}

/// Datagrams for whoever owns the socket next.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) datagrams: VecDeque<Outgoing>,
    /// Of the datagrams here, and of those that the owner has taken out and not sent yet.
    bytes: usize,
    /// Somebody was told that the queue is full, and waits for room.
    wanted: bool,
    staging: Staging,
}

impl Queue {
    /// Copies a datagram in, behind `pending` others. False when there is no room.
    pub(super) fn push(
        &mut self,
        envelope: &Envelope,
        datagram: &[u8],
        pending: usize,
        limits: &Limits,
    ) -> bool {
        // Whatever its size, a datagram fits into an empty queue.
        let fits = self.bytes == 0 || self.bytes + datagram.len() <= limits.send_bytes;
        if pending >= limits.send_packets || !fits {
            self.wanted = true;
            return false;
        }
        self.bytes += datagram.len();
        let datagram = self.staging.copy(datagram);
        self.datagrams.push_back(Outgoing { envelope: *envelope, datagram });
        true
    }

    /// Notes that `bytes` were sent and `pending` datagrams are left. True when somebody waits for
    /// room, and there is: half of all, so that it is for a batch and not for a datagram.
    pub(super) fn drained(&mut self, bytes: usize, pending: usize, limits: &Limits) -> bool {
        self.bytes -= bytes;
        let room = pending <= limits.send_packets / 2 && self.bytes <= limits.send_bytes / 2;
        room && std::mem::take(&mut self.wanted)
    }
}
