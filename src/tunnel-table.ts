/**
 * The tunnels of a server by number, for as long as a packet of theirs may still be in a ring.
 *
 * A tunnel can close while packets of it wait to be read, and whoever reads them must learn whose they are. So a closed
 * tunnel is kept until its ring has been read that far; and no longer, or the table would grow for ever.
 */
import type { ServerTunnel } from './server-tunnel.js'

/** A closed tunnel whose packets may still be in its ring. */
interface Retired {
  readonly id: number
  /** It is forgotten when this many packets were taken from the ring in all. */
  readonly until: number
}

/** See the module. */
export class TunnelTable<Session> {
  readonly #tunnels = new Map<number, ServerTunnel<Session>>()
  readonly #capacity: number
  /** Closed tunnels of each ring, in the order of closing. */
  readonly #retired: Retired[][]
  /** Packets taken from each ring and released. */
  readonly #read: number[]
  /** Packets taken from each ring and not yet released. */
  readonly #unread: number[]

  /** For `rings` rings that were asked to hold at most `capacity` packets each. */
  constructor(rings: number, capacity: number) {
    // Native rounds up to a power of two.
    this.#capacity = 2 * capacity
    this.#retired = Array.from({ length: rings }, () => [])
    this.#read = new Array<number>(rings).fill(0)
    this.#unread = new Array<number>(rings).fill(0)
  }

  /** How many tunnels are known, closed ones too. */
  get size(): number {
    return this.#tunnels.size
  }

  /** A tunnel was established. */
  add(tunnel: ServerTunnel<Session>): void {
    this.#tunnels.set(tunnel.id, tunnel)
  }

  /** A tunnel, also a closed one whose packets may still be read. */
  get(id: number): ServerTunnel<Session> | undefined {
    return this.#tunnels.get(id)
  }

  /** Those that are open. */
  *open(): Generator<ServerTunnel<Session>, undefined, undefined> {
    for (const tunnel of this.#tunnels.values()) if (!tunnel.closed) yield tunnel
    return undefined
  }

  /** A tunnel has closed, after `delivered` packets of it entered ring `ring`. */
  retire(id: number, ring: number, delivered: number): void {
    // Where nobody reads, this is what bounds the table: a tunnel without packets is gone, and one with packets takes a
    // place in a ring that is bounded.
    if (delivered === 0) this.#tunnels.delete(id)
    else {
      const until = (this.#read[ring] as number) + (this.#unread[ring] as number) + this.#capacity
      this.#retired[ring]?.push({ id, until })
    }
  }

  /** Packets were taken from a ring; those taken from it before were released. */
  taken(ring: number, count: number): void {
    const read = (this.#read[ring] as number) + (this.#unread[ring] as number)
    this.#read[ring] = read
    this.#unread[ring] = count
    const retired = this.#retired[ring] as Retired[]
    if (retired.length === 0) return
    let passed = 0
    while (passed < retired.length && (retired[passed] as Retired).until <= read) passed++
    this.#forget(retired.splice(0, passed))
  }

  /** A ring was found empty: nothing of a tunnel that had closed before is left in it. */
  emptied(ring: number): void {
    const retired = this.#retired[ring] as Retired[]
    this.#read[ring] = (this.#read[ring] as number) + (this.#unread[ring] as number)
    this.#unread[ring] = 0
    if (retired.length > 0) this.#forget(retired.splice(0))
  }

  #forget(retired: readonly Retired[]): void {
    for (const { id } of retired) this.#tunnels.delete(id)
  }
}
