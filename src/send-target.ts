/**
 * Where packets go: native's calls, in one form for client tunnels and for the tunnels of a server. Each returns how much
 * was taken, and 0 for «full».
 */
import type { SnapTunError } from './errors.js'
import type { NativeRing, NativeServer, NativeTunnel } from './native.js'

/** What takes packets from where they lie in a ring. */
export interface RingTarget {
  /** Sends the `left` packets of the batch taken from `ring`, from packet `from` on. Returns packets. */
  sendRing(ring: NativeRing, from: number, left: number): number
}

/** What takes packets in every form. */
export interface SendTarget extends RingTarget {
  /** Bytes that a packet may have at most. */
  readonly maxPacketSize: number
  /** Whether a packet may have no bytes at all. */
  readonly takesEmpty: boolean
  /** 1 or 0. */
  send(packet: Uint8Array): number
  /** Sends `packets[from]` and those after it. Returns packets. */
  sendMany(packets: readonly Uint8Array[], from: number): number
  /** Sends `data` from byte `from` on, `size` bytes a packet. Returns bytes. */
  sendSegments(data: Uint8Array, size: number, from: number): number
}

/** A client's tunnel. */
export class ClientTarget implements SendTarget {
  readonly takesEmpty = false
  maxPacketSize = 0
  readonly #native: NativeTunnel

  constructor(native: NativeTunnel) {
    this.#native = native
  }

  send(packet: Uint8Array): number {
    return this.#native.send(packet)
  }

  sendMany(packets: readonly Uint8Array[], from: number): number {
    return this.#native.sendMany(packets, from)
  }

  sendSegments(data: Uint8Array, size: number, from: number): number {
    return this.#native.sendSegments(data, size, from)
  }

  sendRing(ring: NativeRing, from: number): number {
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
export class ServerTarget implements SendTarget {
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

  send(packet: Uint8Array): number {
    if (this.closed) return this.drop(1)
    try {
      return this.#native.send(this.#tunnel, packet)
    } catch (error) {
      return this.#closedMeanwhile(error, 1)
    }
  }

  sendMany(packets: readonly Uint8Array[], from: number): number {
    const left = packets.length - from
    if (this.closed) return this.drop(left)
    try {
      return this.#native.sendMany(this.#tunnel, packets, from)
    } catch (error) {
      return this.#closedMeanwhile(error, left)
    }
  }

  sendSegments(data: Uint8Array, size: number, from: number): number {
    const left = data.length - from
    try {
      if (!this.closed) return this.#native.sendSegments(this.#tunnel, data, size, from)
      this.drop(Math.ceil(left / size))
    } catch (error) {
      this.#closedMeanwhile(error, Math.ceil(left / size))
    }
    return left
  }

  sendRing(ring: NativeRing, from: number, left: number): number {
    if (this.closed) return this.drop(left)
    try {
      return this.#native.sendRingTo(this.#tunnel, ring, from)
    } catch (error) {
      return this.#closedMeanwhile(error, left)
    }
  }

  /** Counts packets as dropped, and as taken. */
  drop(packets: number): number {
    this.#late.packets += packets
    return packets
  }

  #closedMeanwhile(error: unknown, packets: number): number {
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

  sendRing(ring: NativeRing, from: number): number {
    return this.#native.sendRing(ring, from)
  }
}
