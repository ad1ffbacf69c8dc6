/**
 * One identity, many tunnels.
 */
import { EventEmitter } from 'node:events'
import { eitherSignal, newEnd } from './abort.js'
import type { AddressInput } from './address.js'
import { controlPlaneError } from './control-plane/errors.js'
import { ControlPlaneTable, type ControlPlaneUse } from './control-plane/table.js'
import { openTokenSource, type TokenFeed } from './control-plane/token-source.js'
import { checkControlPlaneUrl } from './control-plane/url.js'
import type { Registration, UsedControlPlane } from './control-plane/used-control-plane.js'
import {
  type CheckedEndpointOptions,
  checkEndpointConnectOptions,
  checkEndpointOptions,
  type EndpointConnectOptions,
  type EndpointOptions,
} from './endpoint-options.js'
import { again, SnapTunError, throwLater } from './errors.js'
import { type KeyInput, publicKey } from './keys.js'
import { SnapTunnel } from './snap-tunnel.js'

/** Events of {@link SnapTunEndpoint}. */
export interface SnapTunEndpointEvents {
  /** A control plane has accepted the identity, for the first time or again. */
  registered: [registration: Registration]
  /**
   * An attempt to register failed. Tunnels go on for as long as the data plane lets them. It is made again if
   * `error.transient`, and otherwise with the next token or the next `connect`.
   */
  registrationerror: [error: SnapTunError, controlPlane: string]
  /** The async iterable of tokens failed; its last token stays. */
  tokenerror: [error: SnapTunError]
}

/** What {@link SnapTunEndpoint.stats} returns. Counters only grow; what is a level says so. */
export interface EndpointStats {
  /** Open tunnels: a level. */
  readonly tunnels: number
  /** Calls of `connect` under way: a level. */
  readonly connecting: number
  /** Control planes in use, by a tunnel or by a `connect` under way: a level. */
  readonly controlPlanes: number
  /** Registrations that were accepted. */
  readonly registrations: number
  /** Attempts to register that failed. */
  readonly registrationErrors: number
}

/** Where a tunnel goes. */
interface Target {
  readonly server: AddressInput
  readonly serverPublicKey: KeyInput
  /** The control plane to register at. */
  readonly registrationUrl: string
}

/**
 * One static identity with many tunnels. Control planes are asked where their data plane is, and told of the identity:
 * before the first tunnel, and again with each renewed token (see {@link TokenSource}) and when a tunnel has lost its
 * server. A control plane is forgotten when its last tunnel closes.
 *
 * Only tunnels and calls under way keep the process alive.
 */
export class SnapTunEndpoint extends EventEmitter<SnapTunEndpointEvents> implements AsyncDisposable {
  /** The endpoint's identity, base64. */
  readonly publicKey: string
  readonly #options: CheckedEndpointOptions
  readonly #tokens: TokenFeed
  readonly #planes: ControlPlaneTable
  readonly #tunnels = new Set<SnapTunnel>()
  readonly #connecting = new Set<Promise<SnapTunnel>>()
  readonly #closing = newEnd()
  readonly #counts = { registrations: 0, registrationErrors: 0 }
  #closed: Promise<void> | undefined

  /**
   * Opens nothing yet. Throws `ERR_SNAPTUN_INVALID_OPTION` or `ERR_SNAPTUN_INVALID_KEY`, which name the option, or
   * `ERR_SNAPTUN_TOKEN_INVALID` for a token that can't be one.
   */
  constructor(options: EndpointOptions) {
    super()
    this.#options = checkEndpointOptions(options)
    this.publicKey = publicKey(this.#options.privateKey)
    this.#tokens = openTokenSource('tokenSource', this.#options.tokenSource, {
      renewed: () => this.#planes.renew(),
      failed: (error) => this.#tell('tokenerror', error),
    })
    this.#planes = new ControlPlaneTable(this.#options.controlPlane, {
      ...this.#options,
      identity: this.publicKey,
      tokens: this.#tokens,
      registered: (registration) => {
        this.#counts.registrations++
        this.#tell('registered', registration)
      },
      failed: (error, controlPlane) => {
        this.#counts.registrationErrors++
        this.#tell('registrationerror', error, controlPlane)
      },
    })
  }

  /** Whether the endpoint was closed. */
  get closed(): boolean {
    return this.#closing.signal.aborted
  }

  /**
   * Opens a tunnel to the data plane of a control plane, having registered the identity there unless it is. Connects
   * that wait for the same share one registration.
   *
   * Rejects as `SnapTunnel.connect` does; with `ERR_SNAPTUN_TOKEN_REFUSED`, `ERR_SNAPTUN_TOKEN_INVALID`,
   * `ERR_SNAPTUN_CONTROL_PLANE_REFUSED` or `ERR_SNAPTUN_CONTROL_PLANE_ANSWER` at once; with
   * `ERR_SNAPTUN_TOKEN_UNAVAILABLE` or `ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE` after `retry.maxElapsed`; with what
   * `options.controlPlane` threw; with `ERR_SNAPTUN_CLOSED`; or with the reason of `options.signal`. An abort ends
   * nothing that another `connect` waits for, and a registration that was made by then stays.
   */
  async connect(controlPlaneUrl: string | URL, options: EndpointConnectOptions = {}): Promise<SnapTunnel> {
    if (this.closed) throw again(this.#closing.signal.reason)
    const url = checkControlPlaneUrl('controlPlaneUrl', controlPlaneUrl)
    checkEndpointConnectOptions(options, this.#options.privateKey)
    const { signal, release } = eitherSignal(this.#closing.signal, options.signal)
    const connecting = this.#connect(url, { ...options, signal })
    this.#connecting.add(connecting)
    try {
      return await connecting
    } finally {
      this.#connecting.delete(connecting)
      release()
    }
  }

  /** The open tunnels. Those that open or close during the iteration may or may not be among them. */
  tunnels(): IterableIterator<SnapTunnel> {
    return this.#tunnels.values()
  }

  /** Counters; see {@link EndpointStats}. They stay readable after the end. */
  stats(): EndpointStats {
    return {
      tunnels: this.#tunnels.size,
      connecting: this.#connecting.size,
      controlPlanes: this.#planes.size,
      ...this.#counts,
    }
  }

  /**
   * Closes all tunnels, gives up what is under way (`connect` rejects with `ERR_SNAPTUN_CLOSED`), lets go of the token
   * source, and clears this endpoint's copies of keys. Settles when all is released. Never rejects; harmless when
   * repeated.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  /** As {@link close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    this.#closing.abort(new SnapTunError('ERR_SNAPTUN_CLOSED', 'the endpoint is closed'))
    this.#tokens.close()
    await Promise.allSettled(this.#connecting)
    await Promise.all(Array.from(this.#tunnels, (tunnel) => tunnel.close()))
    await this.#planes.closed()
    this.#options.privateKey.fill(0)
    this.#options.pskShare?.fill(0)
  }

  async #connect(url: string, options: EndpointConnectOptions & { signal: AbortSignal }): Promise<SnapTunnel> {
    options.signal.throwIfAborted()
    const asked = this.#planes.acquire(url)
    try {
      const target = await findTarget(asked.plane, options)
      const used = this.#planes.acquire(target.registrationUrl)
      try {
        return await this.#open(target, used, options)
      } catch (error) {
        used.release()
        throw error
      }
    } finally {
      asked.release()
    }
  }

  /** Registers, connects, and leaves the use of the control plane to the tunnel. */
  async #open(
    { server, serverPublicKey }: Target,
    use: ControlPlaneUse,
    options: EndpointConnectOptions & { signal: AbortSignal },
  ): Promise<SnapTunnel> {
    await use.plane.register(options.signal)
    const { privateKey } = this.#options
    const tunnel = await SnapTunnel.connect({ ...options, privateKey, server, serverPublicKey })
    if (this.closed) {
      await tunnel.close()
      throw this.#closing.signal.reason
    }
    this.#adopt(tunnel, use)
    return tunnel
  }

  #adopt(tunnel: SnapTunnel, use: ControlPlaneUse): void {
    const closed = (): void => {
      this.#tunnels.delete(tunnel)
      use.release()
    }
    this.#tunnels.add(tunnel)
    // It may have lived for an instant, and its event `close` be gone.
    if (tunnel.closed) {
      closed()
      return
    }
    tunnel.once('close', closed)
    tunnel.on('reconnecting', () => use.plane.doubt())
  }

  /** Calls the user's listeners. What they throw is uncaught, and stops nothing here. */
  #tell<Name extends keyof SnapTunEndpointEvents>(name: Name, ...args: SnapTunEndpointEvents[Name]): void {
    try {
      // The types of EventEmitter can't follow a name that is generic.
      EventEmitter.prototype.emit.call(this, name, ...args)
    } catch (error) {
      throwLater(error)
    }
  }
}

/** Where a tunnel goes: what was given, and for the rest what the control plane says. */
async function findTarget(
  plane: UsedControlPlane,
  { server, serverPublicKey, signal }: EndpointConnectOptions & { signal: AbortSignal },
): Promise<Target> {
  if (server !== undefined && serverPublicKey !== undefined) {
    return { server, serverPublicKey, registrationUrl: plane.url }
  }
  const told = await plane.getDataPlane(signal)
  const key = serverPublicKey ?? told.publicKey
  if (key === undefined) {
    throw controlPlaneError(
      'ERR_SNAPTUN_CONTROL_PLANE_ANSWER',
      plane.url,
      "it doesn't tell the data plane's key, which option 'serverPublicKey' can give",
    )
  }
  const { host: address, port } = told.address
  return {
    server: server ?? { address, port },
    serverPublicKey: key,
    registrationUrl: told.registrationUrl ?? plane.url,
  }
}
