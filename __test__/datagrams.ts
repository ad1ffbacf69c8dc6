/**
 * What can be told of a datagram without a key, said once more and independently of the package; and datagrams that are
 * none.
 */
import { createHash } from 'node:crypto'
import type { Random } from './relay-policies.js'

/** Lengths of messages by their type: WireGuard's, except that the response (2) carries an address, sealed. */
const LENGTHS: Readonly<Record<number, number>> = { 1: 148, 2: 112, 3: 64 }
/** The type of data, which has any length from that of its header and tag on. */
const DATA = 4
/** Bytes before the sealed packet. */
export const DATA_HEADER = 16
/** Bytes of the header and the tag. */
export const DATA_OVERHEAD = 32
/** The longest noise: what Ethernet carries over IPv4. */
const LONGEST = 1472

/** Whether type and length are those of a message, and the reserved bytes zero. */
export function isMessage(datagram: Buffer): boolean {
  if (datagram.length < 4 || datagram.readUIntLE(1, 3) !== 0) return false
  const type = datagram[0] as number
  return type === DATA ? datagram.length >= DATA_OVERHEAD : datagram.length === LENGTHS[type]
}

/** Whether a message carries data, or is a keepalive. */
export function isData(message: Buffer): boolean {
  return message[0] === DATA
}

/** The counter of a data message: the number of its packet in its session. */
export function counterOf(data: Buffer): bigint {
  return data.readBigUInt64LE(8)
}

/** Random bytes of random length. Most have the head of a message, and half of those its length too. */
export function noise(random: Random): Buffer {
  const type = Math.floor(random() * 6)
  const right = LENGTHS[type]
  const length = right !== undefined && random() < 0.5 ? right : Math.floor(random() * (LONGEST + 1))
  const bytes = createHash('shake256', { outputLength: length }).update(String(random())).digest()
  if (type !== 0) Buffer.from([type, 0, 0, 0]).copy(bytes)
  return bytes
}
