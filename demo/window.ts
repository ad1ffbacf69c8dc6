/**
 * How many packets may be in flight, so that nothing need be lost: UDP drops what the receiver's buffer has no room for,
 * and all clients share the server's.
 */
import { readFileSync } from 'node:fs'
import type { QueueOptions } from 'snaptun'

/** What the kernel is asked for. */
export const SOCKET_BUFFER = 4 << 20

/** What Linux grants unless its administrator says otherwise; others grant more. */
const GRANTED_BY_DEFAULT = 212_992

/**
 * What the kernel counts for a packet beside its bytes. It doubles what it grants, for just that: a datagram that travels
 * alone may count for twice its size and some hundred bytes.
 */
const OVERHEAD = 512

/** More in flight only makes every packet wait longer. */
const LARGEST = 256

function granted(): number {
  try {
    return Math.min(Number.parseInt(readFileSync('/proc/sys/net/core/rmem_max', 'latin1'), 10), SOCKET_BUFFER)
  } catch {
    return GRANTED_BY_DEFAULT
  }
}

/** Packets of `payload` bytes that each of `clients` may have in flight. */
export function windowFor(payload: number, clients: number): number {
  const fitting = Math.floor(granted() / (payload + OVERHEAD) / clients)
  return Math.min(Math.max(fitting, 1), LARGEST)
}

/** A receive queue for `packets` in flight, and as many that were read but not yet released. */
export function queueFor(packets: number, payload: number): QueueOptions {
  return { packets: Math.max(packets * 2, 1024), bytes: Math.max(packets * 2 * payload, 2 << 20) }
}
