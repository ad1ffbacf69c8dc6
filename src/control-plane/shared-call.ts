/**
 * A call that is made again while it fails for a time, and whose result all share who wait for it.
 *
 * It goes on for as long as somebody waits. Who gives up, by a signal or out of patience, takes nothing from the
 * others; when the last one does, the attempt under way is aborted.
 */
import { again, SnapTunError } from '../errors.js'
import { Waiter } from '../waiter.js'
import { Backoff, type RetryOptions } from './retry.js'

/** What a call does. */
export interface CallOptions<T> {
  /** One attempt. Rejects with coded errors; heeds the signal, or ends unseen. */
  attempt(signal: AbortSignal): Promise<T>
  /** An attempt has failed, and nothing aborted it. */
  failed(error: SnapTunError): void
  /** What to say when there was no time for as much as one attempt. */
  late(): SnapTunError
}

/** See the module. */
export class SharedCall<T> {
  readonly #options: CallOptions<T>
  readonly #retry: Required<RetryOptions>
  readonly #waiters = new Set<CallWaiter<T>>()
  /** Of the run that serves those who wait. */
  #run: Run | undefined
  #lastError: SnapTunError | undefined

  constructor(options: CallOptions<T>, retry: Required<RetryOptions>) {
    this.#options = options
    this.#retry = retry
  }

  /**
   * Joins the call under way, or starts it. Rejects with an error that is not transient at once, with the last one
   * after `patience` milliseconds, or with the reason of `signal`. Without `patience` it waits for as long as it takes,
   * and does not keep the process alive.
   */
  join(signal: AbortSignal, patience?: number): Promise<T> {
    if (signal.aborted) return Promise.reject(signal.reason)
    const waiter = new CallWaiter(this.#waiters, signal, () => this.#left())
    if (patience !== undefined) waiter.expire(patience, () => this.#tooLate(patience))
    if (this.#run === undefined) {
      this.#run = new Run()
      void this.#serve(this.#run)
    }
    return waiter.promise
  }

  /** Makes the next attempt now, if the call waits for it. */
  hurry(): void {
    this.#run?.wake()
  }

  async #serve(run: Run): Promise<void> {
    const backoff = new Backoff(this.#retry)
    while (!run.signal.aborted) {
      try {
        const value = await this.#options.attempt(run.signal)
        if (!run.signal.aborted) this.#settle((waiter) => waiter.resolve(value))
        return
      } catch (error) {
        if (run.signal.aborted) return
        const failure = error as SnapTunError
        this.#lastError = failure
        if (!failure.transient) this.#settle((waiter) => waiter.reject(again(failure)))
        this.#options.failed(failure)
        if (!failure.transient) return
      }
      await run.pause(backoff.next())
    }
  }

  #settle(settle: (waiter: CallWaiter<T>) => void): void {
    // Before they hear of it: what they do next starts a run of its own.
    this.#end()
    for (const waiter of this.#waiters) settle(waiter)
  }

  #left(): void {
    if (this.#waiters.size === 0) this.#end()
  }

  #end(): void {
    this.#run?.abort()
    this.#run = undefined
    this.#lastError = undefined
  }

  #tooLate(patience: number): SnapTunError {
    const error = this.#lastError ?? this.#options.late()
    return new SnapTunError(error.code, `${error.message} (tried for ${patience} ms)`, error.cause)
  }
}

/** Somebody who waits for a call. */
class CallWaiter<T> extends Waiter<T> {
  readonly #onLeft: () => void
  #timer: NodeJS.Timeout | undefined

  constructor(queue: Set<CallWaiter<T>>, signal: AbortSignal, onLeft: () => void) {
    super(queue as Set<Waiter<T>>, signal)
    this.#onLeft = onLeft
  }

  /** Sets how long it waits. The timer keeps the process alive, for there is somebody who wants to know. */
  expire(patience: number, reason: () => SnapTunError): void {
    this.#timer = setTimeout(() => this.reject(reason()), patience)
  }

  protected override left(): void {
    clearTimeout(this.#timer)
    this.#onLeft()
  }
}

/** A series of attempts, and the pauses between them. */
class Run {
  readonly #controller = new AbortController()
  #wake: (() => void) | undefined

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  abort(): void {
    this.#controller.abort()
    this.wake()
  }

  /** Ends the pause there is. */
  wake(): void {
    this.#wake?.()
  }

  /** Waits at most so many milliseconds. Doesn't keep the process alive: that is for those who wait for the result. */
  async pause(delay: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      timer = setTimeout(resolve, delay)
      timer.unref()
      // Who was told of the failure may have given up for it.
      if (this.signal.aborted) resolve()
    })
    clearTimeout(timer)
    this.#wake = undefined
  }
}
