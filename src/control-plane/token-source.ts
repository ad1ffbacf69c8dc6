/**
 * Where tokens come from: one that stays, a function that is asked, or an iterable that tells each renewed one.
 */
import { SnapTunError } from '../errors.js'
import { IteratedTokens } from './iterated-tokens.js'
import { checkToken, tokenFailure } from './token.js'

/**
 * Where an endpoint's tokens come from:
 *
 * - a string: the one token;
 * - a function, asked before each call of a control plane, so it should remember a token for as long as that is good.
 *   While tunnels are open it is also asked in time before the token ends that was last registered with, if that is a
 *   JWT that says when: each time three quarters of what is left have passed, until it gives another. `signal` aborts
 *   when the token is no longer wanted. When it throws it is asked again, unless the error has a property `transient`
 *   that is `false`;
 * - an async iterable, such as an async generator: each token that it yields replaces the one before, and is registered
 *   with at once. When it ends, or throws, the last one stays. It is iterated over once, from the first `connect` until
 *   the endpoint closes; what it waits for by itself, a timer say, keeps the process alive as it would anywhere.
 */
export type TokenSource =
  | string
  | ((options: { readonly signal: AbortSignal }) => string | PromiseLike<string>)
  | AsyncIterable<string>

/** Gives tokens. */
export interface TokenFeed {
  /** How many tokens were told of, each in place of the one before. */
  readonly version: number
  /** Whether another token comes by asking for it, and only so. */
  readonly isAsked: boolean
  /** The token to use now. Rejects with `ERR_SNAPTUN_TOKEN_UNAVAILABLE` or `ERR_SNAPTUN_TOKEN_INVALID`. */
  get(signal: AbortSignal): string | Promise<string>
  /** Lets go of the source. */
  close(): void
}

/** Whoever wants to know. */
export interface TokenListener {
  /** There is another token. */
  renewed(): void
  /** The source failed after it had given a token; that one stays. */
  failed(error: SnapTunError): void
}

/** Opens a source. Throws `ERR_SNAPTUN_INVALID_OPTION`, which names the option, or `ERR_SNAPTUN_TOKEN_INVALID`. */
export function openTokenSource(name: string, source: TokenSource, listener: TokenListener): TokenFeed {
  if (typeof source === 'string') return new ConstantToken(checkToken(source))
  if (typeof source === 'function') return new AskedTokens(source)
  if (typeof source === 'object' && source !== null && typeof source[Symbol.asyncIterator] === 'function') {
    return new IteratedTokens(source, listener)
  }
  throw new SnapTunError(
    'ERR_SNAPTUN_INVALID_OPTION',
    `option '${name}' must be a string, a function, or an async iterable of strings; got ${typeof source}`,
  )
}

class ConstantToken implements TokenFeed {
  readonly version = 0
  readonly isAsked = false
  readonly #token: string

  constructor(token: string) {
    this.#token = token
  }

  get(): string {
    return this.#token
  }

  close(): void {}
}

class AskedTokens implements TokenFeed {
  readonly version = 0
  readonly isAsked = true
  readonly #ask: Extract<TokenSource, (...args: never[]) => unknown>

  constructor(ask: Extract<TokenSource, (...args: never[]) => unknown>) {
    this.#ask = ask
  }

  async get(signal: AbortSignal): Promise<string> {
    let given: unknown
    try {
      given = await this.#ask({ signal })
    } catch (error) {
      throw tokenFailure(error)
    }
    return checkToken(given)
  }

  close(): void {}
}
