//! A delivery ring's JavaScript end.

use std::cell::{Cell, RefCell};

use napi::{
    Env,
    bindgen_prelude::{ArrayBuffer, Uint32ArraySlice},
};
use napi_derive::napi;
use snaptun::engine::{Taken, ring::Consumer};

use crate::{
    convert::{Result, addon, error, invalid},
    tunnel::Tally,
};

/// Numbers that `take` writes for each packet: offset, length, tunnel.
const DESCRIPTOR: usize = 3;

/// Packets that native opened, waiting for JavaScript.
#[napi]
pub struct NativeRing {
    consumer: RefCell<Consumer>,
    /// Bytes in front of each packet that are not part of it.
    head: usize,
    /// The handle that it belongs to.
    owner: u32,
    slab_given: Cell<bool>,
}

impl NativeRing {
    pub(crate) fn new(consumer: Consumer, owner: u32) -> Self {
        Self::behind(0, consumer, owner)
    }

    /// A ring whose packets lie behind heads of so many bytes.
    pub(crate) fn behind(head: usize, consumer: Consumer, owner: u32) -> Self {
        Self { consumer: consumer.into(), head, owner, slab_given: false.into() }
    }

    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    /// Lends the packets of the batch that was taken, from number `from` on, to `send`: their
    /// number, and a look-up of tunnel and bytes. Each is checked to have `max` bytes at most: the
    /// first that has not is an error, before another one the packets end.
    pub(crate) fn lend<'a>(
        &'a self,
        from: u32,
        max: usize,
        send: impl for<'p> FnOnce(usize, &dyn Fn(usize) -> (u32, &'p [u8])) -> Taken,
    ) -> Result<f64> {
        let consumer = self.consumer.borrow();
        let from = from as usize;
        let packet = |index: usize| {
            let tunnel = consumer.descriptor(from + index).map_or(0, |one| one.tunnel);
            let packet = consumer.packet(from + index).unwrap_or_default();
            (tunnel, packet.get(self.head..).unwrap_or_default())
        };
        let count = consumer.len().saturating_sub(from);
        let fitting = (0..count).take_while(|&index| packet(index).1.len() <= max).count();
        if count == 0 {
            return Ok(0.0);
        }
        if fitting == 0 {
            let length = packet(0).1.len();
            return Err(error(snaptun::Error::PacketTooLarge { length, max }));
        }
        Ok(Tally::of(send(fitting, &packet)))
    }

    /// As [`lend`](Self::lend), without a bound, for a ring with heads: lends these too.
    pub(crate) fn lend_heads<'a>(
        &'a self,
        from: u32,
        send: impl for<'p> FnOnce(usize, &dyn Fn(usize) -> (&'p [u8], &'p [u8])) -> Taken,
    ) -> Result<f64> {
        if self.head == 0 {
            return Err(invalid("nothing tells where these packets came from"));
        }
        let consumer = self.consumer.borrow();
        let packet = |index: usize| {
            let packet = consumer.packet(from as usize + index).unwrap_or_default();
            packet.split_at_checked(self.head).unwrap_or_default()
        };
        Ok(Tally::of(send(consumer.len().saturating_sub(from as usize), &packet)))
    }
}

#[napi]
impl NativeRing {
    /// The memory that packets lie in. Given once: V8 allows one `ArrayBuffer` for an address.
    #[napi(getter)]
    pub fn slab<'env>(&self, env: &'env Env) -> Result<ArrayBuffer<'env>> {
        if self.slab_given.replace(true) {
            return Err(invalid("slab is given once"));
        }
        let slab = self.consumer.borrow().slab();
        let (start, length) = (slab.as_ptr(), slab.len());
        // SAFETY: the memory lives until the `Slab` is dropped, which the finalizer does, and only
        // it. Shards write only to packets that JavaScript has not taken, or has released.
        let buffer =
            unsafe { ArrayBuffer::from_external(env, start, length, slab, |_, slab| drop(slab)) }
                .map_err(addon)?;
        // Where the runtime refuses external memory, napi-rs makes a copy, which would stay as it is.
        if std::ptr::eq(buffer.as_ptr(), start) {
            Ok(buffer)
        } else {
            Err(addon(napi::Error::from_reason(
                "this runtime refuses external ArrayBuffers, which snaptun needs",
            )))
        }
    }

    /// Releases the batch taken before and takes the next one. Returns its length.
    #[napi]
    pub fn take(&self, mut into: Uint32ArraySlice<'_>) -> u32 {
        // SAFETY: no JavaScript runs before we return, and nobody else refers to the array's memory.
        let into = unsafe { into.as_mut() };
        let mut consumer = self.consumer.borrow_mut();
        let max = into.len() / DESCRIPTOR;
        let mut count = consumer.take(max);
        if count == 0 && !consumer.arm() {
            count = consumer.take(max);
        }
        for (index, numbers) in into.chunks_exact_mut(DESCRIPTOR).take(count).enumerate() {
            if let Some(one) = consumer.descriptor(index) {
                let head = self.head as u32;
                numbers.copy_from_slice(&[one.offset + head, one.length - head, one.tunnel]);
            }
        }
        count as u32
    }

    /// Releases the batch taken before.
    #[napi]
    pub fn release(&self) {
        self.consumer.borrow_mut().release();
    }
}
