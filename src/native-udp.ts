/**
 * What the native addon offers for datagrams in clear; see `native.ts` for the conventions.
 *
 * Calls that the operating system can refuse return its error as a number below 0, as libuv has them. Addresses cross
 * as records of {@link TARGET_BYTES}, which neither side has to parse; `datagram-record.ts` makes and reads them.
 */
import type { NativeAddress, NativeRing } from './native.js'

/** Options of {@link NativeUdpBinding.bindUdp}; checked and completed by `UdpBatchSocket`. */
export interface NativeUdpOptions {
  bind: NativeAddress
  ipv6Only: boolean
  reusePort: boolean
  reuseAddress: boolean
  receiveBuffer: number
  sendBuffer: number
  receiveQueuePackets: number
  receiveQueueBytes: number
  sendQueuePackets: number
  sendQueueBytes: number
}

/** What happens to a socket, in order. */
export type NativeUdpEvent =
  /**
   * Datagrams were refused after they had been taken, or an earlier one met nobody (then `datagrams` is 0). Failures that
   * follow before the event is taken are added to it.
   */
  | { type: 'failed'; errno: number; syscall: string; target?: NativeAddress; datagrams: number }
  /** The last event: the socket is released. `broken` by a bug of ours. */
  | { type: 'closed'; broken: boolean }

/** Settings that are a number, or 0 and 1. */
export type NativeUdpSetting =
  | 'ttl'
  | 'multicastTtl'
  | 'multicastLoopback'
  | 'broadcast'
  | 'receiveBuffer'
  | 'sendBuffer'

/** A socket. `targets` is one record, or one for each datagram of the whole call. */
export interface NativeUdpSocket {
  readonly id: number
  /** Given once. In front of each datagram that is taken lies its head of 40 bytes, at a multiple of 8. */
  readonly ring: NativeRing
  /** As it is now, or as it was bound when the socket is closed. */
  readonly local: NativeAddress
  takeEvents(): NativeUdpEvent[]
  stats(): Record<string, number>
  /** Starts to close; the event `closed` follows. Harmless when closed already. */
  close(): void
  /** 1 when taken, 0 when full (then `Signal.writable` follows), or the system's error. Throws `ERR_SNAPTUN_…`. */
  send(datagram: Uint8Array, targets: Uint8Array): number
  /** Sends `datagrams[from]` and those after it; returns how many were taken. Throws only when that one itself is bad. */
  sendMany(datagrams: readonly Uint8Array[], from: number, targets: Uint8Array): number
  /** Sends `data` from byte `from` on, cut at `size` bytes; the last may be shorter. Returns how many were taken. */
  sendSegments(data: Uint8Array, size: number, from: number, targets: Uint8Array): number
  /** Sends the batch taken from `ring` (anyone's), from number `from` on, where it lies. Returns how many were taken. */
  sendRing(ring: NativeRing, from: number, target: Uint8Array): number
  /** As {@link sendRing}, each back to where it came from; of another ring than a socket's it throws. */
  sendBack(ring: NativeRing, from: number, ecn: number): number
  connect(target: Uint8Array): number
  disconnect(): number
  set(setting: NativeUdpSetting, value: number): number
  /** By an IPv4 address, or else by the number of an interface, for IPv6. */
  setMulticastInterface(address: string | undefined, index: number): number
  membership(join: boolean, group: string, address: string | undefined, index: number): number
  /** The number of an interface, or the system's error. */
  interfaceIndex(name: string): number
}

/** What the addon has beside tunnels. */
export interface NativeUdpBinding {
  /** Binds a socket, or returns the system's error. */
  bindUdp(options: NativeUdpOptions): NativeUdpSocket | number
  /** The record of an IP literal without a zone; null when the text is none. */
  udpTarget(address: string, port: number, scope: number): Uint8Array | null
  /** The text of the 16 bytes of an IPv6 address; of a mapped one that of the IPv4 address. */
  udpAddressText(bytes: Uint8Array): string | null
}
