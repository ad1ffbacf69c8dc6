/**
 * What a socket's `send` and `sendBatch` are given, in the form that the send side of tunnels takes.
 */
import { type DatagramTarget, TARGET_WORDS, type TargetWriter } from './datagram-record.js'
import { SnapTunError } from './errors.js'
import type { NativeRing } from './native.js'
import type { NativeUdpSocket } from './native-udp.js'
import type { WaitOptions } from './options.js'
import type { PacketSegments } from './send-job.js'
import type { RingTarget, SendTarget } from './send-target.js'
import { systemError } from './system-error.js'

/** Options of calls that send. */
export interface DatagramSendOptions extends WaitOptions {
  /** The two ECN bits (RFC 3168): 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced. Default: 0. */
  ecn?: number
}

/** A datagram and where it goes. */
export interface AddressedDatagram extends DatagramTarget {
  /** Its content; a datagram may have none. */
  readonly data: Uint8Array
}

/** One target, or one for each datagram of a call. */
export class UdpTarget implements SendTarget {
  readonly takesEmpty = true
  readonly maxPacketSize: number
  readonly #native: NativeUdpSocket
  readonly #records: Uint8Array
  readonly #about: DatagramTarget | undefined

  /** `about` is what the system's errors name: the target, when there is one. */
  constructor(native: NativeUdpSocket, maxPacketSize: number, records: Uint32Array, about: DatagramTarget | undefined) {
    this.#native = native
    this.maxPacketSize = maxPacketSize
    this.#records = new Uint8Array(records.buffer)
    this.#about = about
  }

  send(datagram: Uint8Array): number {
    const outcome = this.#native.send(datagram, this.#records)
    if (outcome < 0) throw systemError(outcome, 'send', this.#about)
    return outcome
  }

  sendMany(datagrams: readonly Uint8Array[], from: number): number {
    return this.#native.sendMany(datagrams, from, this.#records)
  }

  sendSegments(data: Uint8Array, size: number, from: number): number {
    return this.#native.sendSegments(data, size, from, this.#records)
  }

  sendRing(ring: NativeRing, from: number): number {
    return this.#native.sendRing(ring, from, this.#records)
  }
}

/** Those who sent the datagrams of a batch. */
export class SendersTarget implements RingTarget {
  readonly #native: NativeUdpSocket
  readonly #ecn: number

  constructor(native: NativeUdpSocket, ecn: number) {
    this.#native = native
    this.#ecn = ecn
  }

  sendRing(ring: NativeRing, from: number): number {
    return this.#native.sendBack(ring, from, this.#ecn)
  }
}

/** Makes the targets of a socket. */
export class UdpTargets {
  readonly #native: NativeUdpSocket
  readonly #writer: TargetWriter
  readonly #maxPacketSize: number
  /** The target of the last call, with what it was made from: mostly the next one has the same. */
  #last: { address: string; port: number; ecn: number; target: UdpTarget } | undefined

  constructor(native: NativeUdpSocket, writer: TargetWriter, maxPacketSize: number) {
    this.#native = native
    this.#writer = writer
    this.#maxPacketSize = maxPacketSize
  }

  /** The target of one datagram, or of all of a call. */
  one(to: DatagramTarget, ecn: number): UdpTarget {
    const last = this.#last
    if (last !== undefined && last.address === to?.address && last.port === to.port && last.ecn === ecn) {
      return last.target
    }
    const record = this.record(to, ecn)
    const { address, port } = to
    const target = new UdpTarget(this.#native, this.#maxPacketSize, record, { address, port })
    this.#last = { address, port, ecn, target }
    return target
  }

  /** A target for each datagram. */
  many(to: readonly DatagramTarget[], ecn: number): UdpTarget {
    const records = new Uint32Array(to.length * TARGET_WORDS)
    let at = 0
    for (const target of to) {
      this.#writer.write(target, ecn, records, at)
      at += TARGET_WORDS
    }
    return new UdpTarget(this.#native, this.#maxPacketSize, records, undefined)
  }

  /** One target as native takes it. */
  record(to: DatagramTarget, ecn: number): Uint32Array {
    const record = new Uint32Array(TARGET_WORDS)
    this.#writer.write(to, ecn, record, 0)
    return record
  }
}

/** Throws unless there is a target for each datagram. */
export function checkCount(datagrams: readonly Uint8Array[] | PacketSegments, targets: readonly unknown[]): void {
  const { length } = targets
  const count = 'size' in datagrams ? Math.ceil(datagrams.data.length / datagrams.size) : datagrams.length
  if (count === length) return
  throw new SnapTunError(
    'ERR_SNAPTUN_INVALID_OPTION',
    `there are ${length} targets for ${count} datagrams: give one for all, or one for each`,
  )
}
