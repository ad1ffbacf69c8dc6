/**
 * Keys, spelled as each contender wants them.
 */
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'

/** @typedef {{ private64: string, public64: string, privateHex: string, publicHex: string }} KeyPair */

/** What comes before the 32 bytes of a private key in PKCS #8 (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b656e04220420', 'hex')

/** @returns {KeyPair} */
function spelled(key) {
  const { d, x } = key.export({ format: 'jwk' })
  const secret = Buffer.from(d, 'base64url')
  const identity = Buffer.from(x, 'base64url')
  return {
    private64: secret.toString('base64'),
    public64: identity.toString('base64'),
    privateHex: secret.toString('hex'),
    publicHex: identity.toString('hex'),
  }
}

/** A fresh pair, for one run. */
export function keyPair() {
  return spelled(generateKeyPairSync('x25519').privateKey)
}

/** The identity of client `index` of the tool that loads servers with handshakes: `secret` in its handshakes.rs. */
export function loadIdentity(index) {
  const secret = Buffer.alloc(32, 0x5a)
  secret.writeBigUInt64LE(BigInt(index))
  return spelled(createPrivateKey({ key: Buffer.concat([PKCS8, secret]), format: 'der', type: 'pkcs8' }))
}
