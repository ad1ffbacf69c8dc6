/**
 * How many packets may be in flight, so that nothing need be lost: UDP drops what the receiver's buffer has no room for,
 * and all clients share the server's.
 */
import { readFileSync } from 'node:fs'
import type { QueueOptions } from 'snaptun'

/** What the kernel is asked for. */
export const SOCKET_BUFFER = 4 << 20

/** What Linux grants unless its administrator says otherwise (`net.core.rmem_max`); others grant more. */
const GRANTED_BY_DEFAULT = 212_992

/** More in flight only makes every packet wait longer. */
const LARGEST = 256

/** Bytes that a socket's buffer holds, as the kernel counts them. */
function capacity(): number {
  let granted = GRANTED_BY_DEFAULT
  try {
    const limit = Number.parseInt(readFileSync('/proc/sys/net/core/rmem_max', 'latin1'), 10)
    if (limit > 0) granted = Math.min(limit, SOCKET_BUFFER)
  } catch {
    // Not Linux.
  }
  // Linux doubles what it grants, for its overhead; and of what was read it counts up to a quarter for some time yet.
  return granted * 2 * 0.75
}

/**
 * What a packet counts for at most. Below 16 KiB the kernel may take the next power of two for a datagram that travels
 * alone, and above it whole pages. (Measured: with a window by the bytes alone, 1 packet of 9,000 bytes in 50,000 was lost.)
 */
function cost(payload: number): number {
  return payload < 16_384 ? payload * 2 + 1024 : payload + 8192
}

/** Packets of `payload` bytes that each of `clients` may have in flight; 0 when the system's buffers are too small. */
export function windowFor(payload: number, clients: number): number {
  return Math.min(Math.floor(capacity() / cost(payload) / clients), LARGEST)
}

/** A receive queue for `packets` in flight, and as many that were read but not yet released. */
export function queueFor(packets: number, payload: number): QueueOptions {
  return { packets: Math.max(packets * 2, 1024), bytes: Math.max(packets * 2 * payload, 2 << 20) }
}
