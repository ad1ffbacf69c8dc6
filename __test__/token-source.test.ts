/**
 * Where tokens come from, and what an endpoint makes of renewed ones. The control plane is in this process, and tunnels
 * go to a real server.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { generatePrivateKey, SnapTunEndpoint, type SnapTunError, type TokenSource } from 'snaptun'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { listen, rejection, thrown, until } from './helpers.ts'
import { dataPlaneOf, endpoint, OwnControlPlane, RETRY } from './own-control-plane.ts'
import { TokenIssuer } from './tokens.ts'

const URLS = ['http://one.example', 'http://two.example'] as const

/** An endpoint with a token source, a server, and control planes that tell of it. */
async function system(
  tokenSource: TokenSource,
  options: { requestTimeout?: number; maxElapsed?: number; register?: () => Promise<object> } = {},
) {
  const { requestTimeout = 5000, register = async () => ({}), ...retry } = options
  const server = await listen()
  const planes = new Map<string, OwnControlPlane>()
  const controlPlane = (url: string): OwnControlPlane => {
    const plane = new OwnControlPlane({ dataPlane: () => dataPlaneOf(server as never), register })
    planes.set(url, plane)
    return plane
  }
  const made = endpoint({ tokenSource, controlPlane, requestTimeout, retry: { ...RETRY, ...retry } })
  const errors: [error: SnapTunError, controlPlane: string][] = []
  made.on('registrationerror', (...args) => errors.push(args))
  return { made, plane: (url: string) => planes.get(url) as OwnControlPlane, errors }
}

/** An async iterable whose tokens the test gives one by one. */
class Channel implements AsyncIterable<string> {
  readonly #waiting: ((result: IteratorResult<string> | Promise<never>) => void)[] = []
  readonly #given: (IteratorResult<string> | Promise<never>)[] = []
  iterated = 0
  returned = 0

  give(result: IteratorResult<string> | Promise<never>): void {
    const waiting = this.#waiting.shift()
    if (waiting === undefined) this.#given.push(result)
    else waiting(result)
  }

  push(token: string): void {
    this.give({ value: token, done: false })
  }

  end(): void {
    this.give({ value: undefined, done: true })
  }

  fail(error: Error): void {
    const failed = Promise.reject(error)
    failed.catch(() => undefined)
    this.give(failed)
  }

  [Symbol.asyncIterator](): AsyncIterator<string> {
    this.iterated++
    return {
      next: async () =>
        this.#given.shift() ?? (await new Promise<IteratorResult<string>>((resolve) => this.#waiting.push(resolve))),
      return: async () => {
        this.returned++
        return { value: undefined, done: true }
      },
    }
  }
}

describe('a string', () => {
  it('is the token of every call', async () => {
    const { made, plane } = await system('the.one.token')
    for (const url of URLS) await made.connect(url)
    for (const url of URLS) {
      expect([...plane(url).asked, ...plane(url).registered]).toMatchObject([
        { token: 'the.one.token' },
        { token: 'the.one.token' },
      ])
    }
  })
})

describe('a function', () => {
  it('is asked before each call of a control plane, and again before each repetition', async () => {
    let count = 0
    const { made, plane } = await system(async () => `token-${++count}`)
    await made.connect(URLS[0])
    expect(plane(URLS[0]).asked[0]?.token).toBe('token-1')
    expect(plane(URLS[0]).tokens).toEqual(['token-2'])
    // A registration that holds is not repeated, so nobody has to be asked for another token but the address.
    await made.connect(URLS[0])
    expect(count).toBe(3)
  })

  it('is asked again when it fails, for as long as the connect is tried', async () => {
    const reason = new Error('the login server is down')
    const source = vi.fn<() => string>().mockImplementationOnce(() => {
      throw reason
    })
    source.mockImplementationOnce(() => Promise.reject(reason) as never).mockReturnValue('token')
    const { made } = await system(source)
    await made.connect(URLS[0])
    expect(source).toHaveBeenCalledTimes(4)

    source.mockImplementation(() => {
      throw reason
    })
    const { made: unlucky } = await system(source, { maxElapsed: 150 })
    const error = await rejection(unlucky.connect(URLS[0]), 'ERR_SNAPTUN_TOKEN_UNAVAILABLE')
    expect(error.transient).toBe(true)
    expect(error.cause).toBe(reason)
  })

  it('is not asked again when it says that its error is final', async () => {
    const reason = Object.assign(new Error('logged out'), { transient: false })
    const source = vi.fn(() => Promise.reject(reason))
    const { made } = await system(source)
    const error = await rejection(made.connect(URLS[0]), 'ERR_SNAPTUN_TOKEN_INVALID')
    expect(error.transient).toBe(false)
    expect(error.cause).toBe(reason)
    expect(source).toHaveBeenCalledTimes(1)
  })

  it.each([undefined, 7, '', 'hunter 2', 'hunter2\n'])('gives no token that is %o', async (value) => {
    const { made, plane } = await system((() => value) as never)
    const error = await rejection(made.connect(URLS[0]), 'ERR_SNAPTUN_TOKEN_INVALID')
    expect(error.message).not.toContain('hunter')
    expect(plane(URLS[0]).asked).toEqual([])
  })

  it('that gives none in time is asked again, and told by its signal', async () => {
    const signals: AbortSignal[] = []
    const source = ({ signal }: { signal: AbortSignal }): Promise<string> | string => {
      signals.push(signal)
      return signals.length === 1 ? new Promise(() => undefined) : 'token'
    }
    const { made } = await system(source, { requestTimeout: 50 })
    await made.connect(URLS[0])
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false, false])

    const { made: unlucky } = await system(() => new Promise<string>(() => undefined), { maxElapsed: 100 })
    await rejection(unlucky.connect(URLS[0]), 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE')
  })

  it('is asked in time for another before its JWT ends, and the identity registered with that', async () => {
    const issuer = new TokenIssuer()
    let token = issuer.issue({ seconds: 2 })
    const first = token
    const source = vi.fn(() => token)
    const { made, plane } = await system(source)
    await made.connect(URLS[0])
    expect(plane(URLS[0]).tokens).toEqual([first])
    const asked = source.mock.calls.length
    // Asked in vain once: the same token is not registered again.
    await until(() => source.mock.calls.length > asked, 'the question', 2000)
    expect(plane(URLS[0]).tokens).toEqual([first])
    token = issuer.issue({ seconds: 600 })
    await until(() => plane(URLS[0]).tokens.length === 2, 'the registration', 2500)
    expect(plane(URLS[0]).tokens).toEqual([first, token])
  })

  it('is asked no more when the last tunnel is closed', async () => {
    const issuer = new TokenIssuer()
    const source = vi.fn(() => issuer.issue({ seconds: 1 }))
    const { made } = await system(source)
    const tunnel = await made.connect(URLS[0])
    await tunnel.close()
    const asked = source.mock.calls.length
    await sleep(1300)
    expect(source).toHaveBeenCalledTimes(asked)
  })

  it('that fails before its JWT ends is asked again, and the failure told', async () => {
    const issuer = new TokenIssuer()
    const reason = new Error('the login server is down')
    const source = vi.fn(() => issuer.issue({ seconds: 1 }))
    const { made, plane, errors } = await system(source)
    const tunnel = await made.connect(URLS[0])
    let failures = 0
    source.mockImplementation(() => {
      if (++failures <= 2) throw reason
      return 'renewed'
    })
    await until(() => plane(URLS[0]).tokens.at(-1) === 'renewed', 'the renewal', 3000)
    expect(errors).toMatchObject(
      Array(2).fill([{ code: 'ERR_SNAPTUN_TOKEN_UNAVAILABLE', transient: true, cause: reason }, URLS[0]]),
    )
    expect(tunnel.closed).toBe(false)
  })
})

describe('an async iterable', () => {
  it('is waited for until it gives its first token', async () => {
    const channel = new Channel()
    const { made, plane } = await system(channel)
    expect(channel.iterated).toBe(0)
    const connecting = made.connect(URLS[0])
    await until(() => channel.iterated === 1, 'the iteration')
    channel.push('first')
    await connecting
    expect(plane(URLS[0]).tokens).toEqual(['first'])
  })

  it('has each renewed token registered with at every control plane in use, and nowhere else', async () => {
    const channel = new Channel()
    channel.push('first')
    const { made, plane } = await system(channel)
    const [tunnel] = [await made.connect(URLS[0]), await made.connect(URLS[1])]
    channel.push('second')
    await until(() => URLS.every((url) => plane(url).tokens.length === 2), 'both registrations')
    for (const url of URLS) expect(plane(url).tokens).toEqual(['first', 'second'])
    await tunnel?.close()
    channel.push('second')
    channel.push('third')
    await until(() => plane(URLS[1]).tokens.length === 3, 'the third registration')
    expect(plane(URLS[1]).tokens).toEqual(['first', 'second', 'third'])
    expect(plane(URLS[0]).tokens).toEqual(['first', 'second'])
    expect(channel.iterated).toBe(1)
  })

  it('has the last token registered with that came while another was on its way, whatever came of that', async () => {
    const channel = new Channel()
    channel.push('first')
    const server = await listen()
    const settle: { resolve: () => void; reject: (error: Error) => void }[] = []
    const plane = new OwnControlPlane({
      dataPlane: () => dataPlaneOf(server as never),
      register: () => new Promise((resolve, reject) => settle.push({ resolve: () => resolve({}), reject })),
    })
    const made = endpoint({ tokenSource: channel, controlPlane: () => plane })
    const connecting = made.connect(URLS[0])
    await until(() => settle.length === 1, 'the first registration')
    for (const token of ['second', 'third']) channel.push(token)
    await sleep(50)
    settle[0]?.reject(Object.assign(new Error('expired'), { transient: false }))
    await until(() => settle.length === 2, 'the second registration')
    settle[1]?.resolve()
    await connecting
    channel.push('fourth')
    await until(() => settle.length === 3, 'the third registration')
    channel.push('fifth')
    await sleep(50)
    settle[2]?.resolve()
    await until(() => settle.length === 4, 'the fourth registration')
    expect(plane.tokens).toEqual(['first', 'third', 'fourth', 'fifth'])
  })

  it('leaves its last token when it ends', async () => {
    const { made, plane } = await system(
      (async function* () {
        yield 'first'
        yield 'last'
      })(),
    )
    await made.connect(URLS[0])
    await sleep(50)
    await made.connect(URLS[1])
    expect(plane(URLS[1]).tokens).toEqual(['last'])
  })

  it('leaves its last token when it throws, and the error is told once', async () => {
    const channel = new Channel()
    channel.push('first')
    const { made, plane, errors } = await system(channel)
    const told: SnapTunError[] = []
    made.on('tokenerror', (error) => told.push(error))
    await made.connect(URLS[0])
    const reason = new Error('out of tokens')
    channel.fail(reason)
    await until(() => told.length > 0, 'the event')
    await made.connect(URLS[1])
    expect(plane(URLS[1]).tokens).toEqual(['first'])
    expect(told).toMatchObject([{ code: 'ERR_SNAPTUN_TOKEN_INVALID', transient: false, cause: reason }])
    expect(errors).toEqual([])
  })

  it('that gives what is no token is left, as if it had thrown', async () => {
    const channel = new Channel()
    channel.push('first')
    const { made, plane } = await system(channel)
    const told: SnapTunError[] = []
    made.on('tokenerror', (error) => told.push(error))
    await made.connect(URLS[0])
    channel.push('hunter 2')
    channel.push('third')
    await until(() => told.length > 0, 'the event')
    expect(told[0]?.code).toBe('ERR_SNAPTUN_TOKEN_INVALID')
    expect(told[0]?.message).not.toContain('hunter')
    await until(() => channel.returned === 1, 'the return')
    await sleep(20)
    expect(plane(URLS[0]).tokens).toEqual(['first'])
  })

  it.each([
    ['ends', (channel: Channel) => channel.end(), undefined],
    ['throws', (channel: Channel) => channel.fail(new Error('no')), { message: 'no' }],
  ])('that %s before it gives a token fails every connect, at once', async (_what, act, cause) => {
    const channel = new Channel()
    const { made } = await system(channel)
    const connecting = made.connect(URLS[0])
    act(channel)
    for (const connect of [connecting, made.connect(URLS[1])]) {
      const error = await rejection(connect, 'ERR_SNAPTUN_TOKEN_INVALID')
      if (cause !== undefined) expect(error.cause).toMatchObject(cause)
    }
  })

  it('stops neither the event loop nor a connect, however fast it is', async () => {
    let given = 0
    const source = async function* (): AsyncGenerator<string> {
      for (;;) yield `token-${given++}`
    }
    const { made } = await system(source(), { register: () => sleep(20, {}) })
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    onTestFinished(() => clearInterval(timer))
    await made.connect(URLS[0])
    await sleep(100)
    expect(turns).toBeGreaterThan(10)
    await made.close()
    const then = given
    await sleep(50)
    expect(given - then).toBeLessThanOrEqual(1)
  })

  it('is let go of when the endpoint closes', async () => {
    const channel = new Channel()
    channel.push('first')
    const { made } = await system(channel)
    await made.connect(URLS[0])
    expect(channel.returned).toBe(0)
    await made.close()
    await until(() => channel.returned === 1, 'the return')
  })
})

describe('a token source', () => {
  it.each([undefined, null, 7, {}, ['token'], Promise.resolve('token')])('is not %o', (tokenSource) => {
    const make = (): unknown => new SnapTunEndpoint({ privateKey: generatePrivateKey(), tokenSource } as never)
    expect(thrown(make, 'ERR_SNAPTUN_INVALID_OPTION').message).toContain("option 'tokenSource'")
  })

  it('is no string that can not be a token, and the error does not repeat it', () => {
    for (const tokenSource of ['', 'hunter 2']) {
      const make = (): unknown => new SnapTunEndpoint({ privateKey: generatePrivateKey(), tokenSource })
      expect(thrown(make, 'ERR_SNAPTUN_TOKEN_INVALID').message).not.toContain('hunter')
    }
  })
})
