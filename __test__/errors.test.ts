import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import { type ConnectOptions, type ListenOptions, SnapTunError, SnapTunnel, SnapTunServer } from 'snaptun'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connect, echo, keyPair, listen, optionsFor, rejection, thrown } from './helpers.js'

/** Options that are right, for a port where nobody listens. */
function right(): ConnectOptions {
  const { privateKey, identity } = keyPair()
  return { privateKey, serverPublicKey: identity, server: '127.0.0.1:9', connectTimeout: 100 }
}

/** A UDP port of the loopback address that is taken, by somebody who never answers. */
async function silentPort(): Promise<number> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1')
  await once(socket, 'listening')
  onTestFinished(() => new Promise<void>((resolve) => socket.close(resolve)))
  return socket.address().port
}

/** Only Linux shows a process its own open files. */
const LINUX = process.platform === 'linux'

/** How many sockets this process has open; 0 where that can't be seen. */
function openSockets(): number {
  if (!LINUX) return 0
  return readdirSync('/proc/self/fd').filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).startsWith('socket:')
    } catch (error) {
      // The descriptor that listed the folder is closed by now.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
      throw error
    }
  }).length
}

describe('connect refuses, and names the option,', () => {
  const base64 = Buffer.alloc(32, 7).toString('base64')
  it.each([
    ['a private key of 31 bytes', 'privateKey', Buffer.alloc(31, 7), 'ERR_SNAPTUN_INVALID_KEY'],
    ['a public key of 33 bytes', 'serverPublicKey', Buffer.alloc(33, 7), 'ERR_SNAPTUN_INVALID_KEY'],
    ['a pre-shared key of no bytes', 'presharedKey', Buffer.alloc(0), 'ERR_SNAPTUN_INVALID_KEY'],
    ['bad base64', 'privateKey', base64.replace('=', '!'), 'ERR_SNAPTUN_INVALID_KEY'],
    ['base64 that is cut off', 'serverPublicKey', base64.slice(0, 40), 'ERR_SNAPTUN_INVALID_KEY'],
    ['an all-zero private key', 'privateKey', Buffer.alloc(32), 'ERR_SNAPTUN_INVALID_KEY'],
    ['an all-zero public key', 'serverPublicKey', Buffer.alloc(32).toString('base64'), 'ERR_SNAPTUN_INVALID_KEY'],
    ['an all-zero pre-shared key', 'presharedKey', Buffer.alloc(32), 'ERR_SNAPTUN_INVALID_KEY'],
    ['no private key', 'privateKey', undefined, 'ERR_SNAPTUN_INVALID_KEY'],
    ['no public key', 'serverPublicKey', null, 'ERR_SNAPTUN_INVALID_KEY'],
    ['an address without a port', 'server', '127.0.0.1', 'ERR_SNAPTUN_INVALID_ADDRESS'],
    ['an address that is none', 'server', 'not an address:5', 'ERR_SNAPTUN_INVALID_ADDRESS'],
    ['port 0', 'server', { address: '127.0.0.1', port: 0 }, 'ERR_SNAPTUN_INVALID_ADDRESS'],
    ['no address', 'server', undefined, 'ERR_SNAPTUN_INVALID_ADDRESS'],
    ['a bad address to bind', 'bind', '1.2.3.4.5:0', 'ERR_SNAPTUN_INVALID_ADDRESS'],
    ['a bad timeout', 'connectTimeout', 0, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['a bad keepalive', 'keepalive', -1, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['a bad queue', 'receiveQueue', { packets: 0 }, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['a bad buffer', 'socketBufferSize', 1, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['a bad signal', 'signal', {}, 'ERR_SNAPTUN_INVALID_OPTION'],
  ])('%s', async (_what, option, value, code) => {
    const before = openSockets()
    const error = await rejection(SnapTunnel.connect({ ...right(), [option]: value } as never), code)
    expect(error.message).toContain(`'${option}`)
    expect(error.transient).toBe(false)
    expect(openSockets()).toBe(before)
  })

  it.each([undefined, null, 5, 'options', []])('options that are none: %j', async (options) => {
    await rejection(SnapTunnel.connect(options as never), 'ERR_SNAPTUN_INVALID_OPTION')
    await rejection(SnapTunServer.listen(options as never), 'ERR_SNAPTUN_INVALID_OPTION')
  })
})

describe('listen refuses, and names the option,', () => {
  it.each([
    ['a private key of 31 bytes', 'privateKey', Buffer.alloc(31, 7), 'ERR_SNAPTUN_INVALID_KEY'],
    ['an all-zero private key', 'privateKey', Buffer.alloc(32), 'ERR_SNAPTUN_INVALID_KEY'],
    ['bad base64', 'privateKey', 'AAAA', 'ERR_SNAPTUN_INVALID_KEY'],
    ['an address that is none', 'address', '1.2.3.4.5', 'ERR_SNAPTUN_INVALID_ADDRESS'],
    ['an address with a port', 'address', '127.0.0.1:80', 'ERR_SNAPTUN_INVALID_ADDRESS'],
    ['port 65536', 'port', 65_536, 'ERR_SNAPTUN_INVALID_ADDRESS'],
    ['a port as text', 'port', '80', 'ERR_SNAPTUN_INVALID_ADDRESS'],
    ['no shards', 'shards', 0, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['too many shards', 'shards', 257, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['authorize that is no function', 'authorize', true, 'ERR_SNAPTUN_INVALID_OPTION'],
    ['a bad queue', 'sendQueue', { bytes: 5 }, 'ERR_SNAPTUN_INVALID_OPTION'],
  ])('%s', async (_what, option, value, code) => {
    const options: ListenOptions = { privateKey: keyPair().privateKey, address: '127.0.0.1' }
    const error = await rejection(SnapTunServer.listen({ ...options, [option]: value } as never), code)
    expect(error.message).toContain(`'${option}`)
  })

  it('an identity that is no key', async () => {
    const server = await listen()
    thrown(() => server.authorize('AAAA', {}), 'ERR_SNAPTUN_INVALID_KEY')
    thrown(() => server.authorize(Buffer.alloc(32), {}), 'ERR_SNAPTUN_INVALID_KEY')
    thrown(() => server.authorize(keyPair().identity, null as never), 'ERR_SNAPTUN_INVALID_OPTION')
    thrown(() => server.authorize(keyPair().identity, { expiresAt: Number.NaN }), 'ERR_SNAPTUN_INVALID_OPTION')
    await rejection(server.revoke('AAAA'), 'ERR_SNAPTUN_INVALID_KEY')
  })
})

describe('the system refuses', () => {
  it.each([1, 4])('a port in use, also with %i shards', async (shards) => {
    const server = await listen({ shards })
    const { port } = server.address()
    for (const again of [1, 4]) {
      const options = { privateKey: keyPair().privateKey, address: '127.0.0.1', port, shards: again }
      const error = await rejection(SnapTunServer.listen(options), 'ERR_SNAPTUN_ADDRESS_IN_USE')
      expect(error.message).toContain(`127.0.0.1:${port}`)
    }
    const bind = { address: '127.0.0.1', port }
    await rejection(SnapTunnel.connect({ ...right(), bind }), 'ERR_SNAPTUN_ADDRESS_IN_USE')
  })

  it('a port that a plain socket has', async () => {
    const port = await silentPort()
    const options = { privateKey: keyPair().privateKey, address: '127.0.0.1', port }
    await rejection(SnapTunServer.listen(options), 'ERR_SNAPTUN_ADDRESS_IN_USE')
  })

  it('an address of another machine', async () => {
    // 192.0.2.0/24 is for documentation (RFC 5737): no interface has it.
    const options = { privateKey: keyPair().privateKey, address: '192.0.2.77' }
    await rejection(SnapTunServer.listen(options), 'ERR_SNAPTUN_ADDRESS_UNAVAILABLE')
    await rejection(SnapTunnel.connect({ ...right(), bind: '192.0.2.77:0' }), 'ERR_SNAPTUN_ADDRESS_UNAVAILABLE')
  })
})

describe('connecting where nobody answers', () => {
  it('times out as documented, and leaves neither socket nor timer', async () => {
    const port = await silentPort()
    const before = openSockets()
    const start = performance.now()
    const error = await rejection(
      SnapTunnel.connect({ ...right(), server: { address: '127.0.0.1', port }, connectTimeout: 250 }),
      'ERR_SNAPTUN_CONNECT_TIMEOUT',
    )
    const elapsed = performance.now() - start
    expect(error.transient).toBe(true)
    expect(error.message).toContain(`127.0.0.1:${port}`)
    expect(elapsed).toBeGreaterThanOrEqual(245)
    expect(elapsed).toBeLessThan(1500)
    expect(openSockets()).toBe(before)
  })

  it('times out also where the port is closed, and the system says so', async () => {
    const port = await silentPort()
    const options = { ...right(), server: `127.0.0.1:${port === 65_535 ? 1 : port + 1}`, connectTimeout: 250 }
    await rejection(SnapTunnel.connect(options), 'ERR_SNAPTUN_CONNECT_TIMEOUT')
  })

  it('leaves no socket after it was aborted', async () => {
    const port = await silentPort()
    const before = openSockets()
    const reason = new Error('aborted')
    for (let i = 0; i < 20; i++) {
      const controller = new AbortController()
      const attempt = SnapTunnel.connect({ ...right(), server: `127.0.0.1:${port}`, signal: controller.signal })
      setTimeout(() => controller.abort(reason), i % 3)
      await expect(attempt).rejects.toBe(reason)
    }
    expect(openSockets()).toBe(before)
  })
})

describe('a packet', () => {
  it('of no bytes is refused, and the tunnel goes on', async () => {
    const server = await listen()
    void echo(server as never)
    const tunnel = await connect(server)
    for (const packet of [new Uint8Array(0), Buffer.alloc(0)]) {
      await rejection(tunnel.send(packet), 'ERR_SNAPTUN_PACKET_EMPTY')
      thrown(() => tunnel.trySend(packet), 'ERR_SNAPTUN_PACKET_EMPTY')
      await rejection(tunnel.sendBatch([packet]), 'ERR_SNAPTUN_PACKET_EMPTY')
      await rejection(tunnel.sendBatch({ data: packet, size: 5 }), 'ERR_SNAPTUN_PACKET_EMPTY')
    }
    await tunnel.send(Buffer.from('x'))
    expect(Buffer.from(await tunnel.recv()).toString()).toBe('x')
  })

  it('larger than maxPacketSize is refused, both ways', async () => {
    const server = await listen()
    const tunnel = await connect(server)
    const [target] = server.tunnels()
    const large = Buffer.alloc(tunnel.maxPacketSize + 1)
    const error = await rejection(tunnel.send(large), 'ERR_SNAPTUN_PACKET_TOO_LARGE')
    expect(error.message).toContain(`${large.length} bytes`)
    expect(error.message).toContain(`${tunnel.maxPacketSize}`)
    thrown(() => tunnel.trySend(large), 'ERR_SNAPTUN_PACKET_TOO_LARGE')
    await rejection(tunnel.sendBatch([large]), 'ERR_SNAPTUN_PACKET_TOO_LARGE')
    await rejection(tunnel.sendBatch({ data: large, size: large.length }), 'ERR_SNAPTUN_PACKET_TOO_LARGE')
    if (target === undefined) return expect.fail('there is no tunnel')
    await rejection(server.send(target, large), 'ERR_SNAPTUN_PACKET_TOO_LARGE')
    thrown(() => server.trySend(target, large), 'ERR_SNAPTUN_PACKET_TOO_LARGE')
  })

  it.each([
    'text',
    5,
    null,
    undefined,
    {},
    [1, 2],
    new ArrayBuffer(5),
    new Uint16Array(5),
    new DataView(new ArrayBuffer(5)),
  ])('that is no Uint8Array is refused (%#)', async (value) => {
    const tunnel = await connect(await listen())
    await rejection(tunnel.send(value as never), 'ERR_SNAPTUN_INVALID_PACKET')
    thrown(() => tunnel.trySend(value as never), 'ERR_SNAPTUN_INVALID_PACKET')
    await rejection(tunnel.sendBatch([value] as never), 'ERR_SNAPTUN_INVALID_PACKET')
    if (!Array.isArray(value)) await rejection(tunnel.sendBatch(value as never), 'ERR_SNAPTUN_INVALID_PACKET')
  })

  it.each([0, -1, 1.5, Number.NaN, '5', undefined])('can not be cut at a size of %j', async (size) => {
    const tunnel = await connect(await listen())
    await rejection(tunnel.sendBatch({ data: Buffer.from('x'), size: size as never }), 'ERR_SNAPTUN_INVALID_OPTION')
  })
})

describe('after close', () => {
  it('every call of a tunnel fails with the same error', async () => {
    const tunnel = await connect(await listen())
    const packet = Buffer.from('x')
    const waiting = tunnel.recv()
    const iterating = (async () => {
      for await (const _packet of tunnel) expect.fail('there was no packet')
    })()
    await tunnel.close()
    const errors = [
      await rejection(waiting, 'ERR_SNAPTUN_CLOSED'),
      await rejection(tunnel.send(packet), 'ERR_SNAPTUN_CLOSED'),
      await rejection(tunnel.sendBatch([packet]), 'ERR_SNAPTUN_CLOSED'),
      await rejection(tunnel.sendBatch({ data: packet, size: 1 }), 'ERR_SNAPTUN_CLOSED'),
      await rejection(tunnel.recv(), 'ERR_SNAPTUN_CLOSED'),
      thrown(() => tunnel.trySend(packet), 'ERR_SNAPTUN_CLOSED'),
      thrown(() => tunnel.tryRecv(), 'ERR_SNAPTUN_CLOSED'),
    ]
    expect(new Set(errors.map(({ message }) => message))).toEqual(new Set(['the tunnel is closed']))
    expect(errors.every(({ transient }) => !transient)).toBe(true)
    await iterating
    expect(await tunnel.batches().next()).toEqual({ done: true, value: undefined })
    expect(tunnel.stats().handshakes).toBe(1)
    tunnel.ref().unref()
  })

  it('every call of a server fails with the same error', async () => {
    const server = await listen()
    await connect(server)
    const [tunnel] = server.tunnels()
    const { identity } = keyPair()
    await server.close()
    const packet = Buffer.from('x')
    if (tunnel === undefined) return expect.fail('there was no tunnel')
    const errors = [
      await rejection(server.recv(), 'ERR_SNAPTUN_CLOSED'),
      await rejection(server.revoke(identity), 'ERR_SNAPTUN_CLOSED'),
      await rejection(server.send(tunnel, packet), 'ERR_SNAPTUN_CLOSED'),
      await rejection(server.sendBatch(tunnel, [packet]), 'ERR_SNAPTUN_CLOSED'),
      thrown(() => server.authorize(identity, {}), 'ERR_SNAPTUN_CLOSED'),
      thrown(() => server.tryRecv(), 'ERR_SNAPTUN_CLOSED'),
    ]
    expect(new Set(errors.map(({ message }) => message))).toEqual(new Set(['the server is closed']))
    expect(await server.batches().next()).toEqual({ done: true, value: undefined })
    expect(server.address().port).toBeGreaterThan(0)
    server.ref().unref()
  })

  it.runIf(LINUX)('no socket is left', async () => {
    const before = openSockets()
    const server = await listen({ shards: 3 })
    const tunnels = await Promise.all(Array.from({ length: 10 }, () => connect(server)))
    expect(openSockets()).toBe(before + 13)
    await Promise.all(tunnels.map((tunnel) => tunnel.close()))
    await server.close()
    expect(openSockets()).toBe(before)
  })
})

describe('SnapTunError', () => {
  it('is an Error with name, code, and whether it is transient', () => {
    const error = new SnapTunError('ERR_SNAPTUN_LOOKUP', 'not found', new Error('why'))
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ name: 'SnapTunError', code: 'ERR_SNAPTUN_LOOKUP', transient: true })
    expect(error.cause).toEqual(new Error('why'))
    expect(error.stack).toContain('errors.test')
    expect(new SnapTunError('ERR_SNAPTUN_CLOSED', 'closed')).toMatchObject({ transient: false })
  })

  it('is what native errors become, with what native said as its cause', async () => {
    const server = await listen()
    const options = optionsFor(server as never, { bind: server.address() })
    const error = await rejection(SnapTunnel.connect(options), 'ERR_SNAPTUN_ADDRESS_IN_USE')
    expect(error.cause).toBeInstanceOf(Error)
    expect((error.cause as Error).message).toBe(error.message)
  })
})
