/**
 * A server: accepts tunnels from many clients.
 */
import { EventEmitter } from 'node:events'
import { fromNativeAddress, resolveHost, type SocketAddress } from './address.js'
import { type Authorization, type AuthorizationRequest, Authorizer } from './authorizer.js'
import { publish } from './diagnostics.js'
import { fromEvent, fromNative, SnapTunError } from './errors.js'
import { Handle } from './handle.js'
import { type KeyInput, keyToString, parseKey, publicKey } from './keys.js'
import { type CheckedListenOptions, checkListenOptions, type ListenOptions } from './listen-options.js'
import { type NativeServer, type NativeServerEvent, shardOf } from './native.js'
import type { WaitOptions } from './options.js'
import { SlabBatch } from './packet-batch.js'
import { copyPacket, PacketReader } from './packet-reader.js'
import { PacketSender } from './packet-sender.js'
import { getReactor } from './reactor.js'
import { RingJob, type SendBatchInput } from './send-job.js'
import type { BatchOutcome, SendOutcome } from './send-outcome.js'
import { EchoTarget, type LateSends, ServerTarget } from './send-target.js'
import { type ServerPacket, type ServerPacketBatch, ServerSlabBatch, tunnelOf } from './server-batch.js'
import { partsOf, ServerTunnel } from './server-tunnel.js'
import { reportSmallBuffers } from './socket-buffers.js'
import type { ServerStats } from './stats.js'
import { TunnelTable } from './tunnel-table.js'

/**
 * Why a tunnel of a server closed: its authorization or session expired, it was revoked, its client made another one from
 * the same address, the application closed it, or the whole server.
 */
export type TunnelCloseReason = 'expired' | 'revoked' | 'replaced' | 'closed' | 'server-closed'

/** Events of {@link SnapTunServer}. */
export interface SnapTunServerEvents<Session = unknown> {
  /** A client is connected. Comes before the first of its packets can be read. */
  tunnel: [tunnel: ServerTunnel<Session>]
  /** A tunnel has closed. Packets that arrived before may still be read afterwards. */
  tunnelclose: [tunnel: ServerTunnel<Session>, reason: TunnelCloseReason]
  /** A client proved its identity and may not pass: `authorize` refused it, now or a moment ago. */
  unauthorized: [identity: string, remote: SocketAddress]
  /** The application's `authorize` failed for a client, which was refused. Also counted, in `stats()`. */
  authorizeerror: [error: unknown, request: AuthorizationRequest]
  /** The last event. With an error unless `close()` was called. */
  close: [error: SnapTunError | undefined]
}

/**
 * A server that accepts tunnels of authorized clients, each with the session data that the application gave it.
 *
 * An open server keeps the process alive, see {@link unref}. A closed one stays closed: every later call fails with the
 * same coded error.
 */
export class SnapTunServer<Session = unknown>
  extends EventEmitter<SnapTunServerEvents<Session>>
  implements AsyncDisposable
{
  /** The server's public key, base64: what clients need to know. */
  readonly publicKey: string
  readonly #native: NativeServer
  readonly #handle: Handle<NativeServerEvent>
  readonly #authorizer: Authorizer<Session>
  readonly #tunnels: TunnelTable<Session>
  readonly #reader: PacketReader<ServerPacket<Session>, ServerSlabBatch<Session>>
  /** One a shard. */
  readonly #senders: readonly PacketSender[]
  readonly #echo: EchoTarget
  readonly #late: LateSends = { packets: 0 }
  readonly #address: SocketAddress
  /** Why calls fail from now on. */
  #end: SnapTunError | undefined

  private constructor(
    native: NativeServer,
    key: string,
    { native: options, authorize }: CheckedListenOptions<Session>,
  ) {
    super()
    this.publicKey = key
    this.#native = native
    this.#address = fromNativeAddress(native.bound)
    this.#echo = new EchoTarget(native)
    const { rings } = native
    this.#senders = rings.map(() => new PacketSender())
    const tunnels = new TunnelTable<Session>(rings.length, options.receiveQueuePackets)
    this.#tunnels = tunnels
    this.#authorizer = new Authorizer(native, authorize, options.authorizationTimeout, {
      failed: (error, request) => this.emit('authorizeerror', error, request),
      refused: (identity, remote) => this.#refused(identity, remote),
    })
    this.#reader = new PacketReader(rings, {
      taken: (ring, count) => {
        tunnels.taken(ring, count)
        // Packets of a new tunnel may be among them: its event is there already, and comes first.
        this.#handle.drain()
      },
      emptied: (ring) => tunnels.emptied(ring),
      packet: (taken, i) => ({ tunnel: tunnelOf(tunnels, taken, i), data: copyPacket(taken, i) }),
      batch: (taken) => new ServerSlabBatch(taken, tunnels),
    })
    this.#handle = new Handle(getReactor(), native, {
      apply: (event) => this.#apply(event),
      readable: () => this.#reader.readable(),
      writable: () => {
        for (const sender of this.#senders) sender.writable()
      },
    })
  }

  /**
   * Starts a server; settles when its sockets are bound. Rejects, leaving nothing behind, with
   * `ERR_SNAPTUN_INVALID_OPTION`, `ERR_SNAPTUN_INVALID_KEY` or `ERR_SNAPTUN_INVALID_ADDRESS`, which name the option; with
   * `ERR_SNAPTUN_LOOKUP` for a host that is not found; with `ERR_SNAPTUN_ADDRESS_IN_USE`, `ERR_SNAPTUN_ADDRESS_UNAVAILABLE`,
   * `ERR_SNAPTUN_PERMISSION` or `ERR_SNAPTUN_IO`; or with the reason of `options.signal`.
   */
  static async listen<Session = unknown>(options: ListenOptions<Session>): Promise<SnapTunServer<Session>> {
    const checked = checkListenOptions(options)
    const { privateKey } = checked.native
    try {
      checked.signal?.throwIfAborted()
      const bind = await resolveHost(checked.bind, undefined, checked.signal)
      const native = getReactor().native.listen({ ...checked.native, bind })
      const server = new SnapTunServer(native, publicKey(privateKey), checked)
      reportSmallBuffers(server, server.stats(), checked.native.socketBufferBytes, checked.native.shards)
      return server
    } catch (error) {
      throw fromNative(error)
    } finally {
      privateKey.fill(0)
    }
  }

  /** The address that it listens on, with the port that the system chose if it was to. Stays known after the end. */
  address(): SocketAddress {
    return this.#address
  }

  /** Whether the server was closed, or ended by an error. */
  get closed(): boolean {
    return this.#end !== undefined
  }

  /**
   * Lets an identity (a client's public key) pass, without waiting to be asked. For one that may pass already it replaces
   * the end and the session, for its open tunnels too. Throws `ERR_SNAPTUN_INVALID_KEY`, `ERR_SNAPTUN_INVALID_OPTION` or
   * `ERR_SNAPTUN_CLOSED`.
   */
  authorize(identity: KeyInput, authorization: Authorization<Session>): void {
    this.#checkOpen()
    this.#authorizer.grant(parseKey('identity', identity, 'public'), authorization)
  }

  /**
   * Lets an identity pass no more: nothing of it passes, either way, from the moment of the call, and its tunnels close.
   * When it asks again, `authorize` is asked again. Rejects as {@link authorize} throws.
   */
  async revoke(identity: KeyInput): Promise<void> {
    this.#checkOpen()
    this.#authorizer.revoke(parseKey('identity', identity, 'public'))
  }

  /** The open tunnels. Those that open or close during the iteration may or may not be among them. */
  tunnels(): IterableIterator<ServerTunnel<Session>> {
    return this.#tunnels.open()
  }

  /** The open tunnel to a client's address; undefined when there is none. */
  tunnel(remote: { readonly address: string; readonly port: number }): ServerTunnel<Session> | undefined {
    for (const tunnel of this.#tunnels.open()) {
      if (tunnel.remote.port === remote.port && tunnel.remote.address === remote.address) return tunnel
    }
    return undefined
  }

  /** As {@link ServerTunnel.send}; a tunnel of another server is `ERR_SNAPTUN_UNKNOWN_TUNNEL`. */
  send(tunnel: ServerTunnel<Session>, packet: Uint8Array, options?: WaitOptions): Promise<SendOutcome> {
    // Not an async function: that would be a promise more for every packet.
    try {
      this.#checkOwn(tunnel)
    } catch (error) {
      return Promise.reject(error)
    }
    return tunnel.send(packet, options)
  }

  /** As {@link ServerTunnel.trySend}; a tunnel of another server is `ERR_SNAPTUN_UNKNOWN_TUNNEL`. */
  trySend(tunnel: ServerTunnel<Session>, packet: Uint8Array): boolean {
    this.#checkOwn(tunnel)
    return tunnel.trySend(packet)
  }

  /**
   * Sends each packet of a batch of this server back to the tunnel that it came from, straight from native memory, also
   * what was changed in it. Settles when native has taken all; the next turn of the iterator waits for that. Rejects with
   * `ERR_SNAPTUN_BATCH_RELEASED`, `ERR_SNAPTUN_INVALID_PACKET`, and as {@link ServerTunnel.send} does.
   */
  sendBatch(batch: ServerPacketBatch<Session>, options?: WaitOptions): Promise<BatchOutcome>
  /** As {@link ServerTunnel.sendBatch}; a tunnel of another server is `ERR_SNAPTUN_UNKNOWN_TUNNEL`. */
  sendBatch(tunnel: ServerTunnel<Session>, packets: SendBatchInput, options?: WaitOptions): Promise<BatchOutcome>
  async sendBatch(
    to: ServerPacketBatch<Session> | ServerTunnel<Session>,
    packets?: SendBatchInput | WaitOptions,
    options?: WaitOptions,
  ): Promise<BatchOutcome> {
    if (to instanceof ServerTunnel) {
      this.#checkOwn(to)
      return to.sendBatch(packets as SendBatchInput, options)
    }
    if (!(to instanceof SlabBatch) || to.taken !== this.#reader.taken) {
      throw new SnapTunError(
        'ERR_SNAPTUN_INVALID_PACKET',
        'sendBatch(batch) takes a batch that this server received; sendBatch(tunnel, batch) sends any',
      )
    }
    const job = new RingJob(this.#echo, to)
    return this.#sender(to.taken.ringIndex).run(job, (packets as WaitOptions | undefined)?.signal)
  }

  /** As `recv` of `SnapTunnel`, of whichever tunnel. */
  recv(options?: WaitOptions): Promise<ServerPacket<Session>> {
    return this.#reader.recv(options?.signal)
  }

  /** As `tryRecv` of `SnapTunnel`, of whichever tunnel. */
  tryRecv(): ServerPacket<Session> | null {
    return this.#reader.tryRecv()
  }

  /** As `batches` of `SnapTunnel`, of whichever tunnels; the shards take turns. */
  batches(): AsyncIterableIterator<ServerPacketBatch<Session>, undefined, undefined> {
    return this.#reader.batches()
  }

  /** Iterates over packets of all tunnels, each a copy; as {@link recv}, and ends when the server is closed. */
  [Symbol.asyncIterator](): AsyncIterableIterator<ServerPacket<Session>, undefined, undefined> {
    return this.#reader.packets()
  }

  /** Counters, summed over the shards; see {@link ServerStats}. They stay readable after the end. */
  stats(): ServerStats {
    const native = this.#native.stats() as unknown as ServerStats
    return { ...native, ...this.#authorizer.stats, lateSends: this.#late.packets }
  }

  /** Keeps the process alive while the server is open, which is the default. */
  ref(): this {
    this.#handle.ref()
    return this
  }

  /** Lets the process exit although the server is open. */
  unref(): this {
    this.#handle.unref()
    return this
  }

  /**
   * Closes the server and its tunnels; settles when its sockets are released. What waits rejects with
   * `ERR_SNAPTUN_CLOSED`, iterators end, packets that were not read are dropped, and what `authorize` answers later is
   * ignored. Clients are not told. Never rejects; harmless when repeated.
   */
  close(): Promise<void> {
    const closed = this.#handle.close()
    this.#finish(new SnapTunError('ERR_SNAPTUN_CLOSED', 'the server is closed'))
    return closed
  }

  /** As {@link close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #finish(error: SnapTunError): void {
    if (this.#end !== undefined) return
    this.#end = error
    for (const sender of this.#senders) sender.close(error)
    if (error.code === 'ERR_SNAPTUN_CLOSED') this.#reader.close(error)
    else this.#reader.fail(error)
    this.#authorizer.close(error)
  }

  #checkOpen(): void {
    if (this.#end !== undefined) throw new SnapTunError(this.#end.code, this.#end.message, this.#end)
  }

  #checkOwn(tunnel: ServerTunnel<Session>): void {
    if (partsOf(tunnel).server === this) return
    throw new SnapTunError('ERR_SNAPTUN_UNKNOWN_TUNNEL', `the tunnel ${tunnel.id} is not of this server`)
  }

  #sender(shard: number): PacketSender {
    return this.#senders[shard] as PacketSender
  }

  #apply(event: NativeServerEvent): void {
    switch (event.type) {
      case 'authorize':
        this.#handle.announce(() => {
          if (this.#end === undefined) this.#authorizer.ask(event.identity, event.remote)
        })
        break
      case 'unauthorized': {
        const { identity, remote } = event
        this.#handle.announce(() => this.#refused(keyToString(identity), fromNativeAddress(remote)))
        break
      }
      case 'tunnel': {
        const { tunnel: id, maxPacketSize } = event
        const identity = keyToString(event.identity)
        const tunnel = ServerTunnel.create<Session>({
          id,
          identity,
          remote: fromNativeAddress(event.remote),
          server: this,
          authorization: this.#authorizer.record(identity),
          target: new ServerTarget(this.#native, id, maxPacketSize, this.#late),
          sender: this.#sender(shardOf(id)),
          requestClose: () => this.#native.closeTunnel(id),
          status: () => this.#native.tunnelStatus(id),
        })
        this.#tunnels.add(tunnel)
        this.#handle.announce(() => {
          publish('tunnel', { server: this, tunnel })
          this.emit('tunnel', tunnel)
        })
        break
      }
      case 'tunnelclose': {
        const tunnel = this.#tunnels.get(event.tunnel)
        if (tunnel !== undefined) this.#closeTunnel(tunnel, event.reason)
        this.#tunnels.retire(event.tunnel, shardOf(event.tunnel), event.delivered)
        break
      }
      case 'closed': {
        const error = event.code === undefined ? undefined : fromEvent(event.code, event.message ?? '')
        for (const tunnel of this.#tunnels.open()) this.#closeTunnel(tunnel, 'server-closed')
        this.#handle.released()
        this.#finish(error ?? new SnapTunError('ERR_SNAPTUN_CLOSED', 'the server is closed'))
        this.#handle.announce(() => this.emit('close', error))
      }
    }
  }

  #refused(identity: string, remote: SocketAddress): void {
    publish('unauthorized', { server: this, identity, remote })
    this.emit('unauthorized', identity, remote)
  }

  #closeTunnel(tunnel: ServerTunnel<Session>, reason: TunnelCloseReason): void {
    partsOf(tunnel).target.closed = true
    this.#handle.announce(() => {
      publish('tunnelclose', { server: this, tunnel, reason })
      this.emit('tunnelclose', tunnel, reason)
    })
  }
}
