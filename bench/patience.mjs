/**
 * How long to wait for a quiet machine.
 */
import { performance } from 'node:perf_hooks'
import { untilQuiet } from './system.mjs'

/** Milliseconds after which a wait is told of. */
const TELL = 2000

/** Seconds that are left to wait for others, and to repeat what they disturbed. */
export class Patience {
  #left
  #run

  /** @param {number} seconds in all  @param {number} run seconds that a run takes */
  constructor(seconds, run) {
    this.#left = seconds
    this.#run = run
  }

  /** Waits until nobody else uses the processors, or it is over. */
  async wait() {
    if (this.#left <= 0) return
    const start = performance.now()
    const note = setTimeout(() => console.log('waiting until others leave the processors alone…'), TELL)
    await untilQuiet(this.#left)
    clearTimeout(note)
    this.#left -= (performance.now() - start) / 1000
  }

  /** Measures once, and again while others disturb and there is time left. */
  async measure(once) {
    for (;;) {
      const run = await once()
      if (!run.disturbed || this.#left <= 0) return run
      // What is repeated takes its time from it too, or a busy machine would keep us for ever.
      this.#left -= this.#run
      await this.wait()
    }
  }
}
