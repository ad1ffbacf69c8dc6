/**
 * Options of `UdpBatchSocket.bind`: checked all together before anything happens.
 */
import { type HostPort, parseHost, parsePort } from './address.js'
import { DEFAULT_RECEIVE_QUEUE, DEFAULT_SEND_QUEUE } from './connect-options.js'
import { SnapTunError } from './errors.js'
import type { NativeUdpOptions, NativeUdpSetting } from './native-udp.js'
import { checkBoolean, checkInteger, checkObject, checkQueue, checkSignal, type QueueOptions } from './options.js'

/** Options of `UdpBatchSocket.bind`. Sizes are in bytes. */
export interface UdpBindOptions {
  /**
   * Local IP address to receive at, or a host name, which is looked up once. Default: all addresses of `family`,
   * `'0.0.0.0'` or `'::'`.
   */
  address?: string
  /** Local UDP port; 0 lets the system choose. Default: 0. */
  port?: number
  /** Which addresses a host name is to have, and what the default of `address` is. Default: IPv4 for the latter. */
  family?: 'IPv4' | 'IPv6'
  /** Whether a socket on an IPv6 address leaves IPv4 alone. Default: false: on `'::'` it takes both. */
  ipv6Only?: boolean
  /**
   * Whether other sockets of this user that set it too may bind the same port: the system then spreads datagrams over
   * them by their sender. Not on Windows. Default: false.
   */
  reusePort?: boolean
  /**
   * Whether other sockets that set it too may bind the same address: all of them get what is sent to a group. What is
   * sent to one address goes to whichever the system chooses. Default: false.
   */
  reuseAddr?: boolean
  /** What the operating system is asked to buffer of what arrives, 4096 to 2^30; it may give less. Default: 4 MiB. */
  receiveBufferSize?: number
  /** The same for what is sent. Default: 4 MiB. */
  sendBufferSize?: number
  /**
   * Bounds of what waits to be read; beyond them datagrams are dropped and counted. Each takes up to 48 bytes beside its
   * content. Default: 4096 datagrams, 2 MiB; at least 128 KiB are used.
   */
  receiveQueue?: QueueOptions
  /** Bounds of what waits to be sent; beyond them `send` waits. Default: 1024 datagrams, 2 MiB. */
  sendQueue?: QueueOptions
  /** Routers that a datagram may pass, 1 to 255. Default: the system's, mostly 64. */
  ttl?: number
  /** The same for what is sent to groups, 0 to 255. Default: the system's, mostly 1: the network of this machine. */
  multicastTtl?: number
  /** Whether what is sent to a group reaches members on this machine too. Default: the system's, mostly true. */
  multicastLoopback?: boolean
  /** Whether datagrams to broadcast addresses may be sent. Default: false. */
  broadcast?: boolean
  /** Gives up binding, before the promise settles: it rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** What `bind` works with. */
export interface CheckedUdpOptions {
  readonly bind: HostPort
  readonly family: 'IPv4' | 'IPv6' | undefined
  readonly native: Omit<NativeUdpOptions, 'bind'>
  readonly settings: readonly (readonly [NativeUdpSetting, number])[]
  readonly signal: AbortSignal | undefined
}

const MIN_BUFFER = 4096
const MAX_BUFFER = 2 ** 30
const DEFAULT_BUFFER = 4 << 20

/** A size of a buffer of the operating system. */
export function checkBuffer(name: string, value: unknown): number {
  return checkInteger(name, value, MIN_BUFFER, MAX_BUFFER)
}

/** A number of hops for datagrams to one address. */
export function checkTtl(name: string, value: unknown): number {
  return checkInteger(name, value, 1, 255)
}

/** A number of hops for datagrams to groups. */
export function checkMulticastTtl(name: string, value: unknown): number {
  return checkInteger(name, value, 0, 255)
}

/** ECN bits. */
export function checkEcn(value: unknown): number {
  return value === undefined ? 0 : checkInteger('ecn', value, 0, 3)
}

function checkFamily(value: unknown): 'IPv4' | 'IPv6' | undefined {
  if (value === undefined || value === 'IPv4' || value === 'IPv6') return value
  throw new SnapTunError('ERR_SNAPTUN_INVALID_OPTION', "option 'family' must be 'IPv4' or 'IPv6'")
}

/** Checks everything; throws a coded error that names the option. */
export function checkUdpOptions(given: UdpBindOptions | undefined): CheckedUdpOptions {
  const options = given === undefined ? {} : checkObject('options', given)
  const family = checkFamily(options.family)
  const receive = checkQueue('receiveQueue', options.receiveQueue, DEFAULT_RECEIVE_QUEUE)
  const send = checkQueue('sendQueue', options.sendQueue, DEFAULT_SEND_QUEUE)
  const settings: [NativeUdpSetting, number][] = []
  if (options.ttl !== undefined) settings.push(['ttl', checkTtl('ttl', options.ttl)])
  if (options.multicastTtl !== undefined) {
    settings.push(['multicastTtl', checkMulticastTtl('multicastTtl', options.multicastTtl)])
  }
  for (const name of ['multicastLoopback', 'broadcast'] as const) {
    const value = options[name]
    if (value !== undefined) settings.push([name, Number(checkBoolean(name, value))])
  }
  return {
    bind: {
      host: parseHost('address', options.address ?? (family === 'IPv6' ? '::' : '0.0.0.0')),
      port: parsePort('port', options.port ?? 0, 0),
    },
    family,
    native: {
      ipv6Only: checkBoolean('ipv6Only', options.ipv6Only ?? false),
      reusePort: checkBoolean('reusePort', options.reusePort ?? false),
      reuseAddress: checkBoolean('reuseAddr', options.reuseAddr ?? false),
      receiveBuffer: checkBuffer('receiveBufferSize', options.receiveBufferSize ?? DEFAULT_BUFFER),
      sendBuffer: checkBuffer('sendBufferSize', options.sendBufferSize ?? DEFAULT_BUFFER),
      receiveQueuePackets: receive.packets,
      receiveQueueBytes: receive.bytes,
      sendQueuePackets: send.packets,
      sendQueueBytes: send.bytes,
    },
    settings,
    signal: checkSignal('signal', options.signal),
  }
}
