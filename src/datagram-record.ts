/**
 * Addresses as they cross between JavaScript and native: `crates/snaptun/src/engine/udp/record.rs` has the layout.
 */

import type { SocketAddress } from './address.js'
import { SnapTunError } from './errors.js'
import { loadNative } from './native.js'

/** Bytes of an address with its port. */
export const TARGET_BYTES = 24
/** The same in units of four bytes. */
export const TARGET_WORDS = TARGET_BYTES / 4
/** Bytes in front of a received datagram: who sent it, and the address that it was sent to. */
export const HEAD_BYTES = 40

/** Where the parts are, in units of four bytes. */
const SCOPE = 4
const PORT = 5
const LOCAL = 6

/** Where the ECN bits are, in bytes. */
const ECN_BYTE = 22

/** Addresses whose record is known. When there are more, all are forgotten: looking one up again takes a microsecond. */
const KNOWN_ADDRESSES = 4096

/** How far the parts of the word with the port have to be moved: the port is its first two bytes, then come the ECN bits. */
const [PORT_SHIFT, ECN_SHIFT] = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? [0, 16] : [16, 8]
/** The word before the last of a mapped IPv4 address: `00 00 ff ff`. */
const MAPPED = new Uint32Array(new Uint8Array([0, 0, 0xff, 0xff]).buffer)[0] as number

/** Where to send a datagram. */
export interface DatagramTarget {
  /** IP literal: names are not looked up for each datagram. A link-local one can have a zone: `'fe80::1%eth0'`. */
  readonly address: string
  /** UDP port, from 1 on. */
  readonly port: number
}

function invalid(message: string): SnapTunError {
  return new SnapTunError('ERR_SNAPTUN_INVALID_ADDRESS', message)
}

/** Finds the number of an interface by its name. */
export type FindInterface = (name: string) => number

/** The number of the interface that a zone names. */
export function zoneIndex(zone: string, find: FindInterface): number {
  return /^\d{1,9}$/.test(zone) ? Number(zone) : find(zone)
}

/** The families that a socket has. */
export interface Families {
  readonly ipv4: boolean
  readonly ipv6: boolean
}

/** Makes records of targets, and remembers the addresses. */
export class TargetWriter {
  readonly #known = new Map<string, Uint32Array>()
  readonly #families: Families
  readonly #find: FindInterface

  constructor(families: Families, find: FindInterface) {
    this.#families = families
    this.#find = find
  }

  /** Writes a target to `into`, from word `at` on. Throws `ERR_SNAPTUN_INVALID_ADDRESS`. */
  write(target: DatagramTarget, ecn: number, into: Uint32Array, at: number): void {
    if (typeof target !== 'object' || target === null) throw invalid('a target must be { address, port }')
    const { address, port } = target
    if (typeof port !== 'number' || (port | 0) !== port || port < 1 || port > 65_535) {
      throw invalid(`a target has the port ${String(port)}, where a whole number from 1 to 65535 belongs`)
    }
    const known = this.#known.get(address) ?? this.#learn(address)
    for (let i = 0; i <= SCOPE; i++) into[at + i] = known[i] as number
    into[at + PORT] = (port << PORT_SHIFT) | (ecn << ECN_SHIFT)
  }

  #learn(address: unknown): Uint32Array {
    if (typeof address !== 'string') throw invalid(`a target has an address of type ${typeof address}, not a string`)
    const percent = address.indexOf('%')
    const scope = percent === -1 ? 0 : zoneIndex(address.slice(percent + 1), this.#find)
    const record = loadNative().udpTarget(percent === -1 ? address : address.slice(0, percent), 0, scope)
    if (record === null) throw invalid(`a target has the address '${address}', which is not an IP address`)
    const words = new Uint32Array(record.slice().buffer)
    const family = isMapped(words, 0) ? 'ipv4' : 'ipv6'
    if (!this.#families[family])
      throw invalid(`a target has the address '${address}', and the socket is of another family`)
    if (this.#known.size >= KNOWN_ADDRESSES) this.#known.clear()
    this.#known.set(address, words)
    return words
  }
}

/** Whether an IPv6 address stands for one of IPv4. */
function isMapped(words: Uint32Array, at: number): boolean {
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === MAPPED
}

function portOf(word: number): number {
  return (word >>> PORT_SHIFT) & 0xffff
}

/** Reads what lies in front of datagrams. Remembers the last sender: mostly it is that of the next one too. */
export class HeadReader {
  readonly #words: Uint32Array
  readonly #bytes: Uint8Array
  #last: SocketAddress | undefined
  readonly #lastWords = new Uint32Array(LOCAL)
  #lastLocal: string | undefined
  readonly #lastLocalWords = new Uint32Array(4)

  constructor(slab: ArrayBuffer) {
    this.#words = new Uint32Array(slab)
    this.#bytes = new Uint8Array(slab)
  }

  /** Who sent the datagram whose head is at `offset` bytes. */
  remote(offset: number): SocketAddress {
    const at = offset >> 2
    const words = this.#words
    const last = this.#lastWords
    let same = this.#last !== undefined && portOf(words[at + PORT] as number) === portOf(last[PORT] as number)
    for (let i = 0; same && i <= SCOPE; i++) same = words[at + i] === last[i]
    if (!same) {
      last.set(words.subarray(at, at + LOCAL))
      this.#last = this.#readRemote(offset)
    }
    return this.#last as SocketAddress
  }

  /** The address that it was sent to; undefined where the system does not tell. */
  local(offset: number): string | undefined {
    const at = (offset >> 2) + LOCAL
    const words = this.#words
    const last = this.#lastLocalWords
    let same = true
    for (let i = 0; same && i < 4; i++) same = words[at + i] === last[i]
    if (!same) {
      last.set(words.subarray(at, at + 4))
      const known = last.some((word) => word !== 0)
      this.#lastLocal = known ? this.#address(offset + LOCAL * 4) : undefined
    }
    return this.#lastLocal
  }

  /** The two ECN bits. */
  ecn(offset: number): number {
    return this.#bytes[offset + ECN_BYTE] as number
  }

  #readRemote(offset: number): SocketAddress {
    const at = offset >> 2
    const port = portOf(this.#words[at + PORT] as number)
    const address = this.#address(offset)
    const scope = this.#words[at + SCOPE] as number
    if (!address.includes(':')) return { address, port, family: 'IPv4' }
    return { address: scope === 0 ? address : `${address}%${scope}`, port, family: 'IPv6' }
  }

  #address(offset: number): string {
    const words = this.#words
    const at = offset >> 2
    const bytes = this.#bytes
    if (isMapped(words, at)) {
      return `${bytes[offset + 12]}.${bytes[offset + 13]}.${bytes[offset + 14]}.${bytes[offset + 15]}`
    }
    return loadNative().udpAddressText(bytes.slice(offset, offset + 16)) as string
  }
}
