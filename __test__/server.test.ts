import { once } from 'node:events'
import { type ServerPacketBatch, type ServerTunnel, SnapTunnel } from 'snaptun'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connect, echo, keyPair, listen, optionsFor, refused, rejection, thrown, until } from './helpers.js'

describe('tunnels of a server', () => {
  it('are announced before the first of their packets can be read', async () => {
    const server = await listen()
    const announced = new Set<ServerTunnel>()
    server.on('tunnel', (tunnel) => announced.add(tunnel))
    const tunnels = await Promise.all(Array.from({ length: 10 }, () => connect(server)))
    await Promise.all(tunnels.map((tunnel) => tunnel.send(Buffer.from('hello'))))
    for (let i = 0; i < 10; i++) expect(announced).toContain((await server.recv()).tunnel)
    expect(announced.size).toBe(10)
  })

  it('are known with their first packet, also when nobody had the time to listen before', async () => {
    const server = await listen()
    const events: string[] = []
    server.on('tunnel', (tunnel) => events.push(tunnel.identity))
    const { privateKey, identity } = keyPair()
    const client = await SnapTunnel.connect(optionsFor(server as never, { privateKey }))
    onTestFinished(() => client.close())
    void client.send(Buffer.from('first'))
    // Both the tunnel and its packet are there when this thread looks again.
    for (const end = performance.now() + 200; performance.now() < end; );
    const packet = server.tryRecv()
    expect(packet?.tunnel.identity).toBe(identity)
    expect(events).toEqual([identity])
  })

  it('know who they are', async () => {
    const before = Date.now()
    const server = await listen({ authorize: () => ({ session: 7 }) })
    const { privateKey, identity } = keyPair()
    const client = await connect(server, { privateKey })
    const [tunnel] = server.tunnels()
    expect(tunnel).toMatchObject({ identity, remote: client.localAddress, session: 7, closed: false })
    expect(tunnel?.maxPacketSize).toBe(client.maxPacketSize)
    expect(tunnel?.establishedAt).toBeGreaterThanOrEqual(before)
    expect(tunnel?.establishedAt).toBeLessThanOrEqual(Date.now())
    expect(Number.isInteger(tunnel?.id)).toBe(true)
  })

  it('close when they are told to, and the client can come again', async () => {
    const server = await listen()
    const { privateKey } = keyPair()
    await connect(server, { privateKey })
    const [tunnel] = server.tunnels()
    const closing = once(server, 'tunnelclose')
    tunnel?.close()
    expect(await closing).toEqual([tunnel, 'closed'])
    tunnel?.close()
    expect(Array.from(server.tunnels())).toEqual([])
    await connect(server, { privateKey })
    expect(Array.from(server.tunnels())).toHaveLength(1)
  })

  it('drop and count what is sent to them after they closed, and that is no error', async () => {
    const server = await listen()
    const client = await connect(server)
    const [tunnel] = server.tunnels() as Iterable<ServerTunnel>
    if (tunnel === undefined) return expect.fail('there is no tunnel')
    const closing = once(server, 'tunnelclose')
    tunnel.close()
    await closing
    const packet = Buffer.from('late')
    await tunnel.send(packet)
    await server.send(tunnel, packet)
    await server.sendBatch(tunnel, [packet, packet])
    await tunnel.sendBatch({ data: Buffer.alloc(25), size: 10 })
    expect(tunnel.trySend(packet)).toBe(false)
    expect(server.stats().lateSends).toBe(1 + 1 + 2 + 3 + 1)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(client.tryRecv()).toBeNull()
    await rejection(tunnel.send(Buffer.alloc(0)), 'ERR_SNAPTUN_PACKET_EMPTY')
  })

  it('belong to one server', async () => {
    const [one, other] = [await listen(), await listen()]
    await connect(one)
    const [tunnel] = one.tunnels()
    if (tunnel === undefined) return expect.fail('there is no tunnel')
    const packet = Buffer.from('x')
    await rejection(other.send(tunnel, packet), 'ERR_SNAPTUN_UNKNOWN_TUNNEL')
    await rejection(other.sendBatch(tunnel, [packet]), 'ERR_SNAPTUN_UNKNOWN_TUNNEL')
    thrown(() => other.trySend(tunnel, packet), 'ERR_SNAPTUN_UNKNOWN_TUNNEL')
    thrown(() => other.trySend({} as never, packet), 'ERR_SNAPTUN_INVALID_OPTION')
  })

  it('get their own packets back when a batch of several is echoed', async () => {
    const server = await listen()
    void echo(server as never)
    const tunnels = await Promise.all(Array.from({ length: 8 }, () => connect(server)))
    for (let round = 0; round < 20; round++) {
      await Promise.all(tunnels.map((tunnel, i) => tunnel.send(Buffer.from(`${i}: ${round}`))))
      const back = await Promise.all(tunnels.map((tunnel) => tunnel.recv()))
      expect(back.map((packet) => Buffer.from(packet).toString())).toEqual(
        tunnels.map((_tunnel, i) => `${i}: ${round}`),
      )
    }
  })

  it('are refused beyond maxTunnels, and counted', async () => {
    const server = await listen({ maxTunnels: 2 })
    await connect(server)
    await connect(server)
    await refused(server as never)
    expect(server.stats().handshakesAtCapacity).toBeGreaterThan(0)
    expect(Array.from(server.tunnels())).toHaveLength(2)
  })
})

describe('a server with several shards', () => {
  it('serves clients on all of them, from one port', async () => {
    const server = await listen({ shards: 4 })
    void echo(server as never)
    const tunnels = await Promise.all(Array.from({ length: 32 }, () => connect(server)))
    await Promise.all(
      tunnels.map(async (tunnel, i) => {
        for (let round = 0; round < 10; round++) {
          await tunnel.send(Buffer.from(`${i}/${round}`))
          expect(Buffer.from(await tunnel.recv()).toString()).toBe(`${i}/${round}`)
        }
      }),
    )
    expect(server.stats()).toMatchObject({ tunnels: 32, packetsReceived: 320, packetsSent: 320 })
    // The kernel spreads 32 ports over 4 sockets: that all meet on one happens once in 4^31.
    expect(new Set(Array.from(server.tunnels(), ({ id }) => id & 255)).size).toBeGreaterThan(1)
  })

  it('revokes on all of them', async () => {
    const server = await listen({ shards: 4 })
    const { privateKey, identity } = keyPair()
    // Beforehand: of an identity that waits to be authorized only a few handshakes are kept.
    server.authorize(identity, {})
    await Promise.all(Array.from({ length: 16 }, () => connect(server, { privateKey })))
    const reasons: string[] = []
    server.on('tunnelclose', (_tunnel, reason) => reasons.push(reason))
    await server.revoke(identity)
    await until(() => reasons.length === 16, 'the end of all tunnels')
    expect(new Set(reasons)).toEqual(new Set(['revoked']))
  })
})

describe('closing a server', () => {
  it('ends what waits, and its tunnels, and tells once', async () => {
    const server = await listen()
    await connect(server)
    const events: unknown[] = []
    server.on('tunnelclose', (_tunnel, reason) => events.push(reason))
    server.on('close', (error) => events.push(error))
    const waiting = server.recv()
    await Promise.all([server.close(), server.close(), server[Symbol.asyncDispose]()])
    await rejection(waiting, 'ERR_SNAPTUN_CLOSED')
    expect(events).toEqual(['server-closed', undefined])
    expect(server.closed).toBe(true)
    expect(Array.from(server.tunnels())).toEqual([])
    expect(server.stats().handshakes).toBe(1)
  })

  it('ends iterators normally', async () => {
    const one = await listen()
    const other = await listen()
    const batches = (async () => {
      for await (const _batch of one.batches()) expect.fail('there was no packet')
    })()
    const packets = (async () => {
      for await (const _packet of other) expect.fail('there was no packet')
    })()
    await new Promise((resolve) => setTimeout(resolve, 20))
    await Promise.all([one.close(), other.close()])
    await Promise.all([batches, packets])
  })

  it('frees its port', async () => {
    const first = await listen()
    const { port } = first.address()
    await first.close()
    const second = await listen({ port })
    expect(second.address().port).toBe(port)
  })
})

describe('a batch of a server', () => {
  it('goes back only through the server that received it', async () => {
    const [one, other] = [await listen(), await listen()]
    const client = await connect(one)
    await client.send(Buffer.from('x'))
    for await (const batch of one.batches()) {
      await rejection(other.sendBatch(batch), 'ERR_SNAPTUN_INVALID_PACKET')
      await rejection(one.sendBatch({} as never), 'ERR_SNAPTUN_INVALID_PACKET')
      await one.sendBatch(batch)
      break
    }
    expect(Buffer.from(await client.recv()).toString()).toBe('x')
  })

  it('can be sent to another tunnel', async () => {
    const server = await listen()
    const [from, to] = [await connect(server), await connect(server)]
    await from.sendBatch([Buffer.from('a'), Buffer.from('bc'), Buffer.from('def')])
    const target = Array.from(server.tunnels()).find(({ remote }) => remote.port === to.localAddress.port)
    let relayed = 0
    for await (const batch of server.batches() as AsyncIterable<ServerPacketBatch>) {
      relayed += batch.length
      await target?.sendBatch(batch)
      if (relayed === 3) break
    }
    const got = [await to.recv(), await to.recv(), await to.recv()]
    expect(got.map((packet) => Buffer.from(packet).toString())).toEqual(['a', 'bc', 'def'])
    expect(from.tryRecv()).toBeNull()
  })
})
