import { createPrivateKey, randomBytes } from 'node:crypto'
import { SnapTunnel } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { connect, echo, keyPair, listen, optionsFor, rejection } from './helpers.js'

describe('connect', () => {
  it.each([
    ['IPv4', '127.0.0.1'],
    ['IPv6', '::1'],
  ] as const)('resolves with the address that the server saw, over %s', async (family, address) => {
    const server = await listen({ address })
    const tunnel = await connect(server)
    const [seen] = server.tunnels()
    expect(tunnel.localAddress).toEqual({ address, port: expect.any(Number), family })
    expect(seen?.remote).toEqual(tunnel.localAddress)
    expect(tunnel.remoteAddress).toEqual(server.address())
    expect(server.address()).toMatchObject({ address, family })
    expect(tunnel.closed).toBe(false)
  })

  it('proves the identity whose private key it was given', async () => {
    const { privateKey, identity } = keyPair()
    const server = await listen()
    await connect(server, { privateKey })
    expect(Array.from(server.tunnels(), (tunnel) => tunnel.identity)).toEqual([identity])
  })

  it('takes keys as bytes and as KeyObjects, and the address as text', async () => {
    const server = await listen()
    const { privateKey, identity } = keyPair()
    const raw = Buffer.from(privateKey, 'base64')
    const der = Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), raw])
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    const { port } = server.address()
    await connect(server, { privateKey: key, server: `127.0.0.1:${port}` })
    await connect(server, { privateKey: raw, serverPublicKey: Buffer.from(server.publicKey, 'base64') })
    expect(raw.toString('base64')).toBe(privateKey)
    expect(Array.from(server.tunnels(), (tunnel) => tunnel.identity)).toEqual([identity, identity])
  })

  it('looks up a host name', async () => {
    const server = await listen()
    const tunnel = await connect(server, { server: `localhost:${server.address().port}`, bind: '127.0.0.1:0' })
    expect(tunnel.remoteAddress).toEqual(server.address())
  })

  it('sends from the address that it is bound to', async () => {
    const server = await listen({ address: '0.0.0.0' })
    const { port } = server.address()
    const probe = await connect(server, { server: `127.0.0.1:${port}` })
    const free = probe.localAddress.port
    await probe.close()
    const tunnel = await connect(server, { server: `127.0.0.1:${port}`, bind: { address: '127.0.0.2', port: free } })
    expect(tunnel.localAddress).toEqual({ address: '127.0.0.2', port: free, family: 'IPv4' })
  })

  it('needs the pre-shared key that the server has for the identity', async () => {
    const presharedKey = randomBytes(32)
    const server = await listen({ authorize: () => ({ presharedKey }) })
    void echo(server as never)
    const tunnel = await connect(server, { presharedKey })
    await tunnel.send(Buffer.from('with it'))
    expect(Buffer.from(await tunnel.recv()).toString()).toBe('with it')
    for (const wrong of [{}, { presharedKey: randomBytes(32) }]) {
      const options = optionsFor(server as never, { ...wrong, connectTimeout: 300 })
      await rejection(SnapTunnel.connect(options), 'ERR_SNAPTUN_CONNECT_TIMEOUT')
    }
  })

  it('does not connect to whoever has not the private key of serverPublicKey', async () => {
    const server = await listen()
    const options = optionsFor(server as never, { serverPublicKey: keyPair().identity, connectTimeout: 300 })
    await rejection(SnapTunnel.connect(options), 'ERR_SNAPTUN_CONNECT_TIMEOUT')
    expect(server.stats().handshakes).toBe(0)
  })

  it('rejects with the reason of its signal, before and while it waits', async () => {
    const silent = await listen({ authorize: () => null })
    const reason = new Error('changed my mind')
    const early = SnapTunnel.connect(optionsFor(silent as never, { signal: AbortSignal.abort(reason) }))
    await expect(early).rejects.toBe(reason)

    const controller = new AbortController()
    const options = optionsFor(silent as never, { signal: controller.signal, connectTimeout: 10_000 })
    const waiting = SnapTunnel.connect(options)
    const start = performance.now()
    setTimeout(() => controller.abort(reason), 50)
    await expect(waiting).rejects.toBe(reason)
    expect(performance.now() - start).toBeLessThan(2000)
  })

  it('is not disturbed by its signal any more once it is connected', async () => {
    const server = await listen()
    void echo(server as never)
    const controller = new AbortController()
    const tunnel = await connect(server, { signal: controller.signal })
    controller.abort()
    await tunnel.send(Buffer.from('still here'))
    expect(Buffer.from(await tunnel.recv()).toString()).toBe('still here')
  })

  it('opens many tunnels at once, each with a port of its own', async () => {
    const server = await listen()
    const tunnels = await Promise.all(Array.from({ length: 50 }, () => connect(server)))
    expect(new Set(tunnels.map((tunnel) => tunnel.localAddress.port)).size).toBe(50)
    expect(Array.from(server.tunnels())).toHaveLength(50)
  })
})

describe('a tunnel', () => {
  it('closes by Symbol.asyncDispose, and tells its listeners once', async () => {
    const server = await listen()
    const tunnel = await connect(server)
    const closes: unknown[] = []
    tunnel.on('close', (error) => closes.push(error))
    await Promise.all([tunnel[Symbol.asyncDispose](), tunnel.close(), tunnel.close()])
    await tunnel.close()
    expect(closes).toEqual([undefined])
    expect(tunnel.closed).toBe(true)
  })

  it('says how large a packet may be: what fits into a datagram on its path', async () => {
    const v4 = await connect(await listen())
    const v6 = await connect(await listen({ address: '::1' }))
    // Loopback has an MTU of 65,536, and a datagram 65,507 bytes at most (IPv4); less 32 bytes of overhead.
    expect(v4.maxPacketSize).toBeGreaterThan(65_000)
    expect(v4.maxPacketSize).toBeLessThanOrEqual(65_507 - 32)
    expect(v6.maxPacketSize).toBeGreaterThan(65_000)
    expect(v6.maxPacketSize).toBeLessThanOrEqual(65_536 - 48 - 32)
  })

  it('counts what passes through it', async () => {
    const server = await listen()
    void echo(server as never)
    const tunnel = await connect(server)
    await tunnel.sendBatch({ data: new Uint8Array(1000).fill(1), size: 100 })
    for (let i = 0; i < 10; i++) await tunnel.recv()
    expect(tunnel.stats()).toMatchObject({
      packetsSent: 10,
      bytesSent: 1000,
      packetsReceived: 10,
      bytesReceived: 1000,
      handshakes: 1,
      droppedReceiveQueueFull: 0,
    })
    expect(server.stats()).toMatchObject({ packetsSent: 10, packetsReceived: 10, bytesReceived: 1000, tunnels: 1 })
  })
})
