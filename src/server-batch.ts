/**
 * Batches of a server: as a client's, and each packet has the tunnel that it came through.
 */
import { SnapTunError } from './errors.js'
import { type PacketBatch, SlabBatch, type TakenPackets } from './packet-batch.js'
import type { ServerTunnel } from './server-tunnel.js'
import type { TunnelTable } from './tunnel-table.js'

/** A packet that a server received: a copy, the user's to keep. */
export interface ServerPacket<Session = unknown> {
  /** The tunnel that it came through, with the client's identity and session. */
  readonly tunnel: ServerTunnel<Session>
  /** The packet's bytes. */
  readonly data: Uint8Array
}

/** Packets of a server as they lie in native memory; see {@link PacketBatch}. */
export interface ServerPacketBatch<Session = unknown> extends PacketBatch {
  /** The tunnel that packet `i` came through. Throws as {@link PacketBatch.data} does. */
  tunnel(i: number): ServerTunnel<Session>
}

/** The tunnel that packet `i` of what was taken came through. */
export function tunnelOf<Session>(
  tunnels: TunnelTable<Session>,
  taken: TakenPackets,
  i: number,
): ServerTunnel<Session> {
  const tunnel = tunnels.get(taken.tunnel(i))
  if (tunnel !== undefined) return tunnel
  // Native announces a tunnel before its first packet, and the table keeps it until the last was read.
  throw new SnapTunError(
    'ERR_SNAPTUN_INTERNAL',
    `a packet came through the tunnel ${taken.tunnel(i)}, which is unknown`,
  )
}

/** See the module. */
export class ServerSlabBatch<Session> extends SlabBatch implements ServerPacketBatch<Session> {
  readonly #tunnels: TunnelTable<Session>

  constructor(taken: TakenPackets, tunnels: TunnelTable<Session>) {
    super(taken)
    this.#tunnels = tunnels
  }

  tunnel(i: number): ServerTunnel<Session> {
    return tunnelOf(this.#tunnels, this.taken, this.position(i))
  }
}
