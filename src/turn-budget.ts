/**
 * What is sent in one turn of the event loop, by everybody on this thread together.
 *
 * Sealing takes place on the caller's thread, so that whoever sends on and on, awaiting each call, would never let the loop
 * turn: a promise that is settled already does not. And many who do so side by side get one turn after the other, each a
 * call in it: that is what makes their shares equal.
 */
import { TURN_PACKETS } from './send-job.js'

let packets = 0
let next: Promise<void> | undefined

/** Counts packets that were sent. When it is enough for this turn, gives what settles in the next one. */
export function spend(count: number): Promise<void> | undefined {
  packets += count
  if (packets < TURN_PACKETS) return undefined
  next ??= new Promise((resolve) => {
    setImmediate(() => {
      packets = 0
      next = undefined
      resolve()
    })
  })
  return next
}
