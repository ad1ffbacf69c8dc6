/**
 * Batched UDP, in clear.
 */
import { EventEmitter } from 'node:events'
import { isIP } from 'node:net'
import { type AddressInput, fromNativeAddress, parseAddress, resolveHost, type SocketAddress } from './address.js'
import { copyDatagram, type Datagram, type DatagramBatch, DatagramSlabBatch } from './datagram-batch.js'
import { type DatagramTarget, HeadReader, TargetWriter } from './datagram-record.js'
import {
  type AddressedDatagram,
  checkCount,
  type DatagramSendOptions,
  SendersTarget,
  type UdpTarget,
  UdpTargets,
} from './datagram-send.js'
import { again, fromNative, SnapTunError } from './errors.js'
import { Handle } from './handle.js'
import { parseInterface, parseMembership } from './multicast.js'
import type { NativeUdpEvent, NativeUdpSetting, NativeUdpSocket } from './native-udp.js'
import { checkBoolean, checkSignal, type WaitOptions } from './options.js'
import type { PacketBatch } from './packet-batch.js'
import { PacketReader } from './packet-reader.js'
import { PacketSender } from './packet-sender.js'
import { getReactor } from './reactor.js'
import { type PacketSegments, RingJob } from './send-job.js'
import type { BatchOutcome, SendOutcome } from './send-outcome.js'
import { systemError } from './system-error.js'
import {
  type CheckedUdpOptions,
  checkBuffer,
  checkEcn,
  checkMulticastTtl,
  checkTtl,
  checkUdpOptions,
  type UdpBindOptions,
} from './udp-options.js'
import type { UdpStats } from './udp-stats.js'

/** Bytes that a datagram may have over IPv4: 65,535 less the IP header (20) and the UDP header (8). */
const MAX_DATAGRAM_V4 = 65_507
/** The same over IPv6, whose header has 40: what an interface takes whose MTU is 65,536. */
const MAX_DATAGRAM_V6 = 65_488

/** Events of {@link UdpBatchSocket}. */
export interface UdpBatchSocketEvents {
  /**
   * The operating system refused datagrams after `send` had settled, or those of a batch: so many were dropped, for this
   * and for like errors. Or nobody listens where a connected socket sends to (`ERR_SNAPTUN_REFUSED`): then it is 0. The
   * socket goes on. Where nobody listens for this event, it is only counted: such an error ends no process.
   */
  error: [error: SnapTunError, dropped: number]
  /** The last event. With an error unless `close()` was called. */
  close: [error: SnapTunError | undefined]
}

/**
 * A UDP socket that moves many datagrams in one call, and in one system call: for QUIC, DNS, telemetry and games. Nothing
 * is encrypted. Datagrams are not fragmented: one that is too large for its path is refused (`ERR_SNAPTUN_PACKET_TOO_LARGE`).
 *
 * Errors that the operating system gave have the error of `node:dgram` as their `cause`: see {@link SystemError}.
 *
 * An open socket keeps the process alive, see {@link unref}. A closed one stays closed: every later call fails with the
 * same coded error.
 */
export class UdpBatchSocket extends EventEmitter<UdpBatchSocketEvents> implements AsyncDisposable {
  /** Bytes that a datagram may have at most. A path may take less, without fragmentation: mostly 1472 or 1452. */
  readonly maxDatagramSize: number
  readonly #native: NativeUdpSocket
  readonly #handle: Handle<NativeUdpEvent>
  readonly #sender = new PacketSender()
  readonly #reader: PacketReader<Datagram, DatagramSlabBatch>
  readonly #targets: UdpTargets
  readonly #ipv6: boolean
  readonly #ipv6Only: boolean
  #remote: SocketAddress | undefined
  #connecting = false
  /** Why calls fail from now on. */
  #end: SnapTunError | undefined

  private constructor(native: NativeUdpSocket, ipv6Only: boolean) {
    super()
    this.#native = native
    this.#ipv6 = isIP(native.local.address) === 6
    this.#ipv6Only = ipv6Only
    this.maxDatagramSize = this.#ipv6 ? MAX_DATAGRAM_V6 : MAX_DATAGRAM_V4
    const families = { ipv4: !this.#ipv6 || !ipv6Only, ipv6: this.#ipv6 }
    const writer = new TargetWriter(families, (name) => this.#interfaceIndex(name))
    this.#targets = new UdpTargets(native, writer, this.maxDatagramSize)
    let heads: HeadReader | undefined
    const headsOf = (slab: ArrayBuffer): HeadReader => {
      heads ??= new HeadReader(slab)
      return heads
    }
    this.#reader = new PacketReader([native.ring], {
      taken: () => undefined,
      emptied: () => undefined,
      packet: (taken, i) => copyDatagram(headsOf(taken.slab), taken, i),
      batch: (taken) => new DatagramSlabBatch(taken, headsOf(taken.slab)),
    })
    this.#handle = new Handle(getReactor(), native, {
      apply: (event) => this.#apply(event),
      readable: () => this.#reader.readable(),
      writable: () => this.#sender.writable(),
    })
  }

  /**
   * Binds a socket. Rejects, leaving nothing behind, with `ERR_SNAPTUN_INVALID_OPTION` or `ERR_SNAPTUN_INVALID_ADDRESS`,
   * which name the option; with `ERR_SNAPTUN_LOOKUP` for a host that is not found; with `ERR_SNAPTUN_ADDRESS_IN_USE`,
   * `ERR_SNAPTUN_ADDRESS_UNAVAILABLE`, `ERR_SNAPTUN_PERMISSION` or `ERR_SNAPTUN_IO`; or with the reason of
   * `options.signal`.
   */
  static override async bind(options?: UdpBindOptions): Promise<UdpBatchSocket> {
    const checked = checkUdpOptions(options)
    checked.signal?.throwIfAborted()
    const bind = await resolveHost(checked.bind, checked.family, checked.signal)
    return UdpBatchSocket.#open(checked, bind)
  }

  static #open({ native: options, settings }: CheckedUdpOptions, bind: SocketAddress): UdpBatchSocket {
    let native: NativeUdpSocket | number
    try {
      native = getReactor().native.bindUdp({ ...options, bind })
    } catch (error) {
      throw fromNative(error)
    }
    if (typeof native === 'number') throw systemError(native, 'bind', bind)
    const socket = new UdpBatchSocket(native, options.ipv6Only)
    try {
      for (const [name, value] of settings) socket.#set(name, value)
    } catch (error) {
      void socket.close()
      throw error
    }
    return socket
  }

  /**
   * The local address, with the port that the system chose if it was to; of a connected socket that of the route. When
   * it is closed, what it was bound to.
   */
  address(): SocketAddress {
    return fromNativeAddress(this.#native.local)
  }

  /** The address that it is connected to; undefined when it is not. */
  get remoteAddress(): SocketAddress | undefined {
    return this.#remote
  }

  /** Whether the socket was closed, or ended by an error. */
  get closed(): boolean {
    return this.#end !== undefined
  }

  /**
   * Sends to one address from now on, and receives from it alone. A host name is looked up once. On Linux the socket then
   * also hears when nobody listens there: see the event `error`. What arrived before can still be read. Rejects with
   * `ERR_SNAPTUN_CONNECTED`, `ERR_SNAPTUN_INVALID_ADDRESS`, `ERR_SNAPTUN_LOOKUP`, `ERR_SNAPTUN_UNREACHABLE`,
   * `ERR_SNAPTUN_PERMISSION`, `ERR_SNAPTUN_IO`, `ERR_SNAPTUN_CLOSED`, or with the reason of `options.signal`.
   */
  async connect(remote: AddressInput, options?: WaitOptions): Promise<void> {
    this.#checkOpen()
    if (this.#remote !== undefined || this.#connecting) {
      throw new SnapTunError('ERR_SNAPTUN_CONNECTED', 'the socket is connected already: disconnect() comes first')
    }
    const signal = checkSignal('signal', options?.signal)
    const host = parseAddress('remote', remote, 1)
    this.#connecting = true
    try {
      const family = this.#ipv6 ? (this.#ipv6Only ? 'IPv6' : undefined) : 'IPv4'
      signal?.throwIfAborted()
      const address = await resolveHost(host, family, signal)
      this.#checkOpen()
      const record = this.#targets.record(address, 0)
      this.#check(this.#native.connect(new Uint8Array(record.buffer)), 'connect', address)
      this.#remote = address
    } catch (error) {
      throw fromNative(error)
    } finally {
      this.#connecting = false
    }
  }

  /** Undoes {@link connect}. Throws `ERR_SNAPTUN_NOT_CONNECTED`, `ERR_SNAPTUN_IO` or `ERR_SNAPTUN_CLOSED`. */
  disconnect(): void {
    this.#checkOpen()
    if (this.#remote === undefined) throw notConnected()
    this.#check(this.#native.disconnect(), 'connect')
    this.#remote = undefined
  }

  /**
   * Sends a datagram, which may be empty, to an IP address and port; without these on a connected socket. Settles when
   * native has taken it, always with `'sent'`, which is at once while there is room; it must not change before. Rejects with
   * `ERR_SNAPTUN_NOT_CONNECTED`, `ERR_SNAPTUN_CONNECTED` (when there is a target too many), `ERR_SNAPTUN_INVALID_ADDRESS`,
   * `ERR_SNAPTUN_INVALID_PACKET`, `ERR_SNAPTUN_PACKET_TOO_LARGE`, `ERR_SNAPTUN_TOO_MANY_SENDS`, `ERR_SNAPTUN_CLOSED`, with the
   * reason of `options.signal`, which takes the datagram back; and, if it could be sent at once and the operating system
   * refused it, with `ERR_SNAPTUN_UNREACHABLE`, `ERR_SNAPTUN_PERMISSION` or `ERR_SNAPTUN_IO`.
   */
  send(data: Uint8Array, to?: DatagramTarget, options?: DatagramSendOptions): Promise<SendOutcome> {
    // Not an async function: that would be a promise more for every datagram.
    try {
      return this.#sender.send(this.#target(to, options), data, options?.signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** Sends a datagram if there is room at once, and says whether it was taken. Throws as {@link send} rejects. */
  trySend(data: Uint8Array, to?: DatagramTarget, options?: DatagramSendOptions): boolean {
    return this.#sender.trySend(this.#target(to, options), data)
  }

  /**
   * Sends many datagrams, in their order: an array, or `{ data, size }` (the fastest), to one target or to one each; on a
   * connected socket without any. Settles when native has taken all; until then they must not change. What the operating
   * system refuses is counted, and told by the event `error`. Rejects as {@link send} does for what can be known
   * beforehand, and sends nothing then; but what was taken before `options.signal` aborts, or before the socket closes,
   * is sent.
   */
  sendBatch(
    datagrams: readonly Uint8Array[] | PacketSegments,
    to?: DatagramTarget | readonly DatagramTarget[],
    options?: DatagramSendOptions,
  ): Promise<BatchOutcome>
  /** As above, where each datagram says where it goes. */
  sendBatch(
    datagrams: readonly AddressedDatagram[],
    to?: undefined,
    options?: DatagramSendOptions,
  ): Promise<BatchOutcome>
  /**
   * Sends a batch that was received, from whomever, straight from native memory, also what was changed in it: to one
   * target, or without one each datagram back to who sent it (from the address that it was sent to, if the socket is bound
   * to all). The next turn of the iterator waits for that. Rejects with `ERR_SNAPTUN_BATCH_RELEASED` too.
   */
  sendBatch(batch: PacketBatch, to?: DatagramTarget, options?: DatagramSendOptions): Promise<BatchOutcome>
  async sendBatch(
    what: readonly (Uint8Array | AddressedDatagram)[] | PacketSegments | PacketBatch,
    to?: DatagramTarget | readonly DatagramTarget[],
    options?: DatagramSendOptions,
  ): Promise<BatchOutcome> {
    const signal = options?.signal
    if (to === undefined && this.#remote === undefined) {
      const ecn = checkEcn(options?.ecn)
      if (what instanceof DatagramSlabBatch) {
        return this.#sender.run(new RingJob(new SendersTarget(this.#native, ecn), what), signal)
      }
      if (Array.isArray(what) && isAddressed(what)) {
        const target = this.#targets.many(what, ecn)
        return this.#sender.sendBatch(
          target,
          what.map(({ data }) => data),
          signal,
        )
      }
    }
    if (!Array.isArray(to)) {
      const target = this.#target(to as DatagramTarget | undefined, options)
      return this.#sender.sendBatch(target, what as readonly Uint8Array[], signal)
    }
    if (this.#remote !== undefined) throw connected()
    checkCount(what as readonly Uint8Array[], to)
    const target = this.#targets.many(to, checkEcn(options?.ecn))
    return this.#sender.sendBatch(target, what as readonly Uint8Array[], signal)
  }

  /**
   * The next datagram, a copy to keep. Calls that wait are served in their order. Rejects with `ERR_SNAPTUN_CLOSED`, with
   * `ERR_SNAPTUN_BUSY` while somebody iterates over {@link batches}, or with the reason of `options.signal`; no datagram is
   * lost by that.
   */
  recv(options?: WaitOptions): Promise<Datagram> {
    return this.#reader.recv(options?.signal)
  }

  /** The next datagram, a copy to keep, or null when none is there at this moment. Throws as {@link recv} rejects. */
  tryRecv(): Datagram | null {
    return this.#reader.tryRecv()
  }

  /**
   * Iterates over datagrams as they lie in native memory, many at a time: the fastest way to receive. A batch is valid
   * until the next turn. One iterator at a time, and nobody receives beside it (`ERR_SNAPTUN_BUSY`). Ends when the socket
   * is closed.
   */
  batches(): AsyncIterableIterator<DatagramBatch, undefined, undefined> {
    return this.#reader.batches()
  }

  /** Iterates over copies of datagrams; as {@link recv}, and ends when the socket is closed. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Datagram, undefined, undefined> {
    return this.#reader.packets()
  }

  /**
   * Joins a multicast group, on the interface that has the address `on` (for IPv6 `'::%eth0'` or `'::%2'`), or that the
   * system chooses. Throws `ERR_SNAPTUN_INVALID_ADDRESS`, `ERR_SNAPTUN_ADDRESS_IN_USE` (a member already), `ERR_SNAPTUN_IO` and the
   * other codes of the operating system's errors, or `ERR_SNAPTUN_CLOSED`. So do the calls below.
   */
  addMembership(group: string, on?: string): void {
    this.#membership(true, group, on)
  }

  /** Leaves a multicast group; `ERR_SNAPTUN_ADDRESS_UNAVAILABLE` when it is no member. */
  dropMembership(group: string, on?: string): void {
    this.#membership(false, group, on)
  }

  /** Chooses the interface that datagrams to groups leave through; named as in {@link addMembership}. */
  setMulticastInterface(on: string): void {
    this.#checkOpen()
    const { address, index } = parseInterface(on, (name) => this.#interfaceIndex(name))
    this.#check(this.#native.setMulticastInterface(address, index), 'setsockopt')
  }

  /** Whether datagrams to groups reach members on this machine too. */
  setMulticastLoopback(on: boolean): void {
    this.#set('multicastLoopback', Number(checkBoolean('multicastLoopback', on)))
  }

  /** Routers that datagrams to groups may pass, 0 to 255. */
  setMulticastTTL(ttl: number): void {
    this.#set('multicastTtl', checkMulticastTtl('multicastTtl', ttl))
  }

  /** Routers that other datagrams may pass, 1 to 255. */
  setTTL(ttl: number): void {
    this.#set('ttl', checkTtl('ttl', ttl))
  }

  /** Whether datagrams to broadcast addresses may be sent. */
  setBroadcast(on: boolean): void {
    this.#set('broadcast', Number(checkBoolean('broadcast', on)))
  }

  /** What the operating system buffers of what arrives, 4096 to 2^30; it may give less, see {@link UdpStats}. */
  setRecvBufferSize(bytes: number): void {
    this.#set('receiveBuffer', checkBuffer('receiveBufferSize', bytes))
  }

  /** The same for what is sent. */
  setSendBufferSize(bytes: number): void {
    this.#set('sendBuffer', checkBuffer('sendBufferSize', bytes))
  }

  /** Counters; see {@link UdpStats}. They stay readable after the end. */
  stats(): UdpStats {
    return this.#native.stats() as unknown as UdpStats
  }

  /** Keeps the process alive while the socket is open, which is the default. */
  ref(): this {
    this.#handle.ref()
    return this
  }

  /** Lets the process exit although the socket is open. */
  unref(): this {
    this.#handle.unref()
    return this
  }

  /**
   * Closes the socket; settles when it is released. What was taken is sent, as far as the system takes it at once; what
   * waits rejects with `ERR_SNAPTUN_CLOSED`, iterators end, and datagrams that were not read are dropped. Never rejects;
   * harmless when repeated.
   */
  close(): Promise<void> {
    const closed = this.#handle.close()
    this.#finish(new SnapTunError('ERR_SNAPTUN_CLOSED', 'the socket is closed'))
    return closed
  }

  /** As {@link close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** The one target of a call. */
  #target(to: DatagramTarget | undefined, options: DatagramSendOptions | undefined): UdpTarget {
    if (to !== undefined && this.#remote !== undefined) throw connected()
    const target = to ?? this.#remote
    if (target === undefined) throw this.#end === undefined ? notConnected() : again(this.#end)
    return this.#targets.one(target, checkEcn(options?.ecn))
  }

  #membership(join: boolean, group: string, on: string | undefined): void {
    this.#checkOpen()
    const parsed = parseMembership(group, on, (name) => this.#interfaceIndex(name))
    const { address, index } = parsed
    const errno = this.#native.membership(join, parsed.group, address, index)
    this.#check(errno, join ? 'addMembership' : 'dropMembership', { address: group })
  }

  #interfaceIndex(name: string): number {
    return this.#check(this.#native.interfaceIndex(name), 'if_nametoindex', { address: name })
  }

  #set(name: NativeUdpSetting, value: number): void {
    this.#checkOpen()
    this.#check(this.#native.set(name, value), 'setsockopt')
  }

  /** Throws the error of a number below 0; returns any other. */
  #check(outcome: number, syscall: string, about?: { readonly address: string; readonly port?: number }): number {
    if (outcome < 0) throw systemError(outcome, syscall, about)
    return outcome
  }

  #checkOpen(): void {
    if (this.#end !== undefined) throw again(this.#end)
  }

  #apply(event: NativeUdpEvent): void {
    if (event.type === 'failed') {
      const error = systemError(event.errno, event.syscall, event.target)
      this.#handle.announce(() => {
        if (this.listenerCount('error') > 0) this.emit('error', error, event.datagrams)
      })
      return
    }
    const error = event.broken
      ? new SnapTunError('ERR_SNAPTUN_INTERNAL', 'internal error, please report it')
      : undefined
    this.#handle.released()
    this.#finish(error ?? new SnapTunError('ERR_SNAPTUN_CLOSED', 'the socket is closed'))
    this.#handle.announce(() => this.emit('close', error))
  }

  #finish(error: SnapTunError): void {
    if (this.#end !== undefined) return
    this.#end = error
    this.#sender.close(error)
    if (error.code === 'ERR_SNAPTUN_CLOSED') this.#reader.close(error)
    else this.#reader.fail(error)
  }
}

function isAddressed(what: readonly unknown[]): what is readonly AddressedDatagram[] {
  return what.length > 0 && what.every((one) => typeof one === 'object' && one !== null && 'port' in one)
}

function notConnected(): SnapTunError {
  return new SnapTunError('ERR_SNAPTUN_NOT_CONNECTED', 'the socket is not connected: there must be a target')
}

function connected(): SnapTunError {
  return new SnapTunError('ERR_SNAPTUN_CONNECTED', 'the socket is connected: there can be no other target')
}
