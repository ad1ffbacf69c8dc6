/**
 * What a socket's `send` and `sendBatch` are given, in the form that the send side of tunnels takes.
 */
import { type DatagramTarget, TARGET_BYTES, type TargetWriter } from './datagram-record.js'
import { SnapTunError } from './errors.js'
import type { NativeRing } from './native.js'
import type { NativeUdpSocket } from './native-udp.js'
import type { WaitOptions } from './options.js'
import type { PacketSegments } from './send-job.js'
import type { RingTarget, SendTarget } from './send-target.js'
import { systemError } from './system-error.js'

/** Bytes that a datagram may have over IPv4: 65,535 less the IP header (20) and the UDP header (8). */
export const MAX_DATAGRAM_V4 = 65_507
/** The same over IPv6, whose header has 40: what an interface takes whose MTU is 65,536. */
export const MAX_DATAGRAM_V6 = 65_488

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
  // What is too large for the target's family native refuses: here it is not known which that is.
  readonly maxPacketSize = MAX_DATAGRAM_V4
  readonly #native: NativeUdpSocket
  readonly #records: Uint8Array
  readonly #about: DatagramTarget | undefined

  /** `about` is what the system's errors name: the target, when there is one. */
  constructor(native: NativeUdpSocket, records: Uint8Array, about: DatagramTarget | undefined) {
    this.#native = native
    this.#records = records
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

/** The target of one datagram, or of all of a call. */
export function oneTarget(native: NativeUdpSocket, writer: TargetWriter, to: DatagramTarget, ecn: number): UdpTarget {
  const records = new Uint8Array(TARGET_BYTES)
  writer.write(to, ecn, records, 0)
  return new UdpTarget(native, records, { address: to.address, port: to.port })
}

/** A target for each datagram. */
export function manyTargets(
  native: NativeUdpSocket,
  writer: TargetWriter,
  to: readonly DatagramTarget[],
  ecn: number,
): UdpTarget {
  const records = new Uint8Array(to.length * TARGET_BYTES)
  let at = 0
  for (const target of to) {
    writer.write(target, ecn, records, at)
    at += TARGET_BYTES
  }
  return new UdpTarget(native, records, undefined)
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
