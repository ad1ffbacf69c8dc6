/**
 * The iterator that `batches()` gives: a name for the one reader that holds the rings, and whether it has ended. It
 * touches no packets itself.
 */
import { busy, SnapTunError } from './errors.js'

/** What gives the batches. */
export interface BatchSource<Batch> {
  /** The next turn of `iterator`; releases the batch of the turn before. */
  nextBatch(iterator: object): Promise<IteratorResult<Batch, undefined>>
  /** Ends `iterator`, which may be none that reads. */
  endBatches(iterator: object): Promise<void>
}

/** See the module. */
export class BatchIterator<Batch> implements AsyncIterableIterator<Batch, undefined, undefined> {
  readonly #source: BatchSource<Batch>
  #turning = false
  #ended = false

  constructor(source: BatchSource<Batch>) {
    this.#source = source
  }

  async next(): Promise<IteratorResult<Batch, undefined>> {
    if (this.#ended) return { done: true, value: undefined }
    // A second turn would release what the first is about to hand out.
    if (this.#turning) throw busy()
    this.#turning = true
    try {
      const result = await this.#source.nextBatch(this)
      if (result.done === true) this.#ended = true
      return result
    } catch (error) {
      // That somebody else reads at the moment ends only this turn.
      if (!(error instanceof SnapTunError && error.code === 'ERR_SNAPTUN_BUSY')) this.#ended = true
      throw error
    } finally {
      this.#turning = false
    }
  }

  async return(): Promise<IteratorResult<Batch, undefined>> {
    this.#ended = true
    await this.#source.endBatches(this)
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }
}
