/**
 * One client's tunnel, as the server sees it.
 */
import type { SocketAddress } from './address.js'
import type { AuthorizationRecord } from './authorizer.js'
import { SnapTunError } from './errors.js'
import type { NativeTunnelStatus } from './native.js'
import type { WaitOptions } from './options.js'
import type { PacketSender } from './packet-sender.js'
import type { SendBatchInput } from './send-job.js'
import type { BatchOutcome, SendOutcome } from './send-outcome.js'
import type { ServerTarget } from './send-target.js'
import type { ServerTunnelStats } from './stats.js'

/** What a server knows of a tunnel when it is made. */
export interface ServerTunnelParts<Session> {
  readonly id: number
  readonly identity: string
  readonly remote: SocketAddress
  /** The server, to tell its tunnels from others'. */
  readonly server: object
  readonly authorization: AuthorizationRecord<Session>
  readonly target: ServerTarget
  readonly sender: PacketSender
  readonly requestClose: () => void
  /** Null when native has forgotten the tunnel. */
  readonly status: () => NativeTunnelStatus | null
}

/**
 * One client's tunnel at a `SnapTunServer`. Made by the server, which announces it with the event `tunnel` and its end
 * with `tunnelclose`.
 */
export class ServerTunnel<Session = unknown> {
  /** Number of the tunnel, unique on its server; not used again soon. */
  readonly id: number
  /** The client's public key, base64: who it is, proved by the handshake. */
  readonly identity: string
  /** Where the client sends from. */
  readonly remote: SocketAddress
  /** When the server announced the tunnel, in milliseconds since the epoch. */
  readonly establishedAt: number
  readonly #parts: ServerTunnelParts<Session>
  #stats: ServerTunnelStats = { packetsReceived: 0, bytesReceived: 0, packetsSent: 0, bytesSent: 0 }

  private constructor(parts: ServerTunnelParts<Session>) {
    this.id = parts.id
    this.identity = parts.identity
    this.remote = parts.remote
    this.establishedAt = Date.now()
    this.#parts = parts
  }

  /** @internal */
  static create<Session>(parts: ServerTunnelParts<Session>): ServerTunnel<Session> {
    return new ServerTunnel(parts)
  }

  /** @internal For the server only. */
  static parts<Session>(tunnel: ServerTunnel<Session>): ServerTunnelParts<Session> {
    return tunnel.#parts
  }

  /**
   * What the application's authorization gave for this identity. A later `server.authorize` of the same identity replaces
   * it, here too.
   */
  get session(): Session {
    return this.#parts.authorization.session as Session
  }

  /** Bytes that a packet may have at most. */
  get maxPacketSize(): number {
    return this.#parts.target.maxPacketSize
  }

  /** Whether it has closed. Packets sent to it from then on are dropped and counted (`lateSends` in `server.stats()`). */
  get closed(): boolean {
    return this.#parts.target.closed
  }

  /** When the last handshake with the client was done, in milliseconds since the epoch; null while there is no session. */
  get lastHandshakeAt(): number | null {
    const since = this.#parts.status()?.sinceHandshake
    return since === undefined ? null : Date.now() - since
  }

  /** What passed through the tunnel so far; of one that has closed, what had passed when this was called last. */
  stats(): ServerTunnelStats {
    const status = this.#parts.status()
    if (status !== null) {
      const { packetsReceived, bytesReceived, packetsSent, bytesSent } = status
      this.#stats = { packetsReceived, bytesReceived, packetsSent, bytesSent }
    }
    return this.#stats
  }

  /**
   * Sends a packet to the client. Settles with what became of it, at once while there is room; the packet must not change
   * before. Rejects with `ERR_SNAPTUN_INVALID_PACKET`, `ERR_SNAPTUN_PACKET_EMPTY`,
   * `ERR_SNAPTUN_PACKET_TOO_LARGE`, `ERR_SNAPTUN_TOO_MANY_SENDS`, with `ERR_SNAPTUN_CLOSED` when the server is closed, or
   * with the reason of `options.signal`, which takes the packet back. A tunnel that has closed is no error, see {@link closed}.
   */
  send(packet: Uint8Array, options?: WaitOptions): Promise<SendOutcome> {
    return this.#parts.sender.send(this.#parts.target, packet, options?.signal)
  }

  /**
   * Sends a packet if there is room at once, and says whether it was taken: false also when the tunnel has closed.
   * Throws as {@link send} rejects.
   */
  trySend(packet: Uint8Array): boolean {
    const { sender, target } = this.#parts
    if (!target.closed) return sender.trySend(target, packet)
    target.drop(1)
    return false
  }

  /** As `writable` of `SnapTunnel`: the tunnels of a shard share one queue. */
  writable(options?: WaitOptions): Promise<void> {
    return this.#parts.sender.untilWritable(this.#parts.target, options?.signal)
  }

  /**
   * Sends many packets to the client, in their order: an array, `{ data, size }`, or a batch that was received, from
   * whomever. Settles when native has taken all; until then they must not change. Rejects as {@link send} does, and
   * sends nothing then; but what was taken before `options.signal` aborts, or before the server closes, is sent.
   */
  sendBatch(packets: SendBatchInput, options?: WaitOptions): Promise<BatchOutcome> {
    return this.#parts.sender.sendBatch(this.#parts.target, packets, options?.signal)
  }

  /** Starts to close the tunnel; the event `tunnelclose` follows. Its client may connect again, while it is authorized. */
  close(): void {
    if (!this.closed) this.#parts.requestClose()
  }
}

/** The parts of a tunnel that the user handed in. Throws `ERR_SNAPTUN_INVALID_OPTION` when it is none. */
export function partsOf<Session>(tunnel: ServerTunnel<Session>): ServerTunnelParts<Session> {
  if (!(tunnel instanceof ServerTunnel)) {
    throw new SnapTunError('ERR_SNAPTUN_INVALID_OPTION', "argument 'tunnel' must be a tunnel of this server")
  }
  return ServerTunnel.parts(tunnel)
}
