/**
 * What control planes answer, checked: it comes from outside, whoever implements the client.
 */
import { types } from 'node:util'
import { type HostPort, parseAddress } from '../address.js'
import type { DataPlaneInfo, RegistrationResult } from '../control-plane.js'
import { SnapTunError } from '../errors.js'
import { keyToString, parseKey } from '../keys.js'
import { controlPlaneError } from './errors.js'
import { checkControlPlaneUrl } from './url.js'

/** Of a share of a pre-shared key. */
export const SHARE_BYTES = 32

/** {@link DataPlaneInfo}, checked. */
export interface DataPlane {
  readonly address: HostPort
  /** Base64. */
  readonly publicKey: string | undefined
  readonly registrationUrl: string | undefined
}

function unusable(url: string, words: string, cause?: unknown): SnapTunError {
  return controlPlaneError('ERR_SNAPTUN_CONTROL_PLANE_ANSWER', url, words, cause)
}

/** Checks where the control plane at `url` says that the data plane is. Throws `ERR_SNAPTUN_CONTROL_PLANE_ANSWER`. */
export function checkDataPlane(answer: DataPlaneInfo, url: string): DataPlane {
  if (typeof answer !== 'object' || answer === null) throw unusable(url, 'it says nothing of the data plane')
  const { address, publicKey, registrationUrl } = answer
  try {
    return {
      address: parseAddress('address', address, 1),
      publicKey: publicKey === undefined ? undefined : keyToString(parseKey('publicKey', publicKey, 'public')),
      registrationUrl: registrationUrl === undefined ? undefined : checkRegistrationUrl(registrationUrl, url),
    }
  } catch (error) {
    if (!(error instanceof SnapTunError)) throw error
    if (error.code === 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER') throw error
    // The checks speak of options: here it is a part of the answer that they name.
    throw unusable(url, error.message.replace(/^option /, 'its '), error)
  }
}

function checkRegistrationUrl(registrationUrl: unknown, url: string): string {
  const checked = checkControlPlaneUrl('registrationUrl', registrationUrl)
  // The token goes there: what was kept from those on the way must not be told to them now.
  if (url.startsWith('https:') && checked.startsWith('http:')) {
    throw unusable(url, `it says to register without TLS, at ${checked}`)
  }
  return checked
}

/** Checks the answer to a registration, and copies the share. Throws `ERR_SNAPTUN_CONTROL_PLANE_ANSWER`. */
export function checkRegistration(answer: RegistrationResult, url: string): Uint8Array | undefined {
  if (typeof answer !== 'object' || answer === null) throw unusable(url, 'it says nothing of the registration')
  const { pskShare } = answer
  if (pskShare === undefined) return undefined
  if (!types.isUint8Array(pskShare) || pskShare.length !== SHARE_BYTES) {
    throw unusable(url, `its share of the pre-shared key does not have ${SHARE_BYTES} bytes`)
  }
  return new Uint8Array(pskShare)
}
