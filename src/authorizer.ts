/**
 * Who may pass a server: asks the application, once an identity, and remembers what it said.
 *
 * Whatever the application's callback does (throws, never settles, settles after the server closed) ends in one defined
 * answer to native. No answer is given for an identity that was revoked, or authorized by a push, while it was asked for.
 */
import { fromNativeAddress, type SocketAddress } from './address.js'
import { fromNative, SnapTunError } from './errors.js'
import { type KeyInput, keyToString, parseKey } from './keys.js'
import type { NativeAddress, NativeServer } from './native.js'
import { checkObject, checkTime } from './options.js'

/** What `authorize` is asked. */
export interface AuthorizationRequest {
  /** The client's public key, base64. It is proved: only who owns the private key gets this far. */
  readonly identity: string
  /** Where the client sends from. */
  readonly remote: SocketAddress
  /** Aborts when the answer is no longer wanted: after `authorizationTimeout`, or when the server closes. */
  readonly signal: AbortSignal
}

/** An identity may pass: until when, with which session. */
export type Authorization<Session = unknown> = AuthorizationTerms &
  (undefined extends Session ? { readonly session?: Session } : { readonly session: Session })

/** The part of an {@link Authorization} that has nothing to do with the session. */
export interface AuthorizationTerms {
  /**
   * Wall-clock time of the end, a Date or milliseconds since the epoch; from the call on it is a duration, so that setting
   * the clock changes nothing. Default: until it is revoked.
   */
  readonly expiresAt?: number | Date
  /** 32 bytes that both sides have to know beside the keys. Default: none. */
  readonly presharedKey?: KeyInput
}

/** The application's callback. `null` refuses. A throw or rejection refuses too, and is an event `authorizeerror`. */
export type Authorize<Session> = (
  request: AuthorizationRequest,
) => Authorization<Session> | null | PromiseLike<Authorization<Session> | null>

/** What is remembered of an identity. Its tunnels share it, so that a new session reaches them. */
export interface AuthorizationRecord<Session> {
  session: Session | undefined
  /** End in `performance.now()` time. */
  deadline: number
}

/** What an authorizer counts. */
export interface AuthorizerStats {
  /** Calls of `authorize` that threw, rejected, or returned what is no authorization. */
  authorizeErrors: number
  /** Calls of `authorize` that did not settle in time. */
  authorizeTimeouts: number
  /** Calls of `authorize` that wait for an answer now. */
  authorizePending: number
}

/** What an authorizer tells. */
export interface AuthorizerHost {
  /** The callback failed. */
  failed(error: unknown, request: AuthorizationRequest): void
  /** An identity that asked was refused, for whatever reason. */
  refused(identity: string, remote: SocketAddress): void
}

/** A call of the callback that waits. */
interface Pending {
  readonly abort: AbortController
  timer: NodeJS.Timeout | undefined
}

/** How long a record outlives its end, in milliseconds: its last tunnel may be announced late to a thread that was busy. */
const RECORD_GRACE = 300_000

/** Records below which it is not worth to look for those that ended. */
const SWEEP_FLOOR = 1024

/** See the module. */
export class Authorizer<Session> {
  readonly stats: AuthorizerStats = { authorizeErrors: 0, authorizeTimeouts: 0, authorizePending: 0 }
  readonly #native: NativeServer
  readonly #callback: Authorize<Session> | undefined
  readonly #timeout: number
  readonly #host: AuthorizerHost
  readonly #records = new Map<string, AuthorizationRecord<Session>>()
  readonly #pending = new Map<string, Pending>()
  #sweepAt = SWEEP_FLOOR

  constructor(native: NativeServer, callback: Authorize<Session> | undefined, timeout: number, host: AuthorizerHost) {
    this.#native = native
    this.#callback = callback
    this.#timeout = timeout
    this.#host = host
  }

  /** Native asks for an identity. Runs the callback. */
  ask(key: Uint8Array, remote: NativeAddress): void {
    const identity = keyToString(key)
    if (this.#pending.has(identity)) return
    if (this.#callback === undefined) {
      this.#native.refuse(key)
      this.#host.refused(identity, fromNativeAddress(remote))
      return
    }
    const pending: Pending = { abort: new AbortController(), timer: undefined }
    const request = { identity, remote: fromNativeAddress(remote), signal: pending.abort.signal }
    this.#pending.set(identity, pending)
    this.stats.authorizePending++
    let answer: ReturnType<Authorize<Session>>
    try {
      answer = this.#callback(request)
    } catch (error) {
      this.#fail(key, request, pending, error)
      return
    }
    if (!isPromiseLike(answer)) {
      this.#answer(key, request, pending, answer)
      return
    }
    pending.timer = setTimeout(() => this.#expire(key, request, pending), this.#timeout)
    // The server keeps the process alive if it is to be kept; this must not, after `unref()`.
    pending.timer.unref()
    answer.then(
      (value) => this.#answer(key, request, pending, value),
      (error: unknown) => this.#fail(key, request, pending, error),
    )
  }

  /** Lets an identity pass, without being asked. */
  grant(key: Uint8Array, authorization: Authorization<Session>): void {
    const terms = readTerms(authorization)
    this.#settle(keyToString(key))?.abort.abort()
    this.#authorize(key, terms, authorization.session)
  }

  /** Lets an identity pass no more. */
  revoke(key: Uint8Array): void {
    const identity = keyToString(key)
    const waiting = this.#settle(identity)
    this.#records.delete(identity)
    this.#native.revoke(key)
    if (waiting === undefined) return
    this.#native.refuse(key)
    waiting.abort.abort()
  }

  /** What is remembered of an identity that a tunnel was made for. */
  record(identity: string): AuthorizationRecord<Session> {
    return this.#records.get(identity) ?? { session: undefined, deadline: 0 }
  }

  /** Gives up all calls that wait. What they return later is ignored. */
  close(reason: SnapTunError): void {
    for (const [identity, { abort }] of this.#pending) {
      this.#settle(identity)
      abort.abort(reason)
    }
  }

  #answer(
    key: Uint8Array,
    request: AuthorizationRequest,
    pending: Pending,
    value: Authorization<Session> | null,
  ): void {
    if (this.#pending.get(request.identity) !== pending) return
    try {
      const terms = value === null ? undefined : readTerms(value)
      if (terms === undefined || terms.expiresAt <= Date.now()) this.#refuse(key, request)
      else this.#authorize(key, terms, value?.session)
      this.#settle(request.identity)
    } catch (error) {
      this.#fail(key, request, pending, fromNative(error))
    }
  }

  #fail(key: Uint8Array, request: AuthorizationRequest, pending: Pending, error: unknown): void {
    if (this.#pending.get(request.identity) === pending) {
      this.#settle(request.identity)
      this.#refuse(key, request)
    } else if (error === pending.abort.signal.reason) {
      // The callback heeded its signal: that is no failure.
      return
    }
    this.stats.authorizeErrors++
    this.#host.failed(error, request)
  }

  #expire(key: Uint8Array, request: AuthorizationRequest, pending: Pending): void {
    this.stats.authorizeTimeouts++
    this.#settle(request.identity)
    this.#refuse(key, request)
    const message = `authorize did not settle within authorizationTimeout, ${this.#timeout} ms`
    const error = new SnapTunError('ERR_SNAPTUN_AUTHORIZATION_TIMEOUT', message)
    pending.abort.abort(error)
    this.#host.failed(error, request)
  }

  #refuse(key: Uint8Array, { identity, remote }: AuthorizationRequest): void {
    this.#native.refuse(key)
    this.#host.refused(identity, remote)
  }

  /** Takes a call out of those that wait, and returns it if there was one. */
  #settle(identity: string): Pending | undefined {
    const pending = this.#pending.get(identity)
    if (pending === undefined) return undefined
    clearTimeout(pending.timer)
    this.#pending.delete(identity)
    this.stats.authorizePending--
    return pending
  }

  #authorize(key: Uint8Array, terms: CheckedTerms, session: Session | undefined): void {
    const identity = keyToString(key)
    const deadline = performance.now() + (terms.expiresAt - Date.now())
    const known = this.#records.get(identity)
    if (known === undefined) this.#remember(identity, { session, deadline })
    else Object.assign(known, { session, deadline })
    try {
      this.#native.authorize(key, terms.expiresAt, terms.presharedKey)
    } finally {
      terms.presharedKey?.fill(0)
    }
  }

  /** Keeps the number of records within twice those that are in force, at a cost that is constant an insertion. */
  #remember(identity: string, record: AuthorizationRecord<Session>): void {
    if (this.#records.size >= this.#sweepAt) {
      const ended = performance.now() - RECORD_GRACE
      for (const [name, { deadline }] of this.#records) if (deadline < ended) this.#records.delete(name)
      this.#sweepAt = Math.max(SWEEP_FLOOR, this.#records.size * 2)
    }
    this.#records.set(identity, record)
  }
}

function isPromiseLike<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as PromiseLike<T> | null)?.then === 'function'
}

/** An authorization, as native takes it. The key is a copy, to be cleared after use. */
export interface CheckedTerms {
  readonly expiresAt: number
  readonly presharedKey: Uint8Array | undefined
}

/** Checks an authorization. Throws coded errors. */
export function readTerms(authorization: AuthorizationTerms): CheckedTerms {
  const { expiresAt, presharedKey } = checkObject('authorization', authorization)
  return {
    expiresAt: checkTime('expiresAt', expiresAt),
    presharedKey: presharedKey === undefined ? undefined : parseKey('presharedKey', presharedKey, 'secret'),
  }
}
