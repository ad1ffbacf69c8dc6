import { UdpBatchSocket } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { bytes, rejection, text, thrown, until } from './helpers.js'
import { bind, dgram, pair, receive } from './udp-helpers.js'

const LOOPBACK = [
  { family: 'IPv4', address: '127.0.0.1' },
  { family: 'IPv6', address: '::1' },
] as const

describe.each(LOOPBACK)('a socket of $family', ({ family, address }) => {
  it('sends to node:dgram and receives from it', async () => {
    const ours = await bind({ address })
    const theirs = await dgram(address)
    await ours.send(Buffer.from('to dgram'), { address, port: theirs.port })
    const { data, remote } = await theirs.next()
    expect(data.toString()).toBe('to dgram')
    expect(remote).toMatchObject(ours.address())
    theirs.socket.send('from dgram', ours.address().port, address)
    const datagram = await ours.recv()
    expect(text(datagram.data)).toBe('from dgram')
    expect(datagram).toMatchObject({ remote: { address, port: theirs.port, family }, local: address, ecn: 0 })
  })

  it.each([0, 1, 2, 3])('marks datagrams with the ECN bits %i, which arrive', async (ecn) => {
    const [one, other] = await pair({ address })
    await one.send(Buffer.from('alone'), other.address(), { ecn })
    await one.sendBatch({ data: bytes(1, 5000), size: 1000 }, other.address(), { ecn })
    const datagrams = await receive(other, 6)
    expect(datagrams.map((datagram) => datagram.ecn)).toEqual(Array(6).fill(ecn))
  })

  it('carries datagrams of every size, empty ones too', async () => {
    const [one, other] = await pair({ address })
    const sizes = [0, 1, 1472, 1473, 9000, one.maxDatagramSize, 0]
    for (const size of sizes) await one.send(bytes(size, size), other.address())
    const datagrams = await receive(other, sizes.length)
    for (const [i, { data }] of datagrams.entries()) {
      expect(data.length).toBe(sizes[i])
      expect(bytes(sizes[i] as number, sizes[i] as number).equals(data)).toBe(true)
    }
    await rejection(one.send(new Uint8Array(one.maxDatagramSize + 1), other.address()), 'ERR_SNAPTUN_PACKET_TOO_LARGE')
  })
})

describe('a socket', () => {
  it('exchanges empty datagrams with node:dgram', async () => {
    const ours = await bind()
    const theirs = await dgram()
    const to = { address: '127.0.0.1', port: theirs.port }
    await ours.sendBatch([new Uint8Array(), new Uint8Array(), Buffer.from('x'), new Uint8Array()], to)
    for (const expected of ['', '', 'x', '']) expect((await theirs.next()).data.toString()).toBe(expected)
    theirs.socket.send('', ours.address().port, '127.0.0.1')
    expect((await ours.recv()).data).toHaveLength(0)
  })

  it('on :: takes both families, and shows IPv4 addresses as such', async () => {
    const ours = await bind({ address: '::' })
    const { port } = ours.address()
    const [v4, v6] = [await dgram(), await dgram('::1')]
    v4.socket.send('four', port, '127.0.0.1')
    expect(await ours.recv()).toMatchObject({ remote: { address: '127.0.0.1', family: 'IPv4' }, local: '127.0.0.1' })
    v6.socket.send('six', port, '::1')
    expect(await ours.recv()).toMatchObject({ remote: { address: '::1', family: 'IPv6' }, local: '::1' })
    await ours.send(Buffer.from('a'), { address: '127.0.0.1', port: v4.port })
    await ours.send(Buffer.from('b'), { address: '::ffff:127.0.0.1', port: v4.port })
    await ours.send(Buffer.from('c'), { address: '::1', port: v6.port })
    expect([(await v4.next()).data, (await v4.next()).data, (await v6.next()).data].map(String)).toEqual([
      'a',
      'b',
      'c',
    ])
  })

  it('on :: with ipv6Only leaves IPv4 alone', async () => {
    const ours = await bind({ address: '::', ipv6Only: true })
    const { port } = ours.address()
    // The same port is free for IPv4.
    const other = await bind({ address: '0.0.0.0', port })
    const to = { address: '127.0.0.1', port }
    await rejection(ours.send(Buffer.from('x'), to), 'ERR_SNAPTUN_INVALID_ADDRESS')
    await other.send(Buffer.from('four'), to)
    expect(text((await other.recv()).data)).toBe('four')
    expect(ours.tryRecv()).toBeNull()
  })

  it('tells to which of the addresses of this machine a datagram was sent', async () => {
    const ours = await bind({ address: '0.0.0.0' })
    const other = await bind()
    const { port } = ours.address()
    for (const address of ['127.0.0.1', '127.0.0.77']) {
      await other.send(Buffer.from('x'), { address, port })
      expect((await ours.recv()).local).toBe(address)
    }
  })

  it('sends and receives in order, without waiting too', async () => {
    const [one, other] = await pair()
    const to = other.address()
    for (let i = 0; i < 500; i++) expect(one.trySend(Buffer.from([i >> 8, i]), to)).toBe(true)
    for (let i = 0; i < 500; i++) expect(Buffer.from((await other.recv()).data).readUInt16BE()).toBe(i)
    expect(other.tryRecv()).toBeNull()
    one.trySend(Buffer.from('x'), to)
    await until(() => other.stats().receiveQueueDatagrams === 1, 'the datagram')
    expect(text(other.tryRecv()?.data as Uint8Array)).toBe('x')
  })

  it('can be iterated over until it is closed', async () => {
    const [one, other] = await pair()
    await one.sendBatch(['a', 'b', 'c'].map(Buffer.from), other.address())
    const seen: string[] = []
    for await (const { data } of other) {
      seen.push(text(data))
      if (seen.length === 3) void other.close()
    }
    expect(seen).toEqual(['a', 'b', 'c'])
  })

  it('resolves host names when it binds and connects, not when it sends', async () => {
    const ours = await bind({ address: 'localhost', family: 'IPv4' })
    expect(ours.address().address).toBe('127.0.0.1')
    const other = await bind()
    await other.connect(`localhost:${ours.address().port}`)
    expect(other.remoteAddress).toEqual(ours.address())
    await rejection(ours.send(Buffer.from('x'), { address: 'localhost', port: 9 }), 'ERR_SNAPTUN_INVALID_ADDRESS')
  })
})

describe('a connected socket', () => {
  it('sends without a target, and takes datagrams from its remote alone', async () => {
    const [one, other] = await pair()
    const stranger = await bind()
    await one.connect(other.address())
    expect(one.remoteAddress).toEqual(other.address())
    await one.send(Buffer.from('hello'))
    expect((await other.recv()).remote).toEqual(one.address())
    await stranger.send(Buffer.from('foreign'), one.address())
    await other.send(Buffer.from('answer'), one.address())
    expect(text((await one.recv()).data)).toBe('answer')
    await one.sendBatch({ data: bytes(1, 300), size: 100 })
    await one.sendBatch([Buffer.from('x')])
    expect(await receive(other, 4)).toHaveLength(4)
  })

  it('takes no other target, and one that is not needs one', async () => {
    const [one, other] = await pair()
    const packet = Buffer.from('x')
    await rejection(one.send(packet), 'ERR_SNAPTUN_NOT_CONNECTED')
    thrown(() => one.trySend(packet), 'ERR_SNAPTUN_NOT_CONNECTED')
    await rejection(one.sendBatch([packet]), 'ERR_SNAPTUN_NOT_CONNECTED')
    thrown(() => one.disconnect(), 'ERR_SNAPTUN_NOT_CONNECTED')
    await one.connect(other.address())
    await rejection(one.send(packet, other.address()), 'ERR_SNAPTUN_CONNECTED')
    await rejection(one.sendBatch([packet], other.address()), 'ERR_SNAPTUN_CONNECTED')
    await rejection(one.sendBatch([packet], [other.address()]), 'ERR_SNAPTUN_CONNECTED')
    await rejection(one.connect(other.address()), 'ERR_SNAPTUN_CONNECTED')
  })

  it.each([
    { name: 'a chosen port', port: 0 },
    { name: 'all addresses', address: '0.0.0.0', port: 0 },
    { name: 'both families', address: '::', port: 0 },
  ])('of $name is as before when it is disconnected', async ({ port, address = '127.0.0.1' }) => {
    const ours = await bind({ address, port })
    const [one, other] = await pair()
    const before = ours.address()
    await ours.connect(one.address())
    expect(ours.address()).toMatchObject({ port: before.port })
    ours.disconnect()
    expect(ours.remoteAddress).toBeUndefined()
    expect(ours.address()).toEqual(before)
    await other.send(Buffer.from('anybody'), { address: '127.0.0.1', port: before.port })
    expect((await ours.recv()).remote).toEqual(other.address())
    await ours.send(Buffer.from('back'), other.address())
    expect(text((await other.recv()).data)).toBe('back')
    await ours.connect(other.address())
    await ours.send(Buffer.from('again'))
    expect(text((await other.recv()).data)).toBe('again')
  })

  it('is connected once, however often it is asked at the same time', async () => {
    const [one, other] = await pair()
    const outcomes = await Promise.allSettled([one.connect(other.address()), one.connect(other.address())])
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
  })
})

describe('closing a socket', () => {
  it('ends what waits, and everything after it', async () => {
    const [one, other] = await pair()
    await one.send(Buffer.from('unread'), other.address())
    const waiting = one.recv()
    const iterating = (async () => {
      for await (const _ of other.batches()) await new Promise((resolve) => setTimeout(resolve, 20))
      return 'ended'
    })()
    let closed = 0
    one.on('close', (error) => {
      expect(error).toBeUndefined()
      closed++
    })
    const first = one.close()
    await rejection(waiting, 'ERR_SNAPTUN_CLOSED')
    await Promise.all([first, one.close(), one.close(), other.close()])
    expect(await iterating).toBe('ended')
    expect(closed).toBe(1)
    expect(one.closed).toBe(true)
    const to = { address: '127.0.0.1', port: 9 }
    await rejection(one.recv(), 'ERR_SNAPTUN_CLOSED')
    await rejection(one.send(Buffer.from('x'), to), 'ERR_SNAPTUN_CLOSED')
    await rejection(one.send(Buffer.from('x')), 'ERR_SNAPTUN_CLOSED')
    await rejection(one.sendBatch([Buffer.from('x')], to), 'ERR_SNAPTUN_CLOSED')
    await rejection(one.connect(to), 'ERR_SNAPTUN_CLOSED')
    thrown(() => one.tryRecv(), 'ERR_SNAPTUN_CLOSED')
    for (const call of [() => one.disconnect(), () => one.setTTL(5), () => one.addMembership('224.0.0.7')]) {
      thrown(call, 'ERR_SNAPTUN_CLOSED')
    }
    expect(one.stats().datagramsSent).toBe(1)
    expect(one.address().address).toBe('127.0.0.1')
  })

  it('sends what was taken before, and frees the port', async () => {
    const [one, other] = await pair()
    const { port } = one.address()
    await one.sendBatch({ data: bytes(1, 50_000), size: 1000 }, other.address())
    await one.close()
    expect(await receive(other, 50)).toHaveLength(50)
    await bind({ port })
  })

  it('happens by itself at the end of a scope', async () => {
    let port: number
    {
      await using socket = await UdpBatchSocket.bind({ address: '127.0.0.1' })
      port = socket.address().port
    }
    await bind({ port })
  })

  it('does not wait for a signal, which rejects what it was given to', async () => {
    const socket = await bind()
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(socket.recv({ signal })).rejects.toThrow('enough')
    await expect(socket.send(Buffer.from('x'), socket.address(), { signal })).rejects.toThrow('enough')
    await expect(socket.connect('127.0.0.1:9', { signal })).rejects.toThrow('enough')
    await expect(UdpBatchSocket.bind({ signal })).rejects.toThrow('enough')
    const later = new AbortController()
    const waiting = socket.recv({ signal: later.signal })
    later.abort(new Error('later'))
    await expect(waiting).rejects.toThrow('later')
  })
})
