/**
 * A child process's side of its parent: orders come in, reports go out, and the child never outlives the parent.
 */
import type { Failure } from './messages.js'

/** The parent, to a child that takes `Order` and says `Report`. */
export class Parent<Order, Report> {
  #left = false

  /** Calls `obey` with each order. What that rejects with is reported, and ends the process. */
  constructor(obey: (order: Order) => Promise<void>) {
    // They are for the parent, which then says what to do.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
    process.on('message', (order: Order) => {
      obey(order).catch((error: unknown) => this.#fail(error))
    })
    process.on('disconnect', () => {
      if (!this.#left) process.exit(1)
    })
  }

  report(report: Report | Failure): void {
    // That the parent is gone is seen at `disconnect`.
    process.send?.(report, undefined, undefined, () => undefined)
  }

  /** The last report. The process then ends by itself, when nothing is open any more. */
  leave(report: Report | Failure): void {
    this.#left = true
    process.send?.(report, undefined, undefined, () => {
      if (process.connected) process.disconnect()
    })
  }

  #fail(error: unknown): void {
    process.exitCode = 1
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
    process.send?.({ type: 'failed', message } satisfies Failure, undefined, undefined, () => process.exit())
  }
}
