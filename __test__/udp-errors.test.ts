import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { SnapTunError, type SystemError, UdpBatchSocket, type UdpBindOptions } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { rejection, thrown, until } from './helpers.js'
import { bind, receive } from './udp-helpers.js'

const PACKET = Buffer.from('x')

describe('binding fails', () => {
  it.each<[string, string, UdpBindOptions | null]>([
    ['options that are none', 'ERR_SNAPTUN_INVALID_OPTION', null],
    ['address', 'ERR_SNAPTUN_INVALID_ADDRESS', { address: 'not an address' }],
    ['address', 'ERR_SNAPTUN_INVALID_ADDRESS', { address: 5 as never }],
    ['port', 'ERR_SNAPTUN_INVALID_ADDRESS', { port: 65_536 }],
    ['family', 'ERR_SNAPTUN_INVALID_OPTION', { family: 'IPv5' as never }],
    ['ipv6Only', 'ERR_SNAPTUN_INVALID_OPTION', { ipv6Only: 1 as never }],
    ['reusePort', 'ERR_SNAPTUN_INVALID_OPTION', { reusePort: 'yes' as never }],
    ['reuseAddr', 'ERR_SNAPTUN_INVALID_OPTION', { reuseAddr: 'yes' as never }],
    ['receiveBufferSize', 'ERR_SNAPTUN_INVALID_OPTION', { receiveBufferSize: 0 }],
    ['sendBufferSize', 'ERR_SNAPTUN_INVALID_OPTION', { sendBufferSize: 2 ** 31 }],
    ['receiveQueue.packets', 'ERR_SNAPTUN_INVALID_OPTION', { receiveQueue: { packets: 0 } }],
    ['sendQueue.bytes', 'ERR_SNAPTUN_INVALID_OPTION', { sendQueue: { bytes: 5 } }],
    ['ttl', 'ERR_SNAPTUN_INVALID_OPTION', { ttl: 0 }],
    ['ttl', 'ERR_SNAPTUN_INVALID_OPTION', { ttl: 256 }],
    ['multicastTtl', 'ERR_SNAPTUN_INVALID_OPTION', { multicastTtl: -1 }],
    ['multicastLoopback', 'ERR_SNAPTUN_INVALID_OPTION', { multicastLoopback: 1 as never }],
    ['broadcast', 'ERR_SNAPTUN_INVALID_OPTION', { broadcast: 'yes' as never }],
    ['signal', 'ERR_SNAPTUN_INVALID_OPTION', { signal: {} as never }],
  ])('with an error that names it: %s (%s, %o)', async (name, code, options) => {
    const error = await rejection(UdpBatchSocket.bind(options as UdpBindOptions), code)
    if (options !== null) expect(error.message).toContain(`'${name}'`)
  })

  it('on a port in use, with the error of dgram as its cause', async () => {
    const { address, port } = (await bind()).address()
    const error = await rejection(UdpBatchSocket.bind({ address, port }), 'ERR_SNAPTUN_ADDRESS_IN_USE')
    const theirs = createSocket('udp4')
    const expected = once(theirs, 'error')
    theirs.bind(port, address)
    const [{ message, code, errno, syscall }] = (await expected) as [SystemError]
    theirs.close()
    expect(error.cause).toBeInstanceOf(Error)
    expect(error.cause).toMatchObject({ message, code, errno, syscall, address, port })
    expect(error).toMatchObject({ message, transient: false })
  })

  it('on an address of somebody else', async () => {
    const error = await rejection(UdpBatchSocket.bind({ address: '192.0.2.1' }), 'ERR_SNAPTUN_ADDRESS_UNAVAILABLE')
    expect(error.cause).toMatchObject({ code: 'EADDRNOTAVAIL', syscall: 'bind', address: '192.0.2.1' })
  })

  it('for a host that nobody knows', async () => {
    await rejection(UdpBatchSocket.bind({ address: 'nowhere.invalid' }), 'ERR_SNAPTUN_LOOKUP')
  })
})

describe('a target', () => {
  it.each([
    ['no port', { address: '127.0.0.1', port: 0 }],
    ['a port beyond all', { address: '127.0.0.1', port: 65_536 }],
    ['a port that is no number', { address: '127.0.0.1', port: '9' }],
    ['a fraction for a port', { address: '127.0.0.1', port: 9.5 }],
    ['a host name', { address: 'localhost', port: 9 }],
    ['no address', { port: 9 }],
    ['another family', { address: '::1', port: 9 }],
    ['a zone that there is not', { address: 'fe80::1%nowhere0', port: 9 }],
    ['text', '127.0.0.1:9'],
  ])('with %s is refused before it reaches the system', async (_, to) => {
    const socket = await bind()
    const error = await socket.send(PACKET, to as never).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(SnapTunError)
    expect((error as SnapTunError).code).toMatch(/^ERR_SNAPTUN_(INVALID_ADDRESS|IO)$/)
    expect(() => socket.trySend(PACKET, to as never)).toThrow(SnapTunError)
    expect(socket.stats().sendCalls).toBe(0)
  })

  it('that the system refuses rejects with its error', async () => {
    const socket = await bind()
    const to = { address: '255.255.255.255', port: 9 }
    const error = await rejection(socket.send(PACKET, to), 'ERR_SNAPTUN_PERMISSION')
    expect(error.cause).toMatchObject({ code: 'EACCES', syscall: 'send', ...to })
    expect(thrown(() => socket.trySend(PACKET, to), 'ERR_SNAPTUN_PERMISSION').transient).toBe(false)
    expect(socket.stats()).toMatchObject({ datagramsSent: 0, droppedBySystem: 2 })
    // The next one is none the worse for it.
    await socket.send(PACKET, socket.address())
    expect((await socket.recv()).data).toHaveLength(1)
  })

  it.each(['text', 5, null, undefined, [1, 2], new ArrayBuffer(5)])('gets no %o', async (packet) => {
    const socket = await bind()
    await rejection(socket.send(packet as never, socket.address()), 'ERR_SNAPTUN_INVALID_PACKET')
  })
})

// Where connecting is the kernel's doing.
describe.runIf(process.platform === 'linux')('a connected socket whose remote nobody listens at', () => {
  /** A socket that is connected to a port that was just given up. */
  async function abandoned() {
    const gone = await bind()
    const remote = gone.address()
    await gone.close()
    const socket = await bind()
    await socket.connect(remote)
    return { socket, remote }
  }

  it('hears of it by an event, as dgram does, and goes on', async () => {
    const { socket, remote } = await abandoned()
    const event = once(socket, 'error')
    await socket.send(PACKET)
    const [error, dropped] = await event
    expect(error).toMatchObject({ code: 'ERR_SNAPTUN_REFUSED', transient: true })
    expect(error.cause).toMatchObject({ code: 'ECONNREFUSED', syscall: 'recvmsg' })
    expect(dropped).toBe(0)
    const back = await bind({ port: remote.port })
    await socket.send(Buffer.from('there again'))
    expect((await back.recv()).remote).toEqual(socket.address())
  })

  it('ends no process when nobody listens for that event', async () => {
    const { socket } = await abandoned()
    await socket.send(PACKET)
    await until(() => socket.stats().socketErrors > 0, 'the error')
    expect(socket.closed).toBe(false)
  })

  it('loses no datagram to what an earlier one met', async () => {
    const { socket, remote } = await abandoned()
    for (let round = 0; round < 20; round++) {
      await socket.send(PACKET)
      const back = await UdpBatchSocket.bind({ address: '127.0.0.1', port: remote.port })
      // The error may still be on the socket, or was read already: both happen in 20 rounds.
      await socket.sendBatch({ data: new Uint8Array(5000), size: 1000 })
      expect(await receive(back, 5)).toHaveLength(5)
      await back.close()
    }
    expect(socket.stats().droppedBySystem).toBe(0)
  })
})
