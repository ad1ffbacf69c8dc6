/**
 * The control planes that an endpoint uses, by URL: each is made for its first user, and dropped with its last.
 */
import type { ControlPlane } from '../control-plane.js'
import { SnapTunError, throwLater } from '../errors.js'
import { type Registrant, UsedControlPlane } from './used-control-plane.js'

/** Makes the client of the control plane at a URL. */
export type ControlPlaneFactory = (url: string) => ControlPlane

/** A use of a control plane, by a tunnel or by who wants one. */
export interface ControlPlaneUse {
  readonly plane: UsedControlPlane
  /** Ends the use; to be called once. */
  release(): void
}

interface Entry {
  readonly plane: UsedControlPlane
  uses: number
}

/** See the module. */
export class ControlPlaneTable {
  readonly #make: ControlPlaneFactory
  readonly #registrant: Registrant
  readonly #entries = new Map<string, Entry>()
  /** Of those that were dropped and are not yet closed. */
  readonly #closing = new Set<Promise<void>>()

  constructor(make: ControlPlaneFactory, registrant: Registrant) {
    this.#make = make
    this.#registrant = registrant
  }

  /** How many are in use. */
  get size(): number {
    return this.#entries.size
  }

  /** Uses the control plane at a URL. Throws what the factory throws, or `ERR_SNAPTUN_INVALID_OPTION`. */
  acquire(url: string): ControlPlaneUse {
    const entry = this.#entries.get(url) ?? this.#add(url)
    entry.uses++
    return { plane: entry.plane, release: () => this.#release(entry) }
  }

  /** Tells all that there is another token. */
  renew(): void {
    for (const { plane } of this.#entries.values()) plane.renew()
  }

  /** Settles when all that were dropped have released what they held. */
  async closed(): Promise<void> {
    await Promise.all(this.#closing)
  }

  #add(url: string): Entry {
    const plane = this.#make(url)
    if (typeof plane?.getDataPlane !== 'function' || typeof plane.registerIdentity !== 'function') {
      throw new SnapTunError(
        'ERR_SNAPTUN_INVALID_OPTION',
        "option 'controlPlane' must return an object with getDataPlane and registerIdentity",
      )
    }
    const entry = { plane: new UsedControlPlane(url, plane, this.#registrant), uses: 0 }
    this.#entries.set(url, entry)
    return entry
  }

  #release(entry: Entry): void {
    entry.uses--
    if (entry.uses > 0) return
    this.#entries.delete(entry.plane.url)
    // What a user's own client throws in the end concerns no tunnel.
    const closing = entry.plane
      .close()
      .catch(throwLater)
      .finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }
}
