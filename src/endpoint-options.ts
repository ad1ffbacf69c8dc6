/**
 * Options of `SnapTunEndpoint`, and of its `connect`.
 */
import { ConnectControlPlane } from './connect-control-plane.js'
import { type ConnectOptions, checkConnectOptions, clearKeys } from './connect-options.js'
import { checkRetry, type RetryOptions } from './control-plane/retry.js'
import type { ControlPlaneFactory } from './control-plane/table.js'
import type { TokenSource } from './control-plane/token-source.js'
import type { ControlPlane } from './control-plane.js'
import { type KeyInput, parseKey, publicKey } from './keys.js'
import { checkDuration, checkFunction, checkObject } from './options.js'

/** Options of {@link SnapTunEndpoint}. Durations are in milliseconds. */
export interface EndpointOptions {
  /** The endpoint's private key: who all its tunnels are. */
  privateKey: KeyInput
  /** What control planes are shown. */
  tokenSource: TokenSource
  /**
   * Makes the client of the control plane at a URL, once while it is in use. What it throws, `connect` rejects with.
   * Default: a {@link ConnectControlPlane} with `requestTimeout`.
   */
  controlPlane?: (url: string) => ControlPlane
  /** This side's share of a pre-shared key, sent with each registration as it is; 32 bytes. Default: none. */
  pskShare?: KeyInput
  /** How often, and for how long, a control plane is asked again. */
  retry?: RetryOptions
  /** How long one request to a control plane may take, with the token for it; at least 1. Default: 10000. */
  requestTimeout?: number
}

/**
 * Options of `SnapTunEndpoint.connect`: those of a tunnel. `server` and `serverPublicKey` are what the control plane
 * tells when they are left out; where both are given it isn't asked.
 */
export type EndpointConnectOptions = Omit<ConnectOptions, 'privateKey' | 'server' | 'serverPublicKey'> &
  Partial<Pick<ConnectOptions, 'server' | 'serverPublicKey'>>

/** Options of an endpoint, completed. Keys are copies, to be cleared after use. */
export interface CheckedEndpointOptions {
  readonly privateKey: Uint8Array
  readonly tokenSource: TokenSource
  readonly controlPlane: ControlPlaneFactory
  readonly pskShare: Uint8Array | undefined
  readonly retry: Required<RetryOptions>
  readonly requestTimeout: number
}

/** Checks everything but the token source; throws a coded error that names the option. */
export function checkEndpointOptions(given: EndpointOptions): CheckedEndpointOptions {
  const options = checkObject('options', given)
  const requestTimeout = checkDuration('requestTimeout', options.requestTimeout ?? 10_000, 1)
  return {
    tokenSource: options.tokenSource,
    controlPlane:
      checkFunction('controlPlane', options.controlPlane) ??
      ((url) => new ConnectControlPlane(url, { timeout: requestTimeout })),
    retry: checkRetry('retry', options.retry),
    requestTimeout,
    pskShare: options.pskShare === undefined ? undefined : parseKey('pskShare', options.pskShare, 'secret'),
    privateKey: parseKey('privateKey', options.privateKey, 'private'),
  }
}

/** Checks what is known of a tunnel before a control plane was asked, so that a bad option registers nothing. */
export function checkEndpointConnectOptions(options: EndpointConnectOptions, privateKey: Uint8Array): void {
  const { native } = checkConnectOptions({
    ...checkObject('options', options),
    privateKey,
    // In place of what is not known yet: a name, which goes with every address family, and some key.
    server: options.server ?? 'data-plane.invalid:1',
    serverPublicKey: options.serverPublicKey ?? publicKey(privateKey),
  })
  clearKeys(native)
}
