import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Agent as HttpAgent } from 'node:http'
import { Agent } from 'node:https'
import { type AddressInfo, createServer } from 'node:net'
import path from 'node:path'
import { ConnectControlPlane, type ConnectControlPlaneOptions, type SnapTunError } from 'snaptun'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type ControlPlaneOptions, ControlPlaneProcess } from './control-plane-process.ts'
import { bytes, keyPair, rejection, thrown, until } from './helpers.ts'
import { connectError, field, plain, proto, serve } from './http-stub.ts'
import { TokenIssuer } from './tokens.ts'

const hex = (base64: string): string => Buffer.from(base64, 'base64').toString('hex')

function client(url: string, options?: ConnectControlPlaneOptions): ConnectControlPlane {
  const plane = new ConnectControlPlane(url, options)
  onTestFinished(() => plane.close())
  return plane
}

/** A real control plane, a client of it, and who issues its tokens. */
async function real(
  options: Partial<ControlPlaneOptions> = {},
): Promise<{ control: ControlPlaneProcess; plane: ConnectControlPlane; issuer: TokenIssuer }> {
  const issuer = new TokenIssuer()
  const control = await ControlPlaneProcess.start({ 'token-key': issuer.key, ...options })
  return { control, plane: client(control.url), issuer }
}

describe('with the real control plane a client', () => {
  it('learns the address and the key of the data plane', async () => {
    const { identity } = keyPair()
    const { plane, issuer } = await real({ 'data-plane': '192.0.2.7:51820', 'data-plane-key': hex(identity) })
    expect(await plane.getDataPlane({ token: issuer.issue() })).toEqual({
      address: '192.0.2.7:51820',
      publicKey: identity,
      registrationUrl: undefined,
    })
  })

  it('learns of an IPv6 data plane whose key it has to know, and of another place to register at', async () => {
    const url = 'https://register.example/snap'
    const { plane, issuer } = await real({ 'data-plane': '[2001:db8::7]:51820', 'registration-url': url })
    expect(await plane.getDataPlane({ token: issuer.issue() })).toEqual({
      address: '[2001:db8::7]:51820',
      publicKey: undefined,
      registrationUrl: url,
    })
  })

  it('registers an identity until the token ends, with its share as it is', async () => {
    const { plane, issuer, control } = await real()
    const { identity } = keyPair()
    const pskShare = randomBytes(32)
    const before = Date.now()
    const result = await plane.registerIdentity({ token: issuer.issue({ id: 'first' }), identity, pskShare })
    expect(result).toEqual({ pskShare: undefined })
    await plane.registerIdentity({ token: issuer.issue({ id: 'second', seconds: 60 }), identity })
    await until(() => control.registrations.length === 2, 'both reports')
    expect(control.registrations).toMatchObject([
      { identity, pskShare: pskShare.toString('base64'), token: 'first' },
      { identity, pskShare: undefined, token: 'second' },
    ])
    const [first, second] = control.registrations.map(({ expiresAt }) => (expiresAt - before) / 1000)
    expect(first).toBeGreaterThan(595)
    expect(first).toBeLessThan(605)
    expect(second).toBeLessThan(65)
  })

  it.each([
    ['expired', (issuer: TokenIssuer) => issuer.issue({ seconds: -120 })],
    ["somebody else's", () => new TokenIssuer().issue()],
    ['none', () => 'not.a.token'],
  ])('is refused for good with a token that is %s', async (_what, issue) => {
    const { plane, control, issuer } = await real()
    const token = issue(issuer)
    for (const call of [plane.getDataPlane({ token }), plane.registerIdentity({ token, ...keyPair() })]) {
      const error = await rejection(call, 'ERR_SNAPTUN_TOKEN_REFUSED')
      expect(error.transient).toBe(false)
      expect(error.message).toContain(control.url)
      expect(error.message).not.toContain(token)
    }
    expect(control.registrations).toEqual([])
  })

  it('is refused with the words of the control plane when the token ended a moment ago', async () => {
    // The crate that checks tokens allows for clocks that differ by a minute; the registration then has no time left.
    const { plane, issuer } = await real()
    const call = plane.registerIdentity({ token: issuer.issue({ seconds: -5 }), ...keyPair() })
    const error = await rejection(call, 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED')
    expect(error).toMatchObject({
      transient: false,
      message: expect.stringContaining('expiration time is in the past'),
    })
  })

  it('is refused every time, although the control plane closes without reading what was sent', async () => {
    const { plane } = await real()
    const { identity } = keyPair()
    for (let i = 0; i < 100; i++) {
      await rejection(plane.registerIdentity({ token: 'no.such.token', identity }), 'ERR_SNAPTUN_TOKEN_REFUSED')
    }
  })

  it('can not use a path where there is no such service', async () => {
    const { control, issuer } = await real()
    const plane = client(`${control.url}/elsewhere/`)
    const error = await rejection(plane.getDataPlane({ token: issuer.issue() }), 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER')
    expect(error).toMatchObject({ transient: false, message: expect.stringContaining('HTTP 404') })
  })

  it('finds it unavailable, for a time, when it is down', async () => {
    const { control, plane, issuer } = await real()
    await control.stop()
    const error = await rejection(
      plane.getDataPlane({ token: issuer.issue() }),
      'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE',
    )
    expect(error).toMatchObject({ transient: true, cause: { code: 'ECONNREFUSED' } })
  })
})

describe('a call', () => {
  const token = 'a.token'
  const address = field(1, '192.0.2.1:1')

  it('is one POST of Connect, with the token in its header and nothing else that is secret', async () => {
    const stub = await serve(proto(field(1, bytes(1, 32))))
    const { identity } = keyPair()
    const pskShare = bytes(2, 32)
    const plane = client(`${stub.url}/prefix/`)
    expect(plane.url).toBe(`${stub.url}/prefix`)
    const result = await plane.registerIdentity({ token, identity, pskShare })
    expect(Buffer.from(result.pskShare as Uint8Array)).toEqual(bytes(1, 32))
    expect(stub.requests).toMatchObject([
      {
        path: '/prefix/anapaya.snap.v1.SnapControl/RegisterSnapTunIdentity',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/proto' },
        body: Buffer.concat([field(1, Buffer.from(identity, 'base64')), field(2, pskShare)]),
      },
    ])
  })

  it('says 32 zero bytes for no share, and takes them for none', async () => {
    const stub = await serve(proto(field(1, Buffer.alloc(32))))
    const { identity } = keyPair()
    expect(await client(stub.url).registerIdentity({ token, identity })).toEqual({ pskShare: undefined })
    expect(stub.requests[0]?.body.subarray(34)).toEqual(field(2, Buffer.alloc(32)))
  })

  it('takes a bare host and port to register at for plain HTTP', async () => {
    const stub = await serve(proto(field(1, 'gw.example:1'), field(2, '192.0.2.1:9000')))
    const { registrationUrl } = await client(stub.url).getDataPlane({ token })
    expect(registrationUrl).toBe('http://192.0.2.1:9000')
  })

  it.each([
    ['503', plain(503)],
    ['429', plain(429)],
    ['500, of something in between', plain(500, 'upstream crashed')],
    ['unavailable', connectError(503, 'unavailable')],
    ['resource_exhausted', connectError(429, 'resource_exhausted')],
    ['internal', connectError(500, 'internal', 'a bug over there')],
    ['unknown', connectError(500, 'unknown')],
    ['aborted', connectError(409, 'aborted')],
  ])('finds a control plane that answers %s unavailable, for a time', async (_what, answer) => {
    const stub = await serve(answer)
    const error = await rejection(client(stub.url).getDataPlane({ token }), 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE')
    expect(error.transient).toBe(true)
  })

  it.each([
    ['401', plain(401), 'ERR_SNAPTUN_TOKEN_REFUSED'],
    ['403', plain(403), 'ERR_SNAPTUN_TOKEN_REFUSED'],
    ['unauthenticated', connectError(401, 'unauthenticated'), 'ERR_SNAPTUN_TOKEN_REFUSED'],
    ['permission_denied', connectError(403, 'permission_denied'), 'ERR_SNAPTUN_TOKEN_REFUSED'],
    ['not_found', connectError(404, 'not_found'), 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED'],
    ['failed_precondition', connectError(400, 'failed_precondition'), 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED'],
  ])('is refused for good by %s', async (_what, answer, code) => {
    const stub = await serve(answer)
    expect((await rejection(client(stub.url).getDataPlane({ token }), code)).transient).toBe(false)
  })

  it.each([
    ['a web page', plain(200, '<html>', { 'content-type': 'text/html' })],
    ['JSON', plain(200, '{}', { 'content-type': 'application/json' })],
    ['an error of who knows what', plain(400)],
    ['that there is no such path', plain(404)],
    ['a redirection', plain(302, '', { location: 'http://192.0.2.1/' })],
    ['a message that is cut short', proto(address.subarray(0, -1))],
    ['a message with a length beyond all bounds', proto(Buffer.from([0x0a, ...Array(9).fill(0xff), 1]))],
    ['a message with a number without end', proto(Buffer.alloc(20, 0xff))],
    ['a message with field 0', proto(field(0, ''), address)],
    ['a message with a field of no known kind', proto(address, Buffer.from([0x0b]))],
    ['an address that is no text', proto(field(1, Buffer.from([0xc3, 0x28])))],
    ['an address that is written as a number', proto(Buffer.from([0x08, 1]))],
    ['a message of 20 kB', proto(Buffer.alloc(20_000, address))],
    ['no address', proto()],
    ['an address without a port', proto(field(1, '192.0.2.1'))],
    ['an address with port 0', proto(field(1, '192.0.2.1:0'))],
    ['a key of 31 bytes', proto(address, field(3, bytes(1, 31)))],
    ['a key that is all zero', proto(address, field(3, Buffer.alloc(32)))],
    ['a URL to register at that is none', proto(address, field(2, 'http://'))],
    ['a URL to register at that has credentials', proto(address, field(2, 'http://me:secret@192.0.2.1'))],
  ])('can use no answer that is %s', async (_what, answer) => {
    const stub = await serve(answer)
    const error = await rejection(client(stub.url).getDataPlane({ token }), 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER')
    expect(error.transient).toBe(false)
    expect(error.message).toContain(stub.url)
    expect(error.message).not.toMatch(/option|secret/)
    expect(stub.requests.length).toBe(1)
  })

  it('passes over what a newer control plane may say beside', async () => {
    const more = Buffer.from([0x48, 0x96, 0x01, 0x51, ...bytes(1, 8), 0x5d, ...bytes(2, 4), ...field(15, 'more')])
    const stub = await serve(proto(field(1, 'old.example:1'), more, field(1, 'gw.example:1'), more))
    // Of several fields with one number the last counts.
    expect(await client(stub.url).getDataPlane({ token })).toMatchObject({ address: 'gw.example:1' })
  })

  it('gives an answer that can be used or the error that says so, whatever comes', async () => {
    const genuine = Buffer.concat([address, field(2, 'http://192.0.2.1'), field(3, bytes(1, 32))])
    let round = 0
    const stub = await serve((response) => {
      const noise = bytes(round, 64)
      const body = Buffer.from(genuine)
      // Some bytes of a genuine answer are changed, and some answers are noise.
      for (let i = 0; i < 3; i++) body[(noise[i] as number) % body.length] = noise[i + 3] as number
      proto(round++ % 3 === 0 ? noise : body)(response)
    })
    const plane = client(stub.url)
    const outcomes = { usable: 0, unusable: 0 }
    for (let i = 0; i < 300; i++) {
      const [answer] = await Promise.allSettled([plane.getDataPlane({ token })])
      if (answer.status === 'fulfilled') outcomes.usable++
      else if (answer.reason.code === 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER') outcomes.unusable++
      else throw answer.reason
    }
    expect(outcomes.usable).toBeGreaterThan(10)
    expect(outcomes.unusable).toBeGreaterThan(100)
  })

  it.each([1, 31, 33])('can use no share of %i bytes', async (size) => {
    const stub = await serve(proto(field(1, bytes(1, size))))
    await rejection(client(stub.url).registerIdentity({ token, ...keyPair() }), 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER')
  })

  it('repeats a token in no error, whatever the control plane says', async () => {
    const stub = await serve((response, { headers }) =>
      connectError(400, 'invalid_argument', `${headers.authorization} ${'is wrong '.repeat(1000)}`)(response),
    )
    const error = await rejection(client(stub.url).getDataPlane({ token }), 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED')
    expect(error.message).toContain('Bearer <token> is wrong')
    expect(error.message.length).toBeLessThan(400)
    expect(JSON.stringify([error.stack, error.cause])).not.toContain(token)
  })

  it('takes no longer than its timeout', async () => {
    const stub = await serve(() => undefined)
    const plane = client(stub.url, { timeout: 100 })
    const start = performance.now()
    await rejection(plane.getDataPlane({ token }), 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE')
    expect(performance.now() - start).toBeLessThan(1000)
    expect(stub.requests[0]?.headers['connect-timeout-ms']).toBe('100')
  })

  it('finds a control plane unavailable that cuts the connection, or whose name is not known', async () => {
    const stub = await serve((response) => response.socket?.destroy())
    await rejection(client(stub.url).getDataPlane({ token }), 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE')
    const cut = await serve((response) => {
      response.writeHead(200, { 'content-type': 'application/proto', 'content-length': 100 }).write('half')
      setTimeout(() => response.socket?.destroy(), 20)
    })
    await rejection(client(cut.url).getDataPlane({ token }), 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE')
    // A name with an address of each kind: the error is that of several.
    for (const url of ['http://control-plane.invalid', 'http://localhost:9']) {
      await rejection(client(url).getDataPlane({ token }), 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE')
    }
  })

  it('can use nothing of what speaks no HTTP, or no TLS', async () => {
    const server = createServer((socket) => socket.on('error', () => undefined).end('SSH-2.0-OpenSSH_9.2\r\n'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void server.close())
    const { port } = server.address() as AddressInfo
    for (const scheme of ['http', 'https']) {
      const plane = client(`${scheme}://127.0.0.1:${port}`)
      await rejection(plane.getDataPlane({ token }), 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER')
    }
  })

  it('is given up by its signal, with the reason, and so is the connection', async () => {
    const stub = await serve(() => undefined)
    const abort = new AbortController()
    const call = client(stub.url).getDataPlane({ token, signal: abort.signal })
    await until(() => stub.requests.length === 1, 'the request')
    const reason = new Error('changed my mind')
    abort.abort(reason)
    await expect(call).rejects.toBe(reason)
    await expect(client(stub.url).getDataPlane({ token, signal: abort.signal })).rejects.toBe(reason)
    await expect.poll(() => stub.connections()).toBe(0)
    expect(stub.requests.length).toBe(1)
  })

  it.each([undefined, 7, '', 'two words', 'line\nbreak', 'ümlaut'])('takes no %o for a token', async (value) => {
    const plane = client('http://127.0.0.1:9')
    const error = await rejection(plane.getDataPlane({ token: value as string }), 'ERR_SNAPTUN_TOKEN_INVALID')
    if (typeof value === 'string' && value !== '') expect(error.message).not.toContain(value)
  })
})

describe('a client', () => {
  const token = 'a.token'

  it('leaves no connection behind when it is closed, and takes no more calls', async () => {
    const stub = await serve(proto(field(1, '192.0.2.1:1')))
    const plane = client(stub.url)
    for (let i = 0; i < 3; i++) await plane.getDataPlane({ token })
    expect(await stub.connections()).toBe(1)
    await plane.close()
    await plane.close()
    await expect.poll(() => stub.connections()).toBe(0)
    await rejection(plane.getDataPlane({ token }), 'ERR_SNAPTUN_CLOSED')
  })

  it('holds no connection open after refusals', async () => {
    const stub = await serve(plain(401, 'no'))
    const plane = client(stub.url)
    for (let i = 0; i < 5; i++) await rejection(plane.getDataPlane({ token }), 'ERR_SNAPTUN_TOKEN_REFUSED')
    await expect.poll(() => stub.connections()).toBeLessThanOrEqual(1)
  })

  it('ends the calls under way when it is closed', async () => {
    const stub = await serve(() => undefined)
    const plane = client(stub.url)
    const calls = [plane.getDataPlane({ token }), plane.registerIdentity({ token, ...keyPair() })]
    await until(() => stub.requests.length === 2, 'both requests')
    await plane.close()
    for (const call of calls) await rejection(call, 'ERR_SNAPTUN_CLOSED')
  })

  it('uses TLS, and trusts whom it is told to', async () => {
    const pem = (name: string): string => readFileSync(path.join(__dirname, `fixtures/loopback-${name}.pem`), 'utf8')
    const tls = { key: pem('key'), cert: pem('cert') }
    const stub = await serve(proto(field(1, '192.0.2.1:1')), tls)
    const stranger = await rejection(client(stub.url).getDataPlane({ token }), 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER')
    expect(stranger.message).toContain('certificate')
    expect(stub.requests).toEqual([])
    const agent = new Agent({ ca: tls.cert, keepAlive: true })
    onTestFinished(() => agent.destroy())
    const plane = client(stub.url, { agent })
    expect(await plane.getDataPlane({ token })).toMatchObject({ address: '192.0.2.1:1' })
    await plane.close()
    // The agent is its owner's to close.
    expect(await stub.connections()).toBe(1)
  })

  it('is told to register without TLS in vain, when it was asked with', async () => {
    const pem = (name: string): string => readFileSync(path.join(__dirname, `fixtures/loopback-${name}.pem`), 'utf8')
    const tls = { key: pem('key'), cert: pem('cert') }
    const stub = await serve(proto(field(1, '192.0.2.1:1'), field(2, '192.0.2.1:80')), tls)
    const agent = new Agent({ ca: tls.cert })
    const error = await rejection(
      client(stub.url, { agent }).getDataPlane({ token }),
      'ERR_SNAPTUN_CONTROL_PLANE_ANSWER',
    )
    expect(error.message).toContain('without TLS')
  })

  it.each([
    ['ftp://control.example', /http: or https:/],
    ['control.example', /must be a URL/],
    ['control.example:443', /http: or https:/],
    ['', /must be a URL/],
    [443, /must be a URL/],
    ['https://me:hunter2@control.example', /credentials/],
    ['https://control.example?x=1', /query/],
    ['https://control.example#x', /fragment/],
  ])('can not be made for %o', (url, message) => {
    const error: SnapTunError = thrown(() => new ConnectControlPlane(url as string), 'ERR_SNAPTUN_INVALID_OPTION')
    expect(error.message).toMatch(/^option 'url'/)
    expect(error.message).toMatch(message)
    expect(error.message).not.toContain('hunter2')
  })

  it('names the option that is wrong', () => {
    const wrong = { timeout: 0, agent: {} }
    for (const [name, value] of Object.entries(wrong)) {
      const options = { [name]: value } as ConnectControlPlaneOptions
      const error = thrown(
        () => new ConnectControlPlane('http://control.example', options),
        'ERR_SNAPTUN_INVALID_OPTION',
      )
      expect(error.message).toContain(`option '${name}'`)
    }
    expect(() => new ConnectControlPlane(new URL('http://control.example'), { agent: new HttpAgent() })).not.toThrow()
  })

  it('checks identities and shares before it calls anybody', async () => {
    const plane = client('http://127.0.0.1:9')
    await rejection(plane.registerIdentity({ token, identity: 'me' }), 'ERR_SNAPTUN_INVALID_KEY')
    const pskShare = new Uint8Array(31)
    await rejection(plane.registerIdentity({ token, ...keyPair(), pskShare }), 'ERR_SNAPTUN_INVALID_KEY')
  })
})
