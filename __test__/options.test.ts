import { describe, expect, it } from 'vitest'
import { checkConnectOptions } from '../src/connect-options.js'
import { generatePrivateKey } from '../src/keys.js'
import { checkListenOptions } from '../src/listen-options.js'
import { checkDuration, checkInteger, checkQueue, checkTime } from '../src/options.js'

/** Options that are right, with one that is not. */
function refusal(check: (options: never) => unknown, override: Record<string, unknown>): string {
  const key = generatePrivateKey()
  const right = { privateKey: key, server: '127.0.0.1:1', serverPublicKey: key }
  check(right as never)
  try {
    check({ ...right, ...override } as never)
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_SNAPTUN_INVALID_OPTION', transient: false })
    return (error as Error).message
  }
  return expect.fail(`${JSON.stringify(override)} was accepted`)
}

const NUMBERS = [-1, Number.NaN, Number.POSITIVE_INFINITY, '5', null, {}, []]

describe('options of connect', () => {
  it.each(['connectTimeout', 'keepalive', 'socketBufferSize'])('%s is refused unless it is in range', (name) => {
    for (const value of NUMBERS.slice(0, name === 'keepalive' ? 4 : undefined)) {
      expect(refusal(checkConnectOptions, { [name]: value === null ? true : value })).toContain(`'${name}'`)
    }
  })

  it.each(['receiveQueue', 'sendQueue'])('%s is refused unless its bounds are', (name) => {
    for (const value of [{ packets: 0 }, { packets: 1.5 }, { bytes: 65_535 }, { bytes: 2 ** 31 }, 5, null, []]) {
      expect(refusal(checkConnectOptions, { [name]: value })).toContain(`'${name}`)
    }
  })

  it.each([
    ['initialDelay', [-1, Number.NaN, '5', 2 ** 31]],
    ['maxDelay', [-1, 4999, Number.POSITIVE_INFINITY]],
    ['factor', [0.9, 101, Number.NaN, '2']],
    ['jitter', [-1, Number.POSITIVE_INFINITY]],
    ['maxElapsed', [-1, Number.NaN, '5']],
  ])('reconnect.%s is refused unless it is in range', (name, values) => {
    for (const value of values) {
      expect(refusal(checkConnectOptions, { reconnect: { [name]: value } })).toContain(`'reconnect.${name}'`)
    }
  })

  it('reconnect is completed, or switched off', () => {
    const key = generatePrivateKey()
    const reconnect = (value: unknown): unknown =>
      checkConnectOptions({ privateKey: key, serverPublicKey: key, server: 'a:5', reconnect: value as false }).native
        .reconnect
    expect(reconnect(false)).toBeUndefined()
    expect(reconnect({ initialDelay: 200_000 })).toMatchObject({ initialDelay: 200_000, maxDelay: 200_000 })
    expect(reconnect({ maxElapsed: 0 })).toMatchObject({ maxElapsed: 0 })
    for (const value of [true, null, 5])
      expect(refusal(checkConnectOptions, { reconnect: value })).toContain('reconnect')
  })

  it('livenessTimeout, onAddressChange and highWaterMark are refused unless they are what they should be', () => {
    for (const value of [-1, 1, 249, Number.NaN, '500']) {
      expect(refusal(checkConnectOptions, { livenessTimeout: value })).toContain("'livenessTimeout'")
    }
    for (const value of ['ignore', true, 5]) {
      expect(refusal(checkConnectOptions, { onAddressChange: value })).toContain("'close' or 'continue'")
    }
    for (const value of [0, 1025, 1.5, '5']) {
      expect(refusal(checkConnectOptions, { highWaterMark: value })).toContain("'highWaterMark'")
    }
  })

  it('signal is refused unless it is one', () => {
    expect(refusal(checkConnectOptions, { signal: {} })).toContain("'signal'")
  })

  it('have the documented defaults', () => {
    const key = generatePrivateKey()
    const { native } = checkConnectOptions({ privateKey: key, server: 'localhost:5', serverPublicKey: key })
    expect(native).toMatchObject({
      connectTimeout: 15_000,
      keepalive: 10,
      receiveQueuePackets: 4096,
      receiveQueueBytes: 2 << 20,
      sendQueuePackets: 1024,
      sendQueueBytes: 2 << 20,
      highWaterMark: 1024,
      socketBufferBytes: 4 << 20,
      keepOnAddressChange: false,
      reconnect: { initialDelay: 5000, maxDelay: 180_000, factor: 1.3, jitter: 500 },
    })
    expect(native.reconnect).not.toHaveProperty('maxElapsed')
    expect(native).not.toHaveProperty('livenessTimeout')
    expect(native).not.toHaveProperty('bind')
    expect(native).not.toHaveProperty('presharedKey')
  })

  it('keepalive is rounded up to whole seconds', () => {
    const key = generatePrivateKey()
    const of = (keepalive: number): number =>
      checkConnectOptions({ privateKey: key, server: 'a:5', serverPublicKey: key, keepalive }).native.keepalive
    expect([of(0), of(1), of(1000), of(1001), of(65_535_000)]).toEqual([0, 1, 1, 2, 65_535])
    expect(refusal(checkConnectOptions, { keepalive: 65_535_001 })).toContain("'keepalive'")
  })

  it('bind and server must be of one family', () => {
    const key = generatePrivateKey()
    const check = (server: string, bind: string): unknown =>
      checkConnectOptions({ privateKey: key, serverPublicKey: key, server, bind }).family
    expect(() => check('[::1]:5', '127.0.0.1:0')).toThrow(/'bind' is IPv4 and 'server' is IPv6/)
    expect(() => check('127.0.0.1:5', '[::1]:0')).toThrow(/'bind' is IPv6 and 'server' is IPv4/)
    expect(() => check('127.0.0.1:5', 'localhost:0')).toThrow(/'bind' has the host 'localhost'/)
    expect(check('localhost:5', '[::1]:0')).toBe('IPv6')
    expect(check('localhost:5', '127.0.0.1:0')).toBe('IPv4')
  })
})

describe('options of listen', () => {
  it.each(['shards', 'maxTunnels', 'maxPendingAuthorizations', 'authorizationTimeout', 'socketBufferSize'])(
    '%s is refused unless it is in range',
    (name) => {
      for (const value of [0, -1, Number.NaN, 2 ** 40, '5', true, {}]) {
        expect(refusal(checkListenOptions, { [name]: value })).toContain(`'${name}'`)
      }
    },
  )

  it('ipv6Only, authorize and signal are refused unless they are what they should be', () => {
    expect(refusal(checkListenOptions, { ipv6Only: 1 })).toContain("'ipv6Only'")
    expect(refusal(checkListenOptions, { authorize: {} })).toContain("'authorize'")
    expect(refusal(checkListenOptions, { signal: 'now' })).toContain("'signal'")
  })

  it('have the documented defaults', () => {
    const { native, bind } = checkListenOptions({ privateKey: generatePrivateKey() })
    expect(bind).toEqual({ host: '0.0.0.0', port: 0 })
    expect(native).toMatchObject({
      shards: 1,
      ipv6Only: false,
      maxTunnels: 16_384,
      maxPendingAuthorizations: 1024,
      authorizationTimeout: 10_000,
    })
  })
})

describe('the checks', () => {
  it('take the ends of a range and nothing beyond', () => {
    expect([checkInteger('n', 3, 3, 5), checkInteger('n', 5, 3, 5)]).toEqual([3, 5])
    for (const value of [2, 6, 3.5]) expect(() => checkInteger('n', value, 3, 5)).toThrow(/'n'.*from 3 to 5; got/)
    expect(checkDuration('t', 2 ** 31 - 1, 0)).toBe(2 ** 31 - 1)
    expect(() => checkDuration('t', 2 ** 31, 0)).toThrow(/'t'/)
  })

  it('complete a queue that is given in part', () => {
    const defaults = { packets: 10, bytes: 100_000 }
    expect(checkQueue('q', undefined, defaults)).toEqual(defaults)
    expect(checkQueue('q', { packets: 5 }, defaults)).toEqual({ packets: 5, bytes: 100_000 })
  })

  it('know a time as a Date, as milliseconds, and as never', () => {
    expect(checkTime('t', new Date(5))).toBe(5)
    expect(checkTime('t', 5.5)).toBe(5.5)
    expect(checkTime('t', undefined)).toBe(Number.POSITIVE_INFINITY)
    for (const value of [new Date(Number.NaN), Number.NaN, '2030-01-01', null, {}]) {
      expect(() => checkTime('t', value)).toThrow(/'t'/)
    }
  })

  it('never show a value that may be a secret', () => {
    const secret = 'correct horse battery staple'
    expect(refusal(checkConnectOptions, { connectTimeout: secret })).not.toContain(secret)
    expect(refusal(checkListenOptions, { authorize: secret })).not.toContain(secret)
  })
})
