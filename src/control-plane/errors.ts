/**
 * What goes wrong with control planes, as coded errors. None contains the token.
 */
import { SnapTunError, type SnapTunErrorCode } from '../errors.js'

/** Codes that say something of a control plane. */
export type ControlPlaneErrorCode = Extract<
  SnapTunErrorCode,
  `ERR_SNAPTUN_CONTROL_PLANE_${string}` | 'ERR_SNAPTUN_TOKEN_REFUSED'
>

const WORDS: Readonly<Record<ControlPlaneErrorCode, string>> = {
  ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE: 'is unavailable',
  ERR_SNAPTUN_CONTROL_PLANE_REFUSED: 'refuses the request',
  ERR_SNAPTUN_CONTROL_PLANE_ANSWER: 'gives no answer that can be used',
  ERR_SNAPTUN_TOKEN_REFUSED: 'refuses the token',
}

/** Characters of somebody else's words that a message has at most. */
const MAX_WORDS = 200

/** An error about the control plane at `url`; `words` say more. */
export function controlPlaneError(
  code: ControlPlaneErrorCode,
  url: string,
  words: string,
  cause?: unknown,
): SnapTunError {
  return new SnapTunError(code, `the control plane ${url} ${WORDS[code]}: ${words}`, cause)
}

/** Somebody else's words for a message: not too many, on one line, and without the token, should they repeat it. */
export function quote(words: string, token: string): string {
  return words
    .replaceAll(token, '<token>')
    .replace(/[^\x20-\x7e]+/g, ' ')
    .slice(0, MAX_WORDS)
}
