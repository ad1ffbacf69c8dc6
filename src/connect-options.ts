/**
 * Options of `SnapTunnel.connect`: checked all together before anything happens.
 */
import { type AddressInput, type HostPort, parseAddress, type SocketAddress } from './address.js'
import { SnapTunError } from './errors.js'
import { type KeyInput, parseKey } from './keys.js'
import type { NativeTunnelOptions } from './native.js'
import {
  checkChoice,
  checkDuration,
  checkInteger,
  checkObject,
  checkQueue,
  checkSignal,
  type QueueOptions,
} from './options.js'
import { checkReconnect, type ReconnectOptions } from './reconnect-options.js'

/** Options of `SnapTunnel.connect`. Durations are in milliseconds, sizes in bytes. */
export interface ConnectOptions {
  /** This side's private key: who it is. */
  privateKey: KeyInput
  /** Where the server listens. A host name is looked up once, when connecting. */
  server: AddressInput
  /** The server's public key: only who owns its private key can answer. */
  serverPublicKey: KeyInput
  /** 32 bytes that both sides have to know beside the keys. Default: none. */
  presharedKey?: KeyInput
  /** Local address to send from, an IP literal; port 0 lets the system choose. Default: any. */
  bind?: AddressInput
  /** How long to try before the promise rejects with `ERR_SNAPTUN_CONNECT_TIMEOUT`; at least 1. Default: 15000. */
  connectTimeout?: number
  /**
   * Send something at least this often, so that NATs keep the way back open; 0 never. In whole seconds on the wire:
   * rounded up, at most 65535000. Default: 10000.
   */
  keepalive?: number
  /** How to reach a server again that was lost; `false` closes the tunnel instead. Default: for as long as it takes. */
  reconnect?: ReconnectOptions | false
  /**
   * How long the server may be silent, at least 250, before it is asked for a sign of life by a handshake; a server that
   * does not answer within as much again, 5000 at most, is lost. Without it a client that only receives notices a dead
   * server after minutes, one that sends after 15 seconds (WireGuard's timers). 0: never. Default: 0.
   */
  livenessTimeout?: number
  /**
   * What to do when a later handshake assigns another address than before, as after NAT rebinding: close with
   * `ERR_SNAPTUN_ADDRESS_CHANGED`, or go on, with the event `addresschange` either way. Default: `'close'`.
   */
  onAddressChange?: 'close' | 'continue'
  /** Bounds of what waits to be read; beyond them packets are dropped and counted. Default: 4096 packets, 2 MiB. */
  receiveQueue?: QueueOptions
  /**
   * Bounds of what waits to be sent. Beyond them `send` waits while there is a session, and while the first one is being
   * made; while the server is lost, packets are dropped and counted. Default: 1024 packets, 2 MiB.
   */
  sendQueue?: QueueOptions
  /**
   * Packets that may wait while there is a session, from 1 to `sendQueue.packets`; then `send` waits, and `trySend` returns
   * false. A small number keeps what is sent fresh, a larger one the sender busy. Default: `sendQueue.packets`.
   */
  highWaterMark?: number
  /** What the operating system is asked to buffer each way, 4096 to 2^30; it may give less. Default: 4 MiB. */
  socketBufferSize?: number
  /** Gives up connecting: the promise rejects with the signal's reason. Has no effect on a tunnel once it is connected. */
  signal?: AbortSignal | undefined
}

/** Bounds of queues that are not given; those of `Limits` in crates/snaptun/src/engine/mod.rs. */
export const DEFAULT_RECEIVE_QUEUE = { packets: 4096, bytes: 2 << 20 }
/** See {@link DEFAULT_RECEIVE_QUEUE}. */
export const DEFAULT_SEND_QUEUE = { packets: 1024, bytes: 2 << 20 }
/** What the system is asked to buffer: some milliseconds at full rate. */
const DEFAULT_SOCKET_BUFFER = 4 << 20

/** Queues and buffers, which tunnels and servers have alike, as native takes them. */
export function checkLimits(options: {
  receiveQueue?: QueueOptions
  sendQueue?: QueueOptions
  socketBufferSize?: number
}): Pick<
  NativeTunnelOptions,
  'receiveQueuePackets' | 'receiveQueueBytes' | 'sendQueuePackets' | 'sendQueueBytes' | 'socketBufferBytes'
> {
  const receive = checkQueue('receiveQueue', options.receiveQueue, DEFAULT_RECEIVE_QUEUE)
  const send = checkQueue('sendQueue', options.sendQueue, DEFAULT_SEND_QUEUE)
  const socketBuffer = options.socketBufferSize ?? DEFAULT_SOCKET_BUFFER
  return {
    receiveQueuePackets: receive.packets,
    receiveQueueBytes: receive.bytes,
    sendQueuePackets: send.packets,
    sendQueueBytes: send.bytes,
    socketBufferBytes: checkInteger('socketBufferSize', socketBuffer, 4096, 2 ** 30),
  }
}

/** What `connect` works with. */
export interface CheckedConnectOptions {
  readonly server: HostPort
  /** The family that the server's address must have: that of `bind`. */
  readonly family: SocketAddress['family'] | undefined
  readonly native: Omit<NativeTunnelOptions, 'server'>
  readonly signal: AbortSignal | undefined
}

function checkBind(value: AddressInput): HostPort {
  const bind = parseAddress('bind', value, 0)
  if (!/^[\d.]+$|:/.test(bind.host)) {
    throw new SnapTunError(
      'ERR_SNAPTUN_INVALID_ADDRESS',
      `option 'bind' has the host '${bind.host}', not an IP address`,
    )
  }
  return bind
}

/** 0, or no less than how often timers are looked at. */
function checkLiveness(value: number): number {
  return value === 0 ? 0 : checkDuration('livenessTimeout', value, 250)
}

/** Clears the keys that {@link checkConnectOptions} made. */
export function clearKeys({ privateKey, presharedKey }: CheckedConnectOptions['native']): void {
  privateKey.fill(0)
  presharedKey?.fill(0)
}

/** Checks everything; throws a coded error that names the option. Keys are copies, to be cleared after use. */
export function checkConnectOptions(given: ConnectOptions): CheckedConnectOptions {
  const options = checkObject('options', given)
  const server = parseAddress('server', options.server, 1)
  const bind = options.bind === undefined ? undefined : checkBind(options.bind)
  const family = bind === undefined ? undefined : bind.host.includes(':') ? 'IPv6' : 'IPv4'
  const serverFamily = server.host.includes(':') ? 'IPv6' : /^[\d.]+$/.test(server.host) ? 'IPv4' : undefined
  if (family !== undefined && serverFamily !== undefined && family !== serverFamily) {
    throw new SnapTunError('ERR_SNAPTUN_INVALID_ADDRESS', `option 'bind' is ${family} and 'server' is ${serverFamily}`)
  }
  const keepalive = checkDuration('keepalive', options.keepalive ?? 10_000, 0)
  const livenessTimeout = checkLiveness(options.livenessTimeout ?? 0)
  const limits = checkLimits(options)
  return {
    server,
    family,
    native: {
      ...limits,
      highWaterMark: checkInteger(
        'highWaterMark',
        options.highWaterMark ?? limits.sendQueuePackets,
        1,
        limits.sendQueuePackets,
      ),
      ...checkReconnect(options.reconnect),
      ...(livenessTimeout === 0 ? {} : { livenessTimeout }),
      keepOnAddressChange:
        checkChoice('onAddressChange', options.onAddressChange ?? 'close', ['close', 'continue']) === 'continue',
      ...(bind === undefined ? {} : { bind: { address: bind.host, port: bind.port } }),
      connectTimeout: checkDuration('connectTimeout', options.connectTimeout ?? 15_000, 1),
      keepalive: checkInteger('keepalive', Math.ceil(keepalive / 1000), 0, 65_535),
      privateKey: parseKey('privateKey', options.privateKey, 'private'),
      serverPublicKey: parseKey('serverPublicKey', options.serverPublicKey, 'public'),
      ...(options.presharedKey === undefined
        ? {}
        : { presharedKey: parseKey('presharedKey', options.presharedKey, 'secret') }),
    },
    signal: checkSignal('signal', options.signal),
  }
}
