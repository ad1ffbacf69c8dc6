/**
 * Keys: what a user may give as one, and how to make one.
 *
 * Inside the package a key is 32 bytes. An error about a key names the option, never any of its bytes.
 */
import { createPrivateKey, createPublicKey, KeyObject, randomBytes } from 'node:crypto'
import { types } from 'node:util'
import { SnapTunError } from './errors.js'

/**
 * A key: 32 bytes, or base64 of 44 characters as `wg genkey` and `wg pubkey` print it, or a `node:crypto` KeyObject
 * (X25519 private or public key; for a pre-shared key a secret of 32 bytes).
 */
export type KeyInput = Uint8Array | string | KeyObject

/** What a key is for; decides which KeyObject can be one. */
export type KeyUse = 'private' | 'public' | 'secret'

const KEY_BYTES = 32

/** DER of a PKCS #8 X25519 private key (RFC 8410, section 7) up to the 32 bytes of the key. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex')

function invalid(option: string, message: string): SnapTunError {
  return new SnapTunError('ERR_SNAPTUN_INVALID_KEY', `option '${option}' ${message}`)
}

function fromBase64(option: string, text: string): Uint8Array {
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) {
    throw invalid(option, 'is not base64 of 32 bytes: 44 characters, the last of them «=», as wg genkey prints')
  }
  const bytes = Buffer.from(text, 'base64')
  // The last character before «=» carries 2 bits that belong to no byte. Two spellings of one key would be two
  // identities to whoever compares strings.
  if (bytes.toString('base64') !== text) throw invalid(option, 'is not canonical base64: its last bits are not zero')
  // Buffer.from may hand out a piece of Node's shared pool; a key gets memory of its own, so that it can be cleared.
  const key = new Uint8Array(bytes)
  bytes.fill(0)
  return key
}

function fromKeyObject(option: string, key: KeyObject, use: KeyUse): Uint8Array {
  if (use === 'secret') {
    if (key.type !== 'secret') throw invalid(option, `is a ${key.type} key, where a secret of 32 bytes belongs`)
    return new Uint8Array(key.export())
  }
  if (key.type !== use || key.asymmetricKeyType !== 'x25519') {
    const got = key.type === 'secret' ? 'a secret' : `a ${key.type} key of type ${key.asymmetricKeyType}`
    throw invalid(option, `is ${got}, where a ${use} key of type x25519 belongs`)
  }
  const jwk = key.export({ format: 'jwk' })
  return new Uint8Array(Buffer.from((use === 'private' ? jwk.d : jwk.x) as string, 'base64url'))
}

/** Returns the key's 32 bytes in memory of their own, which the caller may clear. Throws `ERR_SNAPTUN_INVALID_KEY`. */
export function parseKey(option: string, value: KeyInput, use: KeyUse): Uint8Array {
  let key: Uint8Array
  if (typeof value === 'string') key = fromBase64(option, value)
  else if (types.isUint8Array(value)) key = new Uint8Array(value)
  else if (value instanceof KeyObject) key = fromKeyObject(option, value, use)
  else throw invalid(option, 'must be a key: 32 bytes, base64 of them, or a KeyObject')
  if (key.length !== KEY_BYTES) throw invalid(option, `has ${key.length} bytes, where a key has ${KEY_BYTES}`)
  if (key.every((byte) => byte === 0)) {
    throw invalid(option, `is all zero, which is no key${use === 'secret' ? '; leave it out for none' : ''}`)
  }
  return key
}

/** A key as base64, which is how identities are written everywhere in this package. */
export function keyToString(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('base64')
}

/** Makes a new private key from the system's random numbers. Base64, as `wg genkey` prints. */
export function generatePrivateKey(): string {
  const key = randomBytes(KEY_BYTES)
  // Clamped as X25519 does before use (RFC 7748, section 5), so that the text is the key that is used, as with wg.
  key[0] = (key[0] as number) & 248
  key[31] = ((key[31] as number) & 127) | 64
  const text = key.toString('base64')
  key.fill(0)
  return text
}

/**
 * The public key of a private key: the identity that the other side sees. Base64, as `wg pubkey` prints.
 *
 * Throws `ERR_SNAPTUN_INVALID_KEY`.
 */
export function publicKey(privateKey: KeyInput): string {
  const key = parseKey('privateKey', privateKey, 'private')
  const der = Buffer.concat([PKCS8_PREFIX, key])
  key.fill(0)
  const jwk = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({ format: 'jwk' })
  der.fill(0)
  return Buffer.from(jwk.x as string, 'base64url').toString('base64')
}
