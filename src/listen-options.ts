/**
 * Options of `SnapTunServer.listen`: checked all together before anything happens.
 */
import { type HostPort, parseHost, parsePort } from './address.js'
import type { Authorize } from './authorizer.js'
import { checkLimits } from './connect-options.js'
import { type KeyInput, parseKey } from './keys.js'
import { MAX_SHARDS, type NativeServerCoreOptions, type NativeServerOptions } from './native.js'
import {
  checkBoolean,
  checkDuration,
  checkFunction,
  checkInteger,
  checkObject,
  checkSignal,
  type QueueOptions,
} from './options.js'

/** Options of `SnapTunServer.listen`. Durations are in milliseconds, sizes in bytes. */
export interface ListenOptions<Session = unknown> {
  /** The server's private key; clients know its public key. */
  privateKey: KeyInput
  /** Local address, or a host name that has one. Default: `'0.0.0.0'`, all of IPv4; `'::'` is all of both. */
  address?: string
  /** UDP port; 0 lets the system choose, see `server.address()`. Default: 0. */
  port?: number
  /** Threads that share the work, 1 to 256, each with a socket of its own on that port. Default: 1. */
  shards?: number
  /**
   * Whether the shards share the port by `SO_REUSEPORT`, and the kernel spreads what arrives over them. Otherwise one socket
   * is read, and datagrams are handed to shards by a hash of their source. Default: true on Linux, false elsewhere.
   */
  reusePort?: boolean
  /** Take no IPv4 on an IPv6 address. Default: false. */
  ipv6Only?: boolean
  /**
   * Decides about an identity that asks for a tunnel. Asked once, however many of its handshakes wait; the answer holds
   * until it expires or is revoked. 1 to 30 seconds before it expires an identity with open tunnels is asked for again, so
   * that a renewed answer leaves no gap. Default: only identities pass that `server.authorize` was called for.
   */
  authorize?: Authorize<Session>
  /** Tunnels at the same time; beyond it handshakes are refused and counted. Default: 16384. */
  maxTunnels?: number
  /** The same for one identity. Default: 64. */
  maxTunnelsPerIdentity?: number
  /** Identities that wait for `authorize` at the same time; further ones are refused and counted. Default: 1024. */
  maxPendingAuthorizations?: number
  /** How long `authorize` may take, at least 1; beyond it the identity is refused. Default: 10000. */
  authorizationTimeout?: number
  /** Bounds of what waits to be read, a shard; beyond them packets are dropped and counted. Default: 4096 packets, 2 MiB. */
  receiveQueue?: QueueOptions
  /** Bounds of what waits to be sent, a shard; beyond them `send` waits. Default: 1024 packets, 2 MiB. */
  sendQueue?: QueueOptions
  /**
   * What the operating system is asked to buffer each way, 4096 to 2^30; it may give less, see `stats()`. Default: 4 MiB,
   * of which Linux gives what `net.core.rmem_max` and `wmem_max` allow: 208 KiB unless they were raised.
   */
  socketBufferSize?: number
  /** Gives up listening, before the promise settles: it rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** What `listen` works with. */
export interface CheckedListenOptions<Session> {
  readonly bind: HostPort
  readonly native: Omit<NativeServerOptions, 'bind'>
  readonly authorize: Authorize<Session> | undefined
  readonly signal: AbortSignal | undefined
}

/** Options of `SnapTunServerCore`: those of {@link ListenOptions} that have nothing to do with sockets. */
export type ServerCoreOptions = Pick<
  ListenOptions,
  'privateKey' | 'maxTunnels' | 'maxTunnelsPerIdentity' | 'maxPendingAuthorizations' | 'authorizationTimeout'
>

/** Checks the options that a server has with or without sockets. The key is a copy, to be cleared after use. */
export function checkServerCoreOptions(given: ServerCoreOptions): NativeServerCoreOptions {
  const options = checkObject('options', given)
  return {
    maxTunnels: checkInteger('maxTunnels', options.maxTunnels ?? 16_384, 1, 2 ** 24),
    maxTunnelsPerIdentity: checkInteger('maxTunnelsPerIdentity', options.maxTunnelsPerIdentity ?? 64, 1, 2 ** 24),
    maxPendingAuthorizations: checkInteger(
      'maxPendingAuthorizations',
      options.maxPendingAuthorizations ?? 1024,
      1,
      2 ** 20,
    ),
    authorizationTimeout: checkDuration('authorizationTimeout', options.authorizationTimeout ?? 10_000, 1),
    privateKey: parseKey('privateKey', options.privateKey, 'private'),
  }
}

/** Checks everything; throws a coded error that names the option. The key is a copy, to be cleared after use. */
export function checkListenOptions<Session>(given: ListenOptions<Session>): CheckedListenOptions<Session> {
  const options = checkObject('options', given)
  return {
    bind: {
      host: parseHost('address', options.address ?? '0.0.0.0'),
      port: parsePort('port', options.port ?? 0, 0),
    },
    native: {
      ...checkLimits(options),
      ipv6Only: checkBoolean('ipv6Only', options.ipv6Only ?? false),
      shards: checkInteger('shards', options.shards ?? 1, 1, MAX_SHARDS),
      ...(options.reusePort === undefined ? {} : { reusePort: checkBoolean('reusePort', options.reusePort) }),
      ...checkServerCoreOptions(options),
    },
    authorize: checkFunction('authorize', options.authorize),
    signal: checkSignal('signal', options.signal),
  }
}
