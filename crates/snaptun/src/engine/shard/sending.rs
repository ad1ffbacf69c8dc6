//! Sending: who seals, what waits, and for what.

use std::{
    sync::atomic::{Ordering, fence},
    time::{Duration, Instant},
};

use super::{Owned, Shard};
use crate::{
    engine::{
        Signals,
        endpoint::{Endpoint, Outbox},
        queue::Outgoing,
        socket,
    },
    tunnel::SessionState,
};

/// Time without a look at the timers after which a session may have ended unnoticed: the machine
/// slept, or the process was stopped.
const STANDSTILL: Duration = Duration::from_secs(10);

/// Packets sealed between two looks at the socket: 150 us, and a system call of 0.2 us.
const LOOK_INTERVAL: usize = 128;

/// Who seals and sends the packets of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SendMode {
    /// The caller when the state is free, else the worker.
    #[default]
    Auto,
    /// Always the caller, who waits for the state. For measurements.
    Caller,
    /// Always the worker. For measurements.
    Shard,
}

/// What became of packets that were to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Sealed, or about to be: on their way to the kernel.
    Sent,
    /// There is no session; they wait for one.
    Queued,
    /// There is no session, and no room for more to wait. They were dropped, and counted.
    Dropped,
}

/// How many packets were taken, from the first on, and what became of these. With none taken the
/// queue is full, and [`Signals::WRITABLE`] follows once there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How many.
    pub packets: usize,
    /// All of them.
    pub fate: Fate,
}

impl<E: Endpoint> Shard<E> {
    /// Seals and sends packets, or queues them. Never waits.
    pub(crate) fn submit<'p>(
        &self,
        count: usize,
        packet: impl Fn(usize) -> (u32, &'p [u8]),
    ) -> Taken {
        let owner = match self.mode {
            SendMode::Auto => self.owned.try_own(),
            SendMode::Caller => Some(self.owned.lock()),
            SendMode::Shard => None,
        };
        let mut sealed = 0;
        if let Some(mut owned) = owner {
            sealed = self.seal_in_place(&mut owned, count, &packet);
        }
        let session = self.session();
        let mut taken = Taken { packets: sealed, fate: Fate::Sent };
        // Those behind a session that just ended are another call's, since their fate is another.
        if sealed < count && (sealed == 0 || session == SessionState::Ready) {
            let waiting = self.enqueue(count - sealed, session, |index| packet(sealed + index));
            taken.packets += waiting;
            taken.fate = match session {
                SessionState::Ready | SessionState::Closed => Fate::Sent,
                SessionState::Lost if waiting == 0 => {
                    self.dropped_without_session.fetch_add(count as u64, Ordering::Relaxed);
                    taken.packets = count;
                    Fate::Dropped
                }
                SessionState::Connecting | SessionState::Lost => Fate::Queued,
            };
            if self.mode == SendMode::Shard {
                self.notify.notify_one();
            }
        }
        self.combine();
        taken
    }

    /// Whether a packet would be taken now. When not, [`Signals::WRITABLE`] follows once it would.
    pub(crate) fn has_room(&self) -> bool {
        let bound = self.bound(self.session());
        let mut queue = self.queue.lock();
        queue.room.fits(1, self.pending.load(Ordering::Relaxed), bound, &self.limits)
    }

    pub(super) fn session(&self) -> SessionState {
        SessionState::from_code(self.session.load(Ordering::Acquire))
    }

    /// Packets that may wait: for the worker or the kernel, or for a session.
    fn bound(&self, session: SessionState) -> usize {
        match session {
            SessionState::Ready => self.limits.high_water.min(self.limits.send_packets),
            _ => self.limits.send_packets,
        }
    }

    /// Carries out what is in the queue, unless somebody is at it: then that one looks again when
    /// done. To be called whenever something was queued or the state was given back.
    pub(super) fn combine(&self) {
        loop {
            // Either we see what another thread queued, or it sees that the state is free.
            fence(Ordering::SeqCst);
            if self.pending.load(Ordering::Relaxed) == 0 || self.mode == SendMode::Shard {
                return;
            }
            let Some(mut owned) = self.owned.try_own() else { return };
            let progress = self.run_queue(&mut owned, Instant::now(), usize::MAX);
            self.finish(&mut owned);
            drop(owned);
            if !progress {
                return;
            }
        }
    }

    fn seal_in_place<'p>(
        &self,
        owned: &mut Owned<E>,
        count: usize,
        packet: &impl Fn(usize) -> (u32, &'p [u8]),
    ) -> usize {
        let now = Instant::now();
        // The process stood still: what is sealed with a session that ended meanwhile is lost.
        if now - owned.ticked > STANDSTILL {
            owned.update_timers(now);
        }
        self.run_queue(owned, now, usize::MAX);
        let mut taken = 0;
        // What is still in the queue can't be overtaken.
        if self.pending.load(Ordering::Acquire) == 0 {
            while taken < count {
                let (tunnel, bytes) = packet(taken);
                let Some(route) = owned.ready_for(tunnel, bytes.len()) else { break };
                if let Some(route) = route {
                    let plaintext = owned.staging.copy(bytes);
                    // The session ended: the packet waits for the next one, in the queue.
                    if owned.seal(now, tunnel, route, plaintext).is_err() {
                        break;
                    }
                }
                taken += 1;
                if self.must_receive(owned) {
                    break;
                }
            }
        }
        self.finish(owned);
        taken
    }

    fn enqueue<'p>(
        &self,
        count: usize,
        session: SessionState,
        packet: impl Fn(usize) -> (u32, &'p [u8]),
    ) -> usize {
        let bound = self.bound(session);
        let mut queue = self.queue.lock();
        let pending = self.pending.load(Ordering::Relaxed);
        let mut taken = 0;
        while taken < count {
            let (tunnel, bytes) = packet(taken);
            if !queue.push(tunnel, bytes, pending + taken, bound, &self.limits) {
                break;
            }
            taken += 1;
        }
        self.pending.fetch_add(taken, Ordering::Relaxed);
        taken
    }

    /// Carries out queued commands, then seals queued packets, at most `limit`, for as long as the
    /// kernel takes them. False when nothing could be done.
    pub(super) fn run_queue(&self, owned: &mut Owned<E>, now: Instant, limit: usize) -> bool {
        if self.pending.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let (mut done, mut drained) = (0, 0);
        let commands = std::mem::take(&mut self.queue.lock().commands);
        done += commands.len();
        if let Some(socket) = owned.socket.clone() {
            let mut out = Outbox { sender: &mut owned.sender, socket: socket.io() };
            for command in commands {
                owned.endpoint.command(command, now, &mut out);
            }
        }
        for _ in 0..limit {
            if owned.backlog.is_empty() {
                std::mem::swap(&mut self.queue.lock().packets, &mut owned.backlog);
            }
            let Some(Outgoing { tunnel, packet }) = owned.backlog.pop_front() else { break };
            let length = packet.len();
            let returned = match owned.ready_for(tunnel, length) {
                None => Some(packet),
                Some(None) => None,
                Some(Some(route)) => owned.seal(now, tunnel, route, packet).err(),
            };
            if let Some(packet) = returned {
                owned.backlog.push_front(Outgoing { tunnel, packet });
                break;
            }
            done += 1;
            drained += length;
            if limit == usize::MAX && self.must_receive(owned) {
                break;
            }
        }
        let left = self.pending.fetch_sub(done, Ordering::Relaxed) - done;
        if self.queue.lock().room.drained(drained, left, &self.limits) {
            self.listener.signal(Signals::WRITABLE);
        }
        done > 0
    }

    /// After a sealed packet: whether it is the worker's turn, since something has arrived. Whoever
    /// sealed on and on would have the socket overflow.
    #[inline]
    fn must_receive(&self, owned: &mut Owned<E>) -> bool {
        owned.sealed_since_look += 1;
        if owned.sealed_since_look < LOOK_INTERVAL || !self.reads {
            return false;
        }
        owned.sealed_since_look = 0;
        let arrived =
            owned.socket.as_ref().is_some_and(|socket| socket::has_datagrams(socket.io()));
        if arrived {
            self.owned.reserve();
        }
        arrived
    }
}
