/**
 * The server without I/O, on a `node:dgram` socket that the test reads, against real clients.
 */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { afterEach, describe, expect, it } from 'vitest'
import {
  type CoreEvent,
  type CoreOutput,
  generatePrivateKey,
  publicKey,
  SnapTunnel,
  SnapTunServerCore,
} from '../src/index.js'

const open: { close(): unknown }[] = []

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close()
})

/** A core on a socket: what comes in is echoed, what goes out is sent. */
async function run(
  core: SnapTunServerCore,
  seen: CoreEvent[] = [],
): Promise<{ socket: Socket; apply(output: CoreOutput): void }> {
  const socket = createSocket('udp4')
  const apply = ({ events, packets, datagrams }: CoreOutput): void => {
    for (const { remote, data } of datagrams) socket.send(data, remote.port, remote.address)
    seen.push(...events)
    for (const { tunnel, data } of packets) apply(core.handleOutgoing(tunnel, data))
  }
  socket.on('message', (datagram, from) => apply(core.handleIncoming(datagram, from)))
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const timer = setInterval(() => apply(core.updateTimers()), 250)
  open.push(
    { close: () => clearInterval(timer) },
    { close: () => new Promise<void>((done) => socket.close(() => done())) },
  )
  return { socket, apply }
}

async function connect(
  core: SnapTunServerCore,
  socket: Socket,
  privateKey: string,
  connectTimeout = 3000,
): Promise<SnapTunnel> {
  const tunnel = await SnapTunnel.connect({
    privateKey,
    server: { address: '127.0.0.1', port: socket.address().port },
    serverPublicKey: core.publicKey,
    connectTimeout,
  })
  open.push(tunnel)
  return tunnel
}

describe('SnapTunServerCore', () => {
  it('serves a client over whichever transport it is given', async () => {
    const [server, client] = [generatePrivateKey(), generatePrivateKey()]
    const core = new SnapTunServerCore({ privateKey: server })
    expect(core.publicKey).toBe(publicKey(server))
    expect(core.nextTimer()).toBeNull()
    const events: CoreEvent[] = []
    const { socket, apply } = await run(core, events)
    apply(core.authorize(publicKey(client), {}))
    const tunnel = await connect(core, socket, client)
    for (const length of [1, 17, 1400, 9000]) {
      const packet = Buffer.alloc(length, length)
      await tunnel.send(packet)
      expect(Buffer.compare(await tunnel.recv(), packet)).toBe(0)
    }
    const remote = tunnel.localAddress
    expect(events).toEqual([{ type: 'tunnel', tunnel: expect.any(Number), identity: publicKey(client), remote }])
    expect(core.nextTimer()).toBe(250)
    expect(core.stats()).toMatchObject({ tunnels: 1, handshakes: 1, keepalivesReceived: 1 })
  })

  it('asks who may pass, and goes on with the answer', async () => {
    const [server, client] = [generatePrivateKey(), generatePrivateKey()]
    const core = new SnapTunServerCore({ privateKey: server })
    const { socket, apply } = await run(core)
    const connecting = connect(core, socket, client)
    await once(socket, 'message')
    apply(core.authorize(publicKey(client), { expiresAt: Date.now() + 60_000 }))
    await connecting
  })

  it('gives a refused client nothing', async () => {
    const [server, client] = [generatePrivateKey(), generatePrivateKey()]
    const core = new SnapTunServerCore({ privateKey: server })
    const events: CoreEvent[] = []
    const { socket, apply } = await run(core, events)
    const refused = expect(connect(core, socket, client, 500)).rejects.toMatchObject({
      code: 'ERR_SNAPTUN_CONNECT_TIMEOUT',
    })
    await once(socket, 'message')
    expect(events).toMatchObject([{ type: 'authorize', identity: publicKey(client) }])
    const { datagrams } = core.refuse(publicKey(client))
    expect(datagrams).toEqual([])
    apply(core.updateTimers())
    await refused
    expect(core.stats()).toMatchObject({ handshakesRefused: 1, tunnels: 0 })
  })

  it('passes nothing of a revoked identity, and says that its tunnel closed', async () => {
    const [server, client] = [generatePrivateKey(), generatePrivateKey()]
    const core = new SnapTunServerCore({ privateKey: server })
    const events: CoreEvent[] = []
    const { socket, apply } = await run(core, events)
    apply(core.authorize(publicKey(client), {}))
    const tunnel = await connect(core, socket, client)
    await tunnel.send(Buffer.from('hello'))
    await tunnel.recv()
    const id = (events[0] as { tunnel: number }).tunnel
    expect(core.revoke(publicKey(client)).events).toEqual([{ type: 'tunnelclose', tunnel: id, reason: 'revoked' }])
    expect(() => core.handleOutgoing(id, Buffer.from('late'))).toThrow(
      expect.objectContaining({ code: 'ERR_SNAPTUN_UNKNOWN_TUNNEL' }),
    )
  })

  it('drops and counts what is no message of the protocol', () => {
    const core = new SnapTunServerCore({ privateKey: generatePrivateKey() })
    const from = { address: '192.0.2.7', port: 9 }
    for (const datagram of [Buffer.alloc(0), Buffer.from('hello'), Buffer.alloc(148, 1), Buffer.alloc(3000, 4)]) {
      expect(core.handleIncoming(datagram, from)).toEqual({ events: [], packets: [], datagrams: [] })
    }
    expect(core.stats()).toMatchObject({ droppedMalformed: 4 })
    const initiation = Buffer.alloc(148)
    initiation[0] = 1
    core.handleIncoming(initiation, from)
    expect(core.stats()).toMatchObject({ handshakesInvalid: 1 })
  })

  it('refuses bad arguments with a code', () => {
    const core = new SnapTunServerCore({ privateKey: generatePrivateKey() })
    const code = (expected: string) => expect.objectContaining({ code: expected })
    expect(() => new SnapTunServerCore({ privateKey: 'short' })).toThrow(code('ERR_SNAPTUN_INVALID_KEY'))
    expect(() => core.handleIncoming('text' as never, '192.0.2.7:9')).toThrow(code('ERR_SNAPTUN_INVALID_PACKET'))
    expect(() => core.handleIncoming(Buffer.alloc(1), 'nowhere')).toThrow(code('ERR_SNAPTUN_INVALID_ADDRESS'))
    expect(() => core.handleOutgoing(1, Buffer.alloc(0))).toThrow(code('ERR_SNAPTUN_PACKET_EMPTY'))
    expect(() => core.handleOutgoing(1, Buffer.alloc(1))).toThrow(code('ERR_SNAPTUN_UNKNOWN_TUNNEL'))
  })
})
