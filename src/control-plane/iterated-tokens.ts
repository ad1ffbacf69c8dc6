/**
 * Tokens out of an async iterable.
 */
import { SnapTunError, throwLater } from '../errors.js'
import { checkToken, tokenFailure } from './token.js'
import type { TokenFeed, TokenListener } from './token-source.js'

/** See the module. Begins to iterate with the first question. */
export class IteratedTokens implements TokenFeed {
  readonly isAsked = false
  version = 0
  readonly #source: AsyncIterable<string>
  readonly #listener: TokenListener
  #iterator: AsyncIterator<string> | undefined
  #latest: string | undefined
  /** Why no more tokens come. */
  #end: SnapTunError | undefined
  #settle!: () => void
  /** Settles with the first token, or with the end. */
  readonly #settled = new Promise<void>((resolve) => {
    this.#settle = resolve
  })

  constructor(source: AsyncIterable<string>, listener: TokenListener) {
    this.#source = source
    this.#listener = listener
  }

  async get(): Promise<string> {
    if (this.#iterator === undefined && this.#end === undefined) void this.#iterate()
    await this.#settled
    if (this.#latest === undefined) throw this.#end
    return this.#latest
  }

  close(): void {
    this.#finish(new SnapTunError('ERR_SNAPTUN_CLOSED', 'the endpoint is closed'))
  }

  async #iterate(): Promise<void> {
    try {
      this.#iterator = this.#source[Symbol.asyncIterator]()
      for (;;) {
        const result = await this.#iterator.next()
        if (this.#end !== undefined) return
        if (result.done === true) break
        this.#take(checkToken(result.value))
        // What yields without waiting must not stop the event loop.
        await new Promise((resolve) => setImmediate(resolve))
      }
    } catch (error) {
      if (this.#end !== undefined) return
      const failure = tokenFailure(error, true)
      this.#finish(failure)
      if (this.#latest !== undefined) this.#listener.failed(failure)
      return
    }
    this.#finish(new SnapTunError('ERR_SNAPTUN_TOKEN_INVALID', 'the token source ended before it gave a token'))
  }

  #take(token: string): void {
    if (token === this.#latest) return
    const isFirst = this.#latest === undefined
    this.#latest = token
    this.#settle()
    if (isFirst) return
    this.version++
    this.#listener.renewed()
  }

  #finish(end: SnapTunError): void {
    if (this.#end !== undefined) return
    this.#end = end
    this.#settle()
    // Harmless for one that has ended. It may take as long as the iterable likes, so nobody waits for it.
    const iterator = this.#iterator
    Promise.resolve()
      .then(() => iterator?.return?.())
      .catch(throwLater)
  }
}
