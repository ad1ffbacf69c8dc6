import { createPrivateKey, createPublicKey, createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { generatePrivateKey, publicKey } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { parseKey } from '../src/keys.js'

/** RFC 7748, section 6.1: the key pairs of Alice and Bob. */
const VECTORS = [
  [
    '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a',
    '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
  ],
  [
    '5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb',
    'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f',
  ],
] as const

const hex = (text: string): Buffer => Buffer.from(text, 'hex')

/** What `parseKey` throws, as far as users see it. */
function refusal(value: unknown, use: 'private' | 'public' | 'secret' = 'private'): { code: string; message: string } {
  try {
    parseKey('serverPublicKey', value as never, use)
  } catch (error) {
    return error as { code: string; message: string }
  }
  return expect.fail('the key was accepted')
}

describe('publicKey', () => {
  it.each(VECTORS)('derives the public key of RFC 7748 (%#)', (secret, identity) => {
    expect(publicKey(hex(secret))).toBe(hex(identity).toString('base64'))
    expect(publicKey(hex(secret).toString('base64'))).toBe(hex(identity).toString('base64'))
  })

  it('takes a KeyObject', () => {
    const pair = generateKeyPairSync('x25519')
    const { x } = pair.publicKey.export({ format: 'jwk' })
    expect(publicKey(pair.privateKey)).toBe(Buffer.from(x as string, 'base64url').toString('base64'))
  })
})

describe('generatePrivateKey', () => {
  it('makes another clamped key each time, as wg genkey does', () => {
    const keys = Array.from({ length: 50 }, generatePrivateKey)
    expect(new Set(keys).size).toBe(50)
    for (const text of keys) {
      const key = Buffer.from(text, 'base64')
      expect(key).toHaveLength(32)
      expect((key[0] as number) & 7).toBe(0)
      expect((key[31] as number) & 0xc0).toBe(0x40)
    }
  })
})

describe('a key', () => {
  const raw = randomBytes(32)
  raw[0] = 1

  it('may be 32 bytes, their base64, or a KeyObject', () => {
    const pair = generateKeyPairSync('x25519')
    const d = Buffer.from(pair.privateKey.export({ format: 'jwk' }).d as string, 'base64url')
    const x = Buffer.from(pair.publicKey.export({ format: 'jwk' }).x as string, 'base64url')
    expect(Buffer.from(parseKey('k', raw, 'private'))).toEqual(raw)
    expect(Buffer.from(parseKey('k', raw.toString('base64'), 'public'))).toEqual(raw)
    expect(Buffer.from(parseKey('k', createSecretKey(raw), 'secret'))).toEqual(raw)
    expect(Buffer.from(parseKey('k', pair.privateKey, 'private'))).toEqual(d)
    expect(Buffer.from(parseKey('k', pair.publicKey, 'public'))).toEqual(x)
  })

  it('is copied, so that the copy can be cleared without harm', () => {
    const given = Buffer.from(raw)
    for (const value of [given, given.toString('base64'), createSecretKey(given)]) {
      parseKey('k', value, 'secret').fill(0)
      expect(Buffer.from(parseKey('k', value, 'secret'))).toEqual(raw)
    }
  })

  it('may be a view into a larger buffer', () => {
    const large = Buffer.concat([randomBytes(7), raw, randomBytes(9)])
    expect(Buffer.from(parseKey('k', large.subarray(7, 39), 'private'))).toEqual(raw)
  })

  it.each([0, 1, 31, 33, 64])('of %i bytes is refused', (length) => {
    expect(refusal(Buffer.alloc(length, 7))).toMatchObject({ code: 'ERR_SNAPTUN_INVALID_KEY' })
    expect(refusal(Buffer.alloc(length, 7)).message).toContain(`'serverPublicKey' has ${length} bytes`)
  })

  it.each([
    ['too short', 'AAAA'],
    ['without padding', raw.toString('base64').slice(0, 43)],
    ['with foreign characters', `${'ä'.repeat(43)}=`],
    ['of base64url', `${'-_'.repeat(21)}-=`],
    ['with a line break', `${raw.toString('base64')}\n`],
    ['of 33 bytes', Buffer.alloc(33, 1).toString('base64')],
    ['with bits that belong to no byte', `${'A'.repeat(42)}B=`],
    ['in hex', raw.toString('hex')],
  ])('as text %s is refused', (_what, text) => {
    expect(refusal(text)).toMatchObject({ code: 'ERR_SNAPTUN_INVALID_KEY' })
  })

  it.each(['private', 'public', 'secret'] as const)('that is all zero is refused as a %s key', (use) => {
    for (const zero of [Buffer.alloc(32), Buffer.alloc(32).toString('base64')]) {
      expect(refusal(zero, use)).toMatchObject({ code: 'ERR_SNAPTUN_INVALID_KEY' })
      expect(refusal(zero, use).message).toMatch(/serverPublicKey.*all zero/)
    }
  })

  it('of another kind is refused', () => {
    const ed25519 = generateKeyPairSync('ed25519')
    const x25519 = generateKeyPairSync('x25519')
    const rejected = [
      refusal(ed25519.privateKey),
      refusal(x25519.publicKey),
      refusal(x25519.privateKey, 'public'),
      refusal(createSecretKey(raw)),
      refusal(x25519.privateKey, 'secret'),
      refusal(createSecretKey(randomBytes(16)), 'secret'),
      refusal(undefined),
      refusal(null),
      refusal(42),
      refusal({}),
      refusal([...raw]),
      refusal(new Uint16Array(16).fill(1)),
    ]
    for (const error of rejected) {
      expect(error).toMatchObject({ code: 'ERR_SNAPTUN_INVALID_KEY', transient: false })
      expect(error.message).toContain("'serverPublicKey'")
    }
  })

  it('never shows in an error', () => {
    const text = raw.toString('base64')
    for (const bad of [`${text}=`, text.slice(1), raw.subarray(1), raw.toString('hex')]) {
      const { message } = refusal(bad)
      const shown = typeof bad === 'string' ? bad : bad.toString('base64')
      for (let i = 0; i + 6 <= shown.length; i += 3) expect(message).not.toContain(shown.slice(i, i + 6))
    }
  })

  it('is the same for Node, whichever form it comes in', () => {
    const der = generateKeyPairSync('x25519').privateKey.export({ format: 'der', type: 'pkcs8' })
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    const x = createPublicKey(key).export({ format: 'jwk' }).x as string
    expect(publicKey(der.subarray(-32))).toBe(Buffer.from(x, 'base64url').toString('base64'))
  })
})
