import { once } from 'node:events'
import { type AuthorizationRequest, SnapTunnel } from 'snaptun'
import { describe, expect, it, vi } from 'vitest'
import { connect, keyPair, listen, optionsFor, refused, until } from './helpers.js'

describe('authorize', () => {
  it('is asked once an identity, however many of its handshakes wait', async () => {
    const { privateKey, identity } = keyPair()
    const asked: AuthorizationRequest[] = []
    const server = await listen({
      authorize: async (request) => {
        asked.push(request)
        await new Promise((resolve) => setTimeout(resolve, 100))
        return { session: 'one' }
      },
    })
    const tunnels = await Promise.all(Array.from({ length: 4 }, () => connect(server, { privateKey })))
    await connect(server, { privateKey })
    expect(asked.map((request) => request.identity)).toEqual([identity])
    expect(tunnels.map((tunnel) => tunnel.localAddress)).toContainEqual(asked[0]?.remote)
    expect(Array.from(server.tunnels(), (tunnel) => tunnel.session)).toEqual(Array(5).fill('one'))
  })

  it('gives the session that comes back with each packet', async () => {
    const users = new Map([keyPair(), keyPair(), keyPair()].map((pair, i) => [pair.identity, { ...pair, user: i }]))
    const server = await listen({
      authorize: ({ identity }) => {
        const known = users.get(identity)
        return known === undefined ? null : { session: { user: known.user } }
      },
    })
    for (const { privateKey, user } of users.values()) {
      const tunnel = await connect(server, { privateKey })
      await tunnel.send(Buffer.from(`from ${user}`))
    }
    const seen = new Map<number, string>()
    for (let i = 0; i < users.size; i++) {
      const { tunnel, data } = await server.recv()
      seen.set(tunnel.session.user, Buffer.from(data).toString())
    }
    expect(seen).toEqual(new Map([0, 1, 2].map((user) => [user, `from ${user}`])))
  })

  it('refuses by null', async () => {
    const server = await listen({ authorize: () => null })
    await refused(server as never)
    expect(Array.from(server.tunnels())).toEqual([])
    expect(server.stats()).toMatchObject({ tunnels: 0, authorizeErrors: 0 })
    expect(server.stats().handshakesRefused).toBeGreaterThan(0)
  })

  const failure = new Error('no database')
  it.each([
    [
      'throws',
      () => {
        throw failure
      },
    ],
    ['rejects', () => Promise.reject(failure)],
  ])('refuses when it %s, and tells', async (_how, authorize) => {
    const server = await listen({ authorize })
    const errors: [unknown, string][] = []
    server.on('authorizeerror', (error, { identity }) => errors.push([error, identity]))
    const { privateKey, identity } = keyPair()
    await refused(server as never, { privateKey })
    expect(errors[0]).toEqual([failure, identity])
    expect(server.stats().authorizeErrors).toBe(errors.length)
    expect(server.stats().authorizePending).toBe(0)
  })

  it.each([
    ['a word', 'yes'],
    ['true', true],
    ['nothing', undefined],
    ['no time', { expiresAt: 'tomorrow' }],
    ['no key', { presharedKey: 'secret' }],
  ])('refuses when it returns what is no authorization: %s', async (_what, answer) => {
    const server = await listen({ authorize: () => answer as never })
    const [[error]] = await Promise.all([once(server, 'authorizeerror'), refused(server as never)])
    expect(error.code).toMatch(/^ERR_SNAPTUN_INVALID_(OPTION|KEY)$/)
    expect(server.stats().authorizeErrors).toBeGreaterThan(0)
  })

  it('counts a failure that nobody listens for, and the process goes on', async () => {
    const server = await listen({ authorize: () => Promise.reject(failure) })
    await refused(server as never)
    expect(server.stats().authorizeErrors).toBeGreaterThan(0)
  })

  it('refuses when it never settles, and aborts its signal', async () => {
    let signal: AbortSignal | undefined
    const server = await listen({
      authorizationTimeout: 100,
      authorize: (request) => {
        signal ??= request.signal
        return new Promise(() => undefined)
      },
    })
    const told = once(server, 'authorizeerror')
    await refused(server as never)
    const [error] = await told
    expect(error).toMatchObject({ code: 'ERR_SNAPTUN_AUTHORIZATION_TIMEOUT', transient: true })
    expect(signal?.reason).toBe(error)
    expect(server.stats().authorizeTimeouts).toBeGreaterThan(0)
    expect(server.stats().authorizePending).toBe(0)
  })

  it('is ignored when it settles after the server closed', async () => {
    let answer: ((value: object) => void) | undefined
    let signal: AbortSignal | undefined
    const server = await listen({
      authorize: (request) => {
        signal = request.signal
        return new Promise<object>((resolve) => {
          answer = resolve
        })
      },
    })
    const controller = new AbortController()
    const attempt = SnapTunnel.connect(optionsFor(server as never, { signal: controller.signal }))
    await until(() => answer !== undefined, 'the question')
    await server.close()
    expect(signal?.reason).toMatchObject({ code: 'ERR_SNAPTUN_CLOSED' })
    answer?.({ session: 1 })
    controller.abort(new Error('done'))
    await expect(attempt).rejects.toThrow('done')
    expect(Array.from(server.tunnels())).toEqual([])
  })

  it('lets pass until expiresAt, and nothing after it', async () => {
    const end = Date.now() + 400
    const server = await listen({ authorize: () => (Date.now() < end - 300 ? { expiresAt: new Date(end) } : null) })
    const tunnel = await connect(server)
    await tunnel.send(Buffer.from('in time'))
    expect(Buffer.from((await server.recv()).data).toString()).toBe('in time')
    const [closed, reason] = await once(server, 'tunnelclose')
    expect(reason).toBe('expired')
    expect(closed.closed).toBe(true)
    expect(Date.now()).toBeGreaterThanOrEqual(end)
    await tunnel.send(Buffer.from('too late'))
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(server.tryRecv()).toBeNull()
  })

  it('is asked again before its answer expires, so that a tunnel has no gap', async () => {
    const authorize = vi.fn(() => ({ expiresAt: Date.now() + 1000, session: authorize.mock.calls.length }))
    const server = await listen<number>({ authorize })
    const tunnel = await connect(server)
    const [before] = server.tunnels()
    await new Promise((resolve) => setTimeout(resolve, 700))
    await until(() => authorize.mock.calls.length >= 2, 'the second question')
    await new Promise((resolve) => setTimeout(resolve, 600))
    await tunnel.send(Buffer.from('no gap'))
    const packet = await server.recv()
    expect(Buffer.from(packet.data).toString()).toBe('no gap')
    expect(packet.tunnel).toBe(before)
    expect(packet.tunnel.session).toBeGreaterThanOrEqual(2)
  })
})

describe('authorizing beforehand', () => {
  it('lets only those pass who were named, where nobody can be asked', async () => {
    const server = await listen({ authorize: undefined as never })
    const { privateKey, identity } = keyPair()
    server.authorize(identity, { session: 'pushed' })
    await connect(server, { privateKey })
    await refused(server as never)
    expect(Array.from(server.tunnels(), (tunnel) => tunnel.session)).toEqual(['pushed'])
  })

  it('answers a question that waits', async () => {
    const authorize = vi.fn((_request: AuthorizationRequest) => new Promise<{ session: string }>(() => undefined))
    const server = await listen({ authorize })
    const { privateKey, identity } = keyPair()
    const attempt = connect(server, { privateKey })
    await until(() => authorize.mock.calls.length > 0, 'the question')
    server.authorize(identity, { session: 'pushed' })
    await attempt
    expect(Array.from(server.tunnels(), (tunnel) => tunnel.session)).toEqual(['pushed'])
    expect(authorize.mock.calls[0]?.[0].signal.aborted).toBe(true)
    expect(server.stats().authorizePending).toBe(0)
  })

  it('replaces the session of open tunnels', async () => {
    const server = await listen({ authorize: () => ({ session: 'old' }) })
    const { privateKey, identity } = keyPair()
    const tunnel = await connect(server, { privateKey })
    const [before] = server.tunnels()
    expect(before?.session).toBe('old')
    server.authorize(identity, { session: 'new' })
    await tunnel.send(Buffer.from('x'))
    const packet = await server.recv()
    expect(packet.tunnel).toBe(before)
    expect(packet.tunnel.session).toBe('new')
  })

  it('extends what would expire', async () => {
    const server = await listen({ authorize: () => ({ expiresAt: Date.now() + 300 }) })
    const { privateKey, identity } = keyPair()
    const tunnel = await connect(server, { privateKey })
    server.authorize(identity, { expiresAt: Date.now() + 60_000 })
    await new Promise((resolve) => setTimeout(resolve, 500))
    await tunnel.send(Buffer.from('still'))
    expect(Buffer.from((await server.recv()).data).toString()).toBe('still')
  })
})

describe('revoke', () => {
  it('closes the tunnels of the identity, and nothing of it passes any more', async () => {
    const server = await listen()
    const { privateKey, identity } = keyPair()
    const other = await connect(server)
    const tunnel = await connect(server, { privateKey })
    const closes: [string, string][] = []
    server.on('tunnelclose', (closed, reason) => closes.push([closed.identity, reason]))
    await server.revoke(identity)
    await tunnel.send(Buffer.from('revoked'))
    await other.send(Buffer.from('not revoked'))
    expect(Buffer.from((await server.recv()).data).toString()).toBe('not revoked')
    await until(() => closes.length > 0, 'tunnelclose')
    expect(server.tryRecv()).toBeNull()
    expect(closes).toEqual([[identity, 'revoked']])
    expect(Array.from(server.tunnels())).toHaveLength(1)
  })

  it('refuses an identity that waits for an answer', async () => {
    const asked: AuthorizationRequest[] = []
    const server = await listen({
      authorize: (request) => {
        asked.push(request)
        return new Promise<object>((resolve) => {
          request.signal.addEventListener('abort', () => resolve({ session: 'late' }))
        })
      },
    })
    const { privateKey, identity } = keyPair()
    const attempt = refused(server as never, { privateKey })
    await until(() => asked.length > 0, 'the question')
    await server.revoke(identity)
    await attempt
    expect(Array.from(server.tunnels())).toEqual([])
  })
})
