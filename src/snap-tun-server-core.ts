/**
 * A server without sockets, timers or threads, for those who bring their own transport.
 */
import { type AddressInput, fromNativeAddress, parseAddress, type SocketAddress } from './address.js'
import { type AuthorizationTerms, readTerms } from './authorizer.js'
import { fromNative, SnapTunError } from './errors.js'
import { type KeyInput, keyToString, parseKey, publicKey } from './keys.js'
import { checkServerCoreOptions, type ServerCoreOptions } from './listen-options.js'
import type { NativeServerCore, NativeServerEvent } from './native.js'
import { getReactor } from './reactor.js'
import type { TunnelCloseReason } from './snap-tun-server.js'

/** A packet out of a tunnel. */
export interface CorePacket {
  /** Number of the tunnel. */
  readonly tunnel: number
  /** Yours to keep. */
  readonly data: Uint8Array
}

/** A datagram to be sent. */
export interface CoreDatagram {
  /** Where to. */
  readonly remote: SocketAddress
  /** Yours to keep. */
  readonly data: Uint8Array
}

/** Something that happened. */
export type CoreEvent =
  /** An identity proved itself: answer with `authorize` or `refuse`. Also shortly before an authorization expires. */
  | { readonly type: 'authorize'; readonly identity: string; readonly remote: SocketAddress }
  /** An identity was refused without a question: the refusal of a moment ago still stands. */
  | { readonly type: 'unauthorized'; readonly identity: string; readonly remote: SocketAddress }
  /** A tunnel is open. */
  | { readonly type: 'tunnel'; readonly tunnel: number; readonly identity: string; readonly remote: SocketAddress }
  /** A tunnel is gone. */
  | { readonly type: 'tunnelclose'; readonly tunnel: number; readonly reason: TunnelCloseReason }

/** What a call of the core leads to, in this order: events, packets for the application, datagrams for the network. */
export interface CoreOutput {
  readonly events: readonly CoreEvent[]
  readonly packets: readonly CorePacket[]
  readonly datagrams: readonly CoreDatagram[]
}

/**
 * The protocol's side of a server: the same code that `SnapTunServer` runs on its sockets. Datagrams go in; packets,
 * datagrams and events come out. Every call takes effect at once and waits for nothing, and what a network sends never
 * throws. It holds no resource but memory, and keeps nothing alive.
 */
export class SnapTunServerCore {
  /** The server's public key, base64: what clients need to know. */
  readonly publicKey: string
  readonly #native: NativeServerCore

  /** Throws `ERR_SNAPTUN_INVALID_OPTION` or `ERR_SNAPTUN_INVALID_KEY`, which name the option. */
  constructor(options: ServerCoreOptions) {
    const checked = checkServerCoreOptions(options)
    try {
      this.publicKey = publicKey(checked.privateKey)
      this.#native = new (getReactor().native.NativeServerCore)(checked)
    } catch (error) {
      throw fromNative(error)
    } finally {
      checked.privateKey.fill(0)
    }
  }

  /** Takes a datagram that arrived from an address. Throws `ERR_SNAPTUN_INVALID_ADDRESS` for what is none. */
  handleIncoming(datagram: Uint8Array, from: AddressInput): CoreOutput {
    checkBytes('datagram', datagram)
    const { host, port } = parseAddress('from', from, 0)
    const packets: CorePacket[] = []
    return this.#run(() => {
      const packet = this.#native.handleIncoming(datagram, { address: host, port })
      if (packet !== null) packets.push(packet)
    }, packets)
  }

  /**
   * Sends a packet through a tunnel. While there is no session a few packets wait for one; a packet of an identity that
   * may not pass is dropped and counted. Throws `ERR_SNAPTUN_UNKNOWN_TUNNEL`, `ERR_SNAPTUN_PACKET_EMPTY`.
   */
  handleOutgoing(tunnel: number, packet: Uint8Array): CoreOutput {
    checkBytes('packet', packet)
    return this.#run(() => this.#native.handleOutgoing(tunnel, packet))
  }

  /** Does what is due: keepalives, handshakes, expiry. To be called after {@link nextTimer}. */
  updateTimers(): CoreOutput {
    return this.#run(() => this.#native.updateTimers())
  }

  /** Milliseconds until {@link updateTimers} is to be called; null while there is nothing to wait for. */
  nextTimer(): number | null {
    return this.#native.nextTimer()
  }

  /** Lets an identity pass, or replaces until when it may. Throws as `SnapTunServer.authorize`. */
  authorize(identity: KeyInput, terms: AuthorizationTerms): CoreOutput {
    const key = parseKey('identity', identity, 'public')
    const { expiresAt, presharedKey } = readTerms(terms)
    try {
      return this.#run(() => this.#native.authorize(key, expiresAt, presharedKey))
    } finally {
      presharedKey?.fill(0)
    }
  }

  /** Answers the event `authorize` with no. Throws `ERR_SNAPTUN_INVALID_KEY`. */
  refuse(identity: KeyInput): CoreOutput {
    const key = parseKey('identity', identity, 'public')
    return this.#run(() => this.#native.refuse(key))
  }

  /** Lets an identity pass no more, and closes its tunnels. Throws `ERR_SNAPTUN_INVALID_KEY`. */
  revoke(identity: KeyInput): CoreOutput {
    const key = parseKey('identity', identity, 'public')
    return this.#run(() => this.#native.revoke(key))
  }

  /** Closes a tunnel; harmless when it is gone. */
  closeTunnel(tunnel: number): CoreOutput {
    return this.#run(() => this.#native.closeTunnel(tunnel))
  }

  /** The counters of `SnapTunServer.stats()` that have nothing to do with sockets and queues. */
  stats(): Readonly<Record<string, number>> {
    return this.#native.stats()
  }

  #run(call: () => void, packets: readonly CorePacket[] = []): CoreOutput {
    try {
      call()
      return {
        events: this.#native.takeEvents().map(toEvent),
        packets,
        datagrams: this.#native
          .takeDatagrams()
          .map(({ remote, data }) => ({ remote: fromNativeAddress(remote), data })),
      }
    } catch (error) {
      throw fromNative(error)
    }
  }
}

function checkBytes(name: string, value: unknown): void {
  if (value instanceof Uint8Array) return
  throw new SnapTunError('ERR_SNAPTUN_INVALID_PACKET', `argument '${name}' must be a Uint8Array`)
}

function toEvent(event: NativeServerEvent): CoreEvent {
  switch (event.type) {
    case 'tunnelclose':
      return { type: event.type, tunnel: event.tunnel, reason: event.reason }
    case 'closed':
      // Sockets are released; there are none.
      throw new SnapTunError('ERR_SNAPTUN_INTERNAL', 'a server without sockets has no such event')
    default: {
      const identity = keyToString(event.identity)
      const remote = fromNativeAddress(event.remote)
      if (event.type === 'tunnel') return { type: event.type, tunnel: event.tunnel, identity, remote }
      return { type: event.type, identity, remote }
    }
  }
}
