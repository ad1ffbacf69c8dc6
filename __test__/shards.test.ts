import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { type ServerTunnel, SnapTunServer } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { connect, echo, keyPair, listen, rejection, text, until } from './helpers.js'
import { PeerProcess } from './peer-process.js'

const SHARDS = 4

/** The shards that tunnels are on: the lowest 8 bits of a tunnel's number tell. */
const shardsOf = (tunnels: Iterable<ServerTunnel>): Set<number> => new Set(Array.from(tunnels, ({ id }) => id & 255))

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  await once(socket, 'close')
  return port
}

describe.each([
  ['whose sockets share the port', true],
  ['that hand over what one of them reads', false],
])('shards %s', (_name, reusePort) => {
  const options = { shards: SHARDS, reusePort }
  // Elsewhere one socket is read, whatever is asked for.
  const unsupported = reusePort && process.platform !== 'linux'

  it.skipIf(unsupported)('serve every client, and are all in use (sharing a port: Linux only)', async () => {
    const server = await listen(options)
    void echo(server as never)
    // That 48 clients leave one of 4 shards out happens once in 250,000 times.
    const tunnels = await Promise.all(Array.from({ length: 48 }, () => connect(server)))
    await Promise.all(
      tunnels.map(async (tunnel, i) => {
        for (let round = 0; round < 10; round++) {
          await tunnel.send(Buffer.from(`${i}/${round}`))
          expect(text(await tunnel.recv())).toBe(`${i}/${round}`)
        }
      }),
    )
    const stats = server.stats()
    expect(stats).toMatchObject({ tunnels: 48, handshakes: 48, packetsReceived: 480, packetsSent: 480 })
    expect(stats.droppedHandoverFull).toBe(0)
    const open = Array.from(server.tunnels())
    expect(open.map(({ remote }) => remote.port).sort()).toEqual(
      tunnels.map(({ localAddress }) => localAddress.port).sort(),
    )
    expect(shardsOf(open)).toEqual(new Set([0, 1, 2, 3]))
  })

  it.skipIf(unsupported)('can all be sent to from JavaScript (sharing a port: Linux only)', async () => {
    const server = await listen(options)
    const clients = await Promise.all(Array.from({ length: 24 }, () => connect(server)))
    const open = Array.from(server.tunnels())
    expect(shardsOf(open).size).toBeGreaterThan(1)
    // Nobody has sent anything yet: it is the server that begins.
    await Promise.all(open.map((tunnel) => server.send(tunnel, Buffer.from(`to ${tunnel.remote.port}`))))
    for (const tunnel of open) expect(tunnel.trySend(Buffer.from('and more'))).toBe(true)
    for (const client of clients) {
      expect(text(await client.recv())).toBe(`to ${client.localAddress.port}`)
      expect(text(await client.recv())).toBe('and more')
    }
  })

  it.skipIf(unsupported)('let go of a revoked identity, and of nobody else (sharing a port: Linux only)', async () => {
    const server = await listen(options)
    const [revoked, other] = [keyPair(), keyPair()]
    // Beforehand: of an identity that waits to be authorized only a few handshakes are kept.
    for (const { identity } of [revoked, other]) server.authorize(identity, {})
    const of = ({ privateKey }: { privateKey: string }) =>
      Promise.all(Array.from({ length: 16 }, () => connect(server, { privateKey })))
    const [theirs, others] = [await of(revoked), await of(other)]
    expect(shardsOf(server.tunnels()).size).toBeGreaterThan(1)
    const closed: string[] = []
    server.on('tunnelclose', ({ identity }, reason) => closed.push(`${identity} ${reason}`))
    await server.revoke(revoked.identity)
    await until(() => closed.length === 16, 'the end of the tunnels')
    expect(new Set(closed)).toEqual(new Set([`${revoked.identity} revoked`]))
    expect(server.stats().tunnels).toBe(16)

    await Promise.all([...theirs, ...others].map((tunnel) => tunnel.send(Buffer.from('still there?'))))
    const from = new Set<string>()
    for (let i = 0; i < 16; i++) from.add((await server.recv()).tunnel.identity)
    expect(from).toEqual(new Set([other.identity]))
    // Those of the others are through, and on the same shards.
    await until(() => server.stats().droppedUnknown + server.stats().droppedUnauthorized >= 16, 'the drops')
    expect(server.tryRecv()).toBeNull()
  })

  it.skipIf(unsupported)('do not share a port that is in use (sharing a port: Linux only)', async () => {
    const first = await listen(options)
    const attempt = (more: object) =>
      SnapTunServer.listen({ privateKey: keyPair().privateKey, address: '127.0.0.1', ...options, ...more })
    await rejection(attempt({ port: first.address().port }), 'ERR_SNAPTUN_ADDRESS_IN_USE')
    await rejection(attempt({ port: first.address().port, shards: 1 }), 'ERR_SNAPTUN_ADDRESS_IN_USE')
    const socket = createSocket('udp4').bind(0, '127.0.0.1')
    await once(socket, 'listening')
    await rejection(attempt({ port: socket.address().port }), 'ERR_SNAPTUN_ADDRESS_IN_USE')
    socket.close()
  })

  it.skipIf(unsupported)('lose no handshake while they start (sharing a port: Linux only)', async () => {
    const [count, pause] = [120, 2]
    const port = await freePort()
    const key = keyPair()
    const keys = Array.from({ length: count }, keyPair)
    const clients = await PeerProcess.start()
    const connecting = clients.call('connectMany', {
      count,
      pause,
      options: {
        server: `127.0.0.1:${port}`,
        serverPublicKey: key.identity,
        connectTimeout: 7000,
        privateKeys: keys.map(({ privateKey }) => privateKey),
      },
    })
    // Some have asked in vain by now, and the others go on doing so while the server starts.
    await until(() => clients.began >= count / 3, 'the first third of the clients')
    const server = await listen({ ...options, privateKey: key.privateKey, port })
    void echo(server as never)
    const begun = clients.began
    const connected = await connecting
    const early = connected.slice(0, begun)
    // Those that came before it tried once more, 5 s after their first attempt, with a jitter of a third of a second
    // (WireGuard's REKEY_TIMEOUT). The others were answered at once.
    for (const { took } of early) expect(took).toBeLessThan(6000)
    for (const { took } of connected.slice(begun)) expect(took).toBeLessThan(4000)
    expect(begun).toBeLessThan(count)
    await until(() => Array.from(server.tunnels()).length === count, 'all tunnels')

    for (const { tunnel } of connected) {
      expect((await clients.call('paced', { tunnel, rate: 1000, seconds: 0.005 })).lost).toBe(0)
    }
  })
})
