//! Datagrams that wait between the application and a socket that is busy or blocked.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::{
    engine::{
        Limits,
        queue::{Room, Staging},
    },
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
    pub(super) room: Room,
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
        let fits = self.room.take(datagram.len(), pending, limits.send_packets, limits);
        if fits {
            let datagram = self.staging.copy(datagram);
            self.datagrams.push_back(Outgoing { envelope: *envelope, datagram });
        }
        fits
    }
}
