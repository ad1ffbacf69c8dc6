/**
 * The client of a real control plane.
 */
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { eitherSignal, newEnd } from './abort.js'
import { checkDataPlane, checkRegistration, SHARE_BYTES } from './control-plane/answers.js'
import { callUnary } from './control-plane/connect-rpc.js'
import { controlPlaneError } from './control-plane/errors.js'
import { decodeMessage, encodeMessage } from './control-plane/protobuf.js'
import { checkToken } from './control-plane/token.js'
import { checkControlPlaneUrl } from './control-plane/url.js'
import type {
  ControlPlane,
  ControlPlaneRequest,
  DataPlaneInfo,
  RegistrationRequest,
  RegistrationResult,
} from './control-plane.js'
import { SnapTunError } from './errors.js'
import { parseKey } from './keys.js'
import { checkDuration, checkObject, checkSignal } from './options.js'

/** Options of {@link ConnectControlPlane}. */
export interface ConnectControlPlaneOptions {
  /** How long one call may take, in milliseconds; at least 1. Default: 10000. */
  timeout?: number
  /**
   * Makes the connections: a `node:http` or `node:https` Agent, as the URL says. For other certificates than the
   * system's, and for proxies. It stays open. Default: one of its own, which keeps connections for a few seconds.
   */
  agent?: HttpAgent
}

/**
 * Milliseconds that a connection is kept for the next call: registering follows asking at once, the rest after hours.
 */
const KEEP_ALIVE = 5000

const SERVICE = 'anapaya.snap.v1.SnapControl'

/**
 * A control plane that speaks Connect RPC: service `SnapControl` of the package `anapaya.snap.v1`, over HTTP/1.1 with
 * or without TLS. Opens its first connection with the first call.
 *
 * Calls reject with `ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE` (transient) when it can't be reached, is overloaded, fails
 * or does not answer within `timeout`; with `ERR_SNAPTUN_TOKEN_REFUSED`; with `ERR_SNAPTUN_CONTROL_PLANE_REFUSED` for
 * another reason to refuse; with `ERR_SNAPTUN_CONTROL_PLANE_ANSWER` when something else answers, or what it answers
 * can't be used; with `ERR_SNAPTUN_CLOSED`; with `ERR_SNAPTUN_TOKEN_INVALID` for a token that no header can carry; or
 * with the reason of the signal, after which it is not known whether the call reached the control plane.
 */
export class ConnectControlPlane implements ControlPlane, AsyncDisposable {
  /** Where it is, without a slash at the end. */
  readonly url: string
  readonly #timeout: number
  readonly #agent: HttpAgent
  readonly #ownsAgent: boolean
  readonly #closing = newEnd()

  /**
   * @param url `http:` or `https:`; without credentials, query and fragment. A path is put before those of the service.
   *
   * Throws `ERR_SNAPTUN_INVALID_OPTION`, which names the option.
   */
  constructor(url: string | URL, options: ConnectControlPlaneOptions = {}) {
    const { timeout, agent } = checkObject('options', options)
    this.url = checkControlPlaneUrl('url', url)
    if (!/^https?:/.test(this.url)) {
      throw new SnapTunError(
        'ERR_SNAPTUN_INVALID_OPTION',
        `option 'url' must begin with http: or https:, not ${this.url}`,
      )
    }
    this.#timeout = checkDuration('timeout', timeout ?? 10_000, 1)
    if (agent !== undefined && !(agent instanceof HttpAgent)) {
      throw new SnapTunError('ERR_SNAPTUN_INVALID_OPTION', "option 'agent' must be an Agent of node:http or node:https")
    }
    this.#ownsAgent = agent === undefined
    const Agent = this.url.startsWith('https:') ? HttpsAgent : HttpAgent
    this.#agent = agent ?? new Agent({ keepAlive: true, timeout: KEEP_ALIVE })
  }

  /** Asks where the data plane is. */
  async getDataPlane(request: ControlPlaneRequest): Promise<DataPlaneInfo> {
    const answer = await this.#call('GetSnapDataPlaneAddress', request, [])
    const address = this.#text(answer.get(1)) ?? ''
    const control = this.#text(answer.get(2))
    const told = { address, publicKey: answer.get(3), registrationUrl: control && registrationUrl(control) }
    const { publicKey, registrationUrl: url } = checkDataPlane(told, this.url)
    return { address, publicKey, registrationUrl: url }
  }

  /** Registers an identity until the token ends. Rejects with `ERR_SNAPTUN_INVALID_KEY` for what is none. */
  async registerIdentity(request: RegistrationRequest): Promise<RegistrationResult> {
    const { identity, pskShare } = checkObject('request', request)
    const key = parseKey('identity', identity, 'public')
    // No share is as many zeros.
    const share = pskShare === undefined ? new Uint8Array(SHARE_BYTES) : parseKey('pskShare', pskShare, 'secret')
    try {
      const answer = await this.#call('RegisterSnapTunIdentity', request, [
        [1, key],
        [2, share],
      ])
      const given = answer.get(1)
      return { pskShare: checkRegistration({ pskShare: isNone(given) ? undefined : given }, this.url) }
    } finally {
      share.fill(0)
    }
  }

  /** Ends calls under way, and closes connections. Never rejects; harmless when repeated. */
  async close(): Promise<void> {
    this.#closing.abort(new SnapTunError('ERR_SNAPTUN_CLOSED', 'the client of the control plane is closed'))
    if (this.#ownsAgent) this.#agent.destroy()
  }

  /** As {@link close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #call(
    method: string,
    request: ControlPlaneRequest,
    fields: Parameters<typeof encodeMessage>[0],
  ): Promise<Map<number, Uint8Array>> {
    const { token, signal: given } = checkObject('request', request)
    checkToken(token)
    const { signal, release } = eitherSignal(this.#closing.signal, checkSignal('signal', given))
    const message = encodeMessage(fields)
    try {
      const answer = await callUnary({
        url: this.url,
        method: `${SERVICE}/${method}`,
        message,
        token,
        agent: this.#agent,
        timeout: this.#timeout,
        signal,
      })
      return decodeMessage(answer)
    } catch (error) {
      throw error instanceof RangeError ? this.#unusable(error) : error
    } finally {
      message.fill(0)
      release()
    }
  }

  #text(bytes: Uint8Array | undefined): string | undefined {
    try {
      return bytes && new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    } catch {
      throw this.#unusable(new RangeError('its text is not UTF-8'))
    }
  }

  #unusable(error: RangeError): SnapTunError {
    return controlPlaneError('ERR_SNAPTUN_CONTROL_PLANE_ANSWER', this.url, error.message, error)
  }
}

/** Control planes that tell host and port alone mean plain HTTP. */
function registrationUrl(address: string): string {
  return /^[a-z][a-z\d+.-]*:\/\//i.test(address) ? address : `http://${address}`
}

/** How no share is written: by zeros, or not at all. */
function isNone(share: Uint8Array | undefined): boolean {
  return share === undefined || share.every((byte) => byte === 0)
}
