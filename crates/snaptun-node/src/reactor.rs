//! How native wakes JavaScript: one threadsafe function for each JavaScript thread, called once for
//! as many signals as gather until the thread gets to it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use napi::{
    Env, Status,
    bindgen_prelude::{Function, Uint32ArraySlice, Unknown},
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use napi_derive::napi;
use parking_lot::Mutex;
use snaptun::engine::{Listener, Signals};

use crate::convert::{Result, addon, invalid};

type Wake = ThreadsafeFunction<(), Unknown<'static>, (), Status, false>;

/// What one JavaScript thread shares with the workers.
pub(crate) struct Reactor {
    wake: Mutex<Wake>,
    /// The threadsafe function was called, and JavaScript has not looked yet.
    waking: AtomicBool,
    /// Handles with signals.
    ready: Mutex<Vec<Arc<HandleState>>>,
    handles: AtomicU32,
}

struct HandleState {
    id: u32,
    signals: AtomicU32,
}

/// The listener of one handle.
pub(crate) struct HandleListener {
    state: Arc<HandleState>,
    reactor: Arc<Reactor>,
}

impl HandleListener {
    pub(crate) fn id(&self) -> u32 {
        self.state.id
    }
}

impl Listener for HandleListener {
    fn signal(&self, signals: Signals) {
        if self.state.signals.fetch_or(signals.0, Ordering::AcqRel) == 0 {
            self.reactor.ready.lock().push(self.state.clone());
            self.reactor.wake();
        }
    }
}

impl Reactor {
    /// The reactor of the calling JavaScript thread.
    pub(crate) fn of(env: &Env) -> Result<Arc<Self>> {
        let found = env.get_instance_data::<Arc<Self>>().map_err(addon)?;
        found.cloned().ok_or_else(|| invalid("attach comes first"))
    }

    /// A listener with a number of its own.
    pub(crate) fn listener(self: &Arc<Self>) -> Arc<HandleListener> {
        let id = self.handles.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(HandleState { id, signals: AtomicU32::new(0) });
        Arc::new(HandleListener { state, reactor: self.clone() })
    }

    fn wake(&self) {
        if !self.waking.swap(true, Ordering::AcqRel) {
            // It fails only when the JavaScript thread ends: then nobody is left to be woken.
            self.wake.lock().call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}

/// Registers the calling JavaScript thread. Does not keep it alive.
#[napi]
pub fn attach(env: Env, wake: Function<'_, (), Unknown<'static>>) -> Result<()> {
    let mut wake =
        wake.build_threadsafe_function::<()>().callee_handled::<false>().build().map_err(addon)?;
    unref(&mut wake, &env)?;
    let reactor = Reactor {
        wake: Mutex::new(wake),
        waking: AtomicBool::new(false),
        ready: Mutex::default(),
        handles: AtomicU32::new(0),
    };
    env.set_instance_data(Arc::new(reactor), (), |_| ()).map_err(addon)
}

// `refer` and `unref` are called deprecated in favour of clones and drops, which can't say whether
// a function that lives on keeps the event loop alive.
#[allow(deprecated)]
fn unref(wake: &mut Wake, env: &Env) -> Result<()> {
    wake.unref(env).map_err(addon)
}

/// Whether open handles keep the event loop alive.
#[napi]
#[allow(deprecated)]
pub fn set_keep_alive(env: Env, alive: bool) -> Result<()> {
    let reactor = Reactor::of(&env)?;
    let mut wake = reactor.wake.lock();
    if alive { wake.refer(&env).map_err(addon) } else { unref(&mut wake, &env) }
}

/// Fills `into` with pairs of handle and signals, and clears these. Returns the number of pairs.
#[napi]
pub fn take_ready(env: Env, mut into: Uint32ArraySlice<'_>) -> Result<u32> {
    // SAFETY: no JavaScript runs before we return, and nobody else refers to the array's memory.
    let into = unsafe { into.as_mut() };
    let reactor = Reactor::of(&env)?;
    // Before looking: what comes after that calls again.
    reactor.waking.store(false, Ordering::Release);
    let mut ready = reactor.ready.lock();
    let count = ready.len().min(into.len() / 2);
    for (state, pair) in ready.drain(..count).zip(into.chunks_exact_mut(2)) {
        pair[0] = state.id;
        pair[1] = state.signals.swap(0, Ordering::AcqRel);
    }
    Ok(count as u32)
}
