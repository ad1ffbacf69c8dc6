/**
 * Tokens: what can be one, and what it says of itself. Whether it is genuine is for those to see who take it.
 *
 * No error here contains a token.
 */
import { SnapTunError } from '../errors.js'

/** Checks that a header can carry a token: visible ASCII. Throws `ERR_SNAPTUN_TOKEN_INVALID`. */
export function checkToken(token: unknown): string {
  if (typeof token !== 'string') {
    throw new SnapTunError('ERR_SNAPTUN_TOKEN_INVALID', `a token is a string, not of type ${typeof token}`)
  }
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new SnapTunError(
      'ERR_SNAPTUN_TOKEN_INVALID',
      'a token is one or more visible ASCII characters, without spaces',
    )
  }
  return token
}

/** When a token ends that is a JWT and says so (`exp`, RFC 7519), in milliseconds since the epoch; else undefined. */
export function expiryOf(token: string): number | undefined {
  const parts = token.split('.')
  if (parts.length !== 3) return undefined
  let claims: unknown
  try {
    claims = JSON.parse(Buffer.from(parts[1] as string, 'base64url').toString())
  } catch {
    // Not a JWT, then: a token may be anything.
    return undefined
  }
  const exp = (claims as { exp?: unknown } | null)?.exp
  return typeof exp === 'number' && Number.isFinite(exp) ? exp * 1000 : undefined
}

/** The error of a token source that threw: for good, or for a time. */
export function tokenFailure(
  error: unknown,
  isFinal = (error as { transient?: unknown } | null)?.transient === false,
): SnapTunError {
  if (error instanceof SnapTunError && error.code === 'ERR_SNAPTUN_TOKEN_INVALID') return error
  return isFinal
    ? new SnapTunError('ERR_SNAPTUN_TOKEN_INVALID', 'the token source failed for good', error)
    : new SnapTunError('ERR_SNAPTUN_TOKEN_UNAVAILABLE', 'the token source failed', error)
}
