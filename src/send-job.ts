/**
 * What one call of `sendBatch` hands over, as far as native has room. A job remembers how far it got, and moves as much
 * as it can in one native call.
 */
import { types } from 'node:util'
import { SnapTunError } from './errors.js'
import { type PacketBatch, SlabBatch } from './packet-batch.js'
import { type BatchOutcome, OutcomeSum, outcomeOf, type SendOutcome, type SendTally } from './send-outcome.js'
import type { RingTarget, SendTarget } from './send-target.js'

/** Packets of one size, cut from one buffer: the cheapest form to send many. */
export interface PacketSegments {
  /** The packets, one after the other. Must not change until the send settles. */
  readonly data: Uint8Array
  /** Bytes a packet; the last one may be shorter. */
  readonly size: number
}

/** What `sendBatch` takes. */
export type SendBatchInput = readonly Uint8Array[] | PacketSegments | PacketBatch

/** How a job stands. */
export type Progress =
  /** Nothing is left. */
  | 'done'
  /** Native is full. */
  | 'full'
  /** It was enough for one turn of the event loop. */
  | 'more'

/**
 * Packets that are handed over in one turn of the event loop: about a millisecond of work, which the loop waits for, since
 * they are sealed on its thread.
 */
export const TURN_PACKETS = 1024

/** What a call still has to hand over. */
export interface SendJob<Outcome = SendOutcome | BatchOutcome> {
  /** Packets in all. */
  readonly packets: number
  /** What became of them. Known once all are handed over. */
  readonly outcome: Outcome
  /** Hands over what there is room for, and called again when there is more. */
  advance(): Progress
  /** Called when the job starts to wait for room. */
  hold?(): void
  /** Called when it has waited: done, failed or aborted. */
  unhold?(): void
}

/** Throws a coded error unless `packet` can be sent to a target. */
export function checkPacket(packet: Uint8Array, target: SendTarget): void {
  if (!types.isUint8Array(packet)) {
    throw new SnapTunError('ERR_SNAPTUN_INVALID_PACKET', 'a packet must be a Uint8Array or Buffer')
  }
  checkSize(packet.length, target)
}

function checkSize(size: number, { maxPacketSize: max, takesEmpty }: SendTarget): void {
  if (size === 0 && !takesEmpty) {
    throw new SnapTunError(
      'ERR_SNAPTUN_PACKET_EMPTY',
      'a packet of no bytes can not be sent: on the wire it is a keepalive',
    )
  }
  if (size > max) {
    throw new SnapTunError('ERR_SNAPTUN_PACKET_TOO_LARGE', `a packet has ${size} bytes, and maxPacketSize is ${max}`)
  }
}

/** One packet, after there was no room at once. */
export class PacketJob implements SendJob<SendOutcome> {
  readonly packets = 1
  #tally: SendTally = 0
  readonly #target: SendTarget
  readonly #packet: Uint8Array

  constructor(target: SendTarget, packet: Uint8Array) {
    this.#target = target
    this.#packet = packet
  }

  get outcome(): SendOutcome {
    return outcomeOf(this.#tally)
  }

  advance(): Progress {
    this.#tally = this.#target.send(this.#packet)
    return this.#tally === 0 ? 'full' : 'done'
  }
}

/** What jobs of many packets have in common. */
abstract class BatchJob implements SendJob<BatchOutcome> {
  abstract readonly packets: number
  protected readonly sum = new OutcomeSum()

  get outcome(): BatchOutcome {
    return this.sum.toOutcome()
  }

  abstract advance(): Progress
}

class ArrayJob extends BatchJob {
  readonly packets: number
  readonly #target: SendTarget
  readonly #packets: readonly Uint8Array[]
  #sent = 0

  constructor(target: SendTarget, packets: readonly Uint8Array[]) {
    super()
    for (const packet of packets) checkPacket(packet, target)
    this.#target = target
    this.#packets = packets
    this.packets = packets.length
  }

  advance(): Progress {
    const enough = this.#sent + TURN_PACKETS
    // A call may also stop before a packet that became too large meanwhile; the next call then says so. Only 0 is «full».
    while (this.#sent < this.#packets.length) {
      if (this.#sent >= enough) return 'more'
      const taken = this.sum.add(this.#target.sendMany(this.#packets, this.#sent))
      if (taken === 0) return 'full'
      this.#sent += taken
    }
    return 'done'
  }
}

class SegmentsJob extends BatchJob {
  readonly packets: number
  readonly #target: SendTarget
  readonly #data: Uint8Array
  readonly #size: number
  /** In bytes; beyond the end when the last segment is short. */
  #sent = 0

  constructor(target: SendTarget, { data, size }: PacketSegments) {
    super()
    if (!types.isUint8Array(data)) {
      throw new SnapTunError('ERR_SNAPTUN_INVALID_PACKET', "'data' of segments must be a Uint8Array or Buffer")
    }
    if (!Number.isInteger(size) || size < 1) {
      throw new SnapTunError(
        'ERR_SNAPTUN_INVALID_OPTION',
        `'size' of segments must be a whole number from 1 on; got ${size}`,
      )
    }
    if (data.length === 0) checkSize(0, target)
    checkSize(Math.min(size, data.length), target)
    this.#target = target
    this.#data = data
    this.#size = size
    this.packets = Math.ceil(data.length / size)
  }

  advance(): Progress {
    const enough = this.#sent + TURN_PACKETS * this.#size
    while (this.#sent < this.#data.length) {
      if (this.#sent >= enough) return 'more'
      const taken = this.sum.add(this.#target.sendSegments(this.#data, this.#size, this.#sent))
      if (taken === 0) return 'full'
      this.#sent += taken * this.#size
    }
    return 'done'
  }
}

/** A received batch, sent from where it lies. Native checks the sizes: it alone has seen the packets. */
export class RingJob extends BatchJob {
  readonly packets: number
  readonly #target: RingTarget
  readonly #batch: SlabBatch
  #next: number
  readonly #end: number

  constructor(target: RingTarget, batch: SlabBatch) {
    super()
    batch.check()
    this.#target = target
    this.#batch = batch
    this.#next = batch.from
    this.#end = batch.from + batch.length
    this.packets = batch.length
  }

  // A batch is no longer than what is enough for a turn.
  advance(): Progress {
    while (this.#next < this.#end) {
      const taken = this.sum.add(this.#target.sendRing(this.#batch.taken.ring, this.#next, this.#end - this.#next))
      if (taken === 0) return 'full'
      this.#next += taken
    }
    return 'done'
  }

  hold(): void {
    this.#batch.taken.hold()
  }

  unhold(): void {
    this.#batch.taken.unhold()
  }
}

/** Checks what `sendBatch` was given, and makes a job of it. Throws coded errors; nothing has been sent then. */
export function makeJob(target: SendTarget, input: SendBatchInput): SendJob<BatchOutcome> {
  if (input instanceof SlabBatch) return new RingJob(target, input)
  if (Array.isArray(input)) return new ArrayJob(target, input as readonly Uint8Array[])
  if (typeof input !== 'object' || input === null || !('data' in input) || typeof input.data === 'function') {
    throw new SnapTunError(
      'ERR_SNAPTUN_INVALID_PACKET',
      'a batch to send must be an array of packets, { data, size }, or a batch that was received',
    )
  }
  return new SegmentsJob(target, input as PacketSegments)
}
