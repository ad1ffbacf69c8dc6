/**
 * A promise that waits its turn in a queue until somebody settles it, its signal aborts, or its owner closes.
 */

function nothing(): void {}

/** Those who wait, in order. A Set keeps the order of joining, and lets one leave from the middle at no cost. */
interface WaitingQueue<T> {
  add(waiter: Waiter<T>): unknown
  delete(waiter: Waiter<T>): boolean
}

/** One place in a queue. Leaves the queue when it settles, however it does. */
export class Waiter<T> {
  /** What the user gets. */
  readonly promise: Promise<T>
  readonly #queue: WaitingQueue<T>
  readonly #signal: AbortSignal | undefined
  readonly #onAbort: (() => void) | undefined
  #resolve!: (value: T) => void
  #reject!: (reason: unknown) => void

  /** Joins the end of `queue`. */
  constructor(queue: WaitingQueue<T>, signal: AbortSignal | undefined) {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#queue = queue
    this.#signal = signal
    if (signal === undefined) {
      this.#onAbort = undefined
    } else {
      this.#onAbort = () => this.reject(signal.reason)
      signal.addEventListener('abort', this.#onAbort, { once: true })
    }
    queue.add(this)
  }

  /** Settles with a value. */
  resolve(value: T): void {
    this.#leave()
    this.#resolve(value)
  }

  /** Settles with an error. */
  reject(reason: unknown): void {
    this.#leave()
    this.#reject(reason)
  }

  /**
   * Settles with an error that is nobody's mistake: the owner closed. Whoever awaits the promise gets it; where nobody
   * does, closing must not end the process with an unhandled rejection.
   */
  dismiss(reason: unknown): void {
    this.promise.catch(nothing)
    this.reject(reason)
  }

  /** Runs once, when the place is given up. */
  protected left(): void {}

  #leave(): void {
    if (!this.#queue.delete(this)) return
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener('abort', this.#onAbort)
    this.left()
  }
}

/** The first of a queue. */
export function first<T>(queue: ReadonlySet<T>): T | undefined {
  return queue.values().next().value
}
