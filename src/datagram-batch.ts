/**
 * Received datagrams: single ones, which are copies, and batches of them as they lie in native memory.
 */
import type { SocketAddress } from './address.js'
import { HEAD_BYTES, type HeadReader } from './datagram-record.js'
import { type PacketBatch, SlabBatch, type TakenPackets } from './packet-batch.js'

/** A datagram that was received: a copy, the user's to keep. */
export interface Datagram {
  /** Its content; a datagram may have none. */
  readonly data: Uint8Array
  /** Who sent it. */
  readonly remote: SocketAddress
  /**
   * The address that it was sent to: which of this machine's, or which group. Undefined where the system does not tell.
   */
  readonly local: string | undefined
  /** The two ECN bits (RFC 3168): 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced. */
  readonly ecn: number
}

/** Datagrams as they lie in native memory; see {@link PacketBatch}. Each call throws as {@link PacketBatch.data} does. */
export interface DatagramBatch extends PacketBatch {
  /** Who sent datagram `i`. */
  remote(i: number): SocketAddress
  /** The address that datagram `i` was sent to; undefined where the system does not tell. */
  local(i: number): string | undefined
  /** The ECN bits of datagram `i`, see {@link Datagram.ecn}. */
  ecn(i: number): number
}

/** Where in the slab the head of datagram `i` begins. */
function headOf(taken: TakenPackets, i: number): number {
  return taken.offset(i) - HEAD_BYTES
}

/** Datagram `i` of what was taken, copied. */
export function copyDatagram(heads: HeadReader, taken: TakenPackets, i: number): Datagram {
  const head = headOf(taken, i)
  return {
    data: taken.view(i).slice(),
    remote: heads.remote(head),
    local: heads.local(head),
    ecn: heads.ecn(head),
  }
}

/** See the module. */
export class DatagramSlabBatch extends SlabBatch implements DatagramBatch {
  readonly #heads: HeadReader

  constructor(taken: TakenPackets, heads: HeadReader) {
    super(taken)
    this.#heads = heads
  }

  remote(i: number): SocketAddress {
    return this.#heads.remote(headOf(this.taken, this.position(i)))
  }

  local(i: number): string | undefined {
    return this.#heads.local(headOf(this.taken, this.position(i)))
  }

  ecn(i: number): number {
    return this.#heads.ecn(headOf(this.taken, this.position(i)))
  }
}
