/**
 * How a client reaches a server again that was lost.
 */
import type { NativeTunnelOptions } from './native.js'
import { checkDuration, checkNumber, checkObject } from './options.js'

/**
 * The first attempt is made at once, the second after `initialDelay`; the delay then grows by `factor` from attempt to
 * attempt, to `maxDelay`. A success starts it over. Durations in milliseconds.
 */
export interface ReconnectOptions {
  /** From the first attempt to the second. Default: 5000. */
  initialDelay?: number
  /** The longest delay, without jitter; no less than `initialDelay`. Default: 180000, or `initialDelay` if that is more. */
  maxDelay?: number
  /** What the delay grows by, 1 to 100. Default: 1.3. */
  factor?: number
  /** At most so much is added to each delay, at random, so that clients don't come back all at once. Default: 500. */
  jitter?: number
  /** Gives up after so long without a server: closes with `ERR_SNAPTUN_RECONNECT_TIMEOUT`. Default: Infinity. */
  maxElapsed?: number
}

/**
 * Why a tunnel reconnects. `'expired'`: the session ended, and the server did not answer in time for the next one.
 * `'silent'`: the server said nothing for `livenessTimeout`, and did not answer when asked. `'unanswered'`: the attempt
 * before this one was not answered.
 */
export type ReconnectCause = 'expired' | 'silent' | 'unanswered'

/** The defaults: what the reference client does. */
const DEFAULTS = { initialDelay: 5000, maxDelay: 180_000, factor: 1.3, jitter: 500 }

/** Checks the option `reconnect`, and completes it, as native takes it. */
export function checkReconnect(value: ReconnectOptions | false | undefined): Pick<NativeTunnelOptions, 'reconnect'> {
  if (value === false) return {}
  const given = value === undefined ? {} : checkObject('reconnect', value)
  const initialDelay = checkDuration('reconnect.initialDelay', given.initialDelay ?? DEFAULTS.initialDelay, 0)
  const maxDelay = given.maxDelay ?? Math.max(DEFAULTS.maxDelay, initialDelay)
  const maxElapsed = given.maxElapsed ?? Number.POSITIVE_INFINITY
  return {
    reconnect: {
      initialDelay,
      maxDelay: checkDuration('reconnect.maxDelay', maxDelay, initialDelay),
      factor: checkNumber('reconnect.factor', given.factor ?? DEFAULTS.factor, 1, 100),
      jitter: checkDuration('reconnect.jitter', given.jitter ?? DEFAULTS.jitter, 0),
      ...(maxElapsed === Number.POSITIVE_INFINITY
        ? {}
        : { maxElapsed: checkDuration('reconnect.maxElapsed', maxElapsed, 0) }),
    },
  }
}
