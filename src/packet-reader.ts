/**
 * The receive side that client tunnels and servers share: it takes packets from one or several rings and hands them to
 * whoever reads, either as batches that lie in native memory or as copies, one by one.
 *
 * Ways to read don't mix: while somebody iterates over batches, nobody else may take, since taking releases what was
 * taken before. And reading never starves the event loop: see {@link TURN_BUDGET}.
 */
import { BatchIterator } from './batch-iterator.js'
import { again, busy, type SnapTunError } from './errors.js'
import type { NativeRing } from './native.js'
import { TakenPackets } from './packet-batch.js'
import { first, Waiter } from './waiter.js'

/**
 * Packets that one `take` brings at most. At the highest rates the call costs next to nothing a packet from about 64 on,
 * and the smaller a batch the sooner its slots are free again.
 */
const BATCH_PACKETS = 256

/**
 * Milliseconds for which a reader that always finds packets goes on before it lets the event loop turn. Promises alone
 * never would: a ring that fills as fast as it is read keeps `for await` in microtasks for ever.
 */
const TURN_BUDGET = 3

/** Packets handed out one by one between two looks at the clock. */
const CLOCK_INTERVAL = 16

/** What a tunnel or a server adds to a reader. */
export interface ReaderHost<Packet, Batch> {
  /** Packets were taken from a ring. Called before anybody sees them, and may run the user's code. */
  taken(ring: number, count: number): void
  /** A ring was empty: whatever native had put into it before was taken and released. */
  emptied(ring: number): void
  /** A copy of packet `i` for `recv`. */
  packet(taken: TakenPackets, i: number): Packet
  /** All packets that nobody has got yet, as a batch. */
  batch(taken: TakenPackets): Batch
}

/** Copies packet `i` out of native memory. */
export function copyPacket(taken: TakenPackets, i: number): Uint8Array {
  return taken.view(i).slice()
}

/** See the module. */
export class PacketReader<Packet, Batch> {
  readonly #host: ReaderHost<Packet, Batch>
  readonly #rings: readonly NativeRing[]
  readonly #slabs: readonly ArrayBuffer[]
  readonly #taken = new TakenPackets(BATCH_PACKETS)
  readonly #waiters = new Set<Waiter<Packet>>()
  /** The iterator over batches that reads, if any, and its waiting turn. */
  #batchReader: object | undefined
  readonly #batchWaiter = new Set<Waiter<IteratorResult<Batch, undefined>>>()
  #nextRing = 0
  /** When the event loop last turned, as far as is known. */
  #turnStart = 0
  /** The budget is spent: nothing is taken until the event loop has turned. */
  #yielding = false
  #closed = false
  /** Why later calls fail. Set with {@link #closed}, or alone: then what is in the rings is handed out first. */
  #end: SnapTunError | undefined

  constructor(rings: readonly NativeRing[], host: ReaderHost<Packet, Batch>) {
    this.#host = host
    this.#rings = rings
    this.#slabs = rings.map((ring) => ring.slab)
  }

  /** Where the packets of this reader's batches are. */
  get taken(): TakenPackets {
    return this.#taken
  }

  /** Native says that a ring has packets again. */
  readable(): void {
    this.#turnStart = performance.now()
    this.#pump()
  }

  /** The next packet, in order of the calls. */
  recv(signal: AbortSignal | undefined): Promise<Packet> {
    if (this.#closed) return Promise.reject(again(this.#end as SnapTunError))
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    if (this.#batchReader !== undefined) return Promise.reject(busy())
    if (this.#waiters.size === 0) {
      if (this.#ready()) return Promise.resolve(this.#shift())
      if (this.#exhausted) return Promise.reject(again(this.#end as SnapTunError))
    }
    return new Waiter(this.#waiters, signal).promise
  }

  /** The next packet, or null when there is none at this moment. */
  tryRecv(): Packet | null {
    if (this.#closed) throw again(this.#end as SnapTunError)
    if (this.#batchReader !== undefined) throw busy()
    // Those who wait came first: what arrives now is theirs.
    if (this.#waiters.size > 0) return null
    if (this.#available()) return this.#shift()
    if (this.#end !== undefined) throw again(this.#end)
    return null
  }

  /** Iterates over copies. Several iterators share the packets; the end is {@link close}, or the error of {@link fail}. */
  async *packets(): AsyncGenerator<Packet, undefined, undefined> {
    while (!this.#closed) {
      let packet: Packet
      try {
        packet = await this.recv(undefined)
      } catch (error) {
        if (this.#closed) return undefined
        throw error
      }
      yield packet
    }
    return undefined
  }

  /** Iterates over batches. */
  batches(): AsyncIterableIterator<Batch, undefined, undefined> {
    return new BatchIterator<Batch>(this)
  }

  /** The next turn of an iterator over batches; releases the batch of the turn before. */
  async nextBatch(iterator: object): Promise<IteratorResult<Batch, undefined>> {
    if ((this.#batchReader ?? iterator) !== iterator || this.#waiters.size > 0) throw busy()
    this.#batchReader = iterator
    // A send from the last batch that still waits for room needs its memory.
    if (this.#taken.held) await this.#taken.whenFree()
    if (this.#batchReader === iterator && !this.#closed) {
      if (this.#ready()) return { done: false, value: this.#wholeBatch() }
      if (!this.#exhausted && !this.#closed) return new Waiter(this.#batchWaiter, undefined).promise
    }
    if (this.#batchReader === iterator) this.#batchReader = undefined
    if (this.#exhausted && !this.#closed) throw again(this.#end as SnapTunError)
    return { done: true, value: undefined }
  }

  /** Ends an iterator over batches: releases its batch, and lets others read. */
  async endBatches(iterator: object): Promise<void> {
    if (this.#batchReader !== iterator) return
    first(this.#batchWaiter)?.resolve({ done: true, value: undefined })
    if (this.#taken.held) await this.#taken.whenFree()
    if (this.#batchReader !== iterator) return
    this.#batchReader = undefined
    if (this.#taken.cursor === this.#taken.count) this.#releaseTaken()
  }

  /** Ends everything: what waits rejects, iterators end, packets not yet handed out are dropped. */
  close(error: SnapTunError): void {
    this.#closed = true
    this.#end = error
    for (const waiter of this.#waiters) waiter.dismiss(again(error))
    this.#endBatchWaiter()
  }

  /** No further packets come, because of an error. Those that came are still handed out, then the error. */
  fail(error: SnapTunError): void {
    if (this.#closed) return
    this.#end = error
    this.#pump()
  }

  /** Settles whoever waits, as far as there are packets. */
  #pump(): void {
    if (this.#batchWaiter.size > 0) {
      // Whether it still waits is asked anew: `#ready` may run the user's code, which may end the iteration.
      if (this.#ready()) first(this.#batchWaiter)?.resolve({ done: false, value: this.#wholeBatch() })
      else if (this.#exhausted) this.#endBatchWaiter()
      return
    }
    while (this.#waiters.size > 0) {
      if (this.#ready()) first(this.#waiters)?.resolve(this.#shift())
      else if (this.#exhausted) first(this.#waiters)?.reject(again(this.#end as SnapTunError))
      else return
    }
  }

  /** Whether nothing will come any more. Only true after `#ready` has found nothing. */
  get #exhausted(): boolean {
    return this.#end !== undefined && !this.#yielding
  }

  /** As {@link #available}, unless the budget of this turn of the event loop is spent. */
  #ready(): boolean {
    if (this.#yielding) return false
    const { cursor, count } = this.#taken
    if ((cursor === count || cursor % CLOCK_INTERVAL === 0) && performance.now() - this.#turnStart > TURN_BUDGET) {
      this.#yielding = true
      setImmediate(() => {
        this.#yielding = false
        this.readable()
      })
      return false
    }
    return this.#available()
  }

  /** Whether a packet is there that nobody has got; takes from the rings if need be. */
  #available(): boolean {
    const taken = this.#taken
    while (!this.#closed) {
      if (taken.cursor < taken.count) return true
      if (!this.#take()) return false
    }
    return false
  }

  /** Takes from the first ring that has something, beginning after the one that was served last. */
  #take(): boolean {
    const taken = this.#taken
    const rings = this.#rings
    if (rings.length > 1) this.#releaseTaken()
    taken.generation++
    taken.cursor = 0
    taken.count = 0
    for (let turn = 0; turn < rings.length; turn++) {
      const at = this.#nextRing
      this.#nextRing = at + 1 === rings.length ? 0 : at + 1
      const ring = rings[at] as NativeRing
      const count = ring.take(taken.index)
      if (count > 0) {
        taken.ring = ring
        taken.ringIndex = at
        taken.slab = this.#slabs[at] as ArrayBuffer
        taken.count = count
        this.#host.taken(at, count)
        return true
      }
      this.#host.emptied(at)
    }
    return false
  }

  #releaseTaken(): void {
    const taken = this.#taken
    if (taken.count === 0) return
    taken.generation++
    taken.cursor = 0
    taken.count = 0
    taken.ring.release()
  }

  #shift(): Packet {
    return this.#host.packet(this.#taken, this.#taken.cursor++)
  }

  #wholeBatch(): Batch {
    const batch = this.#host.batch(this.#taken)
    this.#taken.cursor = this.#taken.count
    return batch
  }

  #endBatchWaiter(): void {
    const waiter = first(this.#batchWaiter)
    if (waiter === undefined) return
    this.#batchReader = undefined
    if (this.#closed || this.#end === undefined) waiter.resolve({ done: true, value: undefined })
    else waiter.reject(again(this.#end))
  }
}
