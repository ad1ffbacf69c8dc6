/**
 * Where packets go: native's calls, in one form for client tunnels and for the tunnels of a server. Each returns a tally of
 * what became of the packets, and 0 for «full».
 */
import type { SnapTunError } from './errors.js'
import type { NativeRing, NativeServer, NativeTunnel } from './native.js'
import { dropped, type SendTally } from './send-outcome.js'

/** What takes packets from where they lie in a ring. */
export interface RingTarget {
  /** Sends the `left` packets of the batch taken from `ring`, from packet `from` on. */
  sendRing(ring: NativeRing, from: number, left: number): SendTally
}

/** What tells whether there is room. */
export interface RoomTarget {
  /** Whether a packet would be taken now; when not, the signal `writable` follows. */
  hasRoom(): boolean
}

/** What takes packets in every form. */
export interface SendTarget extends RingTarget {
  /** Bytes that a packet may have at most. */
  readonly maxPacketSize: number
  /** Whether a packet may have no bytes at all. */
  readonly takesEmpty: boolean
  /** Sends one packet. */
  send(packet: Uint8Array): SendTally
  /** Sends `packets[from]` and those after it. */
  sendMany(packets: readonly Uint8Array[], from: number): SendTally
  /** Sends `data` from byte `from` on, `size` bytes a packet. */
  sendSegments(data: Uint8Array, size: number, from: number): SendTally
}

/** A client's tunnel. */
export class ClientTarget implements SendTarget, RoomTarget {
  readonly takesEmpty = false
  maxPacketSize: number
  readonly #native: NativeTunnel

  constructor(native: NativeTunnel) {
    this.#native = native
    this.maxPacketSize = native.maxPacketSize
  }

  hasRoom(): boolean {
    return this.#native.hasRoom()
  }

  send(packet: Uint8Array): SendTally {
    return this.#native.send(packet)
  }

  sendMany(packets: readonly Uint8Array[], from: number): SendTally {
    return this.#native.sendMany(packets, from)
  }

  sendSegments(data: Uint8Array, size: number, from: number): SendTally {
    return this.#native.sendSegments(data, size, from)
  }

  sendRing(ring: NativeRing, from: number): SendTally {
    return this.#native.sendRing(ring, from)
  }
}

/** Counts what was sent to tunnels that had closed. */
export interface LateSends {
  /** Packets dropped for it. */
  packets: number
}

/**
 * One tunnel of a server. Packets to a tunnel that has closed are dropped and counted, as a network would: a client can
 * go at any moment, and that must never be an error that ends the loop which serves all the others.
 */
export class ServerTarget implements SendTarget, RoomTarget {
  readonly takesEmpty = false
  readonly maxPacketSize: number
  /** Set at the event `tunnelclose`. Native may know earlier, and then says so. */
  closed = false
  readonly #native: NativeServer
  readonly #tunnel: number
  readonly #late: LateSends

  constructor(native: NativeServer, tunnel: number, maxPacketSize: number, late: LateSends) {
    this.#native = native
    this.#tunnel = tunnel
    this.maxPacketSize = maxPacketSize
    this.#late = late
  }

  hasRoom(): boolean {
    return this.closed || this.#native.hasRoom(this.#tunnel)
  }

  send(packet: Uint8Array): SendTally {
    if (this.closed) return this.drop(1)
    try {
      return this.#native.send(this.#tunnel, packet)
    } catch (error) {
      return this.#closedMeanwhile(error, 1)
    }
  }

  sendMany(packets: readonly Uint8Array[], from: number): SendTally {
    const left = packets.length - from
    if (this.closed) return this.drop(left)
    try {
      return this.#native.sendMany(this.#tunnel, packets, from)
    } catch (error) {
      return this.#closedMeanwhile(error, left)
    }
  }

  sendSegments(data: Uint8Array, size: number, from: number): SendTally {
    const left = Math.ceil((data.length - from) / size)
    if (this.closed) return this.drop(left)
    try {
      return this.#native.sendSegments(this.#tunnel, data, size, from)
    } catch (error) {
      return this.#closedMeanwhile(error, left)
    }
  }

  sendRing(ring: NativeRing, from: number, left: number): SendTally {
    if (this.closed) return this.drop(left)
    try {
      return this.#native.sendRingTo(this.#tunnel, ring, from)
    } catch (error) {
      return this.#closedMeanwhile(error, left)
    }
  }

  /** Counts packets as dropped. */
  drop(packets: number): SendTally {
    this.#late.packets += packets
    return dropped(packets)
  }

  #closedMeanwhile(error: unknown, packets: number): SendTally {
    if ((error as Partial<SnapTunError>).code !== 'ERR_SNAPTUN_UNKNOWN_TUNNEL') throw error
    return this.drop(packets)
  }
}

/** A server, for a batch of its own: each packet goes back to the tunnel that it came from. */
export class EchoTarget implements RingTarget {
  readonly #native: NativeServer

  constructor(native: NativeServer) {
    this.#native = native
  }

  sendRing(ring: NativeRing, from: number): SendTally {
    return this.#native.sendRing(ring, from)
  }
}
