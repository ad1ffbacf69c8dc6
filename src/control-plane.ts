/**
 * What an endpoint asks of a control plane.
 *
 * `ConnectControlPlane` is the real one. Another implementation serves where control planes speak another protocol, or
 * to watch over the calls of the real one.
 */
import type { AddressInput } from './address.js'
import type { KeyInput } from './keys.js'

/** What every call to a control plane has. */
export interface ControlPlaneRequest {
  /** What the token source gave for this call. */
  readonly token: string
  /** Aborts when the result is no longer wanted: by the caller, by the endpoint's end, or after `requestTimeout`. */
  readonly signal?: AbortSignal | undefined
}

/** An identity to be registered. */
export interface RegistrationRequest extends ControlPlaneRequest {
  /** The public key, base64. */
  readonly identity: string
  /** This side's share of a pre-shared key, 32 bytes; none when absent. */
  readonly pskShare?: Uint8Array | undefined
}

/** Where tunnels go. */
export interface DataPlaneInfo {
  /** Where the server listens. */
  readonly address: AddressInput
  /** The server's public key, if the control plane knows it. */
  readonly publicKey?: KeyInput | undefined
  /** The control plane to register at, if it is another than the one that was asked. */
  readonly registrationUrl?: string | undefined
}

/** What a control plane answers to a registration. */
export interface RegistrationResult {
  /** The control plane's share of a pre-shared key, 32 bytes; none when absent. */
  readonly pskShare?: Uint8Array | undefined
}

/**
 * The client of a control plane.
 *
 * A call that rejects is made again, see `RetryOptions`, unless its error has a property `transient` that is `false`:
 * then the control plane has refused, and asking again would change nothing. Errors must not contain the token.
 */
export interface ControlPlane {
  /** Where the data plane is, and which key it has. */
  getDataPlane(request: ControlPlaneRequest): PromiseLike<DataPlaneInfo> | DataPlaneInfo
  /**
   * Lets the data plane know an identity. Registering it again renews it, and must do no harm: it happens with each
   * renewed token, and when an answer got lost.
   */
  registerIdentity(request: RegistrationRequest): PromiseLike<RegistrationResult> | RegistrationResult
  /** Releases what it holds. Called once, after the last call. */
  close?(): PromiseLike<void> | void
}
