/**
 * Fresh keys for each run, spelled as each contender wants them.
 */
import { generateKeyPairSync } from 'node:crypto'

/** @typedef {{ private64: string, public64: string, privateHex: string, publicHex: string }} KeyPair */

/** @returns {KeyPair} */
export function keyPair() {
  const { d, x } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' })
  const secret = Buffer.from(d, 'base64url')
  const identity = Buffer.from(x, 'base64url')
  return {
    private64: secret.toString('base64'),
    public64: identity.toString('base64'),
    privateHex: secret.toString('hex'),
    publicHex: identity.toString('hex'),
  }
}
