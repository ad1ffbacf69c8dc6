/**
 * How attempts that fail for a time follow each other.
 */
import { checkDuration, checkNumber, checkObject } from '../options.js'

/** How often, and for how long, a control plane is asked again. Durations in milliseconds. */
export interface RetryOptions {
  /** From the first attempt, when it has failed, to the second; at least 1. Default: 1000. */
  initialDelay?: number
  /** What the delay grows by, 1 to 10. Default: 1.5. */
  factor?: number
  /**
   * The delay grows no further than this; no less than `initialDelay`. Default: 20000, or `initialDelay` if that is
   * more.
   */
  maxDelay?: number
  /** At most so much is added to each delay, at random. Default: 500. */
  jitter?: number
  /**
   * How long to try, before the last error is final: to learn where the data plane is, and to register. At least 1.
   * Default: 30000.
   */
  maxElapsed?: number
}

/** Checks and completes options; throws a coded error that names the one at fault. */
export function checkRetry(name: string, value: RetryOptions | undefined): Required<RetryOptions> {
  const given = value === undefined ? {} : checkObject(name, value)
  const initialDelay = checkDuration(`${name}.initialDelay`, given.initialDelay ?? 1000, 1)
  const maxDelay = given.maxDelay ?? Math.max(20_000, initialDelay)
  return {
    initialDelay,
    maxDelay: checkDuration(`${name}.maxDelay`, maxDelay, initialDelay),
    factor: checkNumber(`${name}.factor`, given.factor ?? 1.5, 1, 10),
    jitter: checkDuration(`${name}.jitter`, given.jitter ?? 500, 0),
    maxElapsed: checkDuration(`${name}.maxElapsed`, given.maxElapsed ?? 30_000, 1),
  }
}

/** The delays from attempt to attempt. */
export class Backoff {
  readonly #options: Required<RetryOptions>
  #next: number

  constructor(options: Required<RetryOptions>) {
    this.#options = options
    this.#next = options.initialDelay
  }

  /** Milliseconds until the next attempt. */
  next(): number {
    const { maxDelay, factor, jitter } = this.#options
    const delay = Math.min(this.#next, maxDelay)
    this.#next = delay * factor
    return delay + Math.random() * jitter
  }
}
