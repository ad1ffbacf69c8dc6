import { networkInterfaces } from 'node:os'
import { UdpBatchSocket } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { bytes, rejection, text, thrown, until } from './helpers.js'
import { bind, dgram, receive } from './udp-helpers.js'

const PACKET = Buffer.from('x')

/** An interface that has a link-local address of IPv6, which the loopback interface has not: its name, and the address. */
const [link] = Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
  addresses
    .filter(({ address }) => address.startsWith('fe80:'))
    .map(({ address, scopeid }) => ({ name, address, scopeid })),
)

describe('a port', () => {
  it('is shared by sockets that say so, and each sender keeps to one of them', async () => {
    const first = await bind({ reusePort: true })
    const { port } = first.address()
    const second = await bind({ port, reusePort: true })
    await rejection(UdpBatchSocket.bind({ address: '127.0.0.1', port }), 'ERR_SNAPTUN_ADDRESS_IN_USE')
    const senders = await Promise.all(Array.from({ length: 40 }, () => bind()))
    for (const sender of senders) await sender.sendBatch([PACKET, PACKET], { address: '127.0.0.1', port })
    const counts = () => [first, second].map((socket) => socket.stats().datagramsReceived)
    await until(() => counts().reduce((sum, count) => sum + count) === 80, 'all datagrams')
    // The kernel spreads them by a hash: that all 40 went to one of two is out of the question.
    for (const [i, socket] of [first, second].entries()) {
      expect(counts()[i]).toBeGreaterThan(0)
      const ports = (await receive(socket, counts()[i] as number)).map(({ remote }) => remote.port)
      for (const one of new Set(ports)) expect(ports.filter((other) => other === one)).toHaveLength(2)
    }
  })
})

describe('the buffers of the operating system', () => {
  it('are what was asked for, when the socket is bound and later', async () => {
    const socket = await bind({ receiveBufferSize: 20_000, sendBufferSize: 30_000 })
    // Linux says twice what it was asked for.
    const factor = process.platform === 'linux' ? 2 : 1
    const sizes = () => [socket.stats().socketReceiveBufferBytes, socket.stats().socketSendBufferBytes]
    expect(sizes()).toEqual([20_000 * factor, 30_000 * factor])
    socket.setRecvBufferSize(40_000)
    socket.setSendBufferSize(50_000)
    expect(sizes()).toEqual([40_000 * factor, 50_000 * factor])
    thrown(() => socket.setRecvBufferSize(1), 'ERR_SNAPTUN_INVALID_OPTION')
  })
})

describe('broadcasting', () => {
  it('is allowed by an option, and by a call', async () => {
    const to = { address: '127.255.255.255', port: (await bind()).address().port }
    const allowed = await bind({ address: '0.0.0.0', broadcast: true })
    await allowed.send(PACKET, to)
    const socket = await bind({ address: '0.0.0.0' })
    await rejection(socket.send(PACKET, to), 'ERR_SNAPTUN_PERMISSION')
    socket.setBroadcast(true)
    await socket.send(PACKET, to)
    thrown(() => socket.setBroadcast(1 as never), 'ERR_SNAPTUN_INVALID_OPTION')
  })

  it('is answered from an address of this machine', async () => {
    const server = await bind({ address: '0.0.0.0', broadcast: true })
    void (async () => {
      for await (const batch of server.batches()) await server.sendBatch(batch)
    })()
    const client = await bind({ address: '0.0.0.0', broadcast: true })
    await client.send(Buffer.from('who is there?'), { address: '127.255.255.255', port: server.address().port })
    expect((await client.recv()).remote.address).toMatch(/^127\.0\.0\.1$/)
  })
})

describe('the time to live', () => {
  it('is set by an option and by a call', async () => {
    const socket = await bind({ ttl: 3, multicastTtl: 0, multicastLoopback: true })
    socket.setTTL(255)
    socket.setMulticastTTL(255)
    socket.setMulticastLoopback(false)
    thrown(() => socket.setTTL(0), 'ERR_SNAPTUN_INVALID_OPTION')
    thrown(() => socket.setMulticastTTL(256), 'ERR_SNAPTUN_INVALID_OPTION')
    thrown(() => socket.setMulticastLoopback('yes' as never), 'ERR_SNAPTUN_INVALID_OPTION')
    await socket.send(PACKET, socket.address())
    expect((await socket.recv()).data).toHaveLength(1)
  })
})

describe.each([
  {
    family: 'IPv4',
    address: '0.0.0.0',
    loopback: '127.0.0.1',
    group: '239.255.87.1',
    other: '239.255.87.2',
    on: '127.0.0.1',
  },
  { family: 'IPv6', address: '::', loopback: '::1', group: 'ff02::8701', other: 'ff02::8702', on: `::%${link?.name}` },
])('multicast of $family', ({ family, address, loopback, group, other, on }) => {
  const runs = family === 'IPv4' || (process.platform === 'linux' && link !== undefined)

  async function member() {
    const socket = await bind({ address, reuseAddr: true })
    socket.addMembership(group, on)
    return socket
  }

  async function sender() {
    const socket = await bind({ address })
    socket.setMulticastInterface(on)
    // Nobody else is to hear of it.
    socket.setMulticastTTL(0)
    return socket
  }

  it.runIf(runs)('reaches members, who see to which group, and nobody who left', async () => {
    const receiver = await member()
    const source = await sender()
    const { port } = receiver.address()
    await source.sendBatch({ data: bytes(1, 5000), size: 500 }, { address: group, port })
    const datagrams = await receive(receiver, 10)
    expect(datagrams.map(({ local }) => local)).toEqual(Array(10).fill(group))
    receiver.dropMembership(group, on)
    await source.send(Buffer.from('unheard'), { address: group, port })
    await source.send(Buffer.from('heard'), { address: loopback, port })
    expect(text((await receiver.recv()).data)).toBe('heard')
  })

  it.runIf(runs)('reaches all members on this machine that share the port, unless loopback is off', async () => {
    const first = await member()
    const { port } = first.address()
    const second = await bind({ address, port, reuseAddr: true })
    second.addMembership(group, on)
    const source = await sender()
    await source.send(Buffer.from('all'), { address: group, port })
    for (const socket of [first, second]) expect(text((await socket.recv()).data)).toBe('all')
  })

  it.runIf(runs)('is answered from an address of this machine, not from the group', async () => {
    const server = await member()
    void (async () => {
      for await (const batch of server.batches()) await server.sendBatch(batch)
    })()
    const client = await sender()
    await client.sendBatch([PACKET, PACKET], { address: group, port: server.address().port })
    for (const { remote } of await receive(client, 2)) expect(remote.address).not.toBe(group)
  })

  it.runIf(runs)('has errors as the system names them', async () => {
    const socket = await member()
    expect(thrown(() => socket.addMembership(group, on), 'ERR_SNAPTUN_ADDRESS_IN_USE').cause).toMatchObject({
      code: 'EADDRINUSE',
      syscall: 'addMembership',
      address: group,
    })
    thrown(() => socket.dropMembership(other, on), 'ERR_SNAPTUN_ADDRESS_UNAVAILABLE')
    thrown(() => socket.addMembership(loopback, on), 'ERR_SNAPTUN_IO')
    thrown(() => socket.addMembership('nowhere'), 'ERR_SNAPTUN_INVALID_ADDRESS')
    thrown(() => socket.addMembership(group, 'nowhere'), 'ERR_SNAPTUN_INVALID_ADDRESS')
    thrown(() => socket.addMembership(group, family === 'IPv4' ? '::%lo' : '127.0.0.1'), 'ERR_SNAPTUN_INVALID_ADDRESS')
    thrown(() => socket.setMulticastInterface('eth0'), 'ERR_SNAPTUN_INVALID_ADDRESS')
  })

  it.runIf(runs)('interoperates with node:dgram', async () => {
    const theirs = await dgram(address)
    theirs.socket.addMembership(group, on)
    const source = await sender()
    await source.send(Buffer.from('to dgram'), { address: group, port: theirs.port })
    expect((await theirs.next()).data.toString()).toBe('to dgram')
  })
})

describe.runIf(process.platform === 'linux' && link !== undefined)('a link-local address', () => {
  it('keeps its zone, by which it can be answered', async () => {
    const [one, other] = [await bind({ address: '::' }), await bind({ address: '::' })]
    const { name, address, scopeid } = link as NonNullable<typeof link>
    const { port } = other.address()
    await one.send(PACKET, { address: `${address}%${name}`, port })
    await one.send(PACKET, { address: `${address}%${scopeid}`, port })
    const [byName, byNumber] = await receive(other, 2)
    expect(byName?.remote).toEqual({ address: `${address}%${scopeid}`, port: one.address().port, family: 'IPv6' })
    expect(byNumber?.remote).toEqual(byName?.remote)
    await other.send(Buffer.from('back'), byName?.remote)
    expect(text((await one.recv()).data)).toBe('back')
  })
})
