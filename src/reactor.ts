/**
 * The link between native threads and the JavaScript objects of this thread: native says which handles have
 * something to do, and the reactor tells them. One a thread (main thread or worker), made at the first use.
 */
import { throwLater } from './errors.js'
import { loadNative, type NativeBinding } from './native.js'

/** An object that native sends signals to. */
export interface ReactorHandle {
  /** Native's number of the handle. */
  readonly id: number
  /** Called with bits of `Signal`. */
  signalled(signals: number): void
}

/** Pairs (handle, signals) that one call of `takeReady` can bring. */
const READY_PAIRS = 256

/** See the module. */
export class Reactor {
  readonly native: NativeBinding
  readonly #handles = new Map<number, ReactorHandle>()
  /** Handles that keep the process alive. */
  readonly #refs = new Set<ReactorHandle>()
  readonly #ready = new Uint32Array(READY_PAIRS * 2)
  #alive = false

  constructor(native: NativeBinding) {
    this.native = native
    native.attach(() => this.#wake())
  }

  /** Starts to deliver signals to a handle. */
  add(handle: ReactorHandle): void {
    this.#handles.set(handle.id, handle)
  }

  /** Ends it; the handle no longer keeps the process alive either. */
  remove(handle: ReactorHandle): void {
    this.#handles.delete(handle.id)
    this.keepAlive(handle, false)
  }

  /** Says whether a handle keeps the process alive. */
  keepAlive(handle: ReactorHandle, alive: boolean): void {
    if (alive) this.#refs.add(handle)
    else this.#refs.delete(handle)
    if (this.#refs.size > 0 !== this.#alive) {
      this.#alive = !this.#alive
      this.native.setKeepAlive(this.#alive)
    }
  }

  #wake(): void {
    const ready = this.#ready
    let pairs: number
    do {
      pairs = this.native.takeReady(ready)
      for (let i = 0; i < pairs; i++) {
        try {
          this.#handles.get(ready[i * 2] as number)?.signalled(ready[i * 2 + 1] as number)
        } catch (error) {
          // One handle's failure must not keep the signals, which are cleared already, from the others.
          throwLater(error)
        }
      }
    } while (pairs === READY_PAIRS)
  }
}

let reactor: Reactor | undefined

/** The reactor of this thread. Loads the native part at the first call, and throws `ERR_SNAPTUN_ADDON` without it. */
export function getReactor(): Reactor {
  reactor ??= new Reactor(loadNative())
  return reactor
}
