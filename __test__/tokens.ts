/**
 * Tokens as control planes take them: JWTs signed with Ed25519, with the claims of the crate snap-tokens.
 */
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto'

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** Whoever issues tokens: a key, which control planes know the public half of. */
export class TokenIssuer {
  readonly #keys = generateKeyPairSync('ed25519')

  /** The public key, in hexadecimal. */
  get key(): string {
    return Buffer.from(this.#keys.publicKey.export({ format: 'jwk' }).x as string, 'base64url').toString('hex')
  }

  /**
   * A token that ends so many seconds from now, or has ended before. Each has a number of its own unless it is given.
   */
  issue({ seconds = 600, id = randomUUID() as string } = {}): string {
    const now = Date.now() / 1000
    const claims = {
      ver: 1,
      iss: 'ssr',
      aud: 'snap',
      jti: id,
      exp: Math.floor(now + seconds),
      nbf: Math.floor(now - 3600),
      iat: Math.floor(now - 3600),
      pssid: Buffer.alloc(17).toString('base64url'),
    }
    const signed = `${encode({ alg: 'EdDSA', typ: 'JWT' })}.${encode(claims)}`
    return `${signed}.${sign(null, Buffer.from(signed), this.#keys.privateKey).toString('base64url')}`
  }
}
