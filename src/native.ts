/**
 * What the native addon offers to the TypeScript layer, and the only place that loads it.
 *
 * JavaScript and native meet in batches: a call here moves many packets or none. Nothing in this
 * file is public; the classes beside it are.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { SnapTunError } from './errors.js'
import type { NativeUdpBinding } from './native-udp.js'
import type { ReconnectCause } from './reconnect-options.js'
import type { SendTally } from './send-outcome.js'

/** Bits of a handle's signals, as {@link NativeBinding.takeReady} reports them. */
export const Signal = {
  /** The delivery ring went from empty to non-empty after a {@link NativeRing.take} that found nothing. */
  readable: 1,
  /** There is room again after a send that was not taken whole. */
  writable: 2,
  /** There are events: call `takeEvents`. */
  events: 4,
} as const

/** Shards that a server can have at most: `MAX_SHARDS` in crates/snaptun/src/engine/server.rs. */
export const MAX_SHARDS = 256

/** The shard of a server's tunnel, which is the index of its ring: the low bits of the tunnel's number. */
export function shardOf(tunnel: number): number {
  return tunnel & (MAX_SHARDS - 1)
}

/** An IP address and a UDP port. */
export interface NativeAddress {
  readonly address: string
  readonly port: number
}

/** Options of {@link NativeBinding.openTunnel}; checked and completed by `SnapTunnel`. Durations in milliseconds. */
export interface NativeTunnelOptions {
  privateKey: Uint8Array
  serverPublicKey: Uint8Array
  presharedKey?: Uint8Array
  /** IP literal of the server, and its port. */
  server: NativeAddress
  /** Local address to bind; the unspecified address of the server's family when absent. */
  bind?: NativeAddress
  connectTimeout: number
  /** Seconds between keepalives, 0 for none. */
  keepalive: number
  /** How to reconnect; absent: not at all. `maxElapsed` absent: for ever. */
  reconnect?: { initialDelay: number; maxDelay: number; factor: number; jitter: number; maxElapsed?: number }
  /** Silence after which the server is asked for a sign of life; absent: never. */
  livenessTimeout?: number
  /** Whether the tunnel goes on when the server assigns another address. */
  keepOnAddressChange: boolean
  receiveQueuePackets: number
  receiveQueueBytes: number
  sendQueuePackets: number
  sendQueueBytes: number
  /** Packets that may wait while there is a session; no more than `sendQueuePackets`. */
  highWaterMark: number
  socketBufferBytes: number
}

/** Options of {@link NativeBinding.listen}; checked and completed by `SnapTunServer`. */
export interface NativeServerOptions {
  privateKey: Uint8Array
  bind: NativeAddress
  ipv6Only: boolean
  shards: number
  /** Whether shards share the port; the platform's best when absent. */
  reusePort?: boolean
  maxTunnels: number
  maxTunnelsPerIdentity: number
  /** How many identities may wait for an answer of `authorize` at once, and for how many milliseconds. */
  maxPendingAuthorizations: number
  authorizationTimeout: number
  receiveQueuePackets: number
  receiveQueueBytes: number
  sendQueuePackets: number
  sendQueueBytes: number
  socketBufferBytes: number
}

/** What happens to a tunnel, in order. */
export type NativeTunnelEvent =
  /** A handshake is done. `local` is our address as the server sees it. */
  | { type: 'connected'; local: NativeAddress }
  /** The server is lost, and an attempt to reach it is made; the next one follows after `delay` milliseconds. */
  | { type: 'reconnecting'; attempt: number; delay: number; cause: ReconnectCause }
  /** A later handshake is done. */
  | { type: 'reconnected' }
  /** The server sees us at another address than before. `closed` follows unless the tunnel goes on with it. */
  | { type: 'addresschange'; local: NativeAddress }
  /** The path takes only smaller packets from now on. */
  | { type: 'mtu'; maxPacketSize: number }
  /** The last event: the socket is released. `code` and `message` tell of an error; absent after `close()`. */
  | { type: 'closed'; code?: string; message?: string }

/** What happens to a server, in order. */
export type NativeServerEvent =
  /** An unknown identity proved itself: answer with {@link NativeServer.authorize} or {@link NativeServer.refuse}. */
  | { type: 'authorize'; identity: Uint8Array; remote: NativeAddress }
  /** An identity proved itself and was refused without a question: the refusal of a moment ago still stands. */
  | { type: 'unauthorized'; identity: Uint8Array; remote: NativeAddress }
  /** Comes before the first packet of the tunnel enters a ring; which ring, says {@link shardOf}. */
  | {
      type: 'tunnel'
      tunnel: number
      identity: Uint8Array
      remote: NativeAddress
      maxPacketSize: number
    }
  /**
   * Comes after the last packet of the tunnel entered a ring. `delivered` is how many did in all: with 0 JavaScript may
   * forget the tunnel at once, else when it has read the ring.
   */
  | {
      type: 'tunnelclose'
      tunnel: number
      delivered: number
      reason: 'expired' | 'revoked' | 'replaced' | 'closed' | 'server-closed'
    }
  /** The last event: every socket is released. `code` and `message` tell of an error; absent after `close()`. */
  | { type: 'closed'; code?: string; message?: string }

/**
 * A delivery ring: packets that native opened, waiting for JavaScript.
 *
 * A batch that was taken stays where it is, and readable through {@link slab}, until the next
 * `take` or `release`. Both work after the handle has closed: what was delivered before can still be read.
 */
export interface NativeRing {
  /** The memory that packets lie in. Native memory, kept alive by this ArrayBuffer. Made once: a second read throws. */
  readonly slab: ArrayBuffer
  /**
   * Releases the batch taken before and takes the next one: fills `into` with a triplet
   * (offset, length, tunnel) a packet. Returns the number of packets. When there is none the ring
   * is armed: the next packet sets {@link Signal.readable}. A new ring is not armed: `take` comes first.
   */
  take(into: Uint32Array): number
  /** Releases the batch taken before. */
  release(): void
}

/** What tunnels and servers share. All that sends returns a {@link SendTally}, which is 0 for «full». */
interface NativeSender {
  readonly id: number
  takeEvents(): unknown[]
  stats(): Record<string, number>
  /** Starts to close; the event `closed` follows. Harmless when closed already. */
  close(): void
}

export interface NativeTunnel extends NativeSender {
  /** Given once: a second read throws. */
  readonly ring: NativeRing
  /** The address of the socket: known at once. */
  readonly bound: NativeAddress
  /** The largest packet that it takes, in bytes; the event `mtu` tells of changes. */
  readonly maxPacketSize: number
  takeEvents(): NativeTunnelEvent[]
  /** Whether a packet would be taken now; when not, {@link Signal.writable} follows once it would. */
  hasRoom(): boolean
  /** When full, {@link Signal.writable} follows once there is room. Throws `ERR_SNAPTUN_…`. */
  send(packet: Uint8Array): SendTally
  /** Sends `packets[from]` and those after it. Throws only when `packets[from]` itself is bad. */
  sendMany(packets: readonly Uint8Array[], from: number): SendTally
  /** Sends `data` from byte `from` on, cut at `size` bytes; the last may be shorter. */
  sendSegments(data: Uint8Array, size: number, from: number): SendTally
  /** Sends the batch that was taken from `ring`, from packet `from` on, where it lies. */
  sendRing(ring: NativeRing, from: number): SendTally
}

/** What is known of a tunnel at a moment. */
export interface NativeTunnelStatus {
  packetsReceived: number
  bytesReceived: number
  packetsSent: number
  bytesSent: number
  /** Milliseconds since the last handshake was done; absent while there is no session. */
  sinceHandshake?: number
}

export interface NativeServer extends NativeSender {
  /** One a shard. Made once: a second read gives none. */
  readonly rings: readonly NativeRing[]
  readonly bound: NativeAddress
  takeEvents(): NativeServerEvent[]
  /**
   * Lets an identity pass until `expiresAt` (milliseconds since the epoch; Infinity: until revoked).
   * Answers a waiting `authorize` event, or grants beforehand; for a known identity it replaces the expiry.
   */
  authorize(identity: Uint8Array, expiresAt: number, presharedKey?: Uint8Array): void
  /** Answers an `authorize` event with no; the identity is not asked for again for a moment. */
  refuse(identity: Uint8Array): void
  /** From the return of this call nothing of the identity passes, either way; its tunnels close. */
  revoke(identity: Uint8Array): void
  closeTunnel(tunnel: number): void
  /** What is known of a tunnel; null when it is gone. */
  tunnelStatus(tunnel: number): NativeTunnelStatus | null
  /** As on a tunnel. */
  hasRoom(tunnel: number): boolean
  /** As on a tunnel; throws `ERR_SNAPTUN_UNKNOWN_TUNNEL` when it is closed. */
  send(tunnel: number, packet: Uint8Array): SendTally
  sendMany(tunnel: number, packets: readonly Uint8Array[], from: number): SendTally
  sendSegments(tunnel: number, data: Uint8Array, size: number, from: number): SendTally
  /**
   * Sends each packet of the batch taken from `ring` (one of {@link rings}) to the tunnel it came from. A packet of a
   * tunnel that has closed meanwhile counts as taken, and is dropped and counted.
   */
  sendRing(ring: NativeRing, from: number): SendTally
  /** Sends the batch taken from `ring` (anyone's) to one tunnel. Throws `ERR_SNAPTUN_UNKNOWN_TUNNEL` when it is closed. */
  sendRingTo(tunnel: number, ring: NativeRing, from: number): SendTally
}

/** Options of {@link NativeBinding.NativeServerCore}. Durations in milliseconds. */
export interface NativeServerCoreOptions {
  privateKey: Uint8Array
  maxTunnels: number
  maxTunnelsPerIdentity: number
  maxPendingAuthorizations: number
  authorizationTimeout: number
}

/** A server without I/O. What its calls want sent waits in {@link takeDatagrams}. */
export interface NativeServerCore {
  handleIncoming(datagram: Uint8Array, from: NativeAddress): { tunnel: number; data: Uint8Array } | null
  handleOutgoing(tunnel: number, packet: Uint8Array): void
  updateTimers(): void
  /** Milliseconds until `updateTimers`; null while there is nothing to wait for. */
  nextTimer(): number | null
  takeDatagrams(): { remote: NativeAddress; data: Uint8Array }[]
  /** As of {@link NativeServer}, but `tunnel` has no `maxPacketSize`, and `closed` does not come. */
  takeEvents(): NativeServerEvent[]
  authorize(identity: Uint8Array, expiresAt: number, presharedKey?: Uint8Array): void
  refuse(identity: Uint8Array): void
  revoke(identity: Uint8Array): void
  closeTunnel(tunnel: number): void
  stats(): Record<string, number>
}

export interface NativeBinding extends NativeUdpBinding {
  NativeServerCore: new (options: NativeServerCoreOptions) => NativeServerCore
  /**
   * Registers this environment (main thread or worker). `wake` is called, coalesced, when at least
   * one handle has signals. Does not keep the process alive until {@link setKeepAlive}.
   */
  attach(wake: () => void): void
  /** Whether open handles keep the event loop alive. */
  setKeepAlive(alive: boolean): void
  /** Fills `into` with pairs (handle id, signals), clears them, and returns the number of pairs. */
  takeReady(into: Uint32Array): number
  /** Binds a socket and starts the handshake. Throws `ERR_SNAPTUN_…`. */
  openTunnel(options: NativeTunnelOptions): NativeTunnel
  /** Binds the sockets and starts the shards. Throws `ERR_SNAPTUN_…`. */
  listen(options: NativeServerOptions): NativeServer
}

/** Platforms that there is a package for, by `process.platform` and `process.arch`, as napi-rs names them. */
const TRIPLES: Readonly<Record<string, readonly string[]>> = {
  'linux-x64': ['linux-x64-gnu', 'linux-x64-musl'],
  'linux-arm64': ['linux-arm64-gnu', 'linux-arm64-musl'],
  'darwin-x64': ['darwin-x64'],
  'darwin-arm64': ['darwin-arm64'],
  'win32-x64': ['win32-x64-msvc'],
  'win32-arm64': ['win32-arm64-msvc'],
}

/** Whether this Node runs on musl instead of glibc. */
function isMusl(): boolean {
  // The report says which glibc runs, and nothing where none does. Looking up the host names of the network interfaces,
  // which it also does, can take seconds.
  const { report } = process as { report?: { excludeNetwork?: boolean; getReport(): object } }
  if (report === undefined) return false
  const before = report.excludeNetwork
  report.excludeNetwork = true
  const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } }
  if (before !== undefined) report.excludeNetwork = before
  return header.glibcVersionRuntime === undefined
}

/** The name of this platform's package, less its prefix. Throws `ERR_SNAPTUN_ADDON` where there is none. */
function platformTriple(): string {
  const platform = `${process.platform}-${process.arch}`
  const triples = TRIPLES[platform]
  if (triples === undefined) {
    const known = Object.keys(TRIPLES).join(', ')
    throw new SnapTunError('ERR_SNAPTUN_ADDON', `snaptun has no native part for ${platform}, only for ${known}`)
  }
  return (triples.length > 1 && isMusl() ? triples[1] : triples[0]) as string
}

function load(): NativeBinding {
  const triple = platformTriple()
  const built = join(__dirname, '..', `snaptun.${triple}.node`)
  const name = `snaptun-${triple}`
  const file = existsSync(built) ? built : name
  try {
    return require(file) as NativeBinding
  } catch (error) {
    if (file === name && (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') {
      const { version } = require('../package.json') as { version: string }
      throw new SnapTunError(
        'ERR_SNAPTUN_ADDON',
        `the package ${name}, which holds snaptun's native part for this platform, is not installed. ` +
          `Type: npm install ${name}@${version} (in a clone of the repository: npm run build)`,
        error,
      )
    }
    throw new SnapTunError('ERR_SNAPTUN_ADDON', `${file} can't be loaded: ${(error as Error).message}`, error)
  }
}

let binding: NativeBinding | undefined

/** The native addon, loaded at the first call. Throws `ERR_SNAPTUN_ADDON`, which says what to type. */
export function loadNative(): NativeBinding {
  binding ??= load()
  return binding
}
