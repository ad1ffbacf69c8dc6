/**
 * Waiting that ends when a signal says so, whatever is waited for.
 */
import { setMaxListeners } from 'node:events'
import type { SnapTunError } from './errors.js'

/** Settles as `work` does, or rejects with the signal's reason as soon as it aborts: `work` then ends unseen. */
export async function unlessAborted<T>(work: PromiseLike<T> | T, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work
  signal.throwIfAborted()
  let onAbort = (): void => undefined
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Something that ends once, for any number of those who want to know. Node warns where many listen to one signal. */
export function newEnd(): AbortController {
  const end = new AbortController()
  setMaxListeners(0, end.signal)
  return end
}

/** A signal that aborts when one of two does, until it is released. `AbortSignal.any` is not in all of Node 20. */
export function eitherSignal(
  one: AbortSignal,
  other: AbortSignal | undefined,
): { signal: AbortSignal; release: () => void } {
  if (other === undefined) return { signal: one, release: () => undefined }
  const either = new AbortController()
  const abortAs = ({ reason }: AbortSignal) => either.abort(reason)
  const onOne = (): void => abortAs(one)
  const onOther = (): void => abortAs(other)
  one.addEventListener('abort', onOne, { once: true })
  other.addEventListener('abort', onOther, { once: true })
  if (other.aborted) onOther()
  if (one.aborted) onOne()
  const release = (): void => {
    one.removeEventListener('abort', onOne)
    other.removeEventListener('abort', onOther)
  }
  return { signal: either.signal, release }
}

/**
 * Runs `work` for `timeout` milliseconds at most, with a signal that aborts then, or when `signal` does. What doesn't
 * heed it ends unseen. Rejects with what `late` makes, or with the reason of `signal`.
 */
export async function within<T>(
  timeout: number,
  signal: AbortSignal,
  late: () => SnapTunError,
  work: (signal: AbortSignal) => PromiseLike<T> | T,
): Promise<T> {
  const deadline = new AbortController()
  const timer = setTimeout(() => deadline.abort(late()), timeout)
  // Whoever waits for the result keeps the process alive, if it is to be kept; what goes on in the background does not.
  timer.unref()
  const { signal: either, release } = eitherSignal(deadline.signal, signal)
  try {
    either.throwIfAborted()
    return await unlessAborted(work(either), either)
  } finally {
    clearTimeout(timer)
    release()
  }
}
