/**
 * Small checks of options. Each returns the value to use or throws a coded error that names the option; none has a
 * side effect, so that a call with a bad option leaves nothing behind.
 */
import { SnapTunError } from './errors.js'

/** Bounds of a queue between JavaScript and native. Packets are dropped or refused when either is reached. */
export interface QueueOptions {
  /** At most this many packets, 1 to 1,048,576. */
  packets?: number
  /** At most this many bytes, 65,536 to 1,073,741,824. */
  bytes?: number
}

/** What every call that waits accepts. */
export interface WaitOptions {
  /** Aborts the wait: the promise rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** Longest duration that a timer can hold: 2^31 - 1 milliseconds, as in Node. */
const MAX_DURATION = 2_147_483_647

/** Names a value's type without showing the value: it may be a secret. */
function kind(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : typeof value
}

function invalid(name: string, expected: string, value: unknown): SnapTunError {
  const got = typeof value === 'number' ? String(value) : kind(value)
  return new SnapTunError('ERR_SNAPTUN_INVALID_OPTION', `option '${name}' must be ${expected}; got ${got}`)
}

/** The options object itself. */
export function checkObject<T extends object>(name: string, value: T | undefined): T {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(name, 'an object', value)
  return value
}

/** A whole number from `min` to `max`. */
export function checkInteger(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw invalid(name, `a whole number from ${min} to ${max}`, value)
  }
  return value
}

/** A number from `min` to `max`. */
export function checkNumber(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || !(value >= min && value <= max)) {
    throw invalid(name, `a number from ${min} to ${max}`, value)
  }
  return value
}

/** A duration in milliseconds, from `min` on. */
export function checkDuration(name: string, value: unknown, min: number): number {
  if (typeof value !== 'number' || !(value >= min && value <= MAX_DURATION)) {
    throw invalid(name, `a number of milliseconds from ${min} to ${MAX_DURATION}`, value)
  }
  return value
}

/** One of a few strings. */
export function checkChoice<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T
  const quoted = choices.map((choice) => `'${choice}'`).join(' or ')
  throw invalid(name, quoted, value)
}

/** A boolean. */
export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw invalid(name, 'a boolean', value)
  return value
}

/** A function, or undefined. */
export function checkFunction<T>(name: string, value: T): T {
  if (value !== undefined && typeof value !== 'function') throw invalid(name, 'a function', value)
  return value
}

/** An AbortSignal, or undefined. */
export function checkSignal(name: string, value: unknown): AbortSignal | undefined {
  if (value !== undefined && !(value instanceof AbortSignal)) throw invalid(name, 'an AbortSignal', value)
  return value
}

/** The bounds of a queue, completed. */
export function checkQueue(
  name: string,
  value: QueueOptions | undefined,
  defaults: Required<QueueOptions>,
): Required<QueueOptions> {
  const given = value === undefined ? {} : checkObject(name, value)
  return {
    packets: checkInteger(`${name}.packets`, given.packets ?? defaults.packets, 1, 1_048_576),
    // The least is one UDP datagram of the largest size: less could not hold every packet that can arrive.
    bytes: checkInteger(`${name}.bytes`, given.bytes ?? defaults.bytes, 65_536, 1_073_741_824),
  }
}

/** A time of the wall clock, in milliseconds since the epoch. `undefined` is «never»: Infinity. */
export function checkTime(name: string, value: unknown): number {
  if (value === undefined) return Number.POSITIVE_INFINITY
  const time = value instanceof Date ? value.getTime() : value
  if (typeof time !== 'number' || Number.isNaN(time)) {
    throw invalid(name, 'a valid Date or milliseconds since the epoch', value)
  }
  return time
}
