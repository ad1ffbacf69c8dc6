//! Who has a shard's state: one thread at a time, and the worker first.
//!
//! An application that sends on and on would otherwise have the state again each time before the
//! worker has woken up, and the socket would overflow meanwhile.

use std::sync::atomic::{AtomicBool, Ordering, fence};

use parking_lot::{Mutex, MutexGuard};

/// A state, and whether the worker is to have it next.
pub(super) struct Owner<T> {
    state: Mutex<T>,
    /// The worker waits for the state, or will want it again at once.
    reserved: AtomicBool,
}

impl<T> Owner<T> {
    pub(super) fn new(state: T) -> Self {
        Self { state: state.into(), reserved: AtomicBool::new(false) }
    }

    /// For an application's thread: the state, unless somebody has it or the worker is to have it.
    /// Never waits.
    pub(super) fn try_own(&self) -> Option<MutexGuard<'_, T>> {
        if self.reserved.load(Ordering::Relaxed) { None } else { self.state.try_lock() }
    }

    /// For the worker, who then has to look into the queue: whoever did not get the state because of
    /// it has left something there.
    pub(super) fn own(&self) -> MutexGuard<'_, T> {
        self.reserve();
        let state = self.state.lock();
        self.reserved.store(false, Ordering::Relaxed);
        // Either we see what another thread queued, or it sees that nothing is reserved.
        fence(Ordering::SeqCst);
        state
    }

    /// Keeps the state for the worker, who must be on its way: its socket has datagrams.
    pub(super) fn reserve(&self) {
        self.reserved.store(true, Ordering::Relaxed);
    }

    /// For whoever only looks at it, or ends it. Waits for the end of the current turn at most.
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock()
    }
}
