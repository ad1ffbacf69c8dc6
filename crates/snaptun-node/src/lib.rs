//! The N-API addon: conversions and lifetimes, no logic of its own. What it offers is written down,
//! with types and meaning, in `src/native.ts`.

// napi-derive registers nothing in a test build, so that all of it looks unused there.
#![cfg_attr(test, allow(dead_code))]

mod convert;
mod errno;
mod reactor;
mod ring;
mod server;
mod server_core;
mod tunnel;
mod udp;

use std::{num::NonZero, sync::OnceLock};

use snaptun::engine::Engine;

/// The workers of this process, shared by its JavaScript threads. One a core, or as many as
/// `SNAPTUN_WORKERS` says when the first socket is opened.
fn engine() -> convert::Result<&'static Engine> {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    if let Some(engine) = ENGINE.get() {
        return Ok(engine);
    }
    let wanted = std::env::var("SNAPTUN_WORKERS").ok().and_then(|text| text.parse().ok());
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let engine = Engine::new(wanted.unwrap_or_else(cores)).map_err(convert::error)?;
    // Another thread may have been faster; the threads of the one that lost then stay idle.
    Ok(ENGINE.get_or_init(|| engine))
}
