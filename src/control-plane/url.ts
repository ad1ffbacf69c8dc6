/**
 * The URL of a control plane, which is also its name: two spellings of one URL are one control plane.
 */
import { SnapTunError } from '../errors.js'

/**
 * Checks a URL, and writes it in one way: as URLs are normalized, and without a slash at the end. Throws
 * `ERR_SNAPTUN_INVALID_OPTION`, which names the option.
 */
export function checkControlPlaneUrl(name: string, value: unknown): string {
  const text = value instanceof URL ? value.href : value
  if (typeof text !== 'string') throw invalid(name, 'must be a URL')
  if (!URL.canParse(text)) throw invalid(name, "must be a URL, as 'https://control.example'")
  const { href, username, password, search, hash } = new URL(text)
  // Not shown: there is a secret in it.
  if (username !== '' || password !== '') throw invalid(name, 'has credentials, where the token is what counts')
  if (search !== '' || hash !== '') throw invalid(name, `has a query or a fragment: ${href}`)
  return href.replace(/\/+$/, '')
}

function invalid(name: string, message: string): SnapTunError {
  return new SnapTunError('ERR_SNAPTUN_INVALID_OPTION', `option '${name}' ${message}`)
}
