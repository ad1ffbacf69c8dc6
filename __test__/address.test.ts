import { describe, expect, it } from 'vitest'
import { fromNativeAddress, parseAddress, resolveHost } from '../src/address.js'

function refusal(value: unknown, minPort: 0 | 1 = 1): { code: string; message: string } {
  try {
    parseAddress('server', value as never, minPort)
  } catch (error) {
    return error as { code: string; message: string }
  }
  return expect.fail('the address was accepted')
}

describe('an address', () => {
  it.each([
    ['192.0.2.1:51820', '192.0.2.1', 51820],
    ['[2001:db8::1]:443', '2001:db8::1', 443],
    ['[::]:1', '::', 1],
    ['host.example:65535', 'host.example', 65535],
    ['localhost:80', 'localhost', 80],
    ['my_host-1.example.:80', 'my_host-1.example.', 80],
    ['bücher.example:80', 'bücher.example', 80],
    ['[::ffff:192.0.2.7]:80', '192.0.2.7', 80],
  ])('may be %s', (text, host, port) => {
    expect(parseAddress('server', text, 1)).toEqual({ host, port })
  })

  it('may be an object as dgram gives it', () => {
    expect(parseAddress('server', { address: '::1', port: 7 }, 1)).toEqual({ host: '::1', port: 7 })
    expect(parseAddress('server', { address: '127.0.0.1', port: 7, family: 'IPv4' } as never, 1)).toEqual({
      host: '127.0.0.1',
      port: 7,
    })
  })

  it.each([
    ['nothing', ''],
    ['only a host', 'example.com'],
    ['only a port', ':51820'],
    ['an empty port', 'example.com:'],
    ['IPv6 without brackets', '2001:db8::1:51820'],
    ['bare IPv6', '::1'],
    ['IPv4 in brackets', '[192.0.2.1]:80'],
    ['a broken bracket', '[::1:80'],
    ['no port after the bracket', '[::1]'],
    ['port 0', '192.0.2.1:0'],
    ['port 65536', '192.0.2.1:65536'],
    ['a negative port', '192.0.2.1:-1'],
    ['a port with letters', '192.0.2.1:80a'],
    ['a URL', 'udp://example.com:80'],
    ['a path', 'example.com/x:80'],
    ['spaces', 'exam ple.com:80'],
    ['four numbers that are no IPv4', '300.1.1.1:80'],
    ['three numbers', '192.0.2:80'],
    ['a label that is too long', `${'a'.repeat(64)}.example:80`],
    ['an empty label', 'a..example:80'],
    ['a zone', '[fe80::1%eth0]:80'],
  ])('is refused when it is %s', (_what, text) => {
    const error = refusal(text)
    expect(error).toMatchObject({ code: 'ERR_SNAPTUN_INVALID_ADDRESS', transient: false })
    expect(error.message).toContain("'server'")
  })

  it.each([undefined, null, 51820, true, {}, { address: '127.0.0.1' }, { port: 1 }, { address: 1, port: 1 }])(
    'is refused when it is the value %j',
    (value) => {
      expect(refusal(value)).toMatchObject({ code: 'ERR_SNAPTUN_INVALID_ADDRESS' })
    },
  )

  it.each([1.5, Number.NaN, -1, 65_536, '80', undefined])('is refused with the port %j', (port) => {
    expect(refusal({ address: '127.0.0.1', port })).toMatchObject({ code: 'ERR_SNAPTUN_INVALID_ADDRESS' })
  })

  it('may have port 0 where the system can choose', () => {
    expect(parseAddress('bind', '127.0.0.1:0', 0)).toEqual({ host: '127.0.0.1', port: 0 })
  })

  it('gets its family from its form', () => {
    expect(fromNativeAddress({ address: '::1', port: 2 })).toEqual({ address: '::1', port: 2, family: 'IPv6' })
    expect(fromNativeAddress({ address: '127.0.0.1', port: 2 })).toMatchObject({ family: 'IPv4' })
  })
})

describe('looking up a host', () => {
  it('leaves an IP address as it is', async () => {
    await expect(resolveHost({ host: '::1', port: 5 }, undefined, undefined)).resolves.toEqual({
      address: '::1',
      port: 5,
      family: 'IPv6',
    })
  })

  it('finds localhost, in the family that is asked for', async () => {
    await expect(resolveHost({ host: 'localhost', port: 5 }, 'IPv4', undefined)).resolves.toEqual({
      address: '127.0.0.1',
      port: 5,
      family: 'IPv4',
    })
  })

  it('says which host was not found', async () => {
    const wait = resolveHost({ host: 'no-such-host.invalid', port: 5 }, undefined, undefined)
    await expect(wait).rejects.toMatchObject({ code: 'ERR_SNAPTUN_LOOKUP', transient: true })
    await expect(wait).rejects.toThrow(/no-such-host\.invalid/)
    await expect(wait).rejects.toHaveProperty('cause.syscall', 'getaddrinfo')
  })

  it('ends with the reason of its signal', async () => {
    const reason = new Error('enough')
    const done = resolveHost({ host: 'localhost', port: 5 }, undefined, AbortSignal.abort(reason))
    await expect(done).rejects.toBe(reason)
    const controller = new AbortController()
    const wait = resolveHost({ host: 'no-such-host.invalid', port: 5 }, undefined, controller.signal)
    controller.abort(reason)
    await expect(wait).rejects.toBe(reason)
  })
})
