/**
 * A control plane that an endpoint uses: asked where the data plane is, and kept informed of the identity.
 *
 * The identity is registered before the first tunnel, once for all who want one at the same time, and again: with each
 * renewed token; in time before the token ends, if it can be had by asking; and when a tunnel has lost its server,
 * which may have forgotten its registrations.
 */
import { within } from '../abort.js'
import type { ControlPlane, ControlPlaneRequest } from '../control-plane.js'
import { SnapTunError } from '../errors.js'
import { checkDataPlane, checkRegistration, type DataPlane } from './answers.js'
import { controlPlaneError } from './errors.js'
import type { RetryOptions } from './retry.js'
import { SharedCall } from './shared-call.js'
import { expiryOf } from './token.js'
import type { TokenFeed } from './token-source.js'

/** A registration that a control plane accepted. */
export interface Registration {
  /** The URL of the control plane. */
  readonly controlPlane: string
  /** The control plane's share of a pre-shared key, as it came: nothing is made of it. */
  readonly pskShare: Uint8Array | undefined
  /** When the token ends that it was made with, in milliseconds since the epoch; undefined if the token doesn't say. */
  readonly expiresAt: number | undefined
}

/** What all control planes of an endpoint share. */
export interface Registrant {
  /** Base64. */
  readonly identity: string
  readonly pskShare: Uint8Array | undefined
  readonly tokens: TokenFeed
  readonly retry: Required<RetryOptions>
  /** Milliseconds for one attempt. */
  readonly requestTimeout: number
  /** The identity was registered. */
  registered(registration: Registration): void
  /** An attempt to register failed. */
  failed(error: SnapTunError, controlPlane: string): void
}

/** What share of the time that is left passes before a token is asked for again. */
const RENEW_AFTER = 0.75

/** The least time from asking for a token to asking again, in milliseconds. */
const SHORTEST_PAUSE = 1000

/** How often a token is asked for when the last one has ended, in milliseconds: by this clock, which may be wrong. */
const EXPIRED_PAUSE = 20_000

/**
 * A registration of this age in milliseconds is not repeated because a tunnel lost its server: a thousand may, at once.
 */
const FRESH = 1000

/** Longest duration that a timer can hold. */
const LONGEST = 2_147_483_647

/** See the module. */
export class UsedControlPlane {
  readonly url: string
  readonly #plane: ControlPlane
  readonly #registrant: Registrant
  readonly #closing = new AbortController()
  readonly #dataPlane: SharedCall<DataPlane>
  readonly #registration: SharedCall<void>
  /** The token that the identity is registered with, and since when (`performance.now()`). */
  #current: { readonly token: string; readonly expiresAt: number | undefined; readonly since: number } | undefined
  /** The version of the token that was last seen to. */
  #version = 0
  /** Whether to register again with the same token. */
  #isDoubted = false
  #isRenewing = false
  #timer: NodeJS.Timeout | undefined

  constructor(url: string, plane: ControlPlane, registrant: Registrant) {
    this.url = url
    this.#plane = plane
    this.#registrant = registrant
    const late = (): SnapTunError => lateError(url)
    this.#dataPlane = new SharedCall(
      {
        attempt: (signal) => this.#attempt(signal, (request) => this.#askDataPlane(request)),
        failed: () => undefined,
        late,
      },
      registrant.retry,
    )
    this.#registration = new SharedCall(
      {
        attempt: (signal) => this.#register(signal),
        failed: (error) => this.#failed(error),
        late,
      },
      registrant.retry,
    )
  }

  /** Asks where the data plane is. Rejects as `SnapTunEndpoint.connect` does. */
  getDataPlane(signal: AbortSignal): Promise<DataPlane> {
    return this.#dataPlane.join(signal, this.#registrant.retry.maxElapsed)
  }

  /** Settles when the identity is registered, which it may be already. Rejects as `SnapTunEndpoint.connect` does. */
  async register(signal: AbortSignal): Promise<void> {
    if (this.#current !== undefined && !hasPassed(this.#current.expiresAt)) return
    this.#isDoubted = true
    await this.#registration.join(signal, this.#registrant.retry.maxElapsed)
  }

  /** There may be another token: registers with it, for as long as it takes, while the control plane is used. */
  renew(): void {
    this.#registration.hurry()
    if (this.#isRenewing || this.#closing.signal.aborted) return
    this.#isRenewing = true
    const settled = (): void => {
      this.#isRenewing = false
      this.#schedule()
    }
    const registered = (): void => {
      settled()
      // A token was told of while the one before it was on its way.
      if (this.#version !== this.#registrant.tokens.version) this.renew()
    }
    // Why it failed was told already, to the registrant.
    this.#registration.join(this.#closing.signal).then(registered, settled)
  }

  /** A tunnel has lost its server, and so may the server have lost the registration. */
  doubt(): void {
    if (this.#current !== undefined && performance.now() - this.#current.since < FRESH) return
    this.#isDoubted = true
    this.renew()
  }

  /** Gives up what is under way, and releases the control plane. */
  async close(): Promise<void> {
    this.#closing.abort()
    clearTimeout(this.#timer)
    await this.#plane.close?.()
  }

  async #askDataPlane(request: ControlPlaneRequest): Promise<DataPlane> {
    return checkDataPlane(await this.#plane.getDataPlane(request), this.url)
  }

  async #register(signal: AbortSignal): Promise<void> {
    const { tokens } = this.#registrant
    for (;;) {
      const { version } = tokens
      try {
        await this.#attempt(signal, (request) => this.#registerOnce(request))
        this.#version = version
        return
      } catch (error) {
        // Where another token was told of meanwhile, it is of no matter that the one before was refused.
        if (version === tokens.version || signal.aborted) throw error
      }
    }
  }

  async #registerOnce(request: ControlPlaneRequest): Promise<void> {
    const { token, signal } = request
    if (token === this.#current?.token && !this.#isDoubted) return
    const { identity, pskShare, registered } = this.#registrant
    const answer = await this.#plane.registerIdentity({ ...request, identity, pskShare })
    signal?.throwIfAborted()
    const share = checkRegistration(answer, this.url)
    const expiresAt = expiryOf(token)
    this.#current = { token, expiresAt, since: performance.now() }
    this.#isDoubted = false
    this.#schedule()
    registered({ controlPlane: this.url, pskShare: share, expiresAt })
  }

  /** Gets a token and makes a call with it, in the time for one attempt. Rejects with coded errors alone. */
  #attempt<T>(signal: AbortSignal, call: (request: ControlPlaneRequest) => Promise<T>): Promise<T> {
    const { tokens, requestTimeout } = this.#registrant
    const late = (): SnapTunError => lateError(this.url)
    return within(requestTimeout, signal, late, async (signal) => {
      const token = await tokens.get(signal)
      try {
        return await call({ token, signal })
      } catch (error) {
        throw error instanceof SnapTunError ? error : clientError(error, this.url, token)
      }
    })
  }

  #failed(error: SnapTunError): void {
    // What is registered may go on for a time, but the next tunnel has to make sure.
    if (!error.transient) this.#current = undefined
    this.#registrant.failed(error, this.url)
  }

  /** Sets the time to ask for another token. */
  #schedule(): void {
    clearTimeout(this.#timer)
    if (!this.#registrant.tokens.isAsked || this.#closing.signal.aborted) return
    const expiresAt = this.#current === undefined ? 0 : this.#current.expiresAt
    if (expiresAt === undefined) return
    const left = expiresAt - Date.now()
    const pause = left <= 0 ? EXPIRED_PAUSE : Math.max(SHORTEST_PAUSE, left * RENEW_AFTER)
    this.#timer = setTimeout(() => this.renew(), Math.min(pause, LONGEST))
    this.#timer.unref()
  }
}

function hasPassed(time: number | undefined): boolean {
  return time !== undefined && time <= Date.now()
}

function lateError(url: string): SnapTunError {
  return controlPlaneError('ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE', url, 'no answer in time')
}

/** What a user's own `ControlPlane` threw. */
function clientError(error: unknown, url: string, token: string): SnapTunError {
  const isFinal = (error as { transient?: unknown } | null)?.transient === false
  const code = isFinal ? 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED' : 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE'
  return controlPlaneError(code, url, String(error).replaceAll(token, '<token>'), error)
}
