/**
 * A client's end of a tunnel.
 */
import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import { fromNativeAddress, resolveHost, type SocketAddress } from './address.js'
import { type ConnectOptions, checkConnectOptions, clearKeys } from './connect-options.js'
import { again, fromEvent, fromNative, SnapTunError } from './errors.js'
import { Handle } from './handle.js'
import type { NativeTunnel, NativeTunnelEvent } from './native.js'
import type { WaitOptions } from './options.js'
import { type PacketBatch, SlabBatch } from './packet-batch.js'
import { copyPacket, PacketReader } from './packet-reader.js'
import { PacketSender } from './packet-sender.js'
import { getReactor } from './reactor.js'
import type { ReconnectCause } from './reconnect-options.js'
import type { SendBatchInput } from './send-job.js'
import type { BatchOutcome, SendOutcome } from './send-outcome.js'
import { ClientTarget } from './send-target.js'
import type { TunnelStats } from './stats.js'
import { type DuplexOptions, TunnelDuplex } from './tunnel-duplex.js'
import { Waiter } from './waiter.js'

/** Events of {@link SnapTunnel}. */
export interface SnapTunnelEvents {
  /** The server is lost, and an attempt to reach it is made: its number, milliseconds until the next one, and why. */
  reconnecting: [attempt: number, delay: number, cause: ReconnectCause]
  /** A handshake is done after {@link reconnecting}. */
  reconnected: []
  /** The server sees this side at another address than before; `close` follows unless `onAddressChange` is `'continue'`. */
  addresschange: [from: SocketAddress, to: SocketAddress]
  /** The path takes packets of this many bytes at most from now on. */
  mtu: [maxPacketSize: number]
  /** The last event. With an error unless `close()` was called. */
  close: [error: SnapTunError | undefined]
}

/**
 * A tunnel to a server. Packets go in and come out whole, encrypted on the way; like datagrams they may be lost, and may
 * be overtaken by others, but never changed. What one caller sends leaves in that order.
 *
 * An open tunnel keeps the process alive, see {@link unref}. A closed one stays closed: every later call fails with the
 * same coded error.
 */
export class SnapTunnel extends EventEmitter<SnapTunnelEvents> implements AsyncDisposable {
  /** The server's address. */
  readonly remoteAddress: SocketAddress
  readonly #native: NativeTunnel
  readonly #handle: Handle<NativeTunnelEvent>
  readonly #target: ClientTarget
  readonly #sender = new PacketSender()
  readonly #reader: PacketReader<Uint8Array, SlabBatch>
  /** Those who wait for the first handshake. */
  readonly #unready = new Set<Waiter<void>>()
  #local: SocketAddress | undefined
  #connected = false
  /** Why calls fail from now on. */
  #end: SnapTunError | undefined

  private constructor(native: NativeTunnel, server: SocketAddress) {
    super()
    this.remoteAddress = server
    this.#native = native
    this.#target = new ClientTarget(native)
    this.#reader = new PacketReader([native.ring], {
      taken: () => undefined,
      emptied: () => undefined,
      packet: copyPacket,
      batch: (taken) => new SlabBatch(taken),
    })
    this.#handle = new Handle(getReactor(), native, {
      apply: (event) => this.#apply(event),
      readable: () => this.#reader.readable(),
      writable: () => this.#sender.writable(),
    })
  }

  /**
   * Opens a tunnel; settles when the handshake is done. Rejects, having released the socket, with
   * `ERR_SNAPTUN_INVALID_OPTION`, `ERR_SNAPTUN_INVALID_KEY` or `ERR_SNAPTUN_INVALID_ADDRESS`, which name the option; with
   * `ERR_SNAPTUN_LOOKUP` for a host that is not found; with `ERR_SNAPTUN_ADDRESS_IN_USE`, `ERR_SNAPTUN_ADDRESS_UNAVAILABLE`,
   * `ERR_SNAPTUN_PERMISSION` or `ERR_SNAPTUN_IO` for the local socket; with `ERR_SNAPTUN_CONNECT_TIMEOUT` when nobody
   * answers, or the server refuses; or with the reason of `options.signal`.
   */
  static async connect(options: ConnectOptions): Promise<SnapTunnel> {
    const tunnel = await SnapTunnel.open(options)
    const { signal } = options
    const onAbort = (): void => void tunnel.close()
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      if (signal?.aborted === true) onAbort()
      await tunnel.ready()
      signal?.throwIfAborted()
      return tunnel
    } catch (error) {
      await tunnel.close()
      throw signal?.aborted === true ? signal.reason : error
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /**
   * Opens a tunnel without waiting for its handshake, see {@link ready}. What is sent before waits within the bounds of
   * `sendQueue`, and leaves in its order once the handshake is done. Rejects as {@link connect}, but for the time-out:
   * that closes the tunnel. `options.signal` counts until the promise settles.
   */
  static async open(options: ConnectOptions): Promise<SnapTunnel> {
    const { server, family, native, signal } = checkConnectOptions(options)
    try {
      signal?.throwIfAborted()
      const address = await resolveHost(server, family, signal)
      return new SnapTunnel(getReactor().native.openTunnel({ ...native, server: address }), address)
    } catch (error) {
      throw fromNative(error)
    } finally {
      clearKeys(native)
    }
  }

  /**
   * Settles when the first handshake is done. Rejects with `ERR_SNAPTUN_CONNECT_TIMEOUT` or whatever else closed the
   * tunnel, or with the reason of `options.signal`, which ends only the wait.
   */
  ready(options?: WaitOptions): Promise<void> {
    if (this.#end !== undefined) return Promise.reject(again(this.#end))
    if (options?.signal?.aborted === true) return Promise.reject(options.signal.reason)
    if (this.#local !== undefined) return Promise.resolve()
    return new Waiter(this.#unready, options?.signal).promise
  }

  /** Whether there is a session now: false before the first handshake, while the server is lost, and after the end. */
  get connected(): boolean {
    return this.#connected
  }

  /**
   * This side's address as the server sees it: what the server assigned with the last handshake. Throws
   * `ERR_SNAPTUN_NOT_READY` before the first, which can be only of a tunnel from {@link open}.
   */
  get localAddress(): SocketAddress {
    if (this.#local === undefined) {
      throw new SnapTunError('ERR_SNAPTUN_NOT_READY', 'no address is assigned before the first handshake: see ready()')
    }
    return this.#local
  }

  /** Bytes that a packet may have at most; see the event `mtu`. */
  get maxPacketSize(): number {
    return this.#target.maxPacketSize
  }

  /** Whether the tunnel was closed, or ended by an error. */
  get closed(): boolean {
    return this.#end !== undefined
  }

  /**
   * Sends a packet. Settles with what became of it, see {@link SendOutcome}: at once while there is room, or while the
   * server is lost; the packet must not change before. Rejects with `ERR_SNAPTUN_INVALID_PACKET`, `ERR_SNAPTUN_PACKET_EMPTY`, `ERR_SNAPTUN_PACKET_TOO_LARGE`,
   * `ERR_SNAPTUN_TOO_MANY_SENDS`, `ERR_SNAPTUN_CLOSED` (or what ended the tunnel), or with the reason of `options.signal`,
   * which takes the packet back.
   */
  send(packet: Uint8Array, options?: WaitOptions): Promise<SendOutcome> {
    return this.#sender.send(this.#target, packet, options?.signal)
  }

  /**
   * Sends a packet if there is room at once, and says whether it was taken; while the server is lost, one that was not
   * is counted as dropped. Throws as {@link send} rejects.
   */
  trySend(packet: Uint8Array): boolean {
    return this.#sender.trySend(this.#target, packet)
  }

  /**
   * Settles when `trySend` would take a packet. Rejects with what ended the tunnel, with `ERR_SNAPTUN_TOO_MANY_SENDS`, or
   * with the reason of `options.signal`.
   */
  writable(options?: WaitOptions): Promise<void> {
    return this.#sender.untilWritable(this.#target, options?.signal)
  }

  /**
   * Sends many packets, in their order: an array, `{ data, size }` (the fastest), or a batch that was received, from
   * whomever. Settles when native has taken all; until then they must not change. Rejects as {@link send} does, and
   * sends nothing then; but what was taken before `options.signal` aborts, or before the tunnel closes, is sent.
   */
  sendBatch(packets: SendBatchInput, options?: WaitOptions): Promise<BatchOutcome> {
    return this.#sender.sendBatch(this.#target, packets, options?.signal)
  }

  /**
   * The next packet, a copy to keep. Calls that wait are served in their order. Rejects with `ERR_SNAPTUN_CLOSED`, with
   * what ended the tunnel once all packets before it were read, with `ERR_SNAPTUN_BUSY` while somebody iterates over
   * {@link batches}, or with the reason of `options.signal`; no packet is lost by that.
   */
  recv(options?: WaitOptions): Promise<Uint8Array> {
    return this.#reader.recv(options?.signal)
  }

  /** The next packet, a copy to keep, or null when none is there at this moment. Throws as {@link recv} rejects. */
  tryRecv(): Uint8Array | null {
    return this.#reader.tryRecv()
  }

  /**
   * Iterates over packets as they lie in native memory, many at a time: the fastest way to receive. A batch is valid until
   * the next turn. One iterator at a time, and nobody receives beside it (`ERR_SNAPTUN_BUSY`). Ends when the tunnel is
   * closed; throws what ended it otherwise.
   */
  batches(): AsyncIterableIterator<PacketBatch, undefined, undefined> {
    return this.#reader.batches()
  }

  /** Iterates over copies of packets; as {@link recv}, and ends when the tunnel is closed. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array, undefined, undefined> {
    return this.#reader.packets()
  }

  /**
   * The tunnel as a stream of packets, for `pipeline`: an object-mode Duplex of `Uint8Array`s, with backpressure both
   * ways. It reads as {@link recv} does, so that nobody else should. See {@link DuplexOptions} for its end.
   */
  toDuplex(options?: DuplexOptions): Duplex {
    return new TunnelDuplex(this, options)
  }

  /** Counters; see {@link TunnelStats}. They stay readable after the end. */
  stats(): TunnelStats {
    return this.#native.stats() as unknown as TunnelStats
  }

  /** Keeps the process alive while the tunnel is open, which is the default. */
  ref(): this {
    this.#handle.ref()
    return this
  }

  /** Lets the process exit although the tunnel is open. */
  unref(): this {
    this.#handle.unref()
    return this
  }

  /**
   * Closes the tunnel; settles when its socket is released. What waits rejects with `ERR_SNAPTUN_CLOSED`, iterators end,
   * and packets that were not read are dropped. Never rejects; harmless when repeated.
   */
  close(): Promise<void> {
    const closed = this.#handle.close()
    if (this.#end === undefined) {
      const end = this.#finish(undefined)
      this.#reader.close(end)
    }
    return closed
  }

  /** As {@link close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #apply(event: NativeTunnelEvent): void {
    switch (event.type) {
      case 'connected':
        this.#local = fromNativeAddress(event.local)
        this.#connected = true
        for (const waiter of this.#unready) waiter.resolve()
        break
      case 'reconnecting':
        this.#connected = false
        this.#handle.announce(() => this.emit('reconnecting', event.attempt, event.delay, event.cause))
        break
      case 'reconnected':
        this.#connected = true
        this.#handle.announce(() => this.emit('reconnected'))
        break
      case 'addresschange': {
        const from = this.#local as SocketAddress
        const to = fromNativeAddress(event.local)
        this.#local = to
        this.#handle.announce(() => this.emit('addresschange', from, to))
        break
      }
      case 'mtu':
        this.#target.maxPacketSize = event.maxPacketSize
        this.#handle.announce(() => this.emit('mtu', event.maxPacketSize))
        break
      case 'closed':
        this.#closed(event.code === undefined ? undefined : fromEvent(event.code, event.message ?? ''))
    }
  }

  #closed(error: SnapTunError | undefined): void {
    this.#handle.released()
    if (this.#end === undefined) this.#reader.fail(this.#finish(error))
    this.#handle.announce(() => this.emit('close', error))
  }

  /** From now on every call fails; who waits to send, or for the handshake, hears of it. */
  #finish(error: SnapTunError | undefined): SnapTunError {
    const end = error ?? new SnapTunError('ERR_SNAPTUN_CLOSED', 'the tunnel is closed')
    this.#end = end
    this.#connected = false
    this.#sender.close(end)
    for (const waiter of this.#unready) waiter.dismiss(again(end))
    return end
  }
}
