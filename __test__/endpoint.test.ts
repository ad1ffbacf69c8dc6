/**
 * One identity, many tunnels: with the real control plane of the crate snap-control, which decides whom a server lets
 * in, and with control planes in this process where what they do has to be arranged.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type DataPlaneInfo,
  type EndpointOptions,
  generatePrivateKey,
  type Registration,
  SnapTunEndpoint,
  type SnapTunError,
  type SnapTunnel,
  type SnapTunServer,
} from 'snaptun'
import { describe, expect, it } from 'vitest'
import { ControlPlaneProcess } from './control-plane-process.ts'
import { echo, keyPair, listen, rejection, text, thrown, until } from './helpers.ts'
import { dataPlaneOf, endpoint, OwnControlPlane, RETRY } from './own-control-plane.ts'
import { TokenIssuer } from './tokens.ts'

const URL_OF_OWN = 'http://control.example'

const hex = (base64: string): string => Buffer.from(base64, 'base64').toString('hex')

/** Sends a packet to a server that echoes, and reads it. */
async function expectEcho(tunnel: SnapTunnel): Promise<void> {
  const packet = randomBytes(16).toString('hex')
  await tunnel.send(Buffer.from(packet))
  expect(text(await tunnel.recv({ signal: AbortSignal.timeout(5000) }))).toBe(packet)
}

/**
 * A server that echoes to whom a real control plane has registered, for as long as that says, and who issues tokens.
 */
async function realSystem(listenOn?: string) {
  const issuer = new TokenIssuer()
  let control: ControlPlaneProcess | undefined
  const server = await listen({ authorize: async ({ identity }) => (await control?.authorize(identity)) ?? null })
  void echo(server as never)
  const { address, port } = server.address()
  const start = async (): Promise<ControlPlaneProcess> => {
    control = await ControlPlaneProcess.start({
      'token-key': issuer.key,
      'data-plane': `${address}:${port}`,
      'data-plane-key': hex(server.publicKey),
      listen: listenOn ?? control?.listening ?? '127.0.0.1:0',
    })
    // What was registered again passes for longer.
    control.onRegistered = ({ identity, expiresAt }) => server.authorize(identity, { expiresAt })
    return control
  }
  return { issuer, server, start }
}

/** A server that echoes to everybody, and a control plane in this process that tells of it. */
async function ownSystem(
  options: Partial<EndpointOptions> = {},
  register?: ConstructorParameters<typeof OwnControlPlane>[0]['register'],
) {
  const server = await listen()
  void echo(server as never)
  const planes: OwnControlPlane[] = []
  const controlPlane = (): OwnControlPlane => {
    const dataPlane = () => dataPlaneOf(server as never)
    const plane = new OwnControlPlane(register === undefined ? { dataPlane } : { dataPlane, register })
    planes.push(plane)
    return plane
  }
  const made = endpoint({ controlPlane, ...options })
  return { made, server, planes, plane: () => planes.at(-1) as OwnControlPlane }
}

describe('with the real control plane an endpoint', () => {
  it('gets its tunnels through a server that lets in whom the control plane registered', async () => {
    const { issuer, server, start } = await realSystem()
    const control = await start()
    const pskShare = randomBytes(32)
    const made = endpoint({ tokenSource: issuer.issue({ id: 'only' }), pskShare })
    const heard: Registration[] = []
    made.on('registered', (registration) => heard.push(registration))
    const tunnels = [await made.connect(control.url), await made.connect(new URL(control.url))]
    for (const tunnel of tunnels) await expectEcho(tunnel)
    expect(Array.from(server.tunnels(), ({ identity }) => identity)).toEqual([made.publicKey, made.publicKey])
    expect(control.registrations).toMatchObject([
      { identity: made.publicKey, token: 'only', pskShare: pskShare.toString('base64') },
    ])
    expect(heard).toEqual([{ controlPlane: control.url, pskShare: undefined, expiresAt: expect.any(Number) }])
    expect(made.stats()).toEqual({
      tunnels: 2,
      connecting: 0,
      controlPlanes: 1,
      registrations: 1,
      registrationErrors: 0,
    })
  })

  it("gets its tunnels through the crate's own server, too", async () => {
    const issuer = new TokenIssuer()
    const control = await ControlPlaneProcess.start({ 'token-key': issuer.key })
    const made = endpoint({ tokenSource: () => issuer.issue() })
    const tunnel = await made.connect(control.url)
    expect(`127.0.0.1:${tunnel.remoteAddress.port}`).toBe(control.dataPlane)
    await expectEcho(tunnel)
  })

  it.each([
    ['expired', (issuer: TokenIssuer) => issuer.issue({ seconds: -120 })],
    ["somebody else's", () => new TokenIssuer().issue()],
  ])('is refused for good with a token that is %s', async (_what, issue) => {
    const { issuer, start } = await realSystem()
    const control = await start()
    const made = endpoint({ tokenSource: issue(issuer) })
    const began = performance.now()
    const error = await rejection(made.connect(control.url), 'ERR_SNAPTUN_TOKEN_REFUSED')
    expect(error.transient).toBe(false)
    expect(performance.now() - began).toBeLessThan(RETRY.maxElapsed / 2)
    expect(control.registrations).toEqual([])
    expect(made.stats()).toMatchObject({ tunnels: 0, connecting: 0, controlPlanes: 0 })
  })

  it('waits for a control plane that is down until that is up', async () => {
    const { issuer, start } = await realSystem()
    await (await start()).stop()
    const made = endpoint({ tokenSource: issuer.issue() })
    const { listening } = await start().then(async (control) => {
      await control.stop()
      return control
    })
    const connecting = made.connect(`http://${listening}`)
    await sleep(300)
    expect(made.stats().connecting).toBe(1)
    const control = await start()
    await expectEcho(await connecting)
    expect(control.registrations.length).toBe(1)
  })

  it('gives up on one that stays down, with a transient error', async () => {
    const { issuer, start } = await realSystem()
    const control = await start()
    await control.stop()
    const made = endpoint({ tokenSource: issuer.issue(), retry: { ...RETRY, maxElapsed: 300 } })
    const error = await rejection(made.connect(control.url), 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE')
    expect(error).toMatchObject({ transient: true, cause: { code: 'ECONNREFUSED' } })
    expect(error.message).toContain(control.url)
  })

  it('keeps its tunnels beyond the end of a token by registering with the next', async () => {
    const { issuer, server, start } = await realSystem()
    const control = await start()
    const made = endpoint({ tokenSource: () => issuer.issue({ seconds: 3 }) })
    const tunnel = await made.connect(control.url)
    const firstEnd = control.registrations[0]?.expiresAt as number
    await until(() => Date.now() > firstEnd + 200, 'the end of the first token', 4000)
    await expectEcho(tunnel)
    expect(control.registrations.length).toBeGreaterThan(1)
    expect(server.stats().droppedUnauthorized).toBe(0)
  })

  it('is let in no longer than its token says when there is no other', async () => {
    const { issuer, server, start } = await realSystem()
    const control = await start()
    const tunnel = await endpoint({ tokenSource: issuer.issue({ seconds: 2 }) }).connect(control.url)
    await expectEcho(tunnel)
    await until(() => Array.from(server.tunnels()).length === 0, 'the end at the server', 4000)
    await tunnel.send(Buffer.from('too late'))
    await expect(tunnel.recv({ signal: AbortSignal.timeout(200) })).rejects.toMatchObject({ name: 'TimeoutError' })
  })

  it('registers once for all who connect at the same time', async () => {
    const { issuer, start } = await realSystem()
    const control = await start()
    const made = endpoint({ tokenSource: issuer.issue() })
    const tunnels = await Promise.all(Array.from({ length: 20 }, () => made.connect(control.url)))
    for (const tunnel of tunnels) await expectEcho(tunnel)
    expect(control.registrations.length).toBe(1)
    expect(made.stats()).toMatchObject({ tunnels: 20, controlPlanes: 1, registrations: 1 })
  })

  it('registers where it is told to', async () => {
    const { issuer, server, start } = await realSystem()
    const registrar = await start()
    const { address, port } = server.address()
    const asked = await ControlPlaneProcess.start({
      'token-key': issuer.key,
      'data-plane': `${address}:${port}`,
      'data-plane-key': hex(server.publicKey),
      'registration-url': registrar.url,
    })
    const made = endpoint({ tokenSource: issuer.issue() })
    await expectEcho(await made.connect(asked.url))
    expect(asked.registrations).toEqual([])
    expect(registrar.registrations).toMatchObject([{ identity: made.publicKey }])
    expect(made.stats().controlPlanes).toBe(1)
  })

  it('forgets it with the last tunnel, and registers anew for the next', async () => {
    const { issuer, start } = await realSystem()
    const control = await start()
    const made = endpoint({ tokenSource: issuer.issue() })
    const tunnels = [await made.connect(control.url), await made.connect(control.url)]
    await tunnels[0]?.close()
    expect(made.stats()).toMatchObject({ tunnels: 1, controlPlanes: 1 })
    await tunnels[1]?.close()
    expect(made.stats()).toMatchObject({ tunnels: 0, controlPlanes: 0 })
    await expectEcho(await made.connect(control.url))
    expect(control.registrations.length).toBe(2)
  })

  it('registers again when a tunnel has lost its server, and with it the registration', async () => {
    const issuer = new TokenIssuer()
    const privateKey = generatePrivateKey()
    let control: ControlPlaneProcess | undefined
    const startServer = async (port: number, forgotten: number): Promise<SnapTunServer> => {
      const authorize = async ({ identity }: { identity: string }) =>
        (await control?.authorize(identity, forgotten)) ?? null
      const server = await listen({ privateKey, port, authorize })
      void echo(server as never)
      return server
    }
    const server = await startServer(0, 0)
    const { port } = server.address()
    control = await ControlPlaneProcess.start({
      'token-key': issuer.key,
      'data-plane': `127.0.0.1:${port}`,
      'data-plane-key': hex(server.publicKey),
    })
    const made = endpoint({ tokenSource: issuer.issue() })
    const reconnect = { initialDelay: 200, maxDelay: 500, jitter: 0 }
    const tunnel = await made.connect(control.url, { livenessTimeout: 300, reconnect })
    await expectEcho(tunnel)
    expect(control.registrations.length).toBe(1)
    // A registration of this very moment would be in doubt with nobody.
    await sleep(1000)
    await server.close()
    const second = await startServer(port, 1)
    await until(() => Array.from(second.tunnels()).length === 1, 'the tunnel', 10_000)
    await expectEcho(tunnel)
    expect(control.registrations.length).toBeGreaterThan(1)
  })
})

describe('connect', () => {
  it('asks a control plane nothing that is known beforehand', async () => {
    const { made, server, plane } = await ownSystem()
    const server2 = { server: server.address(), serverPublicKey: server.publicKey }
    await expectEcho(await made.connect(URL_OF_OWN, server2))
    expect(plane().asked).toEqual([])
    expect(plane().registered).toMatchObject([{ identity: made.publicKey, pskShare: undefined }])
  })

  it('takes from its options what they say, and the rest from the control plane', async () => {
    const server = await listen()
    const { publicKey } = server
    const told: DataPlaneInfo[] = [
      { address: '192.0.2.1:1', publicKey },
      { address: server.address(), publicKey: keyPair().identity },
    ]
    const plane = new OwnControlPlane({ dataPlane: () => told.shift() as DataPlaneInfo })
    const made = endpoint({ controlPlane: () => plane })
    const tunnel = await made.connect(URL_OF_OWN, { server: server.address() })
    expect(tunnel.remoteAddress).toEqual(server.address())
    await made.connect(URL_OF_OWN, { serverPublicKey: publicKey })
    expect(told).toEqual([])
  })

  it('needs to know the key of the server from somewhere', async () => {
    const server = await listen()
    const plane = new OwnControlPlane({ dataPlane: () => ({ address: server.address() }) })
    const made = endpoint({ controlPlane: () => plane })
    const error = await rejection(made.connect(URL_OF_OWN), 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER')
    expect(error.message).toContain('serverPublicKey')
    expect(plane.registered).toEqual([])
    await made.connect(URL_OF_OWN, { serverPublicKey: server.publicKey })
  })

  it('tries again what fails for a time, and tells of it', async () => {
    const failures = [new Error('busy'), Object.assign(new Error('busy still'), { transient: true })]
    const { made, plane } = await ownSystem({}, () => {
      const failure = failures[plane().registered.length - 1]
      if (failure !== undefined) throw failure
      return {}
    })
    const errors: unknown[][] = []
    made.on('registrationerror', (...args) => errors.push(args))
    await expectEcho(await made.connect(URL_OF_OWN))
    expect(errors).toMatchObject(
      failures.map((cause) => [{ code: 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE', transient: true, cause }, URL_OF_OWN]),
    )
    expect(made.stats()).toMatchObject({ registrations: 1, registrationErrors: 2 })
  })

  it('waits longer from attempt to attempt', async () => {
    const times: number[] = []
    const retry = { initialDelay: 50, factor: 2, maxDelay: 150, jitter: 0, maxElapsed: 600 }
    const { made } = await ownSystem({ retry }, () => {
      times.push(performance.now())
      throw new Error('busy')
    })
    const began = performance.now()
    await rejection(made.connect(URL_OF_OWN), 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE')
    const elapsed = performance.now() - began
    expect(elapsed).toBeGreaterThan(590)
    expect(elapsed).toBeLessThan(1500)
    const delays = times.slice(1).map((time, i) => time - (times[i] as number))
    // The last may be cut short by the end.
    for (const [i, least] of [50, 100, 150].entries()) expect(delays[i]).toBeGreaterThan(least - 3)
    expect(times.length).toBeLessThanOrEqual(6)
  })

  it.each([
    ['asked', { dataPlane: () => Promise.reject(Object.assign(new Error('no'), { transient: false })) }],
    ['registered at', { register: () => Promise.reject(Object.assign(new Error('no'), { transient: false })) }],
  ])('fails at once where it is refused when %s', async (_when, answers) => {
    const server = await listen()
    const plane = new OwnControlPlane({ dataPlane: () => dataPlaneOf(server as never), ...answers })
    const made = endpoint({ controlPlane: () => plane })
    const error = await rejection(made.connect(URL_OF_OWN), 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED')
    expect(error).toMatchObject({ transient: false, cause: { message: 'no' } })
    expect(plane.asked.length).toBe(1)
    expect(plane.registered.length).toBeLessThanOrEqual(1)
    expect(plane.closed).toBe(1)
  })

  it.each([
    ['nothing', undefined],
    ['an address without a port', { address: '127.0.0.1' }],
    ['a key that is none', { address: '127.0.0.1:1', publicKey: 'key' }],
    ['a URL to register at without TLS', { address: '127.0.0.1:1', registrationUrl: 'http://other.example' }],
  ])('can use no control plane that tells %s', async (_what, told) => {
    const plane = new OwnControlPlane({ dataPlane: () => told as never })
    const made = endpoint({ controlPlane: () => plane })
    await rejection(made.connect('https://control.example'), 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER')
    expect(plane.asked.length).toBe(1)
  })

  it.each([undefined, null, { pskShare: 'text' }, { pskShare: new Uint8Array(16) }])(
    'can use no registration that is %o',
    async (answer) => {
      const { made } = await ownSystem({}, () => Promise.resolve(answer as never))
      await rejection(made.connect(URL_OF_OWN), 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER')
    },
  )

  it('tells the share of the control plane as it came', async () => {
    const pskShare = randomBytes(32)
    const { made } = await ownSystem({}, () => ({ pskShare }))
    const heard: Registration[] = []
    made.on('registered', (registration) => heard.push(registration))
    await made.connect(URL_OF_OWN)
    expect(heard).toEqual([{ controlPlane: URL_OF_OWN, pskShare: new Uint8Array(pskShare), expiresAt: undefined }])
  })

  it('rejects with what made no control plane', async () => {
    const reason = new Error('not this one')
    const made = endpoint({
      controlPlane: () => {
        throw reason
      },
    })
    await expect(made.connect(URL_OF_OWN)).rejects.toBe(reason)
    const wrong = endpoint({ controlPlane: () => ({}) as never })
    const error = await rejection(wrong.connect(URL_OF_OWN), 'ERR_SNAPTUN_INVALID_OPTION')
    expect(error.message).toContain("option 'controlPlane'")
    expect(wrong.stats()).toMatchObject({ controlPlanes: 0, connecting: 0 })
  })

  it('takes two spellings of a URL for one control plane', async () => {
    const { made, planes } = await ownSystem()
    for (const url of [URL_OF_OWN, `${URL_OF_OWN}/`, new URL('HTTP://CONTROL.example:80')]) await made.connect(url)
    expect(planes.length).toBe(1)
    expect(planes[0]?.registered.length).toBe(1)
  })

  it.each([
    ['controlPlaneUrl', ['control.example']],
    ['controlPlaneUrl', ['ftp://u:p@control.example']],
    ['server', [URL_OF_OWN, { server: 'nowhere' }]],
    ['serverPublicKey', [URL_OF_OWN, { serverPublicKey: 'key' }]],
    ['connectTimeout', [URL_OF_OWN, { connectTimeout: 0 }]],
    ['presharedKey', [URL_OF_OWN, { presharedKey: new Uint8Array(5) }]],
    ['signal', [URL_OF_OWN, { signal: 'now' }]],
  ])('checks option %s before it asks anybody', async (name, args) => {
    const { made, planes } = await ownSystem()
    const error = await made.connect(...(args as [string])).catch((error: SnapTunError) => error)
    expect(error).toMatchObject({ name: 'SnapTunError', message: expect.stringContaining(`option '${name}'`) })
    expect(planes).toEqual([])
  })

  it('leaves nothing behind when the tunnel does not come about', async () => {
    const server = await listen({ authorize: () => null })
    const plane = new OwnControlPlane({ dataPlane: () => dataPlaneOf(server as never) })
    const made = endpoint({ controlPlane: () => plane })
    await rejection(made.connect(URL_OF_OWN, { connectTimeout: 200 }), 'ERR_SNAPTUN_CONNECT_TIMEOUT')
    expect(made.stats()).toMatchObject({ tunnels: 0, connecting: 0, controlPlanes: 0, registrations: 1 })
    expect(plane.closed).toBe(1)
  })

  it('is done with a control plane that it asked too late an answer of', async () => {
    let signal: AbortSignal | undefined
    const { made, plane } = await ownSystem({ requestTimeout: 50 }, (request) => {
      if (signal !== undefined) return {}
      signal = request.signal
      return new Promise(() => undefined)
    })
    await expectEcho(await made.connect(URL_OF_OWN))
    expect(signal?.aborted).toBe(true)
    expect(plane().registered.length).toBe(2)
  })
})

describe('an abort', () => {
  /** A registration that waits until the test lets it go on. */
  function held() {
    const waiting: { signal: AbortSignal; release: () => void }[] = []
    const register = ({ signal }: { signal?: AbortSignal | undefined }) =>
      new Promise<object>((resolve) => waiting.push({ signal: signal as AbortSignal, release: () => resolve({}) }))
    return { waiting, register }
  }

  it('of one connect takes nothing from another that waits for the same registration', async () => {
    const { waiting, register } = held()
    const { made } = await ownSystem({}, register)
    const abort = new AbortController()
    const given = made.connect(URL_OF_OWN, { signal: abort.signal })
    const other = made.connect(URL_OF_OWN)
    await until(() => waiting.length === 1, 'the registration')
    const reason = new Error('changed my mind')
    abort.abort(reason)
    await expect(given).rejects.toBe(reason)
    expect(waiting[0]?.signal.aborted).toBe(false)
    waiting[0]?.release()
    await expectEcho(await other)
    expect(waiting.length).toBe(1)
  })

  it('of the last one gives the registration up, and the next connect makes another', async () => {
    const { waiting, register } = held()
    const { made, planes } = await ownSystem({}, register)
    const aborts = [new AbortController(), new AbortController()]
    const connects = aborts.map(({ signal }) => made.connect(URL_OF_OWN, { signal }))
    await until(() => waiting.length === 1, 'the registration')
    for (const abort of aborts) abort.abort()
    for (const connecting of connects) await expect(connecting).rejects.toMatchObject({ name: 'AbortError' })
    expect(waiting[0]?.signal.aborted).toBe(true)
    expect(planes[0]?.closed).toBe(1)
    const next = made.connect(URL_OF_OWN)
    await until(() => waiting.length === 2, 'another registration')
    // What comes of the first now is nobody's any more.
    waiting[0]?.release()
    waiting[1]?.release()
    await expectEcho(await next)
    expect(made.stats()).toMatchObject({ controlPlanes: 1, registrations: 1 })
  })

  it('before the call is the end of it', async () => {
    const { made, planes } = await ownSystem()
    const reason = new Error('not at all')
    await expect(made.connect(URL_OF_OWN, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    expect(planes).toEqual([])
  })

  it('in the pause before the next attempt is noticed at once', async () => {
    const retry = { ...RETRY, initialDelay: 10_000, maxDelay: 10_000, maxElapsed: 60_000 }
    const { made, plane } = await ownSystem({ retry }, () => {
      throw new Error('busy')
    })
    const abort = new AbortController()
    const connecting = made.connect(URL_OF_OWN, { signal: abort.signal })
    await until(() => plane()?.registered.length === 1, 'the first attempt')
    abort.abort()
    await expect(connecting).rejects.toMatchObject({ name: 'AbortError' })
    expect(made.stats()).toMatchObject({ connecting: 0, controlPlanes: 0 })
  })

  it('does nothing to a tunnel that is open', async () => {
    const { made } = await ownSystem()
    const abort = new AbortController()
    const tunnel = await made.connect(URL_OF_OWN, { signal: abort.signal })
    abort.abort()
    await expectEcho(tunnel)
  })
})

describe('a renewal', () => {
  /** Renews the token when the test says so. */
  async function renewable(register: ConstructorParameters<typeof OwnControlPlane>[0]['register'], retry = RETRY) {
    const tokens: ((token: string) => void)[] = []
    const source = async function* (): AsyncGenerator<string> {
      yield 'first'
      for (;;) yield await new Promise<string>((resolve) => tokens.push(resolve))
    }
    const system = await ownSystem({ tokenSource: source(), retry }, register)
    const renew = async (token: string): Promise<void> => {
      await until(() => tokens.length > 0, 'the question for a token')
      tokens.shift()?.(token)
    }
    return { ...system, renew }
  }

  it('that fails for a time is made again, for as long as it takes, and the tunnel goes on', async () => {
    let failing = 0
    // More attempts than a connect would make.
    const retry = { ...RETRY, initialDelay: 5, maxDelay: 10, maxElapsed: 30 }
    const { made, plane, renew } = await renewable(({ token }) => {
      if (token === 'second' && ++failing <= 20) throw new Error('busy')
      return {}
    }, retry)
    const tunnel = await made.connect(URL_OF_OWN)
    await renew('second')
    await until(() => made.stats().registrations === 2, 'the renewal')
    expect(plane().tokens).toEqual(['first', ...Array(21).fill('second')])
    expect(made.stats().registrationErrors).toBe(20)
    await expectEcho(tunnel)
  })

  it('that is refused waits for the next token, or the next connect', async () => {
    const { made, plane, renew } = await renewable(({ token }) => {
      if (token === 'second') throw Object.assign(new Error('no'), { transient: false })
      return {}
    })
    const errors: unknown[][] = []
    made.on('registrationerror', (...args) => errors.push(args))
    const tunnel = await made.connect(URL_OF_OWN)
    await renew('second')
    await until(() => errors.length === 1, 'the refusal')
    await sleep(200)
    expect(errors).toMatchObject([[{ code: 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED', transient: false }, URL_OF_OWN]])
    await expectEcho(tunnel)
    await rejection(made.connect(URL_OF_OWN), 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED')
    await renew('third')
    await until(() => plane().tokens.at(-1) === 'third', 'the renewal')
    expect(plane().tokens).toEqual(['first', 'second', 'second', 'third'])
    await expectEcho(tunnel)
  })

  it('ends with the last tunnel', async () => {
    const { made, planes, renew } = await renewable(({ token }) => {
      if (token !== 'first') throw new Error('busy')
      return {}
    })
    const tunnel = await made.connect(URL_OF_OWN)
    await renew('second')
    await until(() => made.stats().registrationErrors > 1, 'the attempts')
    await tunnel.close()
    const attempts = planes[0]?.registered.length
    await sleep(300)
    expect(planes[0]?.registered.length).toBe(attempts)
    expect(planes[0]?.closed).toBe(1)
  })

  it('does not keep a connect waiting while the token before it is good', async () => {
    const { made, renew } = await renewable(({ token }) => (token === 'first' ? {} : new Promise(() => undefined)))
    await made.connect(URL_OF_OWN)
    await renew('second')
    await sleep(50)
    await expectEcho(await made.connect(URL_OF_OWN))
  })
})

describe('close', () => {
  it('closes the tunnels, forgets the control planes, and takes no more calls', async () => {
    const { made, plane } = await ownSystem()
    const tunnels = [await made.connect(URL_OF_OWN), await made.connect(URL_OF_OWN)]
    expect(Array.from(made.tunnels())).toEqual(tunnels)
    expect(made.closed).toBe(false)
    await Promise.all([made.close(), made.close()])
    expect(made.closed).toBe(true)
    expect(tunnels.map(({ closed }) => closed)).toEqual([true, true])
    expect(Array.from(made.tunnels())).toEqual([])
    expect(made.stats()).toMatchObject({ tunnels: 0, connecting: 0, controlPlanes: 0, registrations: 1 })
    expect(plane().closed).toBe(1)
    await rejection(made.connect(URL_OF_OWN), 'ERR_SNAPTUN_CLOSED')
  })

  it.each([
    ['for a token', { tokenSource: () => new Promise<string>(() => undefined) }, {}],
    ['for the address of the data plane', {}, { dataPlane: () => new Promise<never>(() => undefined) }],
    ['for its registration', {}, { register: () => new Promise<never>(() => undefined) }],
    [
      'for the next attempt to register',
      { retry: { ...RETRY, initialDelay: 10_000, maxDelay: 10_000, maxElapsed: 60_000 } },
      {
        register: () => {
          throw new Error('busy')
        },
      },
    ],
    ['for the handshake', {}, {}],
  ])('ends a connect that waits %s', async (_what, options, answers) => {
    const server = await listen({ authorize: () => null })
    const plane = new OwnControlPlane({ dataPlane: () => dataPlaneOf(server as never), ...answers })
    const made = endpoint({ controlPlane: () => plane, ...options })
    const connecting = made.connect(URL_OF_OWN)
    // Registered for, and so that the rejection is nobody's surprise.
    const rejected = rejection(connecting, 'ERR_SNAPTUN_CLOSED')
    await sleep(100)
    expect(made.stats().connecting).toBe(1)
    await made.close()
    await rejected
    expect(made.stats()).toMatchObject({ tunnels: 0, connecting: 0, controlPlanes: 0 })
    expect(plane.closed).toBe(1)
  })

  it('is what the end of a block does', async () => {
    const { made } = await ownSystem()
    const tunnel = await made.connect(URL_OF_OWN)
    await made[Symbol.asyncDispose]()
    expect(tunnel.closed).toBe(true)
  })
})

describe('an endpoint', () => {
  it('has the identity of its key', () => {
    const { privateKey, identity } = keyPair()
    expect(endpoint({ privateKey }).publicKey).toBe(identity)
  })

  it.each([
    ['privateKey', 'key', 'ERR_SNAPTUN_INVALID_KEY'],
    ['pskShare', new Uint8Array(31), 'ERR_SNAPTUN_INVALID_KEY'],
    ['controlPlane', {}, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['requestTimeout', 0, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['retry', 5, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['retry.initialDelay', 0, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['retry.factor', 0.5, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['retry.maxDelay', 5, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['retry.jitter', -1, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['retry.maxElapsed', Number.POSITIVE_INFINITY, 'ERR_SNAPTUN_INVALID_OPTION'],
  ])('names option %s when it is wrong', (name, value, code) => {
    const [outer, inner] = name.split('.') as [string, string?]
    const options = { [outer]: inner === undefined ? value : { [inner]: value } }
    const make = (): unknown =>
      new SnapTunEndpoint({ privateKey: generatePrivateKey(), tokenSource: 'token', ...options } as never)
    expect(thrown(make, code).message).toContain(`option '${name}'`)
  })
})
