/**
 * Batches: packets as they lie in native memory, seen without a copy.
 *
 * A batch is good until the next turn of the iterator that gave it. After that its memory holds other packets, so every
 * access checks for it: a batch must never show another batch's bytes.
 */
import { SnapTunError } from './errors.js'
import type { NativeRing } from './native.js'

/** Numbers a packet takes in {@link TakenPackets.index}: offset, length, tunnel. */
const FIELDS = 3

/**
 * Packets as they lie in native memory. Valid until the next turn of the iterator that gave it; every use after that
 * throws `ERR_SNAPTUN_BATCH_RELEASED`.
 */
export interface PacketBatch {
  /** How many packets there are: at least one. */
  readonly length: number
  /**
   * Packet `i`, from 0 on: a view into native memory, made at each call. It is the caller's to read and to change until
   * the next turn of the iterator, and shows other packets' bytes afterwards; `data(i).slice()` is a copy to keep.
   * Throws `ERR_SNAPTUN_INVALID_OPTION` when there is no packet `i`.
   */
  data(i: number): Uint8Array
  /** Bytes of packet `i`, without making a view. Throws as {@link data} does. */
  size(i: number): number
}

/**
 * What a reader took from native and nobody has released yet. There is one of these for each reader, used again and
 * again; {@link generation} tells a batch whether it is still its own.
 */
export class TakenPackets {
  /** Where the packets come from. */
  ring!: NativeRing
  /** Which of the reader's rings that is. */
  ringIndex = 0
  /** The memory that they lie in. */
  slab!: ArrayBuffer
  /** A triplet (offset, length, tunnel) a packet. */
  readonly index: Uint32Array
  /** How many packets were taken. */
  count = 0
  /** The first packet that nobody has got yet. */
  cursor = 0
  /** Changes whenever the memory may come to hold other packets. */
  generation = 0
  #holds = 0
  #whenFree: (() => void)[] = []

  constructor(capacity: number) {
    this.index = new Uint32Array(capacity * FIELDS)
  }

  /** Packet `i` as a view. */
  view(i: number): Uint8Array {
    const at = i * FIELDS
    return new Uint8Array(this.slab, this.index[at] as number, this.index[at + 1] as number)
  }

  /** Bytes of packet `i`. */
  size(i: number): number {
    return this.index[i * FIELDS + 1] as number
  }

  /** Where in the slab packet `i` begins. */
  offset(i: number): number {
    return this.index[i * FIELDS] as number
  }

  /** Number of the tunnel that packet `i` came through. */
  tunnel(i: number): number {
    return this.index[i * FIELDS + 2] as number
  }

  /** Keeps the memory as it is while a send from it waits for room. Each hold ends with {@link unhold}. */
  hold(): void {
    this.#holds++
  }

  /** Ends a {@link hold}. */
  unhold(): void {
    if (--this.#holds > 0) return
    const waiting = this.#whenFree
    this.#whenFree = []
    for (const resume of waiting) resume()
  }

  /** Whether a send from this memory still waits. */
  get held(): boolean {
    return this.#holds > 0
  }

  /** Settles when no send from this memory waits any more. Never rejects. */
  whenFree(): Promise<void> {
    if (this.#holds === 0) return Promise.resolve()
    return new Promise((resolve) => this.#whenFree.push(resolve))
  }
}

/** The batch of a client tunnel, and what the batch of a server builds on. */
export class SlabBatch implements PacketBatch {
  readonly length: number
  /** What the packets were taken into. */
  readonly taken: TakenPackets
  /** Index of the first packet in {@link taken}: those before it went to `recv`. */
  readonly from: number
  readonly #generation: number

  /** All packets of `taken` that nobody has got yet. */
  constructor(taken: TakenPackets) {
    this.taken = taken
    this.from = taken.cursor
    this.length = taken.count - taken.cursor
    this.#generation = taken.generation
  }

  data(i: number): Uint8Array {
    return this.taken.view(this.position(i))
  }

  size(i: number): number {
    return this.taken.size(this.position(i))
  }

  /** Throws `ERR_SNAPTUN_BATCH_RELEASED` when the memory holds other packets already. */
  check(): void {
    if (this.taken.generation !== this.#generation) {
      throw new SnapTunError(
        'ERR_SNAPTUN_BATCH_RELEASED',
        'a batch is valid until the next turn of its iterator: copy what you keep, with data(i).slice()',
      )
    }
  }

  /** Position in {@link taken} of packet `i`. */
  protected position(i: number): number {
    this.check()
    // The shift is false for whatever is no whole number from 0 on.
    if (i >>> 0 !== i || i >= this.length) {
      throw new SnapTunError(
        'ERR_SNAPTUN_INVALID_OPTION',
        `there is no packet ${String(i)} in a batch of ${this.length}`,
      )
    }
    return this.from + i
  }
}
